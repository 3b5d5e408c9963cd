"""Training and generation on a CUDA device, against the CPU; ``pytest -m gpu -n 0`` runs it.

One test stands for all of it where there is no such device: models on "meta", a device that
computes nothing, but like CUDA refuses tensors of the CPU beside its own.
"""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import StoppedError
from linnet.finetune.memory import Demand, estimate
from linnet.generate import Request, Sampling
from linnet.generate.torch_engine import TorchEngine
from linnet.model import KVCache, ModelConfig, Transformer, load_checkpoint, save_checkpoint
from linnet.model.lora import add_adapter
from linnet.model.lora_config import LoRAConfig
from linnet.shards.batches import Batch
from linnet.train import TrainConfig, train
from linnet.train.execution import recompute_blocks
from linnet.train.loop import Loop
from linnet.train.objectives import next_token
from linnet.train.optimizers import finetuning_optimizer
from tiny_project import TinyProject

CUDA = torch.cuda.is_available()
gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not CUDA, reason="needs a CUDA device, and torch sees none"),
]

LLAMA = ModelConfig(
    family="llama", vocab_size=320, context=64, width=64, depth=2, heads=4, kv_heads=2,
    head_width=16, mlp_width=96,
)  # fmt: skip
SHAPES = {
    "llama": LLAMA,
    "apertus": dataclasses.replace(
        LLAMA, family="apertus", kv_heads=4, qk_norm=True, activation="relu2", tied=False
    ),
    "xielu": dataclasses.replace(
        LLAMA, family="apertus", kv_heads=4, qk_norm=True, activation="xielu", tied=False
    ),
    "gpt2": dataclasses.replace(
        LLAMA, family="gpt2", kv_heads=4, positions="learned", norm="layernorm",
        activation="gelu_tanh", attention_bias=True, output_bias=True, mlp_bias=True,
    ),
    "mistral": dataclasses.replace(LLAMA, family="mistral", window=9),
    "gemma2": dataclasses.replace(
        LLAMA, family="gemma2", norm="rmsnorm_offset", norm_place="both", activation="geglu",
        window=9, window_layers=(True, False), attention_softcap=5.0, logit_softcap=7.0,
        embedding_scale=8.0, attention_scale=0.25,
    ),
}  # fmt: skip


def make(shape: ModelConfig, *, device: str = "cpu") -> Transformer:
    """A model whose every part matters; the same weights on every device."""
    model = Transformer(shape)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.initialise(generator)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.to(device)


def packed(device: str, *, trained: bool = True) -> Batch:
    """Two rows of several texts each, and padding at their ends."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(320, (2, 48), generator=generator)
    lengths = ((20, 1, 15, 12), (5, 30, 9, 4))
    rows = [torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths]
    mask = torch.rand(ids.shape, generator=generator) < 0.7 if trained else None
    batch = Batch(ids, ids.roll(-1, 1), mask, torch.stack(rows) + 1)
    return batch if device == "meta" else batch.to(device)


@pytest.mark.parametrize("name", SHAPES)
def test_tensors_are_made_where_the_model_is(name: str) -> None:
    with torch.device("meta"):
        model = Transformer(SHAPES[name])
        ids = torch.zeros(2, 48, dtype=torch.long)
        texts = torch.ones_like(ids)
    model.compute_dtype = torch.bfloat16
    model.initialise(torch.Generator().manual_seed(0))
    for batch in (Batch(ids, ids), Batch(ids, ids, segment_ids=texts)):
        next_token(model, batch).mean.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        cache = KVCache(
            model.config, capacity=32, batch=2, device="meta", dtype=torch.bfloat16
        )  # fmt: skip
        for count in (12, 1, 3):
            assert model(ids[:, :count], cache).device.type == "meta"


class TestGPU:
    """All of it skips, saying why, where torch sees no CUDA device."""

    pytestmark = gpu

    @pytest.mark.parametrize("compiled", ["no", "yes"])
    @pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
    def test_training_learns_as_on_the_cpu(
        self, dtype: Any, compiled: Any, built_once: TinyProject, tmp_path: Path
    ) -> None:
        # Tied, so that nothing is learnt before the first step.
        config = TrainConfig(
            width=64, depth=2, head_width=32, context=32, batch_tokens=256, steps=40, tied=True,
            compile="no", dtype="fp32", device="cpu",
        )  # fmt: skip
        shards = built_once.path / "shards"
        there = dataclasses.replace(config, device="cuda", dtype=dtype, compile=compiled)
        expected = losses(train(shards, tmp_path / "cpu", config).path)
        found = losses(train(shards, tmp_path / "cuda", there).path)
        assert len(found) == len(expected) == 40
        tolerance = 0.01 if dtype == "fp32" else 0.05
        assert found[0] == pytest.approx(expected[0], rel=tolerance)  # the same fresh weights
        assert found[-1] == pytest.approx(expected[-1], rel=tolerance)
        assert found[-1] < 0.8 * found[0]

    def test_a_saved_run_goes_on(self, built_once: TinyProject, tmp_path: Path) -> None:
        """Optimizer, scale of the loss and both random generators come back."""
        config = TrainConfig(
            width=64, depth=1, head_width=32, context=32, batch_tokens=256, steps=20, compile="no",
            dtype="fp16", device="cuda", dropout=0.1,
        )  # fmt: skip
        shards = built_once.path / "shards"
        whole = losses(train(shards, tmp_path / "whole", config).path)
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, steps=9)
            with pytest.raises(StoppedError):
                train(shards, tmp_path / "resumed", config)
        resumed = losses(train(shards, tmp_path / "resumed", config).path)
        assert resumed == pytest.approx(whole, rel=1e-2)  # sums on a GPU have no fixed order

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("name", SHAPES)
    def test_packed_texts_do_not_see_each_other(self, name: str, dtype: torch.dtype) -> None:
        """The mask of a GPU is the text by text of the CPU: loss and gradients."""
        tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {}
        found: list[tuple[float, dict[str, torch.Tensor]]] = []
        for device, computed in (("cpu", torch.float32), ("cuda", dtype)):
            model = make(SHAPES[name], device=device)
            model.compute_dtype = computed
            loss = next_token(model, packed(device)).mean
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
            found.append((loss.item(), gradients))
        (expected, exact), (loss, gradients) = found
        assert loss == pytest.approx(expected, rel=1e-4 if tolerance else 0.03)
        for key, gradient in gradients.items():
            if tolerance:
                torch.testing.assert_close(gradient, exact[key], **tolerance)
        error = torch.cat([(gradients[key] - exact[key]).flatten() for key in exact]).norm()
        assert error < 0.1 * torch.cat([value.flatten() for value in exact.values()]).norm()

    @pytest.mark.parametrize("name", SHAPES)
    def test_the_engine_writes_what_it_writes_on_the_cpu(
        self, name: str, built_once: TinyProject, tmp_path: Path
    ) -> None:
        tokenizer = built_once.path / "tokenizer"
        size = len(json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
        shape = dataclasses.replace(SHAPES[name], vocab_size=max(320, size), eos_id=0)
        save_checkpoint(make(shape), tmp_path, tokenizer=tokenizer)
        sampling = Sampling(temperature=0, max_tokens=30)
        prompts = ("The fox", "old house " * 12, "", "under")
        requests = [Request(prompt, sampling, logprobs=True) for prompt in prompts]
        expected = TorchEngine(load_checkpoint(tmp_path, dtype=torch.float32)).generate(requests)
        for dtype in (torch.float32, torch.bfloat16):
            engine = TorchEngine(load_checkpoint(tmp_path, device="cuda", dtype=dtype))
            together = engine.generate(requests)
            again = [engine.generate([request])[0] for request in requests]  # kept beginnings
            for ours, alone, theirs in zip(together, again, expected, strict=True):
                if dtype == torch.float32:
                    assert ours.tokens == alone.tokens == theirs.tokens
                    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)
                else:  # near-ties may fall otherwise, the first token's score may not
                    assert ours.logprobs is not None
                    assert theirs.logprobs is not None
                    assert ours.logprobs[0] == pytest.approx(theirs.logprobs[0], abs=0.2)

    @pytest.mark.parametrize("recompute", [False, True])
    @pytest.mark.parametrize("lora", [False, True])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_memory_is_what_was_told(self, dtype: torch.dtype, lora: bool, recompute: bool) -> None:
        """Of the most that torch allocated: a quarter less at least, half more at most."""
        shape = dataclasses.replace(
            LLAMA, vocab_size=8000, context=1024, width=512, depth=4, heads=8, kv_heads=8,
            head_width=64, mlp_width=1408,
        )  # fmt: skip
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model = Transformer(shape).to("cuda", dtype if lora and dtype != torch.float16 else None)
        if lora:
            add_adapter(model, config=LoRAConfig(rank=16))
        model.compute_dtype = dtype
        if recompute:
            recompute_blocks(model.train(), compiled=False)
        optimizer = finetuning_optimizer(model, lr=1e-3)
        ids = torch.zeros(8, 1024, dtype=torch.long, device="cuda")
        batch = Batch(ids, ids, torch.ones_like(ids, dtype=torch.bool), torch.ones_like(ids))
        for _ in range(2):
            next_token(model, batch).mean.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        measured = torch.cuda.max_memory_allocated() - before
        adapter = LoRAConfig(rank=16) if lora else None
        told = estimate(Demand(shape, adapter, 8, 1024, dtype, 1, recompute)).total
        assert 0.75 < told / measured < 1.5


def losses(model: Path) -> list[float]:
    lines = map(json.loads, (model / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def stop_after(patch: pytest.MonkeyPatch, *, steps: int) -> None:
    """Ask the loop to stop, as Ctrl-C does, when so many steps are made."""
    step = Loop._step

    def counted(self: Loop, task: Any) -> None:
        step(self, task)
        if self.pace.step == steps:
            signal.raise_signal(signal.SIGINT)

    patch.setattr(Loop, "_step", counted)

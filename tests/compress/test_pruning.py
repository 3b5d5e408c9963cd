"""Pruning and distillation: what stays is what mattered, and a student comes near its teacher."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from linnet.compress import prune as prune_stage
from linnet.compress.prune import prune_model
from linnet.compress.prune_config import PruneConfig
from linnet.compress.pruning import (
    PrunedShape,
    measure_scores,
    prune,
    pruned_config,
    require_publishable,
    shape_for,
)
from linnet.distil.divergence import DistillationLoss
from linnet.distil.teachers import LiveTeacher
from linnet.errors import ConfigError, DataError, ModelError
from linnet.model import ModelConfig, load_model, save_checkpoint
from linnet.shards.batches import Batch
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from tiny_transformer import model

DRAW = torch.Generator().manual_seed(5)

ROWS = [torch.randint(60, (1, 20), generator=DRAW) for _ in range(4)]


def batch() -> Batch:
    tokens = torch.randint(60, (3, 12), generator=torch.Generator().manual_seed(8))
    mask = torch.rand(3, 12, generator=torch.Generator().manual_seed(9)) < 0.7
    return Batch(tokens, tokens.roll(-1, 1), mask)


# --- pruning --------------------------------------------------------------------------------------


@torch.no_grad()
def test_removing_what_is_zero_changes_nothing() -> None:
    whole = model()
    for layer, block in enumerate(whole.blocks):
        dead = torch.randperm(40, generator=torch.Generator().manual_seed(layer))[:15]
        block.mlp.down.weight[:, dead] = 0  # type: ignore[union-attr, index]
        block.mlp.gate.weight[dead] = 0  # type: ignore[union-attr, index]
        columns = slice(16, 32) if layer == 1 else slice(0, 16)  # a group of two heads
        block.attention.o.weight[:, columns] = 0  # type: ignore[union-attr, index]
        block.attention.v.weight[slice(8, 16) if layer == 1 else slice(0, 8)] = 0  # type: ignore[union-attr, index]
    scores = measure_scores(whole, ROWS)
    small = prune(whole, PrunedShape(3, 25, 1, 24), scores)
    for row in ROWS:
        torch.testing.assert_close(small(row), whole(row), atol=1e-5, rtol=1e-4)
    assert small.config.parameters == sum(p.numel() for p in small.parameters())


@torch.no_grad()
def test_scores_are_the_mean_size_of_what_is_carried() -> None:
    whole = model()
    scores = measure_scores(whole, ROWS)
    seen: list[Any] = []
    block: Any = whole.blocks[1]
    hooks = [block.mlp.down.register_forward_pre_hook(lambda m, given: seen.append(given[0][0]))]
    for row in ROWS:
        whole.hidden(row)
    hooks[0].remove()
    torch.testing.assert_close(scores.units[1], torch.cat(seen).abs().mean(0))
    assert scores.blocks.shape == (3,)
    assert bool((scores.blocks > 0).all())


@torch.no_grad()
def test_a_block_that_does_nothing_goes_first() -> None:
    whole = model()
    idle: Any = whole.blocks[1]
    idle.attention.o.weight.zero_()
    idle.mlp.down.weight.zero_()
    small = prune(whole, PrunedShape(2, 40, 2, 24), measure_scores(whole, ROWS))
    for row in ROWS:
        torch.testing.assert_close(small(row), whole(row))


@torch.no_grad()
def test_coordinates_that_are_never_used_go(tmp_path: Path) -> None:
    whole = model()
    for name, value in whole.named_parameters():
        if name.endswith(("norm.weight", "o.weight", "down.weight")):
            value[20:] = 0
        elif name.startswith("embedding"):
            value[:, 20:] = 0
    small = prune(whole, PrunedShape(3, 40, 2, 20), measure_scores(whole, ROWS))
    # An RMS over fewer coordinates is larger by a factor that is the same everywhere.
    assert small.config.width == 20
    save_checkpoint(small, tmp_path)
    again = load_model(tmp_path)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    for row in ROWS:
        torch.testing.assert_close(again(row), small(row))
        torch.testing.assert_close(theirs(row).logits, small(row), atol=1e-4, rtol=1e-3)


def test_sizes_for_a_share_of_the_parameters() -> None:
    config = ModelConfig(
        family="llama", vocab_size=49152, width=576, depth=30, heads=9, kv_heads=3, head_width=64,
        mlp_width=1536, context=128, tied=True,
    )  # fmt: skip
    for keep in (0.75, 0.5, 0.3):
        shape = shape_for(config, keep)
        share = pruned_config(config, shape).parameters / config.parameters
        assert keep - 0.09 < share <= keep
        assert shape.depth == 30
    shallow = shape_for(config, 0.5, depth=20)
    assert shallow.width > shape_for(config, 0.5).width or shallow.depth == 20
    with pytest.raises(ConfigError, match="keep more"):
        shape_for(config, 0.01)
    with pytest.raises(ConfigError, match="kv_heads must be between 1 and 3"):
        pruned_config(config, PrunedShape(30, 64, 4, 64))


def test_families_without_a_rule_are_refused() -> None:
    whole = model(window=4, window_layers=(True, False, True))
    with pytest.raises(ModelError, match="windows of attention"):
        measure_scores(whole, ROWS)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"family": "gemma", "embedding_scale": 24**0.5, "norm": "rmsnorm_offset",
          "activation": "geglu", "tied": True}, PrunedShape(2, 24, 1, 16)),
        ({"family": "stablelm", "norm": "layernorm", "width": 32}, PrunedShape(2, 24, 1, 16)),
        ({"family": "qwen2", "attention_bias": True}, PrunedShape(2, 40, 2, 24)),
        ({"family": "apertus", "activation": "xielu", "qk_norm": True}, PrunedShape(2, 24, 1, 16)),
    ],
)  # fmt: skip
@torch.no_grad()
def test_what_is_saved_is_what_was_distilled(
    changes: dict[str, Any], shape: PrunedShape, tmp_path: Path
) -> None:
    whole = model(**changes)
    (tmp_path / "whole").mkdir()
    (tmp_path / "small").mkdir()
    save_checkpoint(whole, tmp_path / "whole")
    config = tmp_path / "whole" / "config.json"
    values = json.loads(config.read_text()) | {"layer_types": 3 * ["full_attention"]}
    config.write_text(json.dumps(values))  # as transformers writes those of Qwen 2
    small = prune(whole, shape, measure_scores(whole, ROWS)).eval()
    require_publishable(small.config)
    save_checkpoint(small, tmp_path / "small", base=tmp_path / "whole")
    again = load_model(tmp_path / "small")
    torch.testing.assert_close(again(ROWS[0]), small(ROWS[0]))


def test_width_and_heads_agree_where_a_family_has_no_width_of_heads() -> None:
    config = ModelConfig(
        family="stablelm", vocab_size=60, width=512, depth=2, heads=8, kv_heads=8, head_width=64,
        mlp_width=1024, context=32, norm="layernorm",
    )  # fmt: skip
    shape = shape_for(config, 0.5)
    assert shape.width == 64 * shape.kv_heads < 512
    require_publishable(pruned_config(config, shape))
    with pytest.raises(ConfigError, match="a width of 256, and 8 heads of 64"):
        require_publishable(pruned_config(config, PrunedShape(2, 1024, 8, 256)))


# --- distilled afterwards -------------------------------------------------------------------------


def test_a_pruned_model_learns_from_the_whole_one() -> None:
    teacher = model(mlp_width=64)
    small = prune(teacher, PrunedShape(3, 24, 1, 24), measure_scores(teacher, ROWS)).train()
    objective = DistillationLoss(LiveTeacher(teacher))
    optimizer = torch.optim.AdamW(small.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        tokens = torch.randint(60, (8, 16), generator=torch.Generator().manual_seed(step))
        loss = objective(small, Batch(tokens, tokens.roll(-1, 1))).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert dataclasses.replace(small.config, depth=3) == small.config


def test_a_model_is_pruned_and_distilled_into_a_checkpoint_of_its_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(prune_stage, "plot_curves", lambda metrics, out: [])
    words = [f"The {a} {b} sees a {c}." for a in ["old", "red", "odd"]
             for b in ["owl", "cat", "fox"] for c in ["hill", "lake", "wood"]]  # fmt: skip
    text = tmp_path / "text.txt"
    text.write_text("\n<|endoftext|>\n".join(words * 3))
    train_tokenizer(
        words, tmp_path / "tokenizer", TokenizerConfig(kind="bpe", vocab_size=280), inputs={}
    )
    tokenizer = load(tmp_path / "tokenizer")
    whole = model(vocab_size=tokenizer.vocab_size, width=64, context=64, depth=2)
    (tmp_path / "model").mkdir()
    halves = torch.bfloat16
    save_checkpoint(whole, tmp_path / "model", tokenizer=tmp_path / "tokenizer", dtype=halves)
    config = PruneConfig(
        steps=8, mlp_width=20, kv_heads=1, threads=1, dtype="fp32", context=16, batch_tokens=64,
        lr=0.01, sample_interval=4, teacher_weight=0.5,
    )  # fmt: skip
    made = prune_model(tmp_path / "model", text, tmp_path / "half", config)
    assert made.stats["sizes"] == {"depth": 2, "mlp_width": 20, "kv_heads": 1, "width": 64}
    assert made.stats["validation_loss"] < made.stats["pruned_loss"]
    log = map(json.loads, (tmp_path / "half" / "metrics.jsonl").read_text().splitlines())
    assert [entry["step"] for entry in log if "sample" in entry] == [4, 8]
    stored = load_file(tmp_path / "half" / "model.safetensors").values()
    assert {each.dtype for each in stored} == {halves}  # as those it was made from
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "half", dtype=torch.float32
    )
    ours, row = (
        load_model(tmp_path / "half", dtype=torch.float32),
        torch.tensor([tokenizer.encode(words[0])]),
    )
    with torch.no_grad():
        torch.testing.assert_close(theirs(row).logits, ours(row), atol=1e-4, rtol=1e-3)
    assert ours.config.parameters == made.stats["parameters"] < made.stats["of_parameters"]
    for name, content in (("empty.txt", ""), ("one.txt", "One line.")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=r"at least 100 tokens, to see what matters .* Got "):
            prune_model(tmp_path / "model", tmp_path / name, tmp_path / "none", config)
    with pytest.raises(ConfigError, match="sizes that take something away"):
        prune_model(tmp_path / "model", text, tmp_path / "same", PruneConfig(mlp_width=40))

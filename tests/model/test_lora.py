"""LoRA against its formula written out, and what adapters promise about their base."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from linnet.errors import ConfigError, ModelError
from linnet.model import ModelConfig, Transformer
from linnet.model.lora import (
    activate,
    adapter_parameters,
    add_adapter,
    projections,
    select,
    set_strength,
    strength_of,
)
from linnet.model.lora_config import LoRAConfig
from linnet.model.merging import merge, unmerge


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_of(family: str = "llama", *, dtype: torch.dtype = torch.float32) -> Any:
    values: dict[str, dict[str, Any]] = {
        "llama": {},
        "gpt2": {
            "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh",
            "attention_bias": True, "output_bias": True, "mlp_bias": True,
        },
        "untied": {"tied": False},
    }  # fmt: skip
    shape: dict[str, Any] = {
        "family": "llama" if family == "untied" else family,
        "vocab_size": 61, "context": 32, "width": 16, "depth": 2, "heads": 2, "kv_heads": 2,
        "head_width": 8, "mlp_width": 24,
    }  # fmt: skip
    model = Transformer(ModelConfig(**(shape | values[family])))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.to(dtype)


def with_adapter(model: Any, name: str = "mine", seed: int = 2, **config: Any) -> None:
    """Add an adapter that changes much."""
    add_adapter(model, name, LoRAConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(model, name).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def tokens() -> torch.Tensor:
    return torch.randint(0, 61, (2, 12), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 6 / 4), (True, 6 / math.sqrt(4))])
def test_a_layer_computes_the_formula(rslora: bool, scaling: float) -> None:
    model = model_of()
    with_adapter(model, rank=4, alpha=6, rslora=rslora, targets=("q_proj",))
    layer = model.blocks[1].attention.q
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(4))
    part = layer.part("mine")
    weight = layer.weight + scaling * part.b @ part.a
    torch.testing.assert_close(layer(x), x @ weight.T, atol=1e-6, rtol=1e-5)
    set_strength(model, "mine", -0.5)
    weight = layer.weight - 0.5 * scaling * part.b @ part.a
    torch.testing.assert_close(layer(x), x @ weight.T, atol=1e-6, rtol=1e-5)
    assert strength_of(model, "mine") == -0.5


def test_a_fresh_adapter_changes_nothing_and_is_drawn_from_its_generator() -> None:
    model, again = model_of(), model_of()
    before = model(tokens())
    for one in (model, again):
        add_adapter(one, "mine", LoRAConfig(rank=4), generator=torch.Generator().manual_seed(7))
    assert torch.equal(model(tokens()), before)
    for name, value in adapter_parameters(model, "mine").items():
        assert torch.equal(value, adapter_parameters(again, "mine")[name])
        if name.endswith(".a"):  # uniform within 1 / sqrt(in), as PEFT draws it
            bound = value.shape[1] ** -0.5
            assert 0.8 * bound < value.abs().max() <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_adapter_is_trained_and_it_is_in_fp32(dtype: torch.dtype) -> None:
    model = model_of(dtype=dtype).train()
    with_adapter(model, rank=4, dropout=0.1)
    loss = model(tokens()).logsumexp(-1).sum()
    loss.backward()
    own = adapter_parameters(model, "mine")
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == (name in own), name
        assert parameter.dtype == (torch.float32 if name in own else dtype)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own.values())


@pytest.mark.parametrize("family", ["llama", "gpt2", "untied"])
def test_gradients_are_those_of_the_formula(family: str) -> None:
    """Against automatic differentiation of weights that are put together in the open."""
    model = model_of(family)
    targets = ("all-linear", "lm_head") if family == "untied" else ("all-linear",)
    with_adapter(model, rank=4, targets=targets)
    plain = model_of(family)
    own = adapter_parameters(model, "mine")
    weights: dict[str, torch.Tensor] = dict(plain.named_parameters())
    for name, layer in model.named_modules():
        if hasattr(layer, "low_rank"):
            weights[f"{name}.weight"] = layer.weight + layer.part("mine").delta(layer)
    wanted = torch.func.functional_call(plain, weights, (tokens(),))
    torch.testing.assert_close(model(tokens()), wanted, atol=1e-5, rtol=1e-5)
    scores = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(5))
    theirs = torch.autograd.grad((wanted * scores).sum(), list(own.values()))
    ours = torch.autograd.grad((model(tokens()) * scores).sum(), list(own.values()))
    for name, mine, other in zip(own, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-4, rtol=1e-4, msg=name)


def test_fused_projections_share_one_a() -> None:
    model = model_of("gpt2")
    with_adapter(model, rank=4, targets=("c_attn",))
    parts = [getattr(model.blocks[0].attention, part).part("mine") for part in "qkv"]
    assert parts[0].a is parts[1].a is parts[2].a
    assert len(adapter_parameters(model, "mine")) == 2 * (1 + 3)


def test_dropout_only_in_training() -> None:
    model = model_of().eval()
    with_adapter(model, rank=4, dropout=0.5)
    assert torch.equal(model(tokens()), model(tokens()))
    model.train()
    assert not torch.equal(model(tokens()), model(tokens()))


def test_several_adapters_of_which_one_is_active() -> None:
    model = model_of()
    before = model(tokens())
    with_adapter(model, "first", seed=2, rank=4)
    first = model(tokens())
    with_adapter(model, "second", seed=3, rank=2, targets=("q_proj", "mlp.up_proj"))
    second = model(tokens())
    assert not torch.equal(first, second)
    for name, wanted in (("first", first), (None, before), ("second", second), ("base", before)):
        activate(model, name)
        assert torch.equal(model(tokens()), wanted)
    with pytest.raises(ModelError, match="no adapter 'third'; it has: first, second"):
        activate(model, "third")
    with pytest.raises(ModelError, match="already has an adapter 'first'"):
        add_adapter(model, "first")
    with pytest.raises(ConfigError, match="and not 'base'"):
        add_adapter(model, "base")
    copied = copy.deepcopy(model)
    activate(copied, "first")
    assert torch.equal(model(tokens()), before)
    assert torch.equal(copied(tokens()), first)


def test_names_of_torch_can_name_adapters() -> None:
    model = model_of()
    for name in ("half", "type", "keys", "weight", "forward"):
        with_adapter(model, name, rank=1, targets=("q_proj",))
    activate(model, "keys")
    assert model(tokens()).isfinite().all()


def test_merging_and_taking_it_out_again() -> None:
    model = model_of("gpt2")
    bits = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = model(tokens())
    with_adapter(model, rank=4)
    adapted = model(tokens())
    merge(model, "mine")
    torch.testing.assert_close(model(tokens()), adapted, atol=1e-5, rtol=1e-5)
    again: list[Callable[[], None]] = [
        lambda: merge(model, "mine"),
        lambda: activate(model, None),
    ]
    for wrong in again:
        with pytest.raises(ModelError, match=r"'mine' is .*merged"):
            wrong()
    unmerge(model)
    assert torch.equal(model(tokens()), adapted)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in bits.items())
    with pytest.raises(ModelError, match="no adapter is merged"):
        unmerge(model)
    merge(model, "mine", strength=0)
    assert torch.equal(model(tokens()), before)
    unmerge(model)
    merge(model, "mine", reversible=False)
    with pytest.raises(ModelError, match="merged for good"):
        unmerge(model)


def test_merging_into_fewer_bits_is_refused() -> None:
    model = model_of(dtype=torch.bfloat16)
    with_adapter(model, rank=4)
    with pytest.raises(ModelError, match=r"fp32 weights only. Got bfloat16; load the base with"):
        merge(model, "mine")


def test_targets() -> None:
    model = model_of("untied")
    assert {p.leaf for p in select(model, ("all-linear",))} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert [p.published for p in select(model, ("layers.1.mlp.up_proj", "lm_head"))] == [
        "model.layers.1.mlp.up_proj", "lm_head",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"nothing called 'c_attn'.*q_proj, k_proj.*lm_head"):
        add_adapter(model, "mine", LoRAConfig(targets=("c_attn",)))
    with pytest.raises(ConfigError, match=r"'lm_head'.*output layer is the embedding table"):
        select(model_of(), ("lm_head",))
    assert [p.within_block for p in projections(model_of("gpt2"))[:4]] == [
        "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"targets": ()}, "needs targets"),
        ({"alpha": math.inf}, "alpha must be a finite number"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoRAConfig(**wrong)


def test_compiled_it_computes_the_same() -> None:
    model = model_of().train()
    with_adapter(model, rank=4)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens()), model(tokens()), atol=1e-6, rtol=1e-5)

"""Strengths: scaled adapters and weights between, against weights made by hand."""

import json
import math
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from linnet.errors import ModelError
from linnet.finetune.encoding import Example
from linnet.finetune.packing import held_out_loss
from linnet.finetune.strength import Between, Sweep, Trade, sweep_strength, write_sweep
from linnet.model import ModelConfig, Transformer
from linnet.model.lora import adapted_layers, add_adapter, set_strength
from linnet.model.lora_config import LoRAConfig
from linnet.train.validation import HeldOutLoss

CONFIG = ModelConfig(
    family="llama", vocab_size=40, context=16, width=16, depth=2, heads=2,
    kv_heads=1, head_width=8, mlp_width=32,
)  # fmt: skip


def random_model(seed: int, spread: float = 0.3) -> Transformer:
    model = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


def held_out(seed: int) -> tuple[HeldOutLoss, list[Example]]:
    generator = np.random.default_rng(seed)
    examples = []
    for number in range(6):
        tokens = generator.integers(1, 40, 12).astype(np.uint32)
        trained = np.arange(12) >= 4
        examples.append(Example(tokens, trained, f"{number}", trained_bytes=30))
    found = held_out_loss(examples, rows=4, length=16, tokens=1000, device="cpu")
    assert found is not None
    return found, examples


def bits(model: Transformer, examples: list[Example]) -> float:
    """Bits per byte, one example at a time, by torch's own cross-entropy."""
    total = 0.0
    for example in examples:
        tokens = torch.from_numpy(example.tokens.astype(np.int64))
        with torch.no_grad():
            logits = model(tokens[None, :-1])[0]
        wanted = torch.from_numpy(example.trained[1:])
        losses = F.cross_entropy(logits, tokens[1:], reduction="none")
        total += float(losses[wanted].sum())
    return total / math.log(2) / sum(example.trained_bytes for example in examples)


def test_full_weights_between_and_beyond() -> None:
    base, tuned = random_model(1), random_model(2)
    (domain, examples), (general, others) = held_out(1), held_out(2)
    own = {name: value.clone() for name, value in tuned.state_dict().items()}
    between = Between(tuned, base.state_dict())
    sweep = sweep_strength(
        tuned, between, domain=domain, general=general, strengths=(0.5, 1.0, 1.5)
    )
    assert [trade.strength for trade in sweep.trades] == [0.0, 0.5, 1.0, 1.5]
    for trade in sweep.trades:
        mixed = random_model(1)
        weights = {n: v + trade.strength * (own[n] - v) for n, v in base.state_dict().items()}
        mixed.load_state_dict(weights)
        assert trade.domain == pytest.approx(bits(mixed, examples), rel=1e-4)
        assert trade.general == pytest.approx(bits(mixed, others), rel=1e-4)
        assert trade.forgetting == pytest.approx(trade.general - bits(base, others), abs=1e-5)
    assert all(torch.equal(value, own[name]) for name, value in tuned.state_dict().items())
    between(0.0)
    start = base.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in tuned.state_dict().items())


def test_an_adapter_is_scaled_and_left_as_it_was() -> None:
    model = random_model(1).train()
    add_adapter(model, "mine", LoRAConfig(rank=2, alpha=4))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".low_rank." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    (domain, examples), (general, others) = held_out(1), held_out(2)
    before = bits(model.eval(), examples)
    sweep = sweep_strength(
        model.train(), partial(set_strength, model, "mine"), domain=domain, general=general
    )
    assert model.training
    assert bits(model.eval(), examples) == before
    base = random_model(1)
    assert sweep.trades[0].general == pytest.approx(bits(base, others), rel=1e-5)
    assert sweep.trades[4].strength == 1
    assert sweep.trades[4].domain == pytest.approx(before, rel=1e-5)
    # Half the change: half of every product B A, added to the weights by hand.
    with torch.no_grad():
        for path, layer in adapted_layers(model):
            part = layer.part("mine")
            assert part is not None
            weight = base.get_parameter(f"{path}.weight")
            weight.add_(0.5 * 2.0 * part.b @ part.a)
    assert sweep.trades[2].strength == 0.5
    assert sweep.trades[2].domain == pytest.approx(bits(base, examples), rel=1e-4)


def test_another_models_weights_are_refused() -> None:
    other = random_model(1).state_dict()
    other["norm.weight"] = torch.zeros(3)
    with pytest.raises(ModelError, match=r"'norm\.weight' is of another shape"):
        Between(random_model(2), other)
    del other["norm.weight"]
    with pytest.raises(ModelError, match=r"'norm\.weight' is missing"):
        Between(random_model(2), other)


TRADES = (
    Trade(0.0, 2.0, 1.0, 0.0),
    Trade(0.25, 1.7, 1.01, 0.01),
    Trade(0.5, 1.5, 1.04, 0.04),
    Trade(0.75, 1.38, 1.09, 0.09),
    Trade(1.0, 1.3, 1.2, 0.2),
    Trade(1.25, 1.35, 1.4, 0.4),
)


@pytest.mark.parametrize(
    ("limit", "strength"), [(0.0, 1.0), (0.3, 1.0), (0.1, 0.75), (0.04, 0.5), (0.001, 0.0)]
)
def test_the_recommended_strength_is_the_best_within_the_limit(
    limit: float, strength: float
) -> None:
    assert Sweep(TRADES, "bits/byte", limit).recommended.strength == strength


def test_a_little_more_gain_does_not_pay_for_more_forgetting() -> None:
    trades = (*TRADES[:5], Trade(1.25, 1.29, 1.4, 0.4))  # 0.71 gained instead of 0.70
    assert Sweep(trades, "bits/byte", 0.0).recommended.strength == 1.0
    trades = (*TRADES[:5], Trade(1.25, 1.20, 1.4, 0.4))
    assert Sweep(trades, "bits/byte", 0.0).recommended.strength == 1.25


def test_the_sweep_is_written_and_drawn(tmp_path: Path) -> None:
    sweep = Sweep(TRADES, "bits/byte", 0.1)
    written = write_sweep(sweep, tmp_path)
    assert [path.name for path in written] == ["strength.json", "strength.svg", "strength.png"]
    values = json.loads((tmp_path / "strength.json").read_text(encoding="utf-8"))
    assert values["recommended"] == 0.75
    assert [Trade(**trade) for trade in values["trades"]] == list(TRADES)
    drawn = (tmp_path / "strength.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    for shown in ("0 (base)", "0.75, recommended", "limit", "currentColor"):
        assert shown in drawn
    assert sweep.sentence() == (
        "strength 0.75 serves best within 0.1 bits/byte: held-out 1.380 bits/byte (-0.620), "
        "general text 1.090 bits/byte (+0.090)"
    )

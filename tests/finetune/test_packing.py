"""Packed batches: every example once, nothing crossing, and the loss of unpacked training."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from linnet.errors import DataError
from linnet.finetune.encoding import Example
from linnet.finetune.packing import PackedBatches, held_out_batches
from linnet.model import ModelConfig, Transformer
from linnet.shards.batches import Batch

VOCABULARY = 50


def examples(count: int, *, longest: int = 30, seed: int = 0) -> list[Example]:
    """Random examples, each with a prompt that is not trained."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        size = int(generator.integers(2, longest + 2))
        tokens = generator.integers(1, VOCABULARY, size).astype(np.uint32)
        trained = np.arange(size) >= generator.integers(1, size)
        made.append(Example(tokens, trained, f"rows.jsonl:{number + 1}"))
    return made


def found_in(batch: Batch) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """The examples in a batch, as their tokens and what is trained of them, by the segments."""
    assert batch.segment_ids is not None
    assert batch.loss_mask is not None
    found = []
    for row, segments in enumerate(batch.segment_ids):
        for segment in segments.unique().tolist():
            if segment:
                here = segments == segment
                tokens = batch.tokens[row][here].tolist() + batch.targets[row][here].tolist()[-1:]
                assert batch.targets[row][here].tolist()[:-1] == tokens[1:-1]
                found.append((tuple(tokens), tuple(batch.loss_mask[row][here].tolist())))
    return found


def of(given: list[Example]) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    return [(tuple(e.tokens.tolist()), tuple(e.trained.tolist()[1:])) for e in given]


def test_an_epoch_holds_every_example_once_and_the_next_one_in_another_order() -> None:
    given = examples(700)
    batches = PackedBatches(given, rows=1, length=64, seed=3)
    epochs = [[e for _ in range(n) for e in found_in(batches.next())] for n in sizes(batches)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(of(given))
    assert epochs[0] != epochs[1]
    other = PackedBatches(given, rows=1, length=64, seed=4)
    assert found_in(other.next()) != epochs[0][: len(found_in(other.next()))]


def sizes(batches: PackedBatches) -> tuple[int, int]:
    first = batches.batches_in(1)
    return first, batches.batches_in(2) - first


@pytest.mark.parametrize("longest", [30, 62])
def test_rows_are_nearly_full(longest: int) -> None:
    batches = PackedBatches(examples(3000, longest=longest), rows=4, length=64, seed=1)
    count = batches.batches_in(1) - 1  # the last one reaches into the next epoch
    masks = [batches.next().segment_ids != 0 for _ in range(count)]  # type: ignore[operator]
    assert float(torch.cat(masks).float().mean()) > 0.95
    assert batches.fill > 0.95


def test_who_meets_whom_changes_with_every_epoch() -> None:
    batches = PackedBatches(examples(600), rows=1, length=64, seed=1)
    first, second = ([found_in(batches.next()) for _ in range(n)] for n in sizes(batches))
    met = {frozenset(row) for row in first}
    assert sum(frozenset(row) in met for row in second) < 0.02 * len(second)


def test_examples_that_pair_badly_cost_no_more_than_a_row_each() -> None:
    wide = [replace(e, tokens=np.ones(40, np.uint32), trained=np.ones(40, bool))
            for e in examples(5000)]  # fmt: skip
    assert PackedBatches(wide, rows=1, length=64, seed=1).batches_in(1) == len(wide)


@pytest.mark.parametrize("taken", [0, 3, 40])
def test_goes_on_exactly_from_a_saved_state(taken: int) -> None:
    given = examples(100)
    one = PackedBatches(given, rows=3, length=40, seed=2)
    for _ in range(taken):
        one.next()
    two = PackedBatches(given, rows=3, length=40, seed=2)
    two.restore(one.state())
    assert one.epoch == two.epoch
    for _ in range(30):
        a, b = one.next(), two.next()
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.segment_ids, b.segment_ids)  # type: ignore[arg-type]


def test_half_an_epoch_is_half_its_rows() -> None:
    batches = PackedBatches(examples(500), rows=1, length=64, seed=1)
    assert batches.batches_in(0.5) == -(-batches.batches_in(1) // 2)


def test_held_out_batches_hold_every_example_once() -> None:
    given = examples(101)
    found = [e for batch in held_out_batches(given, rows=4, length=50) for e in found_in(batch)]
    assert sorted(found) == sorted(of(given))


def test_an_example_that_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:\d+: fills \d+ places, but a row has 10"):
        PackedBatches(examples(50), rows=1, length=10, seed=1)
    with pytest.raises(DataError, match="Got none"):
        PackedBatches([], rows=1, length=10, seed=1)


def model(**changes: Any) -> Transformer:
    config: dict[str, Any] = {
        "family": "llama", "vocab_size": VOCABULARY, "context": 64, "width": 32, "depth": 2,
        "heads": 4, "kv_heads": 2, "head_width": 8, "mlp_width": 48, "bos_id": 0, "eos_id": 0,
    }  # fmt: skip
    made = Transformer(ModelConfig(**{**config, **changes})).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return made


def total_loss(made: Transformer, batches: list[Batch]) -> torch.Tensor:
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        mask = batch.loss_mask
        assert mask is not None
        hidden = made.hidden(batch.tokens, segment_ids=batch.segment_ids)
        logits = F.linear(hidden, made.output_table)
        total = total + F.cross_entropy(logits[mask], batch.targets[mask], reduction="sum")
        count += int(mask.sum())
    return total / count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"family": "gpt2", "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh",
         "kv_heads": 4, "attention_bias": True, "output_bias": True, "mlp_bias": True},
    ],
    ids=["rope", "learned positions"],
)  # fmt: skip
def test_packed_and_unpacked_training_have_the_same_loss_and_gradients(
    changes: dict[str, Any],
) -> None:
    given = examples(40)
    results = []
    for packed in (True, False):
        made = model(**changes)
        stream = PackedBatches(given, rows=1, length=64, seed=1, packed=packed)
        loss = total_loss(made, [stream.next() for _ in range(stream.batches_in(1))])
        loss.backward()
        results.append((loss.detach(), [p.grad for p in made.parameters()]))
    assert float(results[0][0]) > 1
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)
    # And of one example alone, without any segments.
    made = model(**changes)
    plain = torch.zeros((), dtype=torch.float64)
    count = 0
    for example in given:
        tokens = torch.from_numpy(example.tokens.astype(np.int64))[None]
        logits = made.logits(made.hidden(tokens[:, :-1]).double())
        trained = torch.from_numpy(example.trained[1:])
        plain += F.cross_entropy(logits[0][trained], tokens[0, 1:][trained], reduction="sum")
        count += int(trained.sum())
    torch.testing.assert_close(plain / count, results[0][0], rtol=1e-5, atol=1e-5)

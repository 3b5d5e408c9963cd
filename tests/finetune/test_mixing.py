"""Mixtures: shares of what is trained, and going on exactly."""

import numpy as np
import pytest
import torch

from linnet.errors import ConfigError
from linnet.finetune.encoding import Example
from linnet.finetune.packing import Mixture, PackedBatches
from linnet.shards.batches import Batch

LENGTH = 64


def stream(token: int, trained: float, *, seed: int = 1) -> PackedBatches:
    """Rows of one token, of which a share is trained."""
    generator = np.random.default_rng(token)
    given = [
        Example(np.full(size, token, np.uint32), np.arange(size) >= (1 - trained) * size, "x")
        for size in generator.integers(10, 40, 80).tolist()
    ]
    return PackedBatches(given, rows=1, length=LENGTH, seed=seed)


def mixture() -> Mixture:
    return Mixture([(stream(1, 0.3), 0.75), (stream(2, 1.0), 0.25)], rows=4)


def test_each_stream_has_its_share_of_the_trained_tokens() -> None:
    mixed = mixture()
    trained = {1: 0, 2: 0}
    for _ in range(60):
        batch = mixed.next()
        assert batch.tokens.shape == (4, LENGTH)
        for token in trained:
            trained[token] += int(batch.loss_mask[batch.tokens == token].sum())  # type: ignore[index]
        share = trained[2] / sum(trained.values())
    assert share == pytest.approx(0.25, abs=0.01)
    assert mixed.trained == [trained[1], trained[2]]


def test_every_row_comes_whole_from_one_stream_in_that_streams_order() -> None:
    mixed = mixture()
    alone = {1: stream(1, 0.3), 2: stream(2, 1.0)}
    for _ in range(10):
        batch = mixed.next()
        for row in range(4):
            expected = alone[int(batch.tokens[row, 0])].next()
            assert torch.equal(batch.tokens[row], expected.tokens[0])
            assert torch.equal(batch.segment_ids[row], expected.segment_ids[0])  # type: ignore[index]


def test_goes_on_exactly_from_a_saved_state() -> None:
    one, two = mixture(), mixture()
    for _ in range(7):
        one.next()
    two.restore(one.state())
    for _ in range(20):
        a, b = one.next(), two.next()
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.loss_mask, b.loss_mask)  # type: ignore[arg-type]


class Plain:
    """A stream as pretraining has them: without masks."""

    def next(self, context: object = None) -> Batch:
        tokens = torch.full((1, LENGTH), 7)
        return Batch(tokens, tokens)

    def state(self) -> dict[str, int]:
        return {}

    def restore(self, state: object) -> None:
        pass


def test_rows_without_masks_are_trained_throughout_as_one_segment() -> None:
    batch = Mixture([(Plain(), 1.0), (stream(1, 0.5), 1.0)], rows=6).next()
    plain = batch.tokens[:, 0] == 7
    assert 0 < int(plain.sum()) < 6
    assert bool(batch.loss_mask[plain].all())  # type: ignore[index]
    assert bool((batch.segment_ids[plain] == 1).all())  # type: ignore[index]


def test_shares_must_be_positive_and_rows_single() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Mixture([(stream(1, 1.0), 0.0)], rows=1)
    two = PackedBatches([Example(np.ones(9, np.uint32), np.ones(9, bool), "x")],
                        rows=2, length=LENGTH, seed=1)  # fmt: skip
    with pytest.raises(ConfigError, match="single rows"):
        Mixture([(two, 1.0)], rows=1).next()

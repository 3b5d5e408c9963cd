"""The chunked cross-entropy against the plain one."""

import json
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F

from linnet.model import Transformer
from linnet.shards.batches import Batch
from linnet.train import TrainConfig, objectives
from linnet.train.masking import MaskedBatches, Masking, mask_tokens
from linnet.train.objectives import linear_cross_entropy, next_token


@pytest.mark.parametrize("chunk", [1, 300, 1 << 20])
def test_equals_the_plain_cross_entropy_and_its_gradients(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 16)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 11, (45,), generator=generator)
    pairs = []
    for compute in (
        lambda h, w: linear_cross_entropy(h, w, targets) / 45,
        lambda h, w: F.cross_entropy(F.linear(h, w), targets),
    ):
        hidden = torch.randn(45, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
        table = torch.randn(11, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
        loss = compute(hidden, table)
        loss.backward()
        pairs.append((loss.detach(), hidden.grad, table.grad))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bf16_states_give_a_loss_and_a_table_gradient_in_fp32() -> None:
    hidden = torch.randn(9, 4, dtype=torch.bfloat16, requires_grad=True)
    table = torch.randn(20, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, table, torch.arange(9))
    loss.backward()
    assert loss.dtype == torch.float32
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
    assert table.grad is not None
    assert table.grad.dtype == torch.float32
    expected = F.cross_entropy(
        F.linear(hidden.float(), table.bfloat16().float()), torch.arange(9), reduction="sum"
    )
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("frozen", [False, True])
def test_soft_cap_bias_and_a_frozen_table(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "CHUNK_LOGITS", 100)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 16)
    random = torch.Generator().manual_seed(3)
    states = torch.randn(45, 6, generator=random, dtype=torch.float64)
    rows = torch.randn(11, 6, generator=random, dtype=torch.float64)
    offsets = torch.randn(11, generator=random, dtype=torch.float64)
    targets = torch.randint(0, 11, (45,), generator=random)
    gradients = []
    for ours in (True, False):
        hidden = states.float().requires_grad_(True)
        table = rows.float().requires_grad_(not frozen)
        bias = offsets.float().requires_grad_(True)
        if ours:
            loss = linear_cross_entropy(hidden, table, targets, bias=bias, softcap=2.0)
        else:
            logits = 2.0 * torch.tanh(F.linear(hidden, table, bias) / 2.0)
            loss = F.cross_entropy(logits, targets, reduction="sum")
        (loss * 0.5).backward()
        assert (table.grad is None) == frozen
        gradients.append([loss.detach(), hidden.grad, bias.grad, table.grad])
    for mine, theirs in zip(*gradients, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


def small_model() -> Transformer:
    config = TrainConfig(steps=1, width=32, depth=2, head_width=16, context=16, batch_tokens=64)
    model = Transformer(config.model(50, end_of_text=0, pad=None))
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=random)
    return model


def test_only_trained_tokens_count_and_no_text_sees_another() -> None:
    """Against texts computed alone with plain logits."""
    model = small_model()
    random = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 50, (2, 16), generator=random)
    targets = torch.randint(0, 50, (2, 16), generator=random)
    mask = torch.rand(2, 16, generator=random) < 0.4
    segments = torch.tensor([[0] * 7 + [1] * 9, [0] * 16])
    loss = next_token(model, Batch(tokens, targets, mask, segments)).mean
    total = torch.zeros(())
    for row, ids in ((0, slice(0, 7)), (0, slice(7, 16)), (1, slice(0, 16))):
        logits = model(tokens[row : row + 1, ids])[0]
        losses = F.cross_entropy(logits, targets[row, ids], reduction="none")
        total = total + losses[mask[row, ids]].sum()
    torch.testing.assert_close(loss, total / mask.sum())


def test_masks_are_those_of_the_paper() -> None:
    tokens = torch.randint(5, 1000, (50, 400), generator=torch.Generator().manual_seed(1))
    tokens[:, ::10] = 3
    hidden = mask_tokens(
        Batch(tokens, tokens),
        Masking(mask=4, vocab_size=1000, special=(3,)),
        generator=torch.Generator().manual_seed(2),
    )
    asked = hidden.loss_mask
    assert asked is not None
    assert torch.equal(hidden.targets, tokens)
    assert torch.equal(hidden.tokens[~asked], tokens[~asked])
    assert not asked[tokens == 3].any()
    assert asked.sum() / (tokens != 3).sum() == pytest.approx(0.15, abs=0.01)
    shown, true = hidden.tokens[asked], tokens[asked]
    assert (shown == 4).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == true).float().mean() == pytest.approx(0.1, abs=0.02)


class Counting:
    """Batches that are told apart by their number."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, context: object = None) -> Batch:
        self.count += 1
        tokens = torch.full((2, 8), 4 + self.count)
        return Batch(tokens, tokens)

    def state(self) -> dict[str, int]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, int]) -> None:
        self.count = state["count"]


def test_a_restored_stream_asks_the_same_questions() -> None:
    streams = [MaskedBatches(Counting(), Masking(mask=1, vocab_size=30), seed=7) for _ in range(2)]
    for _ in range(3):
        streams[0].next()
    state = json.loads(json.dumps(streams[0].state()))
    streams[1].restore(state)
    for _ in range(2):
        one, other = streams[0].next(), streams[1].next()
        assert torch.equal(one.tokens, other.tokens)
        assert one.loss_mask is not None
        assert other.loss_mask is not None
        assert torch.equal(one.loss_mask, other.loss_mask)

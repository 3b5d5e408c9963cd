"""Distillation: the loss is the published one, and a student comes near its teacher."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_pruning import model
from torch import Tensor

from linnet.compress import distillation
from linnet.compress.distillation import DistillationLoss, divergence
from linnet.compress.teachers import LiveTeacher
from linnet.errors import ModelError
from linnet.model import Transformer
from linnet.shards.batches import Batch
from linnet.train.objectives import Loss, next_token

DRAW = torch.Generator().manual_seed(5)


def batch() -> Batch:
    tokens = torch.randint(60, (3, 12), generator=torch.Generator().manual_seed(8))
    mask = torch.rand(3, 12, generator=torch.Generator().manual_seed(9)) < 0.7
    return Batch(tokens, tokens.roll(-1, 1), mask)


def gradients(loss: Tensor, of: Transformer) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(of.parameters())))


def assert_same(ours: Loss, expected: Tensor, of: Transformer) -> None:
    """The same loss, and the same gradients."""
    torch.testing.assert_close(ours.sum, expected)
    for one, other in zip(gradients(ours.sum, of), gradients(expected, of), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_is_that_of_trl(mixing: float, temperature: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    student = torch.randn(2, 5, 11, generator=DRAW).requires_grad_()
    teacher = torch.randn(2, 5, 11, generator=DRAW)
    expected = gkd.GKDTrainer.generalized_jsd_loss(
        student, teacher, beta=mixing, temperature=temperature, reduction="sum"
    )
    ours = student.detach().clone().requires_grad_()
    found = divergence(
        (ours.flatten(0, 1) / temperature).log_softmax(-1),
        (teacher.flatten(0, 1) / temperature).log_softmax(-1),
        mixing=mixing,
    ).sum()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, ours)[0], torch.autograd.grad(expected, student)[0]
    )


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_the_divergence_from_a_copy_is_nothing(mixing: float) -> None:
    one = model()
    loss = DistillationLoss(LiveTeacher(one), mixing=mixing)(one, batch())
    assert float(loss.sum.detach()) == pytest.approx(0, abs=1e-4)
    for gradient in gradients(loss.sum, one):
        assert float(gradient.abs().max()) < 1e-4


def test_without_a_weight_it_is_plain_training_bit_for_bit() -> None:
    one, given = model(), batch()
    plain, ours = next_token(one, given), DistillationLoss(LiveTeacher(model(2)), 0.0)(one, given)
    assert torch.equal(plain.sum, ours.sum)
    assert plain.weight == ours.weight
    for one_of, other in zip(gradients(plain.sum, one), gradients(ours.sum, one), strict=True):
        assert torch.equal(one_of, other)


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False, "logit_bias": True}, {"logit_softcap": 3.0}]
)
def test_the_loss_is_what_its_formula_says(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "CHUNK_ROWS", 7)
    monkeypatch.setattr(distillation, "CHUNK_LOGITS", 7)
    one, teacher, given = model(**changes), model(2), batch()
    loss = DistillationLoss(LiveTeacher(teacher), weight=0.6, temperature=2.0)(one, given)
    assert given.loss_mask is not None
    ours, theirs = (each(given.tokens)[given.loss_mask] for each in (one, teacher))
    apart = F.kl_div(
        (ours / 2).log_softmax(-1), (theirs.detach() / 2).log_softmax(-1),
        reduction="sum", log_target=True,
    )  # fmt: skip
    plain = F.cross_entropy(ours, given.targets[given.loss_mask], reduction="sum")
    assert_same(loss, 0.6 * 4 * apart + 0.4 * plain, one)
    found = loss.metrics["divergence"], loss.metrics["next_token"]
    assert [float(each.sum) for each in found] == pytest.approx([float(apart), float(plain)])  # type: ignore[union-attr]


def test_what_the_student_wrote_itself_counts_by_the_teacher_alone() -> None:
    one, teacher, given = model(), model(2), batch()
    sampled = torch.zeros(3, 12, dtype=torch.bool)
    sampled[1] = True
    mixed = given.replaced({**given.tensors, "sampled": sampled})
    loss = DistillationLoss(LiveTeacher(teacher), weight=0.5)(one, mixed)
    alone = DistillationLoss(LiveTeacher(teacher), weight=1.0)(one, given)
    assert given.loss_mask is not None
    others = given.replaced({**given.tensors, "loss_mask": given.loss_mask & ~sampled})
    assert_same(loss, 0.5 * alone.sum + 0.5 * next_token(one, others).sum, one)


def test_padding_and_packing_change_nothing() -> None:
    one, teacher = model(), LiveTeacher(model(2))
    tokens = torch.randint(60, (2, 9), generator=DRAW)
    objective = DistillationLoss(teacher, 0.7, mixing=0.4)
    alone = [
        objective(one, Batch(row[None, :-1][:, :size], row[None, 1:][:, :size]))
        for row, size in zip(tokens, (8, 5), strict=True)
    ]
    packed = torch.full((1, 20), 3)
    targets, mask, segments = packed.clone(), torch.zeros(1, 20, dtype=torch.bool), packed * 0
    for number, (row, start, size) in enumerate([(tokens[0], 0, 8), (tokens[1], 8, 5)], 1):
        here = slice(start, start + size)
        packed[0, here], targets[0, here] = row[:size], row[1 : size + 1]
        mask[0, here], segments[0, here] = True, number
    together = objective(one, Batch(packed, targets, mask, segments))
    assert_same(together, alone[0].sum + alone[1].sum, one)
    assert together.weight == 13


def test_a_teacher_may_have_rows_of_no_token_and_tokens_that_the_student_has_not() -> None:
    given, teacher = batch(), model(2, vocab_size=90)
    kept = torch.randperm(90, generator=torch.Generator().manual_seed(4))[:60]
    one = model()
    loss = DistillationLoss(LiveTeacher(teacher, kept))(one, given)
    assert given.loss_mask is not None
    theirs = teacher(kept[given.tokens])[given.loss_mask][:, kept].detach()
    expected = F.kl_div(
        one(given.tokens)[given.loss_mask].log_softmax(-1), theirs.softmax(-1), reduction="sum"
    )
    assert_same(loss, expected, one)
    longer = model(vocab_size=64)  # with rows behind the tokens, as for speed
    found = DistillationLoss(LiveTeacher(teacher, kept))(longer, given)
    ours = longer(given.tokens)[given.loss_mask][:, :60].log_softmax(-1)
    assert_same(found, F.kl_div(ours, theirs.softmax(-1), reduction="sum"), longer)
    with pytest.raises(ModelError, match="must share one vocabulary"):
        DistillationLoss(LiveTeacher(teacher))(one, given)


def test_pieces_of_a_batch_add_up() -> None:
    one, objective = model(), DistillationLoss(LiveTeacher(model(2)), 0.9, mixing=1.0)
    whole, pieces = objective(one, batch()), [objective(one, each) for each in batch().split(1)]
    assert_same(whole, torch.stack([each.sum for each in pieces]).sum(), one)
    assert dataclasses.replace(whole, weight=sum(each.weight for each in pieces)) == whole

"""Losses of alignment, against trl's on the same numbers and what follows from their papers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.align import losses
from linnet.align.config import PreferenceKind
from linnet.train.objectives import linear_cross_entropy, linear_log_probs

DRAW = torch.Generator().manual_seed(7)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAW)


# --- log-probabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_log_probabilities_and_their_gradients(
    softcap: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.train.objectives.CHUNK_LOGITS", chunk)
    monkeypatch.setattr("linnet.train.objectives.CHUNK_ROWS", 3)
    parts = [normal(11, 5), normal(7, 5), normal(7)]
    targets, weights = torch.randint(7, (11,), generator=DRAW), normal(11)
    ours = [part.clone().requires_grad_() for part in parts]
    found = linear_log_probs(ours[0], ours[1], targets, bias=ours[2], softcap=softcap)
    (found * weights).sum().backward()
    theirs = [part.clone().requires_grad_() for part in parts]
    logits = theirs[0] @ theirs[1].T + theirs[2]
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    expected = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    total = linear_cross_entropy(*parts[:2], targets, bias=parts[2], softcap=softcap)
    torch.testing.assert_close(-found.sum(), total)


# --- against trl ---------------------------------------------------------------------------------


class Model:
    """Stands for a model: gives the log-probabilities of tokens that it was made with."""

    training = True

    def __init__(self, **log_probs: Tensor) -> None:
        self.log_probs = log_probs

    def __call__(self, *, input_ids: Tensor, **kwargs: Any) -> SimpleNamespace:
        own = self.log_probs["kl" if int(input_ids[0, 0]) == 1 else "own"]
        nothing = torch.zeros_like(own)
        return SimpleNamespace(
            log_probs=own, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )


class Everything(dict[str, Any]):
    """Metrics that nobody reads."""

    def __missing__(self, key: str) -> Any:
        return self.setdefault(key, [])


def trainer(**settings: Any) -> Any:
    """What trl's loss reads of its trainer."""
    accelerator = SimpleNamespace(
        device="cpu",
        gather=lambda found: found,
        gather_for_metrics=lambda found: found,
        reduce=lambda found, reduction: found,
    )
    return SimpleNamespace(
        accelerator=accelerator, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", use_weighting=False, loss_weights=[1.0], label_smoothing=0,
        _metrics={"train": Everything()}, _total_train_tokens=0, _tp_size=1, **settings,
    )  # fmt: skip


PAIRS, LENGTH = 4, 6
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0]] * PAIRS)


@pytest.mark.parametrize(
    ("kind", "smoothing"),
    [("sigmoid", 0.0), ("sigmoid_norm", 0.0), ("ipo", 0.0), ("robust", 0.1)],
)
def test_preference_losses_are_those_of_trl(kind: PreferenceKind, smoothing: float) -> None:
    dpo = pytest.importorskip("trl.trainer.dpo_trainer")
    mask = MASK[:, 1:]
    tokens = (-normal(2 * PAIRS, LENGTH - 1).abs() * mask).requires_grad_()
    reference = (-normal(2 * PAIRS, LENGTH - 1).abs() * mask).sum(1)
    known = trainer(loss_types=[kind], beta=0.3)
    known.label_smoothing = smoothing
    inputs = {
        "input_ids": torch.zeros(2 * PAIRS, LENGTH, dtype=torch.long),
        "attention_mask": torch.ones(2 * PAIRS, LENGTH),
        "completion_mask": MASK,
        "ref_chosen_logps": reference[:PAIRS],
        "ref_rejected_logps": reference[PAIRS:],
    }
    expected = dpo.DPOTrainer._compute_loss(known, Model(own=tokens), inputs, False)
    (gradient,) = torch.autograd.grad(expected, tokens)
    own = tokens.detach().clone().requires_grad_()
    ratios = own.sum(1) - reference
    lengths = mask.sum(1)
    found = losses.preference_losses(
        ratios[:PAIRS], ratios[PAIRS:], kind=kind, beta=0.3, smoothing=smoothing,
        lengths=(lengths[:PAIRS], lengths[PAIRS:]),
    ).mean()  # fmt: skip
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    (ours,) = torch.autograd.grad(found, own)
    torch.testing.assert_close(ours, gradient, atol=1e-4, rtol=0)


def test_the_usual_loss_of_what_was_chosen_is_trls() -> None:
    """trl's is a mean of all tokens, ours of pairs: the same where completions are of a length."""
    dpo = pytest.importorskip("trl.trainer.dpo_trainer")
    whole = torch.tensor([[0, 0, 1, 1, 1, 1]] * PAIRS + [[0, 1, 1, 0, 0, 0]] * PAIRS)
    mask = whole[:, 1:]
    tokens = (-normal(2 * PAIRS, LENGTH - 1).abs() * mask).requires_grad_()
    reference = (-normal(2 * PAIRS, LENGTH - 1).abs() * mask).sum(1)
    known = trainer(loss_types=["sigmoid", "sft"], beta=0.3)
    known.loss_weights = [1.0, 0.4]
    inputs = {
        "input_ids": torch.zeros(2 * PAIRS, LENGTH, dtype=torch.long),
        "attention_mask": torch.ones(2 * PAIRS, LENGTH), "completion_mask": whole,
        "ref_chosen_logps": reference[:PAIRS], "ref_rejected_logps": reference[PAIRS:],
    }  # fmt: skip
    expected = dpo.DPOTrainer._compute_loss(known, Model(own=tokens), inputs, False)
    (gradient,) = torch.autograd.grad(expected, tokens)
    own = tokens.detach().clone().requires_grad_()
    known_probs = own.sum(1)
    ratios = known_probs - reference
    each = losses.preference_losses(ratios[:PAIRS], ratios[PAIRS:], beta=0.3)
    each = each + 0.4 * losses.likelihood_losses(known_probs[:PAIRS], mask.sum(1)[:PAIRS])
    torch.testing.assert_close(each.mean(), expected, atol=1e-5, rtol=0)
    (ours,) = torch.autograd.grad(each.mean(), own)
    torch.testing.assert_close(ours * mask, gradient * mask, atol=1e-4, rtol=0)


def test_desirability_losses_are_those_of_trl() -> None:
    kto = pytest.importorskip("trl.trainer.kto_trainer")
    mask = MASK[:, 1:]
    tokens = (-normal(2 * PAIRS, LENGTH - 1).abs() * mask).requires_grad_()
    other = -normal(2 * PAIRS, LENGTH - 1).abs() * mask
    reference, reference_other = normal(2 * PAIRS) - 5, other.sum(1) - 0.4
    labels = torch.tensor([True, False, True, True, False, True, False, True])
    known = trainer(
        loss_type="kto", beta=0.2, calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.5
    )
    model = Model(own=tokens, kl=other)
    known._compute_kl_logps = lambda *args: kto.KTOTrainer._compute_kl_logps(known, *args)
    inputs = {
        "input_ids": torch.zeros(2 * PAIRS, LENGTH, dtype=torch.long),
        "attention_mask": torch.ones(2 * PAIRS, LENGTH),
        "completion_mask": MASK,
        "KL_input_ids": torch.ones(2 * PAIRS, LENGTH, dtype=torch.long),
        "KL_attention_mask": torch.ones(2 * PAIRS, LENGTH),
        "KL_completion_mask": MASK,
        "label": labels,
        "ref_logps": reference,
        "ref_KL_logps": reference_other,
    }
    expected = kto.KTOTrainer._compute_loss(known, model, inputs, False)
    (gradient,) = torch.autograd.grad(expected, tokens)
    own = tokens.detach().clone().requires_grad_()
    found = losses.desirability_losses(
        own.sum(1) - reference, labels, beta=0.2, weights=(1.0, 1.5),
        divergence=(other.sum(1) - reference_other).mean(),
    ).mean()  # fmt: skip
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    (ours,) = torch.autograd.grad(found, own)
    torch.testing.assert_close(ours, gradient, atol=1e-4, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_clipped_losses_are_those_of_trl(weighted: bool) -> None:
    grpo = pytest.importorskip("trl.trainer.grpo_trainer")
    rows, length, beta = 6, 5, 0.1
    mask = (torch.arange(length) < torch.tensor([[5], [3], [4], [1], [5], [2]])).long()
    tokens = (-normal(rows, length).abs()).requires_grad_()
    sampled, reference = tokens.detach() + 0.4 * normal(rows, length), -normal(rows, length).abs()
    advantage = losses.advantages(normal(rows), 3)
    known = trainer(
        beta=beta, loss_type="dr_grpo", epsilon_low=0.2, epsilon_high=0.3, max_completion_length=8,
        importance_sampling_level="token", top_entropy_quantile=1.0, use_vllm=False,
        off_policy_mask_threshold=None, current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=weighted),
    )  # fmt: skip
    known._get_per_token_logps_and_entropies = lambda *args, **kwargs: (
        tokens, torch.zeros(rows, length), None,
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.zeros(rows, 2, dtype=torch.long),
        "prompt_mask": torch.ones(rows, 2, dtype=torch.long),
        "completion_ids": torch.zeros(rows, length, dtype=torch.long),
        "completion_mask": mask, "advantages": advantage, "old_per_token_logps": sampled,
        "ref_per_token_logps": reference,
    }  # fmt: skip
    expected = grpo.GRPOTrainer._compute_loss(known, SimpleNamespace(training=True), inputs)
    (gradient,) = torch.autograd.grad(expected, tokens)
    own = tokens.detach().clone().requires_grad_()
    each = losses.clipped_losses(own, sampled, advantage[:, None], low=0.2, high=0.3)
    each = each + beta * losses.divergences(own, reference, sampled if weighted else None)
    found = (each * mask).sum() / (rows * 8)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    (ours,) = torch.autograd.grad(found, own)
    torch.testing.assert_close(ours, gradient, atol=1e-4, rtol=0)


# --- what follows from the papers ----------------------------------------------------------------


def test_where_the_model_is_its_reference() -> None:
    """DPO's loss is ln 2, its gradient that of half of beta; KTO's loss is a half."""
    chosen, rejected = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    found = losses.preference_losses(chosen, rejected, beta=0.4)
    torch.testing.assert_close(found, torch.full((3,), math.log(2)))
    gradients = torch.autograd.grad(found.sum(), (chosen, rejected))
    torch.testing.assert_close(gradients[0], torch.full((3,), -0.2))
    torch.testing.assert_close(gradients[1], torch.full((3,), 0.2))
    half = losses.desirability_losses(
        torch.zeros(2), torch.tensor([True, False]), beta=0.4, divergence=0.0
    )
    torch.testing.assert_close(half, torch.full((2,), 0.5))


def test_the_gradient_of_dpo_is_its_closed_form() -> None:
    chosen, rejected = normal(5).requires_grad_(), normal(5)
    found = losses.preference_losses(chosen, rejected, beta=0.4).sum()
    (gradient,) = torch.autograd.grad(found, chosen)
    closed = -0.4 * torch.sigmoid(0.4 * (rejected - chosen))  # equation 7 of the paper
    torch.testing.assert_close(gradient, closed.detach())


def test_swapping_completions_turns_the_margin_round() -> None:
    one, other = normal(5), normal(5)
    there = losses.preference_losses(one, other, beta=0.4)
    back = losses.preference_losses(other, one, beta=0.4)
    torch.testing.assert_close(torch.exp(-there) + torch.exp(-back), torch.ones(5))
    even = losses.preference_losses(one, other, beta=0.4, smoothing=0.5)
    torch.testing.assert_close(even, (there + back) / 2)


def test_ipo_is_least_at_its_margin() -> None:
    lengths = (torch.full((3,), 4.0), torch.full((3,), 2.0))
    margins = 1 / (2 * 0.25) + torch.tensor([-0.1, 0.0, 0.1])
    found = losses.preference_losses(
        margins * 4, torch.zeros(3), kind="ipo", beta=0.25, lengths=lengths
    )
    torch.testing.assert_close(found, torch.tensor([0.01, 0.0, 0.01]))


def test_advantages_of_a_group() -> None:
    rewards = torch.cat((normal(12), torch.full((4,), 0.1)))
    found = losses.advantages(rewards, 4)
    torch.testing.assert_close(found.view(4, 4).sum(1), torch.zeros(4))
    assert not found[12:].any()  # exactly zero
    torch.testing.assert_close(found[:4], rewards[:4] - rewards[:4].mean())
    scaled = losses.advantages(rewards, 4, scale="group").view(4, 4)
    torch.testing.assert_close(scaled[:3].std(1), torch.ones(3), atol=1e-2, rtol=0)
    assert not scaled[3].any()


def test_clipping_does_nothing_at_ratio_one() -> None:
    tokens, advantage = normal(3, 4).requires_grad_(), normal(3, 1)
    found = losses.clipped_losses(tokens, tokens.detach(), advantage)
    (gradient,) = torch.autograd.grad(found.sum(), tokens)
    torch.testing.assert_close(gradient, -advantage.expand(3, 4))
    assert not losses.is_clipped(tokens, tokens.detach(), advantage).any()
    far = tokens.detach() - 1
    clipped = losses.is_clipped(tokens, far, advantage)
    (gradient,) = torch.autograd.grad(losses.clipped_losses(tokens, far, advantage).sum(), tokens)
    assert torch.equal(clipped, gradient == 0)


def test_a_bandit_comes_to_its_known_optimum() -> None:
    """The best policy under a KL penalty is the reference times exp(reward / beta)."""
    rewards, reference, beta = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.5, 0.3, 0.2]), 0.5
    logits = reference.log().clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        log_probs = logits.log_softmax(0)
        sampled, probability = log_probs.detach(), log_probs.detach().exp()
        advantage = rewards - (probability * rewards).sum()
        each = losses.clipped_losses(log_probs, sampled, advantage)
        each = each + beta * losses.divergences(log_probs, reference.log(), sampled)
        loss = (probability * each).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = F.softmax(reference.log() + rewards / beta, dim=0)
    torch.testing.assert_close(logits.detach().softmax(0), best, atol=5e-3, rtol=0)

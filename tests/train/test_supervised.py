"""Labels, pairs and texts that belong together: losses and gradients against their references."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from linnet.errors import ModelError
from linnet.model import ModelConfig, Transformer, load_model
from linnet.model.families import FAMILIES
from linnet.model.heads import replace_head
from linnet.shards.batches import Batch
from linnet.train.objectives import Loss, TrainingStep
from linnet.train.supervised import IGNORED, ContrastLoss, PairLoss, label_loss

SHAPE: dict[str, Any] = {
    "vocab_size": 61, "context": 32, "width": 16, "depth": 2, "heads": 2, "kv_heads": 2,
    "head_width": 8, "mlp_width": 24, "pad_id": 1,
}  # fmt: skip
LENGTHS = torch.tensor([12, 5, 9, 12, 7, 3])


def make(family: str, head: Any, labels: tuple[str, ...] = ("a", "b", "c"), **more: Any) -> Any:
    scratch = FAMILIES[family].scratch
    assert scratch is not None
    model = Transformer(ModelConfig(family=family, **{**SHAPE, **scratch}))
    model.initialise(torch.Generator().manual_seed(1))
    replace_head(model, head, labels=labels if head != "none" else (), **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.2
            )
    return model.eval()


def texts(**tensors: torch.Tensor) -> Batch:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(2, 61, (6, 12), generator=generator)
    padding = torch.arange(12) >= LENGTHS[:, None]
    return Batch(tokens.masked_fill(padding, 1), segment_ids=padding.long(), **tensors)


PROBLEMS: dict[str, tuple[tuple[str, ...], torch.Tensor]] = {
    "regression": (("x",), torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5, 0.25])),
    "single_label_classification": (("a", "b", "c"), torch.tensor([0, 2, 1, 1, 0, 2])),
    "multi_label_classification": (
        ("a", "b", "c"), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]] * 2).float(),
    ),
    "token": (("a", "b", "c"), (torch.arange(72) % 3).view(6, 12)),
}  # fmt: skip


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_labels_cost_what_transformers_says(family: str, problem: str, tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers")
    from linnet.model import save_checkpoint

    names, labels = PROBLEMS[problem]
    head = "token" if problem == "token" else "sequence"
    model = make(family, head, names)
    save_checkpoint(model, tmp_path)
    batch = texts(labels=labels)
    seen = batch["segment_ids"] == 0
    if head == "token":
        batch = texts(labels=labels.masked_fill(~seen, IGNORED))
    auto = "Token" if head == "token" else "Sequence"
    theirs = getattr(transformers, f"AutoModelFor{auto}Classification").from_pretrained(tmp_path)
    theirs.eval()
    wanted = theirs(batch.tokens, attention_mask=seen.long(), labels=batch["labels"]).loss
    wanted.backward()
    loss = label_loss(model, batch)
    loss.mean.backward()
    torch.testing.assert_close(loss.mean, wanted, atol=1e-5, rtol=1e-5)
    ours = load_model(tmp_path).embedding.weight
    torch.testing.assert_close(ours, theirs.get_input_embeddings().weight)
    torch.testing.assert_close(
        model.embedding.weight.grad, theirs.get_input_embeddings().weight.grad,
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip
    pieces = [label_loss(model, piece) for piece in batch.split(4)]
    torch.testing.assert_close(added(pieces), loss.mean, atol=1e-5, rtol=1e-5)


def added(pieces: list[Loss]) -> torch.Tensor:
    return torch.stack([piece.sum for piece in pieces]).sum() / sum(p.weight for p in pieces)


@torch.no_grad()
def test_pairs_cost_what_bradley_and_terry_say() -> None:
    model = make("llama", "sequence", ("score",))
    margins = torch.tensor([0.0, 0.5, 1.0])
    tokens = texts()
    batch = Batch(tokens.tokens, segment_ids=tokens.segment_ids, margins=margins, units=3)
    loss = PairLoss(center=0.1)(model, batch)
    alone = [model(row[None, :length]) for row, length in zip(batch.tokens, LENGTHS, strict=True)]
    scores = torch.cat(alone)[:, 0]
    wanted = torch.stack([
        -torch.log(torch.sigmoid(scores[2 * n] - scores[2 * n + 1] - margins[n]))
        + 0.1 * (scores[2 * n] + scores[2 * n + 1]) ** 2
        for n in range(3)
    ])  # fmt: skip
    torch.testing.assert_close(loss.mean, wanted.mean(), atol=1e-5, rtol=1e-5)
    right = (scores[0::2] > scores[1::2]).float().mean()
    assert float(loss.metrics["accuracy"]) == pytest.approx(float(right))  # type: ignore[arg-type]
    pieces = [PairLoss(center=0.1)(model, piece) for piece in batch.split(1)]
    torch.testing.assert_close(added(pieces), loss.mean, atol=1e-5, rtol=1e-5)
    swapped = batch.tokens.view(3, 2, 12).flip(1).reshape(6, 12)
    segments = batch["segment_ids"].view(3, 2, 12).flip(1).reshape(6, 12)
    other = PairLoss()(model, Batch(swapped, segment_ids=segments, units=3))
    assert float(other.metrics["margin"]) == pytest.approx(-float(loss.metrics["margin"]), abs=1e-5)  # type: ignore[arg-type]
    same = Batch(batch.tokens[:1].repeat(2, 1), units=1)
    assert float(PairLoss()(model, same).mean) == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "pooling"), [("bert", "mean"), ("bert", "cls"), ("llama", "last")]
)
def test_texts_that_belong_together(family: str, pooling: str) -> None:
    """Two groups: a question, its answer and a near miss, and a question with its answer alone."""
    model = make(family, "none")
    groups = torch.tensor([7, 7, 7, 4, 4, 4])
    batch = texts(groups=groups)
    objective = ContrastLoss(pooling, scale=5.0)
    vectors = []
    for row, length in zip(batch.tokens, LENGTHS, strict=True):
        states = model.hidden(row[None, :length])[0]
        pooled = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
        vectors.append(F.normalize(pooled, dim=0))
    torch.testing.assert_close(
        objective.embed(model, batch), torch.stack(vectors), atol=1e-5, rtol=1e-4
    )
    wanted = []
    for question, answer in ((0, 1), (3, 4)):
        cosines = torch.stack([vectors[question] @ vectors[other] for other in (1, 2, 4, 5)])
        own = vectors[question] @ vectors[answer]
        wanted.append(torch.logsumexp(5 * cosines, 0) - 5 * own)
    row = torch.cat([r[:n] for r, n in zip(batch.tokens, LENGTHS, strict=True)])[None]
    numbers = torch.repeat_interleave(torch.arange(6), LENGTHS)[None]
    packed = Batch(row, segment_ids=numbers, groups=groups, units=1)
    for each in (batch, packed):
        loss = objective(model, each)
        assert loss.weight == 2
        torch.testing.assert_close(loss.mean, torch.stack(wanted).mean(), atol=1e-5, rtol=1e-4)


def test_a_fresh_classifier_learns_its_labels() -> None:
    model = make("bert", "sequence", ("a", "b", "c"))
    batch = texts(labels=torch.tensor([0, 2, 1, 1, 0, 2]))
    step = TrainingStep(model.train(), label_loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = float(step(batch).mean.detach())
    for _ in range(30):
        optimizer.zero_grad()
        step(batch).mean.backward()
        optimizer.step()
    loss = label_loss(model.eval(), batch)
    assert float(loss.mean.detach()) < first / 3
    assert float(loss.metrics["accuracy"]) == 1.0  # type: ignore[arg-type]


def test_what_the_model_has_no_head_for_is_refused() -> None:
    with pytest.raises(ModelError, match="labels need a classifier"):
        label_loss(make("llama", "none"), texts(labels=torch.zeros(6)))
    with pytest.raises(ModelError, match=r"pairs need a head with one score\. Got 3 labels"):
        PairLoss()(make("llama", "sequence"), texts())

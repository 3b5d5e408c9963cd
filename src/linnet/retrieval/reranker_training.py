"""Training a re-ranker on questions whose passages are known.

A search finds candidates for each question; those that answer are right, the others are hard
negatives, less those that may well answer too (:func:`mine`). Questions are divided by group
(their documents): on most it is trained, on some it is validated and calibrated, and on the rest
it is compared with the search alone. It is ``kept`` where it orders those better, beyond chance.

The objective is the sum of two: the passage that answers before the others of its question
(listwise softmax, as in RankNet's descendants, arXiv:2101.08751), and each passage by itself
(binary cross-entropy), without which scores of different questions could not be compared.
Calibration is Platt's (1999), and becomes part of the head.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet import artifact, hub
from linnet.config import option
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval.passages import Found, Passage, Searchable
from linnet.retrieval.reranker import KIND, LABELS, MAX_TOKENS, Reranker
from linnet.retrieval.terms import terms
from linnet.train.config import PairTrainingConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.objectives import Loss
    from linnet.train.text_pairs import PairEncoding

FORMAT = 1
FEWEST = 40
"""Questions that training needs at least."""

TESTED, VALIDATED = 0.2, 0.1
"""Shares of the questions, by group, that it is measured on, and that it is calibrated on."""

MOST_TESTED, MOST_VALIDATED = 400, 200
RESAMPLES = 2000
BINS = 10
SHORT = 4
"""Terms of an answer from which on a passage that has them all in a row answers, too."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RerankerConfig(PairTrainingConfig):
    """How a re-ranker is trained. Those of a batch are questions with their passages."""

    layers: int = option(3, "Blocks of the encoder to take, the first ones.", least=1)
    questions: int = option(3000, "Questions to train on at most, evenly drawn.", least=FEWEST)
    candidates: int = option(20, "Passages that the search gives for each.", least=2)
    negatives: int = option(6, "Wrong passages that are read with the right one.", least=1)
    easy: int = option(1, "How many of these are of other questions.", least=0)
    pointwise: float = option(0.5, "Weight of each passage by itself in the objective.", least=0)
    epochs: int = option(1, "Times that each question is read.", least=1)
    batch: int = option(8, "Questions per update.", least=1)
    lr: float = option(2e-4, "Peak learning rate.", above=0)
    max_tokens: int = option(
        MAX_TOKENS, "Longest pair, in tokens; of a longer passage the part that fits best is read.",
        least=16,
    )  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A question, and where it is answered: characters ``start`` to ``end`` of a document.

    ``answer``: the expected value or text. ``group``: what is trained on or tested on as one, by
    default the document.
    """

    question: str
    source: str
    start: int
    end: int
    answer: str = ""
    group: str = ""


@dataclass(frozen=True)
class Candidates:
    """A question with what a search found for it, in order, and which of that answers."""

    question: str
    found: tuple[Found, ...]
    right: tuple[bool, ...]
    group: str


def mine(
    targets: Iterable[Target],
    index: Searchable,
    *,
    count: int = RerankerConfig.candidates,
    progress: Progress = SILENT,
) -> list[Candidates]:
    """Candidates of each question; of equal questions once, with the targets of all.

    Right is a passage that overlaps a target, or that has its whole answer, if that is of several
    terms. Of the others those are left out of which it is not known: of a target's document with
    all the answer's terms.
    """
    same: dict[str, list[Target]] = {}
    for target in targets:
        same.setdefault(" ".join(terms(target.question)), []).append(target)
    mined = []
    with progress.task("searching", total=len(same), unit="questions") as task:
        for own in same.values():
            question = own[0].question
            judged = [
                (each, verdict)
                for each in index.search(question, count)
                if (verdict := _answers(each.passage, own)) is not None
            ]
            mined.append(
                Candidates(
                    question,
                    tuple(each for each, _ in judged),
                    tuple(verdict for _, verdict in judged),
                    own[0].group or own[0].source,
                )
            )
            task.advance(1)
    return mined


def _answers(passage: Passage, targets: Sequence[Target]) -> bool | None:
    """Whether a passage answers; None where it may."""
    unknown = False
    found: list[str] | None = None
    for target in targets:
        for place in passage.places:
            if place.source == target.source and (
                place.start < target.end and target.start < place.end
            ):
                return True
        wanted = terms(target.answer, passage.language)
        if not wanted:
            continue
        found = terms(passage.text, passage.language) if found is None else found
        if not set(wanted) <= set(found):
            continue
        if len(wanted) >= SHORT and f" {' '.join(wanted)} " in f" {' '.join(found)} ":
            return True
        unknown = unknown or any(place.source == target.source for place in passage.places)
    return None if unknown else False


def train_reranker(
    lists: Sequence[Candidates],
    encoder: Path | str,
    out: Path | str,
    config: RerankerConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Train a re-ranker out of the first blocks of ``encoder`` on what :func:`mine` gave.

    Raises DataError where that is too little. Whether it is better than the search is
    ``stats["kept"]``.
    """
    from linnet.model import save_checkpoint
    from linnet.train.metrics import METRICS
    from linnet.train.state import STATE
    from linnet.train.text_pairs import pair_model

    started = time.monotonic()
    config = config or RerankerConfig()
    place = hub.find(encoder if Path(encoder).exists() else str(encoder), progress=progress).path
    inputs: dict[str, Artifact | str] = {
        "questions": _digest(lists),
        "encoder": artifact.hash_file(place / "model.safetensors"),
    }

    def write(draft: Draft) -> None:
        trained, validated, tested = divided(lists, config)
        model = pair_model(place, labels=LABELS, seed=config.seed, depth=config.layers)
        reranker = _train(model, place, trained, validated, draft, config, progress, started)
        calibration = calibrate(reranker, validated)
        save_checkpoint(model, draft.path, tokenizer=place)
        draft.stats.update(
            trained=len(trained),
            validated=len(validated),
            calibration=calibration,
            **measured(reranker, tested),
        )

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        volatile=(METRICS,),
        working=STATE,
    )


def divided(
    lists: Sequence[Candidates], config: RerankerConfig
) -> tuple[list[Candidates], list[Candidates], list[Candidates]]:
    """Questions to train on, to validate and calibrate on, and to test on: by group.

    To train and to calibrate on only those for which the search found what answers. Of each no
    more than are read. Raises DataError where there are too few.
    """
    parts: tuple[list[Candidates], ...] = ([], [], [])
    for each in lists:
        where = int.from_bytes(hashlib.sha256(each.group.encode()).digest()[:4]) / 2**32
        number = 2 if where < TESTED else 1 if where < TESTED + VALIDATED else 0
        if number == 2 or (any(each.right) and not all(each.right)):
            parts[number].append(each)
    draw = random.Random(config.seed)
    trained, validated, tested = (
        part if len(part) <= most else draw.sample(part, most)
        for part, most in zip(parts, (config.questions, MOST_VALIDATED, MOST_TESTED), strict=True)
    )
    if len(trained) < FEWEST or not validated or not tested:
        raise DataError(
            f"a re-ranker needs at least {FEWEST} questions about several documents, of which the "
            f"search finds the passage. Got {len(trained)} to train on, {len(validated)} to "
            f"validate on and {len(tested)} to test on, of {len(lists)}"
        )
    return trained, validated, tested


@dataclass(frozen=True)
class RankingLoss:
    """Of each unit of ``size`` pairs the first is right."""

    size: int
    pointwise: float

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the units."""
        import torch
        import torch.nn.functional as F

        from linnet.train.objectives import Loss
        from linnet.train.text_pairs import scores_of

        scores = scores_of(model, batch)[:, 0].view(-1, self.size)
        first = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        total = F.cross_entropy(scores, first, reduction="sum")
        if self.pointwise:
            labels = torch.zeros_like(scores)
            labels[:, 0] = 1
            alone = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
            # The right one weighs as much as all others together.
            weights = torch.full_like(scores, 0.5 / (self.size - 1))
            weights[:, 0] = 0.5
            total = total + self.pointwise * (alone * weights).sum()
        right = (scores.detach().argmax(1) == 0).float().mean()
        return Loss(total, len(scores), {"accuracy": right})


class _Groups:
    """Questions with a right passage and wrong ones, drawn anew for each epoch."""

    def __init__(
        self, reranker: Reranker, lists: Sequence[Candidates], config: RerankerConfig
    ) -> None:
        self.reranker, self.lists, self.config = reranker, lists, config
        self.size = 1 + config.negatives
        self.lengths = [
            sum(len(each.passage.text) for each in own.found) // len(own.found) for own in lists
        ]

    def batch(self, epoch: int, places: Sequence[int]) -> Batch:
        """The groups of these questions."""
        from linnet.train.text_pairs import batch_of

        encoded: list[PairEncoding] = []
        for place in places:
            own = self.lists[place]
            encoded += self.reranker.encode(own.question, self._drawn(epoch, place))
        return batch_of(encoded, units=len(places))

    def _drawn(self, epoch: int, place: int) -> list[Passage]:
        own = self.lists[place]
        draw = random.Random(f"{self.config.seed} {epoch} {place}")
        right = [each.passage for each, yes in zip(own.found, own.right, strict=True) if yes]
        wrong = [each.passage for each, yes in zip(own.found, own.right, strict=True) if not yes]
        easy = self._others(place, draw)
        hard = draw.sample(wrong, min(len(wrong), self.config.negatives - len(easy)))
        chosen = [*hard, *easy]
        while len(chosen) < self.config.negatives:  # small collections
            chosen.append(draw.choice(wrong))
        return [draw.choice(right), *chosen]

    def _others(self, place: int, draw: random.Random) -> list[Passage]:
        own, found = self.lists[place], []
        for _ in range(min(self.config.easy, self.config.negatives - 1)):
            other = draw.choice(self.lists)
            if other.group != own.group:
                found.append(draw.choice(other.found).passage)
        return found


def _train(
    model: Transformer,
    encoder: Path,
    trained: Sequence[Candidates],
    validated: Sequence[Candidates],
    draft: Draft,
    config: RerankerConfig,
    progress: Progress,
    started: float,
) -> Reranker:
    from linnet.tokenizer import load as load_tokenizer
    from linnet.train.text_pairs import ShuffledBatches, train_on_pairs

    reranker = Reranker(model, load_tokenizer(encoder), max_tokens=config.max_tokens)
    groups, held_out = (_Groups(reranker, own, config) for own in (trained, validated))
    objective = RankingLoss(groups.size, config.pointwise)
    starts = range(0, len(validated), config.batch)
    batches = [
        held_out.batch(0, range(len(validated))[start : start + config.batch]) for start in starts
    ]

    def validation(model: Transformer) -> dict[str, float]:
        device = str(model.embedding.weight.device)
        found = [objective(model, batch.to(device)) for batch in batches]
        return {"loss": sum(each.sum.item() for each in found) / sum(e.weight for e in found)}

    stream = ShuffledBatches(groups.lengths, groups.batch, batch=config.batch, seed=config.seed)
    train_on_pairs(
        model,
        stream,
        draft.path,
        config,
        objective=objective,
        validator=validation,
        validations=max(2, config.epochs),
        progress=progress,
        started=started,
    )
    return reranker


def calibrate(reranker: Reranker, lists: Sequence[Candidates]) -> dict[str, float]:
    """Scale the head so that its sigmoid is the share of passages that answer."""
    import torch

    logits = np.concatenate([_logits(reranker, own) for own in lists])
    right = np.array([yes for own in lists for yes in own.right], float)
    slope, offset = platt(logits, right)
    output: Any = reranker.model.head.output
    with torch.no_grad():
        output.weight.mul_(slope)
        if output.bias is not None:
            output.bias.mul_(slope).add_(offset)
    return {"slope": slope, "offset": offset, "passages": len(right)}


def platt(logits: Numbers, right: Numbers) -> tuple[float, float]:
    """Slope and offset of the likeliest ``sigmoid(slope * logit + offset)``, with the smoothed
    labels of Platt (1999), by Newton's method."""
    positive, total = right.sum(), len(right)
    targets = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (total - positive + 2))
    features = np.stack([logits, np.ones(total)], 1)
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        probabilities = _sigmoid(features @ weights)
        gradient = features.T @ (probabilities - targets)
        curvature = (features * (probabilities * (1 - probabilities))[:, None]).T @ features
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        weights = weights - step * min(1.0, 5 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return max(float(weights[0]), 1e-3), float(weights[1])  # an order is never turned round


def _sigmoid(x: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))  # type: ignore[no-any-return]


def _logits(reranker: Reranker, own: Candidates) -> Numbers:
    from linnet.train.text_pairs import pair_scores

    if not own.found:
        return np.empty(0)
    encoded = reranker.encode(own.question, [each.passage for each in own.found])
    return pair_scores(reranker.model, encoded)[:, 0].double().numpy()


def measured(reranker: Reranker, lists: Sequence[Candidates]) -> dict[str, Any]:
    """How questions are answered before and after re-ranking, and how well calibrated it is.

    A question of which nothing that answers was found counts as 0 in both. Intervals are of 95 %,
    by bootstrap over questions; the difference's is paired.
    """
    before = np.array([_ranked(own.right) for own in lists])
    after, probabilities = [], []
    for own in lists:
        scores = _logits(reranker, own)
        after.append(_ranked([own.right[place] for place in np.argsort(-scores, kind="stable")]))
        probabilities.append(_sigmoid(scores))
    right = np.array([yes for own in lists for yes in own.right], float)
    both = {"before": before, "after": np.array(after)}
    figures: dict[str, Any] = {"tested": len(lists)}
    for name, ranks in both.items():
        figures[name] = {
            "recall_at_1": _mean(ranks == 1),
            "recall_at_5": _mean((ranks > 0) & (ranks <= 5)),
            "mrr": _mean(_reciprocal(ranks)),
        }
    gain = _mean(_reciprocal(both["after"]) - _reciprocal(both["before"]))
    return {
        **figures,
        "mrr_gain": gain,
        "ece": expected_calibration_error(np.concatenate(probabilities), right),
        "kept": gain["low"] > 0,
    }


def _ranked(right: Sequence[bool]) -> int:
    """Which comes first of those that answer, from 1; 0 for none."""
    return next((number for number, yes in enumerate(right, 1) if yes), 0)


def _reciprocal(ranks: npt.NDArray[np.int64]) -> Numbers:
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)


def _mean(values: npt.NDArray[Any]) -> dict[str, float]:
    """A mean with its interval."""
    values = values.astype(float)
    draw = np.random.default_rng(0)
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def expected_calibration_error(probabilities: Numbers, right: Numbers, bins: int = BINS) -> float:
    """How far shares are from probabilities, over bins of equal width (Naeini et al., 2015)."""
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    off = 0.0
    for place in range(bins):
        own = places == place
        if own.any():
            off += own.mean() * abs(right[own].mean() - probabilities[own].mean())
    return float(off)


def _digest(lists: Sequence[Candidates]) -> str:
    digest = hashlib.sha256()
    for own in lists:
        for part in (own.question, own.group, *(each.passage.id for each in own.found)):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(bytes(own.right))
    return digest.hexdigest()

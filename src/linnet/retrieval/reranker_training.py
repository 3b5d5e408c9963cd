"""Training a re-ranker on questions whose passages are known.

A search finds candidates for each question; those that answer are right, the others are hard
negatives, less those that may well answer too (:func:`mine`). Sentences of these may be read as
well, where it is known which says it. Questions are divided by group
(their documents): on most it is trained, on some it is validated and calibrated, and on the rest
it is compared with the search alone. It is ``kept`` where it orders those better, beyond chance.

The objective is the sum of two: the passage that answers before the others of its question
(listwise softmax, as in RankNet's descendants, arXiv:2101.08751), and each passage by itself
(binary cross-entropy), without which scores of different questions could not be compared.
Calibration is Platt's (1999).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet import artifact, hub
from linnet.config import option
from linnet.errors import DataError
from linnet.output import write_text
from linnet.progress import SILENT, Progress
from linnet.retrieval.measures import paired_difference, rank_of, summary
from linnet.retrieval.passages import Found, Passage
from linnet.retrieval.reranker import (
    KIND,
    LABELS,
    MAX_TOKENS,
    SETTINGS,
    Calibration,
    Reranker,
    sigmoid,
    write_settings,
)
from linnet.retrieval.terms import terms
from linnet.runtime import detect, torch_dtype
from linnet.scoring.calibration import ece
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

MOST_TESTED, MOST_VALIDATED = 250, 120
SHORT = 4
"""Terms of an answer from which on a passage that has them all in a row answers, too."""

VOCABULARY, WIDTH = 8192, 128
"""Of an encoder from scratch."""

RIDGE = 1e-3
"""Of the regression, for questions of which all or none are right."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RerankerConfig(PairTrainingConfig):
    """How a re-ranker is trained. Those of a batch are questions with their passages."""

    layers: int = option(3, "Blocks of the encoder to take, the first ones.", least=1)
    most_questions: int = option(3000, "Questions to train on at most, evenly drawn.", least=FEWEST)
    candidates: int = option(20, "Passages that the search gives for each.", least=2)
    negatives: int = option(3, "Wrong passages that are read with the right one.", least=1)
    easy: int = option(1, "How many of these are of other questions.", least=0)
    sentences: int = option(
        12, "Wrong sentences of the passages to draw from, beside the one that answers; 0: "
        "passages alone are read.", least=0,
    )  # fmt: skip
    pointwise: float = option(0.5, "Weight of each passage by itself in the objective.", least=0)
    words: bool = option(False, "Train the table of words, too, which is most of a small encoder.")
    epochs: int = option(1, "Times that each question is read.", least=1)
    batch: int = option(8, "Questions per update.", least=1)
    lr: float = option(3e-4, "Peak learning rate.", above=0)
    max_tokens: int = option(
        MAX_TOKENS, "Longest pair, in tokens; of a longer passage the part that fits best is read.",
        least=16,
    )  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A question, and where it is answered: characters ``start`` to ``end`` of a document, or all
    behind ``start``.

    ``answer``: the expected value or text. ``group``: what is trained on or tested on as one, by
    default the document.
    """

    question: str
    source: str
    start: int = 0
    end: int | None = None
    answer: str = ""
    group: str = ""


@dataclass(frozen=True)
class Candidates:
    """A question with what a search found for it, in order, and which of that answers."""

    question: str
    found: tuple[Found, ...]
    right: tuple[bool, ...]
    group: str


Search: TypeAlias = Callable[[str, int], Sequence[Found]]
"""Gives so many passages for a question, the best first; it must not be re-ranked."""


def sampled(targets: Sequence[Target], config: RerankerConfig) -> list[Target]:
    """The targets of as many questions as are used, drawn evenly: to search for more takes time."""
    questions = list(dict.fromkeys(target.question for target in targets))
    most = round(config.most_questions / (1 - TESTED - VALIDATED))
    if len(questions) <= most:
        return list(targets)
    kept = set(random.Random(config.seed).sample(questions, most))
    return [target for target in targets if target.question in kept]


def mine(
    targets: Iterable[Target],
    search: Search,
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
                for each in search(question, count)
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
                (target.end is None or place.start < target.end) and target.start < place.end
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
    sentences: Sequence[Candidates] = (),
    questions: int | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Train a re-ranker out of the first blocks of ``encoder`` on what :func:`mine` gave, and on
    single ``sentences``, where these are of groups that are trained on.

    ``stats["kept"]`` of the artifact says whether it orders passages better than the search does.
    Where it does not, the artifact has the figures and no weights, so that it is not trained again
    for nothing; ``questions``: how many there were to draw from. Raises DataError where there are
    too few.
    """
    from linnet.model import save_checkpoint
    from linnet.train.metrics import METRICS
    from linnet.train.state import STATE
    from linnet.train.text_pairs import encoder_digest, pair_model

    started = time.monotonic()
    config = config or RerankerConfig()
    place = hub.find(encoder if Path(encoder).exists() else str(encoder), progress=progress).path
    inputs: dict[str, Artifact | str] = {
        "questions": _digest([*lists, *sentences]),
        "encoder": encoder_digest(place),
    }

    def write(draft: Draft) -> None:
        trained, validated, tested = divided(lists, config)
        model = pair_model(
            place, labels=LABELS, seed=config.seed, depth=config.layers, words=config.words
        )
        own = [each for each in sentences if _part(each.group) == _TRAINED]
        reranker = _train(
            model, place, [*trained, *own], validated, draft, config, progress, started
        )
        reranker.calibration = calibrate(reranker, validated)
        found = measured(reranker, tested)
        draft.stats.update(
            questions=questions or len(lists),
            trained=len(trained),
            sentences=len(own),
            validated=len(validated),
            **found,
        )
        if found["kept"]:
            reranker.model.compute_dtype = None
            save_checkpoint(model, draft.path, tokenizer=place)
            write_settings(draft.path / SETTINGS, config.max_tokens, reranker.calibration)
            return
        progress.warn(
            "the re-ranker that was trained does not order passages better than the search: "
            f"reciprocal rank {found['after']['mrr']['value']:.3f} and "
            f"{found['before']['mrr']['value']:.3f} on {len(tested)} questions kept back. It was "
            "not kept"
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
        number = _part(each.group)
        if number == _TESTED or (any(each.right) and not all(each.right)):
            parts[number].append(each)
    draw = random.Random(config.seed)
    trained, validated, tested = (
        part if len(part) <= most else draw.sample(part, most)
        for part, most in zip(
            parts, (config.most_questions, MOST_VALIDATED, MOST_TESTED), strict=True
        )
    )
    if len(trained) < FEWEST or not validated or not tested:
        raise DataError(
            f"a re-ranker needs at least {FEWEST} questions about several documents, of which the "
            f"search finds the passage. Got {len(trained)} to train on, {len(validated)} to "
            f"validate on and {len(tested)} to test on, of {len(lists)}"
        )
    return trained, validated, tested


_TRAINED, _VALIDATED, _TESTED = range(3)


def _part(group: str) -> int:
    where = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) / 2**32
    return _TESTED if where < TESTED else _VALIDATED if where < TESTED + VALIDATED else _TRAINED


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
    runtime = detect("cpu", "auto" if config.dtype == "auto" else config.dtype)
    model.compute_dtype = torch_dtype(runtime.dtype)  # as it will be used
    return reranker


def calibrate(reranker: Reranker, lists: Sequence[Candidates]) -> Calibration:
    """What makes a score and a rank the share of passages that answer."""
    scores = [_logits(reranker, own) for own in lists]
    ranks = [np.log(np.arange(1, len(own) + 1)) for own in scores]
    right = np.array([yes for own in lists for yes in own.right], np.float64)
    alone, together = np.concatenate(scores), np.concatenate(ranks)
    slope, offset = platt(right, alone)
    with_rank = platt(right, alone, together)
    if with_rank[1] > 0:  # by chance: what the search has further down is not likelier for it
        with_rank = (slope, 0.0, offset)
    return Calibration(slope, offset, *with_rank)


def platt(right: Numbers, *features: Numbers) -> tuple[float, ...]:
    """The likeliest weights of the features, and an offset, for a sigmoid of their sum to be the
    chance of being right: logistic regression by Newton's method, with Platt's smoothed labels."""
    positive, total = right.sum(), len(right)
    targets = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (total - positive + 2))
    columns = np.stack([*features, np.ones(total)], 1)
    weights = np.zeros(columns.shape[1])
    for _ in range(100):
        probabilities = sigmoid(columns @ weights)
        slack = (probabilities * (1 - probabilities))[:, None]
        gradient = columns.T @ (probabilities - targets) + RIDGE * weights
        curvature = (columns * slack).T @ columns + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    weights[0] = max(weights[0], 1e-3)  # the order of scores is never turned round
    return tuple(weights.tolist())


def _logits(reranker: Reranker, own: Candidates) -> Numbers:
    passages = [each.passage for each in own.found]
    return np.array(reranker.logits(own.question, passages), np.float64)


def measured(reranker: Reranker, lists: Sequence[Candidates]) -> dict[str, Any]:
    """How well questions find what answers them before and after re-ranking, with intervals, and
    how well calibrated the probabilities are, both that of a passage alone and that with its rank.

    A question for which the search found nothing that answers counts as not found in both.
    """
    before, after, alone, together = [], [], [], []
    right: list[bool] = []
    for own in lists:
        scores = _logits(reranker, own)
        ranked = reranker.calibration.with_rank(scores)
        order = np.argsort(-ranked, kind="stable").tolist()
        answering = {place for place, yes in enumerate(own.right) if yes}
        before.append(rank_of(range(len(own.right)), answering))
        after.append(rank_of(order, answering))
        alone.append(reranker.calibration.alone(scores))
        together.append(ranked)
        right += own.right
    ranks = {"before": np.array(before), "after": np.array(after)}
    low, high = paired_difference(ranks["after"], ranks["before"], "mrr")
    truth = np.array(right, np.float64)
    return {
        **{name: summary(each) for name, each in ranks.items()},
        "difference": {"mrr": [low, high]},
        "ece": {
            "alone": float(ece(truth, np.concatenate(alone))),
            "with_rank": float(ece(truth, np.concatenate(together))),
        },
        "kept": bool(low > 0),
    }


def scratch_encoder(texts: Iterable[str], out: Path, config: RerankerConfig) -> None:
    """Write a small encoder of random weights, whose vocabulary is that of the texts.

    For where no encoder is at hand. What is trained of it knows little more than which words are
    shared; whether that is any better than the search is measured as with any other.
    """
    import tokenizers
    import torch

    from linnet.model import ModelConfig, Transformer, save_checkpoint
    from linnet.model.families import FAMILIES

    words = tokenizers.BertWordPieceTokenizer()
    words.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # Sorted, since the order in which they are found is another each time.
    vocabulary = special + sorted(words.get_vocab().keys() - set(special))
    write_text(out / "vocab.txt", "".join(f"{word}\n" for word in vocabulary))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    write_text(out / "tokenizer_config.json", json.dumps(settings))
    shape = {
        **(FAMILIES["bert"].scratch or {}), "vocab_size": len(vocabulary), "width": WIDTH,
        "depth": config.layers, "heads": WIDTH // 32, "kv_heads": WIDTH // 32, "head_width": 32,
        "mlp_width": 4 * WIDTH, "context": config.max_tokens, "pad_id": 0,
    }  # fmt: skip
    model = Transformer(ModelConfig(family="bert", **shape))
    model.initialise(torch.Generator().manual_seed(config.seed))
    save_checkpoint(model, out)


def _digest(lists: Sequence[Candidates]) -> str:
    digest = hashlib.sha256()
    for own in lists:
        for part in (own.question, own.group, *(each.passage.id for each in own.found)):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(bytes(own.right))
    return digest.hexdigest()

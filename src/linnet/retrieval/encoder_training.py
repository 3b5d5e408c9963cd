"""An encoder of the owner's own: tuned so that questions find the passages that answer them.

Pairs of texts that belong together come from what the owner has: questions made of the documents
(:mod:`linnet.examples`) with the passages that answer them, headings with what stands under them,
passages with the next one. The objective is the contrastive one (InfoNCE, arXiv:1807.03748;
"in-batch negatives", arXiv:1705.00652): a question is to be nearer to its passage than to all
others of its batch, among which are passages that share its words and do not answer it.

A fifth of the sources is kept back. Their questions are searched with the new encoder and with
the one it came from, among the same passages; the new one is kept only where it finds more. Both
figures are in the manifest, with intervals.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from linnet import artifact, runtime
from linnet.config import Config, option, to_mapping
from linnet.errors import DataError
from linnet.generate.embedding import Vectors
from linnet.progress import SILENT, Progress
from linnet.retrieval.bm25 import BM25
from linnet.retrieval.encoders import TextEncoder
from linnet.retrieval.fusion import fuse
from linnet.retrieval.measures import paired_difference, rank_of, ranks_of, summary
from linnet.retrieval.vectors import best
from linnet.runtime import MOST_THREADS, DeviceName, DtypeName

if TYPE_CHECKING:
    import numpy.typing as npt

    from linnet.artifact import Artifact, Draft
    from linnet.generate.embedding import Encoder
    from linnet.shards.batches import Batch
    from linnet.train.stream import Context

KIND, FORMAT = "encoder", 1
KEPT_BACK = 5
"""One source in so many is not trained on."""

FEWEST = 50
"""Pairs that training needs at least, and a tenth of it to compare by."""

NEAR = 20
"""Of the passages that share most words with a question, so many may be its near misses."""

BUNDLE = 8
"""Pairs of one source that come together."""

PairKind = Literal["question", "heading", "neighbour"]


@dataclass(frozen=True)
class TrainingPair:
    """A text, and a passage that belongs to it (as ``passage_text`` gives it).

    Pairs of one ``source`` are on the same side of the split. Only those of the kind
    ``question`` are measured by.
    """

    question: str
    passage: str
    source: str
    kind: PairKind = "question"


@dataclass(frozen=True)
class EncoderTrainingConfig(Config):
    """How an encoder is tuned."""

    pairs: int = option(3000, "Pairs to train on, questions first.", least=FEWEST)
    epochs: int = option(2, "Times that each is read.", least=1)
    batch: int = option(32, "Pairs per update; each is a negative for all others.", least=2)
    near_misses: int = option(0, "Passages with a question's words that do not answer it, for each "
                                 "pair.", least=0)  # fmt: skip
    lr: float = option(1e-4, "Peak learning rate.", above=0)
    max_tokens: int = option(128, "Longest text in training; the rest of a longer one is cut.",
                             least=16)  # fmt: skip
    compared: int = option(1000, "Passages among which old and new encoder search.", least=FEWEST)
    seed: int = option(0, "Seed of order and near misses.", least=0)
    device: DeviceName = option("auto", "Where to compute.")
    dtype: DtypeName = option("auto", "Number format of matrix products.")
    threads: int = option(0, "CPU threads; 0: all usable cores.", least=0, most=MOST_THREADS)

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {
            k: v for k, v in to_mapping(self).items() if k not in ("device", "dtype", "threads")
        }


def train_encoder(
    pairs: Sequence[TrainingPair],
    base: TextEncoder,
    out: Path | str,
    config: EncoderTrainingConfig | None = None,
    *,
    untrained: bool = False,
    progress: Progress = SILENT,
) -> Artifact:
    """Tune ``base`` on the pairs, and write what came of it to ``out``.

    ``untrained``: the base has random weights; what comes of it must find more together with the
    lexical search than that finds alone.

    ``stats["kept"]`` of the artifact says whether it finds more than ``base`` does. Where it does
    not, the artifact has the figures and no weights, so that it is not trained again for nothing.
    Raises DataError where there are too few pairs.
    """
    started = time.monotonic()
    config = config or EncoderTrainingConfig()
    trained, held_out = split_pairs(pairs, config)

    def write(draft: Draft) -> None:
        from linnet.generate.embedding import load_encoder

        encoder = load_encoder(base.path)
        _train(encoder, trained, draft, config, progress, started)
        before = None if untrained else load_encoder(base.path)
        found = compared(before, encoder, held_out, trained, config, progress)
        draft.stats.update(pairs=_counts(trained), base=base.name, **found)
        if found["kept"]:
            _save(encoder, base.path, draft.path)
            return
        low, high = found["difference"]["ndcg@10"]
        progress.warn(
            "the encoder that was trained is not kept: on "
            f"{found['own']['questions']} questions of other documents its nDCG@10 is "
            f"{found['own']['ndcg@10']['value']:.3f}, that of "
            f"{'words alone' if untrained else base.name} "
            f"{found['before']['ndcg@10']['value']:.3f} (difference {low:+.3f} to {high:+.3f})"
        )

    from linnet.train.metrics import METRICS
    from linnet.train.state import STATE

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config={**config.recipe(), "untrained": untrained},
        inputs={"pairs": _digest(pairs), "encoder": base.fingerprint},
        volatile=(METRICS,),
        working=STATE,
    )


def split_pairs(
    pairs: Sequence[TrainingPair], config: EncoderTrainingConfig
) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Pairs to train on, and the questions of other sources. Raises DataError for too few."""
    unique = list(dict.fromkeys(pairs))
    random.Random(config.seed).shuffle(unique)
    unique.sort(key=lambda pair: pair.kind != "question")  # the shuffled order stays within
    back = [pair for pair in unique if pair.kind == "question" and is_kept_back(pair.source)]
    asked, right = {_folded(pair.question) for pair in back}, {pair.passage for pair in back}
    rest = [
        pair
        for pair in unique
        if not is_kept_back(pair.source)
        and _folded(pair.question) not in asked
        and pair.passage not in right
    ][: config.pairs]
    if len(rest) < FEWEST or len(back) < FEWEST // 10:
        raise DataError(
            f"an encoder needs at least {FEWEST} pairs to be trained on and {FEWEST // 10} "
            f"questions of other documents. Got {len(rest)} and {len(back)}"
        )
    return rest, back


def is_kept_back(source: str) -> bool:
    """Whether a source is one of those that nothing is trained on."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()
    return digest[0] % KEPT_BACK == 0


def compared(
    base: Encoder | None,
    own: Encoder,
    held_out: Sequence[TrainingPair],
    trained: Sequence[TrainingPair],
    config: EncoderTrainingConfig,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """What both encoders find of the held-out questions' passages, among the same passages.

    Without a ``base`` the lexical search is compared with both together.

    ``kept``: whether the new one has a higher nDCG@10, beyond what chance makes (the lower end
    of the interval of the difference, by paired bootstrap, is above 0).
    """
    targets: dict[str, set[str]] = defaultdict(set)
    for pair in held_out:
        targets[_folded(pair.question)].add(pair.passage)
    questions = list({_folded(pair.question): pair.question for pair in held_out}.values())
    questions = questions[: config.compared]
    needed = {passage for q in questions for passage in targets[_folded(q)]}
    others = [pair.passage for pair in (*held_out, *trained)]
    passages = list(dict.fromkeys((*sorted(needed), *others)))
    passages = passages[: max(config.compared, len(needed))]
    number = {passage: place for place, passage in enumerate(passages)}
    right = [{number[passage] for passage in targets[_folded(q)]} for q in questions]

    def scores(encoder: Encoder) -> Vectors:
        rows = encoder.embed(passages, normalise=True)
        asked: Vectors = encoder.embed(questions, normalise=True) @ rows.T
        return asked

    progress.message("comparing what the encoder finds with what was found without it")
    by_meaning = scores(own)
    if base is None:
        by_words = _lexical_scores(questions, passages)
        together = [
            fuse({"lexical": best(words, len(passages)), "dense": best(meaning, len(passages))},
                 len(passages))
            for words, meaning in zip(by_words, by_meaning, strict=True)
        ]  # fmt: skip
        before = ranks_of(by_words, right)
        after = np.array(
            [
                rank_of([hit.number for hit in hits], own)
                for hits, own in zip(together, right, strict=True)
            ]
        )
    else:
        before, after = ranks_of(scores(base), right), ranks_of(by_meaning, right)
    low, high = paired_difference(after, before, seed=config.seed)
    return {
        "kept": bool(low > 0),
        "passages": len(passages),
        "difference": {"ndcg@10": [low, high]},
        "before": summary(before, seed=config.seed),
        "own": summary(after, seed=config.seed),
    }


def _lexical_scores(questions: Sequence[str], passages: Sequence[str]) -> Vectors:
    index = BM25()
    for passage in passages:
        index.add(passage, "en")
    scores = np.zeros((len(questions), len(passages)), np.float32)
    for row, question in zip(scores, questions, strict=True):
        for hit in index.search(question, len(passages), language="en"):
            row[hit.number] = hit.score
    return scores


class _Pairs:
    """An endless stream of batches, all texts of one end to end in a row.

    In a batch no passage and no question is there twice, and no near miss is the answer to
    another of its questions.
    """

    def __init__(
        self, pairs: Sequence[TrainingPair], encoder: Encoder, config: EncoderTrainingConfig
    ) -> None:
        self.config = config
        self.pairs = pairs
        passages = list(dict.fromkeys(pair.passage for pair in pairs))
        number = {passage: place for place, passage in enumerate(passages)}
        self.passage_of = [number[pair.passage] for pair in pairs]
        asked = {
            question: place for place, question in enumerate({_folded(p.question) for p in pairs})
        }
        self.question_of = [asked[_folded(pair.question)] for pair in pairs]
        self.right: dict[int, set[int]] = defaultdict(set)
        for question, passage in zip(self.question_of, self.passage_of, strict=True):
            self.right[question].add(passage)
        self.near = _near_misses(pairs, passages, self.question_of, self.right, config)
        self.questions = token_rows(encoder, [pair.question for pair in pairs], config.max_tokens)
        self.passages = token_rows(encoder, passages, config.max_tokens)
        self.drawn = 0
        self._epoch, self._batches = -1, [[0]]
        self.per_epoch = max(1, len(self.batches_of(0)))

    def next(self, context: Context | None = None) -> Batch:
        """The next batch, in one unit."""
        epoch, place = divmod(self.drawn, self.per_epoch)
        batches = self.batches_of(epoch)
        chosen = batches[place % len(batches)]
        self.drawn += 1
        return self.batch(chosen, random.Random(f"{self.config.seed} near {self.drawn}"))

    def batches_of(self, epoch: int) -> list[list[int]]:
        """The pairs of each batch of an epoch."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._composed(epoch)
        return self._batches

    def _composed(self, epoch: int) -> list[list[int]]:
        # What is hard to tell apart is of one source, and comes into one batch.
        drawn = random.Random(f"{self.config.seed} epoch {epoch}")
        by_source: dict[str, list[int]] = defaultdict(list)
        for place, pair in enumerate(self.pairs):
            by_source[pair.source].append(place)
        bundles = []
        for places in by_source.values():
            drawn.shuffle(places)
            bundles += [places[at : at + BUNDLE] for at in range(0, len(places), BUNDLE)]
        drawn.shuffle(bundles)
        left = [place for bundle in bundles for place in bundle]
        batches: list[list[int]] = []
        while left:
            batch: list[int] = []
            taken, later = _Taken(), []
            for place in left:
                if len(batch) == self.config.batch:
                    later.append(place)
                elif taken.takes(self.question_of[place], self.right):
                    batch.append(place)
                else:
                    later.append(place)
            batches.append(batch)
            left = later
        # A batch of a few pairs teaches little: a remainder is left out, another in each epoch.
        whole = [batch for batch in batches if len(batch) * 2 > self.config.batch]
        return whole or batches

    def batch(self, places: Sequence[int], drawn: random.Random) -> Batch:
        """Question, passage and near misses of each pair."""
        import torch

        from linnet.shards.batches import Batch

        answers: set[int] = set()
        for place in places:
            answers |= self.right[self.question_of[place]]
        texts, groups = [], []
        for group, place in enumerate(places):
            near = [other for other in self.near[place] if other not in answers]
            chosen = drawn.sample(near, min(len(near), self.config.near_misses))
            own = [self.questions[place], self.passages[self.passage_of[place]]]
            own += [self.passages[other] for other in chosen]
            texts += own
            groups += [group] * len(own)
        row = torch.tensor(np.concatenate(texts), dtype=torch.long)[None]
        lengths = torch.tensor([len(text) for text in texts])
        segments = torch.repeat_interleave(torch.arange(len(texts)), lengths)[None]
        return Batch(row, segment_ids=segments, groups=torch.tensor(groups), units=1)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.drawn = int(state["drawn"])


class _Taken:
    """What a batch has already."""

    def __init__(self) -> None:
        self.questions: set[int] = set()
        self.passages: set[int] = set()

    def takes(self, question: int, right: dict[int, set[int]]) -> bool:
        """Add a pair, unless it is one of a question or passage that the batch has."""
        if question in self.questions or self.passages & right[question]:
            return False
        self.questions.add(question)
        self.passages |= right[question]
        return True


def _near_misses(
    pairs: Sequence[TrainingPair],
    passages: Sequence[str],
    question_of: Sequence[int],
    right: dict[int, set[int]],
    config: EncoderTrainingConfig,
) -> list[list[int]]:
    """For each pair the passages that share most words with its question and do not answer it."""
    if not config.near_misses:
        return [[] for _ in pairs]
    index = BM25()
    for passage in passages:
        index.add(passage, "en")
    found: dict[int, list[int]] = {}
    for pair, question in zip(pairs, question_of, strict=True):
        if question not in found:
            hits = index.search(pair.question, NEAR, language="en")
            found[question] = [hit.number for hit in hits if hit.number not in right[question]]
    return [found[question] for question in question_of]


def token_rows(
    encoder: Encoder, texts: Sequence[str], max_tokens: int
) -> list[npt.NDArray[np.int64]]:
    """The tokens of each text, special ones included, cut where they are too many."""
    tokenizer = encoder.tokenizer
    first, last = list(tokenizer.start), list(tokenizer.finish)
    free = min(max_tokens, encoder.max_tokens) - len(first) - len(last)
    if encoder.recipe.lowercase:
        texts = [text.lower() for text in texts]
    found = tokenizer.encode_arrays(list(texts))
    return [np.array([*first, *row[:free].tolist(), *last], np.int64) for row in found]


def _train(
    encoder: Encoder,
    pairs: Sequence[TrainingPair],
    draft: Draft,
    config: EncoderTrainingConfig,
    progress: Progress,
    started: float,
) -> None:
    import torch

    from linnet.train.config import TrainingConfig
    from linnet.train.distributed import interruptible
    from linnet.train.loop import Loop
    from linnet.train.machine import choose_machine
    from linnet.train.optimizers import finetuning_optimizer
    from linnet.train.supervised import ContrastLoss

    model = encoder.model
    torch.manual_seed(config.seed)
    stream = _Pairs(pairs, encoder, config)
    machine = choose_machine(
        draft.path,
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        compiled=lambda _: False,
    )
    model.to(machine.runtime.device)  # in evaluation mode: dropout costs more than it brings here
    model.compute_dtype = runtime.torch_dtype(machine.runtime.dtype)
    training = TrainingConfig(
        steps=stream.per_epoch * config.epochs, seed=config.seed, warmup=0.1, decay=0.9
    )
    with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
        loop = Loop(
            draft.path,
            training,
            machine=machine,
            model=model,
            stream=stream,
            objective=ContrastLoss(pooling=encoder.recipe.poolings[0]),
            optimizers=[finetuning_optimizer(model, lr=config.lr, weight_decay=0.01)],
            micro_units=1,
            remedy="start again with a lower learning rate",
            progress=progress,
            started=started,
        )
        loop.resume()
        loop.run(interrupt)
    model.compute_dtype = None
    model.to("cpu").eval()


def _save(encoder: Encoder, base: Path, directory: Path) -> None:
    """The weights as a checkpoint, with what says how its states become a vector."""
    from linnet.model import save_checkpoint

    save_checkpoint(encoder.model, directory, tokenizer=base, base=base)


def _folded(question: str) -> str:
    return " ".join(question.lower().split())


def _counts(pairs: Iterable[TrainingPair]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for pair in pairs:
        counts[pair.kind] += 1
    return dict(counts)


def _digest(pairs: Sequence[TrainingPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(
            json.dumps(to_mapping(pair), ensure_ascii=False).encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()

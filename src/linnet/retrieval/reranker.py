"""Re-ranking: how likely a passage answers a question, read together by a cross-encoder.

The model is a sequence classification checkpoint with one score, which reads ``[CLS] question [SEP]
title: headings: passage [SEP]``. Its scores become probabilities by a calibration on questions that
it was not trained on. Of a passage that is too long it reads what stands around the sentence that
shares most with the question.

How many passages are read follows from the time that one takes here, which is measured.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet import artifact
from linnet.config import from_mapping, parse_json, read_bytes, to_mapping
from linnet.errors import ConfigError, DamagedError, ModelError
from linnet.output import write_json
from linnet.retrieval.passages import Found, Passage, Searchable
from linnet.retrieval.terms import terms

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.runtime import DeviceName, DtypeName
    from linnet.tokenizer import Tokenizer
    from linnet.train.text_pairs import PairEncoding

KIND = "reranker"
LABELS = ("answers",)
MAX_TOKENS = 104
BUDGET = 0.3
"""Seconds that re-ranking takes for one question, about, where nothing else runs."""

DEPTHS = (5, 10, 15, 20, 30)
"""How many passages may be read: few different numbers, so that a machine's moods seldom show in
what is found."""

BATCH = 8
"""Pairs between two looks at the clock."""

LATE = 2.0
"""Times its budget after which what was not read yet stays unread, where somebody waits."""

Numbers = npt.NDArray[np.float64]

SETTINGS = "reranker.json"
_LARGEST_SETTINGS = 1 << 16
_CONTEXT = 200  # characters of title and headings
_MEASURED = 8  # pairs
_REMEMBERED = 32  # measurements, of which the fastest counts
_SENTENCE_END = re.compile(r"[.!?]\s+|[。！？]\s*|\n\s*")


@dataclass(frozen=True)
class Calibration:
    """From scores to probabilities.

    Of a passage alone ``sigmoid(slope * score + offset)``; with its rank in the search
    ``sigmoid(ranked_slope * score + rank * ln(rank) + ranked_offset)``.
    """

    slope: float = 1.0
    offset: float = 0.0
    ranked_slope: float = 1.0
    rank: float = 0.0
    ranked_offset: float = 0.0

    def alone(self, scores: npt.ArrayLike) -> Numbers:
        """How likely each passage answers, whatever the search thinks of it."""
        return sigmoid(self.slope * np.asarray(scores, float) + self.offset)

    def with_rank(self, scores: npt.ArrayLike) -> Numbers:
        """How likely each of the passages answers that a search found, in its order."""
        own = np.asarray(scores, float)
        ranks = np.log(np.arange(1, len(own) + 1))
        return sigmoid(self.ranked_slope * own + self.rank * ranks + self.ranked_offset)


def sigmoid(x: Numbers) -> Numbers:
    """From log-odds to probabilities."""
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))  # type: ignore[no-any-return]


class Reranker:
    """A cross-encoder; may be used by several threads at once."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        max_tokens: int = MAX_TOKENS,
        calibration: Calibration = Calibration(),
    ) -> None:
        if model.config.head != "sequence" or len(model.config.labels) != 1:
            raise ModelError(
                "a re-ranker needs a sequence classification with one score; "
                f"linnet reranker train makes one. Got a model with head {model.config.head} "
                f"and {len(model.config.labels)} labels"
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_tokens = min(max_tokens, model.config.context)
        self.calibration = calibration
        self.late = LATE
        """Times its budget after which what was not read yet stays unread."""
        self._lock = Lock()
        self._token_seconds: deque[float] = deque(maxlen=_REMEMBERED)

    @classmethod
    def open(
        cls, place: Path | str, *, device: DeviceName = "cpu", dtype: DtypeName = "auto"
    ) -> Reranker:
        """The re-ranker that ``train_reranker`` wrote there, or another cross-encoder with one
        score. Computes in bf16 where that is faster.

        Raises ModelError where there is none, or where it was not kept.
        """
        from linnet.model import load_model
        from linnet.runtime import detect, torch_dtype
        from linnet.tokenizer import load as load_tokenizer

        path = artifact.within(place, KIND)
        if not has_reranker(path):
            raise ModelError(
                f"{place} has no re-ranker: none was trained, or the one that was did not order "
                "passages better than the search"
            )
        max_tokens, calibration = read_settings(path / SETTINGS)
        runtime = detect(device, dtype)
        model = load_model(path, device=runtime.device)
        model.compute_dtype = torch_dtype(runtime.dtype)
        return cls(model, load_tokenizer(path), max_tokens=max_tokens, calibration=calibration)

    def score(
        self, question: str, passages: Sequence[Passage | str], *, budget: float | None = None
    ) -> list[float]:
        """How likely each passage answers the question, from 0 to 1.

        With a ``budget`` of seconds there may be fewer than passages, as for :meth:`rerank`.
        """
        deadline = None if budget is None else time.monotonic() + self.late * budget
        logits = self.logits(question, passages, deadline=deadline)
        found: list[float] = self.calibration.alone(logits).tolist()
        return found

    def logits(
        self, question: str, passages: Sequence[Passage | str], *, deadline: float | None = None
    ) -> list[float]:
        """The model's score of each passage, as it is.

        With a ``deadline`` (of ``time.monotonic``) there may be fewer than passages: of those
        that come last none is given then.
        """
        import torch

        from linnet.train.text_pairs import batch_of, pair_scores, scores_of

        if not passages:
            return []
        encoded = self.encode(question, passages)
        found: list[float] = []
        if deadline is None:
            found = pair_scores(self.model, encoded)[:, 0].tolist()
            return found
        device = str(self.model.embedding.weight.device)
        with torch.inference_mode():
            for start in range(0, len(encoded), BATCH):
                if time.monotonic() >= deadline:
                    break
                began = time.thread_time()
                batch = batch_of(encoded[start : start + BATCH]).to(device)
                found += scores_of(self.model, batch)[:, 0].tolist()
                self._took(time.thread_time() - began, batch.tokens.numel())
        return found

    def encode(self, question: str, passages: Sequence[Passage | str]) -> list[PairEncoding]:
        """What the model reads of each pair."""
        from linnet.train.text_pairs import encode_pairs

        tokenizer = self.tokenizer
        ready = [Passage(each, ()) if isinstance(each, str) else each for each in passages]
        above = [context(passage) for passage in ready]
        free = self.max_tokens - len(tokenizer.start) - 2 * len(tokenizer.finish)
        left = free - min(len(tokenizer.encode(question)), free // 2)
        whole = [before + passage.text for before, passage in zip(above, ready, strict=True)]
        lengths = [len(ids) for ids in tokenizer.encode_arrays(whole)]
        texts = []
        for before, passage, length in zip(above, ready, lengths, strict=True):
            text = passage.text
            if length > left:
                characters = (len(before) + len(text)) * left // length - len(before)
                wanted = set(terms(question, passage.language))
                text = around_best(text, wanted, max(characters, 1), passage.language)
            texts.append(before + text)
        return encode_pairs(
            tokenizer,
            [(question, text) for text in texts],
            max_tokens=self.max_tokens,
            token_types=self.model.config.token_types,
        )

    def rerank(
        self, question: str, found: Sequence[Found], *, depth: int | None = None,
        budget: float = BUDGET,
    ) -> list[Found]:  # fmt: skip
        """The same passages, the likeliest first; ``scores["rerank"]`` is how likely each answers.

        Of the first ``depth``, or of as many as ``budget`` seconds are enough for. The others
        stay behind these in their order, with a score below theirs.
        """
        began = time.monotonic()
        depth = self.depth(budget) if depth is None else depth
        head = found[:depth]
        passages = [each.passage for each in head]
        scores = self.logits(question, passages, deadline=began + self.late * budget)
        given = self.calibration.with_rank(scores).tolist()
        read = [
            replace(each, score=score, scores={**each.scores, "rerank": score})
            for each, score in zip(head, given, strict=False)
        ]
        read.sort(key=lambda each: -each.score)
        least = read[-1].score if read else 1.0
        rest = [
            replace(each, score=least / (number + 2))
            for number, each in enumerate(found[len(read) :])
        ]
        return read + rest

    def depth(self, budget: float = BUDGET) -> int:
        """How many of :data:`DEPTHS` it reads in so many seconds on this machine, the fewest where
        not even these.

        By the fastest of the last times that were measured, without those in which other programs
        had the processor: however busy a machine is, the same is read, and found.
        """
        if not self._token_seconds:
            self._measure()
        with self._lock:
            fastest = min(self._token_seconds)
        most = budget / max(fastest * self.max_tokens, 1e-9)
        return max((depth for depth in DEPTHS if depth <= most), default=DEPTHS[0])

    def _measure(self) -> None:
        import torch

        from linnet.train.text_pairs import PairEncoding, batch_of, scores_of

        ids = [number % self.model.config.vocab_size for number in range(self.max_tokens)]
        batch = batch_of([PairEncoding(ids, [0] * len(ids))] * _MEASURED)
        batch = batch.to(str(self.model.embedding.weight.device))
        with torch.inference_mode():
            for _ in range(4):  # the first is slower
                began = time.thread_time()
                scores_of(self.model, batch)
                self._took(time.thread_time() - began, batch.tokens.numel())

    def _took(self, seconds: float, tokens: int) -> None:
        with self._lock:
            self._token_seconds.append(seconds / tokens)


class Reranked:
    """What is found in another, re-ranked."""

    def __init__(
        self,
        index: Searchable,
        reranker: Reranker,
        depth: int | None = None,
        *,
        budget: float = BUDGET,
    ) -> None:
        self.index, self.reranker = index, reranker
        self._depth, self.budget = depth, budget

    def __len__(self) -> int:
        return len(self.index)

    def search(
        self, query: str, k: int = 10, *, collections: Sequence[str] | None = None
    ) -> list[Found]:
        """See :class:`Searchable`."""
        depth = self.reranker.depth(self.budget) if self._depth is None else self._depth
        found = self.index.search(query, max(k, depth), collections=collections)
        return self.reranker.rerank(query, found, depth=depth, budget=self.budget)[:k]

    def passages(self, *, collections: Sequence[str] | None = None) -> Iterable[Passage]:
        """See :class:`Searchable`."""
        return self.index.passages(collections=collections)


def context(passage: Passage) -> str:
    """What a passage stands under, as it is read before its text."""
    parts = [
        part for part in dict.fromkeys((passage.title, *passage.headings, passage.context)) if part
    ]
    return f"{': '.join(parts)[:_CONTEXT]}: " if parts else ""


def around_best(text: str, wanted: Iterable[str], characters: int, language: str = "") -> str:
    """About so many characters of a text: whole sentences around the one that has most of the
    terms ``wanted``."""
    if len(text) <= characters:
        return text
    wanted = set(wanted)
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    starts = [0, *ends[:-1]]
    shared = [
        len(wanted.intersection(terms(text[start:end], language)))
        for start, end in zip(starts, ends, strict=True)
    ]
    first = last = max(range(len(shared)), key=lambda place: (shared[place], -place))
    if ends[last] - starts[first] >= characters:
        return text[starts[first] : starts[first] + characters]
    grew = True
    while grew:
        grew = False
        if last + 1 < len(ends) and ends[last + 1] - starts[first] <= characters:
            last, grew = last + 1, True
        if first > 0 and ends[last] - starts[first - 1] <= characters:
            first, grew = first - 1, True
    return text[starts[first] : ends[last]]


def has_reranker(place: Path | str) -> bool:
    """Whether there is a re-ranker: one that was trained and found worth keeping."""
    return (artifact.within(place, KIND) / "model.safetensors").is_file()


def write_settings(file: Path, max_tokens: int, calibration: Calibration) -> None:
    """Note beside a model what it does not say of itself."""
    values = {"max_tokens": max_tokens, "calibration": to_mapping(calibration)}
    write_json(file, values)


def read_settings(file: Path) -> tuple[int, Calibration]:
    """How much of a pair is read, and the calibration; the usual where there is no such file.

    Raises DamagedError.
    """
    if not file.is_file():
        return MAX_TOKENS, Calibration()
    try:
        values = parse_json(read_bytes(file, _LARGEST_SETTINGS).decode())
        calibration = from_mapping(Calibration, values["calibration"], where=SETTINGS)
        max_tokens = values["max_tokens"]
        if type(max_tokens) is not int or max_tokens < 16:
            raise ValueError(f"max_tokens must be a whole number from 16. Got {max_tokens!r}")
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise DamagedError(f"{file} is damaged ({error}); train the re-ranker again") from None
    return max_tokens, calibration

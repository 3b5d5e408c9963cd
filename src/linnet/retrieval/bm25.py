"""BM25: passages by the terms that they share with a question.

The form of Robertson and Zaragoza ("The Probabilistic Relevance Framework: BM25 and Beyond",
2009) with Lucene's idf, ``ln(1 + (N - n + 0.5) / (n + 0.5))``, which is never negative::

    score(q, d) = sum over t in q of  idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avg)),
    where tf counts t in d

An inverted index in arrays: for each term the passages that have it, and what it adds to the score
of each.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet.retrieval.terms import terms


class Hit(NamedTuple):
    """A passage by its number, and its score."""

    number: int
    score: float


@dataclass(frozen=True)
class _Postings:
    starts: npt.NDArray[np.int64]  # by term, one more than there are
    passages: npt.NDArray[np.int32]
    impacts: npt.NDArray[np.float32]
    idf: npt.NDArray[np.float32]


class BM25:
    """An index of passages, which are numbered in the order in which they come."""

    def __init__(self, *, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1, self.b = k1, b
        self._vocabulary: dict[str, int] = {}
        self._passages, self._terms, self._counts = array("i"), array("i"), array("i")
        self._lengths = array("i")
        self._postings: _Postings | None = None

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, text: str, language: str = "") -> int:
        """Add a passage; gives its number. ``language`` chooses the stemmer."""
        number, found = len(self._lengths), terms(text, language)
        for term, count in Counter(found).items():
            self._passages.append(number)
            self._terms.append(self._vocabulary.setdefault(term, len(self._vocabulary)))
            self._counts.append(count)
        self._lengths.append(len(found))
        self._postings = None
        return number

    def search(self, query: str, k: int = 10, *, language: str = "") -> list[Hit]:
        """The ``k`` best passages that share a term with the query, the best first; of equals the
        first comes first."""
        postings = self._built()
        passages, impacts = [], []
        for term, count in Counter(terms(query, language)).items():
            place = self._vocabulary.get(term)
            if place is not None:
                part = slice(postings.starts[place], postings.starts[place + 1])
                passages.append(postings.passages[part])
                impacts.append(
                    postings.impacts[part] * count if count > 1 else postings.impacts[part]
                )
        if not passages:
            return []
        scores = np.bincount(np.concatenate(passages), np.concatenate(impacts))
        least = 0.0
        if len(scores) > k:
            least = np.partition(scores, -k)[-k]
        found = np.flatnonzero(scores >= least if least > 0 else scores)
        order = np.lexsort((found, -scores[found]))[:k]
        return [Hit(int(number), float(scores[number])) for number in found[order]]

    def passages_with(self, term: str) -> npt.NDArray[np.int32]:
        """The numbers of the passages that have a term (as ``terms`` gives it), in order."""
        postings, place = self._built(), self._vocabulary.get(term)
        if place is None:
            return np.empty(0, np.int32)
        return postings.passages[postings.starts[place] : postings.starts[place + 1]]

    def passages_with_all(self, wanted: Iterable[str]) -> npt.NDArray[np.int32]:
        """The numbers of the passages that have each of these terms, in order; none for none."""
        lists = sorted((self.passages_with(term) for term in set(wanted)), key=len)
        if not lists:
            return np.empty(0, np.int32)
        found = lists[0]
        for more in lists[1:]:
            found = np.intersect1d(found, more, assume_unique=True)
        return found

    def idf(self, term: str) -> float:
        """How much a term tells, from 0; the most for one that no passage has."""
        frequency = len(self.passages_with(term))
        return float(np.log1p((len(self) - frequency + 0.5) / (frequency + 0.5)))

    def _built(self) -> _Postings:
        if self._postings is None:
            self._postings = self._build()
        return self._postings

    def _build(self) -> _Postings:
        ids = np.frombuffer(self._terms, np.int32) if self._terms else np.empty(0, np.int32)
        order = np.argsort(ids, kind="stable")  # within a term in the order of passages
        ids = ids[order]
        empty = np.empty(0, np.int32)
        passages = np.frombuffer(self._passages, np.int32)[order] if len(order) else empty
        counts = (np.frombuffer(self._counts, np.int32) if len(order) else empty)[order]
        lengths = np.array(self._lengths, np.float32)
        frequency = np.bincount(ids, minlength=len(self._vocabulary))
        idf = np.log1p((len(self) - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        average = float(lengths.mean()) if len(lengths) else 0.0
        norms = self.k1 * (1 - self.b + self.b * lengths / max(average, 1e-9))
        tf = counts.astype(np.float32)
        impacts = idf[ids] * tf * (self.k1 + 1) / (tf + norms[passages])
        starts = np.concatenate([[0], np.cumsum(frequency)]).astype(np.int64)
        return _Postings(starts, passages, impacts.astype(np.float32), idf)

"""Lexical search over segments: BM25 with fields.

The form of Robertson, Zaragoza and Taylor ("Simple BM25 Extension to Multiple Weighted Fields",
2004) with a length norm for each field, and Lucene's idf::

    score(q, d) = sum over t in q of  idf(t) tf / (k1 + tf)
    tf = sum over fields f of  weight_f count_f(t, d) / (1 - b_f + b_f |d_f| / avg_f)

A word of a question is looked up as each stemmer of the indexed languages makes a term of it; what
it becomes counts as one term. Words that only make a question of it are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.retrieval.segments import FIELDS, Mask, Segment
from linnet.retrieval.terms import FUNCTION_WORDS, STEMMERS, asked_in, stemmer, words

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """What the fields count, in the order of ``FIELDS``; chosen by measurement
    (``docs/answers.md``)."""

    k1: float = 1.5
    weights: tuple[float, float, float] = (8.0, 2.0, 1.0)
    b: tuple[float, float, float] = (0.75, 0.5, 0.6)


class Lexical:
    """Searches these segments, as they are now."""

    def __init__(self, segments: Sequence[Segment], weights: Weights | None = None) -> None:
        self.segments = list(segments)
        self.weights = weights or Weights()
        self.size = sum(int(segment.live.sum()) for segment in segments)
        spoken = Counter(document.language for s in segments for document in s.documents)
        self._languages = [language for language, _ in spoken.most_common()]
        known = sorted(spoken.keys() & STEMMERS.keys())
        self._stemmers = [stemmer(language) for language in known]
        if spoken.keys() - STEMMERS.keys() or not known:
            self._stemmers.append(stemmer(""))
        totals = np.zeros(len(FIELDS), np.float64)
        for segment in segments:
            totals += segment.lengths[segment.live].sum(axis=0, dtype=np.float64)
        averages = np.maximum(totals / max(self.size, 1), 1e-9)
        b, weight = np.array(self.weights.b), np.array(self.weights.weights)
        self._factors = [
            (weight / (1 - b + b * segment.lengths / averages)).astype(np.float32)
            for segment in segments
        ]

    def scores(self, query: str) -> Scores:
        """The score of each passage, 0 for one without a term of the query; segment by segment."""
        found = [np.zeros(len(segment), np.float32) for segment in self.segments]
        for variants, count in self._counted(query).items():
            lists = [self._frequencies(number, variants) for number in range(len(self.segments))]
            frequency = sum(
                int(segment.live[passages].sum())
                for segment, (passages, _) in zip(self.segments, lists, strict=True)
            )
            if not frequency:
                continue
            idf = count * float(np.log1p((self.size - frequency + 0.5) / (frequency + 0.5)))
            for scores, (passages, tf) in zip(found, lists, strict=True):
                scores[passages] += idf * tf / (self.weights.k1 + tf)
        return np.concatenate([np.empty(0, np.float32), *found])

    def _counted(self, query: str) -> Counter[tuple[str, ...]]:
        """The terms that count, with how often. What only makes a question of it is left out, where
        there is more."""
        found = words(query)
        function = FUNCTION_WORDS.get(asked_in(found, self._languages), frozenset())
        told = [word for word in found if word not in function] or found
        return Counter(map(self._variants, told))

    def terms(self, query: str) -> list[tuple[str, ...]]:
        """The words of a query, each as the terms that it may be indexed as."""
        return [self._variants(word) for word in words(query)]

    def _variants(self, word: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stem(word) for stem in self._stemmers))

    def with_all(self, query: str) -> Mask:
        """Which passages have all words of a query; segment by segment."""
        found = []
        for number, segment in enumerate(self.segments):
            mask = np.ones(len(segment), np.bool_)
            for variants in set(self.terms(query)):
                own = np.zeros(len(segment), np.bool_)
                own[self._frequencies(number, variants)[0]] = True
                mask &= own
            found.append(mask)
        return np.concatenate([np.empty(0, np.bool_), *found])

    def frequency(self, word: str) -> int:
        """How many passages have a word, in the title or the headings too."""
        variants = [variant for term in self.terms(word) for variant in term]
        return sum(
            int(segment.live[self._frequencies(number, variants)[0]].sum())
            for number, segment in enumerate(self.segments)
        )

    def _frequencies(
        self, number: int, variants: Iterable[str]
    ) -> tuple[npt.NDArray[np.int32], Scores]:
        """The passages of a segment that have one of these terms, with its weighted frequency."""
        segment, factors = self.segments[number], self._factors[number]
        rows = [found for variant in variants if (found := segment.rows_of(variant)) is not None]
        if not rows:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        lists = []
        for part in rows:
            passages = segment.postings[part]
            tf = np.einsum("pf,pf->p", segment.counts[part].astype(np.float32), factors[passages])
            lists.append((passages, tf))
        if len(lists) == 1:
            return lists[0]
        passages = np.concatenate([each for each, _ in lists])
        unique, places = np.unique(passages, return_inverse=True)
        summed = np.bincount(places, np.concatenate([tf for _, tf in lists]))
        return unique, summed.astype(np.float32)

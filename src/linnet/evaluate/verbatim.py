"""How much of a text a model gives back: whether it can be extracted, and how near it comes.

* The probability of extraction, "(n, p)-discoverable extraction" (Hayes et al., 2024,
  arXiv:2410.19482): the chance that at least one of n samples is the text, from its likelihood.
* BLEU of a continuation and the true one; above 0.75 counts as verbatim, as in Ippolito et al.
  (2022, arXiv:2210.17546).
* Edit similarity: 1 less the Levenshtein distance by the longer length.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

NEAR_VERBATIM = 0.75
"""A continuation of a higher BLEU is the text but for details."""

_ORDER = 4  # of n-grams in BLEU


def extraction_probability(nats: float, samples: int) -> float:
    """That one of so many samples is a text of this cost, at temperature 1 without filters."""
    once = math.exp(-max(nats, 0.0))
    if once >= 1:
        return 1.0
    return -math.expm1(samples * math.log1p(-once))


def bleu(written: Sequence[Hashable], true: Sequence[Hashable]) -> float:
    """BLEU-4 with its brevity penalty, without smoothing (Papineni et al., 2002)."""
    if not written:
        return 0.0
    logs = 0.0
    for length in range(1, _ORDER + 1):
        own, wanted = _ngrams(written, length), _ngrams(true, length)
        common = (own & wanted).total()
        if not common:
            return 0.0
        logs += math.log(common / own.total()) / _ORDER
    return math.exp(logs + min(0.0, 1 - len(true) / len(written)))


def edit_similarity(written: Sequence[int], true: Sequence[int]) -> float:
    """From 0 (nothing in common) to 1 (equal)."""
    longest = max(len(written), len(true))
    if not longest:
        return 1.0
    wanted = np.asarray(true, dtype=np.int64)
    row = np.arange(len(wanted) + 1)
    steps = np.arange(len(wanted) + 1)
    for done, symbol in enumerate(written, 1):
        # Replaced or deleted; insertions are a running minimum.
        best = np.minimum(row[1:] + 1, row[:-1] + (wanted != symbol))
        row = np.minimum.accumulate(np.concatenate(([done], best)) - steps) + steps
    return 1 - int(row[-1]) / longest


def _ngrams(tokens: Sequence[Hashable], length: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1))

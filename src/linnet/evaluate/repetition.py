"""How much a text repeats itself, and how much texts repeat each other, by their n-grams.

* seq-rep-n: the share of a text's n-grams that occurred in it before (Welleck et al., 2020,
  arXiv:1908.04319, section 6.1).
* distinct-n: different n-grams of all texts together, by their number (Li et al., 2016).
* self-overlap: the share of a text's n-grams that another text of the set has as well, a plain
  relative of self-BLEU (Zhu et al., 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def ngrams(items: Sequence[Hashable], length: int) -> list[tuple[Hashable, ...]]:
    """All runs of ``length`` items, in order."""
    return list(zip(*(items[start:] for start in range(length)), strict=False))


def seq_rep(items: Sequence[Hashable], length: int) -> float | None:
    """The share of n-grams that occurred before; None of a text too short to have one."""
    found = ngrams(items, length)
    return 1 - len(set(found)) / len(found) if found else None


def distinct_shares(texts: Iterable[Sequence[Hashable]], length: int) -> list[tuple[float, int]]:
    """For each text what it contributes to the different n-grams of all, and how many it has.

    An n-gram that occurs k times counts 1/k each time, so that the contributions add up to the
    number of different ones, and the texts may be resampled.
    """
    grams = [ngrams(items, length) for items in texts]
    counts = Counter(gram for own in grams for gram in own)
    return [(sum(1 / counts[gram] for gram in own), len(own)) for own in grams]


def self_overlaps(texts: Iterable[Sequence[Hashable]], length: int) -> list[float | None]:
    """For each text the share of its n-grams that another one has; None of one without any."""
    grams = [ngrams(items, length) for items in texts]
    holders = Counter(gram for own in grams for gram in set(own))
    return [sum(holders[gram] > 1 for gram in own) / len(own) if own else None for own in grams]

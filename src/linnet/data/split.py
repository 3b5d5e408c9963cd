"""Who is held out: every group of documents has a fixed place.

A group's rank is a keyed hash (BLAKE2b) of its name, as a fraction of one. Below
one border it is test, below the next validation, else training; the borders are
the fractions asked for. So a document keeps its split whatever else comes or
goes. Only where a split would be empty, because there are few groups, do the
borders give way far enough to put one group into it.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from linnet.data.config import DataConfig

_LEAST_GROUPS = 3  # one for each split; with fewer, all are for training


def rank(group: str, key: str) -> float:
    """The group's place in [0, 1)."""
    digest = hashlib.blake2b(group.encode("utf-8"), digest_size=8, key=_secret(key)).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # the 53 bits a float holds


@functools.cache
def _secret(key: str) -> bytes:
    """The key at the length BLAKE2b takes."""
    return hashlib.sha256(key.encode("utf-8")).digest()


@dataclass(frozen=True)
class Borders:
    """Where test ends and where validation ends, among the ranks."""

    key: str
    test_below: float
    validation_below: float

    def split_of(self, group: str) -> str:
        place = rank(group, self.key)
        if place < self.test_below:
            return "test"
        return "validation" if place < self.validation_below else "train"


def fit_borders(groups: Callable[[], Iterable[str]], config: DataConfig) -> Borders:
    """The borders for these groups. ``groups`` is called twice and may repeat itself."""
    key = config.split_key
    lowest, highest = _extremes(rank(group, key) for group in groups())
    if len(highest) < _LEAST_GROUPS:
        return Borders(key, 0.0, 0.0)
    test_below = config.test_fraction
    if test_below > 0:
        test_below = min(max(test_below, _just_above(lowest)), highest[1])
    validation_below = test_below
    if config.validation_fraction > 0:
        others = (place for group in groups() if (place := rank(group, key)) >= test_below)
        wanted = config.test_fraction + config.validation_fraction
        validation_below = max(wanted, _just_above(min(others)))
    return Borders(key, test_below, min(validation_below, highest[0]))


def _extremes(ranks: Iterable[float]) -> tuple[float, list[float]]:
    """The lowest rank, and up to three different highest, the highest first."""
    lowest = 1.0
    highest: list[float] = []
    for place in ranks:
        lowest = min(lowest, place)
        if place not in highest:
            highest = heapq.nlargest(_LEAST_GROUPS, [*highest, place])
    return lowest, highest


def _just_above(place: float) -> float:
    return math.nextafter(place, 2.0)

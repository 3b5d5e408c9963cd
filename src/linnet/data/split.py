"""Who is held out: every group of documents has a fixed place.

A group's rank is a keyed hash (BLAKE2b) of its name, as a fraction of one. Below
one border it is test, below the next validation, else training; the borders are
the fractions asked for. So a document keeps its split whatever else comes or
goes. Only where a split would be empty, because there are few groups, do the
borders give way far enough to put one group into it.

What belongs together (near duplicates, mail threads, groups) is a cluster, and a
cluster is never separated (``divide``). Its split is the one its members had before;
of several, test goes before validation and validation before training, because
what a figure was measured on must not be trained on later. The members that were
trained on before are then withheld: to test on them would measure memory. A
cluster without a past is placed by the rank of one of its groups, drawn by a hash
of the ranks. So each cluster has the same chance, whatever its size (by the
smallest rank nearly every large cluster would be test), and one more or less
among m groups changes the draw with a chance of 1 in m.

A share of the clusters is no share of the text: of a small folder it may be four
notes of two hundred. So the first division is looked over by bytes (``_balance``):
a cluster as large as a split goes to training, and a split with far too little or
too much text, or too few clusters, takes more by rank or gives some back. Later
divisions leave what is settled alone.

Where documents are few their pieces are divided (``cut_pieces``). The cuts follow the
content (Muthitacharoen et al., "A Low-bandwidth Network File System", SOSP 2001): a
paragraph ends a piece when its own hash says so, so that an edit moves the cuts near it
and no others, and pieces keep their splits.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import math
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet.data.document import SPLITS
from linnet.data.shingles import mix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from linnet.data.config import DataConfig


NEW = -1  # no earlier run has divided the document
TRAIN, VALIDATION, TEST = (SPLITS.index(name) for name in ("train", "validation", "test"))
WITHHELD = len(SPLITS)  # trained on before, now in a cluster that is held out

_LEAST_GROUPS = 3  # one for each split; with fewer, all are for training
_BALANCED_FROM = 20  # clusters; with fewer there is nothing to choose from
_PARTS = 4  # a held-out split has at least about so many clusters
_TOLERANCE = 2.0  # times too little or too much text before a drawn split is changed
_MANY = 20  # clusters of less than this part of a split come last: half the folder would go
_MOST_DOCUMENTS = 3.0  # times the fraction of clusters that a split may take
_CLOSE = 1.25  # times too little or too much that is left then


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
    return Borders(key, *_fit(lambda: (rank(group, key) for group in groups()), config))


def divide(
    clusters: npt.NDArray[np.int32],
    ranks: npt.NDArray[np.float64],
    before: npt.NDArray[np.int8],
    kept: npt.NDArray[np.bool_],
    config: DataConfig,
    *,
    sizes: npt.NDArray[np.int64],
) -> npt.NDArray[np.int8]:
    """The split of every document, (N,): an index into SPLITS, or WITHHELD (see the module).

    ``clusters``: the root of each document's cluster; ``ranks``: the rank of its
    group; ``before``: its split so far, or NEW; ``sizes``: its bytes. Documents that
    are not ``kept`` speak for their cluster, but do not fill a split. From three
    clusters on no split that is asked for stays empty, as far as clusters without a
    past allow.
    """
    if not len(clusters):
        return np.empty(0, np.int8)
    _, cluster = np.unique(clusters, return_inverse=True)  # numbered from 0
    count = int(cluster.max()) + 1
    past = np.full(count, NEW, np.int8)
    np.maximum.at(past, cluster, before)  # NEW < TRAIN < VALIDATION < TEST
    places = _places(cluster, ranks)
    in_use = np.bincount(cluster[kept], minlength=count) > 0

    sides = past[cluster]
    sides[(sides > TRAIN) & (before == TRAIN)] = WITHHELD
    settled = kept & (past[cluster] != NEW) & (sides != WITHHELD)
    free = places[in_use & (past == NEW)].tolist()
    test_below, validation_below = _fit(
        lambda: free,
        config,
        filled=set(sides[settled].tolist()),
        others=len(np.unique(cluster[settled])),
    )
    drawn = np.where(
        places < test_below, TEST, np.where(places < validation_below, VALIDATION, TRAIN)
    )
    weights = np.bincount(cluster[kept], sizes[kept], minlength=count).astype(np.float64)
    _balance(drawn, places, weights, in_use & (past == NEW), config, first=not settled.any())
    return np.where(sides == NEW, drawn[cluster], sides).astype(np.int8)


def _balance(
    drawn: npt.NDArray[np.int64],
    places: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    free: npt.NDArray[np.bool_],
    config: DataConfig,
    *,
    first: bool,
) -> None:
    """Change what was drawn for the free clusters so that held-out text is neither one document
    nor next to nothing. ``weights``: bytes by cluster; ``first``: nothing is settled yet."""
    order = np.flatnonzero(free)[np.argsort(places[free], kind="stable")]
    if len(order) < _BALANCED_FROM:
        return
    for split, fraction in ((TEST, config.test_fraction), (VALIDATION, config.validation_fraction)):
        if fraction == 0:
            continue
        target = fraction * weights.sum()
        most = max(target / _PARTS, float(np.median(weights[order])))
        mine = order[drawn[order] == split]
        drawn[mine[weights[mine] > most]] = TRAIN
        if not first:
            continue
        mine = order[drawn[order] == split]
        have, number, least = weights[mine].sum(), len(mine), min(_PARTS, len(order) // 10)
        if have < target / _TOLERANCE or number < least:
            others = (TRAIN, VALIDATION) if split == TEST else (TRAIN,)
            more = order[np.isin(drawn[order], others) & (weights[order] <= most)]
            small = weights[more] < target / _MANY
            enough = _MOST_DOCUMENTS * fraction * len(order)
            for cluster in (*more[~small], *more[small]):
                if number >= least and (have >= target / _CLOSE or number >= enough):
                    break
                drawn[cluster] = split
                have, number = have + weights[cluster], number + 1
        elif have > target * _TOLERANCE:
            for cluster in mine[::-1]:
                if have <= target * _CLOSE or number <= least:
                    break
                drawn[cluster] = TRAIN
                have, number = have - weights[cluster], number - 1


def _places(
    cluster: npt.NDArray[np.intp], ranks: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The rank of one document of each cluster: the one whose rank's hash is smallest."""
    keys = mix(np.ascontiguousarray(ranks, np.float64).view(np.uint64))
    order = np.lexsort((keys, cluster))
    first = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    return np.asarray(ranks[order[first]])


def _fit(
    places: Callable[[], Iterable[float]],
    config: DataConfig,
    *,
    filled: Collection[int] = (),
    others: int = 0,
) -> tuple[float, float]:
    """Below which place is test, and below which validation.

    ``filled``: the splits that are not empty whatever becomes of these places;
    ``others``: the number of groups that fill them.
    """
    lowest, highest = _extremes(places())
    if not highest or len(highest) + others < _LEAST_GROUPS:
        return 0.0, 0.0
    for_train = int(TRAIN not in filled)
    for_validation = int(VALIDATION not in filled and config.validation_fraction > 0)
    test_below = config.test_fraction
    if test_below > 0:
        if TEST not in filled:
            test_below = max(test_below, _just_above(lowest))
        test_below = _leave(test_below, highest, for_train + for_validation)
    if config.validation_fraction == 0:
        return test_below, test_below
    validation_below = config.test_fraction + config.validation_fraction
    if for_validation:
        least = min((place for place in places() if place >= test_below), default=0.0)
        validation_below = max(validation_below, _just_above(least))
    return test_below, _leave(validation_below, highest, for_train)


def _leave(border: float, highest: list[float], number: int) -> float:
    """The border, or a lower one that leaves so many of the highest places above it."""
    return min(border, highest[min(number, len(highest)) - 1]) if number else border


def _extremes(ranks: Iterable[float]) -> tuple[float, list[float]]:
    """The lowest rank, and up to three different highest, the highest first."""
    lowest = 1.0
    highest: list[float] = []
    for place in ranks:
        lowest = min(lowest, place)
        if place not in highest and (len(highest) < _LEAST_GROUPS or place > highest[-1]):
            highest = heapq.nlargest(_LEAST_GROUPS, [*highest, place])
    return lowest, highest


def _just_above(place: float) -> float:
    return math.nextafter(place, 2.0)


LEAST_PIECE, MOST_PIECE = 2_000, 8_000  # characters of a piece
_ENDS_PIECE = 4  # one paragraph in so many

_PARAGRAPH_BORDER = re.compile(r"\n[ \t]*\n\s*")
# Where a paragraph alone is too long: at the end of a line, a sentence or a word.
_BORDERS = (re.compile(r"\n"), re.compile(r"(?<=[.!?。！？])\s+"), re.compile(r"\s+"))


def cut_pieces(text: str) -> list[tuple[str, str]]:
    """The pieces of a text, each with the blanks that followed it.

    Put together, pieces and blanks are the text. A short text is one piece.
    """
    if len(text) <= MOST_PIECE:
        return [(text, "")]
    pieces = []
    start = 0
    for end, resume in _cuts(text):
        pieces.append((text[start:end], text[end:resume]))
        start = resume
    return pieces


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    """Where each piece ends and where the next one starts."""
    start = paragraph = before = 0  # of the piece, of the paragraph, end of the one before
    for end, resume in _borders(text):
        if end - start > MOST_PIECE and paragraph > start:  # full without this paragraph
            yield before, paragraph
            start = paragraph
        if end - start > MOST_PIECE:  # this paragraph alone is too long
            for inner in _inner_borders(text, start, end):
                yield inner
                start = inner[1]
        digest = zlib.crc32(text[paragraph:end].encode("utf-8"))
        if end - start >= LEAST_PIECE and digest % _ENDS_PIECE == 0:
            yield end, resume
            start = resume
        paragraph, before = resume, end
    if start < len(text):
        yield len(text), len(text)


def _borders(text: str) -> Iterator[tuple[int, int]]:
    """The end of each paragraph and the start of the next."""
    for border in _PARAGRAPH_BORDER.finditer(text):
        yield border.span()
    yield len(text), len(text)


def _inner_borders(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts within a paragraph that is too long, as gentle as it allows."""
    while end - start > MOST_PIECE:
        for border in _BORDERS:
            spans = [
                m.span() for m in border.finditer(text, start + LEAST_PIECE, start + MOST_PIECE)
            ]
            if spans:
                span = spans[-1]
                break
        else:
            span = (start + MOST_PIECE, start + MOST_PIECE)
        yield span
        start = span[1]

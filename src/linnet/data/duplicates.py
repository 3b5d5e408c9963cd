"""Near duplicates: pairs of documents that share most of their shingles, and what they join.

Documents that share a MinHash band are candidates (locality-sensitive hashing:
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3); every
candidate is verified with the true Jaccard similarity, so what is found is true
and only what is missed is chance. With 18 bands of 7 rows a pair is a candidate
with a probability of 98.6 % at a similarity of 0.8, 79 % at 0.7 and 40 % at 0.6.

A document is compared with the representatives of its buckets only: the first
document, and the next few that were like no representative before them. So a
million pages from one template cost a million comparisons. What this passes over
is a pair whose earlier half is itself the duplicate of a representative.

Memory: 72 bytes per document beside the bands, and a bounded cache of shingles.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.data.shingles import Hashes, jaccard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from linnet.progress import Progress

Pair: TypeAlias = tuple[int, int, float]  # earlier document, later document, similarity

_REPRESENTATIVES = 4  # of a bucket
_CACHED_BYTES = 256 << 20
_REPORTED = 256  # documents between two signs of progress


def find_pairs(
    bands: Hashes,
    shingles_of: Callable[[int], Hashes],
    threshold: float,
    progress: Progress,
) -> Iterator[Pair]:
    """The pairs with a Jaccard similarity of at least ``threshold``, each once, by later document.

    ``bands``: (N, 18), in memory or mapped. ``shingles_of`` gives the shingles of a
    document by its number; it is asked for candidates only.
    """
    cells = _first_members(bands)
    candidates = np.flatnonzero((cells >= 0).any(axis=1))
    cached = _cache(shingles_of)
    with progress.task("comparing similar documents", total=len(candidates)) as task:
        for done, number in enumerate(candidates.tolist(), 1):
            yield from _compare(number, cells, cached, threshold)
            if done % _REPORTED == 0:
                task.update(done=done)
        task.update(done=len(candidates))


def choose(
    pairs: Iterable[Pair], count: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """Which of ``count`` documents stay, and for each other one the kept one it duplicates.

    In the order of documents: one goes if it is in a pair with an earlier one that
    stays; of several, the most similar is named (the earliest of equals). -1: stays.
    """
    kept = np.ones(count, np.bool_)
    keeper = np.full(count, -1, np.int32)
    for earlier, later, _ in sorted(pairs, key=lambda pair: (pair[1], -pair[2], pair[0])):
        if kept[later] and kept[earlier]:
            kept[later] = False
            keeper[later] = earlier
    return kept, keeper


class Clusters:
    """A union-find forest over documents; the root of a cluster is its first document.

    The outcome is the same in whatever order documents are joined. 4 bytes per document.
    """

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.int32)
        self._parent = self._parents.data  # single elements are faster to reach this way

    def join(self, first: int, second: int) -> None:
        first, second = self._root(first), self._root(second)
        self._parent[max(first, second)] = min(first, second)

    def roots(self) -> npt.NDArray[np.int32]:
        """The root of every document, (N,)."""
        roots = self._parents
        while not np.array_equal(nearer := roots[roots], roots):
            roots = nearer
        return roots.copy()

    def _root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]  # path halving (Tarjan and van Leeuwen, 1984)
            number = parent[number]
        return number


def _first_members(bands: Hashes) -> npt.NDArray[np.int32]:
    """For each document and band, (N, 18), the first document with that value; -1 if alone."""
    count, columns = bands.shape
    cells = np.full((count, columns), -1, np.int32)
    if count < 2:
        return cells
    for band in range(columns):
        values = np.ascontiguousarray(bands[:, band])
        order = np.argsort(values, kind="stable").astype(np.int32)
        values = values[order]
        starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
        sizes = np.diff(np.append(starts, count))
        shared = np.repeat(sizes > 1, sizes)
        cells[order[shared], band] = np.repeat(order[starts], sizes)[shared]
    return cells


def _compare(
    number: int,
    cells: npt.NDArray[np.int32],
    shingles_of: Callable[[int], Hashes],
    threshold: float,
) -> Iterator[Pair]:
    """Compare a document with the representatives of its buckets, and make it one where none is
    like it.

    Until a document's turn its cell names the first member of the bucket; afterwards
    the representative that follows it, so each bucket is a linked list in ``cells``.
    """
    alike: dict[int, bool] = {}
    for band, first in enumerate(cells[number].tolist()):
        if first < 0:
            continue
        cells[number, band] = -1
        if first == number:
            continue
        last, length, similar = first, 0, False
        representative = first
        while representative >= 0:
            if representative not in alike:
                value = _similarity(shingles_of(number), shingles_of(representative), threshold)
                alike[representative] = value >= threshold
                if alike[representative]:
                    yield representative, number, value
            similar = similar or alike[representative]
            last, length = representative, length + 1
            representative = int(cells[representative, band])
        if not similar and length < _REPRESENTATIVES:
            cells[last, band] = number


def _similarity(first: Hashes, second: Hashes, threshold: float) -> float:
    """The Jaccard similarity, or 0 where the numbers of shingles alone keep it below."""
    fewer, more = sorted((len(first), len(second)))
    return jaccard(first, second) if fewer >= threshold * more else 0.0


def _cache(shingles_of: Callable[[int], Hashes]) -> Callable[[int], Hashes]:
    """Remembers what was used last, up to a number of bytes."""
    cached: OrderedDict[int, Hashes] = OrderedDict()
    held = 0

    def look_up(number: int) -> Hashes:
        nonlocal held
        if number in cached:
            cached.move_to_end(number)
            return cached[number]
        found = cached[number] = shingles_of(number)
        held += found.nbytes
        while held > _CACHED_BYTES and len(cached) > 1:
            held -= cached.popitem(last=False)[1].nbytes
        return found

    return look_up

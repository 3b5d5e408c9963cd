"""Exact search for the nearest vectors: every one is compared, in blocks.

Rows are of length one, in fp32 or fp16, in memory or mapped from a file; the score is the cosine.
Nothing approximate is needed at this size: 100,000 rows of 384 numbers in fp32 are 150 MB, read in
some 15 ms of one core. In fp16 they are half of it and take three times as long, since each block
is widened first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.errors import DataError
from linnet.retrieval.bm25 import Hit

Rows = npt.NDArray[np.float32] | npt.NDArray[np.float16]

BLOCK = 1024
"""Rows that are widened at once: what fits into a core's cache together with their copy."""


def similarities(rows: Rows, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The cosines of queries ``(Q, D)`` with all rows ``(N, D)``: ``(Q, N)``. Raises DataError for
    vectors of another length."""
    if rows.ndim != 2 or queries.ndim != 2 or rows.shape[1] != queries.shape[1]:
        raise DataError(
            f"vectors of passages and questions must be of one length. Got "
            f"{rows.shape[-1]} and {queries.shape[-1]}; the index was made with another encoder"
        )
    if rows.dtype == np.float32:
        return np.ascontiguousarray((rows @ queries.T).T)
    found = np.empty((len(queries), len(rows)), np.float32)
    wide = np.empty((BLOCK, rows.shape[1]), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        part = wide[: len(block)]
        np.copyto(part, block)
        found[:, start : start + len(block)] = queries @ part.T
    return found


def nearest(
    rows: Rows,
    query: npt.NDArray[np.float32],
    k: int,
    *,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> list[Hit]:
    """The ``k`` rows nearest to a query ``(D,)``, the best first; of equals the first comes first.

    ``allowed`` ``(N,)``: False where a row is not to be found.
    """
    scores = similarities(rows, np.asarray(query, np.float32)[None])[0]
    if allowed is not None:
        scores[~allowed] = -np.inf
    return best(scores, k)


def best(scores: npt.NDArray[np.floating[Any]], k: int) -> list[Hit]:
    """The ``k`` highest of the scores; what is infinitely low is none."""
    if k < 1 or not len(scores):
        return []
    least = np.partition(scores, -k)[-k] if len(scores) > k else -np.inf
    found = np.flatnonzero((scores >= least) & (scores > -np.inf))
    order = np.lexsort((found, -scores[found]))[:k]
    return [Hit(int(number), float(scores[number])) for number in found[order]]

"""The order in which the parts of a page are read.

A page is cut where white space runs down between columns of text, as long as
such a strip can be found (the cuts of Nagy and Seth, "Hierarchical
representation of optically scanned documents", 1984, but a strip need not run
through the whole page: a heading or figure across the columns ends it). What
lies left of a strip is read before what lies right of it. Columns of a table
are no columns of text: their cells are short and stand in rows.
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from linnet.data.extract.pdf_page import Span

    Rule = tuple[float, float, float]

_DEEPEST = 16
_MOST_CELLS = 1200  # of the grid, each way
_NARROWEST = 3  # cells: 3/4 of the height of a line
_LEAST_HEIGHT = 7  # cells of half a line with text on both sides: about three lines
_CANDIDATES = 6
_SENTENCE = 20  # characters: longer pieces of text are no cells of a table
_INDEX_ENTRY = re.compile(r"[^\W\d].*\d\Z|[^\W\d]\Z")


class _Strip(NamedTuple):
    """White space at ``x`` from ``top`` down to ``bottom``."""

    x: float
    top: float
    bottom: float


def regions(spans: list[Span], rules: Sequence[Rule]) -> Iterator[list[Span]]:
    """The spans of a page in pieces without columns, in reading order."""
    yield from _cut(spans, rules, _DEEPEST)


def _cut(spans: list[Span], rules: Sequence[Rule], depth: int) -> Iterator[list[Span]]:
    strip = _best_strip(spans, rules) if depth else None
    if strip is None:
        yield spans
        return
    above = [span for span in spans if _middle(span) > strip.top]
    below = [span for span in spans if _middle(span) < strip.bottom]
    within = [span for span in spans if strip.bottom <= _middle(span) <= strip.top]
    left = [span for span in within if span.x0 < strip.x]
    right = [span for span in within if span.x0 >= strip.x]
    for part in (above, left, right, below):
        if part:
            yield from _cut(part, rules, depth - 1)


def _middle(span: Span) -> float:
    return span.y + span.size * 0.3


def _best_strip(spans: list[Span], rules: Sequence[Rule]) -> _Strip | None:
    """The strip with the most text on both sides that parts columns of text."""
    if len(spans) < 6:
        return None
    x0 = np.array([span.x0 for span in spans])
    x1 = np.array([span.x1 for span in spans])
    y = np.array([span.y for span in spans])
    size = np.array([span.size for span in spans])
    unit = float(np.median(size))
    left, bottom = float(x0.min()), float((y - size * 0.2).min())
    width, height = float(x1.max()) - left, float((y + size * 0.7).max()) - bottom
    wide = max(unit / 4, width / _MOST_CELLS)
    high = max(unit / 2, height / _MOST_CELLS)
    rows, columns = int(height / high) + 2, int(width / wide) + 2

    def filled(
        x0: NDArray[np.float64], x1: NDArray[np.float64], y0: NDArray[np.float64],
        y1: NDArray[np.float64],
    ) -> NDArray[np.bool_]:  # fmt: skip
        grid = np.zeros((rows + 1, columns + 1), np.int32)  # corners; their sums are the areas
        c0 = np.clip((x0 - left) / wide, 0, columns - 1).astype(int)
        c1 = np.clip(np.ceil((x1 - left) / wide), 1, columns).astype(int)
        r0 = np.clip((y0 - bottom) / high, 0, rows - 1).astype(int)
        r1 = np.clip(np.ceil((y1 - bottom) / high), 1, rows).astype(int)
        np.add.at(grid, (r0, c0), 1)
        np.add.at(grid, (r1, c1), 1)
        np.add.at(grid, (r0, c1), -1)
        np.add.at(grid, (r1, c0), -1)
        return grid.cumsum(0).cumsum(1)[:rows, :columns] > 0

    text = filled(x0, x1, y - size * 0.1, y + size * 0.6)
    blocked = text
    lines = [rule for rule in rules if bottom < rule[2] < bottom + height]
    if lines:
        r = np.array(lines)
        blocked = text | filled(r[:, 0], r[:, 1], r[:, 2], r[:, 2])
    for r0, r1, c0, c1 in _strips(text, blocked):
        strip = _Strip(left + (c0 + c1) / 2 * wide, bottom + r1 * high, bottom + r0 * high)
        within = [span for span in spans if strip.bottom <= _middle(span) <= strip.top]
        if _are_columns(
            [span for span in within if span.x0 < strip.x],
            [span for span in within if span.x0 >= strip.x],
        ):
            return strip
    return None


def _strips(text: NDArray[np.bool_], blocked: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Empty strips of the grid as (first row, end row, first column, end column).

    Those with the most rows of text on both sides, the best first.
    """
    rows = len(text)
    free = ~blocked
    for _ in range(_NARROWEST - 1):
        free = free[:, :-1] & free[:, 1:]
    width = free.shape[1]
    # A row is worth as much as the shorter side has text, be it in that row or not.
    seen = np.cumsum(text, 1)
    before = np.vstack([np.zeros(width, int), np.cumsum(seen[:, :width] > 0, 0)])
    after = np.cumsum(seen[:, -1:] > seen[:, :width], 0)
    after = np.vstack([np.zeros(width, int), after])
    edges = np.diff(np.pad(free, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    column, start = np.nonzero(edges.T == 1)
    _, end = np.nonzero(edges.T == -1)
    both = np.minimum(
        before[end, column] - before[start, column], after[end, column] - after[start, column]
    )
    found: list[tuple[int, int, int, int]] = []
    for number in np.argsort(-both, kind="stable")[: _CANDIDATES * 20].tolist():
        if both[number] < _LEAST_HEIGHT or len(found) == _CANDIDATES:
            break
        r0, r1, c = int(start[number]), int(end[number]), int(column[number])
        if all(abs(c - other[2]) > 2 * _NARROWEST or r0 >= other[1] for other in found):
            same = c
            while same + 1 < width and free[r0:r1, same + 1].all():
                same += 1
            found.append((r0, min(r1, rows), c, same + _NARROWEST))
    return found


def _are_columns(left: list[Span], right: list[Span]) -> bool:
    if _is_prose(left) and _is_prose(right):
        return True
    if _is_index(left) and _is_index(right):
        return True
    # Beside text stands something whose lines are not those of the text: a margin, a box.
    prose, other = (left, right) if _is_prose(left) else (right, left)
    return _is_prose(prose) and len(other) >= 3 and _shared_lines(other, prose) < 0.3


def _is_prose(spans: Sequence[Span]) -> bool:
    lengths = [len(span.text) for span in spans]
    long = [length for length in lengths if length >= _SENTENCE]
    letters = sum(character.isalpha() for span in spans for character in span.text)
    return len(long) >= 3 and sum(long) >= 0.6 * sum(lengths) and letters >= 0.6 * sum(lengths)


def _is_index(spans: Sequence[Span]) -> bool:
    entries = sum(bool(_INDEX_ENTRY.match(span.text)) for span in spans)
    return len(spans) >= 12 and entries >= 0.6 * len(spans)


def _shared_lines(some: Sequence[Span], others: Sequence[Span]) -> float:
    """The share of lines that have a line of the other side at their height."""
    near = 0.15 * median(span.size for span in some)
    heights = np.sort([span.y for span in others])
    place = np.searchsorted(heights, [span.y - near for span in some])
    return float(
        np.mean(
            [
                at < len(heights) and heights[at] <= span.y + near
                for span, at in zip(some, place, strict=True)
            ]
        )
    )

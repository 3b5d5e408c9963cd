"""Running headers and footers: what stands at the edge of page after page.

A line is one if lines with the same words, digits aside, stand at the same
height on other pages nearby, or if it holds the number of the page: one that
grows as the pages do, at the same height or on a line of its own. Only lines
in the margin that nothing else stands outside of are left out, and never most of a page.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING

from linnet.data.extract.pdf_tables import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linnet.data.extract.pdf_page import Page
    from linnet.data.extract.pdf_span import Span

_NEARBY = 12  # pages each way
_LEAST = 3  # of them
_OUTERMOST = 3  # lines
_MARGIN = 0.15  # of the page's height
_HEIGHT = 4.0  # points: as far may the lines be from each other
_MOST_NUMBERS = 4  # in the line that holds the page's
_NUMBER = re.compile(r"\d{1,5}")

_Key = tuple[str, int, str | int]  # which edge, its distance, words or number
_ANYWHERE = "anywhere"  # a number at either edge, at any height


@dataclass
class _Edged:
    """A page, the number of its lines, and its outermost ones with what tells them apart."""

    page: Page
    lines: int
    edges: list[list[tuple[list[Span], list[_Key]]]]

    @property
    def keys(self) -> set[_Key]:
        return {key for edge in self.edges for _, keys in edge for key in keys}


def without_running(pages: Iterable[Page], changes: Counter[str]) -> Iterator[Page]:
    """The pages without their running headers and footers, counted in ``changes``.

    Holds two dozen pages at a time.
    """
    window: deque[_Edged] = deque()
    seen = Counter[_Key]()
    done = 0  # of the window
    for edged in map(_edged, pages, count()):
        window.append(edged)
        seen.update(edged.keys)
        if len(window) - done > _NEARBY:
            yield _stripped(window[done], seen, changes)
            done += 1
        if len(window) > 2 * _NEARBY:
            seen.subtract(window.popleft().keys)
            done -= 1
    for edged in islice(window, done, None):
        yield _stripped(edged, seen, changes)


def _edged(page: Page, number: int) -> _Edged:
    lines = lines_of(page.layers[0]) if page.layers else []
    margin = _MARGIN * (page.top - page.bottom)
    top = [line for line in lines[:_OUTERMOST] if line[0].y > page.top - margin]
    rest = lines[len(top) :][: -_OUTERMOST - 1 : -1]
    edges = {"top": top, "bottom": [line for line in rest if line[0].y < page.bottom + margin]}
    return _Edged(
        page,
        len(lines),
        [
            [(line, list(_keys(line, name, page.top, number))) for line in edge]
            for name, edge in edges.items()
        ],
    )


def _keys(line: list[Span], edge: str, top: float, page: int) -> Iterator[_Key]:
    """What a line has in common with those of other pages if it is a running header."""
    height = round((top - line[0].y) / _HEIGHT)
    text = "".join("".join(span.text for span in line).split()).lower()
    numbers = _NUMBER.findall(text)
    if any(map(str.isalpha, text)):
        yield edge, height, _NUMBER.sub("#", text)
    if len(numbers) <= _MOST_NUMBERS:
        for number in numbers:
            yield edge, height, int(number) - page
            yield _ANYWHERE, 0, int(number) - page


def _stripped(edged: _Edged, seen: Counter[_Key], changes: Counter[str]) -> Page:
    running = [
        line
        for edge in edged.edges
        for line, _ in takewhile(lambda item: _is_running(*item, seen, edged.lines), edge)
    ]
    if running and 2 * len(running) <= max(edged.lines, 2):
        gone = {id(span) for line in running for span in line}
        edged.page.layers[0] = [span for span in edged.page.layers[0] if id(span) not in gone]
        changes["running headers"] += len(running)
    return edged.page


def _is_running(line: list[Span], keys: list[_Key], seen: Counter[_Key], lines: int) -> bool:
    alone = "".join(span.text for span in line).strip().isdigit()
    # The only line of a page is a header if it has the page's number.
    telling = (key for key in keys if lines > 1 or isinstance(key[2], int))
    return any(_pages_with(key, seen) >= _LEAST for key in telling if alone or key[0] != _ANYWHERE)


def _pages_with(key: _Key, seen: Counter[_Key]) -> int:
    edge, height, text = key
    return sum(seen[edge, near, text] for near in (height - 1, height, height + 1))

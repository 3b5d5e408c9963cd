"""The numbers of lists and headings in OpenDocument texts (ISO/IEC 26300-1, 19.880 and 4.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from linnet.data.extract.package import attribute
from linnet.data.extract.word_numbering import numeral

_FORMS = {
    "1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman",
}  # fmt: skip
_PLACE = re.compile(r"%(\d{1,2})%")
_LEVELS = 10
_OUTLINE = "\0outline"


@dataclass(frozen=True)
class _Level:
    form: str
    before: str
    after: str
    shown: int  # levels in a number, such as 2 in 1.2
    start: int
    whole: str  # LibreOffice's way of writing all of this


class Lists:
    """Counts as the items and headings of a document come."""

    def __init__(self, *roots: Any | None) -> None:
        self._styles: dict[str, dict[int, _Level | None]] = {}
        self._unnumbered: set[str] = set()  # paragraph styles that take headings out
        self._counts: dict[str, list[int]] = {}
        self._latest: dict[str, list[int]] = {}  # of the last list of each style
        for root in roots:
            if root is None:
                continue
            for element in root.iter("list-style", "outline-style", "style"):
                name = attribute(element, "name")
                if element.tag == "style":
                    if not attribute(element, "list-style-name", "inherited"):
                        self._unnumbered.add(name)
                    continue
                levels = {_number(e): _level(e) for e in element if attribute(e, "level")}
                self._styles[_OUTLINE if element.tag == "outline-style" else name] = levels

    def begin(self, element: Any) -> list[int]:
        """The counts of a list that is no part of another, which may go on with an earlier one."""
        style = attribute(element, "style-name")
        earlier = self._counts.get(attribute(element, "continue-list"))
        if earlier is None and attribute(element, "continue-numbering") == "true":
            earlier = self._latest.get(style)
        counts = [0] * _LEVELS if earlier is None else earlier
        self._latest[style] = self._counts[attribute(element, "id")] = counts
        return counts

    def item(self, counts: list[int], item: Any, style: str, level: int) -> str:
        """The number of the next item at this level (from 0); "" for a bullet."""
        style = attribute(item, "style-override") or style
        return self._next(counts, style, level, attribute(item, "start-value")) or ""

    def heading(self, element: Any) -> str:
        """The number of a heading, if headings have any."""
        level = attribute(element, "outline-level")
        if (
            not level.isdecimal()
            or attribute(element, "is-list-header") == "true"
            or attribute(element, "style-name") in self._unnumbered
        ):
            return ""
        counts = self._counts.setdefault(_OUTLINE, [0] * _LEVELS)
        return self._next(counts, _OUTLINE, int(level) - 1, attribute(element, "start-value")) or ""

    def _next(self, counts: list[int], style: str, level: int, start: str) -> str | None:
        levels = self._styles.get(style, {})
        form = levels.get(level)
        if form is None or not 0 <= level < _LEVELS:
            return None
        counts[level] = counts[level] + 1 if counts[level] else form.start
        if start.isdecimal():
            counts[level] = int(start)
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)

        def value(place: int) -> str:
            one = levels.get(place)
            count = counts[place] or (one.start if one else 1)
            return numeral(count, one.form if one else "decimal")

        if form.form == "none":
            return f"{form.before}{form.after}".strip()
        if form.whole:
            places = _PLACE.sub(lambda m: value(min(int(m[1]), _LEVELS) - 1), form.whole)
            return places.strip()
        first = max(level + 1 - form.shown, 0)
        return f"{form.before}{'.'.join(map(value, range(first, level + 1)))}{form.after}".strip()


def _number(element: Any) -> int:
    level = attribute(element, "level")
    return int(level) - 1 if level.isdecimal() else -1


def _level(element: Any) -> _Level | None:
    """A level of a style; None for bullets."""
    if element.tag not in ("list-level-style-number", "outline-level-style"):
        return None
    shown, start = attribute(element, "display-levels"), attribute(element, "start-value")
    return _Level(
        _FORMS.get(attribute(element, "num-format"), "none"),
        attribute(element, "num-prefix"),
        attribute(element, "num-suffix"),
        int(shown) if shown.isdecimal() else 1,
        int(start) if start.isdecimal() else 1,
        attribute(element, "num-list-format"),
    )

"""Passages cut into what can be cited by itself: sentences, items of lists, rows, lines, code.

Each unit is a stretch of its passage, and so exactly stored text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from linnet.answers.answer import Citation
from linnet.answers.mails import head_of
from linnet.grounding import claims
from linnet.retrieval import Passage

UnitKind: TypeAlias = Literal["sentence", "item", "row", "line", "code"]

COLUMNS = " | "
"""What stands between the cells of a row."""

_LINE = re.compile(r"[^\n]+")
_MARK = re.compile(r"[ \t]*(?:[-*+•‣▪●–·]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[ \t]+(?=\S)")
_NUMBERED = re.compile(r"[ \t]*\(?\d{1,3}[.)][ \t]+")
_NEXT_ITEM = re.compile(r"[ \t]{2,}(?=[-*+•‣▪●–·][ \t]+\S)")
_HEADING = 3  # words of what stands over a list and is no sentence that leads to it
_ENDED = (".", "!", "?", "…", "。", "！", "？", "।", "։", "۔")
# What a line of a log or of data begins with: a time, a level, or a name with a value.
_RECORD = re.compile(
    r"[ \t]*(?:[\[<(\"]?\d{2,4}[-/.]\d{1,2}[-/.]\d{1,4}[ T,\]]|[\[<(]?\d{1,2}:\d{2}:\d{2}|"
    r"[\[<(]?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|TRACE)\b|"
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2} \d{2}:\d{2}|"
    r"\{\"|\d{1,3}(?:\.\d{1,3}){3}\b|[\w.-]{1,40}=\S|\d{10}(?:\.\d+)? )"
)


@dataclass(frozen=True)
class Unit:
    """Characters ``start`` to ``end`` of a passage."""

    passage: Passage
    kind: UnitKind
    start: int
    end: int
    group: int = 0
    """The paragraph, list or table it is in, counted from the passage's first."""
    header: tuple[str, ...] = ()
    """Of a row: the names of its columns."""
    leads: bool = False
    """Whether it leads to the list or code after it: "To reset it:"."""
    field: str = ""
    """Of a line of a mail's head: its name."""
    heads: bool = False
    """Whether it seems to be the row with the names of the columns."""

    @property
    def text(self) -> str:
        return self.passage.text[self.start : self.end]

    @property
    def cells(self) -> list[str]:
        """Of a row: what is in its columns."""
        return [cell.strip() for cell in self.text.split(COLUMNS)]

    @property
    def numbered(self) -> bool:
        """Whether it is one of numbered steps."""
        return self.kind == "item" and _NUMBERED.match(self.text) is not None

    def citation(self) -> Citation:
        """It as a citation of the first place of its passage."""
        return cited(self.passage, self.start, self.end)


def cited(passage: Passage, start: int, end: int) -> Citation:
    """Characters ``start`` to ``end`` of a passage as a citation of its first place."""
    place = passage.place
    return Citation(
        place.source, place.start + start, place.start + end, place.page,
        passage.text[start:end], passage.title, place.where,
    )  # fmt: skip


def has_records(passage: Passage) -> bool:
    """Whether there are rows of a table in it, or lines of a log."""
    return COLUMNS in passage.text or any(
        _RECORD.match(line[0]) for line in _LINE.finditer(passage.text)
    )  # fmt: skip


@lru_cache(maxsize=2048)
def units(passage: Passage) -> tuple[Unit, ...]:
    """The units of a passage, in order."""
    if passage.kind == "code":
        return tuple(_trimmed(passage, "code", 0, len(passage.text), 0))
    return tuple(_units(passage))


def _units(passage: Passage) -> Iterator[Unit]:
    done = 0
    for name, start, done in head_of(passage.text):
        yield Unit(passage, "sentence", start, done, field=name)
    stretches = list(_stretches(passage, done))
    kinds = [kind for kind, _ in stretches]
    for place, (kind, lines) in enumerate(stretches):
        group = place + bool(done)
        start, end = lines[0][0], lines[-1][1]
        if kind == "row":
            yield from _rows(passage, lines, group)
        elif kind == "text":
            listed = kinds[place + 1 : place + 2] == ["item"]
            yield from _sentences(passage, start, end, group, listed=listed)
        elif kind == "item":
            for first, last in _items(passage.text, lines):
                yield from _trimmed(passage, kind, first, last, group)
        else:
            for first, last in lines:
                yield from _trimmed(passage, kind, first, last, group)


_Stretch: TypeAlias = tuple[Literal["item", "row", "line", "text"], list[tuple[int, int]]]


def _stretches(passage: Passage, begin: int) -> Iterator[_Stretch]:
    """Neighbouring lines of one kind; what goes on from an item is of the item."""
    text, in_table = passage.text, passage.kind == "table"
    kind: Literal["item", "row", "line", "text"] | None = None
    lines: list[tuple[int, int]] = []
    done = begin
    for found in _LINE.finditer(text, begin):
        own = _kind(found[0], in_table=in_table)
        apart = text.count("\n", done, found.start()) > 1
        done = found.end()
        if not found[0].strip():
            continue
        if own == "text" and kind in ("item", "line") and not apart and _goes_on(found[0]):
            lines[-1] = (lines[-1][0], found.end())
            continue
        if kind is not None and (own != kind or (apart and own in ("text", "row"))):
            yield kind, lines
            lines = []
        kind = own
        lines.append(found.span())
    if kind is not None:
        yield kind, lines


def _items(text: str, lines: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The items of a list, also of one that has lost the ends of its lines: "- one  - two"."""
    for start, end in lines:
        for found in _NEXT_ITEM.finditer(text, start, end):
            if found.start() > start:
                yield start, found.start()
                start = found.end()
        yield start, end


def _kind(line: str, *, in_table: bool) -> Literal["item", "row", "line", "text"]:
    if _RECORD.match(line) and not (in_table and COLUMNS in line):  # a row may begin with a date
        return "line"
    if COLUMNS in line:
        return "row"
    return "item" if _MARK.match(line) else "text"


def _goes_on(line: str) -> bool:
    return line[:1] in " \t" or line.lstrip()[:1].islower()


def _rows(passage: Passage, lines: list[tuple[int, int]], group: int) -> Iterator[Unit]:
    first = _cells(passage.text[slice(*lines[0])])
    header: tuple[str, ...] = ()
    if COLUMNS in passage.context:
        header = _cells(passage.context)
    elif len(lines) > 1:
        header = first
    for start, end in lines:
        for unit in _trimmed(passage, "row", start, end, group):
            heads = bool(header) and _cells(unit.text) == header
            yield replace(unit, heads=heads, header=() if heads else header)


def _cells(row: str) -> tuple[str, ...]:
    return tuple(" ".join(cell.split()) for cell in row.split(COLUMNS))


def _sentences(
    passage: Passage, start: int, end: int, group: int, *, listed: bool
) -> Iterator[Unit]:
    found = claims(passage.text[start:end], language=passage.language)
    for own in found:
        leads = own is found[-1] and (
            own.text.endswith((":", "："))
            or (listed and len(own.text.split()) > _HEADING and not own.text.endswith(_ENDED))
        )
        yield Unit(passage, "sentence", start + own.start, start + own.end, group, (), leads)


def _trimmed(
    passage: Passage, kind: UnitKind, start: int, end: int, group: int
) -> Iterator[Unit]:  # fmt: skip
    own = passage.text[start:end]
    if any(letter.isalnum() for letter in own):
        start += len(own) - len(own.lstrip())
        end -= len(own) - len(own.rstrip())
        yield Unit(passage, kind, start, end, group)

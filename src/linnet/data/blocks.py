"""The blocks of a document, and where in its file they stand.

A reader gives a ``Text``: a string that knows its blocks (headings, paragraphs, lists, tables,
code, messages) and from which places on it stands on which page, slide, row or line of the
original. Offsets count characters. Cleaning, masking and cutting move them (``positions``);
what a format does not tell is derived from the text (``derived``).
"""

from __future__ import annotations

import json
import re
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from linnet.config import parse_json
from linnet.data.positions import Offsets, Positions

if TYPE_CHECKING:
    from linnet.data.kinds import Family

BlockKind = Literal["paragraph", "heading", "list", "table", "code", "message"]
KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
Unit = Literal["", "page", "slide", "row", "line", "cell", "section", "second"]

NOWHERE = -1  # the number of what has no place, such as a text box of a sheet
_PARAGRAPH_BORDER = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_MARKED = re.compile(r"[ \t]*(?:[-*+\u2022] |\d{1,4}[.)] )\S")
_HEADING = re.compile(r"(#{1,6}) +\S")
_TABLE_RULE = re.compile(r"(?=[|:+ \t]*-)[|:+\- \t]++")
"""Below a table's header in Markdown."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_LONGEST_HEADING = 300  # characters of a heading in the path of what is under it
_DEEPEST = 9


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something stands: from the page, slide, row (of a sheet), line, cell (of a
    notebook), section (of a web page or book) or second ``first`` to ``last``, all from 1 but
    seconds. ``name``: of the section. All is empty where the format tells nothing of the kind.
    """

    unit: Unit = ""
    first: int = 0
    last: int = 0
    name: str = ""

    def __str__(self) -> str:
        if not self.unit:
            return ""
        if self.name:
            return f"{self.unit} {self.name}"
        one = self.first == self.last
        if self.unit == "second":
            return _clock(self.first) if one else f"{_clock(self.first)} to {_clock(self.last)}"
        return f"{self.unit} {self.first}" if one else f"{self.unit}s {self.first} to {self.last}"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


@dataclass(frozen=True, slots=True)
class Block:
    """``text[start:end]`` of a document. ``headings``: those it stands under, outermost first;
    for a heading those above it, and ``level`` is its own, from 1."""

    kind: BlockKind
    start: int
    end: int
    level: int
    headings: tuple[str, ...]
    place: Place


def _none() -> Offsets:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Structure:
    """The blocks of a text in order, in arrays; and its marks: from ``at`` on it stands in the
    ``unit`` with this number, which may have a name."""

    kinds: Offsets = field(default_factory=_none)
    starts: Offsets = field(default_factory=_none)
    ends: Offsets = field(default_factory=_none)
    levels: Offsets = field(default_factory=_none)
    unit: Unit = ""
    at: Offsets = field(default_factory=_none)
    numbers: Offsets = field(default_factory=_none)
    names: dict[int, str] = field(default_factory=dict)

    def moved(self, positions: Positions) -> Structure:
        """The structure of the text that this one became."""
        if not positions.steps:
            return self
        edges = positions.forwards(np.concatenate([self.starts, self.ends, self.at]))
        starts, ends, at = np.split(edges, np.cumsum([len(self.starts), len(self.ends)]))
        return self._with(starts, ends, at)

    def part(self, start: int, end: int) -> Structure:
        """The structure of ``text[start:end]``."""
        starts, ends = (
            np.clip(edges - start, 0, end - start) for edges in (self.starts, self.ends)
        )
        within = self.at < end
        return self._with(starts, ends, np.maximum(self.at - start, 0), within)

    def _with(
        self, starts: Offsets, ends: Offsets, at: Offsets, within: np.ndarray | None = None
    ) -> Structure:
        """Without blocks that have become empty, and marks that tell nothing more."""
        left = starts < ends
        told = np.ones(len(at), np.bool_) if within is None else within.copy()
        told[:-1] &= (at[1:] > at[:-1]) | ~told[1:]  # of marks at one place the last one counts
        return Structure(
            self.kinds[left], starts[left], ends[left], self.levels[left],
            self.unit, at[told], self.numbers[told], self.names,
        )  # fmt: skip

    def place(self, start: int, end: int) -> Place:
        """Where ``text[start:end]`` stands."""
        first = max(int(np.searchsorted(self.at, start, "right")) - 1, 0)
        last = int(np.searchsorted(self.at, max(end, start + 1), "left"))
        numbers = self.numbers[first:last]
        numbers = numbers[numbers != NOWHERE]
        if not len(numbers):
            return Place()
        name = self.names.get(int(numbers[0]), "")
        return Place(self.unit, int(numbers.min()), int(numbers.max()), name)

    def blocks(self, text: str) -> Iterator[Block]:
        """The blocks of this text, with the headings they are under."""
        above: list[tuple[int, str]] = []
        for kind, start, end, level in zip(
            self.kinds.tolist(), self.starts.tolist(), self.ends.tolist(), self.levels.tolist(),
            strict=True,
        ):  # fmt: skip
            is_heading = KINDS[kind] == "heading"
            while is_heading and above and above[-1][0] >= level:
                above.pop()
            headings = tuple(title for _, title in above)
            yield Block(KINDS[kind], start, end, level, headings, self.place(start, end))
            if is_heading:
                title = " ".join(text[start : min(end, start + _LONGEST_HEADING)].split())
                above.append((level, title.lstrip("#*= ")))

    def pack(self) -> bytes:
        """As few bytes: numbers as their differences, the bytes of one weight together."""
        head = {"blocks": len(self.kinds), "unit": self.unit, "names": self.names}
        every = np.concatenate(
            [self.starts, self.ends, self.at, self.numbers, self.kinds, self.levels]
        ).astype("<i4")
        every[1:] -= every[:-1].copy()
        planes = every.view(np.uint8).reshape(-1, 4).T.tobytes()
        return zlib.compress(json.dumps(head).encode() + b"\n" + planes)

    @classmethod
    def unpack(cls, data: bytes) -> Structure:
        """What ``pack`` was given."""
        line, _, planes = zlib.decompress(data).partition(b"\n")
        head = parse_json(line.decode())
        differences = np.frombuffer(planes, np.uint8).reshape(4, -1).T
        every = np.cumsum(np.ascontiguousarray(differences).view("<i4").reshape(-1), dtype=np.int64)
        blocks, marks = head["blocks"], (len(every) - 4 * head["blocks"]) // 2
        starts, ends, at, numbers, kinds, levels = np.split(
            every, np.cumsum([blocks, blocks, marks, marks, blocks])
        )
        names = {int(number): name for number, name in head["names"].items()}
        return cls(kinds, starts, ends, levels, head["unit"], at, numbers, names)


class Text(str):
    """A string with its structure. What is made of it by the methods of ``str`` has none."""

    __slots__ = ("structure",)
    structure: Structure

    @classmethod
    def of(cls, text: str, structure: Structure) -> Text:
        found = cls(text)
        found.structure = structure
        return found

    def trimmed(self, characters: str | None = None) -> Text:
        """What ``strip`` gives."""
        start = len(self) - len(self.lstrip(characters))
        return self.part(start, max(len(self.rstrip(characters)), start))

    def part(self, start: int, end: int) -> Text:
        """``self[start:end]``."""
        return Text.of(self[start:end], self.structure.part(start, end))


class Builder:
    """Puts a text together, block by block. ``unit``: what is counted in the original."""

    def __init__(self, unit: Unit = "") -> None:
        self.unit: Unit = unit
        self.parts: list[str] = []
        self.length = 0
        self._blocks: list[tuple[int, int, int, int]] = []
        self._marks: list[tuple[int, int]] = []
        self._names: dict[int, str] = {}

    def mark(self, number: int, name: str = "") -> None:
        """What comes now stands at this place of the original."""
        if not self._marks or self._marks[-1][1] != number:
            self._marks.append((self.length, number))
        if name:
            self._names[number] = name

    def add(
        self,
        text: str,
        kind: BlockKind = "paragraph",
        *,
        level: int = 0,
        before: str = "\n\n",
        marks: Iterable[tuple[int, int]] = (),
        first: str = "",
        further: str = "",
    ) -> None:
        """A block; ``before``: what parts it from the one before. ``marks``: places within it,
        each as an offset, in order, and the number that holds from there on. ``first`` comes
        before its first line, ``further`` before the others."""
        if self.parts:
            self.write(before)
        start = self.length
        ends = counted = 0  # line ends before the place that was last looked at
        for offset, number in marks:
            ends += text.count("\n", counted, offset)
            counted = offset
            shift = len(first) + len(further) * ends if offset else 0
            self._marks.append((start + offset + shift, number))
        text = first + (text.replace("\n", f"\n{further}") if further else text)
        self.write(text)
        if text.strip():
            self._blocks.append((KINDS.index(kind), start, self.length, min(level, _DEEPEST)))

    def include(
        self,
        text: str,
        family: Family = "prose",
        *,
        before: str = "\n\n",
        number: int = 0,
        name: str = "",
    ) -> None:
        """A text with its own blocks, which stands at the place with this ``number``; without one
        at its own places, if they count the same."""
        inner = structure_of(text, family)
        if self.parts:
            self.write(before)
        if number:
            self.mark(number, name)
        rows = zip(inner.kinds, inner.starts, inner.ends, inner.levels, strict=True)
        self._blocks += [
            (int(kind), self.length + int(start), self.length + int(end), int(level))
            for kind, start, end, level in rows
        ]
        if inner.unit == self.unit and not number:
            pairs = zip(inner.at.tolist(), inner.numbers.tolist(), strict=True)
            self._marks += [(self.length + at, number) for at, number in pairs]
        self.write(text)

    def write(self, text: str) -> None:
        """Text that belongs to no block."""
        self.parts.append(text)
        self.length += len(text)

    def text(self) -> Text:
        kinds, starts, ends, levels = np.array(self._blocks, np.int64).reshape(-1, 4).T
        marks = np.array(self._marks, np.int64).reshape(-1, 2).T
        unit: Unit = self.unit if self._marks else ""
        structure = Structure(kinds, starts, ends, levels, unit, marks[0], marks[1], self._names)
        return Text.of("".join(self.parts), structure)


def structure_of(text: str, family: Family) -> Structure:
    """The structure of a text that a reader gave, derived where it told nothing."""
    return text.structure if isinstance(text, Text) else derived(text, family)


def derived(text: str, family: Family, levels: Mapping[int, int] | None = None) -> Structure:
    """Blocks as a text shows them: by blank lines, marks of lists, rows of cells. ``levels``: of
    headings, by where in the text their lines begin."""
    found: list[tuple[int, int, int, int]] = []
    levels = levels or {}
    heads = sorted(levels)
    start = 0
    for border in (*_PARAGRAPH_BORDER.finditer(text), None):
        end = border.start() if border else len(text)
        for first, last in _apart(text, start, end, heads):
            kind, level = _shown(text[first:last], family)
            if first in levels:
                kind, level = "heading", levels[first]
            if text[first:last].strip():
                found.append((KINDS.index(kind), first, last, min(level, _DEEPEST)))
        start = border.end() if border else end
    return Structure(*np.array(found, np.int64).reshape(-1, 4).T)


def _apart(text: str, start: int, end: int, heads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Lines without a blank one between them, with headings set apart."""
    for head in heads[bisect_left(heads, start) : bisect_left(heads, end)]:
        if start < head:
            yield start, head - 1
        line_end = text.find("\n", head, end)
        start = line_end + 1 if line_end >= 0 else end
        yield head, start - (line_end >= 0)
    if start < end:
        yield start, end


def numbered(text: str, family: Family, *, first: int = 1) -> Text:
    """A text that stands as it is in its file: ``first`` is the number of its first line."""
    if "\r" in text:
        ends = np.array([found.end() for found in _LINE_END.finditer(text)], np.int64)
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        ends = np.flatnonzero(codes == ord("\n")) + 1
    at = np.concatenate([[0], ends])
    found = derived(text, family)
    numbers = np.arange(first, first + len(at), dtype=np.int64)
    structure = Structure(found.kinds, found.starts, found.ends, found.levels, "line", at, numbers)
    return Text.of(text, structure)


def placed(text: str, family: Family, unit: Unit, number: int) -> Text:
    """A text all of which stands at one place."""
    found = replace(structure_of(text, family), unit=unit, names={})
    one = np.zeros(1, np.int64)
    return Text.of(text, replace(found, at=one, numbers=one + number))


def from_lines(
    lines: Iterable[tuple[str, int, int]], *, unit: Unit = "line", family: Family = "prose"
) -> Text:
    """A text of lines, each with its number in the original, and its level if it is a heading."""
    lines = list(lines)
    text = "\n".join([line for line, _, _ in lines])
    lengths = np.array([len(line) + 1 for line, _, _ in lines], np.int64)
    at = np.cumsum(lengths) - lengths
    levels = {int(start): level for start, (_, _, level) in zip(at, lines, strict=True) if level}
    found = derived(text, family, levels)
    numbers = np.array([number for _, number, _ in lines], np.int64)
    return Text.of(text, replace(found, unit=unit, at=at, numbers=numbers))


def line_ends(text: str) -> int:
    """How many lines end in a text, by whatever sign."""
    return text.count("\n") + (text.count("\r") - text.count("\r\n") if "\r" in text else 0)


def _shown(block: str, family: Family) -> tuple[BlockKind, int]:
    if family == "code":
        return "code", 0
    if family == "table":
        return "table", 0
    lines = block.split("\n", 50)[:50]
    if len(lines) == 1 and (heading := _HEADING.match(block)):
        return "heading", len(heading[1])
    if block.startswith("```"):
        return "code", 0
    rows = [line for line in lines if line.strip() and not _TABLE_RULE.fullmatch(line)]
    if len(lines) > 1 and rows and all(" | " in line for line in rows):
        return "table", 0
    return ("list" if _MARKED.match(block) else "paragraph"), 0

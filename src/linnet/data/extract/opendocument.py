"""OpenDocument texts, presentations and spreadsheets (ISO/IEC 26300-1).

Deleted text and tables of contents are left out; text boxes and descriptions of
pictures follow the paragraph they hang on, notes and comments the block that refers to them.
Headers come first and footers last, each once. A sheet is a document.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import FIELD_ERROR, PAGE_NUMBER, Layout, without_page_numbers
from linnet.data.extract.package import attribute, open_package
from linnet.data.extract.spreadsheet import UNCOMPUTED, sheet_document
from linnet.data.extract.typeface import decoded, lowered, raised
from linnet.data.extract.word_styles import numeral
from linnet.data.markup.mathml import formula

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.package import Package


TEXT, SHEETS = "odt", "ods"
_SILENT = {
    "tracked-changes", "forms", "sequence-decls", "variable-decls", "user-field-decls",
    "page-thumbnail", "settings", "event-listeners", "scripts", "calculation-settings",
}  # fmt: skip
_UNSEEN = {"hidden-text", "hidden-paragraph", "ruby-text", "note-citation", "bookmark"}
_PAGE_FIELDS = {"page-number", "page-count", "page-continuation"}
_DESCRIPTIONS = {"title", "desc"}  # of pictures
_INDEXES = {"table-of-content", "illustration-index", "table-index", "object-index"}
_DRAWN = {
    "frame", "g", "custom-shape", "rect", "line", "polyline", "polygon", "path", "ellipse",
    "circle", "connector", "text-box", "caption", "regular-polygon",
}  # fmt: skip
_ROWS = {"table-rows", "table-header-rows", "table-row-group"}
_CELLS = {"table-cell", "covered-table-cell"}
_SPACES = re.compile(r"[ \t\r\n]+")
_MOST_REPEATS = 1024  # of one cell, or of a blank; and so many columns a table may have


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, TEXT) as package:
        _refuse_encrypted(package)
        body = package.xml("content.xml").find("body")
        if body is None:
            raise UnreadableError(f"damaged {TEXT}", "no body")
        if body.find("spreadsheet") is not None:
            found = list(_sheets(body, package, context))
        else:
            found = list(_text(body, package, context))
    if not found:
        raise UnreadableError("no text in it")
    yield from found


def _refuse_encrypted(package: Package) -> None:
    manifest = package.xml_or_none("META-INF/manifest.xml")
    if manifest is not None and next(manifest.iter("encryption-data"), None) is not None:
        raise UnreadableError("encrypted")


def _text(body: Any, package: Package, context: Context) -> Iterator[Extracted]:
    styles = package.xml_or_none("styles.xml")
    content = body.getparent()
    reader = _Reader(package, _faces(styles, content), Lists(styles, content))
    found = Layout("slide" if body.find("presentation") is not None else "")
    has_margins = styles is not None and body.find("text") is not None
    headers, footers = reader.margins(styles) if has_margins else (Layout(), Layout())
    found.extend(headers)
    reader.blocks(body, found, top=True)
    found.extend(footers)
    if text := found.text():
        yield Extracted(text, context.group, TEXT, changes=dict(reader.changes))


def _sheets(body: Any, package: Package, context: Context) -> Iterator[Extracted | Dropped]:
    faces = _faces(package.xml_or_none("styles.xml"), body.getparent())
    for table in body.iterfind("spreadsheet/table"):
        reader = _Reader(package, faces, Lists())
        around = Layout()
        for drawn in table.findall("shapes"):
            reader.blocks(drawn, around)
        for annotation in table.iter("annotation"):
            reader.comment(annotation)
        around.extend(reader.notes)
        name = attribute(table, "name")
        rows = reader.sheet_rows(table)
        found = sheet_document(
            name, rows, kind=SHEETS, context=context, after=around.text(), changes=reader.changes
        )
        if found is not None:
            yield found


class _Reader:
    """Writes the elements of a document as blocks.

    ``boxes`` is what hangs on the paragraph being read, ``notes`` what the block
    being read refers to; both are written after it.
    """

    def __init__(self, package: Package, faces: dict[str, _Face], lists: Lists) -> None:
        self.package = package
        self.lists = lists
        self.faces = faces  # of text, by the names of styles
        self.face = _Face()
        self.changes: Counter[str] = Counter()
        self.boxes = Layout()
        self.notes = Layout()
        self.noted = 0

    def margins(self, styles: Any) -> tuple[Layout, Layout]:
        """The headers and the footers of all page styles, what is in several of them once."""
        headers, footers = Layout(), Layout()
        for page in styles.iter("master-page"):
            for element in page:
                if element.tag.startswith("header"):
                    self.blocks(element, headers)
                elif element.tag.startswith("footer"):
                    self.blocks(element, footers)
        return headers.distinct(), footers.distinct()

    def blocks(self, parent: Any, out: Layout, *, top: bool = False) -> None:
        for child in parent:
            tag = child.tag
            if tag in ("p", "h"):
                self._paragraph(child, out)
            elif tag == "list":
                style = attribute(child, "style-name")
                self._list(child, out, 0, style, self.lists.begin(child))
            elif tag == "table":
                out.cells([self._row(row) for row in _rows(child)])
            elif tag == "page":
                self._slide(child, out)
            elif tag == "annotation":
                self.comment(child)
            elif tag == "tracked-changes":
                self.changes["deleted revisions"] += sum(1 for _ in child.iter("deletion"))
            elif tag in _INDEXES:
                self.changes["lines of the table of contents"] += sum(1 for _ in child.iter("p"))
            elif tag in _DESCRIPTIONS:
                if tag == "desc" or parent.find("desc") is None:
                    out.picture("".join(child.itertext()))
            elif tag not in _SILENT:
                self.blocks(child, out, top=top)
            if top:
                out.extend(self.notes)
                self.notes = Layout()

    def _slide(self, page: Any, out: Layout) -> None:
        """A slide: its title, its shapes in their order, its notes."""
        out.number += 1
        for shape in sorted(page, key=lambda shape: attribute(shape, "class") != "title"):
            self.blocks([shape], out)

    def _list(self, element: Any, out: Layout, level: int, style: str, counts: list[int]) -> None:
        style = attribute(element, "style-name") or style
        for item in element:
            fresh = item.tag == "list-item"  # its first paragraph has the number
            for child in item:
                if child.tag == "list":
                    self._list(child, out, level + 1, style, counts)
                elif child.tag in ("p", "h"):
                    mark = self.lists.item(counts, item, style, level) if fresh else ""
                    fresh = False
                    self._paragraph(child, out, level if child.tag == "p" else None, mark)
                else:
                    self.blocks([child], out)

    def _paragraph(
        self, element: Any, out: Layout, level: int | None = None, mark: str = ""
    ) -> None:
        outer, self.boxes = self.boxes, Layout()
        text = "".join(self._texts(element))
        boxes, self.boxes = self.boxes, outer
        if PAGE_NUMBER in text:
            self.changes["page numbers"] += 1
            text = without_page_numbers(text)
        text, errors = FIELD_ERROR.subn("", text)
        if errors:
            self.changes["errors of fields"] += errors
        depth = attribute(element, "outline-level", "1") if element.tag == "h" else "0"
        if element.tag == "h" and text.strip():
            mark = mark or self.lists.heading(element)
        if level is None:
            heading = int(depth[:1]) if depth.isdecimal() else 1
            out.paragraph(f"{mark} {text}" if text.strip() else "", heading=heading)
        else:
            out.item(text, level, mark)
        out.extend(boxes)

    def _texts(self, element: Any) -> Iterator[str]:
        yield self.face.shown(_collapsed(element.text))
        for child in element:
            tag = child.tag
            if tag == "span":
                outer = self.face
                self.face = outer.within(self.faces.get(attribute(child, "style-name")))
                yield from self._texts(child)
                self.face = outer
            elif tag == "s":
                count = attribute(child, "c", "1")
                yield " " * (min(int(count), _MOST_REPEATS) if count.isdecimal() else 1)
            elif tag == "tab":
                yield "\t"
            elif tag == "line-break":
                yield "\n"
            elif tag in _PAGE_FIELDS:
                yield PAGE_NUMBER
            elif tag == "note":
                yield self._note(child)
            elif tag == "annotation":
                self.comment(child)
            elif tag == "frame" and (formula := self._formula(child)):
                yield formula
            elif tag in _DRAWN:
                self._inline_blocks([child], self.boxes)
            elif tag not in _UNSEEN:
                yield from self._texts(child)
            yield self.face.shown(_collapsed(child.tail))

    def _formula(self, frame: Any) -> str:
        """The formula that a frame holds, which is a document of its own in the package."""
        held = frame.find("object")
        if held is None:
            return ""
        root = held.find("math")
        if root is None:
            name = posixpath.normpath(f"{attribute(held, 'href')}/content.xml")
            root = self.package.xml_or_none(name)
        return formula(root) if root is not None and root.tag == "math" else ""

    def _note(self, note: Any) -> str:
        self.noted += 1
        mark = f"[{self.noted}]"
        text = Layout()
        self._inline_blocks(note.iterfind("note-body"), text)
        self.notes.paragraph(f"{mark} {text.text()}")
        return mark

    def comment(self, annotation: Any) -> None:
        text = Layout()
        self._inline_blocks((child for child in annotation if child.tag in ("p", "list")), text)
        if len(text):
            self.notes.paragraph(f"[Comment: {text.text()}]")

    def _inline_blocks(self, elements: Any, out: Layout) -> None:
        """What is met in the middle of a paragraph."""
        boxes, self.boxes = self.boxes, Layout()
        self.blocks(elements, out)
        self.boxes = boxes

    def _row(self, row: Any) -> list[Layout]:
        cells: list[Layout] = []
        for cell in row:
            if cell.tag in _CELLS:
                content = Layout()
                self.blocks(cell, content)
                cells += [content] * min(_repeats(cell, "columns"), _MOST_REPEATS - len(cells))
        return cells

    def sheet_rows(self, table: Any) -> Iterator[tuple[int, dict[int, str]]]:
        """The number of each row that holds text, and its cells by column."""
        number = 1
        for row in _rows(table):
            cells: dict[int, str] = {}
            column = 0
            for cell in row:
                if cell.tag not in _CELLS:
                    continue
                repeats = _repeats(cell, "columns")
                content = Layout()
                self.blocks((child for child in cell if child.tag != "annotation"), content)
                text = content.text()
                if not text and attribute(cell, "formula") and not attribute(cell, "value-type"):
                    self.changes[UNCOMPUTED] += 1
                if text:
                    last = column + min(repeats, _MOST_REPEATS)
                    cells |= dict.fromkeys(range(column, last), text)
                column += repeats
            repeats = _repeats(row, "rows")
            for _ in range(repeats if cells else 0):
                yield number, cells
                number += 1
            number += 0 if cells else repeats


@dataclass(frozen=True)
class _Face:
    """How a style shows text. ``raised``: 1 above the line, -1 below it."""

    font: str = ""
    raised: int = 0

    def within(self, inner: _Face | None) -> _Face:
        if inner is None:
            return self
        return _Face(inner.font or self.font, inner.raised or self.raised)

    def shown(self, text: str) -> str:
        text = decoded(text, self.font) if self.font else text
        return (lowered, str, raised)[self.raised + 1](text)


def _faces(*roots: Any | None) -> dict[str, _Face]:
    """How the styles of text show it, where that tells more than their letters."""
    found: dict[str, _Face] = {}
    fonts: dict[str, str] = {}
    for root in roots:
        for element in root.iter("font-face", "style") if root is not None else ():
            name = attribute(element, "name")
            if element.tag == "font-face":
                fonts[name] = attribute(element, "font-family").strip("'\"")
            elif attribute(element, "family") == "text":
                properties = element.find("text-properties")
                face = _face(properties, fonts) if properties is not None else _Face()
                found[name] = found.get(attribute(element, "parent-style-name"), _Face()).within(
                    face
                )
    return found


def _face(properties: Any, fonts: dict[str, str]) -> _Face:
    font = attribute(properties, "font-name")
    font = fonts.get(font, font) or attribute(properties, "font-family").strip("'\"")
    place = attribute(properties, "text-position")
    if place.startswith(("super", "sub")):
        return _Face(font, 1 if place.startswith("super") else -1)
    percent = place.partition("%")[0]
    return _Face(font, (percent[:1] == "-" and -1) or int(percent.strip("0") != ""))


def _collapsed(text: str | None) -> str:
    return _SPACES.sub(" ", text) if text else ""


def _rows(table: Any) -> Iterator[Any]:
    for child in table:
        if child.tag == "table-row":
            yield child
        elif child.tag in _ROWS:
            yield from _rows(child)


def _repeats(element: Any, what: str) -> int:
    count = attribute(element, f"number-{what}-repeated", "1")
    return int(count) if count.isdecimal() else 1


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

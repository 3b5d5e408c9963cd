"""Spreadsheets: a sheet is a document. Workbooks of Excel, of today (SpreadsheetML, ECMA-376 part
1, section 18) and of 1997 to 2003 ([MS-XLS], read by xlrd), and what OpenDocument shares with them.

A sheet comes as its rows, each with its number (from 1) and the text of its cells by column.
Blank rows part blocks; each block is a table of its own, without the columns that are empty in
it. Sheets are streamed; what a cell shows comes from the value stored with it and its number
format; formulas are never computed, and those without a stored value counted. Text boxes, charts
and comments of a sheet follow its cells.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.blocks import NOWHERE, Builder, from_lines
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import Layout, numbered_lines
from linnet.data.extract.number_format import BUILTIN, displayed
from linnet.data.extract.ooxml import Part, drawn_paragraphs, graphic, main_part, reference
from linnet.data.extract.package import attribute, ole_content, open_package
from linnet.data.extract.typeface import decoded, is_symbolic, lowered, raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.package import Package

    Rows = Iterable[tuple[int, Mapping[int, str]]]

_COLUMN = re.compile(r"[A-Za-z]{1,3}")


def read_xlsx(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    if ole_content(path) == "xls":  # the old format under the new name
        yield from _read_xls(path, context)
        return
    with open_package(path, context, "xlsx") as package:
        found = False
        for document in _Workbook(package).documents(context):
            found = True
            yield document
    if not found:
        raise UnreadableError("no text in it")


def read_xls(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    """A file with the suffix of Excel 97 to 2003, which may be of today's format."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    yield from (read_xlsx if zipped else _read_xls)(path, context)


class _Workbook:
    """What the sheets of a workbook share: strings, number formats, the first day of dates."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.main = main_part(package, "xl/workbook.xml")
        self.root = self.main.root
        properties = self.root.find("workbookPr")
        date1904 = attribute(properties, "date1904") if properties is not None else ""
        self.epoch_1904 = date1904 in ("1", "true")
        self.strings = [
            text for name in self.main.related("sharedStrings") for text in _strings(package, name)
        ]
        self.formats: list[str] = []
        self.faces: list[str] = []  # symbol fonts of the cell styles
        for name in self.main.related("styles"):
            root = package.xml(name)
            self.formats += _formats(root)
            self.faces += _faces(root)
        self.changes: Counter[str] = Counter()  # of the sheet that is read

    def documents(self, context: Context) -> Iterator[Extracted | Dropped]:
        for entry in self.root.iterfind("sheets/sheet"):
            if member := self.main.target(reference(entry)):
                self.changes = Counter()
                found = sheet_document(
                    attribute(entry, "name"),
                    self._rows(member),
                    kind="xlsx",
                    context=context,
                    after=_drawn(Part(self.package, member)).text(),
                    changes=self.changes,
                )
                if found is not None:
                    yield found

    def _rows(self, member: str) -> Iterator[tuple[int, dict[int, str]]]:
        """The number of each row that holds text, and its cells by column."""
        last = 0
        for row in self.package.stream(member, "row"):
            number = attribute(row, "r")
            last = int(number) if number.isdecimal() else last + 1
            cells: dict[int, str] = {}
            column = -1
            for cell in row.iterchildren("{*}c"):
                named = _COLUMN.match(attribute(cell, "r"))
                column = _column(named[0]) if named else column + 1
                if text := self._cell(cell):
                    cells[column] = text
            if cells:
                yield last, cells

    def _cell(self, cell: Any) -> str:
        kind = attribute(cell, "t", "n")
        style = attribute(cell, "s", "0")
        if kind == "inlineStr":
            return self._in_face("".join(_string_texts(cell)).strip(), style)
        value = cell.findtext("{*}v") or ""
        if not value and kind != "str" and cell.find("{*}f") is not None:
            self.changes[UNCOMPUTED] += 1
        if kind == "s":
            number = int(value) if value.isdecimal() else len(self.strings)
            text = self.strings[number] if number < len(self.strings) else ""
            return self._in_face(text, style)
        if kind == "n" and value:
            return self._number(value, style)
        if kind == "b":
            return {"1": "TRUE", "true": "TRUE", "": ""}.get(value, "FALSE")
        if kind == "e" and value:
            self.changes["errors in cells"] += 1
            return ""
        return self._in_face(value.strip(), style)

    def _in_face(self, text: str, style: str) -> str:
        number = int(style) if style.isdecimal() else 0
        return decoded(text, self.faces[number]) if number < len(self.faces) else text

    def _number(self, value: str, style: str) -> str:
        number = int(style) if style.isdecimal() else 0
        code = self.formats[number] if number < len(self.formats) else "General"
        try:
            return displayed(float(value), code, epoch_1904=self.epoch_1904)
        except ValueError:
            return value.strip()


def _strings(package: Package, name: str) -> Iterator[str]:
    return ("".join(_string_texts(item)).strip() for item in package.stream(name, "si"))


def _string_texts(item: Any) -> Iterator[str]:
    """The runs of a string, without the phonetic ones that tell how it is read."""
    for text in item.iter("{*}t"):
        parent = text.getparent()
        if not parent.tag.endswith("}rPh"):
            yield _shown(text.text or "", parent.find("{*}rPr"))


def _shown(text: str, properties: Any | None) -> str:
    """The text of a run as its font and its height show it."""
    if properties is None:
        return text
    font, height = properties.find("{*}rFont"), properties.find("{*}vertAlign")
    text = decoded(text, attribute(font, "val")) if font is not None else text
    placed = {"superscript": raised, "subscript": lowered}
    return placed.get(attribute(height, "val"), str)(text) if height is not None else text


def _faces(root: Any) -> Iterator[str]:
    """The font of each cell style if it shows signs in the places of letters, else nothing."""
    names = [
        attribute(found, "val") if (found := font.find("name")) is not None else ""
        for font in root.iterfind("fonts/font")
    ]
    for style in root.iterfind("cellXfs/xf"):
        number = attribute(style, "fontId", "0")
        name = names[int(number)] if number.isdecimal() and int(number) < len(names) else ""
        yield name if is_symbolic(name) else ""


def _formats(root: Any) -> Iterator[str]:
    """The number format of each cell style."""
    own = {
        attribute(entry, "numFmtId"): attribute(entry, "formatCode")
        for entry in root.iterfind("numFmts/numFmt")
    }
    for style in root.iterfind("cellXfs/xf"):
        number = attribute(style, "numFmtId", "0")
        builtin = BUILTIN.get(int(number), "General") if number.isdecimal() else "General"
        yield own.get(number, builtin)


def _column(letters: str) -> int:
    """The number of a column from its letters: A is 0, AA is 26."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _drawn(sheet: Part) -> Layout:
    """Text boxes, charts and comments of a sheet."""
    found = Layout()
    for name in sheet.related("drawing"):
        drawing = Part(sheet.package, name)
        for element in drawing.root.iter("txBody", "graphicData", "cNvPr"):
            if element.tag == "cNvPr":
                found.picture(attribute(element, "descr"))
            elif element.tag == "graphicData":
                found.extend(graphic(element, drawing))
            else:
                for _, text in drawn_paragraphs(element):
                    found.paragraph(text)
    for name in itertools.chain(sheet.related("comments"), sheet.related("threadedComment")):
        for comment in sheet.package.xml(name).iter("comment", "threadedComment"):
            text = "".join(t.text or "" for t in comment.iter("t", "text")).strip()
            if text and not text.startswith("[Threaded comment]"):  # a notice to old programs
                found.paragraph(f"[Comment: {text}]")
    return found


def _read_xls(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    found = list(_xls_documents(path, context))
    if not found:
        raise UnreadableError("no text in it")
    yield from found


def _xls_documents(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    import xlrd

    with open(os.devnull, "w") as silence:
        try:
            with xlrd.open_workbook(
                str(path), logfile=silence, on_demand=True, formatting_info=True, ragged_rows=True
            ) as book:
                for number, name in enumerate(book.sheet_names()):
                    rows = _xls_rows(book, book.sheet_by_index(number))
                    if found := sheet_document(name, rows, kind="xls", context=context):
                        yield found
                    book.unload_sheet(number)
        except Exception as error:  # xlrd fails on damaged files in every way there is
            if "encrypted" in str(error).lower():
                raise UnreadableError("encrypted") from None
            raise UnreadableError("damaged xls", str(error)[:200]) from None


def _xls_rows(book: Any, sheet: Any) -> Iterator[tuple[int, dict[int, str]]]:
    for number in range(sheet.nrows):
        cells = {}
        for column in range(sheet.row_len(number)):
            if text := _xls_cell(book, sheet.cell(number, column)):
                cells[column] = text
        if cells:
            yield number + 1, cells


def _xls_cell(book: Any, cell: Any) -> str:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_TEXT:
        return str(cell.value).strip()
    if cell.ctype in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
        style = book.xf_list[cell.xf_index] if cell.xf_index is not None else None
        code = book.format_map[style.format_key].format_str if style is not None else "General"
        return displayed(cell.value, code, epoch_1904=bool(book.datemode))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if cell.value else "FALSE"
    return ""


UNCOMPUTED = "formulas without a stored value"
_HELD = 10_000  # rows whose columns are looked at together
_BETWEEN_CELLS = 3  # characters


class _TooLargeError(Exception):
    pass


def sheet_document(
    name: str,
    rows: Rows,
    *,
    kind: str,
    context: Context,
    after: str = "",
    changes: Counter[str] | None = None,
) -> Extracted | Dropped | None:
    """A sheet with what lies ``after`` its cells; None if it has no text.

    ``changes`` counts what is left out while the rows come.
    """
    limit = context.config.max_document_bytes
    lines: list[tuple[str, int, int]] = []
    try:
        for line in _lines(_bounded(rows, limit)):
            limit -= len(line[0]) + 1
            if limit < 0:
                raise _TooLargeError
            lines.append(line)
    except _TooLargeError:
        return Dropped("document larger than max_document_bytes", name)
    written = Builder("row")
    if lines:
        written.include(from_lines(lines, unit="row", family="table"))
    if after:
        written.include(after, number=NOWHERE)
    text = written.text()
    left_out = dict(changes or {})
    if not text and UNCOMPUTED in left_out:
        return Dropped(UNCOMPUTED, name)
    return Extracted(text, context.group, kind, part=name, changes=left_out) if text else None


def _lines(rows: Rows) -> Iterator[tuple[str, int, int]]:
    block: list[tuple[int, Mapping[int, str]]] = []
    last: int | None = None
    for number, row in rows:
        parted = last is not None and number != last + 1
        if parted or len(block) == _HELD:
            yield from numbered_lines(block)
            block = []
        if parted:
            yield "", number, 0
        block.append((number, row))
        last = number
    yield from numbered_lines(block)


def _bounded(rows: Rows, limit: int) -> Rows:
    """The rows, as long as their text stays below the limit: one string may stand in all cells."""
    for number, row in rows:
        limit -= sum(map(len, row.values())) + _BETWEEN_CELLS * len(row)
        if limit < 0:
            raise _TooLargeError
        yield number, row

"""Rich Text Format (Microsoft's specification 1.9.1).

One pass over the tokens, with groups on a stack of our own, so that neither
nesting nor size does harm. Notes, comments and text boxes follow the paragraph
they belong to; headers come first and footers last, each once; what is hidden
or deleted is left out.
"""

from __future__ import annotations

import codecs
import mmap
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import FIELD_ERROR, PAGE_NUMBER, Layout, without_page_numbers
from linnet.data.extract.typeface import decoded, is_symbolic, lowered, raised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context


_TOKEN = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?[0-9]{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<symbol>[^a-zA-Z])|(?P<brace>[{}])|(?P<text>[^\\{}\r\n\0]+)|[\r\n\0]+|\\",
    re.DOTALL,
)
# Groups that hold no text of the document. Of those that are marked with \*, which
# programs may pass over, only a few are read.
_SILENT = {
    "colortbl", "stylesheet", "info", "pict", "object", "listtable",
    "listoverridetable", "revtbl", "rsidtbl", "themedata", "colorschememapping", "latentstyles",
    "datastore", "xmlnstbl", "filetbl", "nonesttables", "nonshppict", "shprslt", "sp", "ftnsep",
    "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "tc", "tcn", "xe", "rxe", "template",
}  # fmt: skip
_STARRED = {"fldinst", "annotation", "shpinst"}
_NOTE, _COMMENT, _BOX, _HEADER, _FOOTER = "note", "comment", "box", "header", "footer"
_INSTRUCTION, _MARK = "instruction of a field", "mark of a list item"
_PROPERTY, _VALUE = "property of a shape", "value of a property"
_FLOWS = {
    "footnote": _NOTE, "annotation": _COMMENT, "shptxt": _BOX,
    "header": _HEADER, "headerl": _HEADER, "headerr": _HEADER, "headerf": _HEADER,
    "footer": _FOOTER, "footerl": _FOOTER, "footerr": _FOOTER, "footerf": _FOOTER,
    "fldinst": _INSTRUCTION, "listtext": _MARK, "pntext": _MARK, "sn": _PROPERTY, "sv": _VALUE,
}  # fmt: skip
_OF_SHAPES = {"sn", "sv"}  # read also in groups that are silent
_HEIGHTS = {"super": 1, "up": 1, "sub": -1, "dn": -1, "nosupersub": 0}
_CHARACTERS = {
    "tab": "\t", "line": "\n", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c",
    "rdblquote": "\u201d", "bullet": "\u2022", "endash": "\u2013", "emdash": "\u2014",
    "enspace": " ", "emspace": " ", "qmspace": " ", "zwj": "\u200d", "zwnj": "\u200c",
    "nestcell": " ", "nestrow": " ", "chpgn": PAGE_NUMBER,
}  # fmt: skip
_SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"\\": "\\", b"{": "{", b"}": "}", b"\t": "\t"}
_BREAKS = {"par", "sect", "page"}
_PAGE_FIELD = re.compile(r"\s*(PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
_CONTENTS_FIELD = re.compile(r"\s*TOC\b", re.IGNORECASE)
_CODE_PAGES = {"mac": 10000, "pc": 437, "pca": 850}
# Of \fcharset; other numbers stand for the code page of the document.
_CHARSETS = {
    77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258,
    177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250,
}  # fmt: skip


def _codec(code_page: int) -> str:
    """The encoding of a code page; that of Western Windows for one nobody knows."""
    name = {10000: "mac_roman", 65001: "utf-8", 1361: "johab"}.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


KIND = "rtf"
_DEEPEST_GROUP, _DEEPEST_FLOW = 10_000, 4
_LONGEST_NAME = 200  # characters: of a font
_START = b"{\\rtf"


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with path.open("rb") as file:
        start = file.read(64)
        if not start:
            raise UnreadableError("empty file")
        if not start.lstrip().startswith(_START):
            raise UnreadableError(f"damaged {KIND}", "it does not begin as one")
        reader = _Reader(context.config.max_document_bytes)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            text = reader.document(data).text()
    if not text:
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, KIND, changes=dict(reader.changes))


@dataclass
class _Flow:
    """Text that runs through: the body, a note, a header. ``after`` follows its paragraph."""

    kind: str = ""
    depth: int = 0  # of flows within one another
    out: Layout = field(default_factory=Layout)
    parts: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    after: Layout = field(default_factory=Layout)
    mark: str | None = None  # of the list item that a paragraph is


@dataclass
class _Group:
    """The properties that hold until the end of a group."""

    flow: _Flow
    silent: bool = False
    hidden: bool = False
    deleted: bool = False
    fonts: bool = False  # is this the table of fonts?
    contents: bool = False  # the result of a field TOC
    raised: int = 0  # above the line, or below
    font: int = 0
    skip: int = 1  # characters for old programs that follow each one in Unicode
    in_table: bool = False
    level: int = 0
    heading: int = 0  # its level, from 1


class _Reader:
    def __init__(self, limit: int) -> None:
        self.changes: Counter[str] = Counter()
        self.headers, self.footers = Layout(), Layout()
        self.group = _Group(_Flow())
        self.stack: list[_Group] = []
        self.codec = "cp1252"
        self.fonts: dict[int, str] = {}  # their encodings
        self.names: dict[int, str] = {}
        self.property = ""  # of a shape, whose value follows
        self.undecoded = bytearray()  # a character may take several bytes
        self.to_skip = 0
        self.starred = False
        self.page_field = False  # is the result of the field that is open a page number?
        self.contents_field = False
        self.noted = 0
        self.left = limit

    def document(self, data: mmap.mmap) -> Layout:
        body = self.group.flow
        position = 0
        while token := _TOKEN.match(data, position):
            position = token.end()
            if token["text"]:
                self._encoded(token["text"])
            elif token["hex"]:
                self._encoded(bytes.fromhex(token["hex"].decode("ascii")))
            elif token["brace"] == b"{":
                self._open()
            elif token["brace"]:
                self._close()
            elif token["word"]:
                number = int(token["number"]) if token["number"] else None
                position += self._word(token["word"].decode("ascii").lower(), number)
            elif token["symbol"]:
                self._symbol(token["symbol"])
        while self.stack:  # a file that was cut off
            self._close()
        self._end_paragraph(body)
        self._end_table(body)
        found = self.headers.distinct()
        found.extend(body.out)
        found.extend(self.footers.distinct())
        return found

    def _open(self) -> None:
        self._decode()
        if len(self.stack) >= _DEEPEST_GROUP:
            raise UnreadableError(f"damaged {KIND}", "nested too deep")
        self.stack.append(replace(self.group))

    def _close(self) -> None:
        self._decode()
        if self.stack:
            ended = self.group.flow
            self.group = self.stack.pop()
            if ended is not self.group.flow:
                self._hang(ended, self.group.flow)

    def _hang(self, flow: _Flow, parent: _Flow) -> None:
        """Put a flow that has ended where it belongs."""
        if flow.kind == _INSTRUCTION:
            self.page_field = _PAGE_FIELD.match("".join(flow.parts)) is not None
            self.contents_field = _CONTENTS_FIELD.match("".join(flow.parts)) is not None
            return
        if flow.kind == _MARK:
            mark = _taken(flow).strip()
            parent.mark = mark if any(map(str.isalnum, mark)) else ""
            return
        if flow.kind == _PROPERTY:
            self.property = _taken(flow)
            return
        if flow.kind == _VALUE:
            if self.property == "wzDescription":
                parent.after.picture(_taken(flow))
            return
        self._end_paragraph(flow)
        self._end_table(flow)
        if flow.kind == _NOTE:
            self.noted += 1
            parent.parts.append(f"[{self.noted}]")
            parent.after.paragraph(f"[{self.noted}] {flow.out.text()}")
        elif flow.kind == _COMMENT and len(flow.out):
            parent.after.paragraph(f"[Comment: {flow.out.text()}]")
        elif flow.kind == _BOX:
            parent.after.extend(flow.out)
        elif flow.kind == _HEADER:
            self.headers.extend(flow.out)
        elif flow.kind == _FOOTER:
            self.footers.extend(flow.out)

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self.starred = True
        elif symbol in (b"\n", b"\r"):
            self._break()
        elif symbol in _SYMBOLS:
            self._add(_SYMBOLS[symbol])

    def _word(self, word: str, number: int | None) -> int:
        """Obey a control word; how many bytes after it are not text."""
        starred, self.starred = self.starred, False
        self._decode()
        group = self.group
        if word == "bin":
            return max(number or 0, 0)
        if word in _SILENT or (starred and word not in _STARRED):
            group.silent, group.fonts = True, False
        elif word in _FLOWS:
            if word in _OF_SHAPES:
                group.silent = group.contents
            group.silent |= group.flow.depth >= _DEEPEST_FLOW
            if not group.silent:
                group.flow = _Flow(_FLOWS[word], group.flow.depth + 1)
                group.in_table = False
        elif word in _CHARACTERS:
            self._add(_CHARACTERS[word])
        elif word == "u":
            self._add(chr((number or 0) & 0xFFFF))
            self.to_skip = group.skip
        elif word == "fldrslt":
            if self.page_field:
                self._add(PAGE_NUMBER)
                group.silent = True
            if self.contents_field:
                group.silent = group.contents = True
            self.page_field = self.contents_field = False
        elif group.contents and word in _BREAKS:
            self.changes["lines of the table of contents"] += 1
        elif not group.silent and word in _BREAKS:
            self._break()
        elif not group.silent and word == "cell":
            self._end_cell(group.flow)
        elif not group.silent and word == "row":
            self._end_row(group.flow)
        else:
            self._property(word, number)
        return 0

    def _property(self, word: str, number: int | None) -> None:
        group = self.group
        on = number != 0
        if word == "pard":
            group.in_table, group.level, group.heading = False, 0, 0
        elif word == "plain":
            group.hidden = group.deleted = False
            group.raised = 0
        elif word in _HEIGHTS:
            group.raised = _HEIGHTS[word] if on else 0
        elif word == "fonttbl":
            group.fonts = group.silent = True
        elif word == "intbl":
            group.in_table = True
        elif word == "v":
            group.hidden = on
        elif word == "deleted":
            self.changes.update(["deleted revisions"] if on else [])
            group.deleted = on
        elif word == "ilvl":
            group.level = number or 0
        elif word == "outlinelevel":
            group.heading = min(max(number + 1, 1), 9) if number is not None and number < 9 else 0
        elif word in ("f", "deff"):
            group.font = number or 0
        elif word == "fcharset" and number in _CHARSETS:
            self.fonts[group.font] = _codec(_CHARSETS[number])
        elif word == "uc":
            group.skip = min(max(number or 0, 0), 16)
        elif word == "ansicpg" and number:
            self.codec = _codec(number)
        elif word in _CODE_PAGES:
            self.codec = _codec(_CODE_PAGES[word])

    def _encoded(self, text: bytes) -> None:
        if self.to_skip:
            text, self.to_skip = text[self.to_skip :], max(self.to_skip - len(text), 0)
        if not self.group.silent:
            self.undecoded += text
        elif self.group.fonts and len(self.names.get(self.group.font, "")) < _LONGEST_NAME:
            name = self.names.get(self.group.font, "") + text.decode("latin-1")
            self.names[self.group.font] = name

    def _decode(self) -> None:
        """What was met in bytes, by the encoding of its font."""
        self.to_skip = 0
        if self.undecoded:
            codec = self.fonts.get(self.group.font, self.codec)
            codec = "latin-1" if self._symbolic() else codec
            text = self.undecoded.decode(codec, "replace")
            self.undecoded.clear()
            self._add(text)

    def _symbolic(self) -> str:
        """The name of the font of the group, if it shows signs in the places of letters."""
        name = self.names.get(self.group.font, "").partition(";")[0].strip()
        return name if name and is_symbolic(name) else ""

    def _add(self, text: str) -> None:
        self._decode()
        group = self.group
        if not (group.silent or group.hidden or group.deleted):
            self.left -= len(text)
            if self.left < 0:
                raise UnreadableError("larger than max_document_bytes", "one document")
            if name := self._symbolic():
                text = decoded(text, name)
            if group.raised:
                text = raised(text) if group.raised > 0 else lowered(text)
            group.flow.parts.append(text)

    def _break(self) -> None:
        if self.group.in_table:
            self._add(" ")
        else:
            self._end_paragraph(self.group.flow)

    def _end_paragraph(self, flow: _Flow) -> None:
        text, mark = _taken(flow), flow.mark
        flow.mark = None
        text, errors = FIELD_ERROR.subn("", text)
        if errors:
            self.changes["errors of fields"] += errors
        if PAGE_NUMBER in text:
            self.changes["page numbers"] += 1
            text = without_page_numbers(text)
        if text.strip():
            self._end_table(flow)
        if mark is None or self.group.heading:
            paragraph = f"{mark or ''} {text}" if text.strip() else ""
            flow.out.paragraph(paragraph, heading=self.group.heading)
        else:
            flow.out.item(text, self.group.level, mark)
        if not flow.rows:
            flow.out.extend(flow.after)
            flow.after = Layout()

    def _end_cell(self, flow: _Flow) -> None:
        flow.cells.append(_taken(flow))
        flow.mark = None

    def _end_row(self, flow: _Flow) -> None:
        flow.rows.append(flow.cells)
        flow.cells = []

    def _end_table(self, flow: _Flow) -> None:
        if flow.cells:
            self._end_row(flow)
        if flow.rows:
            flow.out.table(flow.rows)
            flow.rows = []
            flow.out.extend(flow.after)
            flow.after = Layout()


def _taken(flow: _Flow) -> str:
    """The text gathered so far, its surrogate pairs joined."""
    text = "".join(flow.parts)
    flow.parts.clear()
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

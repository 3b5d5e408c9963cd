"""Word documents (WordprocessingML, ECMA-376 part 1, section 17).

The text as a reader of the accepted version sees it: deletions are left out,
insertions kept, with the numbers of lists and headings; text boxes and descriptions of
pictures follow the paragraph they hang on, notes and comments the block that refers to them.
Headers come first and footers last, each once. Tables of contents are left out.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import FIELD_ERROR, PAGE_NUMBER, Layout, without_page_numbers
from linnet.data.extract.ooxml import (
    Part,
    from_omml,
    graphic,
    main_part,
    property_value,
    reference,
    switched_on,
)
from linnet.data.extract.package import attribute, open_package
from linnet.data.extract.typeface import decoded, lowered, raised
from linnet.data.extract.word_styles import PLAIN, Numbering, Style, list_place, run_font, styles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

KIND = "docx"
_DELETED = {"del", "moveFrom"}
_SILENT = {"pPr", "rPr", "sdtPr", "sdtEndPr", "tblPr", "tblGrid", "trPr", "tcPr", "sectPr", "rt"}
_CHARACTERS = {"tab": "\t", "ptab": "\t", "cr": "\n", "noBreakHyphen": "\u2011"}
_FIELD_MARKS = {"fldChar", "instrText"}
_NOTES = {"footnoteReference": "footnote", "endnoteReference": "endnote"}
_PAGE_FIELDS = (["PAGE"], ["NUMPAGES"], ["SECTIONPAGES"])
_CONTENTS = "Table of Contents"  # a gallery of parts, in all languages
_LINES_OF_CONTENTS = "lines of the table of contents"
_COLUMNS = 63  # of a table; Word has no more


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, KIND) as package:
        reader = _Reader(main_part(package, "word/document.xml"), context)
        text = reader.document().text()
    if not text and not reader.dropped:
        raise UnreadableError("no text in it")
    if text:
        yield Extracted(text, context.group, KIND, changes=dict(reader.changes))
    yield from reader.dropped


_EMPTY = Layout()


class _Reader:
    """Writes the stories of a document: its body, notes, text boxes, headers.

    ``boxes`` is what hangs on the paragraph being read, ``notes`` what the block
    being read refers to; both are written after it.
    """

    def __init__(self, main: Part, context: Context) -> None:
        self.part = main
        self.context = context
        self.dropped: list[Dropped] = []  # parts in other formats that are not read
        self.changes: Counter[str] = Counter()
        self.styles = styles(main)
        self.numbering = Numbering(main)
        self.stories = _stories(main)
        self.boxes = Layout()
        self.notes = Layout()
        self.noted = 0
        self.fields: list[str] = []
        self.contents: set[Any] = set()  # paragraphs of tables of contents
        self.font = self.raised = ""  # of the run being read

    def document(self) -> Layout:
        root = self.part.root
        body = root.find("body")
        if body is None:
            raise UnreadableError(f"damaged {KIND}", "no body")
        found = self._margins(root, "headerReference")
        self.contents = _contents(body)
        self._blocks(body, found, top=True)
        found.extend(self._margins(root, "footerReference"))
        return found

    def _margins(self, root: Any, tag: str) -> Layout:
        """Headers or footers, what is in several of them once."""
        found = Layout()
        main = self.part
        for name in dict.fromkeys(main.target(reference(element)) for element in root.iter(tag)):
            if name:
                self.part = Part(main.package, name)
                self._blocks(self.part.root, found)
        self.part = main
        return found.distinct()

    def _blocks(self, parent: Any, out: Layout, *, top: bool = False) -> None:
        for child in parent:
            if child.tag == "p":
                self._paragraph(child, out)
            elif child.tag == "tbl":
                out.cells([self._row(row) for row in _within(child, "tr")])
            elif child.tag == "altChunk":
                self._chunk(self.part.target(reference(child)), out)
            elif self._left_out(child):
                pass
            elif child.tag == "oMathPara":
                out.paragraph(from_omml(child))
            elif child.tag == "AlternateContent":
                self._blocks(_alternative(child), out)
            else:
                self._blocks(child, out, top=top)
            if top:
                out.extend(self.notes)
                self.notes = Layout()

    def _left_out(self, element: Any) -> bool:
        """Is this no text of the document: properties, deletions, the prompts of empty forms?"""
        if element.tag in _DELETED:
            self.changes["deleted revisions"] += 1
            return True
        if element.tag == "sdt" and switched_on(element.find("sdtPr/showingPlcHdr")):
            self.changes["prompts of empty fields"] += 1
            return True
        if (
            element.tag == "sdt"
            and property_value(element, "sdtPr/docPartObj/docPartGallery") == _CONTENTS
        ):
            lines = (p for p in element.iter("p") if next(p.iter("t"), None) is not None)
            self.changes[_LINES_OF_CONTENTS] += sum(1 for _ in lines)
            return True
        return element.tag in _SILENT

    def _chunk(self, name: str, out: Layout) -> None:
        """A part in another format (HTML, RTF, text) that stands for its content (17.17.2)."""
        if not name:
            self.dropped.append(Dropped("a part is missing", "altChunk"))
            return
        with self.part.package.open(name) as source:
            for found in self.context.nested(posixpath.basename(name), source):
                if isinstance(found, Dropped):
                    self.dropped.append(found)
                else:
                    out.written(found.text)
                    self.changes.update(found.changes)

    def _paragraph(self, element: Any, out: Layout) -> None:
        outer, self.boxes = self.boxes, Layout()
        self.fields = []
        found = "".join(self._texts(element))
        if PAGE_NUMBER in found:
            self.changes["page numbers"] += 1
        text, errors = FIELD_ERROR.subn("", without_page_numbers(found).strip())
        if errors:
            self.changes["errors of fields"] += errors
        boxes, self.boxes = self.boxes, outer
        style, number, level = self._form(element.find("pPr"))
        mark = self.numbering.mark(number, level) if number and text.strip() else None
        if text.strip() and (style.contents or element in self.contents or _is_entry(element)):
            self.changes[_LINES_OF_CONTENTS] += 1
        elif mark is None or style.heading:
            out.paragraph(f"{mark or ''} {text}" if text.strip() else "", heading=style.heading)
        else:
            out.item(text, level, mark)
        out.extend(boxes)

    def _form(self, properties: Any | None) -> tuple[Style, str, int]:
        """The style of a paragraph, and the list and the level that it is an item of."""
        named = properties.find("pStyle") if properties is not None else None
        identifier = attribute(named, "val") if named is not None else ""
        style = self.styles.get(identifier, PLAIN)
        numbering = properties.find("numPr") if properties is not None else None
        number, level = list_place(numbering, style)
        if level is None:
            level = self.numbering.level_of(number, style.lister or identifier)
        return style, number, level or 0

    def _texts(self, parent: Any) -> Iterator[str]:
        """The text of a paragraph or a part of one, boxes and notes put aside."""
        for child in parent:
            tag = child.tag
            if tag == "t":
                yield "" if any(map(_is_page, self.fields)) else self._shown(child.text or "")
            elif tag == "sym":
                yield self._symbol(child)
            elif tag in ("oMath", "oMathPara"):
                yield from_omml(child)
            elif tag == "docPr":
                self.boxes.picture(attribute(child, "descr"))
            elif tag in _CHARACTERS:
                yield _CHARACTERS[tag]
            elif tag == "br":
                yield "\n" if attribute(child, "type") in ("", "textWrapping") else ""
            elif tag == "r":
                yield from self._run(child)
            elif tag in _FIELD_MARKS:
                yield self._field(child)
            elif tag == "fldSimple":
                if _is_page(attribute(child, "instr")):
                    yield PAGE_NUMBER
                else:
                    yield from self._texts(child)
            elif tag in _NOTES:
                yield self._note((_NOTES[tag], attribute(child, "id")))
            elif tag == "commentReference":
                self._comment(attribute(child, "id"))
            elif tag == "txbxContent":
                self._box(child)
            elif tag == "graphicData":
                self.boxes.extend(graphic(child, self.part))
                yield from self._texts(child)
            elif tag == "AlternateContent":
                yield from self._texts(_alternative(child))
            elif not self._left_out(child):
                yield from self._texts(child)

    def _run(self, run: Any) -> Iterator[str]:
        properties = run.find("rPr")
        if properties is not None and switched_on(properties.find("vanish")):
            self.changes["hidden runs"] += 1
            yield from (self._field(child) for child in run if child.tag in _FIELD_MARKS)
            return
        outer = self.font, self.raised
        named = property_value(properties, "rStyle") if properties is not None else ""
        style = self.styles.get(named, PLAIN)
        self.font = run_font(properties) or style.font
        self.raised = (
            property_value(properties, "vertAlign") if properties is not None else ""
        ) or style.raised
        yield from self._texts(run)
        self.font, self.raised = outer

    def _shown(self, text: str) -> str:
        """The text of a run as its font and its height show it."""
        text = decoded(text, self.font) if self.font else text
        if self.raised == "superscript":
            return raised(text)
        return lowered(text) if self.raised == "subscript" else text

    def _symbol(self, element: Any) -> str:
        code = attribute(element, "char")
        try:
            character = chr(int(code, 16))
        except (ValueError, OverflowError):
            return ""
        return decoded(character, attribute(element, "font"))

    def _field(self, element: Any) -> str:
        """Keeps ``fields``: the instructions of the fields that are open, innermost last."""
        mark = attribute(element, "fldCharType")
        if element.tag == "instrText" and self.fields:
            self.fields[-1] += element.text or ""
        elif mark == "begin":
            self.fields.append("")
        elif mark == "end" and self.fields and _is_page(self.fields.pop()):
            return PAGE_NUMBER
        return ""

    def _box(self, content: Any) -> None:
        fields = self.fields
        box = Layout()
        self._blocks(content, box)
        self.boxes.extend(box)
        self.fields = fields

    def _note(self, key: tuple[str, str]) -> str:
        story = self.stories.pop(key, None)  # once, even where a note refers to itself
        if story is None:
            return ""
        self.noted += 1
        mark = f"[{self.noted}]"
        self.notes.paragraph(f"{mark} {self._inline_story(story)}")
        return mark

    def _comment(self, identifier: str) -> None:
        story = self.stories.pop(("comment", identifier), None)
        if story is not None and (text := self._inline_story(story)):
            self.notes.paragraph(f"[Comment: {text}]")

    def _inline_story(self, story: Any) -> str:
        """The text of a story that is met in the middle of a paragraph."""
        fields, boxes = self.fields, self.boxes
        found = Layout()
        self._blocks(story, found)
        self.fields, self.boxes = fields, boxes
        return found.text()

    def _row(self, row: Any) -> list[Layout]:
        """The cells; what a wide or a tall cell covers beyond its first place is empty."""
        cells = [_EMPTY] * _count(row, "trPr/gridBefore")
        for cell in _within(row, "tc"):
            content = Layout()
            merge = cell.find("tcPr/vMerge")
            if merge is None or attribute(merge, "val") == "restart":
                self._blocks(cell, content)
            covered = min(_count(cell, "tcPr/gridSpan") - 1, _COLUMNS - len(cells))
            cells += [content, *[_EMPTY] * covered]
        return cells


def _contents(body: Any) -> set[Any]:
    """The paragraphs that lie in the result of a field TOC, and hold nothing else.

    Only where the field is ended: the rest of a damaged document is no table of contents.
    """
    found: set[Any] = set()
    paragraphs: list[Any] = []
    mixed: set[Any] = set()  # those with text before or after such a field
    opened: list[tuple[str, int]] = []
    for element in body.iter("p", "t", "fldChar", "instrText"):
        kind = attribute(element, "fldCharType")
        if element.tag == "p":
            paragraphs.append(element)
        elif element.tag == "t":
            if paragraphs and not opened and (element.text or "").strip():
                mixed.add(paragraphs[-1])
        elif element.tag == "instrText" and opened:
            instruction, start = opened[-1]
            opened[-1] = instruction + (element.text or ""), start
        elif kind == "begin":
            opened.append(("", max(len(paragraphs) - 1, 0)))
        elif kind == "end" and opened:
            instruction, start = opened.pop()
            if instruction.upper().split()[:1] == ["TOC"]:
                found.update(paragraphs[start:])
    return found - mixed


def _is_entry(paragraph: Any) -> bool:
    """Is this a line of a table of contents that is no field any more: links to headings?"""
    links = [e for e in paragraph.findall("hyperlink") if attribute(e, "anchor").startswith("_Toc")]
    linked = sum(len(t.text or "") for link in links for t in link.iter("t"))
    return bool(links) and linked == sum(len(t.text or "") for t in paragraph.iter("t"))


def _alternative(element: Any) -> Any:
    """The first way of showing a drawing; the others are for programs that do not know it."""
    return next((c for c in element if c.tag in ("Choice", "Fallback")), element)


def _within(parent: Any, tag: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, those in content controls or revisions too."""
    for child in parent:
        if child.tag == tag:
            if tag != "tr" or child.find("trPr/del") is None:
                yield child
        elif child.tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
            yield from _within(child, tag)


def _count(element: Any, path: str) -> int:
    value = property_value(element, path)
    return min(int(value), _COLUMNS) if value.isdecimal() else 0


def _is_page(instruction: str) -> bool:
    return instruction.upper().split()[:1] in _PAGE_FIELDS


def _stories(main: Part) -> dict[tuple[str, str], Any]:
    """Footnotes, endnotes and comments by their kind and identifier."""
    return {
        (kind, attribute(story, "id")): story
        for kind in ("footnote", "endnote", "comment")
        for name in main.related(f"{kind}s")[:1]
        for story in main.package.xml(name).findall(kind)
        if attribute(story, "type") not in ("separator", "continuationSeparator")
    }

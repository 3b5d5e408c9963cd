"""Word documents (WordprocessingML, ECMA-376 part 1, section 17).

The text as a reader of the accepted version sees it: deletions are left out,
insertions kept; text boxes follow the paragraph they hang on, notes and
comments the block that refers to them. Headers come first and footers last,
each once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import PAGE_NUMBER, Layout, without_page_numbers
from linnet.data.extract.ooxml import (
    Part,
    graphic,
    main_part,
    property_value,
    reference,
    switched_on,
)
from linnet.data.extract.package import attribute, open_package
from linnet.data.extract.word_styles import PLAIN, Style, list_level, styles

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
_COLUMNS = 63  # of a table; Word has no more


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, KIND) as package:
        reader = _Reader(main_part(package, "word/document.xml"))
        text = reader.document().text()
    if not text:
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, KIND, changes=dict(reader.changes))


_EMPTY = Layout()


class _Reader:
    """Writes the stories of a document: its body, notes, text boxes, headers.

    ``boxes`` is what hangs on the paragraph being read, ``notes`` what the block
    being read refers to; both are written after it.
    """

    def __init__(self, main: Part) -> None:
        self.part = main
        self.changes: Counter[str] = Counter()
        self.styles = styles(main)
        self.stories = _stories(main)
        self.boxes = Layout()
        self.notes = Layout()
        self.noted = 0
        self.fields: list[str] = []

    def document(self) -> Layout:
        root = self.part.root
        body = root.find("body")
        if body is None:
            raise UnreadableError(f"damaged {KIND}", "no body")
        found = self._margins(root, "headerReference")
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
            elif self._left_out(child):
                pass
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
        return element.tag in _SILENT

    def _paragraph(self, element: Any, out: Layout) -> None:
        outer, self.boxes = self.boxes, Layout()
        self.fields = []
        found = "".join(self._texts(element))
        if PAGE_NUMBER in found:
            self.changes["page numbers"] += 1
        text = without_page_numbers(found).strip()
        boxes, self.boxes = self.boxes, outer
        style, level = self._form(element.find("pPr"))
        if style.contents and text:
            self.changes["lines of the table of contents"] += 1
        elif level is not None and not style.heading:
            out.item(text, level)
        else:
            out.paragraph(text)
        out.extend(boxes)

    def _form(self, properties: Any | None) -> tuple[Style, int | None]:
        """The style of a paragraph, and its level in a list or None."""
        if properties is None:
            return self.styles.get("", PLAIN), None
        named = properties.find("pStyle")
        style = self.styles.get(attribute(named, "val") if named is not None else "", PLAIN)
        return style, list_level(properties.find("numPr"), style.level)

    def _texts(self, parent: Any) -> Iterator[str]:
        """The text of a paragraph or a part of one, boxes and notes put aside."""
        for child in parent:
            tag = child.tag
            if tag == "t":
                yield "" if any(map(_is_page, self.fields)) else child.text or ""
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
        else:
            yield from self._texts(run)

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
        self.notes.paragraph(f"{mark} {self._aside(story)}")
        return mark

    def _comment(self, identifier: str) -> None:
        story = self.stories.pop(("comment", identifier), None)
        if story is not None and (text := self._aside(story)):
            self.notes.paragraph(f"[Comment: {text}]")

    def _aside(self, story: Any) -> str:
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

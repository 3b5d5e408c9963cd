"""PowerPoint presentations (PresentationML, ECMA-376 part 1, section 19).

Slides in the order of the presentation; on each the title (or the highest
text), then the shapes in the order in which they lie, which is the one that
screen readers follow, pictures by their descriptions; then its speaker notes and comments.
Slide numbers and dates are left out, footers kept once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import Layout
from linnet.data.extract.ooxml import Part, drawn_paragraphs, graphic, main_part, reference
from linnet.data.extract.package import attribute, open_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

KIND = "pptx"
_TITLES = {"title", "ctrTitle"}
_REPEATED = {"ftr", "hdr"}
_SILENT = {"sldNum", "dt", "sldImg"}
_BULLETED = {"", "body", "obj"}  # placeholders that the master gives bullets
_MARKS = {"buChar": True, "buAutoNum": True, "buBlip": True, "buNone": False}


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, KIND) as package:
        reader = _Reader(main_part(package, "ppt/presentation.xml"))
        text = reader.presentation().text()
    if not text:
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, KIND, changes=dict(reader.changes))


class _Reader:
    def __init__(self, main: Part) -> None:
        self.main = main
        self.changes: Counter[str] = Counter()
        self.footers: dict[str, int] = {}  # with the first slide of each
        self.styles: dict[str, _Bullets] = {}  # by the name of the slide layout

    def presentation(self) -> Layout:
        found = Layout("slide")
        for found.number, entry in enumerate(self.main.root.iterfind("sldIdLst/sldId"), 1):
            if name := self.main.target(reference(entry)):
                self._slide(Part(self.main.package, name), found)
        for footer, found.number in self.footers.items():
            found.paragraph(footer)
        return found

    def _slide(self, slide: Part, out: Layout) -> None:
        shapes = [_Shape(e) for e in _shapes(slide.root.find("cSld/spTree"))]
        bullets = self._bullets(slide)
        lead = _lead(shapes)
        for shape in sorted(shapes, key=lambda shape: shape is not lead):
            self._shape(shape, slide, bullets, out)
        for name in slide.related("notesSlide"):
            notes = Part(slide.package, name)
            for element in _shapes(notes.root.find("cSld/spTree")):
                self._shape(_Shape(element), notes, _Bullets(), out)
        for name in slide.related("comments"):
            for comment in slide.package.xml(name).iter("cm"):
                text = " ".join(t.text or "" for t in comment.iter("text", "t")).strip()
                out.paragraph(text and f"[Comment: {text}]")

    def _shape(self, shape: _Shape, part: Part, bullets: _Bullets, out: Layout) -> None:
        element = shape.element
        if shape.role not in _SILENT:
            out.picture(shape.description)
        if shape.role in _SILENT:
            self.changes.update(["slide numbers and dates"] if shape.role != "sldImg" else [])
        elif element.tag == "graphicFrame":
            for data in element.iterfind("graphic/graphicData"):
                out.extend(graphic(data, part))
                for table in data.findall("tbl"):
                    out.table(_rows(table))
        elif (body := element.find("txBody")) is not None:
            if shape.role in _REPEATED:
                text = " ".join(text for _, text in drawn_paragraphs(body))
                if text in self.footers:
                    self.changes["repeated footers"] += 1
                elif text:
                    self.footers[text] = out.number
            else:
                _paragraphs(body, shape, bullets, out)

    def _bullets(self, slide: Part) -> _Bullets:
        """Which paragraphs of a slide's placeholders are list items, by its layout and master."""
        name = next(iter(slide.related("slideLayout")), "")
        if name not in self.styles:
            found = _Bullets()
            if name:
                layout = Part(slide.package, name)
                for master in layout.related("slideMaster"):
                    found.add_master(slide.package.xml(master))
                found.add_layout(layout.root)
            self.styles[name] = found
        return self.styles[name]


class _Shape:
    """A shape with the role of its placeholder; None for one that is no placeholder."""

    def __init__(self, element: Any) -> None:
        self.element = element
        holder = next((h for c in element if c.tag.startswith("nv") for h in c.iter("ph")), None)
        self.role = attribute(holder, "type") if holder is not None else None
        self.index = attribute(holder, "idx") if holder is not None else None

    @property
    def description(self) -> str:
        """What the author wrote of a picture for those who do not see it."""
        properties = (p for c in self.element if c.tag.startswith("nv") for p in c.iter("cNvPr"))
        return next((attribute(p, "descr") for p in properties), "")

    @property
    def top(self) -> int | None:
        """How far down its text begins; None for what has no text or no place of its own."""
        offset = self.element.find("spPr/xfrm/off")
        if offset is None or not any(t.text for t in self.element.iterfind("txBody/p/r/t")):
            return None
        return int(attribute(offset, "y", "0"))


class _Bullets:
    """By level: do the paragraphs of a placeholder get a bullet when they do not say?"""

    def __init__(self) -> None:
        self.body: dict[int, bool] = {}
        self.placeholders: dict[str | None, dict[int, bool]] = {}

    def add_master(self, root: Any) -> None:
        for style in root.iterfind("txStyles/bodyStyle"):
            self.body |= _levels(style)

    def add_layout(self, root: Any) -> None:
        for element in _shapes(root.find("cSld/spTree")):
            shape = _Shape(element)
            style = element.find("txBody/lstStyle")
            if shape.role is not None and style is not None:
                self.placeholders[shape.index] = _levels(style)

    def of(self, shape: _Shape) -> dict[int, bool]:
        inherited: dict[int, bool] = {}
        if shape.role is not None and shape.role in _BULLETED:
            inherited = self.body | self.placeholders.get(shape.index, {})
        own = shape.element.find("txBody/lstStyle")
        return inherited | (_levels(own) if own is not None else {})


def _levels(style: Any) -> dict[int, bool]:
    """The levels for which a list style (``a:lvl1pPr`` and so on) says bullet or none."""
    found = {}
    for level in style:
        digit = level.tag.removeprefix("lvl")[:1]
        if digit.isdecimal() and (mark := _mark(level)) is not None:
            found[int(digit) - 1] = mark
    return found


def _mark(properties: Any) -> bool | None:
    return next((_MARKS[child.tag] for child in properties if child.tag in _MARKS), None)


def _paragraphs(body: Any, shape: _Shape, bullets: _Bullets, out: Layout) -> None:
    inherited = bullets.of(shape)
    for element, text in drawn_paragraphs(body):
        properties = element.find("pPr")
        level, mark = 0, None
        if properties is not None:
            level, mark = int(attribute(properties, "lvl", "0")), _mark(properties)
        if inherited.get(level, False) if mark is None else mark:
            out.item(text, level)
        else:
            out.paragraph(text, heading=int(shape.role in _TITLES))


def _shapes(tree: Any | None) -> Iterator[Any]:
    """The shapes of a slide in their order, those of groups in the place of the group."""
    for element in tree if tree is not None else ():
        if element.tag == "grpSp":
            yield from _shapes(element)
        elif element.tag == "AlternateContent":
            yield from _shapes(element.find("Choice"))
        elif element.tag in ("sp", "graphicFrame", "pic", "cxnSp"):
            yield element


def _lead(shapes: list[_Shape]) -> _Shape | None:
    """The title of a slide, or the highest text on one that has no title."""
    titles = (shape for shape in shapes if shape.role in _TITLES)
    tops = [(top, n) for n, shape in enumerate(shapes) if (top := shape.top) is not None]
    return next(titles, shapes[min(tops)[1]] if tops else None)


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.findall("tr"):
        yield ["" if _covered(cell) else _cell(cell) for cell in row.findall("tc")]


def _covered(cell: Any) -> bool:
    """Is this the place over which another cell extends?"""
    return any(attribute(cell, name) in ("1", "true") for name in ("hMerge", "vMerge"))


def _cell(cell: Any) -> str:
    body = cell.find("txBody")
    return " ".join(text for _, text in drawn_paragraphs(body)) if body is not None else ""

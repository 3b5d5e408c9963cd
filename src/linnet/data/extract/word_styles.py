"""The styles of Word documents: which are headings, belong to lists, or raise their text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.data.extract.ooxml import property_value
from linnet.data.extract.package import attribute

if TYPE_CHECKING:
    from linnet.data.extract.ooxml import Part


@dataclass(frozen=True)
class Style:
    """``number``: of the list that paragraphs of this style are items of; empty for none.

    ``level`` is the level in it where the style says, ``lister`` the style that names the list,
    ``raised`` what runs of a character style are: superscript, subscript or nothing; ``font``
    theirs.
    """

    number: str = ""
    level: int | None = None
    lister: str = ""
    heading: int = 0  # its level, from 1
    contents: bool = False
    raised: str = ""
    font: str = ""


PLAIN = Style()
_LONGEST_CHAIN = 16  # of styles based on one another; a circle has no end


def styles(main: Part) -> dict[str, Style]:
    """The styles by their identifiers; "" is the one of paragraphs that name none."""
    found: dict[str, Any] = {}
    for name in main.related("styles")[:1]:
        found = {attribute(s, "styleId"): s for s in main.package.xml(name).findall("style")}
    known = {identifier: _style(identifier, found) for identifier in found}
    for identifier, element in found.items():
        default = attribute(element, "default") in ("1", "true")
        if default and attribute(element, "type") == "paragraph":
            known[""] = known[identifier]
    return known


def _style(identifier: str, elements: dict[str, Any]) -> Style:
    """A style with what it takes over from those it is based on."""
    level: int | None = None
    number = lister = raised = font = ""
    heading, contents = 0, False
    for _ in range(_LONGEST_CHAIN):
        if identifier not in elements:
            break
        element = elements[identifier]
        name = property_value(element, "name").lower()
        heading = heading or _heading(name, property_value(element, "pPr/outlineLvl"))
        contents |= name.startswith("toc ")
        if not number and (number := property_value(element, "pPr/numPr/numId")):
            lister = identifier
        if level is None:
            level = _level(element.find("pPr/numPr"))
        if attribute(element, "type") == "character":
            raised = raised or property_value(element, "rPr/vertAlign")
            font = font or run_font(element.find("rPr"))
        identifier = property_value(element, "basedOn")
    return Style(number, level, lister, heading, contents, raised, font)


def _heading(name: str, outline: str) -> int:
    """The level of headings of this style: titles are above the first of them."""
    if name.startswith("title"):
        return 1
    if outline in set("012345678"):
        return int(outline) + 2
    last = name.rpartition(" ")[2]
    level = int(last) if last.isdecimal() and len(last) == 1 else 1
    return level + 1 if name.startswith("heading") else 0


def list_place(numbering: Any | None, style: Style) -> tuple[str, int | None]:
    """The list that ``w:numPr`` or the style gives, and the level; "" and 0 are no list."""
    number = property_value(numbering, "numId") if numbering is not None else ""
    level = _level(numbering)
    number = number or style.number
    return ("" if number == "0" else number), style.level if level is None else level


def run_font(properties: Any | None) -> str:
    """The font that a run names; empty where it names none."""
    fonts = properties.find("rFonts") if properties is not None else None
    if fonts is None:
        return ""
    return attribute(fonts, "ascii") or attribute(fonts, "hAnsi")


def _level(numbering: Any | None) -> int | None:
    level = property_value(numbering, "ilvl") if numbering is not None else ""
    return int(level) if level.isdecimal() else None

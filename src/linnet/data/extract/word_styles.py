"""The paragraph styles of Word documents: which are headings, which belong to lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.data.extract.ooxml import property_value
from linnet.data.extract.package import attribute

if TYPE_CHECKING:
    from linnet.data.extract.ooxml import Part


@dataclass(frozen=True)
class Style:
    """``level``: of the list that paragraphs of this style are items of, or None."""

    level: int | None = None
    heading: bool = False
    contents: bool = False


PLAIN = Style()
_LONGEST_CHAIN = 16  # of styles based on one another; a circle has no end


def styles(main: Part) -> dict[str, Style]:
    """The paragraph styles by their identifiers; "" is the one of paragraphs that name none."""
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
    heading = contents = False
    for _ in range(_LONGEST_CHAIN):
        if identifier not in elements:
            break
        element = elements[identifier]
        name = property_value(element, "name").lower()
        heading |= name.startswith(("heading", "title"))
        heading |= property_value(element, "pPr/outlineLvl") in set("012345678")
        contents |= name.startswith("toc ")
        if level is None:
            level = list_level(element.find("pPr/numPr"), None)
        identifier = property_value(element, "basedOn")
    return Style(level, heading, contents)


def list_level(numbering: Any | None, inherited: int | None) -> int | None:
    """The level in a list that ``w:numPr`` gives; its number 0 takes a paragraph out of lists."""
    if numbering is None:
        return inherited
    number, level = property_value(numbering, "numId"), property_value(numbering, "ilvl")
    if number == "0" or (not number and inherited is None):
        return None
    return int(level) if level.isdecimal() else inherited or 0

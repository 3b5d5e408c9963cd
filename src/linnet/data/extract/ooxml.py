"""What the formats of Office Open XML (ECMA-376) share: relationships, drawings, charts, and
formulas (OMML, part 1, section 22.1) as a line of LaTeX.

Elements are named as ``Package.xml`` gives them, without namespaces.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from typing import TYPE_CHECKING, Any

from linnet.data.extract.layout import Layout
from linnet.data.extract.package import attribute, resolve
from linnet.data.extract.typeface import decoded, lowered, raised
from linnet.data.markup.mathml import (
    ACCENTS,
    DEEPEST,
    LARGE_OPERATORS,
    base,
    fraction,
    matrix,
    named,
    on_one_line,
    scripts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.extract.package import Package

_LATIN = re.compile("[a-zA-Z]")
_POINTS = 10_000  # of a chart; more is data, not text


class Part:
    """A member of a package, with what it refers to."""

    def __init__(self, package: Package, name: str) -> None:
        self.package = package
        self.name = name
        folder, file = posixpath.split(name)
        root = package.xml_or_none(posixpath.join(folder, "_rels", f"{file}.rels"))
        self._related: dict[str, tuple[str, str]] = {}
        for entry in root if root is not None else ():
            if attribute(entry, "TargetMode") != "External":
                kind = attribute(entry, "Type").rpartition("/")[2]
                target = resolve(name, attribute(entry, "Target"))
                self._related[attribute(entry, "Id")] = (kind, target)

    @property
    def root(self) -> Any:
        return self.package.xml(self.name)

    def target(self, identifier: str) -> str:
        """The member that a relationship leads to; empty if there is none."""
        _, target = self._related.get(identifier, ("", ""))
        return target if target in self.package else ""

    def related(self, kind: str) -> list[str]:
        """The members related in this way, such as ``slideLayout``."""
        return [t for k, t in self._related.values() if k == kind and t in self.package]


def main_part(package: Package, usual: str) -> Part:
    """The part that holds the document; ``usual`` is where programs put it."""
    return Part(package, next(iter(Part(package, "").related("officeDocument")), usual))


def reference(element: Any, name: str = "id") -> str:
    """The relationship that an element names: its attribute of the relationships' namespace."""
    ending = "}" + name
    return next((str(v) for k, v in element.attrib.items() if k.endswith(ending)), "")


def property_value(element: Any, path: str) -> str:
    """The ``val`` of the property at this path; empty where it is not set."""
    found = element.find(path)
    return attribute(found, "val") if found is not None else ""


def switched_on(element: Any | None) -> bool:
    """Is a property set? It is when its element is there and does not say otherwise."""
    return element is not None and attribute(element, "val", "1") not in ("0", "false", "off")


def drawn_paragraphs(body: Any) -> Iterator[tuple[Any, str]]:
    """The paragraphs (``a:p``) of a DrawingML text body: the element and its text."""
    for paragraph in body.findall("p"):
        yield paragraph, "".join(_run_texts(paragraph)).strip()


def _run_texts(paragraph: Any) -> Iterator[str]:
    for run in paragraph:
        if run.tag == "br":
            yield "\n"
        elif run.tag == "fld" and attribute(run, "type").startswith(("slidenum", "datetime")):
            continue
        elif run.tag in ("r", "fld"):
            yield _shown(run.findtext("t") or "", run.find("rPr"))
        elif run.tag not in ("pPr", "endParaRPr"):  # a formula, perhaps with a picture of itself
            inner = run.find("Choice") if run.tag == "AlternateContent" else run
            yield from_omml(inner) if inner is not None else ""


def _shown(text: str, properties: Any | None) -> str:
    """The text of a run as its font and its height show it (section 21.1.2.3)."""
    if properties is None:
        return text
    for name in ("sym", "latin"):
        font = properties.find(name)
        # The first is for signs alone, and is named also by runs that hold none.
        if font is not None and (name == "latin" or not _LATIN.search(text)):
            text = decoded(text, attribute(font, "typeface"))
    baseline = attribute(properties, "baseline", "0").rstrip("%")
    if baseline.strip("-0") in ("", "."):
        return text
    return lowered(text) if baseline.startswith("-") else raised(text)


def graphic(data: Any, part: Part) -> Layout:
    """A chart or a diagram (``a:graphicData``), as far as it holds text."""
    found = Layout()
    for element in data:
        if element.tag == "chart" and (name := part.target(reference(element))):
            _chart(part.package.xml(name), found)
        elif element.tag == "relIds" and (name := part.target(reference(element, "dm"))):
            for body in part.package.xml(name).iter("t"):
                for _, text in drawn_paragraphs(body):
                    found.item(text)
    return found


def _chart(root: Any, out: Layout) -> None:
    """The titles of a chart, then its series as the columns of a table."""
    for title in root.iter("title"):
        out.paragraph(" ".join(text for p in title.iter("rich") for _, text in drawn_paragraphs(p)))
    series = list(root.iter("ser"))
    values = [_points(one.find("val"), one.find("yVal")) for one in series]
    names = [" ".join(_points(one.find("tx")).values()) for one in series]
    categories: dict[int, str] = {}
    for one in series:
        categories |= _points(one.find("cat"), one.find("xVal"))
    rows = sorted(set(categories).union(*values))
    head = ["", *names]
    table = [[categories.get(row, ""), *(v.get(row, "") for v in values)] for row in rows]
    out.table(itertools.chain([head], table))


def _points(*places: Any | None) -> dict[int, str]:
    """The cached points of a series by their index."""
    points = (point for place in places if place is not None for point in place.iter("pt"))
    return {
        int(attribute(point, "idx", "0")): _short(point.findtext("v") or "")
        for point in itertools.islice(points, _POINTS)
    }


def _short(value: str) -> str:
    """A number without the digits that only its binary form has."""
    try:
        return f"{float(value):.10g}" if "." in value else value
    except ValueError:
        return value


def from_omml(element: Any) -> str:
    """``m:oMath``, or a part of one."""
    return on_one_line(_omml(element, 0))


def _omml(element: Any, depth: int) -> str:
    if depth > DEEPEST:
        return "".join(element.itertext())
    depth += 1

    def part(name: str) -> str:
        found = element.find(name)
        return _omml(found, depth) if found is not None else ""

    def setting(name: str, default: str = "") -> str:
        found = element.find(f"{element.tag}Pr/{name}")
        return attribute(found, "val", default) if found is not None else default

    tag = element.tag
    if tag == "t":
        return element.text or ""
    if tag == "f":
        return fraction(part("num"), part("den"), setting("type"))
    if tag in ("sSup", "sSub", "sSubSup", "sPre"):
        ends = scripts(part("sub"), part("sup"))
        return f"{{}}{ends}{part('e')}" if tag == "sPre" else base(part("e")) + ends
    if tag == "rad":
        degree = part("deg")
        degree = f"[{degree}]" if degree.strip() else ""
        return f"\\sqrt{degree}{{{part('e')}}}"
    if tag == "nary":
        sign = LARGE_OPERATORS.get(setting("chr", "\u222b"), setting("chr", "\u222b"))
        return f"{sign}{scripts(part('sub'), part('sup'))} {part('e')}"
    if tag == "d":
        inner = setting("sepChr", "|").join(_omml(e, depth) for e in element.findall("e"))
        return f"{setting('begChr', '(')}{inner}{setting('endChr', ')')}"
    if tag == "func":
        name = part("fName").strip()
        return f"{named(name)} {part('e')}"
    if tag in ("limLow", "limUpp"):
        name = named(part("e").strip())
        return f"{name}{'_' if tag == 'limLow' else '^'}{{{part('lim')}}}"
    if tag == "acc":
        accent = ACCENTS.get(setting("chr", "\u0302"), "\\hat")
        return f"{accent}{{{part('e')}}}"
    if tag in ("bar", "groupChr"):
        place = "under" if setting("pos", "bot") == "bot" else "over"
        sign = ACCENTS.get(setting("chr", "\u23df"), "")
        return f"\\{place}line{{{part('e')}}}" if tag == "bar" else f"{sign}{{{part('e')}}}"
    if tag == "m":
        rows = element.findall("mr")
        return matrix([" & ".join(_omml(e, depth) for e in row.findall("e")) for row in rows])
    if tag == "eqArr":
        return " \\\\ ".join(_omml(e, depth) for e in element.findall("e"))
    if tag.endswith("Pr") or tag in ("del", "delText", "moveFrom"):
        return ""
    if tag == "oMath" and element.getparent() is not None and element.getnext() is not None:
        separator = " " if element.getnext().tag == "oMath" else ""
        return "".join(_omml(child, depth) for child in element) + separator
    return "".join(_omml(child, depth) for child in element)

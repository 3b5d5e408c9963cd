"""Formulas of Word and PowerPoint (OMML: ECMA-376 part 1, section 22.1) as a line of LaTeX.

What is simple stays as one would type it: 1/2, 10^3. Elements are named as ``Package.xml``
gives them, without namespaces.
"""

from __future__ import annotations

from typing import Any

from linnet.data.extract.package import attribute
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

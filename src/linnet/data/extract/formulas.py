"""Formulas as a line of LaTeX: OMML of Word and PowerPoint (ECMA-376 part 1, section 22.1),
MathML of OpenDocument.

What is simple stays as one would type it: 1/2, 10^3. Elements are named as ``Package.xml``
gives them, without namespaces.
"""

from __future__ import annotations

import re
from typing import Any

from linnet.data.extract.package import attribute, local

_DEEPEST = 60  # elements within one another; more say nothing to a reader
_SIMPLE = re.compile(r"-?(?:\d+(?:[.,]\d+)?|[^\W\d_]|\\[a-zA-Z]+)")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]")
_ACCENTS = {
    "\u0302": "\\hat", "\u0303": "\\tilde", "\u0304": "\\bar", "\u0305": "\\overline",
    "\u0307": "\\dot", "\u0308": "\\ddot", "\u20d7": "\\vec", "\u0301": "\\acute",
    "\u0300": "\\grave", "\u0306": "\\breve", "\u030c": "\\check", "\u00af": "\\bar",
    "^": "\\hat", "~": "\\tilde", "\u2192": "\\vec", "\u23de": "\\overbrace",
    "\u23df": "\\underbrace", "\u02d9": "\\dot", "\u203e": "\\overline",
}  # fmt: skip
_NARY = {
    "\u222b": "\\int", "\u222c": "\\iint", "\u222d": "\\iiint", "\u222e": "\\oint",
    "\u2211": "\\sum", "\u220f": "\\prod", "\u2210": "\\coprod", "\u22c3": "\\bigcup",
    "\u22c2": "\\bigcap", "\u22c1": "\\bigvee", "\u22c0": "\\bigwedge",
}  # fmt: skip
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos",
    "arctan", "ln", "log", "exp", "lim", "max", "min", "sup", "inf", "det", "gcd", "dim", "ker",
    "arg", "deg", "limsup", "liminf",
}  # fmt: skip


def from_omml(element: Any) -> str:
    """``m:oMath``, or a part of one."""
    return _tidy(_omml(element, 0))


def from_mathml(element: Any) -> str:
    """``math``, or a part of one."""
    return _tidy(_mathml(element, 0))


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _omml(element: Any, depth: int) -> str:
    if depth > _DEEPEST:
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
        return _fraction(part("num"), part("den"), setting("type"))
    if tag in ("sSup", "sSub", "sSubSup", "sPre"):
        scripts = _scripts(part("sub"), part("sup"))
        return f"{{}}{scripts}{part('e')}" if tag == "sPre" else _base(part("e")) + scripts
    if tag == "rad":
        degree = part("deg")
        degree = f"[{degree}]" if degree.strip() else ""
        return f"\\sqrt{degree}{{{part('e')}}}"
    if tag == "nary":
        sign = _NARY.get(setting("chr", "\u222b"), setting("chr", "\u222b"))
        return f"{sign}{_scripts(part('sub'), part('sup'))} {part('e')}"
    if tag == "d":
        inner = setting("sepChr", "|").join(_omml(e, depth) for e in element.findall("e"))
        return f"{setting('begChr', '(')}{inner}{setting('endChr', ')')}"
    if tag == "func":
        name = part("fName").strip()
        return f"{_named(name)} {part('e')}"
    if tag in ("limLow", "limUpp"):
        base = _named(part("e").strip())
        return f"{base}{'_' if tag == 'limLow' else '^'}{{{part('lim')}}}"
    if tag == "acc":
        accent = _ACCENTS.get(setting("chr", "\u0302"), "\\hat")
        return f"{accent}{{{part('e')}}}"
    if tag in ("bar", "groupChr"):
        place = "under" if setting("pos", "bot") == "bot" else "over"
        sign = _ACCENTS.get(setting("chr", "\u23df"), "")
        return f"\\{place}line{{{part('e')}}}" if tag == "bar" else f"{sign}{{{part('e')}}}"
    if tag == "m":
        rows = element.findall("mr")
        return _matrix([" & ".join(_omml(e, depth) for e in row.findall("e")) for row in rows])
    if tag == "eqArr":
        return " \\\\ ".join(_omml(e, depth) for e in element.findall("e"))
    if tag.endswith("Pr") or tag in ("del", "delText", "moveFrom"):
        return ""
    if tag == "oMath" and element.getparent() is not None and element.getnext() is not None:
        separator = " " if element.getnext().tag == "oMath" else ""
        return "".join(_omml(child, depth) for child in element) + separator
    return "".join(_omml(child, depth) for child in element)


def _mathml(element: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return "".join(element.itertext())
    tag = local(element.tag)
    parts = [_mathml(child, depth + 1) for child in element if local(child.tag)]
    if tag in ("annotation", "annotation-xml"):
        return ""
    if tag in ("mi", "mn", "mo", "mtext", "ms"):
        text = " ".join("".join(element.itertext()).split())
        if tag == "mi" and text in _FUNCTIONS:
            return f"\\{text} "
        return f" {text} " if tag == "mtext" else _NARY.get(text, text)
    if tag == "semantics":
        return parts[0] if parts else ""
    if tag == "mspace":
        return " "
    if tag == "mfrac" and len(parts) == 2:
        return _fraction(parts[0], parts[1], "")
    if tag in ("msup", "mover") and len(parts) == 2:
        if tag == "mover" and parts[1].strip() in _ACCENTS:
            return f"{_ACCENTS[parts[1].strip()]}{{{parts[0]}}}"
        return _base(parts[0]) + _scripts("", parts[1])
    if tag in ("msub", "munder") and len(parts) == 2:
        return _base(parts[0]) + _scripts(parts[1], "")
    if tag in ("msubsup", "munderover") and len(parts) == 3:
        return _base(parts[0]) + _scripts(parts[1], parts[2])
    if tag == "msqrt":
        return f"\\sqrt{{{''.join(parts)}}}"
    if tag == "mroot" and len(parts) == 2:
        return f"\\sqrt[{parts[1]}]{{{parts[0]}}}"
    if tag == "mfenced":
        inner = element.get("separators", ",")[:1].join(parts)
        return f"{element.get('open', '(')}{inner}{element.get('close', ')')}"
    if tag == "mtr":
        return " & ".join(parts)
    if tag == "mtable":
        return _matrix(parts)
    return "".join(parts)


def _fraction(above: str, below: str, kind: str) -> str:
    above, below = above.strip(), below.strip()
    if kind == "noBar":
        return f"\\binom{{{above}}}{{{below}}}"
    if _NUMBER.fullmatch(above) and _NUMBER.fullmatch(below):
        return f"{above}/{below}"
    return f"\\frac{{{above}}}{{{below}}}"


def _base(text: str) -> str:
    text = text.strip()
    bare = _SIMPLE.fullmatch(text) or (text[:1] in "([|" and text[-1:] in ")]|")
    return text if bare or text in _NARY.values() else f"{{{text}}}" if text else "{}"


def _scripts(below: str, above: str) -> str:
    return "".join(
        f"{mark}{text}" if len(text) == 1 or _COMMAND.fullmatch(text) else f"{mark}{{{text}}}"
        for mark, text in (("_", below.strip()), ("^", above.strip()))
        if text
    )


def _named(name: str) -> str:
    return f"\\{name}" if name in _FUNCTIONS else name


def _matrix(rows: list[str]) -> str:
    body = " \\\\ ".join(rows)
    return f"\\begin{{matrix}} {body} \\end{{matrix}}"

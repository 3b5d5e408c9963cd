"""Formulas as a line of LaTeX: what pages carry as such, else Presentation MathML (of pages, of
OpenDocument), and the pieces that other formulas are written with.

What is simple stays as one would type it: ``1/2``, ``10^3``. The rule in all formats: what the file
marks as a formula is LaTeX throughout; type that is only raised is Unicode's (``10³``, see
``extract.typeface``), as nothing says that it belongs to a formula.
"""

from __future__ import annotations

import re
from typing import Any

DEEPEST = 60  # elements within one another; more say nothing to a reader
_SILENT = {"annotation", "annotation-xml", "mphantom", "none", "mprescripts"}
_SIMPLE = re.compile(r"-?(?:\d+(?:[.,]\d+)?|[^\W\d_]|\\[a-zA-Z]+)")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]")
ACCENTS = {
    "\u0302": "\\hat", "\u0303": "\\tilde", "\u0304": "\\bar", "\u0305": "\\overline",
    "\u0307": "\\dot", "\u0308": "\\ddot", "\u20d7": "\\vec", "\u0301": "\\acute",
    "\u0300": "\\grave", "\u0306": "\\breve", "\u030c": "\\check", "\u00af": "\\bar",
    "^": "\\hat", "~": "\\tilde", "\u2192": "\\vec", "\u23de": "\\overbrace",
    "\u23df": "\\underbrace", "\u02d9": "\\dot", "\u203e": "\\overline",
}  # fmt: skip
LARGE_OPERATORS = {
    "\u222b": "\\int", "\u222c": "\\iint", "\u222d": "\\iiint", "\u222e": "\\oint",
    "\u2211": "\\sum", "\u220f": "\\prod", "\u2210": "\\coprod", "\u22c3": "\\bigcup",
    "\u22c2": "\\bigcap", "\u22c1": "\\bigvee", "\u22c0": "\\bigwedge",
}  # fmt: skip
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos",
    "arctan", "ln", "log", "exp", "lim", "max", "min", "sup", "inf", "det", "gcd", "dim", "ker",
    "arg", "deg", "limsup", "liminf",
}  # fmt: skip


def formula(math: Any) -> str:
    """The text of a ``math`` element: the LaTeX it carries, else what it shows."""
    for element in math.iter():
        is_latex = "tex" in (element.get("encoding") or "").lower()
        if is_latex and _name(element) == "annotation" and (element.text or "").strip():
            return on_one_line(element.text)
    return on_one_line(math.get("alttext") or _written(math, 0))


def _written(element: Any, depth: int) -> str:
    if depth > DEEPEST:
        return "".join(element.itertext())
    tag = _name(element)
    children = [child for child in element if _name(child)]
    parts = [_written(child, depth + 1) for child in children if _name(child) not in _SILENT]
    if tag in ("mi", "mn", "mo", "mtext", "ms"):
        text = " ".join("".join(element.itertext()).split())
        if tag == "mi" and text in _FUNCTIONS:
            return f"\\{text} "
        if tag == "mo" and text in LARGE_OPERATORS:
            return f"{LARGE_OPERATORS[text]} "
        return f" {text} " if tag == "mtext" else text
    if tag == "semantics":
        return parts[0] if parts else ""
    if tag == "mspace":
        return " "
    if tag == "mfrac" and len(parts) == 2:
        return fraction(parts[0], parts[1], "")
    if tag in ("msup", "mover") and len(parts) == 2:
        if tag == "mover" and parts[1].strip() in ACCENTS:
            return f"{ACCENTS[parts[1].strip()]}{{{parts[0]}}}"
        return base(parts[0]) + scripts("", parts[1])
    if tag in ("msub", "munder") and len(parts) == 2:
        return base(parts[0]) + scripts(parts[1], "")
    if tag in ("msubsup", "munderover") and len(parts) == 3:
        return base(parts[0]) + scripts(parts[1], parts[2])
    if tag == "msqrt":
        return f"\\sqrt{{{''.join(parts)}}}"
    if tag == "mroot" and len(parts) == 2:
        return f"\\sqrt[{parts[1]}]{{{parts[0]}}}"
    if tag == "mfenced":
        inner = element.get("separators", ",")[:1].join(parts)
        return f"{element.get('open', '(')}{inner}{element.get('close', ')')}"
    if tag in ("mtr", "mlabeledtr"):
        return " & ".join(parts)
    if tag == "mtable":
        return matrix(parts)
    return (element.text or "").strip() + "".join(parts)


def fraction(above: str, below: str, kind: str) -> str:
    above, below = above.strip(), below.strip()
    if kind == "noBar":
        return f"\\binom{{{above}}}{{{below}}}"
    if _NUMBER.fullmatch(above) and _NUMBER.fullmatch(below):
        return f"{above}/{below}"
    return f"\\frac{{{above}}}{{{below}}}"


def base(text: str) -> str:
    text = text.strip()
    bare = _SIMPLE.fullmatch(text) or (text[:1] in "([|" and text[-1:] in ")]|")
    return text if bare or text in LARGE_OPERATORS.values() else f"{{{text}}}" if text else "{}"


def scripts(below: str, above: str) -> str:
    return "".join(
        f"{mark}{text}" if len(text) == 1 or _COMMAND.fullmatch(text) else f"{mark}{{{text}}}"
        for mark, text in (("_", below.strip()), ("^", above.strip()))
        if text
    )


def named(name: str) -> str:
    return f"\\{name}" if name in _FUNCTIONS else name


def matrix(rows: list[str]) -> str:
    body = " \\\\ ".join(rows)
    return f"\\begin{{matrix}} {body} \\end{{matrix}}"


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def _name(element: Any) -> str:
    tag = element.tag if isinstance(element.tag, str) else ""
    return tag.rpartition("}")[2].rpartition(":")[2].lower()

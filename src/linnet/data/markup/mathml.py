"""Formulas of web pages as text: the LaTeX they carry, else Presentation MathML written on a line.

``1/2``, ``10^6``, ``x_i``, ``sqrt(x + 1)``: operators of one character as they are, more
than one sign after ``^`` or ``_`` in braces.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 50
_OVER_AND_UNDER = {"munder": "_", "mover": "^", "msub": "_", "msup": "^"}
_BOTH = {"munderover", "msubsup"}
_SPACED = set("+-−±×·=≠<>≤≥≈→←⇒⇔∈∪∩∧∨,;")
_SILENT = {"annotation", "annotation-xml", "mphantom", "none", "mprescripts"}


def formula(math: Any) -> str:
    """The text of a ``math`` element."""
    for element in math.iter():
        if _name(element) == "annotation" and "tex" in (element.get("encoding") or "").lower():
            return " ".join((element.text or "").split())
    if alternative := math.get("alttext"):
        return " ".join(alternative.split())
    return " ".join(_written(math, 0).split())


def raised(text: str, sign: str) -> str:
    """``text`` above (``^``) or below (``_``) what is before it."""
    plain = text.lstrip("+-−")
    return f"{sign}{text}" if len(text) == 1 or plain.isdigit() else f"{sign}{{{text}}}"


def _written(element: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return "".join(element.itertext())
    name = _name(element)
    children = [child for child in element if isinstance(child.tag, str)]
    written = [_written(c, depth + 1) for c in children if _name(c) not in _SILENT]
    parts = [part.strip() for part in written]
    if name == "mfrac" and len(parts) == 2:
        return f"{_grouped(parts[0])}/{_grouped(parts[1])}"
    if name in _OVER_AND_UNDER and len(parts) == 2:
        return _grouped(parts[0]) + raised(parts[1], _OVER_AND_UNDER[name])
    if name in _BOTH and len(parts) == 3:
        return _grouped(parts[0]) + raised(parts[1], "_") + raised(parts[2], "^")
    if name == "msqrt":
        return f"sqrt({''.join(parts)})"
    if name == "mroot" and len(parts) == 2:
        return f"{_grouped(parts[0])}^(1/{parts[1]})"
    if name == "mfenced":
        return f"{element.get('open', '(')}{', '.join(parts)}{element.get('close', ')')}"
    if name == "mtable":
        return "; ".join(parts)
    if name in ("mtr", "mlabeledtr"):
        return ", ".join(parts)
    if name == "mo":
        sign = "".join(element.itertext()).strip()
        return f" {sign} " if sign in _SPACED else sign
    if name == "mtext":
        return f" {''.join(element.itertext()).strip()} "
    if name == "mspace":
        return " "
    if not children:
        return (element.text or "").strip()
    return (element.text or "").strip() + "".join(written)


def _grouped(text: str) -> str:
    """In brackets where it is more than one thing."""
    simple = text.isalnum() or len(text) == 1 or (text[:1] == "(" and text[-1:] == ")")
    plain = all(c.isalnum() or c in "._^{}\\" for c in text)
    return text if simple or plain else f"({text.strip()})"


def _name(element: Any) -> str:
    tag = element.tag if isinstance(element.tag, str) else ""
    return tag.rpartition("}")[2].rpartition(":")[2].lower()

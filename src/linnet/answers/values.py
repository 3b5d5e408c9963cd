"""Whether a unit has what a question asks for: a date, an amount, a person."""

from __future__ import annotations

import re

from linnet.answers.languages import Expected
from linnet.answers.units import Unit
from linnet.grounding.tokens import tokens
from linnet.grounding.values import Value

_YEAR = re.compile(r"\b(?:1[0-9]|20|21)\d\d\b")
_NAMES = re.compile(r"(?<![.!?] )(?<!^)\b[A-ZÀ-ÞА-ЯЁ][\w'’-]+(?: [A-ZÀ-ÞА-ЯЁ][\w'’.-]+)*|"
                    r"\b[A-ZÀ-ÞА-ЯЁ][\w'’-]+ [A-ZÀ-ÞА-ЯЁ][\w'’-]+")  # fmt: skip


def has_value(unit: Unit, kind: Expected, asked: str) -> bool:
    """Whether a unit has one that the question, in lower case, does not have itself."""
    text = unit.text[:2000]
    if kind == "person":
        return any(name.casefold() not in asked for name in _NAMES.findall(text))
    if kind == "time" and any(year not in asked for year in _YEAR.findall(text)):
        return True
    values = [token.value for token in tokens(text, unit.passage.language or "en")]
    return any(_fits(value, kind, asked) for value in values if value is not None)


def _fits(value: Value, kind: Expected, asked: str) -> bool:
    if value.text.casefold() in asked:
        return False
    timed = value.unit is not None and value.unit.dimension in ("time", "months")
    if kind == "time":
        return value.kind in ("date", "time") or timed
    return value.kind == "number"

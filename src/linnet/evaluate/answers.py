"""What is taken from a written text as its answer, and whether it is in the format asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from linnet.config import parse_json
from linnet.scoring.matching import normalise

YES_NO: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (("yes", "true"), ("no", "false")),
    "de": (("ja",), ("nein",)),
    "fr": (("oui",), ("non",)),
    "es": (("sí", "si"), ("no",)),
}

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def answer_in(
    text: str,
    format: str,
    *,
    after: str = "",
    choices: Sequence[str] = (),
    language: str = "en",
) -> str | None:
    """The answer in its plain form; None where the text has none in this format."""
    if after:
        _, found, text = text.rpartition(after)
        if not found:
            return None
    text = text.strip()
    return _FORMATS[format](text, choices, language) if text else None


def _line(text: str, choices: Sequence[str], language: str) -> str | None:
    return text.splitlines()[0].strip()


def _number(text: str, choices: Sequence[str], language: str) -> str | None:
    """The last number, without separators of thousands and without needless zeros."""
    found = _NUMBER.findall(text)
    if not found or len(found[-1]) > 100:
        return None
    try:
        return format(Decimal(found[-1].replace(",", "")).normalize(), "f")
    except InvalidOperation:
        return None


def _yes_no(text: str, choices: Sequence[str], language: str) -> str | None:
    """``yes`` or ``no``, where it is the first word in the language or in English."""
    first = normalise(text, "").partition(" ")[0]
    for yes, no in (YES_NO.get(language, YES_NO["en"]), YES_NO["en"]):
        if first in yes or first in no:
            return "yes" if first in yes else "no"
    return None


def _choice(text: str, choices: Sequence[str], language: str) -> str | None:
    """The longest choice that the text begins with."""
    found = f"{normalise(text, language)} "
    for each in sorted(choices, key=len, reverse=True):
        if found.startswith(f"{normalise(each, language)} "):
            return each
    return None


def _json(text: str, choices: Sequence[str], language: str) -> str | None:
    try:
        return json.dumps(parse_json(text), sort_keys=True, ensure_ascii=False)
    except ValueError:
        return None


_FORMATS: dict[str, Callable[[str, Sequence[str], str], str | None]] = {
    "any": lambda text, choices, language: text,
    "line": _line,
    "number": _number,
    "yes_no": _yes_no,
    "choice": _choice,
    "json": _json,
}
EXACT = ("number", "json", "choice", "yes_no")
"""Formats whose answers are compared as they are, and not by their words."""

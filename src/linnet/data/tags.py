"""What is noted of every document when it is read, so that it can be judged later, and again."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from linnet.data import language, repeats, shingles
from linnet.data.signals import signals

if TYPE_CHECKING:
    from linnet.data.kinds import Family

_SPOKEN: tuple[Family, ...] = ("prose", "web", "mail")  # what is written in a language
_SHOWN_LINES, _SHOWN_CHARACTERS = 40, 200
_COMPARED = 50_000  # characters of a document that a difference is made of


def tag(text: str, family: Family) -> dict[str, Any]:
    """Language, quality signals, MinHash bands and the first and last lines, as JSON values."""
    spoken, sure = language.identify(text) if family in _SPOKEN else ("", 0.0)
    measured = signals(text, family, spoken)
    return {
        "language": spoken,
        "quality": {**measured, "language": round(sure, 4)} if spoken else measured,
        "bands": shingles.bands(text).hex(),
        "edges": repeats.pack(repeats.edges(text)).hex() if family in _SPOKEN else "",
    }


def difference(before: str, after: str) -> str:
    """What cleaning changed, as the start of a unified diff without context."""
    old, new = (text[:_COMPARED].splitlines() for text in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
    shown = [line[:_SHOWN_CHARACTERS] for line in lines[:_SHOWN_LINES]]
    return "\n".join([*shown, "..."] if len(lines) > _SHOWN_LINES else shown)

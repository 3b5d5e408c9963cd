"""Texts that stand in a passage, word for word: quotations.

As a constraint of its own (``Constraint.substring``), or for a string within a JSON document, by
two keywords of our own: ``{"type": "string", "x-substring-of": ["passage", ...],
"x-substring-units": "words"}``. A text is a run of the units of one passage with what stands
between them; it is not empty, and but for single characters neither begins nor ends with white
space.

Linear in the passage for both engines: llguidance has a terminal for it (``substring_chunks``);
for llama.cpp the suffix automaton is written out (``automata``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.constraint import OF, UNITS
from linnet.generate.constraints.patterns import (
    Either,
    Matching,
    Pattern,
    Repeated,
    Sequenced,
    Substring,
    Text,
    characters,
)

LONGEST = 12_000
"""Characters of all passages together."""

# A sign, and what stands within a number or between two letters, belong to the word.
_WORD = re.compile(r"[-+\u2212]?\w+(?:[^\w\s]\w+)*|\S")
_GAP = re.compile(r"\s+|(?<=[\u3002\uff01\uff1f])(?!\s)")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"')\]\u00bb\u2019\u201d]{0,3}$")
_BLANK = characters([(9, 13), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680),
                     (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F),
                     (0x3000, 0x3000)])  # fmt: skip
"""What ``str.isspace`` calls white space."""
_ANY = characters([], negated=True)
_REFUSED = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


class Passages:
    """The texts to quote from, in pieces: units and what stands between them."""

    def __init__(self, texts: Any, units: Any = "words") -> None:
        """Raises ConfigError for what are no passages, and for too many characters."""
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{OF} must be a text or a list of texts. Got {_shown(texts)}")
        if not isinstance(units, str) or units not in _CUT:
            raise ConfigError(f"{UNITS} must be one of {', '.join(_CUT)}. Got {_shown(units)}")
        if sum(map(len, texts)) > LONGEST:
            raise ConfigError(
                f"{OF} must have at most {LONGEST:,} characters. Got {sum(map(len, texts)):,}"
            )
        wrong = next((found for text in texts if (found := _REFUSED.search(text))), None)
        if wrong is not None:
            raise ConfigError(f"{OF} must be texts without control characters. Got {wrong[0]!r}")
        self.whole = units != "characters"
        cut: Callable[[str], list[str]] = {"words": _words, "sentences": _sentences}.get(
            units, list
        )
        self.pieces = [tuple(found) for found in map(cut, texts) if found]
        if not self.pieces:
            raise ConfigError(f"{OF} must have a text to quote from. Got {_shown(texts)}")

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Passages:
        """Those that two keywords name."""
        return cls(value.get(OF), value.get(UNITS, "words"))

    @property
    def pattern(self) -> Pattern:
        """All quotations."""
        return Matching((self.runs,), tuple(self.none))

    @property
    def none(self) -> list[Pattern]:
        """Runs that are no quotations."""
        none: list[Pattern] = [Text("")]
        if self.whole:
            anything = Repeated(_ANY, 0, None)
            none += [Sequenced((_BLANK, anything)), Sequenced((anything, _BLANK))]
        return none

    @property
    def runs(self) -> Pattern:
        """Runs of pieces."""
        found = tuple(map(Substring, self.pieces))
        return found[0] if len(found) == 1 else Either(found)

    def has(self, text: str) -> bool:
        """Whether a text is a quotation."""
        if not text or (self.whole and text != text.strip()):
            return False
        for pieces in self.pieces:
            passage, ends, place = "".join(pieces), {0}, 0
            for piece in pieces:
                ends.add(place := place + len(piece))
            start = passage.find(text)
            while start >= 0:
                if start in ends and start + len(text) in ends:
                    return True
                start = passage.find(text, start + 1)
        return False


def read(value: str) -> Passages:
    """The passages of a constraint that consists of nothing else, as JSON."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"a substring must be a JSON object with {OF}. Got {value[:40]!r}")
    return Passages.of(found)


def _words(text: str) -> list[str]:
    found: list[str] = []
    place = 0
    for word in _WORD.finditer(text):
        found += [text[place : word.start()], word[0]]
        place = word.end()
    return [piece for piece in found[bool(found and found[0].isspace()) :] if piece]


def _sentences(text: str) -> list[str]:
    """At white space behind a full stop or its like, and at empty lines."""
    text = text.strip()
    found: list[str] = []
    start = 0
    for gap in _GAP.finditer(text):
        before = text[start : gap.start()]
        if not gap[0] or gap[0].count("\n") > 1 or _SENTENCE_END.search(before[-4:]):
            found += [before, gap[0]]
            start = gap.end()
    return [piece for piece in (*found, text[start:]) if piece]


_CUT: dict[str, Callable[[str], list[str]]] = {
    "words": _words,
    "sentences": _sentences,
    "characters": list,
}


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]

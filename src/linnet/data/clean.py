"""Text as it is kept: one form for what looks the same, and plain damage repaired.

Prose, web pages and mail: Unicode NFC, ``\\n`` for every kind of line end, no
control or invisible filler characters, no trailing blanks, at most one blank
line in a row; characters that were decoded wrongly (mojibake) are repaired with
ftfy, ligatures taken apart, words that were hyphenated at a line end joined.
Tables and logs: the same, but words and letters stay as they are. Source code and
notations such as SMILES keep every character; only line ends are made alike.
Lines are not re-wrapped: where they break may mean something.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.data.kinds import Family

_VERBATIM: tuple[Family, ...] = ("code", "symbols")
_WRITTEN: tuple[Family, ...] = ("prose", "web", "mail")

_LINE_ENDS = "\r\x85\u2028\u2029\x0b"
# Byte order mark, soft hyphen, zero-width space. Zero-width joiners stay: Persian,
# Indic scripts and emoji need them.
_INVISIBLE = "\ufeff\xad\u200b"
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # ECMA-48
_BLANK_LINES = re.compile(r"\n{3,}")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}

# A hyphen at a line end, the word that goes on, what is attached to it, what follows. It starts
# at the hyphen, not at the word before it, so that the search is linear.
_BREAK = re.compile(r"([-\u2010\xad])\n[ \t]*([^\W\d_]{2,})(\S*)([ \t]+|\n|\Z)")
_LONGEST_WORD = 60
_HEAD = re.compile(r"(-?)([^\W\d_]{2,})\Z")
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_CONJUNCTIONS = {"and", "or", "und", "oder", "bzw", "sowie"}  # "pre-\nand post-war"


@dataclass(frozen=True)
class Cleaned:
    """A text in its one form. ``changes`` counts repairs, such as ``{"hyphenation": 3}``:

    mojibake (lines), hyphenation (words), ligatures, control characters (each escape
    sequence is one) and broken characters (halves of surrogate pairs).
    """

    text: str
    changes: dict[str, int] = field(default_factory=dict)


def clean(text: str, family: Family) -> Cleaned:
    """The text in the form of its family (see the module). Cleaning twice changes nothing."""
    whole = replace_lone_surrogates(text)
    changes = {"broken characters": len(_LONE_SURROGATES.findall(text)) if whole != text else 0}
    if family in _VERBATIM:
        text = _one_line_end(whole.removeprefix("\ufeff")).strip("\n")
        return Cleaned(text, _noteworthy(changes))
    # First of all, as mojibake is made of the very characters that the rest removes.
    text, changes["mojibake"] = _repair_decoding(whole)
    text, changes["control characters"] = _remove_control_characters(text)
    if family in _WRITTEN:
        text, changes["ligatures"] = _take_apart_ligatures(text)
    text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if family in _WRITTEN:
        text, changes["hyphenation"] = _join_hyphenated(text)
    text = _remove(text, _INVISIBLE)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    text = unicodedata.normalize("NFC", text)
    return Cleaned(_BLANK_LINES.sub("\n\n", text).strip("\n"), _noteworthy(changes))


def replace_lone_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _LONE_SURROGATES.sub("\ufffd", text)
    return text

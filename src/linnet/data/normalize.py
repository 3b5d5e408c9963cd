"""Text as it is kept: one form for what looks the same.

Prose: Unicode NFC, ``\\n`` for every kind of line end, no control or invisible
filler characters, no trailing blanks, at most one blank line in a row. Source
code keeps its characters and its indentation; only line ends are made alike.
"""

from __future__ import annotations

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
_CODE_LINE_ENDS = re.compile("\r\n?")
_TRAILING_BLANKS = re.compile(r"[ \t]+(?=\n|\Z)")
_BLANK_LINES = re.compile(r"\n{3,}")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")

# Control characters but tab and newline; byte order mark, soft hyphen, zero-width
# space. Zero-width joiners stay: Persian, Indic scripts and emoji need them.
_REMOVED = [c for c in range(0xA0) if (c < 0x20 or c >= 0x7F) and c not in (0x09, 0x0A)]
_TABLE: dict[int, str | None] = dict.fromkeys([*_REMOVED, 0xFEFF, 0xAD, 0x200B])
_TABLE.update({0x0B: "\n", 0x0C: "\n\n", 0xA0: " "})


def normalize_prose(text: str) -> str:
    """Prose in its one form (see the module)."""
    text = _LINE_ENDS.sub("\n", text).translate(_TABLE)
    text = unicodedata.normalize("NFC", replace_lone_surrogates(text))
    text = _TRAILING_BLANKS.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def normalize_code(text: str) -> str:
    """Source code with ``\\n`` line ends, without byte order mark and outer blank lines."""
    text = _CODE_LINE_ENDS.sub("\n", text.removeprefix("\ufeff"))
    return replace_lone_surrogates(text).strip("\n")


def replace_lone_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD."""
    return _LONE_SURROGATES.sub("\ufffd", text)

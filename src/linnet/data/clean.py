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
    from collections.abc import Callable, Iterator

    from linnet.data.kinds import Family

_VERBATIM: tuple[Family, ...] = ("code", "symbols")
_WRITTEN: tuple[Family, ...] = ("prose", "web", "mail")

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_LATIN_CONTROL = re.compile("[\x80-\x9f]")
_LINE_ENDS = "\x85\u2028\u2029"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # ECMA-48
# Byte order mark, zero-width space. Zero-width joiners stay: Persian, Indic scripts
# and emoji need them.
_INVISIBLE = "\ufeff\u200b"
_INNER_SOFT_HYPHEN = re.compile(r"(?<![^\W\d_])\xad|\xad(?![ \t]*\n)")
_BLANK_LINES = re.compile(r"\n{3,}")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_ASCII_RUN = re.compile(r"([\x00-\x7f]{8})[\x00-\x7f]+([\x00-\x7f]{8})")
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
_LIGATURE = re.compile("[ﬀ-ﬆ]")

# A hyphen at a line end, the word that goes on, what is attached to it and what follows. It
# begins with the hyphen, not with the word before it, so that the search is linear.
_BREAK = re.compile(r"([-\u2010\xad])\n[ \t]*([^\W\d_]{2,})(\S*)([ \t]+|\n|\Z)")
_HEAD = re.compile(r"([^\W\d_][-\u2010])?([^\W\d_]{2,})\Z")
_GOES_ON = re.compile(r"[-\u2010][^\W\d_]")
_LONGEST_HEAD = 60
_LEAST_HALF = 4  # letters; "to-\ngether" is not made of "to"
_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_CONJUNCTIONS = {"and", "or", "und", "oder", "bzw", "sowie"}  # "pre-\nand post-war"


@dataclass(frozen=True)
class Cleaned:
    """A text in its one form. ``changes`` counts repairs, such as ``{"hyphenation": 3}``:

    mojibake (lines), hyphenation (words), ligatures, control characters (an escape
    sequence counts as one), broken characters (halves of surrogate pairs).
    """

    text: str
    changes: dict[str, int] = field(default_factory=dict)


def clean(text: str, family: Family) -> Cleaned:
    """The text in the form of its family (see the module)."""
    changes = Counter[str]()
    text = _replace_lone_surrogates(text, changes)
    if family in _VERBATIM:
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        return Cleaned(text.strip("\n"), dict(changes))
    text = _remove_controls(text, changes)
    if not text.isascii():
        text = _repair_decoding(unicodedata.normalize("NFC", text), changes)
        text = _one_form_of_letters(text, family, changes)
    text = _one_line_end(text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if family in _WRITTEN:
        text = _join_hyphenated(text, changes).replace("\xad", "")
    return Cleaned(_BLANK_LINES.sub("\n\n", text).strip("\n"), dict(changes))


def replace_lone_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD."""
    return _replace_lone_surrogates(text, Counter())


def _replace_lone_surrogates(text: str, changes: Counter[str]) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _counted(_LONE_SURROGATES, "\ufffd", text, changes, "broken characters")
    return text


def _remove_controls(text: str, changes: Counter[str]) -> str:
    """Without escape sequences and the control characters of ASCII.

    Those of Latin-1 go later, as mojibake is made of them.
    """
    if "\x1b" in text:
        text = _counted(_ESCAPES, "", text, changes, "control characters")
    return _counted(_CONTROL, "", text, changes, "control characters")


def _repair_decoding(text: str, changes: Counter[str]) -> str:
    """UTF-8 that was read as another encoding (``Ã©`` for ``é``), line by line.

    Only lines that ftfy's heuristic calls bad are touched; what it makes of them is
    trusted, as it changes nothing unless the result decodes.
    """
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if not is_bad(_ASCII_RUN.sub(r"\1\2", text)):  # a quick look at what is not ASCII
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.isascii() and is_bad(line):
            lines[number] = fix_encoding(line)
            if lines[number] != line:
                changes["mojibake"] += 1
    return "\n".join(lines)


def _one_form_of_letters(text: str, family: Family, changes: Counter[str]) -> str:
    for line_end in _LINE_ENDS:
        text = text.replace(line_end, "\n")
    text = _counted(_LATIN_CONTROL, "", text.replace("\xa0", " "), changes, "control characters")
    for character in _INVISIBLE:
        text = text.replace(character, "")
    if "\xad" in text:
        text = _INNER_SOFT_HYPHEN.sub("", text) if family in _WRITTEN else text.replace("\xad", "")
    if family in _WRITTEN:
        text = _counted(_LIGATURE, lambda found: _LIGATURES[found[0]], text, changes, "ligatures")
    return unicodedata.normalize("NFC", text)


def _one_line_end(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\x0b", "\n").replace("\x0c", "\n\n")


@dataclass(frozen=True)
class _Break:
    """A word on two lines, from its hyphen on."""

    start: int
    end: int
    hyphen: str
    head: str
    tail: str
    within: bool  # a longer compound
    after: str  # what is attached to the word, and the line end


def _join_hyphenated(text: str, changes: Counter[str]) -> str:
    """Words hyphenated at a line end, whole at the end of that line."""
    before = ""
    while text != before and ("-\n" in text or "\xad\n" in text or "\u2010\n" in text):
        before = text
        text = _join_once(text, changes)  # again: a word may stand on three lines
    return text


def _join_once(text: str, changes: Counter[str]) -> str:
    breaks = list(_breaks(text))
    if not breaks:
        return text
    lower = text.lower().replace("\u2010", "-")
    words = Counter(found[0] for found in _WORDS.finditer(lower))
    words.subtract(half.lower() for found in breaks for half in (found.head, found.tail))
    votes = [_vote(found, words) for found in breaks]
    typeset = _is_typeset(votes, sum(n for word, n in words.items() if "-" in word))
    parts, last = [], 0
    for found, vote in zip(breaks, votes, strict=True):
        if not vote and found.tail in _CONJUNCTIONS:
            continue
        own = vote < 0 or (not vote and _own_hyphen(found, words, typeset=typeset))
        parts += [text[last : found.start], found.hyphen if own else "", found.tail, found.after]
        last = found.end
        changes["hyphenation"] += 1
    return "".join([*parts, text[last:]])


def _breaks(text: str) -> Iterator[_Break]:
    for found in _BREAK.finditer(text):
        hyphen, tail, rest, after = found.groups()
        head = _HEAD.search(text[max(0, found.start() - _LONGEST_HEAD) : found.start()])
        if head and head[2][-1].islower() and tail.islower():
            within = bool(head[1] or _GOES_ON.match(rest))
            after = rest + ("\n" if after else "")
            yield _Break(found.start(), found.end(), hyphen, head[2], tail, within, after)


def _vote(found: _Break, words: Counter[str]) -> int:
    """Is the hyphen the typesetter's (1), the word's own (-1) or neither known (0)?

    The rest of the document tells: does it have ``wellknown`` or ``well-known``?
    """
    if found.hyphen == "\xad":
        return 1
    whole = words[(found.head + found.tail).lower()]
    compound = words[f"{found.head}-{found.tail}".lower()]
    return 0 if not whole and not compound else 1 if whole >= compound else -1


def _is_typeset(votes: list[int], compounds: int) -> bool:
    """Whether a typesetter broke words, and not only lines at the hyphens of words.

    Of the latter kind are documents in which few breaks are known to be a typesetter's
    and many to be a word's own, or which have no more breaks than compounds elsewhere.
    """
    own = votes.count(-1)
    return sum(votes) >= 0 or (3 * own < len(votes) and len(votes) > compounds)


def _own_hyphen(found: _Break, words: Counter[str], *, typeset: bool) -> bool:
    """A guess for a word that stands nowhere else: within a longer compound; in a document
    that is not typeset; between two words of the document, in a typeset one two long ones."""
    halves = words[found.head.lower()] > 0 and words[found.tail] > 0
    long = min(len(found.head), len(found.tail)) >= _LEAST_HALF
    return found.within or not typeset or (halves and long)


def _counted(
    pattern: re.Pattern[str],
    new: str | Callable[[re.Match[str]], str],
    text: str,
    changes: Counter[str],
    name: str,
) -> str:
    text, count = pattern.subn(new, text)
    if count:
        changes[name] += count
    return text

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
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.data.positions import Edit, Edited, Positions, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from linnet.data.kinds import Family

_VERBATIM: tuple[Family, ...] = ("code", "symbols")
_WRITTEN: tuple[Family, ...] = ("prose", "web", "mail")

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_LATIN_CONTROL = re.compile("[\x80-\x9f]")
_LINE_ENDS = "\x85\u2028\u2029"
_CARRIAGE_RETURN, _FORM_FEED = re.compile(r"\r\n?"), re.compile("\x0c")
_TRAILING = re.compile(r"(?<![ \t])[ \t]++(?=\n|\Z)")  # linear, also on long runs of them
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # ECMA-48
# Byte order mark, zero-width space. Zero-width joiners stay: Persian, Indic scripts
# and emoji need them.
_INVISIBLE = re.compile("[\ufeff\u200b]")
_SOFT_HYPHEN = re.compile("\xad")
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
_HYPHENATED_ENDS = ("-\n", "\xad\n", "\u2010\n")
_LONGEST_HEAD = 60
_LEAST_HALF = 4  # letters; "to-\ngether" is not made of "to"
_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_CONJUNCTIONS = {"and", "or", "und", "oder", "bzw", "sowie"}  # "pre-\nand post-war"


@dataclass(frozen=True)
class Cleaned:
    """A text in its one form. ``changes`` counts repairs, such as ``{"hyphenation": 3}``:

    mojibake (lines), hyphenation (words), ligatures, control characters (an escape
    sequence counts as one), broken characters (halves of surrogate pairs).
    ``positions`` leads from the text as it was to this one.
    """

    text: str
    changes: dict[str, int] = field(default_factory=dict)
    positions: Positions = field(default_factory=Positions, compare=False)


def clean(text: str, family: Family) -> Cleaned:
    """The text in the form of its family (see the module)."""
    changes = Counter[str]()
    edited = Edited(text)
    _replace_lone_surrogates(edited, changes)
    if family in _VERBATIM:
        if edited.text.startswith("\ufeff"):
            edited.apply([(0, 1, "")])
        edited.sub(_CARRIAGE_RETURN, "\n")
    else:
        _remove_controls(edited, changes)
        if not edited.text.isascii():
            edited.normalize()
            _repair_decoding(edited, changes)
            _one_form_of_letters(edited, family, changes)
        _one_line_end(edited)
        edited.sub(_TRAILING, "")
        if family in _WRITTEN:
            _join_hyphenated(edited, changes)
            edited.sub(_SOFT_HYPHEN, "")
        edited.sub(_BLANK_LINES, "\n\n")
    edited.strip("\n")
    return Cleaned(edited.text, dict(changes), edited.positions)


def replace_lone_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD."""
    edited = Edited(text)
    _replace_lone_surrogates(edited, Counter())
    return edited.text


def _replace_lone_surrogates(edited: Edited, changes: Counter[str]) -> None:
    try:
        edited.text.encode("utf-8")
    except UnicodeEncodeError:
        _counted(_LONE_SURROGATES, "\ufffd", edited, changes, "broken characters")


def _remove_controls(edited: Edited, changes: Counter[str]) -> None:
    """Without escape sequences and the control characters of ASCII.

    Those of Latin-1 go later, as mojibake is made of them.
    """
    if "\x1b" in edited.text:
        _counted(_ESCAPES, "", edited, changes, "control characters")
    _counted(_CONTROL, "", edited, changes, "control characters")


def _repair_decoding(edited: Edited, changes: Counter[str]) -> None:
    """UTF-8 that was read as another encoding (``Ã©`` for ``é``), line by line.

    Only lines that ftfy's heuristic calls bad are touched; what it makes of them is
    trusted, as it changes nothing unless the result decodes.
    """
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if not is_bad(_ASCII_RUN.sub(r"\1\2", edited.text)):  # a quick look at what is not ASCII
        return
    edits: list[Edit] = []
    start = 0
    for line in edited.text.split("\n"):
        if not line.isascii() and is_bad(line):
            fixed = fix_encoding(line)
            if fixed != line:
                edits += differences(line, fixed, offset=start)
                changes["mojibake"] += 1
        start += len(line) + 1
    edited.apply(edits)


def _one_form_of_letters(edited: Edited, family: Family, changes: Counter[str]) -> None:
    for line_end in _LINE_ENDS:
        edited.text = edited.text.replace(line_end, "\n")
    edited.text = edited.text.replace("\xa0", " ")
    _counted(_LATIN_CONTROL, "", edited, changes, "control characters")
    edited.sub(_INVISIBLE, "")
    if "\xad" in edited.text:
        edited.sub(_INNER_SOFT_HYPHEN if family in _WRITTEN else _SOFT_HYPHEN, "")
    if family in _WRITTEN:
        _counted(_LIGATURE, lambda found: _LIGATURES[found[0]], edited, changes, "ligatures")
    edited.normalize()


def _one_line_end(edited: Edited) -> None:
    edited.sub(_CARRIAGE_RETURN, "\n")
    edited.text = edited.text.replace("\x0b", "\n")
    edited.sub(_FORM_FEED, "\n\n")


@dataclass(frozen=True)
class _Break:
    """A word on two lines, from its hyphen on."""

    start: int
    end: int
    hyphen: str
    head: str
    tail: str
    within: bool  # a longer compound
    rest: str  # what is attached to the word
    after: str  # the line end


def _join_hyphenated(edited: Edited, changes: Counter[str]) -> None:
    """Words hyphenated at a line end, whole at the end of that line."""
    before = ""
    while edited.text != before and any(end in edited.text for end in _HYPHENATED_ENDS):
        before = edited.text
        _join_once(edited, changes)  # again: a word may stand on three lines


def _join_once(edited: Edited, changes: Counter[str]) -> None:
    breaks = list(_breaks(edited.text))
    if not breaks:
        return
    lower = edited.text.lower().replace("\u2010", "-")
    words = Counter(found[0] for found in _WORDS.finditer(lower))
    words.subtract(half.lower() for found in breaks for half in (found.head, found.tail))
    votes = [_vote(found, words) for found in breaks]
    typeset = _is_typeset(votes, sum(n for word, n in words.items() if "-" in word))
    edits: list[Edit] = []
    for found, vote in zip(breaks, votes, strict=True):
        if not vote and found.tail in _CONJUNCTIONS:
            continue
        own = vote < 0 or (not vote and _own_hyphen(found, words, typeset=typeset))
        # Three stretches, so that the word itself is found again: hyphen and line end, the
        # word with what is attached to it, the line end after it.
        word = found.start + len(edited.text[found.start : found.end].rstrip())
        begins = word - len(found.tail) - len(found.rest)
        edits.append((found.start, begins, found.hyphen if own else ""))
        edits.append((word, found.end, found.after))
        changes["hyphenation"] += 1
    edited.apply(edits)


def _breaks(text: str) -> Iterator[_Break]:
    for found in _BREAK.finditer(text):
        hyphen, tail, rest, after = found.groups()
        head = _HEAD.search(text[max(0, found.start() - _LONGEST_HEAD) : found.start()])
        if head and head[2][-1].islower() and tail.islower():
            within = bool(head[1] or _GOES_ON.match(rest))
            after = "\n" if after else ""
            yield _Break(found.start(), found.end(), hyphen, head[2], tail, within, rest, after)


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
    edited: Edited,
    changes: Counter[str],
    name: str,
) -> None:
    if count := edited.sub(pattern, new):
        changes[name] += count

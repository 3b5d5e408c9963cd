"""A text divided into its claims: sentences, headings and items of lists, with their places.

One pass with patterns that cannot go back, so that the time is linear in the text, whatever it
holds. Abbreviations, initials, numbers with dots and German ordinals (``5. März``) do not end a
sentence; where it cannot be told, it goes on, since a longer claim is harder to support.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from linnet.grounding.languages import ABBREVIATIONS, STARTERS, text_language

WRAPPED = 50  # characters of a line that was broken for its length


@dataclass(frozen=True)
class Claim:
    """A stretch of a text that says one thing."""

    text: str
    start: int
    end: int


# A mark of a list, a heading's or a quotation's sign at the beginning of a line.
_MARK = re.compile(
    r"[ \t]*(?:(?:[-*+•‣▪●–—·]|#{1,6}|>|\(?\d{1,3}[.)]|\(?[a-z][.)]|\(?[A-Z]\))[ \t]+)"
)
_LINE = re.compile(r"[^\n\r\x0b\x0c\x85\u2028\u2029]+")
_END = re.compile(
    r"(?<![.!?…])(?P<signs>[.!?…]++)(?P<closed>[\"'”’“»›)\]]*+)(?P<space>\s++)"
    r"|[。！？｡]++[」』”）]*+|(?P<other>[।۔؟።։]++)\s*+"
)
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“„«¿¡]*\Z")
_WORD_AFTER = re.compile(r"[\"'“„«»‘(\[¿¡\s]*(?P<word>[^\W_]+(?:['’]\w+)?)")
_LETTER = re.compile(r"[^\W_]")
_UNDOTTED = frozenset(("en", "fr", "es", "it", "pt", "nl"))
"""Languages in which a number with a dot is no ordinal."""

_CLOSING = tuple("\"'”’“»›")
_LONGEST_WORD = 40


def claims(text: str, *, language: str | None = None) -> list[Claim]:
    """The claims of a text in order; what holds neither letter nor digit is none.

    ``language`` (ISO 639-1) is told from the text where it is not given, and matters.
    """
    return list(_claims(text, _Ordinals(text, language)))


class _Ordinals:
    """Whether the text's language writes ordinals with a dot, told only if that matters."""

    def __init__(self, text: str, language: str | None) -> None:
        self._text, self._language = text, language

    @cached_property
    def dotted(self) -> bool:
        language = self._language
        return (text_language(self._text) if language is None else language) not in _UNDOTTED


def _claims(text: str, ordinals: _Ordinals) -> Iterator[Claim]:
    for start, end in _blocks(text):
        begin = start
        for stop, resume in _sentence_ends(text, start, end, ordinals):
            yield from _claim(text, begin, stop)
            begin = resume
        yield from _claim(text, begin, end)


def _claim(text: str, start: int, end: int) -> Iterator[Claim]:
    own = text[start:end]
    if _LETTER.search(own):
        start += len(own) - len(own.lstrip())
        end -= len(own) - len(own.rstrip())
        yield Claim(text[start:end], start, end)


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Lines, without their marks; those that one sentence was broken into are one block."""
    start = end = -1
    for line in _LINE.finditer(text):
        if not line[0].strip():
            if start >= 0:
                yield start, end
                start = -1
            continue
        mark = _MARK.match(text, line.start(), line.end())
        first = mark.end() if mark else line.start()
        # A line after a blank one, or with a mark, begins something new, and so does one after
        # a line that was not broken for its length.
        if start >= 0 and (mark or text.count("\n", end, line.start()) > 1
                           or not _goes_on(text, start, end, first)):  # fmt: skip
            yield start, end
            start = -1
        if start < 0:
            start = first
        end = line.end()
    if start >= 0:
        yield start, end


def _goes_on(text: str, start: int, end: int, following: int) -> bool:
    """Whether what follows the line that ends here may belong to its sentence."""
    line = text.rfind("\n", start, end) + 1 or start
    if text[following : following + 60].lstrip()[:1].islower():
        return True
    return end - line >= WRAPPED


def _sentence_ends(
    text: str, start: int, end: int, ordinals: _Ordinals
) -> Iterator[tuple[int, int]]:
    """Where sentences end, and where the next begin."""
    begin = start
    for found in _END.finditer(text, start, end):
        if found["signs"] is None:
            stop = resume = found.end()
        else:
            stop, resume = found.end("closed"), found.end()
            after = _WORD_AFTER.match(text, resume, min(end, resume + _LONGEST_WORD))
            word = after["word"] if after else ""
            if not _ends(text, begin, found.start(), found["signs"], word, ordinals):
                continue
        yield stop, resume
        begin = resume


def _ends(text: str, begin: int, sign: int, signs: str, word: str, ordinals: _Ordinals) -> bool:
    """Whether signs end a sentence that began at ``begin``, where this word comes next."""
    if word[:1].islower():
        # "Yahoo! is", "at 5 p.m. on": but no sign stands within a sentence without a reason.
        return False
    if signs != "." or text[sign + 1 : sign + 2] in _CLOSING:
        return True
    before = _WORD_BEFORE.search(text, max(begin, sign - _LONGEST_WORD), sign)
    last = before[0] if before else ""
    if not last:
        return True
    starts = word.casefold() in STARTERS
    if last.isdigit():
        # "am 5. März", "Das 19. Jahrhundert": a year ends a sentence, a day not.
        first = sign - len(last) == begin
        return len(last) > 2 or (not first and (starts or not ordinals.dotted))
    if len(last) == 1 and last.isalpha() and (last.isupper() or last.isascii()):
        return starts  # "J. Smith", "e. V."
    folded = last.casefold()
    if "." in last and folded.replace(".", "").isalpha():
        return starts  # "the U.S. The", "z.B. Der" is rarer
    if folded in ABBREVIATIONS:
        return starts and folded in ("etc", "inc", "ltd", "co", "corp", "usw", "jr", "sr")
    return True

"""Abbreviations with their long forms, as they stand in brackets: "acute lymphoblastic leukemia
(ALL)". Found as by Schwartz and Hearst ("A Simple Algorithm for Identifying Abbreviation
Definitions in Biomedical Text", 2003), but only where each letter begins a word, which leaves no
doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES
from linnet.examples.record import Example
from linnet.examples.source import Source
from linnet.examples.subjects import quotable

_SHORT = re.compile(r" \(([A-Z][A-Z0-9]{1,7})s?\)")
_WORD = re.compile(r"[^\s()\[\],;:.\"“”]+")
_SKIPPED = 2  # words without a letter in the short form, such as "of"
_SMALL = """
of the and in for to a an on with by or at from
de la du des le les et pour der die das und von für del el los las y para
"""
_REACH = 120  # characters before the bracket


def long_form(text: str, at: int, short: str) -> int | None:
    """Where the long form begins that ends at ``at``; None where there is none."""
    low = max(text.rfind("\n", 0, at) + 1, at - _REACH)
    words = list(_WORD.finditer(text, low, at))
    if not words or words[-1].end() != at:
        return None
    parts = [(word.start() + offset, part) for word in words for offset, part in _parts(word[0])]
    place, skipped, start = len(parts) - 1, 0, at
    for letter in reversed(short.lower()):
        while place >= 0 and parts[place][1][:1].lower() != letter:
            if parts[place][1].lower() not in _SMALL.split() or skipped == _SKIPPED:
                return None
            place, skipped = place - 1, skipped + 1
        if place < 0:
            return None
        start, place = parts[place][0], place - 1
    between = text[start:at]
    clean = not any(mark in between for mark in ".,;:()")
    return start if clean and len(between.split()) > 1 else None


def _parts(word: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"[^-–/]+", word):
        yield found.start(), found[0]


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None or not quotable(source.title):
        return
    known: set[str] = set()
    for passage in source.passages:
        found: list[tuple[str, str, int, int]] = []
        for match in _SHORT.finditer(passage.text):
            if (
                match[1] in known
                or (start := long_form(passage.text, match.start(), match[1])) is None
            ):
                continue
            known.add(match[1])
            long = passage.text[start : match.start()]
            low, high = passage.start + start, passage.start + match.end()
            found.append((match[1], long, low, high))
            question = context.choose(words.template("abbreviation"), source.id, match[1])
            yield example(
                source, passage, "question",
                question.format(short=match[1], title=source.title), long, (low, high),
            )  # fmt: skip
        beginning = " ".join(passage.text.split()[:6]).rstrip(",;:.")
        if len(found) < 2 or not quotable(beginning) or len(passage.text) > 3000:
            continue
        told = context.choose(words.template("abbreviations_json"), source.id, str(passage.start))
        values = {short: long for short, long, _, _ in found}
        yield example(
            source, passage, "extraction",
            told.format(title=source.title, beginning=beginning),
            json.dumps(values, ensure_ascii=False), found[0][2:],
            quotes=[place for *_, low, high in found for place in [(low, high)]],
            schema={"type": "object", "additionalProperties": {"type": "string"}},
        )  # fmt: skip


GENERATOR = Generator(
    "abbreviations", ("question", "extraction"), generate=generate, languages=CODES
)

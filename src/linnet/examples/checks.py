"""Verification: each check looks at one example and says what is wrong with it, or None.

The checks run in the order of :data:`CHECKS`, the cheap ones first; the first that finds something
decides, and its name and reason stand in ``rejected.jsonl``.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from linnet.config import parse_json
from linnet.data.language import identify
from linnet.data.shingles import bands, jaccard, shingles
from linnet.examples.generator import MALFORMED
from linnet.examples.generators import model
from linnet.grounding.rules import check
from linnet.retrieval import terms

if TYPE_CHECKING:
    from linnet.examples.generator import Context
    from linnet.examples.record import Example
    from linnet.examples.source import Source

_MASKED = re.compile(r"<[A-Z][A-Z0-9_]*>")
_SAMPLE = 200  # characters of a quote by which its language is told
_SAID = 0.5  # share of an answer's terms that must stand in the quote
_SURE = 0.99
_BANDS = 6  # of the MinHash signature, by which candidates for near duplicates are found


@dataclass
class Seen:
    """The examples that were accepted so far, by what near duplicates share."""

    questions: set[int] = field(default_factory=set)
    signatures: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """An example with its document, and what the checks share. ``source`` is None for one that
    belongs to no document."""

    example: Example
    source: Source | None
    context: Context
    seen: Seen


@dataclass(frozen=True)
class Check:
    """One step of verification."""

    name: str
    fault: Callable[[Case], str | None]
    """What is wrong, in a few words; None for nothing."""


def _quote(case: Case) -> str | None:
    made, source = case.example, case.source
    if source is None:
        return None
    quotes = [(made.quote, made.start, made.end)] if made.quote is not None else []
    quotes += [(quote.text, quote.start, quote.end) for quote in made.quotes]
    if not quotes and made.answerable and made.kind != "follow_up":
        return "it has an answer and no quote"
    for text, start, end in quotes:
        if start is None or end is None or not text or source.text[start:end] != text:
            return "the quote is not the text that stands there"
        if _split_of(source, start, end) != made.split:
            return "the quote is in another split"
    return None


def _split_of(source: Source, start: int, end: int) -> str | None:
    for low, high, split in source.splits:
        if low <= start and end <= high:
            return split
    return None


def _form(case: Case) -> str | None:
    if case.example.question == MALFORMED:
        return "what the model wrote has not the form that it was given"
    return None


def _length(case: Case) -> str | None:
    made, config = case.example, case.context.config
    for name, text, most in (
        ("question", made.question, config.longest_question),
        ("answer", made.answer, config.longest_answer),
    ):
        if not text.strip():
            return f"the {name} is empty"
        if len(text) > most:
            return f"the {name} has more than {most:,} characters"
        if not any(map(str.isalnum, text)):
            return f"the {name} has neither letters nor digits"
    return None


def _private(case: Case) -> str | None:
    made = case.example
    turns = [text for turn in made.turns for text in (turn.question, turn.answer)]
    for text in (made.question, made.answer, made.quote or "", *turns):
        if found := _MASKED.search(text):
            return f"it is about something masked as private: {found[0]}"
    return None


def _language(case: Case) -> str | None:
    made, source = case.example, case.source
    if source is None or made.quote is None or not made.language or len(made.quote) < _SAMPLE:
        return None
    found, probability = identify(made.quote)
    if found not in (made.language, "und") and probability > _SURE:
        return f"the quote is in another language than the document: {found}"
    return None


def _supported(case: Case) -> str | None:
    """What the answer says stands in what is quoted: word for word, or as the rules decide."""
    made = case.example
    quotes = [made.quote or "", *(quote.text for quote in made.quotes)]
    if not made.answerable or not any(quotes):
        return None
    said = " ".join(" ".join(quotes).split())
    for part in _parts(made):
        if " ".join(part.split()) in said:
            continue
        verdict = check(part, [quote for quote in quotes if quote], language=made.language or None)
        if verdict.status in ("contradicted", "unsupported"):
            what = f": {verdict.missing[0].text}" if verdict.missing else ""
            return f"the quote does not support the answer ({verdict.rule}{what})"
        own, there = set(terms(part, made.language)), set(terms(said, made.language))
        if verdict.status == "undecided" and len(own & there) < _SAID * len(own):
            return "the quote has not the words of the answer"
    return None


def _parts(made: Example) -> list[str]:
    """The lines of an answer, or the values of one that is an object."""
    if made.schema is None:
        return made.answer.splitlines()
    try:
        values = parse_json(made.answer)
    except ValueError:
        return [made.answer]
    return [str(value) for value in values.values()] if isinstance(values, dict) else [made.answer]


def _needs_passage(case: Case) -> str | None:
    """The question does not give its own answer away."""
    made = case.example
    if not made.answerable or made.kind in ("summary", "extraction"):
        return None
    question, answer = (terms(text, made.language) for text in (made.question, made.answer))
    if answer and f" {' '.join(answer)} " in f" {' '.join(question)} ":
        return "the question has its answer in it"
    return None


def _round_trip(case: Case) -> str | None:
    """The question finds its passage again among those of the corpus."""
    made, source, context = case.example, case.source, case.context
    if not context.config.retrieved or source is None or not made.answerable or not made.passage:
        return None
    passage = source.passage_at(made.passage[0], made.passage[0] + 1)
    if passage is None:
        return "its passage is not in the index"
    query = " ".join([*(turn.question for turn in made.turns), made.question])
    found = context.index.search(query, context.config.retrieved, language=made.language)
    if passage.number not in {hit.number for hit in found}:
        return f"the question does not find its passage among {context.config.retrieved}"
    return None


def _fits(case: Case) -> str | None:
    """What a model wrote is about its quote rather than about the sentences around it."""
    if case.source is None or case.example.generator != model.NAME:
        return None
    return model.misfit(case.example, case.source, case.context)


def _repeated(case: Case) -> str | None:
    made, seen = case.example, case.seen
    if _question_hash(made) in seen.questions:
        return "the same question was accepted before"
    share, text = case.context.config.near_duplicates, _as_text(made)
    own = shingles(text)
    for band in _signature(text):
        other = seen.signatures.get(band)
        if other is not None and jaccard(own, shingles(other)) >= share:
            return "nearly the same example was accepted before"
    return None


def accept(made: Example, seen: Seen) -> None:
    """Note an accepted example, for the next ones to be compared with."""
    seen.questions.add(_question_hash(made))
    text = _as_text(made)
    for band in _signature(text):
        seen.signatures.setdefault(band, text)


def _as_text(made: Example) -> str:
    return f"{made.kind} {made.question} {made.answer}"


@functools.lru_cache(8)  # what was checked is noted next
def _signature(text: str) -> list[int]:
    values: list[int] = np.frombuffer(bands(text), "<u8")[:_BANDS].tolist()
    return values


def _question_hash(made: Example) -> int:
    """Of the question with what came before it, blanks and case apart; 64 bits."""
    turns = [turn.question for turn in made.turns]
    text = " ".join(" ".join([made.kind, *turns, made.question]).split()).casefold()
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


CHECKS: tuple[Check, ...] = (
    Check("form", _form),
    Check("length", _length),
    Check("quote", _quote),
    Check("private", _private),
    Check("language", _language),
    Check("supported", _supported),
    Check("needs passage", _needs_passage),
    Check("repeated", _repeated),
    Check("round trip", _round_trip),
    Check("fits", _fits),
)

"""How near a claim is to the nearest sentence of its passages, by its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from linnet.grounding.passage import Passage, Sentence

CANDIDATES = 3
"""Sentences of a passage that are looked at closely."""

ELSEWHERE = 0.5
"""What a word counts that stands in the passage, but not in the sentence."""

VALUE_WEIGHT = 2.0
ORDER = 0.25
"""How much of the likeness is that of the order of the words."""

INVENTED = 0.5
"""What each word more counts against a claim that stands in a row of words that are nowhere."""


@dataclass(frozen=True)
class Match:
    """The nearest sentence, and how near it is: 1 for the same words in the same order."""

    share: float
    sentence: Sentence | None = None
    passage: int = 0


def similarity(claim: Sentence, passages: Sequence[Passage]) -> Match:
    """The nearest sentence of the passages."""
    best = Match(0.0)
    for number, passage in enumerate(passages):
        for sentence in _candidates(claim, passage):
            share = _share(claim, sentence, passage)
            if share > best.share:
                best = Match(share, sentence, number)
    return best


def _candidates(claim: Sentence, passage: Passage) -> list[Sentence]:
    counts: dict[int, int] = {}
    for own in dict.fromkeys(claim.content):
        for place in passage.places.get(own, ()):
            counts[place] = counts.get(place, 0) + 1
    chosen = sorted(counts, key=lambda place: (-counts[place], place))[:CANDIDATES]
    return [passage.sentences[place] for place in chosen]


def _share(claim: Sentence, sentence: Sentence, passage: Passage) -> float:
    language = claim.language
    function = language.function if language else frozenset()
    there = set(sentence.content)
    readings = {reading for value in sentence.values for reading in value.readings}
    dates = {date for value in sentence.values for date in value.dates}
    had = total = 0.0
    row = 0
    for token, stem in zip(claim.counted, claim.stems, strict=True):
        if token.value is not None:
            total += VALUE_WEIGHT
            if readings.intersection(token.value.readings) or dates.intersection(token.value.dates):
                had += VALUE_WEIGHT
            continue
        if token.key in function:
            continue
        if stem in there:
            had, row = had + 1, 0
        elif stem in passage.places:
            had, row = had + ELSEWHERE, 0
        else:
            total += INVENTED * row
            row += 1
        total += 1
    covered = had / total if total else 0.0
    pairs = set(pairwise(claim.stems))
    kept = len(pairs & set(pairwise(sentence.stems))) / len(pairs) if pairs else covered
    return (1 - ORDER) * covered + ORDER * kept * covered

"""How near a claim is to the nearest sentence of its passages, by its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from linnet.grounding.passage import VALUE, Passage, Sentence

CANDIDATES = 3
"""Sentences of a passage that are looked at closely."""

ELSEWHERE = 0.5
"""What a word counts that stands in the passage, but not in the sentence."""

VALUE_WEIGHT = 2.0
OTHER_NAME = 1.0
"""What a name that the sentence does not have counts more against a claim than another word."""

NEIGHBOURS = 0.4
"""How much of the likeness is that of which words stand side by side."""

TURNED = 0.55
"""What is left where the words stand in an order that moving one part of it does not give, as
where subject and object change places."""

INVENTED = 0.5
MOST_INVENTED = 2
"""What each word before it in a row of words that are nowhere counts against a claim, and how many
of them do."""


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
    for own in dict.fromkeys(claim.looked_up):
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
    names_tell = language is not None and not language.nouns_capitalised
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
        named = total > 0 and token.text[0].isupper() and names_tell
        if stem in there:
            had, row = had + 1, 0
        elif named:  # a name from elsewhere is another one
            total += OTHER_NAME
        elif stem in passage.places:
            had, row = had + ELSEWHERE, 0
        else:
            total += INVENTED * min(row, MOST_INVENTED)
            row += 1
        total += 1
    covered = had / total if total else 0.0
    pairs = _pairs(claim)
    kept = len(pairs & _pairs(sentence)) / len(pairs) if pairs else covered
    likeness = (1 - NEIGHBOURS) * covered + NEIGHBOURS * kept
    return likeness * TURNED if _descents(claim.content, sentence.content) > 1 else likeness


def _pairs(sentence: Sentence) -> set[tuple[str, str]]:
    """Words that stand side by side, of which one says something."""
    said = {VALUE, *sentence.content}
    return {pair for pair in pairwise(sentence.stems) if pair[0] in said or pair[1] in said}


def _descents(claim: Sequence[str], sentence: Sequence[str]) -> int:
    """How often the words of both go back in the sentence, read in the order of the claim.

    Moving one part of a sentence gives one such place, exchanging two parts around a third two.
    """
    here, there = Counter(claim), Counter(sentence)
    once = {word: place for place, word in enumerate(sentence) if there[word] == 1}
    places = [once[word] for word in claim if word in once and here[word] == 1]
    return sum(after < before for before, after in pairwise(places))

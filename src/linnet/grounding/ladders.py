"""Claims of which it is known by construction how well a passage supports them.

A *ladder* is made of one sentence of a passage: on its highest rung what is faithful (the sentence,
the same in another notation or other words), below what was corrupted in one place, at the bottom
a sentence from elsewhere. A checker must give the higher rung the higher score. The same claims
are what the encoder learns from.

Everything is drawn by a seed; no model has a part in it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from linnet.grounding.languages import LANGUAGES
from linnet.grounding.names import names_of
from linnet.grounding.passage import Passage, Sentence, prepared, sentences_of
from linnet.grounding.rules import check
from linnet.grounding.rungs import (
    CORRUPTED,
    FAITHFUL,
    FEWEST,
    MAKERS,
    MOST,
    TRIES,
    Kind,
    Stock,
    Work,
    shape_of,
)

AROUND = 1500
"""Characters of the passage around it, at most."""


@dataclass(frozen=True)
class Rung:
    """A claim, and what was done to make it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Ladder:
    """A passage, and claims about it from faithful to off-topic."""

    source: str
    """The document that the passage is of."""
    language: str
    passage: str
    sentence: str
    rungs: tuple[Rung, ...]

    def of(self, *kinds: Kind) -> list[Rung]:
        """The rungs of these kinds."""
        return [rung for rung in self.rungs if rung.kind in kinds]


@dataclass(frozen=True)
class Document:
    """A text that ladders are made of."""

    source: str
    text: str


def ladders(
    documents: Sequence[Document], *, count: int, seed: int = 0, each: int = 4
) -> Iterator[Ladder]:
    """Up to ``count`` ladders, at most ``each`` of a document, whose languages have rules."""
    draw = random.Random(seed)
    order = list(documents)
    draw.shuffle(order)
    passages = {}
    stock = Stock()
    for document in order[: max(200, 3 * count)]:
        passage = prepared(document.text[:100_000])
        if passage.language in LANGUAGES:
            passages[document.source] = passage
            _collect(stock, document.source, passage)
    made = 0
    for source, passage in passages.items():
        usable = [sentence for sentence in passage.sentences if _usable(sentence)]
        for sentence in draw.sample(usable, min(each, len(usable))):
            if made == count:
                return
            ladder = _ladder(source, passage, sentence, stock, draw)
            if ladder is not None:
                made += 1
                yield ladder


def _usable(sentence: Sentence) -> bool:
    text = sentence.claim.text
    return (
        FEWEST <= len(sentence.counted) <= MOST
        and text.rstrip("\"'”’»)").endswith((".", "!", "。"))
        and "\n" not in text.strip()
        and text[:1].isupper()
        and len(sentence.content) >= 3
    )


def _collect(stock: Stock, source: str, passage: Passage) -> None:
    for sentence in passage.sentences:
        if _usable(sentence):
            own = stock.sentences.setdefault(passage.language, [])
            own.append((source, sentence.claim.text))
        for token in names_of(sentence):
            if token.key in LANGUAGES[passage.language].function:
                continue
            if token.text not in (shape := stock.names.setdefault(
                (passage.language, shape_of(token.text)), [])) and len(shape) < 5000:  # fmt: skip
                shape.append(token.text)


def _ladder(
    source: str, passage: Passage, sentence: Sentence, stock: Stock, draw: random.Random
) -> Ladder | None:
    start = max(0, sentence.claim.start - AROUND // 2)
    end = min(len(passage.text), sentence.claim.end + AROUND // 2)
    text = _whole_sentences(passage, start, end)
    around = prepared(text, passage.language)
    work = Work(sentence, around, source, stock, draw)
    rungs = [Rung("verbatim", sentence.claim.text)]
    rungs += [rung for kind in MAKERS if (rung := _rung(kind, work)) is not None]
    reworded = next((rung.text for rung in rungs if rung.kind == "paraphrase"), None)
    if reworded is not None and (own := next(sentences_of(reworded, passage.language), None)):
        again = Work(own, around, source, stock, draw)
        rungs += [rung for kind in CORRUPTED if (rung := _rung(kind, again)) is not None]
    if not any(rung.kind == "off_topic" for rung in rungs):
        return None
    return Ladder(source, passage.language, text, sentence.claim.text, tuple(rungs))


def _rung(kind: Kind, work: Work) -> Rung | None:
    """A claim of this kind that differs from the sentence; None where there is none."""
    for _ in range(TRIES):
        found = MAKERS[kind](work)
        if found is None:
            return None
        if found != work.text:
            return Rung(kind, found)
    return None


def _whole_sentences(passage: Passage, start: int, end: int) -> str:
    own = [s.claim for s in passage.sentences if start <= s.claim.start and s.claim.end <= end]
    return passage.text[own[0].start : own[-1].end] if own else passage.text[start:end]


# -- what is learnt from --------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A claim, the passage it is about, and whether that supports it."""

    claim: str
    passage: str
    supported: bool
    kind: Kind
    source: str


SHARES: dict[Kind, float] = {"verbatim": 0.3, "off_topic": 0.3}
"""How often a rung becomes a pair, where that is not always: these are told without an encoder."""


def pairs(documents: Sequence[Document], *, count: int, seed: int = 0) -> list[Pair]:
    """Up to ``count`` pairs, as many supported as not, in which the rules find no mistake.

    Half of the corruptions are made of a paraphrase, so that it takes more to tell them than to
    see that words differ.
    """
    draw = random.Random(seed)
    found: dict[bool, list[Pair]] = {True: [], False: []}
    used: Counter[Kind] = Counter()
    wanted = (count + 1) // 2
    each = max(4, 2 * wanted // max(1, len(documents)))
    for ladder in ladders(documents, count=count, seed=seed, each=each):
        if all(len(own) >= wanted for own in found.values()):
            break
        made = [
            Pair(rung.text, ladder.passage, rung.kind in FAITHFUL, rung.kind, ladder.source)
            for rung in ladder.rungs
            if draw.random() < SHARES.get(rung.kind, 1.0)
        ]
        draw.shuffle(made)
        made.sort(key=lambda pair: used[pair.kind])  # what is rare first
        for supported, own in found.items():
            fitting = [pair for pair in made if pair.supported == supported and _accepted(pair)]
            chosen = fitting[: min(3, wanted - len(own))]
            used.update(pair.kind for pair in chosen)
            own += chosen
    least = min(len(own) for own in found.values())
    both = found[True][:least] + found[False][:least]
    draw.shuffle(both)
    return both


def _accepted(pair: Pair) -> bool:
    """Whether no rule says the opposite."""
    status = check(pair.claim, pair.passage).status
    return status in ("supported", "undecided") if pair.supported else status != "supported"

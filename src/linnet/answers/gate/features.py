"""What a gate looks at: numbers by name, of what was found for a question and what was drafted.

Each is such that more of it speaks for the answer, or would if nothing else changed, and a gate
may use it that way only. What a part of the assistant gives that is not there (a dense index, a
re-ranker, a model that writes) is NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from linnet.answers.cases import Span, spans_of_passage
from linnet.answers.evidence import Draft, Evidence
from linnet.answers.gate.reference import Reference, terms_of
from linnet.answers.languages import LANGUAGES
from linnet.answers.ranking import wanted
from linnet.answers.understanding import expected
from linnet.retrieval import Found, Passage, terms

NEAREST = 5
"""Passages that are looked at as what was found."""
RAREST = 3
"""Terms of a question that are looked at by themselves."""
_NAME = re.compile(r"\w*[A-Z\d]\w*(?:[.,:/-]\w+)*")
NONE = math.nan


class Observed:
    """A question, what was found for it and what was drafted, as features see it."""

    def __init__(self, evidence: Evidence, draft: Draft, reference: Reference) -> None:
        self.evidence, self.draft, self.reference = evidence, draft, reference

    @cached_property
    def found(self) -> tuple[Found, ...]:
        """What was found, the best first."""
        return self.evidence.passages[:NEAREST]

    @cached_property
    def cited(self) -> Found | None:
        """The passage that the draft cites first, or the best where it cites none."""
        for citation in self.draft.citations[:1]:
            wanted = Span(citation.source, citation.start, citation.end)
            for one in self.evidence.passages:
                if any(wanted.overlaps(place) for place in spans_of_passage(one.passage)):
                    return one
        return self.found[0] if self.found else None

    @cached_property
    def language(self) -> str:
        """Whose stemmer is used on the question."""
        return self.cited.passage.language if self.cited else self.evidence.question.language

    @cached_property
    def kinds(self) -> set[str]:
        """What kinds of answers its parts expect."""
        question = self.evidence.question
        return {expected(part) for part in question.each or (question,)}

    @cached_property
    def length(self) -> int:
        """Of the question, in terms."""
        return len(terms(self.evidence.question.alone, self.language))

    @cached_property
    def terms(self) -> list[str]:
        """Of the question those that say what it is about."""
        return wanted(self.evidence.question.alone, LANGUAGES.get(self.language))

    @cached_property
    def weights(self) -> dict[str, float]:
        """How much each term of the question tells."""
        return {term: self.reference.weight(term) for term in self.terms}

    def covered(self, by: Iterable[str], among: Iterable[str] | None = None) -> float:
        """Which share of what the question's terms (``among`` these) tell is in others."""
        own = self.weights if among is None else {t: self.weights[t] for t in among}
        whole = sum(own.values())
        if not whole:
            return 1.0
        having = set(by)
        return sum(weight for term, weight in own.items() if term in having) / whole

    @cached_property
    def cited_terms(self) -> frozenset[str]:
        """Of the passage that is cited, with title and headings."""
        return frozenset(terms_of(self.cited.passage)) if self.cited else frozenset()

    @cached_property
    def title_terms(self) -> frozenset[str]:
        """Of the title and headings of the passage that is cited."""
        if self.cited is None:
            return frozenset()
        passage = self.cited.passage
        return frozenset(terms("\n".join((passage.title, *passage.headings)), passage.language))

    def scores(self, name: str) -> list[tuple[float, Found]]:
        """Those of one way of searching, the best first."""
        own = [(one.scores[name], one) for one in self.evidence.passages if name in one.scores]
        return sorted(own, key=lambda each: -each[0])


def _level(name: str) -> Callable[[Observed], float]:
    def value(seen: Observed) -> float:
        levels, scores = seen.reference.levels.get(name), seen.scores(name)
        if levels is None:
            return NONE
        return levels.above(scores[0][0], seen.length) if scores else 0.0

    return value


def _margin(name: str) -> Callable[[Observed], float]:
    """By how much the best is above the best of other documents, as a share of it."""

    def value(seen: Observed) -> float:
        if name not in seen.reference.levels:
            return NONE
        scores = seen.scores(name)
        if not scores:
            return 0.0
        best, one = scores[0]
        others = [s for s, other in scores if not _same_document(one.passage, other.passage)]
        if not others:
            return 1.0
        return (best - others[0]) / max(abs(best), 1e-9)

    return value


def _same_document(one: Passage, other: Passage) -> bool:
    return one.place.source == other.place.source


def _reranked(seen: Observed) -> float:
    scores = seen.scores("rerank")
    if not scores:
        return 0.0 if "rerank" in seen.reference.levels else NONE
    if seen.cited is not None and "rerank" in seen.cited.scores:
        return seen.cited.scores["rerank"]
    return scores[0][0]


def _agreement(seen: Observed) -> float:
    """How far up the cited passage is in each list, as the mean of 1 / rank."""
    ways = [name for name in ("lexical", "dense") if name in seen.reference.levels]
    if len(ways) < 2:
        return NONE
    ranks = []
    for name in ways:
        own = [one for _, one in seen.scores(name)]
        ranks.append(1 / (own.index(seen.cited) + 1) if seen.cited in own else 0.0)
    return sum(ranks) / len(ranks)


def _rarest_covered(seen: Observed) -> float:
    rare = sorted(seen.weights, key=lambda term: (-seen.weights[term], term))[:RAREST]
    return seen.covered(seen.cited_terms, rare)


def _names_covered(seen: Observed) -> float:
    """The first word has a capital whatever it is."""
    words = _NAME.findall(seen.evidence.question.alone.strip()[1:])
    names = set(terms(" ".join(words), seen.language)) & seen.weights.keys()
    return seen.covered(seen.cited_terms, names)


def _found_covered(seen: Observed) -> float:
    return seen.covered({term for one in seen.found for term in terms_of(one.passage)})


def _title_asked(seen: Observed) -> float:
    """Which share of what the title tells is in the question."""
    if not seen.title_terms:
        return 0.0
    weights = {term: seen.reference.weight(term) for term in seen.title_terms}
    asked = set(seen.terms)
    return sum(w for t, w in weights.items() if t in asked) / max(sum(weights.values()), 1e-9)


def _rest_covered(seen: Observed) -> float:
    """Of what is asked beyond the title, which share is in the text that is cited."""
    rest = [term for term in seen.weights if term not in seen.title_terms]
    return seen.covered(terms(_cited_text(seen), seen.language), rest)


def _cited_text(seen: Observed) -> str:
    return "\n".join(citation.text for citation in seen.draft.citations)


def _first(seen: Observed) -> float:
    """1 / rank of the cited passage."""
    if seen.cited is None or not seen.draft.citations:
        return 0.0
    return 1 / (seen.evidence.passages.index(seen.cited) + 1)


def _concentration(seen: Observed) -> float:
    """Which share of what was found is of the cited passage's title or document."""
    if seen.cited is None:
        return 0.0
    own = seen.cited.passage
    same = [
        one
        for one in seen.found
        if _same_document(own, one.passage) or (own.title and own.title == one.passage.title)
    ]
    return len(same) / len(seen.found)


def _known(seen: Observed) -> float:
    """Which share of what the question tells is in words that the index has."""
    return seen.covered(term for term in seen.weights if seen.reference.frequency(term))


def _support(seen: Observed) -> float:
    """Of the claim that is supported least; what is not claimed in own words is a quote."""
    if seen.draft.claims:
        return min(claim.score for claim in seen.draft.claims)
    return 1.0 if seen.draft.text else 0.0


def _measured(name: str, sign: int = 1) -> Callable[[Observed], float]:
    def value(seen: Observed) -> float:
        found = seen.draft.measures.get(name)
        return NONE if found is None else sign * found

    return value


def _not_missing(seen: Observed) -> float:
    return -seen.draft.measures.get("missing", 0.0)


def _parts_answered(seen: Observed) -> float:
    parts = len(seen.evidence.each)
    return seen.draft.measures.get("answered", 0.0) / parts if parts else 1.0


def _asks(*kinds: str) -> Callable[[Observed], float]:
    """Whether every part of a question is of one of these kinds: some are harder than others, and
    which is up to the documents."""

    def value(seen: Observed) -> float:
        return float(seen.kinds <= set(kinds))

    return value


@dataclass(frozen=True)
class Feature:
    """One number; more of it speaks for the answer."""

    name: str
    about: str
    value: Callable[[Observed], float]


FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        Feature("lexical_level", "best lexical score, above random questions", _level("lexical")),
        Feature("dense_level", "best dense score, above random questions", _level("dense")),
        Feature("lexical_margin", "lexical lead over other documents", _margin("lexical")),
        Feature("dense_margin", "dense lead over other documents", _margin("dense")),
        Feature("reranked", "the re-ranker's probability", _reranked),
        Feature("rerank_margin", "its lead over other documents", _margin("rerank")),
        Feature("agreement", "lexical and dense search agree", _agreement),
        Feature("words_covered", "the question's words are in the passage",
                lambda seen: seen.covered(seen.cited_terms)),
        Feature("rarest_covered", "its rarest words are in the passage", _rarest_covered),
        Feature("names_covered", "its names and numbers are in the passage", _names_covered),
        Feature("found_covered", "its words are in what was found", _found_covered),
        Feature("title_asked", "the question is about the title", _title_asked),
        Feature("rest_covered", "what else it asks is in what is cited", _rest_covered),
        Feature("known", "the documents use its words", _known),
        Feature("first", "what is cited was found first", _first),
        Feature("concentration", "what was found is of one document", _concentration),
        Feature("sentence_covered", "its words are in the sentence and what it stands under",
                _measured("coverage")),
        Feature("sentence_score", "how well the sentence fits", _measured("score")),
        Feature("sentence_margin", "its lead over other sentences", _measured("margin")),
        Feature("sentence_form", "it is such as answers such questions", _measured("form")),
        Feature("sentence_read", "the re-ranker's probability of the sentence",
                _measured("likely")),
        Feature("nothing_missing", "no name or number of the question is missing", _not_missing),
        Feature("parts_answered", "every part of the question has an answer", _parts_answered),
        Feature("asks_definition", "it asks what something is", _asks("definition")),
        Feature("asks_reason", "it asks why", _asks("reason")),
        Feature("asks_frequency", "it asks how common something is", _asks("frequency")),
        Feature("asks_more", "it asks for something else",
                _asks("person", "time", "place", "amount", "steps", "list", "")),
        Feature("support", "what is cited supports the draft", _support),
        Feature("stated", "how much of what was written is supported",
                _measured("statements_supported")),
        Feature("quoted", "quotations support what was written", _measured("quote_support")),
        Feature("certainty", "the model was sure of its words", _measured("entropy", -1)),
        Feature("least_certainty", "even where it was least sure",
                _measured("highest_entropy", -1)),
    )
}  # fmt: skip
"""By name; a gate that was fitted has some of them."""


WATCHED = (
    "lexical_level", "dense_level", "reranked", "lexical_margin", "words_covered", "found_covered",
    "known",
)  # fmt: skip
"""Those by which it is noticed that questions, or what is found for them, have changed."""


def watched(features: Mapping[str, float]) -> dict[str, float]:
    """Of all features those that are watched, as far as there are any."""
    return {name: own for name in WATCHED if math.isfinite(own := features.get(name, NONE))}


def observe(evidence: Evidence, draft: Draft, reference: Reference) -> dict[str, float]:
    """All features of a draft."""
    seen = Observed(evidence, draft, reference)
    return {name: float(feature.value(seen)) for name, feature in FEATURES.items()}

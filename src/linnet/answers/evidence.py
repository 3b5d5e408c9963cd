"""What lies between a question and its answer; the gate judges by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from linnet.answers.answer import Citation, Claim, Step
from linnet.answers.units import Unit
from linnet.retrieval import Found

MOST_SHOWN = 6_000
"""Characters of all passages together that a model is shown: more makes a small one slower, and no
better."""

Asks = Literal["fact", "list", "count", "summary", "comparison"]


@dataclass(frozen=True)
class Turn:
    """An earlier question of the conversation, and its answer."""

    question: str
    answer: str
    sources: tuple[str, ...] = ()
    """The documents that it cited, where that is known."""


@dataclass(frozen=True)
class Question:
    """A question as it was understood."""

    text: str
    """As it was asked."""
    alone: str
    """As it is understood without the conversation."""
    asks: Asks = "fact"
    parts: tuple[str, ...] = ()
    """The questions that it consists of; itself where it is one."""
    document: str | None = None
    """The document that it is about as a whole."""
    language: str = ""
    sides: tuple[str, ...] = ()
    """What a comparison compares."""
    each: tuple[Question, ...] = ()
    """Its parts as they are understood, where there are several."""
    subject: str = ""
    """What it is about, in its own words."""
    otherwise: Question | None = None
    """What else it may mean. After "When does the lease end?", "and the rent?" may ask for that of
    the lease; and what is told before a question may have nothing to do with its answer."""
    notes: tuple[str, ...] = ()
    """What was changed or left out on the way, in words."""


@dataclass(frozen=True)
class Search:
    """One search, and what it found, the best first."""

    query: str
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Chosen:
    """What an answer consists of, where that is decided while searching: every entry of a list,
    or the sentences of a summary."""

    units: tuple[Unit, ...]
    total: int
    """How many there are; not all may be cited."""
    coverage: float = 1.0
    """The share of the question's words that they match."""


@dataclass(frozen=True)
class Evidence:
    """All that was found for a question. ``passages``: what an answer may rest on, in the order in
    which a writer reads them."""

    question: Question
    searches: tuple[Search, ...]
    passages: tuple[Found, ...]
    steps: tuple[Step, ...] = ()
    chosen: Chosen | None = None
    each: tuple[Evidence, ...] = ()
    """That of each part of a question, where it has several."""


@dataclass(frozen=True)
class Exchange:
    """What a model is asked, and an answer as it would write it: what it can be trained on."""

    system: str = ""
    prompt: str = ""
    """With the passages; empty where it is not known."""
    text: str = ""


@dataclass(frozen=True)
class Draft:
    """An answer before the gate. Without text there is none: the passages do not say.

    ``measures``: what its writer knows of it by name, such as ``entropy`` of the tokens; a gate
    may use them as features.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    claims: tuple[Claim, ...] = ()
    written_by: Literal["passages", "model"] = "passages"
    measures: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    interventions: tuple[str, ...] = ()
    """What a guard changed or withheld, in words."""
    exchange: Exchange = field(default_factory=Exchange)
    """Where a model wrote it."""


@dataclass(frozen=True)
class Judgement:
    """What a gate says of a draft."""

    probability: float
    """That the draft is right."""
    in_scope: float
    """That the documents are about this at all."""
    answer: bool
    """Whether it is good enough to be shown."""
    features: Mapping[str, float] = field(default_factory=dict)
    """Of what it looked at those by which drift is noticed, by name."""

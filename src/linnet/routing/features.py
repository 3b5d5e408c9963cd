"""What a router looks at: of a question, and of a local answer to it, as numbers by name.

Nothing here asks a model or reads a file: it is a matter of a millisecond at most. What cannot be
known of an answer (a model that gives no probabilities of its tokens, an answer that rests on no
documents) is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from linnet.answers import languages
from linnet.data.language import identify
from linnet.respond.conversation import Conversation
from linnet.respond.pieces import Claim, Finish, Outcome, Piece, Refusal, Text

LONGEST = 20_000
"""Characters of a text that are looked at."""
_SURE = 0.8


@dataclass(frozen=True)
class Attempt:
    """A local answer, and what is known of how it came about."""

    question: str
    text: str
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    """Of its tokens, where they were asked for."""
    probability: float | None = None
    """That it is right, as the gate of an index says."""
    in_scope: float | None = None
    """That the documents are about the question at all."""
    supports: tuple[float, ...] = ()
    """Of its claims, how well each is supported by what it cites."""
    refused: bool = False
    cut: bool = False
    """Whether it had to end before it was complete."""

    @classmethod
    def of(cls, conversation: Conversation, pieces: Iterable[Piece]) -> Attempt:
        """What the first choice of an answer tells of itself."""
        text: list[str] = []
        logprobs: list[float] = []
        supports: list[float] = []
        outcome: Outcome | None = None
        refused = cut = False
        for piece in pieces:
            if piece.choice:
                continue
            match piece:
                case Text():
                    text.append(piece.text)
                    logprobs += [score.logprob for score in piece.scores]
                case Claim() if piece.score is not None:
                    supports.append(piece.score)
                case Outcome():
                    outcome = piece
                case Refusal():
                    refused = True
                case Finish():
                    cut = piece.reason == "length"
        return cls(
            question_of(conversation),
            "".join(text),
            tuple(logprobs),
            None if outcome is None else outcome.probability,
            None if outcome is None else outcome.in_scope,
            tuple(supports),
            refused or (outcome is not None and outcome.refused),
            cut,
        )


def question_of(conversation: Conversation) -> str:
    """The last message of the user; empty where there is none."""
    users = (message for message in reversed(conversation.messages) if message.role == "user")
    return next((message.text for message in users), "")


def turns_of(conversation: Conversation) -> Sequence[str]:
    """All messages of the user, in order."""
    return [message.text for message in conversation.messages if message.role == "user"]


ANY = "any"
TASKS = ("code", "mathematics", "translation", "summary", "writing")
"""Kinds of questions that rules know; told by their words, so that some are missed."""

_FORMS: dict[str, re.Pattern[str]] = {
    "code": re.compile(
        r"```|\b(?:def|class|import|function|public static|SELECT\b.*\bFROM|console\.log|#include)"
        r"\b|(?i:\b(?:python|java|javascript|typescript|rust|golang|c\+\+|sql|regex|bash|script|"
        r"function|compile[rs]?|stack ?trace|unit tests?|refactor|debug|funktion|programm\w*|"
        r"fonction|función)\b)|[;{}]\s*\n",
        re.DOTALL,
    ),
    "translation": re.compile(
        r"(?i)\b(?:translat\w+|übersetz\w*|tradui\w+|traduc\w+|перевод\w*|перевед\w*)"
    ),
    "summary": re.compile(
        r"(?i)\b(?:summar\w+|tl;?dr|zusammenfass\w*|fasse?\b.*\bzusammen|résum\w+|resum\w+|"
        r"condense|кратко|резюм\w+)"
    ),
    "mathematics": re.compile(
        r"(?i)\d\s*[-+*/×÷^=]\s*\d|\b(?:calculat\w+|comput\w+|equations?|solve|integral|derivative|"
        r"percent\w*|how (?:many|much)\b.*\d|\d.*\bhow (?:many|much)|berechne\w*|wie ?viele?\b.*\d|"
        r"calcul\w+|combien\b.*\d|cuánt[oa]s?\b.*\d|сколько\b.*\d)",
        re.DOTALL,
    ),
    "writing": re.compile(
        r"(?i)^\W*(?:(?:please|can you|could you|bitte|por favor)\W+)*"
        r"(?:write|draft|compose|rewrite|rephrase|schreibe?|formulier\w*|entwirf|écri\w+|rédig\w+|"
        r"escrib\w+|redact\w+|напиш\w+)\b"
    ),
}


def task_of(text: str) -> str:
    """What kind of thing is asked for; empty where no words tell."""
    sample = text[:LONGEST]
    return next((task for task, form in _FORMS.items() if form.search(sample)), "")


def language_of(text: str) -> str:
    """The language of a question, in two letters; empty where it does not tell."""
    found = languages.language_of(text)
    if found is not None:
        return found.code
    code, probability = identify(text[:LONGEST])
    return code if probability >= _SURE else ""

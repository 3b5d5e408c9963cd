"""A model that writes the answer: statements, each with the quotation that it rests on.

    passages -> packed (``prompting``) -> JSON, quotations forced to be what is shown -> statements
    each statement -> checked against its quotation -> shown; or its quotation in its place; or not

A quotation is a sentence of a document, word for word, and the constraint of the engine lets
nothing else come. A statement is shown only where the check says that its quotation supports it,
and every number, date and name of it occurs there; otherwise the quotation itself is shown, where
it has to do with the question. So whatever a model writes, and whoever it obeys, no sentence goes
out that is not in the documents. Where nothing is left the passages answer without it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from linnet.answers.answer import Citation, Claim, Step
from linnet.answers.evidence import MOST_SHOWN, Draft, Evidence, Exchange
from linnet.answers.instructions import instructions
from linnet.answers.prompting import (
    MOST_STATEMENTS,
    Excerpt,
    Packed,
    constraint,
    messages,
    pack,
    restored,
)  # fmt: skip
from linnet.errors import LinnetError
from linnet.generate.sampling import Sampling
from linnet.grounding import check
from linnet.grounding.languages import LANGUAGES
from linnet.respond.context import CancelledCallError, Context, DeadlineError
from linnet.respond.conversation import Conversation, conversation
from linnet.respond.engine import EngineResponder
from linnet.respond.language_model import LanguageModel
from linnet.respond.pieces import Decision, Failure, Text, TokenScore
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Responder, stream
from linnet.retrieval import Found, terms

if TYPE_CHECKING:
    from linnet.answers.assistant import Watch
    from linnet.grounding import Checker, Verdict

Admit: TypeAlias = Callable[[Sequence[Found]], Sequence[Found]]
MAX_TOKENS = 768
"""Of what a model writes for one answer."""
SECONDS = 120.0
"""After so long the statements that are there are the answer."""

_FRAME_TOKENS = 160  # what the chat template and the words around the passages take, about
_UNKNOWN_CONTEXT = 4096
_CHARACTERS_EACH = 3  # of a token, where nothing counts them
_TOP = 5  # likeliest tokens, by which the entropy is told
_INTERVAL = 0.05
_NO_SCHEMA = (400, 404, 415, 422, 501)


class ModelWriter:
    """Has a model write answers; may be used by several threads at once."""

    def __init__(
        self,
        model: LanguageModel | Responder,
        *,
        name: str = "the model",
        checker: Checker | None = None,
        identity: str = "",
        reasoning: bool = False,
        weakness: str = "",
        strict: bool = False,
        admit: Admit | None = None,
        max_tokens: int = MAX_TOKENS,
        characters: int = MOST_SHOWN,
        seconds: float = SECONDS,
    ) -> None:
        """``checker``: decides where the rules of grounding do not. ``identity``: of the model, by
        its content. ``reasoning``: has the model think before it answers, apart from the answer.
        ``weakness``: why it must not write, by its own measured score. ``strict``: what goes wrong
        with the model is raised where there is no statement yet, as somebody else can write.
        ``admit``: gives those of the passages that the model may be shown; None: all. It raises a
        LinnetError where it may be shown none.
        """
        self.responder = model.responder() if isinstance(model, LanguageModel) else model
        self.name, self.identity = name, identity
        self.checker, self.weakness = checker, weakness
        self.reasoning, self.seconds, self.strict = reasoning, seconds, strict
        self._admit = admit
        self.max_tokens, self.characters = max_tokens, characters
        self._constrained = self.responder.abilities.constraints

    def with_reasoning(self, reasoning: bool) -> ModelWriter:
        """The same, that thinks before it answers, or does not; whatever its score."""
        changed = copy.copy(self)
        changed.reasoning, changed.weakness = reasoning, ""
        return changed

    def close(self) -> None:
        """Free the model, where it is of this machine."""
        if isinstance(self.responder, EngineResponder):
            self.responder.engine.close()

    def draft(
        self, evidence: Evidence, *, watch: Watch | None = None, context: Context | None = None
    ) -> Draft:
        """What it writes from the evidence; without text where nothing of it is supported.

        Raises CancelledCallError where the call is cancelled. Whatever else goes wrong with the
        model is a step of the draft.
        """
        began = time.monotonic()
        if self.weakness:
            return Draft("", steps=(Step("write", self.weakness, 0.0, "nothing"),))
        found = len(evidence.passages)
        evidence = self.admitted(evidence)
        packed = self.pack(evidence)
        guarded = _interventions(packed)
        if withheld := found - len(evidence.passages):
            guarded += (
                f"{self.name} was not shown {withheld} of {found} passages, which stay here",
            )
        if not packed.excerpts:
            step = Step("write", "no passage can be shown to the model", 0.0, "nothing")
            return Draft("", steps=(step,), interventions=guarded)
        writing = _Writing(evidence, packed, self.checker)
        outcome = "done"
        failed = ""
        try:
            entries = self._entries(evidence, packed, writing, context)
            with contextlib.closing(entries):
                for entry in entries:
                    if writing.take(entry) and watch is not None:
                        watch(replace(writing.draft(), interventions=guarded))
                    if writing.repeats:
                        break
        except DeadlineError as error:
            if (context is not None and context.cancelled) or (self.strict and not writing.claims):
                raise
            outcome, failed = "late", f"; {error}"
        except CancelledCallError:
            raise
        except LinnetError as error:
            if self.strict and not writing.claims:
                raise
            outcome, failed = "failed", f"; {error}"
        if not writing.claims and outcome == "done":
            outcome = "nothing"
        said = f"{self.name}: {writing.said()}; {_budget(packed, self.context)}{failed}"
        step = Step("write", said, time.monotonic() - began, outcome)  # type: ignore[arg-type]
        decided = tuple(map(_noted, writing.noted))
        return replace(
            writing.draft(), steps=(step,), interventions=guarded + decided,
            exchange=_exchange(writing),
        )  # fmt: skip

    @property
    def context(self) -> int:
        """The most tokens that passages, question and answer may have."""
        return self.responder.abilities.context or _UNKNOWN_CONTEXT

    def admitted(self, evidence: Evidence) -> Evidence:
        """What of it the model may be shown. Raises LinnetError where that is nothing."""
        if self._admit is None:
            return evidence
        return replace(evidence, passages=tuple(self._admit(evidence.passages)))

    def pack(self, evidence: Evidence) -> Packed:
        """What of the passages the model is shown."""
        question = evidence.question.alone
        answer = min(self.max_tokens, self.context // 2)
        free = self.context - answer - _FRAME_TOKENS - self._count(question)
        return pack(
            question, evidence.passages, self._count, tokens=free, characters=self.characters
        )

    def asked(self, evidence: Evidence, packed: Packed) -> Conversation:
        """How the model is asked."""
        knows = self.responder.abilities.logprobs
        held = None
        if self._constrained:
            held = constraint(
                packed, reasoning=self.reasoning,
                concerns=lambda quote, excerpt: _has_words(evidence, quote, excerpt) is not None,
            )  # fmt: skip
        return conversation(
            messages(evidence.question.alone, packed, reasoning=self.reasoning),
            sampling=Sampling(temperature=0.0, max_tokens=min(self.max_tokens, self.context // 2)),
            constraint=held, logprobs=knows, top_logprobs=_TOP if knows else 0,
        )  # fmt: skip

    def _count(self, text: str) -> int:
        if isinstance(self.responder, EngineResponder):
            return len(self.responder.engine.tokenize(text))
        return len(text) // _CHARACTERS_EACH + 1

    def _entries(
        self,
        evidence: Evidence,
        packed: Packed,
        writing: _Writing,
        context: Context | None,
    ) -> Generator[dict[str, Any]]:
        """What the model writes, an entry whenever one is complete; ``writing`` is told of scores
        and of what was decided on the way."""
        try:
            yield from self._written(evidence, packed, writing, context)
        except RemoteError as error:
            # A server that takes no schema; what it writes freely is checked all the same.
            if not self._constrained or error.status not in _NO_SCHEMA:
                raise
            self._constrained = False
            yield from self._written(evidence, packed, writing, context)

    def _written(
        self,
        evidence: Evidence,
        packed: Packed,
        writing: _Writing,
        context: Context | None,
    ) -> Iterator[dict[str, Any]]:
        asked = self.asked(evidence, packed)
        deadline = time.monotonic() + self.seconds
        text, read = "", 0
        parent = context or Context()
        with parent.part(deadline=deadline, interval=_INTERVAL) as own:
            pieces = stream(self.responder, asked, own)
            try:
                for piece in pieces:
                    if isinstance(piece, Text):
                        text += piece.text
                        writing.scores += piece.scores
                        for entry, end in _entries(text, read):
                            read = end
                            yield entry
                    elif isinstance(piece, Decision | Failure):
                        writing.noted.append(piece)
            finally:
                pieces.close()
                parent.record.add(own.record)


def _exchange(writing: _Writing) -> Exchange:
    """What was asked, and what is shown of the answer, as the model would have written it."""
    asked = messages(writing.evidence.question.alone, writing.packed)
    entries = [
        {"quote": citation.text, "statement": claim.text}
        for citation, claim in zip(writing.citations, writing.claims, strict=True)
    ]
    text = json.dumps({"statements": entries}, ensure_ascii=False)
    return Exchange(asked[0].text, asked[1].text, text)


@dataclass
class _Writing:
    """An answer as far as it is written and checked."""

    evidence: Evidence
    packed: Packed
    checker: Checker | None
    scores: list[TokenScore] = field(default_factory=list)
    noted: list[Decision | Failure] = field(default_factory=list)
    """What was decided, or failed, on the way to the model."""
    text: str = ""
    claims: list[Claim] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    stated: int = 0
    """Statements that their quotations support."""
    quoted: int = 0
    """Quotations that are shown in the place of a statement."""
    dropped: list[str] = field(default_factory=list)
    """Why others are not shown."""
    covered: set[str] = field(default_factory=set)
    coverage: float = 0.0
    """The share of the question's words that the quotations have, or what they stand under."""
    repeats: bool = False
    """Whether it says again what it said; nothing new comes after that."""
    support: list[float] = field(default_factory=list)
    """Of each statement by its quotation."""

    def take(self, entry: dict[str, Any]) -> bool:
        """Check one statement with its quotation; gives whether something is shown for it."""
        quote, statement = entry.get("quote"), entry.get("statement")
        if not (isinstance(quote, str) and isinstance(statement, str) and quote.strip()):
            self.dropped.append("no statement with a quotation")
            return False
        if len(self.claims) >= MOST_STATEMENTS:
            return False
        place = _locate(quote, self.packed.excerpts)
        if place is None:
            self.dropped.append("its quotation is in no passage")
            return False
        excerpt, start, end = place
        citation = _citation(excerpt, start, end)
        if citation in self.citations:
            self.dropped.append("said already")
            self.repeats = True
            return False
        if not self._concerns(citation.text, excerpt):
            self.dropped.append("its quotation has nothing to do with the question")
            return False
        statement = restored(" ".join(statement.split()))
        verdict = self._verdict(statement, citation.text, excerpt)
        self.support.append(verdict.score)
        quoted = " ".join(citation.text.split())
        stands = verdict.status == "supported" and not verdict.missing
        if stands and not instructions(statement):
            self.stated += 1
            self._show(statement, citation, verdict.score)
        else:
            self.quoted += 1
            self._show(quoted, citation, 1.0)
        return True

    def draft(self) -> Draft:
        """What is there."""
        return Draft(
            self.text, tuple(self.citations), tuple(self.claims), "model", self._measures()
        )

    def said(self) -> str:
        """What became of the statements, for people."""
        parts = [f"{len(self.support) + len(self.dropped)} statements"]
        parts += [f"{self.stated} supported"] * bool(self.stated)
        parts += [f"{self.quoted} replaced by the quotation"] * bool(self.quoted)
        reasons = {why: self.dropped.count(why) for why in dict.fromkeys(self.dropped)}
        parts += [f"{count} dropped ({why})" for why, count in reasons.items()]
        return ", ".join(parts)

    def _show(self, text: str, citation: Citation, score: float) -> None:
        start = len(self.text) + bool(self.text)
        self.text = f"{self.text} {text}" if self.text else text
        number = len(self.citations)
        self.citations.append(citation)
        self.claims.append(
            Claim(text, start, start + len(text), (number,), "supported", round(score, 4))
        )

    def _concerns(self, quote: str, excerpt: Excerpt) -> bool:
        """Whether a quotation, or what it stands under, has a word of the question."""
        had = _has_words(self.evidence, quote, excerpt)
        if had is None:
            return False
        self.covered |= had
        wanted = _wanted(self.evidence, excerpt)
        self.coverage = len(self.covered & wanted) / len(wanted) if wanted else 1.0
        return True

    def _verdict(self, statement: str, quote: str, excerpt: Excerpt) -> Verdict:
        cited = [quote, excerpt.above] if excerpt.above else [quote]
        language = excerpt.found.passage.language or None
        if self.checker is not None:
            return self.checker.check([statement], cited, language=language)[0]
        return check(statement, cited, language=language)

    def _measures(self) -> dict[str, float]:
        """What a gate may tell from: how sure the model was of its tokens, and how well quotations
        support what it said."""
        count = len(self.support) + len(self.dropped)
        found = {
            "statements": float(count),
            "statements_shown": float(len(self.claims)),
            "statements_supported": self.stated / count if count else 0.0,
            "coverage": round(self.coverage, 4),
            "quote_support": sum(self.support) / len(self.support) if self.support else 0.0,
        }
        if self.scores:
            logprobs = [max(score.logprob, _LEAST) for score in self.scores]
            entropies = [_entropy(score) for score in self.scores]
            found |= {
                "logprob": sum(logprobs) / len(logprobs),
                "lowest_logprob": min(logprobs),
                "entropy": sum(entropies) / len(entropies),
                "highest_entropy": max(entropies),
            }
        return found


_LEAST = -50.0


def _entropy(score: TokenScore) -> float:
    """In nats, of the likeliest tokens and of all others as one."""
    shares = [math.exp(min(0.0, value)) for _, value in score.top]
    shares.append(max(0.0, 1.0 - sum(shares)))
    return -sum(share * math.log(share) for share in shares if share > 0)


def _language(evidence: Evidence, excerpt: Excerpt) -> str:
    return excerpt.found.passage.language or evidence.question.language


def _wanted(evidence: Evidence, excerpt: Excerpt) -> frozenset[str]:
    """The terms of the question as the passage's language has them."""
    return _content(evidence.question.alone, _language(evidence, excerpt))


def _has_words(evidence: Evidence, quote: str, excerpt: Excerpt) -> frozenset[str] | None:
    """The words of the question that a quotation has, or what it stands under; None where it has
    nothing to do with the question."""
    wanted = _wanted(evidence, excerpt)
    had = wanted & set(terms(f"{excerpt.above}\n{quote}", _language(evidence, excerpt)))
    return had if had or not wanted else None


@lru_cache(maxsize=64)
def _content(question: str, language: str) -> frozenset[str]:
    """The terms of a question that say what it is about."""
    rules = LANGUAGES.get(language or "en")
    function = rules.function if rules is not None else frozenset()
    words = [word for word in terms(question) if word not in function]
    return frozenset(term for word in words for term in terms(word, language))


def _locate(quote: str, excerpts: Sequence[Excerpt]) -> tuple[Excerpt, int, int] | None:
    """Where a quotation stands among what was shown."""
    quote = quote.strip()
    for excerpt in excerpts:
        at = excerpt.text.find(quote)
        if at >= 0:
            return excerpt, at, at + len(quote)
    words = quote.split()  # a model that writes freely does not keep line breaks
    for excerpt in excerpts:
        for start, end in excerpt.sentences:
            if excerpt.text[start:end].split() == words:
                return excerpt, start, end
    return None


def _citation(excerpt: Excerpt, start: int, end: int) -> Citation:
    """Characters of an excerpt as they stand in the document."""
    passage = excerpt.found.passage
    place, first = passage.place, excerpt.start
    text = passage.text[first + start : first + end]
    return Citation(
        place.source, place.start + first + start, place.start + first + end, place.page, text,
        passage.title, place.where,
    )  # fmt: skip


def _entries(text: str, read: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The complete objects behind ``read`` that state something, each with where it ends."""
    at = text.find("{", read)
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):  # not complete, or the object around all
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict) and "quote" in value:
            yield value, end
        elif isinstance(value, dict) and isinstance(value.get("statements"), list):
            yield from ((each, end) for each in value["statements"] if isinstance(each, dict))
        at = text.find("{", end)


_DECODER = json.JSONDecoder()


def _interventions(packed: Packed) -> tuple[str, ...]:
    """What was withheld from the model, in words."""
    return tuple(
        f"{withheld}: a sentence that instructs the model was not shown to it"
        for withheld in dict.fromkeys(packed.withheld)
    )


def _noted(piece: Decision | Failure) -> str:
    """What happened on the way to a model, in words."""
    if isinstance(piece, Failure):
        return piece.text
    return f"{piece.outcome}: {piece.reason}" if piece.reason else piece.outcome


def _budget(packed: Packed, context: int) -> str:
    return f"{packed.passages} passages in {packed.tokens:,} tokens of a context of {context:,}"

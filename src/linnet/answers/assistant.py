"""From a question to an answer: understand, search, draft, judge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from linnet.answers.answer import Answer, Citation, Step
from linnet.answers.evidence import Draft, Evidence, Judgement, Question, Search, Turn
from linnet.respond.context import Context
from linnet.retrieval import Found, Place, Searchable, terms

DO_NOT_KNOW = "I don't know: the documents do not seem to answer this."

Watch: TypeAlias = Callable[[Step | Evidence | Draft], None]
"""Is told of each step when it ends, of what was found, and of a draft whenever it has one more
statement. What it raises ends the work."""


class Gate(Protocol):
    """Says whether a draft is good enough to be shown."""

    def judge(self, evidence: Evidence, draft: Draft) -> Judgement:
        """What it thinks of a draft, from how it came about."""


class Writer(Protocol):
    """Writes an answer from what was found."""

    def draft(
        self, evidence: Evidence, *, watch: Watch | None = None, context: Context | None = None
    ) -> Draft:
        """What it wrote; without text where nothing of it is supported. ``context``: the call that
        it is written for, which may be cancelled."""


class Assistant:
    """Answers questions from an index; may be asked by several threads at once."""

    def __init__(
        self,
        index: Searchable,
        *,
        gate: Gate | None = None,
        writer: Writer | None = None,
        passages: int = 5,
    ) -> None:
        """Without ``writer``, or where nothing that it writes is supported, passages answer."""
        self.index, self.gate, self.writer, self.passages = index, gate, writer, passages

    def ask(
        self,
        question: str,
        turns: Sequence[Turn] = (),
        *,
        id: str = "",
        collections: Sequence[str] | None = None,
        watch: Watch | None = None,
        context: Context | None = None,
    ) -> Answer:
        """The answer, or a refusal, to the last question of a conversation.

        ``context``: the call that it belongs to, for a model that writes.
        """
        watch = watch or _unwatched
        understood = self.understand(question, turns)
        evidence = self.gather(understood, collections=collections)
        for step in evidence.steps:
            watch(step)
        watch(evidence)
        draft = self.draft(evidence, watch=watch, context=context)
        judged = self.gate.judge(evidence, draft) if self.gate is not None else None
        refused = not draft.text or (judged is not None and not judged.answer)
        return Answer(
            id=id or secrets.token_hex(8),
            question=question,
            answer=DO_NOT_KNOW if refused else draft.text,
            refused=refused,
            probability=judged.probability if judged else None,
            in_scope=judged.in_scope if judged else None,
            citations=() if refused else draft.citations,
            claims=() if refused else draft.claims,
            nearest=evidence.passages,
            steps=evidence.steps + draft.steps,
        )

    def understand(self, question: str, turns: Sequence[Turn] = ()) -> Question:
        """The question in the light of the conversation."""
        return Question(question, question, parts=(question,))

    def gather(self, question: Question, *, collections: Sequence[str] | None = None) -> Evidence:
        """What the documents have to say about it."""
        began = time.monotonic()
        found = tuple(self.index.search(question.alone, self.passages, collections=collections))
        step = Step(
            "search", f"{len(found)} passages for '{question.alone}'", time.monotonic() - began,
            "done" if found else "nothing",
        )  # fmt: skip
        return Evidence(question, (Search(question.alone, found),), found, (step,))

    def draft(
        self, evidence: Evidence, *, watch: Watch | None = None, context: Context | None = None
    ) -> Draft:
        """What the writer says, or else the sentences that answer, cited."""
        if not evidence.passages:
            return Draft("")
        steps: tuple[Step, ...] = ()
        if self.writer is not None:
            written = self.writer.draft(evidence, watch=watch, context=context)
            if written.text:
                return written
            steps = written.steps
        citation = _best_sentence(evidence.question.alone, evidence.passages)
        return Draft(citation.text, (citation,), steps=steps)


def _unwatched(event: Step | Evidence | Draft) -> None:
    """Nobody looks on."""


def _best_sentence(question: str, passages: Sequence[Found]) -> Citation:
    """Of the passages the sentence that has most of the question's terms."""
    wanted = set(terms(question))
    best, most = None, -1
    for found in passages:
        passage = found.passage
        start = 0
        for line in passage.text.splitlines(keepends=True):
            shared = len(wanted & set(terms(line)))
            text = line.strip()
            if text and shared > most:
                at = start + line.index(text)
                best, most = cited(passage.place, passage.title, at, at + len(text), text), shared
            start += len(line)
    assert best is not None, "a passage has text"
    return best


def cited(place: Place, title: str, start: int, end: int, text: str) -> Citation:
    """Characters ``start`` to ``end`` of a passage, which is ``text``, as a citation."""
    return Citation(
        place.source, place.start + start, place.start + end, place.page, text, title, place.where
    )

"""From a question to an answer: understand, search, draft, judge."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias

from linnet import artifact
from linnet.answers.answer import Answer, Citation, Step
from linnet.answers.evidence import (
    MOST_SHOWN,
    Draft,
    Evidence,
    Exchange,
    Judgement,
    Question,
    Turn,
)
from linnet.answers.extraction import extract, is_enough, with_missing
from linnet.answers.feedback import Feedback, GivenAnswers, Span
from linnet.answers.gathering import GatherConfig, Gatherer
from linnet.answers.guards import REFUSED, Guards
from linnet.answers.privacy import Screen, surroundings
from linnet.answers.ranking import Reads
from linnet.answers.summaries import SUMMARIES, Summaries
from linnet.answers.understanding import understand
from linnet.errors import ArtifactError
from linnet.examples.prompts import BETWEEN, question_text
from linnet.respond.context import Context, Record
from linnet.retrieval import Index, Place, Searchable
from linnet.retrieval.passages import reranker_of
from linnet.retrieval.terms import words

DO_NOT_KNOW = "I don't know: the documents do not seem to answer this."
NO_DOCUMENTS = "I don't know: there are no documents to answer from."
TOO_LATE = "I don't know: searching the documents took too long."

READING = 0.1
"""Seconds, about, for a re-ranker to read the sentences that may answer."""

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
        guards: Guards | None = None,
        config: GatherConfig | None = None,
        summaries: Summaries | None = None,
    ) -> None:
        """Without ``writer``, or where nothing that it writes is supported, passages answer."""
        self.writer = writer
        self.guards = guards or Guards()
        self.config = config or GatherConfig()
        self.given = GivenAnswers()
        """What was answered to the calls of a server."""
        self._search_in(index, gate, Gatherer(index, self.config, summaries=summaries))

    def _search_in(self, index: Searchable, gate: Gate | None, gatherer: Gatherer) -> None:
        """Answer from these from now on."""
        self.index, self.gate, self._gatherer = index, gate, gatherer

    @classmethod
    def open(
        cls,
        place: Path | str,
        *,
        writer: Writer | None = None,
        guards: Guards | None = None,
        config: GatherConfig | None = None,
        without_gate: Callable[[str], None] | None = None,
    ) -> Assistant:
        """An assistant over what is in the directory of an index: the index, and its gate if there
        is one. ``without_gate``: called with what is wrong where that cannot be read, and the
        assistant has none; an error, where left out.

        Raises ArtifactError where there is no index, DamagedError where something cannot be read.
        """
        index = Index.open(place)
        root = index.path if artifact.within(place, "index") == Path(place) else Path(place)
        from linnet.answers.gate.gate import open_gate

        gate = None
        if artifact.is_artifact(artifact.within(root, "gate")):
            try:
                gate = open_gate(root)
            except ArtifactError as error:
                if without_gate is None:
                    index.close()
                    raise
                without_gate(str(error))
        summaries = Summaries(root / SUMMARIES)
        return cls(
            index, gate=gate, writer=writer, guards=guards, config=config, summaries=summaries
        )

    def ask(
        self,
        question: str,
        turns: Sequence[Turn] = (),
        *,
        id: str = "",
        collections: Sequence[str] | None = None,
        watch: Watch | None = None,
        context: Context | None = None,
        writer: Writer | None = None,
    ) -> Answer:
        """The answer, or a refusal, to the last question of a conversation.

        ``context``: the call that it belongs to, for a model that writes, and with what whoever
        asks may see. ``writer``: who writes this one answer instead of the usual one.
        """
        id = id or secrets.token_hex(8)
        if unsafe := self.guards.refuses(question):
            return _refused(id, question, REFUSED, unsafe)
        screen = Screen(
            masks_private=context is not None and context.masks_private,
            masks_names=context is not None and context.masks_names,
            around=surroundings(self.index),
        )
        watch = _screened(watch, screen)
        began = time.monotonic()
        evidence = self.find(question, turns, collections=collections, context=context)
        searched = time.monotonic() - began
        nearest = screen.found(evidence.passages)
        for step in evidence.steps:
            watch(step)
        watch(evidence)
        draft = self.draft(evidence, watch=watch, context=context, writer=writer)
        judged = self.gate.judge(evidence, draft) if self.gate is not None else None
        refused = not is_good_enough(draft, judged)
        shown = screen.draft(draft)
        if not refused and (unsafe := self.guards.withholds(shown.text)):
            return _refused(id, question, REFUSED, unsafe)
        if context is not None:
            cited = tuple(Span(each.source, each.start, each.end) for each in draft.citations)
            exchange = Exchange() if refused else _exchange(evidence, draft)
            self.given.add(Feedback(
                id, question, False, refused, judged.probability if judged else None,
                () if refused else cited, context.key or "",
                system=exchange.system, prompt=exchange.prompt, text=exchange.text,
            ))  # fmt: skip
            _note(context.record, evidence, draft, judged, refused=refused, seconds=searched)
        return Answer(
            id=id,
            question=question,
            answer=self._refusal(evidence) if refused else shown.text,
            refused=refused,
            probability=judged.probability if judged else None,
            in_scope=judged.in_scope if judged else None,
            citations=() if refused else shown.citations,
            claims=() if refused else shown.claims,
            nearest=nearest,
            steps=(*map(screen.step, evidence.steps), *shown.steps),
            written_by=draft.written_by,
            interventions=shown.interventions + screen.interventions,
        )

    def _refusal(self, evidence: Evidence) -> str:
        """Why nothing is answered, in words."""
        if not evidence.passages and not len(self.index):
            return NO_DOCUMENTS
        late = not evidence.passages and any(step.outcome == "late" for step in evidence.steps)
        return TOO_LATE if late else DO_NOT_KNOW

    def understand(
        self,
        question: str,
        turns: Sequence[Turn] = (),
        *,
        collections: Sequence[str] | None = None,
    ) -> Question:
        """The question in the light of the conversation."""
        titles = functools.partial(self._titles, collections) if turns else None
        understood = understand(question, turns, titles=titles)
        if understood.each:
            return replace(understood, each=tuple(
                self._about(part, turns, collections) for part in understood.each
            ))  # fmt: skip
        return self._about(understood, turns, collections)

    def _titles(self, collections: Sequence[str] | None, query: str) -> list[str]:
        found = self.index.search(query, self.config.passages, collections=collections)
        return [title for each in found for title in (each.passage.title, *each.passage.headings)]

    def _about(
        self, question: Question, turns: Sequence[Turn], collections: Sequence[str] | None
    ) -> Question:
        """With the document that is to be summarised; a fact is asked for where there is none."""
        if question.asks != "summary":
            return question
        source = self._gatherer.document(question, turns, collections)
        if source is None:
            return replace(question, asks="fact", document=None)
        return replace(question, document=source)

    def find(
        self,
        question: str,
        turns: Sequence[Turn] = (),
        *,
        collections: Sequence[str] | None = None,
        context: Context | None = None,
    ) -> Evidence:
        """What the documents have to say to the last question of a conversation. It is looked for
        once in a call (``context``), whoever writes of it."""
        seen = None if collections is None else tuple(collections)
        key = (self._gatherer, question, tuple(turns), seen)
        known = context.found.get(key) if context is not None else None
        if isinstance(known, Evidence):
            return known
        understood = self.understand(question, turns, collections=collections)
        evidence = self.gather(understood, collections=collections)
        if understood.otherwise is not None and (coverage := _coverage(evidence)) < 1:
            other = replace(understood.otherwise, text=question)
            found = self.gather(other, collections=collections)
            evidence = found if _coverage(found) > coverage else evidence
        if context is not None:
            context.found[key] = evidence
        return evidence

    def gather(self, question: Question, *, collections: Sequence[str] | None = None) -> Evidence:
        """What the documents have to say about it."""
        return self._gatherer.gather(question, collections=collections)

    def draft(
        self,
        evidence: Evidence,
        *,
        watch: Watch | None = None,
        context: Context | None = None,
        writer: Writer | None = None,
    ) -> Draft:
        """What the writer says, or else the sentences that answer, cited.

        Entries of a list are not left to a writer: all of them are shown, as they are.
        """
        if not evidence.passages:
            return Draft("")
        written = Draft("")
        writer = writer or self.writer
        if writer is not None and evidence.chosen is None:
            written = writer.draft(evidence, watch=watch, context=context)
            if written.text:
                return with_missing(written, evidence)
        found = extract(evidence, self._reads())
        return replace(
            found, steps=(*written.steps, *found.steps), interventions=written.interventions
        )

    def _reads(self) -> Reads | None:
        """What reads the sentences that may answer, where the index has a re-ranker."""
        reranker = reranker_of(self.index)
        if reranker is None:
            return None
        return functools.partial(reranker.score, budget=READING)


def _coverage(evidence: Evidence) -> float:
    """The share of the question's words that the passages have where they answer; 0 where not."""
    draft = extract(evidence)
    if not is_enough(draft):
        return 0.0
    return draft.measures.get("coverage", 1.0)


def _exchange(evidence: Evidence, draft: Draft) -> Exchange:
    """The exchange that an answer is: a model's own, or else a question about what is cited.

    Without a prompt where that is more than a model is shown.
    """
    if draft.written_by == "model":
        return draft.exchange
    cited = [
        found.passage.text
        for found in evidence.passages
        if any(_holds(found.passage.place, each) for each in draft.citations)
    ]
    passages = BETWEEN.join(cited)
    if not cited or len(passages) > MOST_SHOWN:
        return Exchange(text=draft.text)
    return Exchange("", question_text(evidence.question.alone, passages), draft.text)


def _holds(place: Place, citation: Citation) -> bool:
    return (
        place.source == citation.source
        and place.start <= citation.start
        and citation.end <= place.end
    )


def _note(
    record: Record,
    evidence: Evidence,
    draft: Draft,
    judged: Judgement | None,
    *,
    refused: bool,
    seconds: float,
) -> None:
    """What is to be known of a call later: numbers, nothing of what was asked or found."""
    record.retrieval_seconds += seconds
    record.features["words"] = float(len(words(evidence.question.text)))
    if evidence.passages:
        record.features["score"] = float(evidence.passages[0].score)
    if judged is not None:
        record.features.update(judged.features)
    if not refused:
        record.groundedness = _grounded(draft)


def _grounded(draft: Draft) -> float:
    """Which share of a draft is supported; what is quoted is."""
    if "statements_supported" in draft.measures:
        return draft.measures["statements_supported"]
    if draft.claims:
        return sum(claim.support == "supported" for claim in draft.claims) / len(draft.claims)
    return 1.0


def _refused(id: str, question: str, words: str, unsafe: str) -> Answer:
    """The refusal of what no document is searched for, or may not go out."""
    step = Step("guard", unsafe, outcome="nothing")
    return Answer(
        id=id, question=question, answer=words, refused=True, probability=None, in_scope=None,
        steps=(step,), interventions=(f"refused: {unsafe}",),
    )  # fmt: skip


def is_good_enough(draft: Draft, judged: Judgement | None) -> bool:
    """Whether a draft is shown: by the gate, or where there is none by what it has of the
    question."""
    if draft.text and judged is not None:
        return judged.answer
    return is_enough(draft)


def _screened(watch: Watch | None, screen: Screen) -> Watch:
    """Whoever looks on sees what they may see; nothing where nobody does."""

    def screened(event: Step | Evidence | Draft) -> None:
        if watch is None:
            return
        if isinstance(event, Evidence):
            event = screen.evidence(event)
        elif isinstance(event, Draft):
            event = screen.draft(event)
        else:
            event = screen.step(event)
        watch(event)

    return screened

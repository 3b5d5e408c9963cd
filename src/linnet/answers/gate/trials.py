"""Questions put to an assistant, with what it found and drafted as features, and what came of it.

A question that the documents answer may be put a second time with what answers it withheld: the
assistant must then find nothing, and whatever it drafts is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from linnet.answers.answer import Citation
from linnet.answers.cases import Case, Span, Without, is_right, says_it, spans_of
from linnet.answers.evidence import Draft, Evidence, Question, Turn
from linnet.answers.feedback import Feedback
from linnet.answers.gate.features import observe
from linnet.answers.gate.gate import is_of_many
from linnet.answers.gate.reference import Reference
from linnet.progress import SILENT, Progress
from linnet.retrieval import Searchable

_LONGEST_SHOWN = 500  # characters of what was cited

Part = Literal["learn", "calibrate"]


class Drafting(Protocol):
    """The part of an assistant that comes before the gate."""

    def understand(self, question: str, turns: Sequence[Turn] = ()) -> Question:
        """The question in the light of the conversation."""

    def gather(self, question: Question) -> Evidence:
        """What the documents have to say about it."""

    def draft(self, evidence: Evidence) -> Draft:
        """An answer, cited."""


Over = Callable[[Searchable], Drafting]
"""An assistant over something that is searched."""


@dataclass
class Trial:
    """One question that was put to the assistant, and what came of it."""

    id: str
    kind: str
    origin: str
    document: str
    question: str
    right: bool
    part: Part
    features: Mapping[str, float] = field(repr=False)
    expected: str = ""
    cited: str = ""
    source: str = ""
    """The document that was cited first."""
    probability: float = 0.0
    in_scope: float = 0.0

    @property
    def answerable(self) -> bool:
        """Whether the documents answer it, as far as is known."""
        return self.kind == "answerable" or (self.kind == "rated" and self.right)

    def to_json(self) -> dict[str, Any]:
        """As a line of the file of trials."""
        return {**vars(self), "features": dict(self.features)}


@dataclass
class Asked:
    """What came of many questions."""

    trials: list[Trial] = field(default_factory=list)
    undecided: int = 0
    """Withheld ones whose expected value was cited from elsewhere, and rated ones that are answered
    otherwise by now: nobody knows whether they are right."""
    of_many: int = 0
    """Those that were taken as asking for a list, a number or a summary."""


def put(
    over: Over,
    index: Searchable,
    cases: Iterable[tuple[Case, Part]],
    reference: Reference,
    *,
    total: int | None = None,
    progress: Progress = SILENT,
) -> Asked:
    """Put questions to an assistant."""
    asked, whole = Asked(), over(index)
    with progress.task("questions to the index", total=total, unit="questions") as task:
        for case, part in cases:
            own = over(Without(index, case.missing)) if case.missing else whole
            evidence, draft = drafted(own, case.question, case.turns)
            if is_of_many(evidence):
                asked.of_many += 1
            elif case.missing and says_it(case, draft.citations):
                asked.undecided += 1
            else:
                trial = Trial(
                    case.id, case.kind, case.origin, case.document, case.question,
                    is_right(case, draft.citations, evidence.passages), part,
                    observe(evidence, draft, reference),
                    expected=" | ".join(each[0] for each in case.answers if each)[:_LONGEST_SHOWN],
                )  # fmt: skip
                asked.trials.append(_with_citation(trial, draft.citations))
            task.advance()
    return asked


def put_rated(
    over: Over, index: Searchable, rated: Iterable[Feedback], reference: Reference
) -> Asked:
    """Put those questions again whose answers people rated."""
    asked, whole = Asked(), over(index)
    # The last verdict on an answer, of each person who rated it.
    latest = {(given.answer, given.by): given for given in rated if not given.refused}
    for number, given in enumerate(latest.values(), 1):
        evidence, draft = drafted(whole, given.question)
        if is_of_many(evidence):
            asked.of_many += 1
            continue
        cited = [
            span for citation in draft.citations for span in spans_of(citation, evidence.passages)
        ]
        right = verdict_on(given, cited)
        if right is None:
            asked.undecided += 1
            continue
        trial = Trial(
            f"feedback-{number}", "rated", "feedback", given.question, given.question, right,
            "calibrate", observe(evidence, draft, reference),
        )  # fmt: skip
        asked.trials.append(_with_citation(trial, draft.citations))
    return asked


def verdict_on(given: Feedback, cited: Sequence[Span]) -> bool | None:
    """Whether an answer that cites these is right, as far as the verdict tells; None if not.

    What cites the same place as what was good is right; what cites nothing but what was bad is
    wrong.
    """
    own = [Span(each.source, each.start, each.end) for each in given.citations]
    shared = [span for span in cited if any(span.overlaps(other) for other in own)]
    if given.good:
        return True if shared else None
    return False if cited and len(shared) == len(cited) else None


def drafted(
    assistant: Drafting, question: str, turns: Sequence[Turn] = ()
) -> tuple[Evidence, Draft]:
    """All that comes before the gate."""
    evidence = assistant.gather(assistant.understand(question, turns))
    return evidence, assistant.draft(evidence)


def part_of(document: str, share: float, seed: int) -> Part:
    """Which part the questions of a document are in: ``share`` of the documents is learned from."""
    return "learn" if place_of(document, seed) < share else "calibrate"


def place_of(text: str, seed: int) -> float:
    """A number from 0 to 1 that depends on a text and the seed alone."""
    digest = hashlib.blake2b(f"{seed}\0{text}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def with_withheld(
    cases: Iterable[tuple[Case, Part]], share: float, seed: int
) -> Iterator[tuple[Case, Part]]:
    """The same, and ``share`` of the answerable ones to learn from once more, withheld."""
    for case, part in cases:
        yield case, part
        if part == "learn" and case.answerable and place_of(f"{case.id} withheld", seed) < share:
            yield case.withheld(), part


def _with_citation(trial: Trial, citations: Sequence[Citation]) -> Trial:
    trial.cited = "\n".join(citation.text for citation in citations)[:_LONGEST_SHOWN]
    trial.source = citations[0].source if citations else ""
    return trial

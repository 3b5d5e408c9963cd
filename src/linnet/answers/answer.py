"""What comes out: an answer with its citations, or a refusal with what was nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from linnet.config import to_mapping
from linnet.retrieval import Found

Support: TypeAlias = Literal["supported", "unsupported", "contradicted"]


@dataclass(frozen=True)
class Citation:
    """A stretch of a document that an answer rests on: exactly its stored text from ``start`` to
    ``end``, in characters."""

    source: str
    start: int
    end: int
    page: int | None
    text: str
    title: str = ""
    where: str = ""
    """The place in the file, in the format's own words."""


@dataclass(frozen=True)
class Claim:
    """One statement of an answer: characters ``start`` to ``end`` of it, the citations (by
    number, from 0) that it rests on, and what the checker says of it."""

    text: str
    start: int
    end: int
    citations: tuple[int, ...]
    support: Support
    score: float


@dataclass(frozen=True)
class Step:
    """One thing that was tried on the way: ``search``, ``rerank``, ``write``, ``check``, ``guard``
    and the like; ``text`` is for people."""

    name: str
    text: str
    seconds: float = 0.0
    outcome: Literal["done", "nothing", "late", "failed"] = "done"


@dataclass(frozen=True)
class Answer:
    """An answer, or the refusal to give one."""

    id: str
    question: str
    answer: str
    refused: bool
    probability: float | None
    """That the answer is right, also where it is refused; None where no gate was fitted."""
    in_scope: float | None
    """The probability that the documents are about this at all; None where no gate was fitted."""
    citations: tuple[Citation, ...] = ()
    claims: tuple[Claim, ...] = ()
    nearest: tuple[Found, ...] = ()
    """What was found for it, the best first."""
    steps: tuple[Step, ...] = ()
    written_by: Literal["passages", "model"] = "passages"
    interventions: tuple[str, ...] = ()
    """What a guard changed or withheld, in words."""

    def to_json(self) -> dict[str, Any]:
        """As ``linnet ask --json`` writes it."""
        return {
            "id": self.id, "answer": self.answer, "refused": self.refused,
            "probability": self.probability, "in_scope": self.in_scope,
            "citations": [to_mapping(citation) for citation in self.citations],
            "claims": [to_mapping(claim) for claim in self.claims],
            "passages": [found.to_json() for found in self.nearest],
            "steps": [to_mapping(step) for step in self.steps],
            "written_by": self.written_by, "interventions": list(self.interventions),
        }  # fmt: skip

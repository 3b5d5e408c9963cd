"""Groundedness: whether what a model answers with a passage before it is in that passage.

The file of the task holds questions with their passages, which the model answers; or answers that
were given already: rows with ``response`` and ``passage`` (with ``supported``, true or false, where
people judged them), or HaluEval's rows (arXiv:2305.11747) with ``knowledge``, ``right_answer`` and
``hallucinated_answer``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from linnet.errors import DataError
from linnet.evaluate.questions import ASKED, Question, questions_of
from linnet.evaluate.refusals import is_refusal
from linnet.evaluate.rows import Row, read_rows
from linnet.evaluate.task import Answer, Example, Prompt, Task
from linnet.evaluate.tasks.questions import answer_sampling, dialogue_of
from linnet.generate.engine import Completion
from linnet.grounding import Checker, Verdict, check, claims
from linnet.grounding.rules import LONGEST_CLAIM

PASSAGES = ("passage", "context", "knowledge", "evidence")


@dataclass(frozen=True)
class Given:
    """An answer that was given already."""

    question: str
    passage: str
    answer: str
    faithful: bool | None
    """What people said of it."""
    language: str = "en"


class Groundedness(Task):
    """The claims of answers, each checked against the passage."""

    name = "groundedness"
    about = "checking answers against their passages"
    metrics = (
        "claims_supported", "answers_supported", "claims_contradicted", "claims_undecided",
        "numbers_made_up", "names_made_up", "support", "refused", "auroc_of_support",
    )  # fmt: skip
    needs = ("place",)

    @cached_property
    def checker(self) -> Checker | None:
        """The encoder for what the rules leave open, where one is named."""
        place = self.run.config.checker
        return Checker.open(Path(place)) if place else None

    def require(self) -> None:
        """Also refuse a checker that is none."""
        super().require()
        assert self.checker is None or self.checker.model

    def examples(self) -> Iterator[Example]:
        """Questions with a passage, or the answers of the file."""
        assert self.place is not None
        given = given_answers(self.place)
        self.facts["checker"] = "rules" if self.checker is None else "rules and encoder"
        self.facts["answers"] = "the model's" if given is None else "of the file"
        if given is not None:
            yield from (Example(name, own) for name, own in given)
            return
        found = [
            each
            for each in questions_of(self.run, self.place)
            if each.passage is not None and each.kind in ASKED
        ]
        if not found:
            raise DataError(
                f"{self.place}: expected questions with a passage to answer from, but there is none"
            )
        for each in found:
            yield Example(each.id, each)

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The question, with its passage in sight; none for an answer that was given."""
        if isinstance(example.data, Given):
            return []
        question: Question = example.data
        dialogue = dialogue_of(self.run, question, passage=question.passage)
        return [dialogue.request(self.run.engine, answer_sampling(self.run))]

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """How much of the answer the passage supports."""
        text, passage, language = self._answer(example, answers)
        if not text:
            raise DataError("the answer is empty: there is nothing to check")
        if len(text) > LONGEST_CLAIM:
            raise DataError(
                f"the answer has {len(text):,} characters; at most {LONGEST_CLAIM:,} are checked"
            )
        if is_refusal(text, language):
            return {"refused": 1.0}
        verdicts = self._verdicts(example, text, passage)
        if not verdicts:
            raise DataError(f"the answer says nothing that can be checked: {text[:80]!r}")
        supported = [verdict.status == "supported" for verdict in verdicts]
        scores = {
            "refused": 0.0,
            "claims": len(verdicts),
            "claims_supported": sum(supported),
            "answer_supported": float(all(supported)),
            "claims_undecided": sum(verdict.status == "undecided" for verdict in verdicts),
            "claims_contradicted": sum(verdict.status == "contradicted" for verdict in verdicts),
            "numbers_made_up": _lacking(verdicts, ("number", "unit", "date")),
            "names_made_up": _lacking(verdicts, ("name",)),
            "support": min(verdict.score for verdict in verdicts),
        }
        if isinstance(example.data, Given) and example.data.faithful is not None:
            scores["faithful"] = float(example.data.faithful)
        return scores

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """The texts, and of each claim what was found."""
        text, passage, language = self._answer(example, answers)
        found: dict[str, Any] = {
            "prompt": example.data.question,
            "passage": passage,
            "answer": text,
            "claims": [],
        }
        if isinstance(example.data, Question):
            found |= {"kind": example.data.kind, "source": example.data.source}
        if is_refusal(text, language):
            return found
        verdicts = self._verdicts(example, text, passage)
        for claim, verdict in zip(claims(text), verdicts, strict=True):
            found["claims"].append(
                {
                    "text": claim.text,
                    "status": verdict.status,
                    "rule": verdict.rule,
                    "score": verdict.score,
                    "missing": [f"{each.kind}: {each.text}" for each in verdict.missing],
                }
            )
        return found

    def _answer(self, example: Example, answers: Sequence[Answer]) -> tuple[str, str, str]:
        """The answer, the passage and the language of the question."""
        if isinstance(example.data, Given):
            return example.data.answer.strip(), example.data.passage, example.data.language
        (written,) = answers
        assert isinstance(written, Completion)
        return written.text.strip(), example.data.passage, example.data.language

    def _verdicts(self, example: Example, text: str, passage: str) -> list[Verdict]:
        """Of each claim; computed once for an item."""
        known = self._found.get(example.id)
        if known is None:
            own = claims(text)
            if self.checker is None:
                known = [check(claim, passage) for claim in own]
            else:
                known = self.checker.check(own, passage)
            self._found[example.id] = known
        return known

    @cached_property
    def _found(self) -> dict[str, list[Verdict]]:
        return {}


def _lacking(verdicts: Sequence[Verdict], kinds: Sequence[str]) -> float:
    """How many claims say a thing of these kinds that the passage does not have."""
    return float(sum(
        verdict.status in ("contradicted", "unsupported")
        and any(each.kind in kinds for each in verdict.missing)
        for verdict in verdicts
    ))  # fmt: skip


def given_answers(place: Path) -> list[tuple[str, Given]] | None:
    """The answers of a file, with their ids; None where it holds questions."""
    if place.is_dir():
        return None
    rows = read_rows(place)
    if not rows or not ({"response", "hallucinated_answer"} & rows[0].keys()):
        return None
    found: list[tuple[str, Given]] = []
    for number, row in enumerate(rows, 1):
        where = f"{place}, row {number}"
        name = str(number if row.get("id") is None else row["id"])
        if "hallucinated_answer" in row:
            for side, faithful in (("right_answer", True), ("hallucinated_answer", False)):
                found.append((f"{name} {side}", _row(row, side, where, faithful)))
        else:
            judged = row.get("supported")
            if isinstance(judged, str):  # as CSV has it
                judged = _SPELT.get(judged.strip().lower(), judged)
            if judged is not None and not isinstance(judged, bool):
                raise DataError(f"{where}: supported must be true or false. Got {judged!r:.80}")
            found.append((name, _row(row, "response", where, judged)))
    return found


_SPELT = {"true": True, "false": False, "": None}


def _row(row: Row, side: str, where: str, faithful: bool | None) -> Given:
    answer = row.get(side)
    passage = next((row[name] for name in PASSAGES if row.get(name)), None)
    if isinstance(passage, list):
        if not all(isinstance(part, str) for part in passage):
            raise DataError(f"{where}: expected a 'passage', as text or a list of texts")
        passage = "\n\n".join(passage)
    if not isinstance(answer, str):
        raise DataError(f"{where}: expected '{side}', as text")
    if not isinstance(passage, str) or not passage.strip():
        raise DataError(f"{where}: expected a 'passage', as text")
    question = row.get("question")
    language = str(row.get("language") or "en")
    return Given(question if isinstance(question, str) else "", passage, answer, faithful, language)

"""Questions to put to a model: examples that Linnet made, or rows of a file that someone wrote.

A row that someone wrote has a ``question`` and an ``answer`` or ``answers`` (a list, or SQuAD's
object with ``text``), and may have ``context`` (or ``passage``), ``id``, ``kind``, ``language`` and
``split``. One without an answer cannot be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from linnet.errors import ConfigError, DataError
from linnet.evaluate.rows import Row, read_rows
from linnet.examples.record import EXAMPLES_FILE, REFUSED, Example, Kind, read_examples
from linnet.examples.texts import contexts, corpus_of
from linnet.scoring.matching import normalise

if TYPE_CHECKING:
    from linnet.evaluate.task import Run

ASKED = ("question", "cloze", "follow_up", "multi_part")
"""The kinds whose answer is a text to compare with."""

CONSIDERED = 500
"""Questions, drawn by the seed, whose answers may become wrong choices; beside those of the same
document."""


@dataclass(frozen=True)
class Question:
    """One question, with all answers that are right."""

    id: str
    kind: str
    question: str
    answers: tuple[str, ...]
    passage: str | None
    """What it is to be put with, when it is put with something."""
    language: str
    split: str | None
    source: str | None = None
    turns: tuple[tuple[str, str], ...] = ()
    example: Example | None = None
    """What it was made from, where Linnet made it."""
    passage_source: str | None = None
    """The document of the passage."""

    @property
    def answerable(self) -> bool:
        """Whether it has an answer, other than that there is none."""
        return self.kind not in REFUSED


def read_questions(place: Path, *, unanswered: str = "unanswerable") -> list[Question]:
    """All questions of a directory or file; those of examples without passages, which
    :func:`with_passages` reads. ``unanswered``: the kind of a row that names neither a kind nor an
    answer. Raises DataError, naming the line."""
    file = place / EXAMPLES_FILE if place.is_dir() else place
    if file.suffix == ".jsonl" and _are_examples(file):
        return [_from_example(example) for example in read_examples(file)]
    return [
        _from_row(row, f"{file}, row {n}", n, unanswered)
        for n, row in enumerate(read_rows(file), 1)
    ]


def with_passages(
    place: Path, questions: Sequence[Question], training: Path | None = None
) -> list[Question]:
    """The same, each with the text that it is to be put with, where the corpus has it.

    What answers, or nearly does; of a question whose passage is withheld another part of its
    document; of what is in no document that of another question. ``training``: the corpus to look
    in where the questions name none.
    """
    examples = [each.example for each in questions if each.example is not None]
    corpus = corpus_of(place) or training
    found = contexts(corpus, examples) if examples and corpus is not None else {}
    return [
        replace(each, passage=own.text, passage_source=own.source) if own is not None else each
        for each, own in ((each, found.get(each.id)) for each in questions)
    ]


def questions_of(run: Run, place: Path) -> list[Question]:
    """The questions of a run: those of its split, where they are divided."""
    return of_split(read_questions(place), place, run.config.split)


def of_split(found: list[Question], place: Path, split: str) -> list[Question]:
    """Those of a split, where they are divided. Raises DataError where there is none."""
    if not found:
        raise DataError(f"{place}: expected questions, but there is none")
    if any(each.split is not None for each in found):
        undivided = sum(each.split is None for each in found)
        if undivided:
            raise DataError(
                f"{place}: {undivided:,} of {len(found):,} questions name no split, as the others "
                "do; give each one, or none"
            )
        inside = [each for each in found if each.split == split]
        if not inside:
            raise DataError(f"{place}: no question is of the {split} split; choose another --split")
        return inside
    return found


def solved(
    questions: Sequence[Question], all_of_them: Sequence[Question], count: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Questions to show solved before each other, and those that are left to be asked.

    Taken from the training split; where nothing is divided, from those that would be asked.
    """
    if not count:
        return [], list(questions)
    pool = [each for each in all_of_them if each.split == "train" and each.answerable]
    apart = bool(pool)
    pool = pool or [each for each in questions if each.answerable]
    order = np.random.default_rng(seed).permutation(len(pool))[:count]
    shown = [pool[place] for place in order]
    left = [each for each in questions if apart or each not in shown]
    if len(shown) < count or not left:
        raise ConfigError(
            f"--shots must leave a question to be asked. Got {count} of {len(pool)} questions"
        )
    return shown, left


def distractors(
    questions: Sequence[Question], question: Question, count: int, *, seed: int = 0
) -> list[str]:
    """Answers to other questions, the nearest in kind and length, that are not right here.

    From the same document first: what is merely off the subject would be told apart too easily.
    """
    if len(questions) > CONSIDERED:
        drawn = np.random.default_rng(seed).permutation(len(questions))[:CONSIDERED]
        inside = [each for each in questions if each.source and each.source == question.source]
        questions = [*inside, *(questions[place] for place in drawn)]
    own = {normalise(each, question.language) for each in question.answers}
    length = len(question.answers[0])
    found: dict[str, str] = {}
    others = (each for each in questions if each.answerable and each.id != question.id)
    ranked = sorted(
        others,
        key=lambda each: (
            each.kind != question.kind,
            each.language != question.language,
            abs(len(each.answers[0]) - length) > max(10, length // 2),
            each.source is None or each.source != question.source,
            abs(len(each.answers[0]) - length),
            each.id,
        ),
    )
    for each in ranked:
        plain = normalise(each.answers[0], question.language)
        if plain and plain not in own and plain not in found:
            found[plain] = each.answers[0]
        if len(found) == count:
            break
    return list(found.values())


def _are_examples(file: Path) -> bool:
    """Whether the first row has what makes an example (a made one has where it stands)."""
    if not file.is_file():
        raise DataError(f"{file}: expected questions, but there is no such file")
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    return all(f'"{name}"' in first for name in ("kind", "quote", "source", "start", "split"))


def _from_example(example: Example) -> Question:
    return Question(
        id=example.id,
        kind=example.kind,
        question=example.question,
        answers=(example.answer,),
        passage=None,
        language=example.language or "en",
        split=example.split,
        source=example.source,
        turns=tuple((turn.question, turn.answer) for turn in example.turns),
        example=example,
    )


def _from_row(row: Row, where: str, number: int, unanswered: str) -> Question:
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: expected a 'question', as text")
    answers = tuple(_answers(row, where))
    given = row.get("kind")
    kind = str(given or ("question" if answers else unanswered))
    if kind not in get_args(Kind):
        raise DataError(
            f"{where}: kind must be one of {', '.join(get_args(Kind))}. Got {kind[:60]!r}"
        )
    if given and kind in ASKED and not answers:
        raise DataError(f"{where}: expected an 'answer', since its kind is {kind}")
    passage = row.get("context") or row.get("passage")
    if passage is not None and not isinstance(passage, str):
        raise DataError(f"{where}: expected a 'context', as text")
    split = row.get("split")
    return Question(
        id=str(number if row.get("id") is None else row["id"]),
        kind=kind,
        question=question,
        answers=answers,
        passage=passage if passage and passage.strip() else None,
        language=str(row.get("language") or "en"),
        split=split if isinstance(split, str) and split else None,
        source=str(row["source"]) if row.get("source") else None,
        passage_source=str(row["source"]) if row.get("source") else None,
    )


def _answers(row: Row, where: str) -> Iterator[str]:
    given: Any = row.get("answers") or row.get("answer")
    if isinstance(given, dict):
        given = given.get("text")
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, str) and each.strip():
            yield each.strip()
        elif each is not None and not isinstance(each, str):
            raise DataError(f"{where}: expected an 'answer', as text, or a list of 'answers'")

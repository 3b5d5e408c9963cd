"""Domain questions: what a model knows by heart, and what it finds in a passage before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from linnet.errors import DataError
from linnet.evaluate.prompting import Dialogue, is_cut
from linnet.evaluate.questions import (
    ASKED,
    Question,
    distractors,
    questions_of,
    read_questions,
    solved,
    with_passages,
)
from linnet.evaluate.refusals import language_of
from linnet.evaluate.task import Answer, Example, Prompt, Run, Task
from linnet.evaluate.tasks.multiple_choice import choice_scores
from linnet.examples import prompts
from linnet.generate.engine import Completion, Likelihood
from linnet.generate.sampling import Sampling
from linnet.scoring.matching import contains, exact_match, token_f1


def dialogue_of(
    run: Run,
    question: Question,
    *,
    passage: str | None,
    system: str = "",
    shots: Sequence[tuple[str, str]] = (),
) -> Dialogue:
    """A question as it is put to the model, in the question's language."""
    chat = run.converses
    words = language_of(question.language)
    earlier = tuple((_question(run, question.language, asked, None), said)
                    for asked, said in question.turns)  # fmt: skip
    asked = _question(run, question.language, question.question, passage)
    if run.config.style == "bare":
        return Dialogue(asked, (*shots, *earlier), chat=chat, delimiter=prompts.BETWEEN)
    return Dialogue(
        asked,
        (*shots, *earlier),
        system=system or (words.open if passage is not None else words.closed),
        chat=chat,
    )


def _question(run: Run, language: str, question: str, passage: str | None) -> str:
    if run.config.style == "bare":
        return prompts.question_text(question, passage)
    words = language_of(language)
    before = "" if passage is None else f"{words.passage}: {passage}\n\n"
    if run.converses:
        return before + question
    return f"{before}{words.question}: {question}\n{words.answer}:"


def answer_sampling(run: Run) -> Sampling:
    """Always the likeliest token; in plain text up to the end of the line, unless trained so."""
    stop = () if run.converses or run.config.style == "bare" else ("\n",)
    return Sampling(
        max_tokens=run.config.answer_tokens, temperature=0, min_p=0, stop=stop, seed=run.config.seed
    )


@dataclass(frozen=True)
class Asked:
    """A question with what is shown before it, and the wrong choices beside the right one."""

    question: Question
    dialogue: Dialogue
    choices: tuple[str, ...]
    """The right one first."""


class Questions(Task):
    """Questions answered from memory."""

    name = "questions"
    about = "answering questions"
    metrics = (
        "exact_match", "f1", "contains", "accuracy", "accuracy_by_length", "chance",
        "gold_nats_per_token", "ends_itself",
    )  # fmt: skip
    needs = ("place",)
    converses = True
    open_book = False

    @cached_property
    def questions(self) -> list[Question]:
        """Those that can be asked."""
        assert self.place is not None
        found = [
            each
            for each in questions_of(self.run, self.place)
            if each.kind in ASKED and each.answers
        ]
        if self.open_book:
            found = with_passages(self.place, found, self.run.corpus)
            found = [each for each in found if each.passage is not None]
        if not found:
            missing = "with an answer"
            if self.open_book:
                missing = "with a passage to answer from (--corpus names where it is read)"
            raise DataError(f"{self.place}: expected questions {missing}, but there is none")
        return found

    def examples(self) -> Iterator[Example]:
        """The questions, each after the same solved ones."""
        run = self.run
        shown: list[Question] = []
        questions = self.questions
        if run.config.shots:
            assert self.place is not None
            usable = [
                each for each in read_questions(self.place) if each.kind in ASKED and each.answers
            ]
            shown, questions = solved(questions, usable, run.config.shots, run.config.seed)
            if self.open_book:
                shown = with_passages(self.place, shown, run.corpus)
                shown = [each for each in shown if each.passage is not None]
        shots = [
            (_question(run, each.language, each.question, self._passage(each)), each.answers[0])
            for each in shown
        ]
        self.facts |= {
            "book": "open" if self.open_book else "closed",
            "chat": run.converses,
            "shots": [list(shot) for shot in shots],
            "cut": 0,
        }
        for each in questions:
            dialogue = dialogue_of(run, each, passage=self._passage(each), shots=shots)
            yield Example(each.id, (each, dialogue))

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The answer to be written, and the likelihood of each choice."""
        question, dialogue = example.data
        engine = self.run.engine
        found = dialogue.continuations(engine, self._choices(question))
        self.facts["cut"] += any(is_cut(engine, each) for each in found)
        return [dialogue.request(engine, answer_sampling(self.run), logprobs=True), *found]

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """How much of the answer is right, and whether the right choice is the likeliest."""
        question, _ = example.data
        written, *found = answers
        assert isinstance(written, Completion)
        likelihoods = [each for each in found if isinstance(each, Likelihood)]
        answer, language = written.text.strip(), question.language
        scores = {
            "exact_match": exact_match(answer, question.answers, language),
            "f1": token_f1(answer, question.answers, language),
            "contains": contains(answer, question.answers, language),
            "ends_itself": float(written.finish_reason == "stop"),
            "gold_nats": likelihoods[0].nats,
            "gold_tokens": likelihoods[0].tokens,
        }
        if len(likelihoods) > 1:
            scores |= choice_scores(likelihoods, self._choices(question), 0)[0]
        return scores

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """The texts."""
        question, _ = example.data
        written, *found = answers
        assert isinstance(written, Completion)
        likelihoods = [each for each in found if isinstance(each, Likelihood)]
        choices = self._choices(question)
        return {
            "kind": question.kind,
            "source": question.source,
            "prompt": question.question,
            "passage": self._passage(question),
            "expected": list(question.answers),
            "answer": written.text.strip(),
            "choices": choices,
            "choice_nats": [each.nats for each in likelihoods],
        }

    def _passage(self, question: Question) -> str | None:
        return question.passage if self.open_book else None

    def _choices(self, question: Question) -> list[str]:
        known = self._wrong.get(question.id)
        if known is None:
            config = self.run.config
            known = distractors(self.questions, question, config.distractors, seed=config.seed)
            self._wrong[question.id] = known
        return [question.answers[0], *known]

    @cached_property
    def _wrong(self) -> dict[str, list[str]]:
        return {}


class OpenBookQuestions(Questions):
    """Questions answered with the passage that answers them in sight."""

    name = "questions_open"
    about = "answering questions from passages"
    open_book = True

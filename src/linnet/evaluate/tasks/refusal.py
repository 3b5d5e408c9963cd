"""Whether a model says "I don't know" where it should, and how far its confidence can be trusted.

Each question is put with a passage before it: one that answers it, one that nearly does (near
miss), or one about something else (its own was withheld, or it is off topic). The model is told to
refuse where the passage does not say. Questions without passages are put from memory.

Two numbers are measured for each. ``answerability``: one minus the probability of the refusal
against that of the answer, each the geometric mean over its tokens; 0 where it refused in so many
words. ``confidence``: the geometric mean probability of the tokens of the answer it wrote. An
answer is right if the question has one, and the answer contains it or shares half of its words
(F1); what is answered although there is no answer is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linnet.errors import DataError
from linnet.evaluate.prompting import is_cut
from linnet.evaluate.questions import ASKED, Question, questions_of, with_passages
from linnet.evaluate.refusals import is_refusal, language_of
from linnet.evaluate.task import Answer, Example, Item, Prompt, Task, figures_of
from linnet.evaluate.tasks.questions import answer_sampling, dialogue_of
from linnet.examples.record import REFUSED
from linnet.generate.engine import Completion, Likelihood
from linnet.scoring.matching import contains, token_f1

RIGHT_F1 = 0.5


class Refusal(Task):
    """Questions that can be answered, and others that cannot."""

    name = "refusal"
    about = "asking what can and cannot be answered"
    metrics = (
        "auroc", "fpr_at_95_tpr", "refused_answerable", "refused_unanswerable", "accuracy",
        "auroc_of_confidence", "aurc", "ece", "brier",
    )  # fmt: skip
    needs = ("place",)
    converses = True

    def examples(self) -> Iterator[Example]:
        """The questions with the passages that they are put with."""
        assert self.place is not None
        questions = [
            each
            for each in questions_of(self.run, self.place)
            if each.kind in REFUSED or (each.kind in ASKED and each.answers)
        ]
        if not questions:
            raise DataError(f"{self.place}: expected questions that can and cannot be answered")
        questions = with_passages(self.place, questions, self.run.corpus)
        passages = [each for each in questions if each.passage is not None and each.answerable]
        draw = np.random.default_rng(self.run.config.seed)
        self.facts |= {
            "chat": self.run.converses,
            "cut": 0,
            "book": "open" if passages else "closed",
        }
        for each in questions:
            other = passages[int(draw.integers(len(passages)))] if passages else None
            shown = _shown(each, other, passages)
            words = language_of(each.language)
            dialogue = dialogue_of(self.run, each, passage=shown, system=words.open)
            group = "answerable" if each.answerable else "unanswerable"
            yield Example(each.id, (each, shown, dialogue), group=group)

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The answer to be written, and the likelihood of a refusal."""
        question, _, dialogue = example.data
        engine = self.run.engine
        refusal = dialogue.continuation(engine, language_of(question.language).refusal)
        self.facts["cut"] += is_cut(engine, refusal)
        return [dialogue.request(engine, answer_sampling(self.run), logprobs=True), refusal]

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Whether it refused, and both numbers of the module."""
        question, _, _ = example.data
        written, refusal = answers
        assert isinstance(written, Completion)
        assert isinstance(refusal, Likelihood)
        refused = _refuses(question, written.text)
        logprobs = written.logprobs or ()
        # A model that writes nothing is sure of nothing.
        sure = math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0
        unlikely = math.exp(-refusal.nats / refusal.tokens)
        scores = {
            "answerable": float(question.answerable),
            "answerability": 0.0 if refused else _share(sure, unlikely),
            "refusal_probability": unlikely,
        }
        which = "refused_answerable" if question.answerable else "refused_unanswerable"
        scores[which] = float(refused)
        if not refused:
            scores |= {"right": float(_is_right(question, written.text)), "confidence": sure}
        return scores

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """The texts."""
        question, shown, _ = example.data
        (written, _) = answers
        assert isinstance(written, Completion)
        return {
            "kind": question.kind,
            "source": question.source,
            "prompt": question.question,
            "passage": shown,
            "expected": list(question.answers) if question.answerable else [],
            "answer": written.text.strip(),
            "refused": _refuses(question, written.text),
        }

    def together(self, items: list[Item]) -> list[Item]:
        """Figures of each kind of question beside those of all."""
        kinds = sorted({item.detail["kind"] for item in items})
        self.facts["by_kind"] = {}
        for kind in kinds:
            own = [item for item in items if item.detail["kind"] == kind]
            names = (
                ("refused_unanswerable",) if kind in REFUSED else ("refused_answerable", "accuracy")
            )
            found, _ = figures_of(names, own, self.run.config)
            self.facts["by_kind"][kind] = {name: each.to_json() for name, each in found.items()}
        return items


def _shown(question: Question, other: Question | None, passages: Sequence[Question]) -> str | None:
    """The passage a question is put with: its own, or that of a question of another document."""
    if question.passage is not None or other is None:
        return question.passage
    if question.source is not None and other.source == question.source:
        apart = [each for each in passages if each.source != question.source]
        return apart[passages.index(other) % len(apart)].passage if apart else None
    return other.passage


def _refuses(question: Question, text: str) -> bool:
    own = () if question.answerable else question.answers
    return is_refusal(text, question.language, own)


def _is_right(question: Question, text: str) -> bool:
    if not question.answerable:
        return False
    language = question.language
    f1 = token_f1(text, question.answers, language)
    return f1 >= RIGHT_F1 or contains(text, question.answers, language) > 0


def _share(answer: float, refusal: float) -> float:
    return answer / (answer + refusal) if answer + refusal > 0 else 0.5

"""Questions as they are put to several models, and how an answer to one is scored.

They are those of ``linnet evaluate`` (``questions``), or the rows of a task file that has its
answers written (``declaration``). Every model gets the same messages; a model without a chat
template the same as plain text, and an index the question alone, since it finds passages itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from linnet.errors import ConfigError, DataError
from linnet.evaluate import declaration
from linnet.evaluate.answers import EXACT
from linnet.evaluate.prompting import Dialogue
from linnet.evaluate.questions import Question, of_split, read_questions, with_passages
from linnet.evaluate.refusals import is_refusal, language_of
from linnet.evaluate.tasks.declared import Question as Declared
from linnet.evaluate.tasks.declared import Rows, answer_scores
from linnet.examples import prompts
from linnet.grounding import Checker, check, claims
from linnet.grounding.rules import LONGEST_CLAIM
from linnet.respond.conversation import Message
from linnet.respond.pieces import Origin, Text
from linnet.scoring.matching import contains, exact_match, token_f1

GoldScore: TypeAlias = Literal["f1", "exact_match", "contains"]
GOLD_SCORES: tuple[GoldScore, ...] = ("f1", "exact_match", "contains")
SHORT = 5
"""Words of an expected answer up to which an answer is right that contains it: whoever says more
than was asked for is not worse for that."""


class Scoring(Protocol):
    """How an answer is compared with the expected one."""

    def __call__(self, text: str, *, refused: bool) -> Mapping[str, float]:
        """Scores from 0 to 1 by name."""


@dataclass(frozen=True)
class Asked:
    """One question as it is put to every model."""

    id: str
    question: str
    messages: tuple[Message, ...]
    plain: str
    """The same for a model that continues text."""
    stop: tuple[str, ...]
    """What ends an answer in plain text."""
    max_tokens: int
    bare: tuple[Message, ...]
    """The question with its earlier turns alone, for what finds passages itself."""
    expected: tuple[str, ...] = ()
    answerable: bool = True
    language: str = "en"
    passage: str = ""
    source: str = ""
    score: Scoring | None = field(default=None, compare=False)
    """None where no answer is expected."""

    def content(self) -> str:
        """All that answers and scores depend on, as text."""
        return json.dumps(
            [bodies_of(self.messages), self.plain, self.stop, self.passage, self.source],
            ensure_ascii=False,
        )


def bodies_of(messages: Sequence[Message]) -> list[object]:
    """Messages as JSON."""
    return [message.as_json() for message in messages]


@dataclass(frozen=True)
class Questions:
    """Those that are asked, and what was left out."""

    asked: tuple[Asked, ...]
    place: str
    scores: tuple[GoldScore, ...]
    """By which an answer can be compared with the expected one."""
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def expecting(self) -> int:
        """How many have an expected answer."""
        return sum(each.score is not None for each in self.asked)

    @property
    def usual(self) -> GoldScore:
        """The score by which it is done unless another one is named."""
        lengths = [len(text.split()) for each in self.asked for text in each.expected[:1]]
        short = not lengths or float(np.median(lengths)) <= SHORT
        wanted: GoldScore = "contains" if short else "f1"
        return wanted if wanted in self.scores else self.scores[0]

    @property
    def grounded(self) -> int:
        """How many have a passage to rest on."""
        return sum(bool(each.passage) for each in self.asked)


def read(
    place: Path,
    *,
    split: str,
    limit: int | None,
    seed: int,
    passages: bool,
    instruction: bool,
    max_tokens: int,
    corpus: Path | None = None,
) -> Questions:
    """The questions of a file or directory, or the rows of a task file.

    Raises DataError or ConfigError, saying what is wrong and where.
    """
    if place.suffix.lower() in declaration.SUFFIXES:
        found = _declared(place)
    else:
        rows = of_split(read_questions(place, unanswered="question"), place, split)
        if passages:
            rows = with_passages(place, rows, corpus)
        asked = [
            _asked(each, passages=passages, instruction=instruction, max_tokens=max_tokens)
            for each in rows
        ]
        found = Questions(tuple(asked), place.name, GOLD_SCORES)
    twice = [id for id, count in Counter(each.id for each in found.asked).items() if count > 1]
    if twice:
        raise DataError(f"{place}: two questions have the id {twice[0]}; ids must differ")
    if not found.asked:
        raise DataError(f"{place}: expected questions, but there is none")
    order = np.random.default_rng(seed).permutation(len(found.asked))[:limit]
    drawn = tuple(found.asked[number] for number in order)
    return Questions(drawn, found.place, found.scores, found.left_out)


def _asked(question: Question, *, passages: bool, instruction: bool, max_tokens: int) -> Asked:
    words = language_of(question.language)
    passage = (question.passage or "") if passages else ""
    source = question.passage_source or ""
    turns = [
        Message.of(role, text)
        for asked, said in question.turns
        for role, text in (("user", asked), ("assistant", said))
    ]
    document = Origin("document", source) if passage else None
    stop: tuple[str, ...] = ()
    if instruction:
        system = words.open if passage else words.closed
        parts = [Text(question.question)]
        if passage:
            parts.insert(0, Text(f"{words.passage}: {passage}", origin=document))
        messages = (Message.of("system", system), *turns, Message("user", tuple(parts)))
        shown = f"{words.passage}: {passage}\n\n" if passage else ""
        own = f"{shown}{words.question}: {question.question}\n{words.answer}:"
        earlier = tuple(
            (f"{words.question}: {asked}\n{words.answer}:", said) for asked, said in question.turns
        )
        plain, stop = Dialogue(own, earlier, system).text, ("\n",)
    else:  # as linnet finetune puts examples
        own = prompts.question_text(question.question, passage or None)
        messages = (*turns, Message("user", (Text(own, origin=document),)))
        plain = Dialogue(own, question.turns, delimiter=prompts.BETWEEN).text + prompts.BETWEEN
    return Asked(
        id=question.id, question=question.question, messages=messages, plain=plain, stop=stop,
        max_tokens=max_tokens, bare=(*turns, Message.of("user", question.question)),
        expected=question.answers, answerable=question.answerable, language=question.language,
        passage=passage, source=question.source or source, score=_scoring(question),
    )  # fmt: skip


def _scoring(question: Question) -> Scoring | None:
    answers, language = question.answers, question.language

    def answered(text: str, *, refused: bool) -> Mapping[str, float]:
        text = "" if refused else text
        return {
            "f1": token_f1(text, answers, language) if text else 0.0,
            "exact_match": exact_match(text, answers, language) if text else 0.0,
            "contains": contains(text, answers, language),
        }

    def refusing(text: str, *, refused: bool) -> Mapping[str, float]:
        return dict.fromkeys(GOLD_SCORES, float(refused))

    if not question.answerable:
        return refusing
    return answered if answers else None


def _declared(file: Path) -> Questions:
    task = declaration.read_declaration(file)
    if task.kind != "generate":
        raise ConfigError(
            f"{task.at('kind')} must be generate, as models at addresses write answers and tell no "
            f"likelihoods. Got {task.kind}"
        )
    rows = Rows(task)
    shots, taken = rows.shots()
    found, left_out = [], Counter[str]()
    for number, row in rows.asked:
        if number in taken:
            left_out["shown as solved examples"] += 1
            continue
        try:
            found.append(_of_row(task, rows.name(number, row), rows.question(row, shots)))
        except DataError as error:
            left_out[str(error)] += 1
    scores: tuple[GoldScore, ...] = ("exact_match",) if task.format in EXACT else GOLD_SCORES
    scores = tuple(name for name in scores if name in (task.metrics or scores)) or scores
    return Questions(tuple(found), file.name, scores, dict(left_out))


def _of_row(task: declaration.Declaration, id: str, row: Declared) -> Asked:
    dialogue = row.dialogue

    def score(text: str, *, refused: bool) -> Mapping[str, float]:
        found = answer_scores(task, row, text)
        return {name: found[name] for name in GOLD_SCORES if name in found}

    return Asked(
        id=id, question=dialogue.question,
        messages=tuple(Message.from_json(each) for each in dialogue.messages),
        plain=dialogue.text, stop=task.stop, max_tokens=task.max_tokens,
        bare=(Message.of("user", dialogue.question),), expected=row.expected,
        language=task.language, score=score,
    )  # fmt: skip


def refuses(text: str, language: str) -> bool:
    """Whether a written answer says that there is none."""
    return is_refusal(text, language)


def grounded_share(text: str, passages: Sequence[str], checker: Checker | None) -> float | None:
    """The share of the claims of an answer that its passages support; None where it makes none."""
    own = claims(text[:LONGEST_CLAIM])
    if not own or not passages:
        return None
    if checker is not None:
        verdicts = checker.check(own, list(passages))
    else:
        verdicts = [check(each, list(passages)) for each in own]
    return sum(verdict.status == "supported" for verdict in verdicts) / len(verdicts)

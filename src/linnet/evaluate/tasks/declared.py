"""A task that a YAML file declares (``linnet.evaluate.declaration``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.errors import ConfigError, DataError, LinnetError
from linnet.evaluate.answers import EXACT, answer_in
from linnet.evaluate.declaration import METRICS_OF, Declaration, read_declaration
from linnet.evaluate.prompting import Dialogue, is_cut, text_continuation
from linnet.evaluate.rows import Row, chosen, columns_of, read_rows
from linnet.evaluate.task import Answer, Example, Prompt, Run, Task
from linnet.evaluate.tasks.multiple_choice import choice_scores, right_choice
from linnet.evaluate.templates import Template
from linnet.generate.engine import Completion, Likelihood
from linnet.scoring.matching import contains, exact_match, token_f1

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Question:
    """A row, as it is put to the model."""

    dialogue: Dialogue
    expected: tuple[str, ...]
    choices: tuple[str, ...] = ()
    right: int = 0


@dataclass(frozen=True)
class Field:
    """Where texts of a row come from: a column, or templates."""

    column: str | None
    templates: tuple[Template, ...]

    def values(self, row: Row) -> list[Any]:
        """One or several, as they stand in the row or as they are rendered."""
        if self.column is None:
            return [template.render(row) for template in self.templates]
        value = row.get(self.column)
        if value is None or value == [] or value == "":
            raise DataError(f"the row has no value for {self.column}")
        return value if isinstance(value, list) else [value]


class DeclaredTask(Task):
    """Rows of a file, each a question by the file's templates."""

    about = "answering"

    def __init__(self, declaration: Declaration, rows: Rows, run: Run) -> None:
        super().__init__(run)
        self.task, self.rows = declaration, rows
        self.name = declaration.name
        self.metrics = declaration.metrics or METRICS_OF[declaration.kind]
        if declaration.kind == "generate" and declaration.format in EXACT:
            self.metrics = tuple(m for m in self.metrics if m not in ("f1", "contains"))
        if declaration.chat or "chat_template" in declaration.requires:
            self.needs = ("chat_template",)
        self.facts |= {"kind": declaration.kind, "about": declaration.about, "cut": 0}
        if declaration.chat:
            self.facts["chat"] = True

    def examples(self) -> Iterator[Example]:
        """The rows that are not solved as examples."""
        shots, taken = self.rows.shots()
        self.facts["shots"] = [list(shot) for shot in shots]
        for number, row in self.rows.asked:
            if number not in taken:
                yield Example(self.rows.name(number, row), (row, shots))

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """What the row asks; nothing where it cannot be made, which ``scores`` then says."""
        task, engine = self.task, self.run.engine
        try:
            question = self.rows.question(*example.data)
        except LinnetError:
            return ()
        dialogue = question.dialogue
        if task.kind == "generate":
            seed = self.run.config.seed if task.sampling.seed is None else task.sampling.seed
            sampling = replace(task.sampling, stop=task.stop, max_tokens=task.max_tokens, seed=seed)
            return [dialogue.request(engine, sampling)]
        if task.kind == "choice":
            found = dialogue.continuations(engine, question.choices)
        elif dialogue.question or dialogue.shots or dialogue.system:
            found = [dialogue.continuation(engine, question.expected[0])]
        else:
            found = [text_continuation(engine, "", question.expected[0])]
        self.facts["cut"] += any(is_cut(engine, each) for each in found)
        return found

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """By the kind of task."""
        question = self.rows.question(*example.data)
        if self.task.kind == "generate":
            (written,) = answers
            assert isinstance(written, Completion)
            ended = written.finish_reason == "stop"
            found = answer_scores(self.task, question, written.text)
            return {**found, "ends_itself": float(ended), "tokens": len(written.tokens)}
        likelihoods = [each for each in answers if isinstance(each, Likelihood)]
        if self.task.kind == "choice":
            return choice_scores(likelihoods, question.choices, question.right)[0]
        (one,) = likelihoods
        return {
            "nats": one.nats,
            "tokens": one.tokens,
            "bytes": len(question.expected[0].encode()),
            "right": float(one.greedy),
            "gold_nats": one.nats,
            "gold_tokens": one.tokens,
        }

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """The question and its answer, as texts."""
        question = self.rows.question(*example.data)
        found: dict[str, Any] = {
            "prompt": question.dialogue.question,
            "expected": list(question.expected),
        }
        if self.task.kind == "generate":
            (written,) = answers
            assert isinstance(written, Completion)
            taken = taken_answer(self.task, question, written.text)
            found |= {"answer": written.text, "taken": taken}
        elif self.task.kind == "choice":
            likelihoods = [each for each in answers if isinstance(each, Likelihood)]
            _, place = choice_scores(likelihoods, question.choices, question.right)
            found |= {
                "answer": question.choices[place],
                "choices": list(question.choices),
                "choice_nats": [each.nats for each in likelihoods],
            }
        return found

    def together(self, items: list[Any]) -> list[Any]:
        """Say so where no answer was in the format."""
        if items and self.task.kind == "generate" and not any(i.scores["in_format"] for i in items):
            self.run.progress.warn(
                f"{self.name}: none of {len(items)} answers is in the format '{self.task.format}'"
                f"{f' after {self.task.answer_after!r}' if self.task.answer_after else ''}; the "
                f"first: {items[0].detail['answer'][:80]!r}"
            )
        return items


class Rows:
    """The rows of a task, read and checked."""

    def __init__(self, task: Declaration) -> None:
        """Raises ConfigError or DataError for what is wrong with the file or its data."""
        self.task = task
        rows = read_rows(_beside(task, task.data))
        self.asked = _numbered(task, rows, task.where, "where")
        if not self.asked:
            raise DataError(f"{task.at('data')}: there is no row to ask, so there is no task")
        self.solved: list[tuple[int, Row]] | None = None
        if task.few_shot.count and (task.few_shot.data or task.few_shot.where):
            # The same file: rows that are asked are never solved before.
            other = read_rows(_beside(task, task.few_shot.data)) if task.few_shot.data else rows
            found = _numbered(task, other, task.few_shot.where, "few_shot.where")
            asked = {json.dumps(row, sort_keys=True) for _, row in self.asked}
            self.solved = [
                (n, row) for n, row in found if json.dumps(row, sort_keys=True) not in asked
            ]
        columns = columns_of([row for _, row in self.asked])
        self.id = task.id if task.id in columns else None
        if self.id is None and "id" in task.lines:
            raise ConfigError(f"{task.at('id')} names no column; there are {', '.join(columns)}")
        self.prompt = _template(task, "prompt", task.prompt) if task.prompt else None
        if self.prompt is not None:
            self.prompt.check(columns)
        self.target = _field(task, "target", task.target, columns)
        self.choices = _field(task, "choices", task.choices, columns) if task.choices else None
        if task.format == "choice" and self.choices is None:
            raise ConfigError(f"{task.at('format')} is choice, so expected choices as well")
        self.made: dict[int, Question] = {}

    def name(self, number: int, row: Row) -> str:
        """What an item is known by."""
        known = None if self.id is None else row.get(self.id)
        return str(number if known is None else known)

    def question(self, row: Row, shots: tuple[tuple[str, str], ...]) -> Question:
        """A row as it is put to the model. Raises DataError for one that cannot be."""
        known = self.made.get(id(row))
        if known is None:
            text, expected, choices, right = self._texts(row)
            task = self.task
            dialogue = Dialogue(
                text,
                shots,
                task.system,
                chat=task.chat,
                delimiter=task.delimiter,
                separator=task.separator,
            )
            known = Question(dialogue, expected, choices, right)
            self.made[id(row)] = known
        return known

    def shots(self) -> tuple[tuple[tuple[str, str], ...], set[int]]:
        """Solved examples, and the numbers of the rows they are, where those are the task's."""
        wanted = self.task.few_shot
        if not wanted.count:
            return (), set()
        source = self.solved if self.solved is not None else self.asked
        order = np.random.default_rng(wanted.seed).permutation(len(source))
        shots, taken = [], set()
        for place in order:
            number, row = source[place]
            try:
                text, expected, _, _ = self._texts(row)
            except LinnetError:
                continue
            shots.append((text, expected[0]))
            taken.add(number)
            if len(shots) == wanted.count:
                break
        left = len(self.asked) - len(taken)
        if len(shots) < wanted.count or (self.solved is None and left < 1):
            raise ConfigError(
                f"{self.task.at('few_shot')} asks for {wanted.count} solved examples, but "
                f"{len(source)} rows do not have as many and one to be answered"
            )
        return tuple(shots), taken if self.solved is None else set()

    def _texts(self, row: Row) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
        text = self.prompt.render(row) if self.prompt is not None else ""
        choices: tuple[str, ...] = ()
        if self.choices is not None:
            choices = tuple(_text(each) for each in self.choices.values(row))
        targets = self.target.values(row)
        if self.task.kind != "choice":
            return text, tuple(_text(each) for each in targets), choices, 0
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise DataError(f"expected two choices or more that differ. Got {list(choices)}"[:200])
        right = right_choice(targets[0], choices)
        return text, (choices[right],), choices, right


def taken_answer(task: Declaration, question: Question, text: str) -> str | None:
    """What of a written text is the answer; None where it is not in the format."""
    return answer_in(
        text,
        task.format,
        after=task.answer_after,
        choices=question.choices,
        language=task.language,
    )


def answer_scores(task: Declaration, question: Question, text: str) -> dict[str, float]:
    """How far a written text is the expected answer."""
    taken = taken_answer(task, question, text)
    expected, scores = question.expected, {"in_format": float(taken is not None)}
    answer = taken or ""
    if task.format in EXACT:
        settings = {"choices": question.choices, "language": task.language}
        plain = [answer_in(each, task.format, **settings) for each in expected]  # type: ignore[arg-type]
        return {**scores, "exact_match": float(taken is not None and taken in plain)}
    return {
        **scores,
        "exact_match": exact_match(answer, expected, task.language),
        "f1": token_f1(answer, expected, task.language),
        "contains": contains(answer, expected, task.language),
    }


def declared_task(file: Path) -> tuple[Declaration, Callable[[Run], Task]]:
    """The task in a file, ready to be run. Raises LinnetError, saying what is wrong and where."""
    declaration = read_declaration(file)
    return declaration, partial(DeclaredTask, declaration, Rows(declaration))


def files_of(task: Declaration) -> list[Path]:
    """The files that a task depends on: its own first."""
    data = [task.data, task.few_shot.data]
    return [task.file, *(_beside(task, each) for each in data if each)]


def _beside(task: Declaration, name: str) -> Path:
    return task.file.parent / name


def _numbered(
    task: Declaration, rows: list[Row], where: Mapping[str, Any], setting: str
) -> list[tuple[int, Row]]:
    numbers = {id(row): number for number, row in enumerate(rows)}
    return [(numbers[id(row)], row) for row in chosen(rows, where, task.at(setting))]


def _template(task: Declaration, setting: str, source: str) -> Template:
    line = task.lines.get(f"{setting}:text", task.lines.get(setting, 1))
    return Template(source, str(task.file), line, setting)


def _field(
    task: Declaration, setting: str, value: str | tuple[str, ...], columns: list[str]
) -> Field:
    if isinstance(value, str) and value in columns:
        return Field(value, ())
    texts = (value,) if isinstance(value, str) else value
    templates = tuple(_template(task, setting, text) for text in texts)
    if isinstance(value, str) and "{" not in value:
        raise ConfigError(
            f"{task.at(setting)} must be a column ({', '.join(columns[:20])}) or a template such "
            f"as '{{{{ {columns[0]} }}}}'. Got {value[:60]!r}"
        )
    for text, template in zip(texts, templates, strict=True):
        # Letters are choices as they are, beside columns of the same names.
        if text in columns and (setting == "target" or len(text) > 1):
            raise ConfigError(
                f"{task.at(setting)} is a list of templates; for the column write "
                f"'{{{{ {text} }}}}'. Got {text[:60]!r}"
            )
        template.check(columns)
    return Field(None, templates)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"expected a text or a number. Got {str(value)[:60]}")
    if not str(value):
        raise DataError("expected a text, but it is empty")
    return str(value)

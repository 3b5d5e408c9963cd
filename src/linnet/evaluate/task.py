"""What a model is put to: a task gives examples, prompts for each, and scores of the answers.

    task.examples() -> task.prompts(example) -> the engine -> task.scores(example, answers)
                    -> metrics of all scores

A prompt is a text to continue (``Request``) or a text whose likelihood is asked for
(``Continuation``), and a task has as many of them to an example as it needs, or none. An item
that fails is named and counted, and is in no figure. What the model is asked goes through one
engine, which is opened once for all tasks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from linnet import artifact
from linnet.errors import LinnetError, ModelError
from linnet.evaluate.held_out import (
    EvenSample,
    HeldOut,
    even_sample,
    from_shards,
    from_text,
    same_vocabulary,
)
from linnet.evaluate.metrics import METRICS, Figure, measure
from linnet.generate.engine import Completion, Continuation, Likelihood, Request, completion

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate.config import EvaluateConfig
    from linnet.generate.engine import Engine
    from linnet.progress import Progress

Prompt: TypeAlias = Request | Continuation
Answer: TypeAlias = Completion | Likelihood

REQUESTS_AT_ONCE = 256


@dataclass(frozen=True)
class Example:
    """One thing to be scored."""

    id: str
    data: Any
    """What the task knows of it."""
    size: int = 1
    """How much work it is, beside the others."""


@dataclass(frozen=True)
class Item:
    """An example, answered and scored."""

    id: str
    scores: Mapping[str, float]
    """Numbers by name, of which metrics make figures; empty where it failed."""
    detail: Any = None
    """What else the task has to say of it."""
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class TaskResult:
    """What came of a task."""

    name: str
    items: tuple[Item, ...]
    figures: dict[str, Figure]
    facts: dict[str, Any]
    """What else is known, such as how much text was searched."""

    @property
    def failed(self) -> list[Item]:
        """The items that could not be scored."""
        return [item for item in self.items if item.error is not None]

    def to_json(self) -> dict[str, Any]:
        """As plain values: figures, the scores of every item, and which failed."""
        return {
            "items": len(self.items),
            "failed": {item.id: item.error for item in self.failed},
            "figures": {name: _plain(figure) for name, figure in self.figures.items()},
            "scores": {item.id: dict(item.scores) for item in self.items if item.error is None},
            **self.facts,
        }


@dataclass
class Run:
    """One model that tasks are run on, with all that they may ask for."""

    engine: Engine
    data: Path
    """Held-out text: encoded shards, a file or a folder."""
    training: Artifact | None
    """The corpus that the model was trained on, where it is known."""
    config: EvaluateConfig
    progress: Progress
    results: dict[str, TaskResult] = field(default_factory=dict)
    """Of the tasks that ran before."""

    @cached_property
    def held_out(self) -> HeldOut:
        """The documents to score, or an even sample of them."""
        tokenizer, config = self.engine.tokenizer, self.config
        if self.split is None:
            return from_text(self.data, tokenizer, max_bytes=config.max_bytes)
        from linnet.shards import Shards
        from linnet.tokenizer import load as load_tokenizer

        shards = Shards.open(self.data)
        if not same_vocabulary(tokenizer, load_tokenizer(shards.tokenizer_path)):
            raise ModelError(
                f"{self.data} was encoded with another tokenizer than this model's; encode its "
                "corpus with the model's tokenizer, or give the text itself"
            )
        return from_shards(shards, tokenizer, split=config.split, max_bytes=config.max_bytes)

    @property
    def split(self) -> str | None:
        """The split of encoded shards that is scored; None for text."""
        return self.config.split if artifact.is_artifact(self.data) else None

    def training_texts(self) -> Iterator[str]:
        """All of the training text, a document at a time; nothing where there is none."""
        if self.training is None:
            return
        from linnet.data import read_documents

        for document in read_documents(self.training.path, "train", columns=("text",)):
            yield document.text

    @cached_property
    def training_sample(self) -> EvenSample[str]:
        """As much of it as ``baseline_bytes`` allows, evenly."""
        limit = self.config.baseline_bytes
        sample = even_sample(
            self.training_texts(), size=lambda text: len(text.encode()), limit=limit
        )
        return EvenSample([text[:limit] for text in sample.items], sample.of_items, sample.of_size)


class Task(ABC):
    """One kind of thing to measure. A new one is a class and a line in ``evaluate.tasks``."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What is done, as progress says it."""
    unit: ClassVar[str] = "items"
    """What the size of an example counts."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """The names of the figures that become of its scores."""
    after: ClassVar[tuple[str, ...]] = ()
    """Tasks whose results it reads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.facts: dict[str, Any] = {}

    @abstractmethod
    def examples(self) -> Iterable[Example]:
        """What is to be scored; nothing where there is nothing to do it with."""

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """What the model is asked for an example."""
        return ()

    @abstractmethod
    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Numbers by name, from the answers to its prompts in order.

        Raises LinnetError for an answer that cannot be scored.
        """

    def detail(self, example: Example, answers: Sequence[Answer]) -> Any:
        """What else there is to say of an example."""
        return None


def run_task(make: Callable[[Run], Task], run: Run) -> TaskResult:
    """Put the model to a task; its result is kept in ``run.results`` as well."""
    task = make(run)
    examples = list(task.examples())
    prompts = [task.prompts(example) for example in examples]
    total = sum(example.size for example in examples)
    items = []
    with run.progress.task(task.about, total=total, unit=task.unit) as shown:
        answers = _answers(run.engine, [prompt for own in prompts for prompt in own])
        for example, own in zip(examples, prompts, strict=True):
            items.append(_item(task, example, [next(answers) for _ in own]))
            shown.advance(example.size)
    config = run.config
    scored = [item.scores for item in items if item.error is None]
    if items and not scored:
        raise ModelError(f"{task.name}: no item could be scored; the first: {items[0].error}")
    figures = {
        name: measure(
            METRICS[name],
            scored,
            level=config.level,
            resamples=config.resamples,
            seed=config.seed,
        )
        for name in task.metrics
        if scored
    }
    if len(scored) < len(items):
        first = next(item for item in items if item.error is not None)
        run.progress.warn(
            f"{task.name}: {len(items) - len(scored)} of {len(items)} items could not be scored "
            f"and are in no figure; {first.id}: {first.error}"
        )
    result = TaskResult(task.name, tuple(items), figures, task.facts)
    run.results[task.name] = result
    return result


def _item(task: Task, example: Example, answers: Sequence[Answer | LinnetError]) -> Item:
    for answer in answers:
        if isinstance(answer, LinnetError):
            return Item(example.id, {}, error=str(answer))
    good = [answer for answer in answers if not isinstance(answer, LinnetError)]
    try:
        scores = task.scores(example, good)
        detail = task.detail(example, good)
    except LinnetError as error:
        return Item(example.id, {}, error=str(error))
    for name, score in scores.items():
        if not math.isfinite(score):
            return Item(example.id, {}, error=f"{name} is not a number: {score}")
    return Item(example.id, scores, detail)


def _answers(engine: Engine, prompts: Sequence[Prompt]) -> Iterator[Answer | LinnetError]:
    """The answers in order; many prompts are computed together."""
    likelihoods = engine.likelihoods(each for each in prompts if isinstance(each, Continuation))
    requests = [prompt for prompt in prompts if isinstance(prompt, Request)]
    completions = _completions(engine, requests)
    for prompt in prompts:
        yield next(completions if isinstance(prompt, Request) else likelihoods)


def _completions(engine: Engine, requests: Sequence[Request]) -> Iterator[Completion | LinnetError]:
    for start in range(0, len(requests), REQUESTS_AT_ONCE):
        opened = []
        for request in requests[start : start + REQUESTS_AT_ONCE]:
            try:
                opened.append((request, engine.stream(request)))
            except LinnetError as error:
                opened.append((request, iter([error])))  # type: ignore[list-item]
        for request, stream in opened:
            try:
                chunks = list(stream)
            except LinnetError as error:
                yield error
                continue
            yield chunks[0] if isinstance(chunks[0], LinnetError) else completion(request, chunks)


def _plain(figure: Figure) -> dict[str, Any]:
    interval = figure.interval
    return {
        "value": figure.value,
        "items": figure.items,
        "seed": figure.seed,
        **({} if interval is None else {"low": interval.low, "high": interval.high,
                                        "level": interval.level}),
    }  # fmt: skip

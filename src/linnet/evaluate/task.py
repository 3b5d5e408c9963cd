"""What a model is put to: a task gives examples, prompts for each, and scores of the answers.

    task.examples() -> task.prompts(example) -> the engine -> task.scores(example, answers)
                    -> metrics of all scores

A task says what it needs (``needs``), and a model or a run without it is refused before anything is
computed. A prompt is a text to continue (``Request``) or a text whose likelihood is asked for
(``Continuation``), and a task has as many of them to an example as it needs, or none. An item
that fails is named and counted, and is in no figure. What the model is asked goes through one
engine, which is opened once for all tasks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from linnet import artifact
from linnet.errors import ConfigError, DataError, LinnetError, ModelError
from linnet.evaluate.config import TasksConfig
from linnet.evaluate.figures import Figure, UndefinedError, measure
from linnet.evaluate.held_out import (
    EvenSample,
    HeldOut,
    even_sample,
    from_shards,
    from_text,
    same_vocabulary,
)
from linnet.evaluate.metrics import METRICS
from linnet.generate.engine import Completion, Continuation, Likelihood, Request, completion

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate.config import EvaluateConfig
    from linnet.generate.engine import Engine
    from linnet.progress import Progress

Prompt: TypeAlias = Request | Continuation
Answer: TypeAlias = Completion | Likelihood

Need: TypeAlias = Literal["text", "corpus", "place", "chat_template"]
"""What a task may need: held-out text, the training text, a file or directory of its own (named as
``TASK=PLACE``), a model with a chat template. All engines generate and give likelihoods."""

REQUESTS_AT_ONCE = 256


class UnscoredError(ModelError):
    """No item of a task could be scored."""


@dataclass(frozen=True)
class Example:
    """One thing to be scored."""

    id: str
    data: Any
    """What the task knows of it."""
    size: int = 1
    """How much work it is, beside the others."""
    group: str = ""
    """Of which there should be as many as of others, where only some are taken."""


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
    undefined: dict[str, str] = field(default_factory=dict)
    """Why there is no figure, by metric."""

    @property
    def failed(self) -> list[Item]:
        """The items that could not be scored."""
        return [item for item in self.items if item.error is not None]

    def to_json(self) -> dict[str, Any]:
        """As plain values: figures, the scores of every item, and which failed."""
        return {
            "items": len(self.items),
            "failed": {item.id: item.error for item in self.failed},
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            **({"undefined": self.undefined} if self.undefined else {}),
            "scores": {item.id: dict(item.scores) for item in self.items if item.error is None},
            **self.facts,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each item with all that is known of it, as plain values."""
        for item in self.items:
            row: dict[str, Any] = {"task": self.name, "id": item.id, "scores": dict(item.scores)}
            if item.error is not None:
                row["error"] = item.error
            if isinstance(item.detail, Mapping):
                row |= item.detail
            yield row


@dataclass
class Run:
    """One model that tasks are run on, with all that they may ask for."""

    engine: Engine
    data: Path | None
    """Held-out text: encoded shards, a file or a folder."""
    training: Artifact | None
    """The corpus that the model was trained on, where it is known."""
    config: TasksConfig
    progress: Progress
    places: Mapping[str, Path] = field(default_factory=dict)
    """The file or directory of its own that a task reads, by the task's name."""
    results: dict[str, TaskResult] = field(default_factory=dict)
    """Of the tasks that ran before."""
    model: Path | None = None
    """The directory of the model, where it has one."""

    @cached_property
    def held_out(self) -> HeldOut:
        """The documents to score, or an even sample of them."""
        tokenizer, config = self.engine.tokenizer, self.config
        if self.data is None:
            raise ConfigError("name the text to score: only a project has shards of its own")
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
        if self.data is None or not artifact.is_artifact(self.data):
            return None
        return self.config.split

    @property
    def converses(self) -> bool:
        """Whether questions are put as a conversation."""
        if self.config.style in ("auto", "bare"):
            return self.engine.tokenizer.chat_template is not None
        return self.config.style == "chat"

    @property
    def corpus(self) -> Path | None:
        """Where the training text is, if it is known."""
        return self.training.path if self.training is not None else None

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

    name: str
    about: str
    """What is done, as progress says it."""
    unit: str = "items"
    """What the size of an example counts."""
    metrics: tuple[str, ...] = ()
    """The names of the figures that become of its scores."""
    after: tuple[str, ...] = ()
    """Tasks whose results it reads."""
    needs: tuple[Need, ...] = ()
    """What there must be; checked before anything is computed."""
    converses: bool = False
    """Whether ``style`` decides how it puts its questions."""
    sampled: bool = True
    """Whether ``limit`` bounds its items."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.facts: dict[str, Any] = {}

    @property
    def place(self) -> Path | None:
        """The file or directory that it was told to read."""
        return self.run.places.get(self.name)

    def require(self) -> None:
        """Raise LinnetError where something that it needs is missing."""
        run, needs = self.run, self.needs
        if "text" in needs and run.data is None:
            raise ConfigError(
                f"--task {self.name} needs held-out text: name a file, a folder or shards after "
                "the model"
            )
        if "corpus" in needs and run.training is None:
            raise ConfigError(f"--task {self.name} needs the training text: name it with --corpus")
        if "place" in needs and self.place is None:
            raise ConfigError(f"--task {self.name} reads a file: write --task {self.name}=FILE")
        asked_to = self.converses and run.config.style == "chat"
        if ("chat_template" in needs or asked_to) and run.engine.tokenizer.chat_template is None:
            raise ModelError(
                f"--task {self.name} needs a model with a chat template, which this one has not; "
                "fine-tune it to converse, or put the task as plain text"
            )

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
        """What else there is to say of an example: plain values by name are kept beside scores."""
        return None

    def together(self, items: list[Item]) -> list[Item]:
        """The items that were scored, with scores that depend on all of them."""
        return items


def run_task(make: Callable[[Run], Task], run: Run) -> TaskResult:
    """Put the model to a task; its result is kept in ``run.results`` as well.

    Raises UnscoredError where no item could be scored; the result is kept even so.
    """
    task = make(run)
    examples = _limited(list(task.examples()), task, run.config)
    prompts = [task.prompts(example) for example in examples]
    total = sum(example.size for example in examples)
    items = []
    with run.progress.task(task.about, total=total, unit=task.unit) as shown:
        answers = _answers(run.engine, [prompt for own in prompts for prompt in own])
        for example, own in zip(examples, prompts, strict=True):
            items.append(_item(task, example, [next(answers) for _ in own]))
            shown.advance(example.size)
    scored = task.together([item for item in items if item.error is None])
    found = {item.id: item for item in scored}
    items = [found.get(item.id, item) if item.error is None else item for item in items]
    figures, undefined = figures_of(task.metrics, scored, run.config)
    result = TaskResult(task.name, tuple(items), figures, task.facts, undefined)
    run.results[task.name] = result
    if not items and "place" in task.needs:
        raise UnscoredError(f"{task.name}: {task.place} has nothing to ask")
    if items and not scored:
        raise UnscoredError(f"{task.name}: no item could be scored; the first: {items[0].error}")
    if len(scored) < len(items):
        first = next(item for item in items if item.error is not None)
        run.progress.warn(
            f"{task.name}: {len(items) - len(scored)} of {len(items)} items could not be scored "
            f"and are in no figure; {first.id}: {first.error}"
        )
    return result


def figures_of(
    names: Iterable[str], items: Sequence[Item], config: EvaluateConfig
) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures of these metrics, and why there is none of the others."""
    figures, undefined = {}, {}
    scores = [item.scores for item in items]
    for name in names if items else ():
        try:
            figures[name] = measure(
                METRICS[name],
                scores,
                level=config.level,
                resamples=config.resamples,
                seed=config.seed,
            )
        except UndefinedError as error:
            undefined[name] = str(error)
    return figures, undefined


def _limited(examples: list[Example], task: Task, config: TasksConfig) -> list[Example]:
    """As many as the limit allows, in their order; ids must differ, as items are known by them."""
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise DataError(f"{task.name}: two items have the id {example.id}; ids must differ")
        seen.add(example.id)
    if not task.sampled or config.limit is None or len(examples) <= config.limit:
        return examples
    order = np.random.default_rng(config.seed).permutation(len(examples))
    turns: Counter[str] = Counter()
    ranked = []
    for place in order.tolist():
        group = examples[place].group
        ranked.append((turns[group], place))
        turns[group] += 1
    # The first of each group, then the second ones, ...
    taken = sorted(range(len(ranked)), key=lambda rank: (ranked[rank][0], rank))[: config.limit]
    task.facts["of_items"] = len(examples)
    return [examples[place] for place in sorted(ranked[rank][1] for rank in taken)]


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

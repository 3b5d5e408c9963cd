"""What the model writes, and what of it stands in its training text, letter for letter.

Each continuation is searched for in the training text. How much of it is there means little
alone (stock phrases are everywhere), so the real continuations of the same documents, cut to
the same length, are searched for as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from linnet.evaluate.overlap import Overlap, longest_overlaps
from linnet.evaluate.task import Answer, Example, Prompt, Task
from linnet.generate.engine import Completion, Request
from linnet.generate.sampling import Sampling

PROMPT_WORDS = 6
PROMPT_CHARACTERS = 60


@dataclass(frozen=True)
class Sample:
    """One continuation, its seed and, when training text was searched, the overlaps."""

    prompt: str
    text: str
    seed: int
    temperature: float
    overlap: Overlap | None = None
    real_overlap: Overlap | None = None
    """The same for the continuation that the document really has."""


class Continuations(Task):
    """What is written on from held-out beginnings.

    Prompts and seeds are fixed, so two models can be read side by side.
    """

    needs = ("text",)

    def beginnings(self, count: int) -> Iterator[Example]:
        """Beginnings of documents, each with a seed and what follows it."""
        texts = [document.text for document in self.run.held_out.documents]
        for number, (prompt, real) in enumerate(choose_prompts(texts, count)):
            yield Example(str(number), (prompt, self.run.config.seed + number, real))

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The beginning."""
        config = self.run.config
        prompt, seed, _ = example.data
        sampling = Sampling(
            max_tokens=config.sample_tokens, temperature=config.temperature, seed=seed
        )
        return [Request(prompt, sampling)]


class Samples(Continuations):
    """Continuations to be read."""

    name = "samples"
    sampled = False
    about = "writing samples"

    def examples(self) -> Iterator[Example]:
        """A few beginnings."""
        yield from self.beginnings(self.run.config.samples)

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """How much was written."""
        (answer,) = answers
        assert isinstance(answer, Completion)
        return {"tokens": len(answer.tokens), "characters": len(answer.text)}

    def detail(self, example: Example, answers: Sequence[Answer]) -> tuple[Sample, str]:
        """The sample, and the real continuation cut to its length."""
        (answer,) = answers
        assert isinstance(answer, Completion)
        prompt, seed, real = example.data
        sample = Sample(prompt, answer.text, seed, self.run.config.temperature)
        return sample, real[: len(answer.text)]


class Overlaps(Task):
    """The longest passage that each sample, and each real continuation, shares with training."""

    name = "overlap"
    sampled = False
    about = "searching for repeated passages"
    metrics = ("longest_overlap", "longest_real_overlap")
    after = ("samples",)

    def examples(self) -> Iterator[Example]:
        """The samples with what was found, where there is text to search."""
        samples = [item for item in self.run.results["samples"].items if item.error is None]
        self.facts = {"searched_bytes": 0}
        if not samples or self.run.training is None or not self.run.config.overlap_bytes:
            return
        texts = [sample.text for sample, _ in (item.detail for item in samples)]
        texts += [real for _, real in (item.detail for item in samples)]
        with self.run.progress.task(self.about, unit="bytes") as shown:
            found = longest_overlaps(texts, searched(self, shown.advance))
        for place, item in enumerate(samples):
            yield Example(item.id, (found[place], found[len(samples) + place]))

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """The lengths of both."""
        own, real = example.data
        return {"overlap": own.characters, "real_overlap": real.characters}

    def detail(self, example: Example, answers: Sequence[Answer]) -> object:
        """Both passages."""
        return example.data


def searched(task: Task, advance: Callable[[float], object]) -> Iterator[str]:
    """The training text that is searched, as much as the settings allow; how much is noted."""
    task.facts["searched_bytes"] = 0
    for text in task.run.training_texts():
        size = len(text.encode())
        if task.facts["searched_bytes"] + size > task.run.config.overlap_bytes:
            return
        task.facts["searched_bytes"] += size
        advance(size)
        yield text


def choose_prompts(texts: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Beginnings of documents with what follows them, spread evenly over the documents."""
    count = min(count, len(texts))
    chosen = [texts[place * len(texts) // count] for place in range(count)]
    return [_divide(text) for text in chosen]


def _divide(text: str) -> tuple[str, str]:
    """The first whole words, without the white space after them, and the rest."""
    words = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", text)
    end = words.end() if words else 0
    if end > PROMPT_CHARACTERS:  # back to the end of a word, unless there is but one
        end = max(text.rfind(" ", 0, PROMPT_CHARACTERS + 1), 0) or PROMPT_CHARACTERS
    return text[:end], text[end:]

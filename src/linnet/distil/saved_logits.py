"""What a teacher expects at each place of a text, saved, so that students need it no more.

Of each place the likeliest tokens are kept, and the mass of all others together: the divergence
over these is never more than that over all tokens, and equals it where all tokens are kept. In the
directory:

    logits-00001.safetensors    ids and fp16 log-probabilities, likeliest first, and the log of the
                                rest's mass, of the trained tokens of some examples, in order
    examples.safetensors        the examples: tokens, and which of them are trained
    held_out.safetensors        those that a student is validated on
    config.json, tokenizer.*    the teacher's shape and tokenizer

A file is written whole, so that an interrupted run goes on behind the last one.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from linnet import artifact
from linnet.distil.teachers import Expected
from linnet.errors import ConfigError, StoppedError
from linnet.finetune.packing import PackedBatches, make_batch, pack
from linnet.finetune.replay import read_examples, save_examples
from linnet.model.checkpoint import copy_tokenizer
from linnet.model.config_file import CONFIG, GENERATION
from linnet.progress import SILENT, Progress
from linnet.train.state import damage_named, read_numbers, write_tensors

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.distil.teachers import Reading, Teacher
    from linnet.finetune.encoding import Example
    from linnet.shards.batches import Batch
    from linnet.train.distributed import Interrupt
    from linnet.train.stream import Context

KIND = "logits"
PART_BYTES = 8 << 20
_CHUNK_LOGITS = 1 << 22
_SHORT = 1 << 16
"""Tokens whose ids fit into 16 bits."""
NOTHING = -60.0
"""The log of a mass that is none."""
LEAST = torch.finfo(torch.float16).min
"""The smallest log-probability that can be kept; at a low temperature there are smaller ones."""


def is_saved_logits(path: Path) -> bool:
    """Whether a directory has logits that were saved."""
    return artifact.is_artifact(path) and artifact.read(path).manifest.kind == KIND


@dataclass(frozen=True)
class SavedFigures:
    """What was saved."""

    places: int
    rest: float
    """The mean mass of the tokens that are not told apart."""


def save_logits(
    teacher: Teacher,
    examples: Sequence[Example],
    directory: Path,
    *,
    k: int,
    temperature: float,
    rows: int,
    length: int,
    device: str,
    interrupt: Interrupt,
    progress: Progress = SILENT,
) -> SavedFigures:
    """Write what a teacher expects of examples into ``directory``; files that are there stay.

    ``rows`` of ``length`` are computed at once. Raises StoppedError when ``interrupt`` says so.
    """
    k = min(k, teacher.tokens)
    total = sum(int(each.trained.sum()) for each in examples)
    done, rest = 0, 0.0
    with progress.task("what the teacher expects", total=total, unit="tokens") as task:
        for number, part in enumerate(_parts(examples, k), 1):
            file = _file(directory, number)
            if not file.is_file():
                found = _Part.empty(part, k)
                for batch, places in _batches(part, rows=rows, length=length):
                    if interrupt.requested:
                        raise StoppedError(
                            f"stopped and saved {done:,} of {total:,} places; run the same "
                            "command again to carry on"
                        )
                    _fill(found, teacher, batch.to(device), places, k, temperature)
                found.write(file, len(part), teacher.tokens)
            numbers = read_numbers(file)
            done, rest = done + numbers["places"], rest + numbers["rest"]
            task.update(done=done)
    return SavedFigures(done, rest / max(1, done))


def save_sources(
    directory: Path, teacher: Path, examples: Sequence[Example], held_out: Sequence[Example]
) -> None:
    """Write beside them what a student needs besides."""
    copy_tokenizer(teacher, directory)
    for name in (CONFIG, GENERATION):
        if (teacher / name).is_file():
            shutil.copyfile(teacher / name, directory / name)
    save_examples(directory / "examples.safetensors", examples)
    if held_out:
        save_examples(directory / "held_out.safetensors", held_out)


@dataclass(frozen=True)
class SavedLogits:
    """As a teacher: reads what :class:`SavedBatches` put into the batches."""

    found: Artifact

    @classmethod
    def open(cls, path: Path | str) -> SavedLogits:
        """Those in a directory. Raises ArtifactError."""
        found = cls(artifact.read(path, kind=KIND, verify=True))
        with damage_named(found.found.path / artifact.MANIFEST):
            found._judge()
        return found

    @property
    def tokens(self) -> int:
        """See :class:`linnet.distil.teachers.Teacher`."""
        return int(self.found.stats["vocabulary"])

    @property
    def k(self) -> int:
        """How many tokens each place tells apart."""
        return int(self.found.stats["k"])

    @property
    def temperature(self) -> float:
        """At which they were computed."""
        return float(self.found.stats["temperature"])

    @property
    def length(self) -> int:
        """Of the rows that the examples were made for."""
        return int(self.found.stats["context"])

    @cached_property
    def examples(self) -> list[Example]:
        """What they are of."""
        return self._read("examples.safetensors")

    @cached_property
    def held_out(self) -> list[Example]:
        """What a student is validated on."""
        there = (self.found.path / "held_out.safetensors").is_file()
        return self._read("held_out.safetensors") if there else []

    def _read(self, name: str) -> list[Example]:
        found = read_examples(self.found.path / name)
        with damage_named(self.found.path / name):
            for each in found:
                if not 2 <= len(each.tokens) <= self.length + 1:
                    raise ValueError(
                        f"it has an example of {len(each.tokens)} tokens, in rows of {self.length}"
                    )
                if int(each.tokens.max()) >= self.tokens:
                    raise ValueError("it names tokens that there are none of")
        return found

    @property
    def reading(self) -> Mapping[str, Any]:
        """The settings that the text was read with."""
        found: Mapping[str, Any] = self.found.stats.get("reading", {})
        return found

    def _judge(self) -> None:
        """Raise ValueError or KeyError for figures that no run writes: a stranger may have."""
        stats = self.found.stats
        for name in ("vocabulary", "k", "context"):
            if not isinstance(stats[name], int) or isinstance(stats[name], bool) or stats[name] < 1:
                raise ValueError(f"{name} must be a whole number above 0: {stats[name]!r:.40}")
        if self.k > self.tokens:
            raise ValueError(f"it keeps {self.k} of {self.tokens} tokens")
        temperature = stats["temperature"]
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a number above 0: {temperature!r:.40}")
        if not isinstance(self.reading, Mapping):
            raise ValueError(f"reading must be an object: {self.reading!r:.40}")
        first = _file(self.found.path, 1)
        if first.is_file():
            with damage_named(first), safe_open(str(first), framework="pt") as opened:
                shape = opened.get_slice("ids").get_shape()
            if len(shape) != 2 or shape[1] != self.k:
                raise ValueError(f"k is {self.k}, but the files have another: {shape}")

    def of(self, number: int) -> tuple[Tensor, Tensor]:
        """Ids ``(n, k)`` and log-probabilities ``(n, k + 1)`` of an example's trained tokens."""
        part = int(np.searchsorted(self._ends, number, side="right"))
        start = int(self._starts[number])
        here = slice(start, start + int(self.examples[number].trained.sum()))
        file = _file(self.found.path, part + 1)
        with damage_named(file):
            opened = self._opened(part)
            ids = opened.get_slice("ids")[here].long()
            if self.tokens <= _SHORT:
                ids &= _SHORT - 1  # kept in 16 bits with a sign
            likely = opened.get_slice("log_probs")[here].float()
            rest = opened.get_slice("rest")[here].float()
            if ids.shape != (here.stop - start, self.k) or ids.shape != likely.shape:
                raise ValueError(f"it is of other examples: {tuple(ids.shape)}")
            if bool((ids < 0).any()) or int(ids.max()) >= self.tokens:
                raise ValueError("it names tokens that there are none of")
            if not bool(likely.isfinite().all() and rest.isfinite().all()):
                raise ValueError("it has log-probabilities that are no numbers")
        # Rounded to 16 bits, they add up to 1 only nearly.
        return ids, torch.cat((likely, rest[:, None]), 1).log_softmax(1)

    def require_temperature(self, temperature: float) -> None:
        """Raise ConfigError for another: the rest's mass is known at one only."""
        if temperature != self.temperature:
            raise ConfigError(
                f"{self.found.path}: these logits were saved at --temperature "
                f"{self.temperature:g}. Got {temperature:g}; save them again at that"
            )

    def read(self, batch: Batch, chosen: Tensor) -> Reading:
        """See :class:`linnet.distil.teachers.Teacher`."""
        return _Saved(
            batch["teacher_ids"].flatten(0, 1)[chosen].long(),
            batch["teacher_log_probs"].flatten(0, 1)[chosen],
            self.tokens,
        )

    @cached_property
    def _ends(self) -> Any:
        """Behind which example each file ends."""
        sizes: list[int] = []
        while (file := _file(self.found.path, len(sizes) + 1)).is_file():
            with damage_named(file):
                sizes.append(int(read_numbers(file)["examples"]))
        ends = np.cumsum(sizes)
        with damage_named(self.found.path / "examples.safetensors"):
            if not sizes or ends[-1] != len(self.examples):
                raise ValueError(f"it has {len(self.examples)} examples, logits of {sum(sizes)}")
        return ends

    @cached_property
    def _starts(self) -> Any:
        """Where each example begins in its file."""
        sizes = np.array([int(each.trained.sum()) for each in self.examples])
        before = np.cumsum(sizes) - sizes
        first = np.concatenate(([0], self._ends[:-1]))
        return before - np.repeat(before[first], np.diff(np.append(first, len(sizes))))

    @cached_property
    def _files(self) -> dict[int, Any]:
        return {}

    def _opened(self, part: int) -> Any:
        if part not in self._files:
            self._files[part] = safe_open(str(_file(self.found.path, part + 1)), framework="pt")
        return self._files[part]


@dataclass(frozen=True)
class _Saved:
    ids: Tensor
    log_probs: Tensor
    tokens: int

    def expected(self, part: slice, temperature: float) -> Expected:
        """See :class:`linnet.distil.teachers.Reading`."""
        ids, log_probs = self.ids[part], self.log_probs[part]
        if ids.shape[1] < self.tokens:
            return Expected(log_probs, ids)
        whole = torch.empty_like(log_probs[:, :-1])
        return Expected(whole.scatter_(1, ids, log_probs[:, :-1].log_softmax(1)))


class SavedBatches:
    """As a stream: packed examples, with what the teacher expects of them beside."""

    def __init__(self, saved: SavedLogits, *, rows: int, length: int, seed: int) -> None:
        self.saved = saved
        self.packed = PackedBatches(saved.examples, rows=rows, length=length, seed=seed)

    def batches_in(self, epochs: float) -> int:
        """Batches until every example has been read so many times."""
        return self.packed.batches_in(epochs)

    def next(self, context: Context | None = None) -> Batch:
        """The next batch."""
        rows = self.packed.draw()
        examples, length = self.packed.examples, self.packed.length
        batch = make_batch([[examples[index] for index in row] for row in rows], length=length)
        ids = torch.zeros(len(rows), length, self.saved.k, dtype=torch.int32)
        log_probs = torch.zeros(len(rows), length, self.saved.k + 1)
        for place, row in enumerate(rows):
            start = 0
            for index in row:
                where = start + np.flatnonzero(examples[index].trained[1:])
                ids[place, where], log_probs[place, where] = _narrow(self.saved.of(index))
                start += examples[index].places
        tensors = {**batch.tensors, "teacher_ids": ids, "teacher_log_probs": log_probs}
        return batch.replaced(tensors)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from."""
        return self.packed.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.packed.restore(state)


def _narrow(found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return found[0].int(), found[1]


@dataclass(frozen=True)
class _Part:
    """What goes into one file."""

    ids: Tensor
    log_probs: Tensor
    rest: Tensor
    """The log of the rest's mass."""
    starts: list[int]
    """Of each example."""

    @classmethod
    def empty(cls, examples: Sequence[Example], k: int) -> _Part:
        sizes = [int(each.trained.sum()) for each in examples]
        starts = [0, *np.cumsum(sizes).tolist()]
        count = starts[-1]
        return cls(
            torch.zeros(count, k, dtype=torch.int32), torch.zeros(count, k, dtype=torch.float16),
            torch.zeros(count), starts,
        )  # fmt: skip

    def write(self, file: Path, examples: int, vocabulary: int) -> None:
        ids = self.ids.to(torch.int16) if vocabulary <= _SHORT else self.ids
        numbers = {
            "examples": examples, "places": len(self.rest), "rest": float(self.rest.exp().sum())
        }  # fmt: skip
        tensors = {"ids": ids, "log_probs": self.log_probs, "rest": self.rest}
        write_tensors(file, tensors, numbers)


def _file(directory: Path, number: int) -> Path:
    return directory / f"logits-{number:05d}.safetensors"


def _parts(examples: Sequence[Example], k: int) -> list[Sequence[Example]]:
    """The examples, in order, as many at a time as a file has."""
    most = max(1, PART_BYTES // (6 * k))
    parts: list[list[Example]] = []
    size = most
    for example in examples:
        if size >= most:
            parts.append([])
            size = 0
        parts[-1].append(example)
        size += int(example.trained.sum())
    return list(parts)


def _batches(
    examples: Sequence[Example], *, rows: int, length: int
) -> list[tuple[Batch, list[int]]]:
    """Examples packed into batches, and which of them are in each, in the order of its places."""
    places = np.array([each.places for each in examples])
    bins = pack(list(range(len(examples))), places, length=length)
    found = []
    for start in range(0, len(bins), rows):
        some = bins[start : start + rows]
        batch = make_batch([[examples[index] for index in row] for row in some], length=length)
        found.append((batch, [index for row in some for index in row]))
    return found


@torch.no_grad()
def _fill(
    part: _Part, teacher: Teacher, batch: Batch, inside: list[int], k: int, temperature: float
) -> None:
    """Put what a teacher expects of a batch into its places."""
    assert batch.loss_mask is not None
    chosen = batch.loss_mask.flatten()
    reading = teacher.read(batch, chosen)
    count = int(chosen.sum())
    where = np.concatenate([np.arange(part.starts[i], part.starts[i + 1]) for i in inside])
    step = max(16, _CHUNK_LOGITS // teacher.tokens)
    for start in range(0, count, step):
        here = slice(start, min(start + step, count))
        log_probs = reading.expected(here, temperature).log_probs
        likely, ids = log_probs.topk(k, dim=1)
        left = log_probs.scatter(1, ids, -torch.inf).logsumexp(1).clamp(min=NOTHING)
        places = torch.from_numpy(where[here])
        part.ids[places] = ids.int().cpu()
        part.log_probs[places] = likely.clamp(min=LEAST).half().cpu()
        part.rest[places] = left.cpu()

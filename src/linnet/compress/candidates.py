"""Candidates: the files that a model is written as, and how each is made and measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet.bench.comparison import ask
from linnet.bench.worker import Measurement
from linnet.compress.blockwise import make_smaller
from linnet.compress.choice import Loss
from linnet.compress.mixing import LADDER, Option, mix
from linnet.compress.packed import packed_bytes, packed_errors, write_packed
from linnet.compress.quality import Floats, nats
from linnet.compress.sensitivity import role_of
from linnet.export.config import ExportConfig, PackedConfig
from linnet.export.gguf import export_gguf, planned_format
from linnet.gguf.architectures import tensors
from linnet.gguf.metadata import read_unchecked
from linnet.gguf.quantisation import Importance, stored_bytes
from linnet.gguf.weights import dequantised, numbers_within
from linnet.model import load_model
from linnet.output import make_directory, move, remove

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.align.encoding import Completion
    from linnet.compress.config import CompressConfig
    from linnet.model import ModelConfig, Transformer

ALIGNMENT = 32
"""Bytes that each tensor of a file is filled up to a multiple of."""
MIXED_BITS = (6.0, 5.0, 4.5, 4.25, 4.0, 3.75, 3.5, 3.25, 3.0)
"""Bits a number, on average, of mixtures that are tried."""
BY_GPTQ = ("q4_k", "iq4_xs", "q3_k")
"""Formats that are tried once more by GPTQ (``linnet.compress.blockwise``)."""
PACKED = {"int8": PackedConfig("int8"), "int4": PackedConfig("int4")}
"""Checkpoints for torch (``linnet.compress.packed``), the second of which is tried by GPTQ, too."""


@dataclass(frozen=True)
class Plan:
    """One way to write the model."""

    name: str
    type: str
    formats: dict[str, str]
    """Of single tensors, in a mixture."""
    bytes: int
    """Of all tensors together, as the file will have them; what it says of the model comes on top.
    """
    gptq: bool = False
    """Whether each matrix of a block gets what is measured to be best for it, and not rounding."""
    expected: float = 0.0
    """What it is expected to cost, in nats per token, by errors and what they cost over the
    calibration text."""

    @property
    def packed(self) -> PackedConfig | None:
        """How a checkpoint for torch is written; None for a file of GGUF."""
        return PACKED.get(self.type)


@dataclass(frozen=True)
class Candidate:
    """A file, with what it was measured to be."""

    name: str
    bytes: int
    """Of the file; where it was not made, at least so many."""
    bits: float
    """For each parameter."""
    loss: Loss | None
    """None of the model itself, and of a file that was not made."""
    speed: Measurement | None
    """None where it was not measured."""
    remark: str = ""
    """Why not."""
    expected: float = 0.0
    """See :class:`Plan`."""


def plans(model: Transformer, options: Mapping[str, Sequence[Option]]) -> Iterator[Plan]:
    """The ways that are tried: one format for all matrices, and mixtures, largest first."""
    known = [(name, tuple(values.shape)) for name, values in tensors(model)]
    seen: set[tuple[bool, tuple[tuple[str, str], ...]]] = set()
    found = []

    def plan(name: str, type: str, own: Mapping[str, str], *, gptq: bool = False) -> None:
        formats = {entry: planned_format(entry, shape, type, own) for entry, shape in known}
        way = gptq, tuple(formats.items())
        if way in seen:  # rows that fall back make two ways one
            return
        seen.add(way)
        sizes = [stored_bytes(shape, formats[entry]) for entry, shape in known]
        total = sum(size + -size % ALIGNMENT for size in sizes)
        errors = [
            option.error
            for entry, each in options.items()
            for option in each
            if option.format == formats[entry]
        ]
        # By GPTQ it costs no more than rounded.
        expected = sum(errors) * (0.999 if gptq else 1.0)
        found.append(Plan(name, type, dict(own), total, gptq, expected))

    for type in LADDER:
        plan(type, type, {})
    for type in BY_GPTQ:
        plan(f"{type} gptq", type, {}, gptq=True)
    shapes = dict(known)
    numbers = sum(math.prod(shapes[name]) for name in options)
    for bits in MIXED_BITS:
        least = sum(each[-1].bytes for each in options.values())
        budget = int(numbers * bits / 8)
        if budget >= least:
            plan(f"mixed {bits:g}", "q8_0", mix(options, budget))
    yield from sorted(found, key=lambda each: -each.bytes)


def packed_plans(
    model: Transformer, importance: Importance, costs: Mapping[str, float]
) -> Iterator[Plan]:
    """Checkpoints for torch. ``costs``: of an error in tensors of each kind. Raises ConfigError and
    ModelError where the model cannot be written so."""
    for type, config in PACKED.items():
        size = packed_bytes(model, config)
        errors = packed_errors(model, config, importance)
        expected = sum(error * costs.get(role_of(name), 1.0) for name, error in errors.items())
        yield Plan(f"torch {type}", type, {}, size, expected=expected)
        if config.bits < 8:
            yield Plan(f"torch {type} gptq", type, {}, size, gptq=True, expected=0.999 * expected)


def make_file(
    plan: Plan,
    source: Path,
    file: Path,
    *,
    model: Transformer,
    importance: Importance,
    rows: Sequence[Tensor],
) -> None:
    """Write the file of a plan, or a directory; the same plan gives the same."""
    if plan.packed is not None:
        neighbour = file.with_name(f".{file.name}.partial")
        remove(neighbour)
        make_directory(neighbour)
        texts = rows if plan.gptq else ()
        write_packed(deepcopy(model), source, neighbour, plan.packed, texts)
        remove(file)
        move(neighbour, file)
        return
    stored = {}
    if plan.gptq:
        formats = {
            name: planned_format(name, tuple(values.shape), plan.type, plan.formats)
            for name, values in tensors(model)
        }
        stored = dict(make_smaller(deepcopy(model), rows, formats).stored)
    export_gguf(
        source, file, ExportConfig(type=plan.type), formats=plan.formats, importance=importance,
        stored=stored, open_once=False,
    )  # fmt: skip


def bytes_of(file: Path) -> int:
    """The size of a file, or of the weights in a directory."""
    weights = file.glob("*.safetensors") if file.is_dir() else [file]
    return sum(each.stat().st_size for each in weights)


def nats_in(file: Path, config: ModelConfig, completions: Sequence[Completion]) -> Floats:
    """What each answer costs the model in a file or a directory, in nats."""
    if file.is_dir():
        return nats(load_model(file, dtype=torch.float32), completions)
    numbers = numbers_within(read_unchecked(file).values, config)
    return nats(dequantised(file, config, numbers=numbers), completions)


def speed_of(
    place: Path, engine: str, precision: str, texts: Sequence[str], config: CompressConfig
) -> tuple[Measurement | None, str]:
    """Speed and memory of a file or a directory, in a process of its own; or why they could not be
    measured."""
    asked: dict[str, Any] = {
        "model": str(place), "texts": list(texts), "prompt_tokens": 64,
        "new_tokens": config.new_tokens, "slots": config.streams, "repeats": config.repeats,
        "lookup": "off", "draft": "", "threads": config.threads,
    }  # fmt: skip
    told = ask(engine, precision, asked)
    return (None, told) if isinstance(told, str) else (Measurement(**told), "")

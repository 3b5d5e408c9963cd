"""A GGUF file's tensors as Hugging Face's layout has them, whatever their number format.

What stands in the file is what llama.cpp computes with. The way back is that of
``linnet.gguf.architectures``: rows change places again, fused tensors are cut. One tensor is read
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet.errors import ModelError
from linnet.gguf.architectures import architecture, joined, named
from linnet.gguf.tensors import TensorFile
from linnet.model import Transformer
from linnet.model.families.apertus import RELU2_AS_XIELU

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import ModelConfig
    from linnet.model.families.record import GGUF

_NOT_WEIGHTS = ("rope_freqs.", "rope_factors_")


@dataclass(frozen=True)
class _Part:
    """The rows of a stored tensor that hold one of ours."""

    member: str
    stored: str
    start: int
    end: int


class ReadWeights(Mapping[str, torch.Size]):
    """Our parameters in a GGUF file, by name: their shapes. None is read yet."""

    def __init__(
        self, file: TensorFile, config: ModelConfig, *, numbers: Mapping[str, Tensor] | None = None
    ) -> None:
        """``numbers``: those that the file has no tensors for.

        Raises ModelError when the file's tensors are not those of ``config``: one is missing, of
        another shape, or does not belong to it.
        """
        self.file, self.config, self._gguf = file, config, architecture(config)
        self._numbers = dict(numbers or {})
        try:
            with torch.device("meta"):
                model = Transformer(config)
        except (RuntimeError, OverflowError):
            raise ModelError(f"{file.file}: its sizes are larger than any model's") from None
        self._shapes: dict[str, torch.Size] = {
            name: tensor.shape for name, tensor in model.state_dict().items()
        }
        self._parts = self._found()
        missing = sorted(self._shapes.keys() - self._parts.keys() - self._numbers.keys())
        if missing:
            wanted = missing[0] if is_outside(missing[0]) else named(missing[0], config)
            raise ModelError(f"{file.file}: the tensor '{wanted}' is missing")

    def __getitem__(self, name: str) -> torch.Size:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def read(self, name: str) -> Tensor:
        """One parameter in fp32."""
        if name in self._numbers:
            return self._numbers[name].reshape(self[name])
        part = self._parts[name]
        if len(self.file[part.stored]) == 1:  # a vector is a single row
            rows = self.file.read(part.stored)[part.start : part.end]
        else:
            rows = self.file.read(part.stored, part.start, part.end)
        values = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
        values = values.reshape(self[name])
        return as_trained(part.member, values, self._gguf, self.config).contiguous()

    def _found(self) -> dict[str, _Part]:
        """Where each parameter lies. Raises ModelError for what does not fit."""
        own = {named(name, self.config): name for name in self._shapes if not is_outside(name)}
        found: dict[str, _Part] = {}
        known = set()
        for stored, members in joined(self._gguf, list(own)):
            if stored not in self.file:
                continue
            known.add(stored)
            shapes = [self._shapes[own[member]] for member in members]
            per_head = members[0].split(".")[-2].isdigit()  # norms, one row for each head
            rows = [1 if per_head else shape[0] for shape in shapes]
            wanted = (sum(rows), *shapes[0][0 if per_head else 1 :])
            if self.file[stored] != wanted:
                raise ModelError(
                    f"{self.file.file}: the tensor '{stored}' must have the shape {wanted}. "
                    f"Got {self.file[stored]}"
                )
            end = 0
            for member, count in zip(members, rows, strict=True):
                start, end = end, end + count
                found[own[member]] = _Part(member, stored, start, end)
        twice = self.config.tied and self._gguf.output == "needed"
        known |= {"output.weight"} if twice else set()
        for stored in self.file:
            if stored not in known and not stored.startswith(_NOT_WEIGHTS):
                raise ModelError(
                    f"{self.file.file}: the tensor '{stored[:80]}' does not belong to this model "
                    "type"
                )
        return found


def dequantised(
    file: Path, config: ModelConfig, *, numbers: Mapping[str, Tensor] | None = None
) -> Transformer:
    """The model in a GGUF file, in fp32; ``numbers``: those that the file has no tensors for.

    Raises ModelError when the file's tensors are not those of ``config``.
    """
    weights = ReadWeights(TensorFile(file), config, numbers=numbers)
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict({name: weights.read(name) for name in weights}, assign=True)
    return model.eval()


def as_trained(name: str, values: Tensor, found: GGUF, config: ModelConfig) -> Tensor:
    """One tensor as Hugging Face's layout has it: ``as_computed`` backwards."""
    part = name.split(".")[-2]
    if part == ("attn_q_norm" if config.qk_norm else "attn_q") and not found.reads_scale:
        wide = found.wide_scale_depth == config.depth
        theirs = (config.width / config.heads if wide else config.head_width) ** -0.5
        ratio = (config.attention_scale or config.head_width**-0.5) / theirs
        if not math.isclose(ratio, 1, rel_tol=1e-6):
            values = values / ratio
    if config.norm == "rmsnorm_offset" and part.endswith("norm"):
        values = values - 1
    if found.pairs and part in ("attn_q", "attn_k"):
        heads = config.heads if part == "attn_q" else config.kv_heads
        pairs = values.reshape(heads, config.head_width // 2, 2, *values.shape[1:])
        values = pairs.transpose(1, 2).reshape(values.shape)
    return values


def is_outside(name: str) -> bool:
    """Whether a GGUF file keeps a parameter among its settings (xIELU's few numbers)."""
    return ".mlp.activation." in name


def numbers_within(values: Mapping[str, object], config: ModelConfig) -> dict[str, Tensor]:
    """The parameters that a GGUF file keeps among its settings. Raises ModelError for others."""
    found: dict[str, Tensor] = {}
    if config.activation != "xielu":
        return found
    for part in RELU2_AS_XIELU:
        listed = values.get(f"xielu.{part}")
        if not isinstance(listed, list) or len(listed) != config.depth:
            raise ModelError(f"the setting xielu.{part} must be a list of {config.depth} numbers")
        if not all(isinstance(value, int | float) for value in listed):
            raise ModelError(f"the setting xielu.{part} must be a list of numbers")
        for layer, value in enumerate(listed):
            found[f"blocks.{layer}.mlp.activation.{part}"] = torch.tensor(float(value))
    return found

"""Weights of 4 or 8 bits in a checkpoint's files, as other programs read and write them.

* ``compressed-tensors`` in its format ``pack-quantized`` (llm-compressor, vLLM, transformers), read
  and written: a matrix ``x.weight`` is stored as ``x.weight_packed``, ``x.weight_scale``,
  ``x.weight_shape`` and, where zero has a code of its own in each group, ``x.weight_zero_point``.
* ``gptq`` (AutoGPTQ, GPTQModel), read: ``x.qweight``, ``x.scales``, ``x.qzeros``, ``x.g_idx``.

A number is ``scale · (code - zero)``; a scale is shared by a group of columns of a row, or by the
row. What ``quantization_config`` says besides is refused by name.

References: https://github.com/vllm-project/compressed-tensors (``compressors/pack_quantized``) and
https://github.com/ModelCloud/GPTQModel (``nn_modules/qlinear``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from linnet.errors import ConfigError, ModelError
from linnet.model.config_file import read_config_file
from linnet.model.families.section import Section, shown
from linnet.model.weights import (
    FORMATS,
    Stored,
    WeightFiles,
    Written,
    all_finite,
    join_rows,
    split_rows,
)

COMPRESSED_TENSORS: Final = "compressed-tensors"
GPTQ: Final = "gptq"
PACKED = "pack-quantized"
WIDTHS = (4, 8)
"""Bits of a code."""
_PARTS = {
    COMPRESSED_TENSORS: (
        "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx",
    ),
    GPTQ: ("qweight", "scales", "qzeros", "g_idx"),
}  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """How the matrices of a checkpoint are stored."""

    method: Literal["compressed-tensors", "gptq"]
    bits: int
    group: int
    """Columns that share a scale; 0: all of a row."""
    symmetric: bool = True
    zeros_less_one: bool = False
    """Whether zeros are stored less one, as GPTQ's first version has them."""


@dataclass(frozen=True)
class Codes:
    """A matrix (out, in) of whole numbers with their scales."""

    codes: Tensor
    """(out, in), int8, from -2^(bits - 1)."""
    scale: Tensor
    """(out, groups)."""
    zero: Tensor | None
    """(out, groups), int8: the code that stands for 0; None: 0 does."""
    bits: int

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.codes.shape[1] // self.scale.shape[1]

    def values(self) -> Tensor:
        """The numbers, in fp32."""
        rows, width = self.codes.shape
        values = self.codes.float().view(rows, self.scale.shape[1], -1)
        if self.zero is not None:
            values -= self.zero.float()[..., None]
        return values.mul_(self.scale.float()[..., None]).view(rows, width)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Codes:
        """With the rows of all its tensors changed alike."""
        zero = None if self.zero is None else change(self.zero)
        return Codes(change(self.codes), change(self.scale), zero, self.bits)


def join_codes(parts: Sequence[Codes], *, interleaved: int = 0) -> Codes:
    """Matrices of the same kind below one another, or head by head (``weights.join_rows``)."""
    zeros = [part.zero for part in parts if part.zero is not None]
    return Codes(
        join_rows([part.codes for part in parts], interleaved=interleaved),
        join_rows([part.scale for part in parts], interleaved=interleaved),
        join_rows(zeros, interleaved=interleaved) if zeros else None,
        parts[0].bits,
    )


def split_codes(whole: Codes, rows: Sequence[int], *, interleaved: int = 0) -> list[Codes]:
    """The matrices that :func:`join_codes` joined, of so many rows each."""

    def split(tensor: Tensor) -> tuple[Tensor, ...]:
        return split_rows(tensor, rows, interleaved=interleaved)

    zeros = [None] * len(rows) if whole.zero is None else split(whole.zero)
    parts = zip(split(whole.codes), split(whole.scale), zeros, strict=True)
    return [Codes(codes, scale, zero, whole.bits) for codes, scale, zero in parts]


# --- settings -------------------------------------------------------------------------------------


def read_scheme(values: Mapping[str, Any]) -> Scheme | None:
    """What a ``config.json`` says of how its weights are stored; None: as plain numbers.

    Raises ModelError for what cannot be read, naming the setting.
    """
    outer = Section(values, model_type=str(values.get("model_type")))
    section = outer.section("quantization_config")
    if section is None:
        return None
    method = section.get("quant_method")
    if method not in (COMPRESSED_TENSORS, GPTQ):
        raise section.error(
            "quant_method",
            f"must be {COMPRESSED_TENSORS} or {GPTQ}: other ways to quantise cannot be read; get "
            f"the checkpoint that this one was made from. Got {shown(method)}",
        )
    scheme = _compressed_tensors(section) if method == COMPRESSED_TENSORS else _gptq(section)
    section.refuse_unread()
    return scheme


def require_plain(path: Path, remedy: str) -> None:
    """Raise ConfigError where the weights of a model directory are whole numbers, saying what to do
    instead."""
    if read_config_file(path).get("quantization_config"):
        raise ConfigError(f"{path}: its weights were rounded to few bits; {remedy}")


def _compressed_tensors(section: Section) -> Scheme:
    section.skip("ignore", "global_compression_ratio", "version")
    section.require("quantization_status", ("compressed",))
    for key in ("kv_cache_scheme", "moe_sparsity_config"):
        section.require(key, (None,))
    for key in ("sparsity_config", "transform_config"):
        section.require(key, (None, {}))
    groups = section.get("config_groups")
    if not isinstance(groups, dict) or len(groups) != 1:
        raise section.error(
            "config_groups",
            f"must be one scheme for all layers. Got {shown(groups)}",
        )
    (name,) = groups
    inner = section.section("config_groups")
    assert inner is not None
    scheme = inner.section(name)
    if scheme is None:
        raise inner.error(name, "must be an object that says how weights are stored")
    scheme.skip("targets")
    for place in (section, scheme):
        place.require("format", (PACKED,))
    if PACKED not in (section.get("format"), scheme.get("format")):
        raise section.error("format", f"must be {PACKED}")
    for key in ("input_activations", "output_activations"):
        scheme.require(key, (None,))
    weights = scheme.section("weights")
    if weights is None:
        raise scheme.error("weights", "must be an object that says how weights are stored")
    weights.skip("observer", "observer_kwargs", "zp_dtype", "scale_dtype")
    weights.require("type", ("int",))
    weights.require("block_structure", (None,))
    weights.require("dynamic", (False,))
    weights.require("actorder", (None, False, "weight", "static"))
    strategy = weights.require("strategy", ("group", "channel"))
    group = weights.get("group_size")
    if strategy == "channel" or (strategy is None and group == -1):
        weights.require("group_size", (None, -1))
        size = 0
    else:
        size = weights.integer("group_size")
    return Scheme(COMPRESSED_TENSORS, _bits(weights, "num_bits"), size,
                  weights.flag("symmetric", True))  # fmt: skip


def _gptq(section: Section) -> Scheme:
    # How it was fitted, and by which program.
    section.skip(
        "desc_act", "static_groups", "sym", "true_sequential", "damp_percent", "dataset",
        "tokenizer", "batch_size", "module_name_preceding_first_block", "model_seqlen", "meta",
        "block_name_to_quantize", "use_cuda_fp16", "use_exllama", "exllama_config", "backend",
        "max_input_length", "cache_block_outputs", "disable_exllama", "is_marlin_format",
        "model_file_base_name", "model_name_or_path", "damp_auto_increment", "mse",
        "modules_in_block_to_quantize", "quantizer", "act_group_aware",
    )  # fmt: skip
    section.require("pack_dtype", ("int32",))
    for key in ("lm_head", "dynamic"):
        section.require(key, (None, False, {}))
    # GPTQModel says how it is stored under two names each, and earlier programs under one.
    section.require("method", (None, GPTQ))
    forms = {
        section.require(key, (None, "gptq", "gptq_v2")) for key in ("format", "checkpoint_format")
    } - {None}
    if len(forms) > 1:
        raise section.error("format", "must be what checkpoint_format is")
    form = forms.pop() if forms else "gptq"
    size = section.integer("group_size", least=-1)
    if size == 0:
        raise section.error("group_size", "must be -1, or how many columns share a scale. Got 0")
    return Scheme(
        GPTQ, _bits(section, "bits"), max(size, 0), symmetric=False, zeros_less_one=form == "gptq"
    )


def _bits(section: Section, key: str) -> int:
    found = section.integer(key)
    if found not in WIDTHS:
        raise section.error(key, f"must be {' or '.join(map(str, WIDTHS))}. Got {found}")
    return found


def written_scheme(scheme: Scheme, ignored: Sequence[str]) -> dict[str, Any]:
    """The ``quantization_config`` of a checkpoint. ``ignored``: linear layers with plain numbers,
    by their published names."""
    weights = {
        "num_bits": scheme.bits, "type": "int", "symmetric": scheme.symmetric,
        "strategy": "group" if scheme.group else "channel", "group_size": scheme.group or None,
        "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax",
        "observer_kwargs": {},
    }  # fmt: skip
    group = {
        "targets": ["Linear"], "weights": weights, "input_activations": None,
        "output_activations": None, "format": PACKED,
    }  # fmt: skip
    return {
        "quant_method": COMPRESSED_TENSORS, "format": PACKED, "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": list(ignored), "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }  # fmt: skip


# --- tensors --------------------------------------------------------------------------------------


class QuantisedFiles(WeightFiles):
    """The tensors of a checkpoint whose matrices are stored as whole numbers.

    Each such matrix has its published name and shape; :meth:`read` gives its numbers,
    :meth:`codes` what is stored. All shapes have been judged.
    """

    def __init__(self, files: WeightFiles, scheme: Scheme) -> None:
        self.scheme = scheme
        self._files = files
        self._parts: dict[str, dict[str, Stored]] = {}
        stored: dict[str, Stored] = {}
        for name, entry in files.items():
            stem, _, part = name.rpartition(".")
            if part in _PARTS[scheme.method]:
                self._parts.setdefault(f"{stem}.weight", {})[part] = entry
            else:
                stored[name] = entry
        judge = _judge_packed if scheme.method == COMPRESSED_TENSORS else _judge_gptq
        for name, parts in self._parts.items():
            if name in stored:
                raise ModelError(f"{files.path}: the tensor '{name}' is there twice")
            try:
                shape = judge(parts, scheme)
            except (ValueError, KeyError) as error:
                missing = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else error
                raise ModelError(f"{files.path}: of the matrix '{name}', {missing}") from None
            first = next(iter(parts.values()))
            stored[name] = Stored(first.file, first.opened, name, "F32", shape, 0)
        super().__init__(files.path, stored, files.metadata)

    def is_packed(self, name: str) -> bool:
        """Whether a tensor is stored as whole numbers."""
        return name in self._parts

    def is_no_bias(self, name: str) -> bool:
        """Whether a tensor is the bias of zeros that older programs gave every packed matrix."""
        stem, _, part = name.rpartition(".")
        if part != "bias" or not self.is_packed(f"{stem}.weight"):
            return False
        return self[name].shape == self[f"{stem}.weight"].shape[:1] and not self.read(name).any()

    def codes(self, name: str, *, device: str | torch.device = "cpu") -> Codes:
        """A matrix as it is stored. Raises ModelError for scales that are no numbers."""
        unpack = _unpack_packed if self.scheme.method == COMPRESSED_TENSORS else _unpack_gptq
        parts = {part: _tensor(entry) for part, entry in self._parts[name].items()}
        try:
            found = unpack(parts, self.scheme, self[name].shape)
            if not all_finite(found.scale):
                raise ValueError(
                    "scales are infinite or not numbers: the file is damaged; get another copy"
                )
        except ValueError as error:
            raise ModelError(f"{self.path}: of the matrix '{name}', {error}") from None
        return found.mapped(lambda each: each.to(device))

    def read(
        self,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        if not self.is_packed(name):
            return self._files.read(name, device=device, dtype=dtype)
        return self.codes(name, device=device).values().to(dtype or torch.float32)


def packed_tensors(name: str, codes: Codes) -> list[Written]:
    """What a matrix ``x.weight`` is stored as."""
    own = {
        "packed": _pack(codes.codes, codes.bits),
        "scale": codes.scale,
        "shape": torch.tensor(codes.codes.shape),
    }
    if codes.zero is not None:
        own["zero_point"] = _pack(codes.zero.T, codes.bits).T.contiguous()
    return [Written(f"{name}_{part}", (value,), value.dtype) for part, value in own.items()]


def packed_size(rows: int, width: int, bits: int, group: int, *, zero: bool = False) -> int:
    """The bytes of what :func:`packed_tensors` stores of a matrix; ``group`` 0: all of a row."""
    groups = width // group if group else 1
    total = 4 * rows * _words(width, bits) + 2 * rows * groups + 2 * 8
    return total + 4 * _words(rows, bits) * groups if zero else total


def _judge_packed(parts: Mapping[str, Stored], scheme: Scheme) -> tuple[int, int]:
    """The shape of a matrix. Raises ValueError, or KeyError for a part that is missing."""
    if "weight_g_idx" in parts:
        raise ValueError("'weight_g_idx' is there: columns in another order cannot be read")
    if ("weight_zero_point" in parts) == scheme.symmetric:
        raise ValueError(
            "'weight_zero_point' is there, but config.json says that it is symmetric"
            if scheme.symmetric else "'weight_zero_point' is missing"
        )  # fmt: skip
    packed, scale, shape = (parts[f"weight_{part}"] for part in ("packed", "scale", "shape"))
    if shape.format not in ("I64", "I32") or shape.shape != (2,):
        raise ValueError(f"'weight_shape' must be two whole numbers. Got {shape.shape}")
    rows, width = (int(size) for size in _tensor(shape))
    groups = _groups(width, scheme)
    _require(packed, "weight_packed", "I32", (rows, _words(width, scheme.bits)))
    _require(scale, "weight_scale", None, (rows, groups))
    if not scheme.symmetric:
        zero = parts["weight_zero_point"]
        _require(zero, "weight_zero_point", "I32", (_words(rows, scheme.bits), groups))
    return rows, width


def _unpack_packed(parts: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, ...]) -> Codes:
    rows, width = shape
    zero = None
    if not scheme.symmetric:
        zero = _unpack(parts["weight_zero_point"].T, scheme.bits, rows).T.contiguous()
    return Codes(
        _unpack(parts["weight_packed"], scheme.bits, width), parts["weight_scale"], zero,
        scheme.bits,
    )  # fmt: skip


def _judge_gptq(parts: Mapping[str, Stored], scheme: Scheme) -> tuple[int, int]:
    packed, scale, zeros = (parts[part] for part in ("qweight", "scales", "qzeros"))
    if len(packed.shape) != 2:
        raise ValueError(f"'qweight' must have two dimensions. Got {packed.shape}")
    each = 32 // scheme.bits
    width, rows = packed.shape[0] * each, packed.shape[1]
    groups = _groups(width, scheme)
    _require(packed, "qweight", "I32", (width // each, rows))
    _require(scale, "scales", None, (groups, rows))
    _require(zeros, "qzeros", "I32", (groups, _words(rows, scheme.bits)))
    if "g_idx" in parts:
        _require(parts["g_idx"], "g_idx", "I32", (width,))
    return rows, width


def _unpack_gptq(parts: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, ...]) -> Codes:
    rows, width = shape
    group = scheme.group or width
    order = parts.get("g_idx")
    if order is not None and not torch.equal(order.long(), torch.arange(width) // group):
        raise ValueError(
            "'g_idx' has columns in another order (desc_act), which cannot be read; get a "
            "checkpoint without it"
        )
    zero = _unpack(parts["qzeros"], scheme.bits, rows).T.contiguous()
    if scheme.zeros_less_one:  # wraps, as what reads it has it
        half = 1 << scheme.bits - 1
        zero = ((zero.int() + half + 1) % (2 * half) - half).to(torch.int8)
    return Codes(
        _unpack(parts["qweight"].T, scheme.bits, width), parts["scales"].T.contiguous(), zero,
        scheme.bits,
    )  # fmt: skip


def _require(entry: Stored, part: str, format: str | None, shape: tuple[int, ...]) -> None:
    formats = tuple(FORMATS) if format is None else (format,)
    if entry.shape != shape or entry.format not in formats:
        raise ValueError(
            f"'{part}' must be {' or '.join(formats)} of shape {shape}. Got {entry.format} of "
            f"shape {entry.shape}"
        )


def _groups(width: int, scheme: Scheme) -> int:
    if width < 1:
        raise ValueError(f"rows must have at least one number. Got {width}")
    if scheme.group and width % scheme.group:
        raise ValueError(f"rows of {width} numbers do not divide into groups of {scheme.group}")
    return width // scheme.group if scheme.group else 1


def _words(count: int, bits: int) -> int:
    return -(-count * bits // 32)


def _tensor(entry: Stored) -> Tensor:
    found: Tensor = entry.opened.get_tensor(entry.name)
    return found


def _pack(codes: Tensor, bits: int) -> Tensor:
    """Codes (rows, count) as int32 (rows, words), the first one in the lowest bits."""
    rows, count = codes.shape
    each = 32 // bits
    whole = torch.zeros(rows, _words(count, bits) * each, dtype=torch.uint8)
    whole[:, :count] = (codes.to(torch.int16) + (1 << bits - 1)).to(torch.uint8)
    if bits == 4:
        whole = whole[:, ::2] | whole[:, 1::2] << 4
    return whole.contiguous().view(torch.int32)


def _unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """The first codes of each row, int8."""
    bytes_ = words.contiguous().view(torch.uint8)
    if bits == 4:
        bytes_ = torch.stack((bytes_ & 15, bytes_ >> 4), -1).flatten(1)
    return (bytes_[:, :count].to(torch.int16) - (1 << bits - 1)).to(torch.int8)

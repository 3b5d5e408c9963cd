"""How to write a model for llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from linnet.config import Config, option
from linnet.errors import ConfigError

OwnFormat = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
"""Number formats that are written here."""

OWN_FORMATS: tuple[str, ...] = get_args(OwnFormat)

FINE_FORMATS = ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq3_s", "iq4_xs", "iq4_nl")
"""Formats that are written by way of ``libgguf`` (extra ``compress``)."""

K_QUANTS = ("q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m")
"""Mixtures of formats that llama.cpp's own ``llama-quantize`` writes."""


@dataclass(frozen=True)
class ExportConfig(Config):
    """How to write a GGUF file."""

    type: str = option(
        "q8_0",
        f"number format: {', '.join(OWN_FORMATS)}; with the extra compress "
        f"{', '.join(FINE_FORMATS)}; or, where llama-quantize is installed, "
        f"{', '.join(K_QUANTS)}",
    )
    name: str = option("", "what the model is called (default: its directory's name)")

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*OWN_FORMATS, *FINE_FORMATS, *K_QUANTS)
        if self.type not in known:
            raise ConfigError(f"type must be one of {', '.join(known)}. Got '{self.type}'")


@dataclass(frozen=True)
class PackedConfig(Config):
    """How to write weights of 4 or 8 bits."""

    type: Literal["int4", "int8"] = option("int4", "bits of a number in the matrices of blocks")
    group: Literal["auto", "32", "64", "128", "row"] = option(
        "auto", "columns of a matrix that share a scale; auto: 32 in int4, a row in int8"
    )
    zero: bool = option(
        False,
        "give each group a code of its own for zero, rather than 0 (vLLM reads it; transformers "
        "with compressed-tensors 0.20 does not)",
    )
    text: str = option(
        "",
        "your text, which rounding is fitted to: a file, folder, corpus, shards, or rows; empty: "
        "each number is rounded by itself",
    )
    tokens: int = option(20_000, "tokens of the text to fit by, at most", least=100)
    context: int = option(256, "tokens in a row of them", least=8)
    scale: bool = option(True, "scale columns that matter more, where that is better")
    dtype: Literal["bf16", "fp16", "fp32"] = option(
        "bf16", "number format of all other weights, the table of tokens among them"
    )

    @property
    def bits(self) -> int:
        """Of a number."""
        return 4 if self.type == "int4" else 8

    @property
    def columns(self) -> int:
        """Those that share a scale; 0: all of a row."""
        if self.group == "auto":
            return 32 if self.bits == 4 else 0
        return 0 if self.group == "row" else int(self.group)

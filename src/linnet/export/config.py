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

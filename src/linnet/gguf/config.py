"""How to import a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linnet.config import Config, option


@dataclass(frozen=True)
class ImportConfig(Config):
    """How the weights of a GGUF file are stored as a checkpoint.

    Blocks of a few bits undo to numbers that only fp32 holds exactly; 16 bits round them anew,
    which moves logits by some hundredths.
    """

    dtype: Literal["fp32", "bf16", "fp16"] = option(
        "fp32",
        "Format to store in. fp32 is what the file says, to the bit; the others take half of it "
        "and round.",
    )

"""How llama.cpp serves a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linnet.config import option
from linnet.errors import ConfigError
from linnet.export.llama_cpp_process import LlamaCppSettings

Precision = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]


@dataclass(frozen=True)
class ServingConfig:
    """How llama.cpp serves a model."""

    precision: Precision = option("q8_0", "number format of the weights")
    threads: int = option(0, "threads to compute with; 0 chooses")
    slots: int = option(0, "texts that are computed together; 0 chooses")
    context: int = option(
        0, "the most tokens that a prompt and its answer may have; 0: as many as the model"
    )

    stall_seconds: float = option(
        LlamaCppSettings.stall_seconds,
        "seconds of computing without any progress after which llama.cpp counts as hung and is "
        "started again; large models have more",
    )

    def __post_init__(self) -> None:
        for name in ("threads", "slots", "context"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more. Got {getattr(self, name)}")
        if not 0.1 <= self.stall_seconds <= 86_400:
            raise ConfigError(
                f"stall_seconds must be between 0.1 and 86,400. Got {self.stall_seconds}"
            )

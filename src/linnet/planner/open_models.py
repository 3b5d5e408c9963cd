"""Open models that write answers, and which of them fits a machine."""

from __future__ import annotations

from dataclasses import dataclass

_BYTES_EACH = 1.15
"""Of memory for a parameter in q8_0, with what is computed with it."""
_MEMORY_SHARE = 0.5
_PARAMETERS_EACH_CORE = 200_000_000
"""So many are read by a core fast enough that the passages of an answer take some ten seconds."""


@dataclass(frozen=True)
class OpenModel:
    """A model of the hub that anyone may use."""

    name: str
    parameters: int
    download: int
    """Bytes."""
    licence: str = "Apache-2.0"


OPEN_MODELS = (
    OpenModel("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, 272_000_000),
    OpenModel("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, 727_000_000),
    OpenModel("Qwen/Qwen3-0.6B", 596_049_920, 1_507_000_000),
    OpenModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, 3_426_000_000),
    OpenModel("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096, 8_050_000_000),
)
"""Smallest first."""


def fitting_model(memory: int | None, cores: int, *, device: str = "cpu") -> OpenModel | None:
    """The largest that has its memory and, where the processor computes it, is quick enough.

    ``memory``: bytes that are there for it; None: not known. None where not even the smallest fits.
    """
    fits = [
        model for model in OPEN_MODELS
        if (memory is None or model.parameters * _BYTES_EACH <= memory * _MEMORY_SHARE)
        and (device != "cpu" or model.parameters <= cores * _PARAMETERS_EACH_CORE)
    ]  # fmt: skip
    return fits[-1] if fits else None

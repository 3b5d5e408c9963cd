"""What of the machine llama.cpp is given: slots, memory for contexts, threads, instructions.

Published wheels are built for every processor of the last ten years. A build for this one
uses wider instructions, which read prompts faster; what is written one token at a time waits
for memory, and gains nothing (figures in docs/experiments.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.errors import ConfigError, install_command
from linnet.runtime import cpu_features, memory_bytes, usable_cores

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig


SLOTS = 8
"""Texts computed together where nothing else is asked for: more of them share each pass over the
weights, which is what takes the time, and more of them make each wait longer."""

_SHARE = 0.2  # of the machine's memory that keys and values may take
_PROMPTS = 0.04  # and what may be kept of conversations that may go on
_SMALL = 8 << 20  # bytes of weights for which threads lose more by waiting than they gain
_SEPARATE = 1 << 30  # bytes up to which every slot has room of its own
_MEMORY = 8 << 30  # where the system does not tell
STEP = 256
"""llama.cpp rounds the room up to a multiple of this."""


@dataclass(frozen=True)
class Resources:
    """What llama.cpp is started with."""

    slots: int
    threads: int
    context: int
    """The most tokens of one text."""
    total: int
    """Tokens in all."""
    unified: bool
    """Whether the slots share ``total``; else each has an equal part."""
    prompt_cache: int = 0
    """MiB for the keys and values of conversations that no slot holds any more."""


def resources_for(
    config: EngineConfig,
    *,
    context: int,
    token_bytes: int,
    weight_bytes: int,
    may_share: bool = True,
) -> Resources:
    """The resources for a model of this ``context``; ``token_bytes``: keys and values of one token.

    Every slot has room for a whole context where that is little memory. Where it is much they
    share what there is (``may_share``), and a text waits until there is room for it. Raises
    ConfigError for a longer context than the model's.
    """
    if config.context > context:
        raise ConfigError(
            f"context must be at most {context:,}, for which the model was made. "
            f"Got {config.context:,}"
        )
    wanted = config.context or context
    slots = config.slots or SLOTS
    memory = memory_bytes() or _MEMORY
    # A file may claim any context; what it gets by itself goes with what it really holds.
    allowed = int(memory * _SHARE)
    if not config.context:
        allowed = min(allowed, _SEPARATE + 2 * weight_bytes)
    if not config.context:
        while wanted > STEP and wanted * token_bytes > allowed:
            wanted //= 2
    each = _rounded(wanted)
    unified = each * slots * token_bytes > _SEPARATE
    if unified and not may_share:
        unified, slots = False, max(1, min(slots, allowed // (each * token_bytes)))
    total = each * slots
    if unified:
        total = max(each, min(total, allowed // token_bytes // STEP * STEP))
    threads = config.threads or (1 if weight_bytes < _SMALL else usable_cores())
    return Resources(slots, threads, wanted, total, unified, int(memory * _PROMPTS) >> 20)


def _rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


# What llama.cpp calls an instruction set, and what Linux does.
_SETS = {
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AVX_VNNI": "avx_vnni",
    "AMX_INT8": "amx_int8",
}

_BUILD = 'CMAKE_ARGS="-DLLAMA_LLGUIDANCE=OFF -DLLAMA_BUILD_BORINGSSL=OFF"'
_FROM_SOURCE = "--force-reinstall --no-deps --no-binary xllamacpp xllamacpp"
"""Needs CMake and a C++ compiler; the libraries that it leaves out are of no use to Linnet."""


def unused_instructions(
    system_info: str, features: frozenset[str] | None = None
) -> tuple[str, ...]:
    """Instruction sets that the processor has and llama.cpp was not built for.

    ``system_info``: what llama.cpp says of itself: ``CPU : AVX2 = 1 | F16C = 1 | ...``.
    """
    features = cpu_features() if features is None else features
    built = set(re.findall(r"(\w+) = 1\b", system_info))
    return tuple(name for name, flag in _SETS.items() if flag in features and name not in built)


def advice(system_info: str) -> str | None:
    """One line on how to build llama.cpp for this processor, where that has more to give."""
    unused = unused_instructions(system_info)
    if not unused:
        return None
    return (
        f"llama.cpp could use {', '.join(unused)} of this processor, which reads prompts about a "
        f"fifth faster, if it were built here: "
        f"{_BUILD} {install_command(_FROM_SOURCE)}"
    )

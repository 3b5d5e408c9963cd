"""What this processor can do that the installed llama.cpp does not use.

Published wheels are built for every processor of the last ten years. A build for this one
uses wider instructions, which read prompts faster; what is written one token at a time waits
for memory, and gains nothing (figures in docs/experiments.md).
"""

from __future__ import annotations

import re

from linnet.errors import install_command
from linnet.runtime import cpu_features

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

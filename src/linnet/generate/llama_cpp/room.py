"""How many texts llama.cpp computes together, and the room that it has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.errors import ConfigError
from linnet.runtime import memory_bytes, usable_cores

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
class Room:
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


def room_for(
    config: EngineConfig,
    *,
    context: int,
    token_bytes: int,
    weight_bytes: int,
    may_share: bool = True,
) -> Room:
    """The room for a model of this ``context``; ``token_bytes``: keys and values of one token.

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
    return Room(slots, threads, wanted, total, unified, int(memory * _PROMPTS) >> 20)


def _rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP

"""What makes a training step fast on the machine at hand."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch.utils.checkpoint import checkpoint

from linnet import runtime
from linnet.model.layers import Attention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.model import Transformer
    from linnet.runtime import Runtime
    from linnet.train.config import TrainConfig

COMPILE_PAYS = 60.0  # seconds of training below which compiling costs more than it saves
CPU_FLOPS = 1e11  # a cautious guess at what a laptop does, only to tell short from long
WRITTEN_OUT_CONTEXT = 512  # beyond it the table of scores outgrows the cache


def should_compile(config: TrainConfig, machine: Runtime) -> bool:
    """Whether to use torch.compile: asked for, or possible and likely to pay."""
    parameters = config.model(1024, end_of_text=0, pad=None).parameters
    tokens = config.batch_tokens * config.steps
    work = 6.0 * parameters * tokens
    return compiling_pays(config.compile, machine, seconds=config.seconds, work=work)


def compiling_pays(
    asked: Literal["auto", "yes", "no"], machine: Runtime, *, seconds: float, work: float
) -> bool:
    """Whether to compile a run of so many seconds, or else of so many operations."""
    if asked != "auto":
        return asked == "yes"
    if machine.device == "mps" or not runtime.has_compiler():
        return False
    if seconds:
        return seconds >= COMPILE_PAYS
    return machine.device == "cuda" or work / CPU_FLOPS >= COMPILE_PAYS


def compile_blocks(model: Transformer) -> None:
    """Compile one block; all share the code, so the time does not grow with depth.

    Two settings of the compiler: it need not build a test program for every
    instruction set (the operating system says what there is), which saves seconds;
    and where compiling fails, the plain code runs.
    """
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    inductor.cpp.vec_isa_ok = True
    if runtime.miscompiles_slp() and hasattr(inductor.cpp, "march"):
        inductor.cpp.march = "native -fno-tree-slp-vectorize"
    dynamo.suppress_errors = True
    for block in model.blocks:
        block.compile(dynamic=False)


def recompute_blocks(model: Transformer, *, compiled: bool) -> None:
    """Keep only what goes into each block, and compute the rest again for the gradient.

    Less memory for a third more time (arXiv:1604.06174). Instead of
    :func:`compile_blocks` where blocks are compiled.
    """
    for block in model.blocks:
        inner = torch.compile(block.forward, dynamic=False) if compiled else block.forward
        block.forward = partial(checkpoint, inner, use_reentrant=False)


def write_out_attention(model: Transformer, machine: Runtime, *, compiled: bool) -> None:
    """Use the written-out attention where it is the faster way (see ``layers.attend``)."""
    config = model.config
    fits = config.context <= WRITTEN_OUT_CONTEXT and config.dropout == 0
    if machine.device == "cpu" and compiled and fits and config.kv_heads == config.heads:
        for module in model.modules():
            if isinstance(module, Attention):
                module.written_out = True


@contextmanager
def at_rest(model: Transformer, *, compiled: bool) -> Iterator[None]:
    """Look at a model in training as it is for inference: no dropout, any shape, not compiled.

    A compiled model would be compiled again for every new shape and mode.
    """
    written_out = [m for m in model.modules() if isinstance(m, Attention) and m.written_out]
    model.eval()
    for module in written_out:
        module.written_out = module.config.attention_softcap is not None
    try:
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield
    finally:
        model.train()
        for module in written_out:
            module.written_out = True

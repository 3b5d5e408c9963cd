"""How a model in training computes: compiled, with blocks recomputed, or as in inference."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from linnet import runtime
from linnet.model.layers import Attention, attend_packed
from linnet.progress import SILENT, Progress
from linnet.shards.batches import Batch
from linnet.train.objectives import next_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from linnet.model import Transformer
    from linnet.runtime import Runtime


def compile_ahead(
    model: Transformer, *, rows: int, length: int, segmented: bool = False,
    progress: Progress = SILENT,
) -> bool:  # fmt: skip
    """Compile now, on a step that changes nothing, instead of in the middle of the first one.

    False where it failed: then the model's blocks are as they were before
    :func:`compile_blocks`, and that is said. (torch itself falls back only in part: not where
    the backward pass fails, or where a kill left half a file in its cache.)
    """
    ids = torch.zeros(rows, length, dtype=torch.long, device=model.embedding.weight.device)
    segments = torch.ones_like(ids) if segmented else None
    batch = Batch(ids, ids, torch.ones_like(ids, dtype=torch.bool), segments)
    try:
        with progress.task("compiling"), trial_step(model):
            torch.autograd.backward(next_token(model, batch).mean)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        progress.warn(f"compiling failed, training goes on without: {reason[:200]}")
        _plain_blocks(model)
        return False
    return True


@contextmanager
def trial_step(model: Transformer) -> Iterator[None]:
    """Around steps that change nothing: gradients are dropped, random numbers as they were."""
    on_gpu = model.embedding.weight.device.type == "cuda"
    random = torch.random.get_rng_state()
    on_device = torch.cuda.get_rng_state() if on_gpu else None
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        torch.random.set_rng_state(random)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device)


def _plain_blocks(model: Transformer) -> None:
    """Undo :func:`compile_blocks`, :func:`recompute_blocks` and :func:`write_out_attention`."""
    for block in model.blocks:
        block._compiled_call_impl = None
        recomputed = block.__dict__.pop("forward", None) is not None
        if recomputed:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for module in model.modules():
        if isinstance(module, Attention):
            module.written_out = module.config.attention_softcap is not None


def compile_blocks(model: Transformer) -> None:
    """Compile one block; all share the code, so the time does not grow with depth.

    It happens at the first use: see :func:`compile_ahead`. The compiler need not build a
    test program for every instruction set (the operating system says what there is), which
    saves seconds.
    """
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    inductor.cpp.vec_isa_ok = True
    if runtime.miscompiles_slp() and hasattr(inductor.cpp, "march"):
        inductor.cpp.march = "native -fno-tree-slp-vectorize"
    dynamo.suppress_errors = True
    _leave_packed_texts(model)
    for block in model.blocks:
        block.compile(dynamic=False)


def _leave_packed_texts(model: Transformer) -> None:
    """Texts side by side have other lengths in every batch, and would be compiled for each.

    Here and not where the function stands: loading the compiler takes longer than torch.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend_packed = _uncompiled()


@cache  # one for all blocks, which share their code
def _uncompiled() -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = torch.compiler.disable(attend_packed)
    return found


def recompute_blocks(model: Transformer, *, compiled: bool) -> None:
    """Keep only what goes into each block, and compute the rest again for the gradient.

    Less memory for a third more time (arXiv:1604.06174). Instead of
    :func:`compile_blocks` where blocks are compiled.
    """
    if compiled:
        _leave_packed_texts(model)
    for block in model.blocks:
        inner = torch.compile(block.forward, dynamic=False) if compiled else block.forward
        block.forward = partial(checkpoint, inner, use_reentrant=False)


def write_out_attention(model: Transformer, machine: Runtime, *, compiled: bool) -> None:
    """Use the written-out attention where it is the faster way (see ``layers.attend``)."""
    config = model.config
    plain = config.dropout == 0 and config.kv_heads == config.heads
    if machine.device == "cpu" and compiled and plain:
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

"""How fast this machine trains, from real steps of a small model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from linnet.model import Transformer
from linnet.runtime import torch_dtype
from linnet.shards.batches import Batch
from linnet.train.config import TrainConfig
from linnet.train.objectives import next_token
from linnet.train.optimizers import build_optimizers

if TYPE_CHECKING:
    from linnet.model import ModelConfig
    from linnet.runtime import Runtime

PROBE = TrainConfig(steps=1, width=256, depth=2, context=256, batch_tokens=2048)
PROBE_VOCABULARY = 2048


def flops_per_token(config: ModelConfig, *, length: float | None = None) -> float:
    """Arithmetic to learn from one token: 6 per matrix entry, and the attention scores.

    ``length``: tokens in a row, by default the context. Two for the product, four for
    its two gradients (arXiv:2001.08361); looking up an embedding is free, so an untied
    table counts once.
    """
    lookup = 0 if config.tied else config.vocab_size * config.width
    scores = config.depth * (length or config.context) * config.heads * config.head_width
    return 6.0 * (config.parameters - lookup) + 12.0 * scores


def probe_flops(runtime: Runtime, *, seconds: float) -> float:
    """Useful floating-point operations per second in eager training steps."""
    config = PROBE.model(PROBE_VOCABULARY, end_of_text=0, pad=1)
    random = torch.random.get_rng_state()
    model = Transformer(config).to(runtime.device).train()
    model.initialise(torch.Generator().manual_seed(0))
    model.compute_dtype = torch_dtype(runtime.dtype)
    optimizers = build_optimizers(model, PROBE, dtype=model.compute_dtype)
    ids = torch.arange(PROBE.rows * PROBE.context, device=runtime.device) % PROBE_VOCABULARY
    shape = PROBE.rows, PROBE.context
    batch = Batch(ids.view(shape), ids.roll(-1).view(shape))
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < 3 or time.monotonic() - begun < seconds:
        started = time.monotonic()
        next_token(model, batch).mean.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.0
            optimizer.step()
        model.zero_grad(set_to_none=True)
        if runtime.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - started)
    torch.random.set_rng_state(random)
    fastest = sorted(times)[: max(1, len(times) // 2)]
    return flops_per_token(config) * PROBE.batch_tokens / fastest[-1]

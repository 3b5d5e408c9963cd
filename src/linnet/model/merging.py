"""Merging: an adapter added to the weights it belongs to.

A merged model computes as fast as its base and is an ordinary checkpoint, which tools
that know no adapters can load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from linnet.errors import ModelError
from linnet.model.lora import LoRALinear, adapted_layers, adapters_of, require_adapter, set_strength

if TYPE_CHECKING:
    from linnet.model.transformer import Transformer


@torch.no_grad()
def merge(model: Transformer, name: str, *, strength: float = 1.0, reversible: bool = True) -> None:
    """Add an adapter to the weights: then it costs nothing to compute with.

    Into fp32 weights only: in fewer bits most of what was learned would be rounded away.
    Raises ModelError otherwise, and when an adapter is merged already. ``reversible`` keeps the
    changed weights as they were (that much more memory), so that ``unmerge`` is exact.
    """
    adapters = require_adapter(adapters_of(model), name)
    if adapters.merged is not None:
        raise ModelError(f"the adapter '{adapters.merged}' is already merged; unmerge it first")
    layers = _layers(model, name)
    for layer in layers:
        if layer.weight.dtype != torch.float32:
            raise ModelError(
                f"an adapter can be merged into fp32 weights only. Got "
                f"{str(layer.weight.dtype).removeprefix('torch.')}; load the base with dtype fp32"
            )
    set_strength(model, name, strength)
    for layer in layers:
        layer.before_merge = layer.weight.detach().clone() if reversible else None
        part = layer.part(name)
        assert part is not None
        layer.weight += part.delta()
    adapters.active, adapters.merged = None, name


@torch.no_grad()
def unmerge(model: Transformer) -> None:
    """Take the merged adapter out again, to the bit, and make it active.

    Raises ModelError when none is merged, or when it was merged for good.
    """
    adapters = adapters_of(model)
    if adapters is None or adapters.merged is None:
        raise ModelError("no adapter is merged into this model")
    layers = [
        layer for _, layer in adapted_layers(model) if layer.part(adapters.merged) is not None
    ]
    if any(layer.before_merge is None for layer in layers):
        raise ModelError(f"the adapter '{adapters.merged}' was merged for good; load the base anew")
    for layer in layers:
        assert layer.before_merge is not None
        layer.weight.copy_(layer.before_merge)
        layer.before_merge = None
    adapters.active, adapters.merged = adapters.merged, None


def _layers(model: Transformer, name: str) -> list[LoRALinear]:
    return [layer for _, layer in adapted_layers(model) if layer.part(name) is not None]

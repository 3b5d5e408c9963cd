"""A Transformer of a few thousand numbers, for tests of what is done to one."""

from typing import Any

import torch

from linnet.model import ModelConfig, Transformer


def model(seed: int = 1, **changes: Any) -> Transformer:
    """With numbers that are far from those it would begin with."""
    shape: dict[str, Any] = {
        "family": "llama", "vocab_size": 60, "width": 24, "depth": 3, "heads": 4, "kv_heads": 2,
        "head_width": 8, "mlp_width": 40, "context": 32,
    }  # fmt: skip
    found = Transformer(ModelConfig(**(shape | changes)))
    generator = torch.Generator().manual_seed(seed)
    found.initialise(generator)
    with torch.no_grad():
        for value in found.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return found.eval()

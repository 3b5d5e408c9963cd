"""What scores texts by the weights in a GGUF file.

A text's likelihood by these weights is that of the model that is served, up to the rounding of a
sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.generate.torch_engine import TorchEngine
from linnet.gguf.header import read_header
from linnet.gguf.weights import dequantised, is_outside, numbers_within
from linnet.model import Checkpoint, Transformer
from linnet.model.adapter import load_adapter
from linnet.model.lora import activate

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.generate.tokenization import EngineTokenizer
    from linnet.model import ModelConfig


def score_file(
    file: Path,
    checkpoint: Checkpoint,
    adapters: Mapping[str, Path],
    usual: str | None,
) -> TorchEngine:
    """What scores texts by the weights in ``file``, which was made from ``checkpoint``."""
    numbers = numbers_outside(checkpoint.model)
    model = dequantised(file, checkpoint.config, numbers=numbers)
    for name, directory in adapters.items():
        load_adapter(model, directory, name, any_base=True)
    activate(model, usual)
    return TorchEngine(replace(checkpoint, model=model))


def numbers_outside(model: Transformer) -> dict[str, Tensor]:
    """The few numbers of a model that a GGUF file keeps among its settings."""
    state = model.state_dict()
    return {name: state[name].detach().float().clone() for name in state if is_outside(name)}


def scorer_of_file(
    file: Path, config: ModelConfig, tokenizer: EngineTokenizer, stop_ids: tuple[int, ...]
) -> TorchEngine:
    """What scores texts by the weights in a GGUF file of anyone's, cut by its own tokenizer."""
    numbers = numbers_within(read_header(file).values, config)
    model = dequantised(file, config, numbers=numbers)
    checkpoint = Checkpoint(model, tokenizer, config, stop_ids)  # type: ignore[arg-type]
    return TorchEngine(checkpoint)

"""The weights of a GGUF file in torch, whatever their number format.

What stands in the file is what llama.cpp computes with, so a text's likelihood by these
weights is that of the model that is served, up to the rounding of a sum. The way back is
that of ``linnet.gguf.architectures``: rows change places again, fused tensors are cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet.errors import ModelError
from linnet.generate.torch_engine import TorchEngine
from linnet.gguf.architectures import architecture, joined, named
from linnet.gguf.quantisation import read_tensors
from linnet.model import Checkpoint, Transformer
from linnet.model.adapter import load_adapter
from linnet.model.families.record import GGUF
from linnet.model.lora import activate

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.generate.llama_cpp.tokenization import EngineTokenizer
    from linnet.model import ModelConfig

_NOT_WEIGHTS = ("rope_freqs.", "rope_factors_")


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
    return {name: state[name].detach().float().clone() for name in state if _is_outside(name)}


def dequantised(
    file: Path, config: ModelConfig, *, numbers: Mapping[str, Tensor] | None = None
) -> Transformer:
    """The model in a GGUF file, in fp32; ``numbers``: those that the file has no tensors for.

    Raises ModelError when the file's tensors are not those of ``config``.
    """
    found = architecture(config)
    with torch.device("meta"):
        model = Transformer(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    own = {named(name, config): name for name in shapes if not _is_outside(name)}
    members_of = dict(joined(found, list(own)))
    state: dict[str, Tensor] = {}
    for name, values in read_tensors(file):
        if name.startswith(_NOT_WEIGHTS):
            continue
        members = members_of.get(name)
        if members is None:
            raise ModelError(f"{file}: the tensor '{name}' does not belong to this model type")
        rows = [shapes[own[member]][0] for member in members]
        per_head = members[0].split(".")[-2].isdigit()  # norms, one row for each head
        if sum(rows) != (values.size if per_head else values.shape[0]):
            raise ModelError(
                f"{file}: the tensor '{name}' must have {sum(rows)} rows. Got {values.shape[0]}"
            )
        whole = torch.from_numpy(values if values.flags.writeable else values.copy())
        whole = whole.flatten() if per_head else whole
        for member, part in zip(members, whole.split(rows), strict=True):
            state[own[member]] = _as_trained(member, part, found, config).contiguous()
    state |= numbers or {}
    missing = sorted(shapes.keys() - state.keys())
    if missing:
        raise ModelError(f"{file}: the tensor for '{missing[0]}' is missing")
    model.load_state_dict(state, assign=True)
    return model.eval()


def _as_trained(name: str, values: Tensor, found: GGUF, config: ModelConfig) -> Tensor:
    """One tensor as Hugging Face's layout has it: ``as_computed`` backwards."""
    part = name.split(".")[-2]
    if part == ("attn_q_norm" if config.qk_norm else "attn_q") and not found.reads_scale:
        wide = found.wide_scale_depth == config.depth
        theirs = (config.width / config.heads if wide else config.head_width) ** -0.5
        ratio = (config.attention_scale or config.head_width**-0.5) / theirs
        if not math.isclose(ratio, 1, rel_tol=1e-6):
            values = values / ratio
    if config.norm == "rmsnorm_offset" and part.endswith("norm"):
        values = values - 1
    if found.pairs and part in ("attn_q", "attn_k"):
        heads = config.heads if part == "attn_q" else config.kv_heads
        pairs = values.reshape(heads, config.head_width // 2, 2, *values.shape[1:])
        values = pairs.transpose(1, 2).reshape(values.shape)
    return values


def _is_outside(name: str) -> bool:
    return ".mlp.activation." in name


def scorer_of_file(
    file: Path, config: ModelConfig, tokenizer: EngineTokenizer, stop_ids: tuple[int, ...]
) -> TorchEngine:
    """What scores texts by the weights in a GGUF file of anyone's, cut by its own tokenizer."""
    checkpoint = Checkpoint(dequantised(file, config), tokenizer, config, stop_ids)  # type: ignore[arg-type]
    return TorchEngine(checkpoint)

"""An adapter as a GGUF file that llama.cpp puts on its base, as often as a request asks for it.

    adapter.type        lora
    adapter.lora.alpha  0: what the product is multiplied by is in B already
    NAME.lora_a         (R, in) for the base's tensor NAME
    NAME.lora_b         (out, R)

Rows change places as those of the base's tensor do. Where llama.cpp keeps several
projections in one tensor, their A stand below one another, and B has zeros where
one projection's rows meet another's A: the product is the same.

Reference: ``convert_lora_to_gguf.py`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.gguf.architectures import architecture, as_computed, joined, named
from linnet.gguf.header import gguf_package
from linnet.model.lora import adapted_layers, beyond_low_rank
from linnet.output import full_disk_named

if TYPE_CHECKING:
    from linnet.model import Transformer

Pair = tuple[Tensor, Tensor]


def write_adapter_gguf(model: Transformer, name: str, out: Path) -> None:
    """Write one adapter of ``model`` as the GGUF file ``out``, in float32.

    Raises ModelError for an adapter that does more than add products, which llama.cpp has no
    place for, and OutputError for a full disk.
    """
    if (more := beyond_low_rank(model, name)) is not None:
        raise ModelError(
            f"llama.cpp cannot put this adapter beside its base: {more}; merge it into the base "
            "(linnet merge), or use engine torch"
        )
    gguf = gguf_package()
    writer = gguf.GGUFWriter(str(out), architecture(model.config).name)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)
    for tensor, (a, b) in adapter_tensors(model, name):
        writer.add_tensor(f"{tensor}.lora_a", a.numpy())
        writer.add_tensor(f"{tensor}.lora_b", b.numpy())
    with full_disk_named(out):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def adapter_tensors(model: Transformer, name: str) -> Iterator[tuple[str, Pair]]:
    """llama.cpp's name of each tensor that an adapter changes, with its A and scaled B."""
    found = architecture(model.config)
    every = {named(own, model.config): own for own, _ in model.named_parameters() if _is_base(own)}
    layers = dict(adapted_layers(model))
    for whole, members in joined(found, list(every)):
        if not whole.endswith(".weight"):
            continue
        pairs: list[Pair | None] = []
        for member in members:
            layer = layers.get(every[member].removesuffix(".weight"))
            part = layer.part(name) if layer is not None else None
            if part is None:
                pairs.append(None)
                continue
            assert part.a is not None
            assert part.b is not None
            b = part.b.detach().float() * (part.scaling * part.strength)
            b = as_computed(member, b, found, model.config)
            pairs.append((part.a.detach().float(), b))
        if any(pairs):
            rows = [model.get_parameter(every[member]).shape[0] for member in members]
            yield whole, _together(pairs, rows)


def _together(pairs: list[Pair | None], rows: list[int]) -> Pair:
    present = [pair for pair in pairs if pair is not None]
    if len(pairs) == 1:
        a, b = present[0]
        return a.contiguous(), b.contiguous()
    b = torch.zeros(sum(rows), sum(pair[1].shape[1] for pair in present))
    row = column = 0
    for pair, count in zip(pairs, rows, strict=True):
        if pair is not None:
            rank = pair[1].shape[1]
            b[row : row + count, column : column + rank] = pair[1]
            column += rank
        row += count
    return torch.cat([a for a, _ in present]).contiguous(), b


def _is_base(own: str) -> bool:
    return own.endswith(".weight") and ".low_rank." not in own and ".activation." not in own

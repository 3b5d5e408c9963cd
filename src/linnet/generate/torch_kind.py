"""The engine on torch, as ``linnet.generate.engines`` knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.generate.engine_kind import DTYPES, Capabilities, EngineKind, Opening

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine


def _open(opening: Opening) -> Engine:
    import torch

    from linnet.generate.torch_engine import ROWS, TorchEngine
    from linnet.model.adapter import load_adapter
    from linnet.model.merging import open_checkpoint
    from linnet.runtime import detect, torch_dtype

    config = opening.config
    if config.threads:
        torch.set_num_threads(config.threads)
    runtime = detect(config.device, DTYPES[config.precision])
    checkpoint = open_checkpoint(
        opening.source,
        device=runtime.device,
        dtype=torch_dtype(runtime.dtype),
        packed=config.precision != "int8" and not opening.adapters,
        progress=opening.progress,
    )
    for name, directory in opening.adapters.items():
        load_adapter(checkpoint.model, directory, name)
    draft = None
    if config.draft:
        draft = open_checkpoint(
            config.draft,
            device=runtime.device,
            dtype=torch_dtype(runtime.dtype),
            progress=opening.progress,
        )
    return TorchEngine(
        checkpoint,
        rows=config.slots or ROWS,
        int8=config.precision == "int8",
        lookup=config.lookup != "off",
        draft=draft,
    )


def _open_encoder(opening: Opening) -> Encoder:
    from linnet.generate.embedding import load_encoder

    config = opening.config
    return load_encoder(
        opening.source,
        device=config.device,
        dtype=DTYPES[config.precision],
        progress=opening.progress,
    )


TORCH = EngineKind(
    name="torch",
    about="the exact weights, on any device",
    can=Capabilities(
        formats=tuple(DTYPES),
        measured=("f32", "bf16", "int8"),  # processors compute f16 very slowly
        any_device=True,
        any_adapter=True,
        beams=True,
        exact=True,
    ),
    open=_open,
    open_encoder=_open_encoder,
)

"""The engine on llama.cpp, as ``linnet.generate.engines`` knows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from linnet import hub
from linnet.errors import ModelError
from linnet.generate.engine_kind import Capabilities, EngineKind, Opening
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine
    from linnet.generate.engines import EngineConfig
    from linnet.generate.llama_cpp.engine import LlamaCppEngine
    from linnet.generate.torch_engine import TorchEngine


_ENOUGH_CONTEXT = 2048
"""Where llama.cpp computes only shorter texts as the model does, ``auto`` takes torch instead."""


def _open(opening: Opening) -> Engine:
    config, progress = opening.config, opening.progress
    if config.precision == "auto":  # a file has its own
        from linnet.generate.llama_cpp.files import open_gguf

        return open_gguf(Path(opening.source), config, progress=progress)
    return open_checkpoint(opening.source, config, adapters=opening.adapters, progress=progress)


def open_checkpoint(
    source: Path | str,
    config: EngineConfig,
    *,
    adapters: Mapping[str, Path | str] | None = None,
    progress: Progress = SILENT,
) -> LlamaCppEngine:
    """The engine for a model: a directory or a hub name; the directory of an adapter as well.

    ``adapters``: directories of more, by the names that requests choose them by. Raises
    ModelError where llama.cpp would compute something else than the model does, OutputError
    where its file cannot be kept, MissingExtraError without ``gguf`` and ``xllamacpp``.
    """
    from linnet.generate.llama_cpp.files import open_cached

    path = hub.find(source, progress=progress).path
    if not adapters:
        draft = _draft(path, config, progress)
        known = open_cached(path, config, lambda file: _scorer(path, file), draft=draft)
        if known is not None:
            return known
    from linnet.generate.llama_cpp.checkpoints import make_engine

    return make_engine(path, config, adapters=adapters or {}, progress=progress)


def _draft(path: Path, config: EngineConfig, progress: Progress) -> Path | None:
    if not config.draft:
        return None
    from linnet.generate.llama_cpp.checkpoints import draft_file
    from linnet.tokenizer import load

    return draft_file(config, load(path), progress=progress)


def _scorer(path: Path, file: Path) -> TorchEngine:
    from linnet.generate.llama_cpp.checkpoints import make_scorer

    return make_scorer(path, file, {}, None)


def _open_encoder(opening: Opening) -> Encoder:
    from linnet.generate.llama_cpp.encoder import load_llama_cpp_encoder

    return load_llama_cpp_encoder(opening.source, opening.config, progress=opening.progress)


def _objection(opening: Opening) -> str | None:
    """What llama.cpp computes otherwise than the model does, if anything."""
    from linnet.generate.llama_cpp.cache import find_entry

    if opening.is_packed:
        return "its weights have few bits already, which torch multiplies as they are"
    if not opening.adapters and find_entry(opening.path, opening.config.precision) is not None:
        return None  # its file was made before, and nothing objected
    from linnet.generate.llama_cpp.checkpoints import exact_context
    from linnet.gguf.architectures import architecture

    shape = opening.shape
    try:
        architecture(shape)
        exact = exact_context(shape)
    except ModelError as error:
        return str(error)
    if exact < min(shape.context, _ENOUGH_CONTEXT):
        return f"llama.cpp computes texts over {exact} tokens otherwise"
    return None


LLAMA_CPP = EngineKind(
    name="llama.cpp",
    about="faster, in a process of its own, with rounded weights",
    can=Capabilities(
        formats=("q8_0", "q4_0", "f32", "f16", "bf16"),
        measured=("f32", "f16", "bf16", "q8_0", "q4_0"),
        files=True,
        bounds_context=True,
    ),
    open=_open,
    open_encoder=_open_encoder,
    packages=("xllamacpp", "gguf"),
    objection=_objection,
)

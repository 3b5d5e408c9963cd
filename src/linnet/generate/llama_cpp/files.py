"""Engines for files that are there: a GGUF file of anyone's, and one made before.

The latter takes no more than llama.cpp itself does, and the program around it stays small: torch
is loaded only when texts are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import ModelError
from linnet.generate.llama_cpp.cache import CachedModel, cache_directory, find_entry
from linnet.generate.llama_cpp.engine import LlamaCppEngine, Served
from linnet.generate.llama_cpp.resources import resources_for
from linnet.generate.llama_cpp.tokenization import GgufTokenizer
from linnet.generate.tokenization import CheckpointTokenizer
from linnet.gguf.metadata import Metadata, read_metadata
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig
    from linnet.generate.torch_engine import TorchEngine


def open_cached(
    path: Path,
    config: EngineConfig,
    scorer: Callable[[Path], TorchEngine],
    *,
    draft: Path | None = None,
) -> LlamaCppEngine | None:
    """The engine for the model in this directory, if its file is there.

    ``scorer``: makes what scores texts by the weights in that file.
    """
    known = find_entry(path, config.precision)
    return None if known is None else _open_cached(path, config, known, scorer, draft)


def _open_cached(
    path: Path,
    config: EngineConfig,
    known: CachedModel,
    scorer: Callable[[Path], TorchEngine],
    draft: Path | None,
) -> LlamaCppEngine:
    file = cache_directory() / known.file
    served = Served(
        file=file,
        vocab_size=known.vocab_size,
        stop_ids=known.stop_ids,
        spells_bytes=True,
        adapters={},
        usual_adapter=None,
        precision=config.precision,
        scorer=partial(scorer, file),
    )
    resources = resources_for(
        config,
        context=known.context,
        token_bytes=known.token_bytes,
        weight_bytes=file.stat().st_size,
    )
    tokenizer = CheckpointTokenizer(load_tokenizer(path))
    return LlamaCppEngine(
        served,
        tokenizer,
        resources,
        exact=config.precision == "f32",
        stall_seconds=config.stall_seconds,
        lookup=config.lookup == "on",
        draft=draft,
    )


def open_gguf(file: Path, config: EngineConfig, *, progress: Progress = SILENT) -> LlamaCppEngine:
    """The engine for a GGUF file. Raises ModelError when llama.cpp does not accept it."""
    with progress.task("reading the vocabulary"):
        metadata = read_metadata(file)
    tokenizer = GgufTokenizer(metadata)
    served = Served(
        file=file.resolve(),
        vocab_size=metadata.rows,
        stop_ids=metadata.stop_ids,
        spells_bytes=False,
        adapters={},
        usual_adapter=None,
        scorer=partial(_file_scorer, file, metadata, tokenizer),
    )
    resources = resources_for(
        config,
        context=metadata.context,
        token_bytes=metadata.token_bytes,
        weight_bytes=file.stat().st_size,
    )
    engine = LlamaCppEngine(
        served,
        tokenizer,
        resources,
        exact=False,
        stall_seconds=config.stall_seconds,
        lookup=config.lookup == "on",
        draft=_draft_file(metadata, config),
    )
    tokenizer.process = engine.dispatcher.process
    return engine


def _draft_file(metadata: Metadata, config: EngineConfig) -> Path | None:
    """The GGUF file that drafts. Raises ModelError for one of another vocabulary."""
    if not config.draft:
        return None
    file = Path(config.draft)
    if not file.is_file():
        raise ModelError(f"{file}: expected a GGUF file, as a draft for one, but it is none")
    theirs = read_metadata(file)
    if (theirs.tokens, theirs.types) != (metadata.tokens, metadata.types):
        raise ModelError(
            f"{file}: a draft model must have the vocabulary of the model that it drafts for: it "
            f"has {len(theirs.tokens):,} tokens, the model {len(metadata.tokens):,}, and they are "
            "not the same; use one with the same tokenizer"
        )
    return file.resolve()


def _file_scorer(file: Path, metadata: Metadata, tokenizer: GgufTokenizer) -> TorchEngine:
    from linnet.generate.llama_cpp.scoring import scorer_of_file

    return scorer_of_file(file, metadata.shape(), tokenizer, metadata.stop_ids)

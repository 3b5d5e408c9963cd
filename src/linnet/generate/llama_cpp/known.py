"""Models whose file was made before, opened without reading their weights.

What the engine must know besides the file is noted with it, under the hash of all it was made
from. So a second start takes no more than llama.cpp itself does, and the program around it
stays small: torch is loaded only when texts are scored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.config import read_json
from linnet.generate.llama_cpp.cache import RECIPE, cache_directory, content_hash
from linnet.generate.llama_cpp.engine import LlamaCppEngine, Served
from linnet.generate.llama_cpp.room import room_for
from linnet.generate.llama_cpp.words import TokenizerWords
from linnet.output import write_text
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig
    from linnet.generate.torch_engine import TorchEngine


@dataclass(frozen=True)
class Known:
    """What the engine must know of a model besides its file."""

    file: str
    """Its name in the cache."""
    stop_ids: tuple[int, ...]
    vocab_size: int
    context: int
    token_bytes: int
    """Bytes of the keys and values of one token."""


def open_known(
    path: Path, config: EngineConfig, scorer: Callable[[Path], TorchEngine]
) -> LlamaCppEngine | None:
    """The engine for the model in this directory, if its file is there.

    ``scorer``: makes what scores texts by the weights in that file.
    """
    known = recall(path, config.precision)
    return None if known is None else _open(path, config, known, scorer)


def recall(path: Path, precision: str) -> Known | None:
    """What was noted of the model in this directory, if its file is still there."""
    try:
        values = read_json(_note_of(path, precision))
        known = Known(**{**values, "stop_ids": tuple(values["stop_ids"])})
        os.utime(cache_directory() / known.file)  # it is in use
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known


def remember(path: Path, precision: str, known: Known) -> None:
    """Note it for the next time; without a place for it, nothing."""
    with contextlib.suppress(OSError):
        write_text(_note_of(path, precision), json.dumps(asdict(known)))


def _open(
    path: Path, config: EngineConfig, known: Known, scorer: Callable[[Path], TorchEngine]
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
    room = room_for(
        config,
        context=known.context,
        token_bytes=known.token_bytes,
        weight_bytes=file.stat().st_size,
    )
    words = TokenizerWords(load_tokenizer(path))
    return LlamaCppEngine(
        served, words, room, exact=config.precision == "f32", stall_seconds=config.stall_seconds
    )


def _note_of(path: Path, precision: str) -> Path:
    digest = hashlib.sha256(f"{RECIPE} known {precision} {content_hash(path)}".encode())
    return cache_directory() / f"{digest.hexdigest()[:40]}.json"

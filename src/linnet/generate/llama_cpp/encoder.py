"""Texts as vectors, by llama.cpp: what ``linnet.load_encoder`` gives, computed faster.

The same tokens, the same pooling, the same scaling. llama.cpp sums states up itself, and
knows the mean and the first state; other poolings, and prompts that do not count, are torch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet import hub
from linnet.errors import ConfigError, ModelError
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf, stored_format
from linnet.generate.embedding import EmbedConfig, Encoder, Vectors
from linnet.generate.llama_cpp.cache import cached
from linnet.generate.llama_cpp.checkpoints import byte_spelling
from linnet.generate.pooling import read_recipe
from linnet.llama_cpp.process import LlamaCppProcess, LlamaCppSettings
from linnet.model import Transformer, load_model
from linnet.progress import SILENT, Progress
from linnet.runtime import usable_cores
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig

_POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class LlamaCppEncoder(Encoder):
    """An encoder whose vectors llama.cpp computes; ``model`` has its shape and no weights."""

    process: LlamaCppProcess
    number_format: str

    @property
    def precision(self) -> str:
        """The number format of its weights."""
        return self.number_format

    def embed(
        self,
        texts: Sequence[str] | Sequence[Sequence[int]],
        *,
        batch: int = EmbedConfig.batch,
        prompt: str | None = EmbedConfig.prompt,
        prefix: str = EmbedConfig.prefix,
        normalise: bool | None = None,
        progress: Progress = SILENT,
    ) -> Vectors:
        """The vectors of the texts, ``(N, D)`` in fp32, in their order: see :class:`Encoder`."""
        settings = EmbedConfig(batch=batch, prompt=prompt, prefix=prefix)
        if isinstance(texts, str):
            raise ConfigError("embed takes a list of texts. Got one text: put it into a list")
        before = prefix or self.recipe.prompt(prompt)
        if before and not self.recipe.prompt_counts:
            raise ConfigError("llama.cpp counts a prompt among the text; use engine torch")
        ids = [tokens.tolist() for tokens in self._ids(texts, before, progress)]
        vectors = np.empty((len(texts), self.width), dtype=np.float32)
        with progress.task("embedding", total=len(ids), unit="texts") as task:
            for start in range(0, len(ids), settings.batch):
                asked = {"content": ids[start : start + settings.batch], "embd_normalize": -1}
                for answer in self.process.ask("/embedding", asked):
                    vectors[start + int(answer["index"])] = answer["embedding"][0]
                    task.advance()
        wanted = self.recipe.normalise if normalise is None else normalise
        if not wanted:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = vectors / np.maximum(lengths, 1e-12)
        return scaled

    @property
    def memory_bytes(self) -> int:
        """Memory of the process that computes."""
        return self.process.memory_bytes

    def close(self) -> None:
        """End llama.cpp."""
        self.process.close()


def load_llama_cpp_encoder(
    source: Path | str, config: EngineConfig, *, progress: Progress = SILENT
) -> LlamaCppEncoder:
    """Open an encoder: a directory, a project that holds one, or a hub name.

    Raises ModelError when it cannot be read, continues texts, or sums its states up in a way
    that llama.cpp does not know.
    """
    path = hub.find(source, progress=progress).path
    place, recipe = read_recipe(path)
    if len(recipe.poolings) != 1 or recipe.poolings[0] not in _POOLINGS:
        raise ModelError(
            f"{source}: llama.cpp makes one vector by {' or '.join(_POOLINGS)}. "
            f"Got {', '.join(recipe.poolings)}; use engine torch"
        )
    if place != path and recipe.poolings != ("mean",):
        raise ModelError(f"{source}: the pooling of a model in parts is torch's; use engine torch")
    shape = load_model(place, dtype=stored_format(place)).config
    if shape.causal:
        raise ModelError(f"{source}: expected an encoder, such as bert. Got '{shape.family}'")
    tokenizer = load_tokenizer(place)
    file = cached(
        [path, path / "1_Pooling"] if place == path else [path, place],
        f"encoder {config.precision}",
        lambda out: export_gguf(
            place,
            out,
            ExportConfig(type=config.precision, name=path.name),
            spelling=byte_spelling(tokenizer, (tokenizer.end_of_text,)),
            open_once=False,
            progress=progress,
        ),
        progress=progress,
    )
    settings = LlamaCppSettings(
        model=str(file),
        context=min(config.context or shape.context, shape.context),
        threads=config.threads or usable_cores(),
        exact=config.precision == "f32",
        embedding=True,
        stall_seconds=config.stall_seconds,
    )
    with torch.device("meta"):
        hollow = Transformer(shape)
    return LlamaCppEncoder(hollow, tokenizer, recipe, LlamaCppProcess(settings), config.precision)

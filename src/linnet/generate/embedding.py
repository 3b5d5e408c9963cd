"""Texts as vectors: ``linnet.load_encoder(directory).embed(["one text", "another"])``.

Texts are computed in the order of their lengths, and on a CPU end to end in one
row, so that hardly any or no work goes into padding; the vectors come in the order
of the texts. What a vector is made of is in ``linnet.generate.pooling``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from linnet import hub
from linnet.config import Config, option
from linnet.errors import ConfigError, ModelError
from linnet.generate.engine_kind import format_of, model_directory, weight_bytes
from linnet.progress import SILENT, Progress
from linnet.runtime import DeviceName, DtypeName, detect, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.generate.pooling import EmbeddingRecipe
    from linnet.model import Transformer
    from linnet.tokenizer import Tokenizer

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbedConfig(Config):
    """How texts become vectors."""

    batch: int = option(32, "Texts computed at once.", least=1)
    prompt: str | None = option(
        None, "Name of a prompt in the model's files, to put before each text: query, say."
    )
    prefix: str = option("", "Words of your own to put before each text, such as 'query: '.")
    normalise: Literal["auto", "yes", "no"] = option(
        "auto", "Scale vectors to length one; auto: as the model's files say."
    )
    device: DeviceName = option("cpu", "Where to compute.")
    dtype: DtypeName = option("fp32", "Number format to compute in.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt and self.prefix:
            raise ConfigError("give a prompt by its name or a prefix by its words, not both")


@dataclass(frozen=True)
class Encoder:
    """A model that reads a text from both sides, and gives one vector for it."""

    model: Transformer
    tokenizer: Tokenizer
    recipe: EmbeddingRecipe

    @property
    def width(self) -> int:
        """The length of a vector."""
        return self.model.config.width * len(self.recipe.poolings)

    @property
    def max_tokens(self) -> int:
        """The longest text in tokens, special ones included; of a longer one the rest is cut."""
        room = self.model.config.context
        stated = self.recipe.max_tokens or self.tokenizer.config.get("model_max_length")
        return int(min(stated, room)) if isinstance(stated, int | float) else room

    @property
    def precision(self) -> str:
        """The number format that it computes in."""
        return format_of(self.model)

    @property
    def memory_bytes(self) -> int:
        """Memory that its weights take."""
        return weight_bytes(self.model)

    @property
    def advice(self) -> str | None:
        """One line on how to compute faster on this machine, where there is a way."""
        return None

    def close(self) -> None:
        """Free what it holds: here, nothing but memory."""

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
        """The vectors of the texts, ``(N, D)`` in fp32, in their order.

        ``prompt``: the name of a prompt in the model's files (the default one where there
        is such); ``prefix``: words of your own instead. ``normalise``: scale to length
        one, by default as the model's files say. Texts longer than ``max_tokens`` are
        cut there, which ``progress`` is warned of. A text may be its tokens, with or without the
        special ones around. Raises ConfigError for a prompt that the model does not have, and for
        tokens that it does not have.
        """
        import torch

        settings = EmbedConfig(batch=batch, prompt=prompt, prefix=prefix)
        if isinstance(texts, str):
            raise ConfigError("embed takes a list of texts. Got one text: put it into a list")
        before = prefix or self.recipe.prompt(prompt)
        ids = self._ids(texts, before, progress)
        skipped = self._skipped(before)
        vectors = np.empty((len(texts), self.width), dtype=np.float32)
        order = np.argsort([-len(text) for text in ids], kind="stable")
        with (
            torch.inference_mode(),
            progress.task("embedding", total=len(ids), unit="texts") as task,
        ):
            for start in range(0, len(ids), settings.batch):
                places = order[start : start + settings.batch]
                states = last_states(self.model, [ids[place] for place in places])
                vectors[places] = self._pooled(states, skipped, normalise).numpy()
                task.advance(len(places))
        return vectors

    def own_tokens(self, tokens: Sequence[int]) -> Sequence[int]:
        """A text's own tokens, without the special ones that may stand around them.

        Raises ConfigError for those that the model does not have.
        """
        size = min(self.tokenizer.vocab_size, self.model.config.vocab_size)
        for token in tokens:
            if not 0 <= token < size:
                raise ConfigError(
                    f"tokens must be below {size}, the encoder's vocabulary. Got {token}"
                )
        first, last = list(self.tokenizer.start), list(self.tokenizer.finish)
        own = list(tokens)
        if first and own[: len(first)] == first:
            own = own[len(first) :]
        if last and own[-len(last) :] == last:
            own = own[: -len(last)]
        return own

    def _ids(
        self, texts: Sequence[str] | Sequence[Sequence[int]], before: str, progress: Progress
    ) -> list[Tensor]:
        """The tokens of each text between the special ones, as the model was trained on them."""
        import torch

        first, last = self.tokenizer.start, self.tokenizer.finish
        room = self.max_tokens - len(first) - len(last)
        if room < 1:
            raise ModelError(f"a text must have room for a token. Got {self.max_tokens} in all")
        prompt = self._encoded([before])[0].tolist() if before else []
        whole = [before + text for text in texts if isinstance(text, str)]
        encoded = iter(self._encoded(whole))
        found = [
            next(encoded)
            if isinstance(text, str)
            else np.array([*prompt, *self.own_tokens(text)], dtype=np.uint32)
            for text in texts
        ]
        cut = sum(len(text) > room for text in found)
        if cut:
            progress.warn(
                f"{cut:,} of {len(texts):,} texts are longer than {self.max_tokens} tokens: "
                "of these only the beginning was read"
            )
        rows = [[*first, *text[:room].tolist(), *last] for text in found]
        return [torch.tensor(row or [self.tokenizer.end_of_text]) for row in rows]

    def _encoded(self, texts: Sequence[str]) -> list[npt.NDArray[np.uint32]]:
        if self.recipe.lowercase:
            texts = [text.lower() for text in texts]
        return self.tokenizer.encode_arrays(texts)

    def _skipped(self, before: str) -> int:
        """How many states at a text's beginning say nothing of it."""
        if self.recipe.prompt_counts or not before:
            return 0
        return len(self.tokenizer.start) + len(self.tokenizer.encode(before))

    def _pooled(self, states: list[Tensor], skipped: int, normalise: bool | None) -> Tensor:
        """One vector for each text, ``(N, D)``."""
        import torch

        from linnet.model.heads import POOLINGS

        # Where a long prompt left nothing of the text, there is only the prompt to go by.
        meant = [text[skipped:] if len(text) > skipped else text for text in states]
        vectors = torch.stack(
            [
                torch.cat([POOLINGS[name](text.float()) for name in self.recipe.poolings])
                for text in meant
            ]
        )
        wanted = self.recipe.normalise if normalise is None else normalise
        return torch.nn.functional.normalize(vectors, dim=1) if wanted else vectors


def last_states(model: Transformer, texts: list[Tensor]) -> list[Tensor]:
    """The states ``(T, D)`` of each text, given as ids ``(T,)``, on the CPU."""
    device = model.embedding.weight.device
    # On a CPU end to end, since attention there takes one text after another anyway.
    return packed_states(model, texts) if device.type == "cpu" else padded_states(model, texts)


def packed_states(model: Transformer, texts: list[Tensor]) -> list[Tensor]:
    """As :func:`last_states`, all texts in one row."""
    import torch

    device = model.embedding.weight.device
    lengths = [len(text) for text in texts]
    segments = torch.repeat_interleave(torch.tensor(lengths))[None]
    row = torch.cat(texts)[None]
    states = model.hidden(row.to(device), segment_ids=segments.to(device)).cpu()
    return list(states[0].split(lengths))


def padded_states(model: Transformer, texts: list[Tensor]) -> list[Tensor]:
    """As :func:`last_states`, each text in a row of its own."""
    import torch

    device = model.embedding.weight.device
    rows = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    padding = torch.arange(rows.shape[1]) >= lengths[:, None]
    states = model.hidden(rows.to(device), segment_ids=padding.long().to(device)).cpu()
    return [row[:length] for row, length in zip(states, lengths.tolist(), strict=True)]


def load_encoder(
    source: Path | str,
    *,
    device: DeviceName = EmbedConfig.device,
    dtype: DtypeName = EmbedConfig.dtype,
    progress: Progress = SILENT,
) -> Encoder:
    """Open an encoder: a directory, a project that holds one, or a hub name.

    Raises ModelError when it cannot be read, or is a model that only continues texts.
    """
    from linnet.generate.pooling import read_recipe
    from linnet.model import load_model
    from linnet.tokenizer import load as load_tokenizer

    runtime = detect(device, dtype)
    found = model_directory(source) if Path(source).exists() else source
    path = hub.find(found, progress=progress).path
    place, recipe = read_recipe(path)
    model = load_model(place, device=runtime.device, dtype=torch_dtype(runtime.dtype))
    if model.config.causal:
        raise ModelError(
            f"{source}: a model of type '{model.config.family}' sees only what came before, "
            "so that its states are no embeddings of a text; expected an encoder, such as bert"
        )
    return Encoder(model, load_tokenizer(place), recipe)

"""From a model's directory, or an adapter's, to the engine on llama.cpp.

The file that llama.cpp reads is made the first time and kept (``cache``). An adapter that
is the only one goes into its base's weights, where it costs nothing; several lie beside
the base, and each request chooses.

Prompts go to llama.cpp as token ids and its answers come back as ids, so it need not cut
text at all, and any tokenizer will do. What it needs to know of a token is its bytes, for
constraints. They are written one character a byte (Latin-1): llama.cpp keeps back a token
that ends within a character and never says which it was, and in this spelling none does.
Constraints are spelt likewise (``linnet.generate.constraints.gbnf``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet import hub
from linnet.errors import ModelError
from linnet.export.adapters import write_adapter_gguf
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf, stored_format
from linnet.generate.llama_cpp.cache import CachedModel, cached, write_entry
from linnet.generate.llama_cpp.engine import LlamaCppEngine, Served
from linnet.generate.llama_cpp.resources import STEP, resources_for
from linnet.generate.llama_cpp.scoring import score_file
from linnet.generate.speculation import require_same_vocabulary
from linnet.generate.tokenization import CheckpointTokenizer
from linnet.gguf.architectures import architecture
from linnet.gguf.vocabulary import CONTROL, NORMAL, Vocabulary
from linnet.model import load_model
from linnet.model.adapter import adapter_base, is_adapter, load_adapter
from linnet.model.lora import separates_tables
from linnet.model.merging import ADAPTER
from linnet.model.merging import open_checkpoint as open_weights
from linnet.progress import SILENT, Progress
from linnet.tokenizer.token_bytes import byte_of_character

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.export.gguf import Spelling
    from linnet.generate.engines import EngineConfig
    from linnet.generate.torch_engine import TorchEngine
    from linnet.model import Checkpoint, ModelConfig
    from linnet.tokenizer import Tokenizer


def make_engine(
    path: Path,
    config: EngineConfig,
    *,
    adapters: Mapping[str, Path | str],
    progress: Progress = SILENT,
) -> LlamaCppEngine:
    """The engine for a model in a directory; see :func:`linnet.generate.llama_cpp.open_checkpoint`.

    What is known then is noted, so that it need not be found out again.
    """
    checkpoint = open_weights(path, dtype=_mapped_format(path, progress))
    shape = checkpoint.config
    shape.require_writes()
    architecture(shape)  # refuses what llama.cpp would compute otherwise
    longest = exact_context(shape)
    if longest < shape.context:
        progress.warn(
            f"texts have at most {longest:,} tokens, as llama.cpp computes longer ones otherwise; "
            f"engine torch has {shape.context:,}"
        )
    served = _served(path, checkpoint, config, adapters, progress)
    exact = config.precision == "f32"
    bytes_of_one = token_bytes(shape, exact)
    resources = resources_for(
        config,
        context=longest,
        token_bytes=bytes_of_one,
        weight_bytes=served.file.stat().st_size,
        may_share=not is_stretched_by_length(shape),
    )
    tokenizer = CheckpointTokenizer(checkpoint.tokenizer)
    engine = LlamaCppEngine(
        served,
        tokenizer,
        resources,
        exact=exact,
        stall_seconds=config.stall_seconds,
        lookup=config.lookup == "on",
        draft=draft_file(config, checkpoint.tokenizer, progress=progress),
    )
    if not is_adapter(path) and not adapters and longest == shape.context:
        entry = CachedModel(
            served.file.name, served.stop_ids, shape.vocab_size, longest, bytes_of_one
        )
        write_entry(path, config.precision, entry)
    return engine


def draft_file(
    config: EngineConfig, tokenizer: Tokenizer, *, progress: Progress = SILENT
) -> Path | None:
    """The file of the model that drafts, made now or before; None without one.

    ``tokenizer``: of the model that it drafts for. Raises ModelError for another vocabulary.
    """
    if not config.draft:
        return None
    path = hub.find(config.draft, progress=progress).path
    draft = open_weights(path, dtype=_mapped_format(path, progress))
    draft.config.require_writes()
    architecture(draft.config)
    require_same_vocabulary(tokenizer, draft.tokenizer)
    return _served(path, draft, config, {}, progress).file


def _served(
    path: Path,
    checkpoint: Checkpoint,
    config: EngineConfig,
    adapters: Mapping[str, Path | str],
    progress: Progress,
) -> Served:
    """The files of a model, made now or before: one adapter merged, or several beside the base."""
    beside = {name: Path(directory) for name, directory in adapters.items()}
    usual = merged = None
    base = path
    sources = [path]
    if is_adapter(path):
        base = hub.find(adapter_base(path), progress=progress).path
        sources.append(base)
        if beside:
            usual, beside = ADAPTER, {ADAPTER: path, **beside}
        else:
            merged = ADAPTER
    vocab_size = checkpoint.config.vocab_size
    stops = tuple(stop for stop in checkpoint.stop_ids if 0 <= stop < vocab_size)
    spelling = byte_spelling(checkpoint.tokenizer, stops)
    settings = ExportConfig(type=config.precision, name=path.name)
    whole = path if merged else base
    file = cached(
        sources,
        f"model {config.precision} {stops}",
        lambda out: export_gguf(
            whole, out, settings, spelling=spelling, open_once=False, progress=progress
        ),
        progress=progress,
    )
    files = {
        name: cached([directory, base], "adapter", partial(_write_adapter, base, directory))
        for name, directory in beside.items()
    }
    return Served(
        file=file,
        vocab_size=vocab_size,
        stop_ids=stops,
        spells_bytes=True,
        adapters=files,
        usual_adapter=usual,
        scorer=partial(make_scorer, path, file, beside, usual),
        precision=config.precision,
        merged=merged,
    )


def make_scorer(
    path: Path, file: Path, adapters: Mapping[str, Path], usual: str | None
) -> TorchEngine:
    """What scores texts by the weights in ``file``, which was made from the model in ``path``."""
    checkpoint = open_weights(path, dtype=_mapped_format(path, SILENT))
    if is_adapter(path) and not adapters and separates_tables(checkpoint.model, ADAPTER):
        checkpoint.config = replace(checkpoint.config, tied=False)  # as in the merged file
    return score_file(file, checkpoint, adapters, usual)


def exact_context(config: ModelConfig) -> int:
    """The longest text that llama.cpp computes as the model does.

    Raises ModelError where it computes none so.
    """
    longest = config.context
    windowed = any(config.is_windowed(layer) for layer in range(config.depth))
    if windowed and config.window is not None and architecture(config).windows is None:
        longest = min(longest, config.window)
    if is_stretched_by_length(config):
        assert config.rope_scaling is not None
        # Its room, which is a multiple of this, decides how positions turn, not the text.
        longest = min(longest, config.rope_scaling.original_context // STEP * STEP)
        if longest == 0:
            raise ModelError(
                f"llama.cpp stretches the positions of this model in all texts, which it was "
                f"trained for in those over {config.rope_scaling.original_context} tokens; use "
                "engine torch"
            )
    return longest


def is_stretched_by_length(config: ModelConfig) -> bool:
    """Whether long texts have other positions than short ones (LongRoPE)."""
    return config.rope_scaling is not None and config.rope_scaling.kind == "longrope"


def token_bytes(config: ModelConfig, exact: bool) -> int:
    """Bytes that the keys and values of one token take."""
    return config.depth * 2 * config.kv_heads * config.head_width * (4 if exact else 2)


def _mapped_format(path: Path, progress: Progress) -> torch.dtype:
    """The format in which the weights are mapped from their file, and take no memory."""
    if is_adapter(path):
        path = hub.find(adapter_base(path), progress=progress).path
    return stored_format(path)


def _write_adapter(base: Path, directory: Path, out: Path) -> None:
    model = load_model(base)
    load_adapter(model, directory, ADAPTER)
    write_adapter_gguf(model, ADAPTER, out)


_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
# Names by which llama.cpp knows further tokens that end a text.
_END_NAMES = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<EOT>")

# No byte is spelt so: what begins with it matches no constraint.
_OUTSIDE = "\ue000"


def byte_spelling(tokenizer: Tokenizer, stop_ids: Sequence[int]) -> Spelling:
    """How a file says of a tokenizer no more than each token's bytes and where texts end.

    ``tokenizer``: the one that requests are cut by; an adapter may have brought its own.
    """

    def spelling(beside: Tokenizer, path: Path, size: int) -> Vocabulary:
        return byte_vocabulary(tokenizer, size=size, stop_ids=stop_ids)

    return spelling


def byte_vocabulary(tokenizer: Tokenizer, *, size: int, stop_ids: Sequence[int]) -> Vocabulary:
    """The vocabulary of a model with ``size`` rows in its table of tokens."""
    character_of = {byte: character for character, byte in byte_of_character().items()}
    tokens: list[str] = []
    types: list[int] = []
    seen: set[bytes] = set()
    for token in range(size):
        spelt = tokenizer.token_bytes(token)
        # Of two tokens for the same bytes llama.cpp takes only one.
        if spelt and spelt not in seen and token not in stop_ids:
            seen.add(spelt)
            piece = spelt.decode("latin-1").encode("utf-8")
            tokens.append("".join(character_of[byte] for byte in piece))
            types.append(NORMAL)
        else:
            tokens.append(f"{_OUTSIDE}{token}")
            types.append(CONTROL)
    settings: dict[str, object] = dict(zip(_END_KEYS, stop_ids, strict=False))
    for token, name in zip(stop_ids[len(_END_KEYS) :], _END_NAMES, strict=False):
        tokens[token] = name
    settings |= {"bos_token_id": stop_ids[0], "add_bos_token": False, "add_eos_token": False}
    return Vocabulary("gpt2", "gpt-2", tokens, types, merges=["a b"], settings=settings)

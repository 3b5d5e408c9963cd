"""Checkpoints in Hugging Face's layout: read from anyone, written for everyone.

    config.json             the shape, under the family's published names
    model.safetensors       the weights (or shards listed in model.safetensors.index.json)
    generation_config.json  where to stop, and how its makers sample from it
    tokenizer.json, tokenizer_config.json (with the chat template in it)

Both transformers 4 and 5 spellings are read and written. Nothing in a checkpoint
is ever run: pickled weights are refused, and code that a ``config.json`` names
(``auto_map``) is passed over.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linnet import hub
from linnet.errors import LinnetError, ModelError
from linnet.model.config import ModelConfig
from linnet.model.config_file import (
    CONFIG,
    GENERATION,
    read_config_file,
    read_generation_file,
    read_object,
)
from linnet.model.families import family
from linnet.model.loading import AnyDtype, load_model, output_names
from linnet.model.quantised import Codes, Scheme, join_codes, packed_tensors, written_scheme
from linnet.model.transformer import Transformer
from linnet.model.weights import SHARD_BYTES, Written, write_weights
from linnet.output import write_json
from linnet.progress import SILENT, Progress
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer

__all__ = [
    "Checkpoint",
    "copy_tokenizer",
    "load_checkpoint",
    "load_model",
    "published_weights",
    "read_config_file",
    "read_generation_file",
    "read_stop_ids",
    "save_checkpoint",
]

TOKENIZER_CONFIG_LIMIT = 16 << 20  # bytes; it may list thousands of special tokens
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
# How an encoder's states become embeddings: see linnet.generate.pooling.
ENCODER_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
    "*_Normalize/config.json",
)
TEMPLATE = "chat_template.jinja"
OUTPUT = "lm_head"  # what transformers calls any output layer, whatever it is stored as
MORE_TEMPLATES = "additional_chat_templates"

# What a config.json says of one copy of a model, and not of a model made from it.
_NOT_CARRIED = {
    "_name_or_path",
    "_commit_hash",
    "architectures",
    "auto_map",
    "dtype",
    "model_type",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
}


@dataclass
class Checkpoint:
    """A loaded model and what belongs to it."""

    model: Transformer
    tokenizer: Tokenizer
    config: ModelConfig
    stop_ids: tuple[int, ...]
    """Tokens after which a text, or a turn of a chat, is over."""
    path: Path | None = None
    """The directory that it was loaded from."""
    source: str | None = None
    """For one from the hub: ``org/name@commit``."""


def load_checkpoint(
    source: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: AnyDtype = torch.float32,
    packed: bool = False,
    progress: Progress = SILENT,
) -> Checkpoint:
    """Load a model: a directory, or (given as text) a hub name such as ``org/name@revision``.

    ``dtype``: the format of the weights; "auto" is the best for the device. ``packed``: see
    :func:`load_model`. Raises ModelError naming what is wrong.
    """
    found = hub.find(source, progress=progress)
    model = load_model(found.path, device=device, dtype=dtype, packed=packed, progress=progress)
    tokenizer = load_tokenizer(found.path)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"{found.path}: the tokenizer has {tokenizer.vocab_size} tokens but the model only "
            f"{model.config.vocab_size}; they do not belong together"
        )
    stops = read_stop_ids(found.path, model.config, tokenizer)
    return Checkpoint(model, tokenizer, model.config, stops, found.path, found.pin)


def save_checkpoint(
    model: Transformer,
    path: Path,
    *,
    tokenizer: Path | None = None,
    base: Path | None = None,
    dtype: torch.dtype | None = None,
    codes: Mapping[str, Codes] | None = None,
    scheme: Scheme | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = SILENT,
) -> None:
    """Write a model directory into the existing directory ``path``.

    ``tokenizer``: a directory to copy the tokenizer files from. ``base``: the model
    directory that this one was made from; what its configuration says beyond the
    shape is kept, and how it makes embeddings. ``dtype``: the format of the stored
    weights, by default that of the parameters. ``codes``: matrices that are stored as whole
    numbers, by our names, with their ``scheme``. A full disk (OutputError) leaves the
    weights that were there.
    """
    config = model.config
    table = family(config.family)
    weights = published_weights(model, dtype, codes)
    write_weights(weights, path, shard_bytes=shard_bytes, progress=progress)
    stored = str(dtype or model.embedding.weight.dtype).removeprefix("torch.")
    values = {
        **table.written(config),
        "torch_dtype": stored,
        "dtype": stored,
        "use_cache": True,
    }
    if scheme is not None:
        values["quantization_config"] = written_scheme(scheme, _plain_layers(model, codes or {}))
    if tokenizer is not None:
        copy_tokenizer(tokenizer, path)
    before = read_config_file(base) if base is not None else {}
    write_json(path / CONFIG, _carry_over(before, values))
    if config.causal:
        write_json(path / GENERATION, _generation(base, before, config, path))
    elif base is not None:
        _copy_encoder_files(base, path)


def published_weights(
    model: Transformer,
    dtype: torch.dtype | None = None,
    codes: Mapping[str, Codes] | None = None,
) -> list[Written]:
    """The model's tensors as its family publishes them; none is copied yet.

    ``codes``: matrices as whole numbers, by our names.
    """
    own = model.state_dict()
    table = family(model.config.family)
    weights = []
    for entry in table.tensors(model.config):
        if codes and set(entry.own) <= codes.keys():
            whole = join_codes([codes[n] for n in entry.own], interleaved=entry.interleaved)
            weights += packed_tensors(entry.published, whole)
            continue
        parts = tuple(own[name] for name in entry.own)
        if entry.aliases:  # stored twice, perhaps: files must not hold views of one another
            parts = tuple(part.clone() for part in parts)
        weights.append(
            Written(
                entry.published,
                parts,
                dtype or parts[0].dtype,
                transposed=entry.transposed,
                interleaved=entry.interleaved,
            )
        )
    for name, value in table.constants(model.config).items():
        shape = (1,) if "alpha" in name else ()
        weights.append(Written(name, (torch.full(shape, value),), weights[0].dtype))
    return weights


def _plain_layers(model: Transformer, codes: Mapping[str, Codes]) -> list[str]:
    """The linear layers that are not stored as whole numbers, by their published names."""
    linear = {
        f"{name}.weight" for name, each in model.named_modules() if isinstance(each, nn.Linear)
    }
    table = family(model.config.family)
    names = [
        entry.published
        for entry in table.tensors(model.config)
        if set(entry.own) <= linear - codes.keys()
    ]
    names += [*output_names(table, model.config), OUTPUT]
    return sorted({name.removesuffix(".weight") for name in names})


def copy_tokenizer(source: Path, path: Path) -> None:
    """Copy the tokenizer's files; chat templates kept in files of their own go inline.

    So that every reader finds them: not all know the separate files.
    """
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and source != path:
            shutil.copyfile(source / name, path / name)
    found = [("default", source / TEMPLATE)] if (source / TEMPLATE).is_file() else []
    more = sorted((source / MORE_TEMPLATES).glob("*.jinja"))
    found += [(file.stem, file) for file in more if found]
    if not found:
        return
    texts = {name: file.read_text(encoding="utf-8") for name, file in found}
    file = path / TOKENIZER_CONFIG
    settings = read_object(file, limit=TOKENIZER_CONFIG_LIMIT) if file.is_file() else {}
    settings["chat_template"] = (
        [{"name": name, "template": text} for name, text in texts.items()]
        if len(texts) > 1
        else texts["default"]
    )
    write_json(file, settings)


def _copy_encoder_files(source: Path, path: Path) -> None:
    for file in (file for pattern in ENCODER_FILES for file in source.glob(pattern)):
        copy = path / file.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        if not (copy.exists() and copy.samefile(file)):
            shutil.copyfile(file, copy)


def _carry_over(before: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What is written, and what the base's configuration says besides."""
    if before.get("model_type") != values["model_type"]:
        return values
    kept = {key: value for key, value in before.items() if key not in _NOT_CARRIED}
    if before.get("num_hidden_layers") != values.get("num_hidden_layers"):
        kept.pop("layer_types", None)  # those of other blocks
    ends = before.get("eos_token_id")
    same_end = isinstance(ends, list) and values.get("eos_token_id") in ends
    return {**kept, **values, **({"eos_token_id": ends} if same_end else {})}


def _generation(
    base: Path | None, before: Mapping[str, Any], config: ModelConfig, path: Path
) -> dict[str, Any]:
    """The generation settings: the base's, with every token that ends a text or a turn."""
    settings = read_generation_file(base) if base is not None else {}
    settings.pop("transformers_version", None)
    ends = [*_ids(settings.get("eos_token_id")), *_ids(before.get("eos_token_id"))]
    ends += _ids(config.eos_id)
    if (path / "tokenizer.json").is_file():
        ends += _ids(_end_of_turn(load_tokenizer(path)))
    ends = list(dict.fromkeys(ends))
    if ends:
        settings["eos_token_id"] = ends if ends[1:] else ends[0]
    for key, value in (("bos_token_id", config.bos_id), ("pad_token_id", config.pad_id)):
        if value is not None:
            settings[key] = value
    return settings


def stored_dtype(path: Path) -> torch.dtype:
    """The format that a checkpoint's weights are stored in, as config.json says."""
    values = read_config_file(path)
    name = values.get("dtype") or values.get("torch_dtype")
    known = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return known.get(name, torch.float32) if isinstance(name, str) else torch.float32


def read_stop_ids(path: Path, config: ModelConfig, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens after which a text, or a turn of a chat, is over."""
    ends = _ids(read_generation_file(path).get("eos_token_id"))
    ends += _ids(read_config_file(path).get("eos_token_id"))
    ends += _ids([config.eos_id, tokenizer.end_of_text, _end_of_turn(tokenizer)])
    return tuple(dict.fromkeys(ends))


def _end_of_turn(tokenizer: Tokenizer) -> int | None:
    """The token that ends a turn; none where the chat template is broken, which chats will say."""
    try:
        return tokenizer.end_of_turn
    except LinnetError:
        return None


def _ids(value: Any) -> list[int]:
    """Token ids: given as one, several or none."""
    found = value if isinstance(value, list) else [value]
    return [token for token in found if isinstance(token, int) and not isinstance(token, bool)]

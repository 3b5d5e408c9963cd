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

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from linnet import hub
from linnet.errors import ConfigError, ModelError
from linnet.model.config import ModelConfig
from linnet.model.families import family
from linnet.model.families.apertus import RELU2_AS_XIELU
from linnet.model.families.table import FamilyTable
from linnet.model.transformer import Transformer
from linnet.model.weights import SHARD_BYTES, WeightFiles, Written, open_weights, write_weights
from linnet.output import write_json
from linnet.progress import SILENT, Progress
from linnet.runtime import detect, torch_dtype
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer

CONFIG = "config.json"
GENERATION = "generation_config.json"
CONFIG_LIMIT = 1 << 20  # bytes; a config.json is a few kilobytes
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
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"

# Buffers that old releases of transformers stored; they are computed from the configuration.
IGNORED = (
    r"\.attn\.(masked_)?bias$",
    r"rotary_emb\.inv_freq$",
    r"(^|\.)embeddings\.position_ids$",
)
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

AnyDtype = torch.dtype | Literal["auto"]


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
    progress: Progress = SILENT,
) -> Checkpoint:
    """Load a model: a directory, or (given as text) a hub name such as ``org/name@revision``.

    ``dtype``: the format of the weights; "auto" is the best for the device. Raises
    ModelError naming what is wrong.
    """
    found = hub.find(source, progress=progress)
    model = load_model(found.path, device=device, dtype=dtype)
    tokenizer = load_tokenizer(found.path)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"{found.path}: the tokenizer has {tokenizer.vocab_size} tokens but the model only "
            f"{model.config.vocab_size}; they do not belong together"
        )
    stops = read_stop_ids(found.path, model.config, tokenizer)
    return Checkpoint(model, tokenizer, model.config, stops, found.path, found.pin)


def load_model(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: AnyDtype = torch.float32,
) -> Transformer:
    """Load just the weights of a model directory, ready for inference.

    On the CPU, weights stored in the format asked for are mapped from the file and
    take no memory until they are changed.
    """
    path = Path(path)
    values = read_config_file(path)
    table = family(values.get("model_type"))
    if values.get("quantization_config"):
        raise ModelError(
            f"{path}: the weights are quantised, which cannot be read; "
            "get the checkpoint that this one was made from"
        )
    try:
        config = table.read(values)
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{path / CONFIG}: {error}") from None
    files = open_weights(path)
    _refuse_absurd(config, files)
    if table.model_type == "apertus" and _is_relu2(files, config):
        config = dataclasses.replace(config, activation="relu2")
    config = _as_tied_as_the_weights(files, table, config)
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict(_read_weights(files, table, model, device, dtype), assign=True)
    return model.eval()


def save_checkpoint(
    model: Transformer,
    path: Path,
    *,
    tokenizer: Path | None = None,
    base: Path | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = SILENT,
) -> None:
    """Write a model directory into the existing directory ``path``.

    ``tokenizer``: a directory to copy the tokenizer files from. ``base``: the model
    directory that this one was made from; what its configuration says beyond the
    shape is kept. ``dtype``: the format of the stored weights, by default that of
    the parameters. A full disk (OutputError) leaves the weights that were there.
    """
    config = model.config
    table = family(config.family)
    weights = published_weights(model, dtype)
    write_weights(weights, path, shard_bytes=shard_bytes, progress=progress)
    stored = str(weights[0].dtype).removeprefix("torch.")
    values = {
        "architectures": [table.architecture],
        "model_type": table.model_type,
        **table.write(config),
        "torch_dtype": stored,
        "dtype": stored,
        "use_cache": True,
    }
    if tokenizer is not None:
        copy_tokenizer(tokenizer, path)
    before = read_config_file(base) if base is not None else {}
    write_json(path / CONFIG, _carry_over(before, values))
    if config.causal:
        write_json(path / GENERATION, _generation(base, before, config, path))


def published_weights(model: Transformer, dtype: torch.dtype | None = None) -> list[Written]:
    """The model's tensors as its family publishes them; none is copied yet."""
    own = model.state_dict()
    table = family(model.config.family)
    weights = []
    for entry in table.tensors(model.config):
        parts = tuple(own[name] for name in entry.own)
        if entry.aliases:  # stored twice, perhaps: files must not hold views of one another
            parts = tuple(part.clone() for part in parts)
        weights.append(
            Written(entry.published, parts, dtype or parts[0].dtype, transposed=entry.transposed)
        )
    for name, value in table.constants(model.config).items():
        shape = (1,) if "alpha" in name else ()
        weights.append(Written(name, (torch.full(shape, value),), weights[0].dtype))
    return weights


def read_config_file(path: Path) -> dict[str, Any]:
    """The ``config.json`` of a model directory. Raises ModelError when there is none to read."""
    if not path.exists():
        raise ModelError(f"{path}: expected a model directory, but it does not exist")
    if not (path / CONFIG).is_file():
        raise ModelError(f"{path}: expected a model directory, but it has no {CONFIG}")
    return _read_json(path / CONFIG)


def read_generation_file(path: Path) -> dict[str, Any]:
    """The ``generation_config.json`` of a model directory; empty where there is none."""
    file = path / GENERATION
    return _read_json(file) if file.is_file() else {}


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
    settings = _read_json(file) if file.is_file() else {}
    settings["chat_template"] = (
        [{"name": name, "template": text} for name, text in texts.items()]
        if len(texts) > 1
        else texts["default"]
    )
    write_json(file, settings)


def _read_weights(
    files: WeightFiles,
    table: FamilyTable,
    model: Transformer,
    device: str | torch.device,
    dtype: AnyDtype,
) -> dict[str, torch.Tensor]:
    """Our state dict, each tensor checked; the names without a prefix are accepted too."""
    wanted = _resolve(dtype, device)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    short = _shortened(files, table)
    weights: dict[str, torch.Tensor] = {}
    known = {short(name) for name in table.constants(model.config)}
    known |= {short(name) for name in _output_names(table, model.config)}
    for entry in table.tensors(model.config):
        name = short(entry.published)
        if model.config.tied and entry.own == ("embedding.weight",) and name not in files:
            name = next(
                (n for n in map(short, _output_names(table, model.config)) if n in files), name
            )
        aliases = [short(alias) for alias in entry.aliases]
        known.update((name, *aliases))
        if name not in files:
            name = next((alias for alias in aliases if alias in files), name)
        if name not in files:
            raise ModelError(f"{files.path}: the tensor '{name}' is missing")
        expected = [shapes[own] for own in entry.own]
        rows = [shape[0] if shape else 1 for shape in expected]
        fused = (sum(rows), *expected[0][1:]) if expected[0] else ()
        stored = files[name].shape
        if (stored[::-1] if entry.transposed else stored) != fused:
            raise ModelError(
                f"{files.path}: the tensor '{name}' must have shape "
                f"{fused[::-1] if entry.transposed else fused}. Got {stored}"
            )
        tensor = files.read(name, device=device, dtype=wanted)
        tensor = tensor.T if entry.transposed else tensor
        parts = tensor.split(rows) if entry.own[1:] else [tensor]
        for own, part in zip(entry.own, parts, strict=True):
            weights[own] = part.contiguous()
    ignored = re.compile("|".join((*IGNORED, *table.ignored)))
    extra = [name for name in files if name not in known and not ignored.search(name)]
    if extra:
        raise ModelError(
            f"{files.path}: the tensor '{extra[0]}' does not belong to this model type"
        )
    return weights


def _resolve(dtype: AnyDtype, device: str | torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    kind = torch.device(device).type
    return torch_dtype(detect("cpu" if kind not in ("cuda", "mps") else kind).dtype)  # type: ignore[arg-type]


def _shortened(files: WeightFiles, table: FamilyTable) -> Any:
    """How this checkpoint calls what the family publishes: with or without the base's name."""
    if not any(name.startswith(table.prefix) for name in files):
        return lambda name: name.removeprefix(table.prefix)
    return lambda name: table.prefix + name if table.prefix + name in files else name


def _output_names(table: FamilyTable, config: ModelConfig) -> list[str]:
    """What the family calls the output layer's weight."""
    untied = dataclasses.replace(config, tied=False)
    return [e.published for e in table.tensors(untied) if e.own == ("output.weight",)]


def _as_tied_as_the_weights(
    files: WeightFiles, table: FamilyTable, config: ModelConfig
) -> ModelConfig:
    """Where config.json says tied but the output layer is stored and another: not tied.

    So does transformers from release 5 on (``tie_weights``).
    """
    if not config.tied:
        return config
    short = _shortened(files, table)
    tables = [short(e.published) for e in table.tensors(config) if e.own == ("embedding.weight",)]
    outputs = [short(name) for name in _output_names(table, config)]
    if not all(name in files for name in (*tables, *outputs)) or not outputs:
        return config
    if torch.equal(files.read(tables[0]), files.read(outputs[0])):
        return config
    return dataclasses.replace(config, tied=False)


def _is_relu2(files: WeightFiles, config: ModelConfig) -> bool:
    """Whether every xIELU of an Apertus checkpoint is set to be ReLU²."""
    for layer in range(config.depth):
        for part, value in RELU2_AS_XIELU.items():
            name = f"model.layers.{layer}.mlp.act_fn.{part}"
            if part == "eps":
                continue
            if name not in files or files.read(name).numel() != 1:
                return False
            found = files.read(name).float().item()
            below = part == "alpha_n" and found <= value
            if not below and abs(found - value) > 1e-6:
                return False
    return True


def _refuse_absurd(config: ModelConfig, files: WeightFiles) -> None:
    """A config.json that asks for more layers than there are tensors must not cost memory."""
    if config.depth > len(files):
        raise ModelError(
            f"{files.path}: config.json asks for {config.depth} layers, "
            f"but the weights hold only {len(files)} tensors"
        )


def _carry_over(before: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What is written, and what the base's configuration says besides."""
    if before.get("model_type") != values["model_type"]:
        return values
    kept = {key: value for key, value in before.items() if key not in _NOT_CARRIED}
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
        ends += _ids(getattr(load_tokenizer(path), "end_of_turn", None))
    ends = list(dict.fromkeys(ends))
    if ends:
        settings["eos_token_id"] = ends if ends[1:] else ends[0]
    for key, value in (("bos_token_id", config.bos_id), ("pad_token_id", config.pad_id)):
        if value is not None:
            settings[key] = value
    return settings


def read_stop_ids(path: Path, config: ModelConfig, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens after which a text, or a turn of a chat, is over."""
    ends = _ids(read_generation_file(path).get("eos_token_id"))
    ends += _ids(read_config_file(path).get("eos_token_id"))
    ends += _ids([config.eos_id, tokenizer.end_of_text, getattr(tokenizer, "end_of_turn", None)])
    return tuple(dict.fromkeys(ends))


def _ids(value: Any) -> list[int]:
    """Token ids: given as one, several or none."""
    found = value if isinstance(value, list) else [value]
    return [token for token in found if isinstance(token, int) and not isinstance(token, bool)]


def _read_json(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    if size > (CONFIG_LIMIT if file.name in (CONFIG, GENERATION) else 16 * CONFIG_LIMIT):
        raise ModelError(f"{file} is {size} bytes, too large for a configuration")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object")
    return values

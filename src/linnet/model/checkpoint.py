"""Checkpoints in Hugging Face's layout: read from anyone, written for everyone.

    config.json             the shape, under the family's published names
    model.safetensors       the weights (or shards listed in model.safetensors.index.json)
    generation_config.json  where to stop
    tokenizer.json, tokenizer_config.json

Both transformers 4 and 5 spellings are read and written. Pickled weights are
refused: loading one can run any code.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from linnet.errors import ConfigError, ModelError
from linnet.model.config import ModelConfig
from linnet.model.families import family
from linnet.model.families.llama import RELU2_AS_XIELU
from linnet.model.transformer import Transformer
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
IGNORED_SUFFIXES = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # old buffers
CONFIG_LIMIT = 1 << 20  # bytes; a config.json is a few kilobytes


@dataclass
class Checkpoint:
    """A loaded model and what belongs to it."""

    model: Transformer
    tokenizer: Tokenizer
    config: ModelConfig
    stop_ids: tuple[int, ...]
    """Tokens after which a text is over."""


def load_checkpoint(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Load a model directory. Raises ModelError naming what is wrong with it."""
    path = Path(path)
    model = load_model(path, device=device, dtype=dtype)
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens but the model only "
            f"{model.config.vocab_size}; they do not belong together"
        )
    return Checkpoint(model, tokenizer, model.config, _stop_ids(path, model.config, tokenizer))


def load_model(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    """Load just the weights of a model directory, ready for inference."""
    path = Path(path)
    values = read_config_file(path)
    table = family(values.get("model_type"))
    try:
        config = table.read(values)
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{path / 'config.json'}: {error}") from None
    files = _weight_files(path)
    if table.model_type == "apertus" and _is_relu2(files, config):
        config = dataclasses.replace(config, activation="relu2")
    _refuse_absurd(config, files, path)
    with torch.device("meta"):
        model = Transformer(config)
    weights = _read_weights(files, model, device, dtype, path)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def save_checkpoint(
    model: Transformer,
    path: Path,
    *,
    tokenizer: Path | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model directory into the existing directory ``path``.

    ``tokenizer``: a directory to copy the tokenizer files from. ``dtype``: the
    format of the stored weights, by default that of the parameters.
    """
    config = model.config
    table = family(config.family)
    weights = _published_weights(model, dtype)
    stored = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    values = {
        "architectures": [table.architecture],
        "model_type": table.model_type,
        **table.write(config),
        "torch_dtype": stored,
        "dtype": stored,
        "use_cache": True,
    }
    ids = {
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }
    generation = {key: value for key, value in ids.items() if value is not None}
    _write_json(path / "config.json", values)
    _write_json(path / "generation_config.json", generation)
    save_file(weights, str(path / WEIGHTS), metadata={"format": "pt"})
    if tokenizer is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, path / name)


def read_config_file(path: Path) -> dict[str, Any]:
    """The ``config.json`` of a model directory. Raises ModelError when there is none to read."""
    file = path / "config.json"
    if not path.exists():
        raise ModelError(f"{path}: expected a model directory, but it does not exist")
    if not file.is_file():
        raise ModelError(f"{path}: expected a model directory, but it has no config.json")
    if file.stat().st_size > CONFIG_LIMIT:
        raise ModelError(f"{file} is {file.stat().st_size} bytes, too large for a configuration")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object")
    return values


def _published_weights(model: Transformer, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    own = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    table = family(model.config.family)
    weights = {}
    for entry in table.tensors(model.config):
        tensor = (
            torch.cat([own[name] for name in entry.own]) if entry.own[1:] else own[entry.own[0]]
        )
        tensor = tensor.T if entry.transposed else tensor
        weights[entry.published] = tensor.to(dtype or tensor.dtype).contiguous()
    some = next(iter(weights.values()))
    for name, value in table.constants(model.config).items():
        shape = (1,) if "alpha" in name else ()
        weights[name] = torch.full(shape, value, dtype=some.dtype)
    return weights


def _weight_files(path: Path) -> dict[str, Any]:
    """Each tensor's name with the file that holds it."""
    if (path / INDEX).is_file():
        try:
            listed = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(listed.values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{path / INDEX} is damaged: {error}") from None
        for name in names:
            if Path(name).name != name:
                raise ModelError(f"{path / INDEX}: '{name}' is not a plain file name")
    elif (path / WEIGHTS).is_file():
        names = [WEIGHTS]
    else:
        pickled = [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")]
        if pickled:
            raise ModelError(
                f"{pickled[0]} is a pickle, which can run any code when loaded; convert it to "
                "safetensors where you trust it: save_pretrained(..., safe_serialization=True)"
            )
        raise ModelError(f"{path}: expected a model directory, but it has no {WEIGHTS}")
    files: dict[str, Any] = {}
    for name in names:
        try:
            opened = safe_open(str(path / name), framework="pt")  # type: ignore[no-untyped-call]
            files.update(dict.fromkeys(opened.keys(), opened))  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path / name} is damaged or missing ({error}); make or download it again"
            ) from None
    return files


def _read_weights(
    files: Mapping[str, Any],
    model: Transformer,
    device: str | torch.device,
    dtype: torch.dtype,
    path: Path,
) -> dict[str, torch.Tensor]:
    """Our state dict, each tensor checked; the names without a prefix are accepted too."""
    table = family(model.config.family)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    bare = not any(name.startswith(table.prefix) for name in files)
    weights: dict[str, torch.Tensor] = {}
    known = set(table.constants(model.config)) | {"lm_head.weight"}
    for entry in table.tensors(model.config):
        name = entry.published.removeprefix(table.prefix) if bare else entry.published
        known.add(name)
        if name not in files:
            raise ModelError(f"{path}: the tensor '{name}' is missing")
        tensor = files[name].get_tensor(name)
        tensor = tensor.T if entry.transposed else tensor
        expected = [shapes[own] for own in entry.own]
        rows = [shape[0] if shape else 1 for shape in expected]
        fused = (sum(rows), *expected[0][1:]) if expected[0] else ()
        if tuple(tensor.shape) != fused:
            raise ModelError(
                f"{path}: the tensor '{name}' must have shape {fused}. Got {tuple(tensor.shape)}"
            )
        parts = tensor.split(rows) if entry.own[1:] else [tensor]
        for own, part in zip(entry.own, parts, strict=True):
            weights[own] = part.to(device=device, dtype=dtype).contiguous()
    extra = [n for n in files if n not in known and not n.endswith(IGNORED_SUFFIXES)]
    if extra:
        raise ModelError(f"{path}: the tensor '{extra[0]}' does not belong to this model type")
    return weights


def _is_relu2(files: Mapping[str, Any], config: ModelConfig) -> bool:
    """Whether every xIELU of an Apertus checkpoint is set to be ReLU²."""
    for layer in range(config.depth):
        for part, value in RELU2_AS_XIELU.items():
            name = f"model.layers.{layer}.mlp.act_fn.{part}"
            if part == "eps":
                continue
            if name not in files or files[name].get_tensor(name).numel() != 1:
                return False
            found = files[name].get_tensor(name).float().item()
            below = part == "alpha_n" and found <= value
            if not below and abs(found - value) > 1e-6:
                return False
    return True


def _refuse_absurd(config: ModelConfig, files: Mapping[str, Any], path: Path) -> None:
    """A config.json that asks for more layers than there are tensors must not cost memory."""
    if config.depth > len(files):
        raise ModelError(
            f"{path}: config.json asks for {config.depth} layers, "
            f"but the weights hold only {len(files)} tensors"
        )


def _stop_ids(path: Path, config: ModelConfig, tokenizer: Tokenizer) -> tuple[int, ...]:
    ids: list[int] = []
    file = path / "generation_config.json"
    if file.is_file() and file.stat().st_size <= CONFIG_LIMIT:
        try:
            found = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        except (ValueError, AttributeError) as error:
            raise ModelError(f"{file} is damaged: {error}") from None
        ids += found if isinstance(found, list) else [found]
    ids += [config.eos_id, tokenizer.end_of_text]  # type: ignore[list-item]
    return tuple(dict.fromkeys(i for i in ids if isinstance(i, int)))


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

"""Adapters on disk, in PEFT's format: PEFT reads what is written here, and the reverse.

    adapter_config.json        the base, ranks and scales, which projections
    adapter_model.safetensors  base_model.model.<projection>.lora_A.weight (R, in), lora_B (out, R)

Projections go by the names of ``transformers``; where it keeps several of ours as one
(GPT-2's ``c_attn``), so does the file. In the metadata of the weights, where PEFT does
not look, stands a hash of the base's weights: an adapter on another base computes
nonsense that looks like text, and shapes alone would not tell.

Anything in an adapter that is not plain LoRA is refused by name, not left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from linnet.errors import ModelError
from linnet.model.adapter_config import CONFIG, as_lora, published_config, read_adapter_config
from linnet.model.checkpoint import published_weights
from linnet.model.families import family
from linnet.model.lora import (
    adapted_layers,
    adapters_of,
    place_adapter,
    projections,
    require_adapter,
    shape_of,
    strength_of,
)
from linnet.model.lora_config import is_meant
from linnet.model.weights import INDEX as MODEL_INDEX
from linnet.model.weights import IS_A_PICKLE, Written, require_readable, write_safetensors
from linnet.model.weights import WEIGHTS as MODEL_WEIGHTS
from linnet.output import full_disk_named, replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model.lora_config import LoRAConfig
    from linnet.model.transformer import Transformer

WEIGHTS = "adapter_model.safetensors"
BASE_HASH = "linnet_base"  # in the weights' metadata
HASHED_PER_TENSOR = 4096  # numbers of each tensor that the hash of a base sees

_KEY = re.compile(
    r"(?:base_model\.(?:model\.)?)?(?P<name>.+)\.lora_(?P<which>[AB])(?:\.[\w-]+)?(?:\.weight)?"
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", re.ASCII)


def is_adapter(path: Path | str) -> bool:
    """Whether a directory holds an adapter (sound or not) and no model of its own."""
    model = any((Path(path) / name).is_file() for name in (MODEL_WEIGHTS, MODEL_INDEX))
    return (Path(path) / CONFIG).is_file() and not model


def save_adapter(
    model: Transformer,
    name: str,
    path: Path,
    *,
    base: Path | str,
    revision: str | None = None,
) -> None:
    """Write one adapter into the existing directory ``path``.

    ``base``: where the model came from: a directory, which is written relative to ``path``
    so that both can be moved together, or a hub name (``org/name`` or ``org/name@revision``).
    A strength other than 1 goes into the scale. Raises ModelError for an unknown adapter
    and OutputError for a full disk, which leaves what was there.
    """
    adapters = require_adapter(adapters_of(model), name)
    if adapters.merged is not None:
        raise ModelError(f"the adapter '{adapters.merged}' is merged; unmerge it before saving")
    layers = dict(adapted_layers(model))
    tensors: dict[str, Tensor] = {}
    present = []
    for projection in projections(model):
        held = [layers[own].part(name) for own in projection.parts if own in layers]
        parts = [part for part in held if part is not None]
        if not parts:
            continue
        present.append(projection)
        rows = torch.cat([part.b.detach() for part in parts])
        stem = f"base_model.model.{projection.published}"
        tensors[f"{stem}.lora_A.weight"] = parts[0].a.detach().cpu().float().contiguous()
        tensors[f"{stem}.lora_B.weight"] = rows.cpu().float().contiguous()
    place, pinned = _written_base(base, path)
    values = {
        **published_config(model, adapters.configs[name], present, strength_of(model, name)),
        "base_model_name_or_path": place,
        "revision": revision or pinned,
    }
    metadata = {"format": "pt", BASE_HASH: base_hash(model)}
    written = [Written(key, (value,), value.dtype) for key, value in tensors.items()]
    with full_disk_named(path), replacing(path / WEIGHTS) as neighbour:
        write_safetensors(neighbour, written, metadata)
    write_json(path / CONFIG, values)


def load_adapter(
    model: Transformer, path: Path | str, name: str = "default", *, any_base: bool = False
) -> None:
    """Put the adapter in the directory ``path`` on the model; it is not active yet.

    ``any_base``: do not ask whether it was trained on just these weights. Raises ModelError
    for what is not plain LoRA, for tensors that are missing, unknown or of another shape, and
    for an adapter that was made for another base.
    """
    path = Path(path)
    values = read_adapter_config(path)
    config = as_lora(values, path)
    base = values.get("base_model_name_or_path") or "not recorded"
    tensors, metadata = _read_tensors(path)
    matrices = _by_projection(model, tensors, path, base)
    _require_whole(model, matrices, values, config, path, base)
    recorded = metadata.get(BASE_HASH)
    comparable = recorded is not None and not any_base and not _is_half(model)
    if comparable and recorded != base_hash(model):
        raise ModelError(
            f"{path}: the adapter was trained on other weights than this model's; "
            f"its base is '{base}'"
        )
    place_adapter(model, name, config, matrices)


def adapter_base(path: Path | str) -> str:
    """Where the base of an adapter is: a directory that exists, or a hub name with revision.

    Raises ModelError when it is recorded as a directory that is not there.
    """
    path = Path(path)
    values = read_adapter_config(path)
    base, revision = values.get("base_model_name_or_path"), values.get("revision")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{path / CONFIG}: expected base_model_name_or_path. Got {base!r}")
    for place in (path / base, Path(base)):
        if (place / "config.json").is_file():
            return str(Path(os.path.normpath(place.absolute())))
    if not _HUB_NAME.fullmatch(base):
        raise ModelError(
            f"{path}: the adapter's base is '{base}', which is not there; load the base from "
            "where it is and give it this adapter: linnet.load(BASE, adapters={NAME: DIRECTORY})"
        )
    return f"{base}@{revision}" if isinstance(revision, str) and "@" not in base else base


def base_hash(model: Transformer) -> str:
    """A hash of the weights below any adapter: of numbers spread over every tensor, in bf16.

    The same for one checkpoint loaded in fp32 or in bf16, whatever was stored.
    """
    digest = hashlib.sha256(model.config.family.encode("ascii"))
    for tensor in published_weights(model):
        for part in tensor.parts:
            flat = part.detach().flatten()
            step = max(1, len(flat) // HASHED_PER_TENSOR)
            seen = flat[::step].to(device="cpu", dtype=torch.bfloat16)
            digest.update(f"{tensor.name} {tuple(part.shape)}".encode())
            digest.update(seen.contiguous().view(torch.uint8).numpy().tobytes())
    return f"bf16-sample:{digest.hexdigest()}"


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of an adapter in fp32, and what stands beside them."""
    file = path / WEIGHTS
    if not file.is_file():
        for pickled in sorted(path.glob("*.bin")):
            raise ModelError(f"{pickled} {IS_A_PICKLE}")
        raise ModelError(f"{path}: expected an adapter directory, but it has no {WEIGHTS}")
    require_readable(file)
    try:
        with safe_open(str(file), framework="pt") as opened:  # type: ignore[no-untyped-call]
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged ({error}); make or download it again") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ModelError(f"{file}: the tensor '{name}' must be fp32, bf16 or fp16")
    return {name: tensor.float() for name, tensor in tensors.items()}, metadata


def _by_projection(
    model: Transformer, tensors: Mapping[str, Tensor], path: Path, base: str
) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each projection by its published name. Raises ModelError for unknown tensors."""
    prefix = family(model.config.family).prefix
    known = {projection.published for projection in projections(model)}
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if _repeats_the_base(model, key, tensor):
            continue
        found = _KEY.fullmatch(key)
        name = found["name"] if found else ""
        spellings = (name, prefix + name, name.removeprefix(prefix))
        published = next((spelling for spelling in spellings if spelling in known), None)
        if found is None or published is None:
            raise ModelError(
                f"{path}: the tensor '{key}' is for nothing that can be adapted in this "
                f"{model.config.family} model; the adapter's base is '{base}'"
            )
        halves.setdefault(published, {})[found["which"]] = tensor
    for published, pair in halves.items():
        for which in {"A", "B"} - pair.keys():
            raise ModelError(f"{path}: the tensor '{published}.lora_{which}.weight' is missing")
    return {published: (pair["A"], pair["B"]) for published, pair in halves.items()}


def _require_whole(
    model: Transformer,
    matrices: Mapping[str, tuple[Tensor, Tensor]],
    values: Mapping[str, Any],
    config: LoRAConfig,
    path: Path,
    base: str,
) -> None:
    """Raise ModelError unless every projection that the adapter is for is there and fits."""
    targets = values.get("target_modules")
    partly = values.get("layers_to_transform") is not None or values.get("exclude_modules")
    if not matrices:
        raise ModelError(f"{path}: the adapter holds no tensors")
    for projection in projections(model):
        name = projection.published
        if name not in matrices:
            if isinstance(targets, list) and not partly and is_meant(name, targets):
                raise ModelError(f"{path}: the tensor '{name}.lora_A.weight' is missing")
            continue
        rows, width = shape_of(model, projection)
        rank = config.rank_of(name)
        for which, tensor, expected in zip(
            "AB", matrices[name], ((rank, width), (rows, rank)), strict=True
        ):
            if tuple(tensor.shape) != expected:
                raise ModelError(
                    f"{path}: the tensor '{name}.lora_{which}.weight' must have shape {expected} "
                    f"for this model. Got {tuple(tensor.shape)}; the adapter's base is '{base}'"
                )


def _repeats_the_base(model: Transformer, key: str, tensor: Tensor) -> bool:
    """Whether this is a table of the base, which PEFT saves along where it may have changed.

    Raises ModelError when it did change: then it is more than an adapter.
    """
    name = re.sub(r"^base_model\.(model\.)?", "", key).replace(".base_layer", "")
    if name not in ("lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight"):
        return False
    table = model.output_table if name == "lm_head.weight" else model.embedding.weight
    same = table.shape == tensor.shape and torch.allclose(
        table.detach().cpu().float(), tensor, rtol=1e-2, atol=1e-6
    )
    if not same:
        raise ModelError(
            f"the adapter's tensor '{key}' is not the base's: it changes the vocabulary; merge it "
            "with PEFT (merge_and_unload) and load the model that comes out"
        )
    return True


def _is_half(model: Transformer) -> bool:
    """fp16 loses what the hash of a base sees: the smallest of bf16's numbers."""
    return model.embedding.weight.dtype == torch.float16


def _written_base(base: Path | str, path: Path) -> tuple[str, str | None]:
    """The base as an adapter records it, and the revision of a hub name."""
    if isinstance(base, str) and not Path(base).is_dir() and _HUB_NAME.fullmatch(base):
        name, _, revision = base.partition("@")
        return name, revision or None
    relative = os.path.relpath(Path(base).resolve(), path.resolve())
    return Path(relative).as_posix(), None

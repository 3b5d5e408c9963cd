"""Adapters on disk, in PEFT's format: PEFT reads what is written here, and the reverse.

    adapter_config.json        the base, ranks and scales, which projections
    adapter_model.safetensors  base_model.model.<projection>.lora_A.weight (R, in), lora_B (out, R)

Projections go by the names of ``transformers``; where it keeps several of ours as one
(GPT-2's ``c_attn``), so does the file. In the metadata of the weights, where PEFT does
not look, stands a hash of the base's weights: an adapter on another base computes
nonsense that looks like text, and shapes alone would not tell.

Besides plain LoRA there are, as PEFT saves them: DoRA (``lora_magnitude_vector``), trained
biases, and whole tensors (``modules_to_save``) under the names of the model itself. Anything
else is refused by name, not left out.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet.artifact import previous_version
from linnet.errors import ModelError
from linnet.model.adapter_config import CONFIG, as_lora, published_config, read_adapter_config
from linnet.model.checkpoint import load_model, published_weights
from linnet.model.config_file import is_regular
from linnet.model.families import family
from linnet.model.families.record import Tensor as Published
from linnet.model.lora import (
    adapted_layers,
    adapters_of,
    beyond_low_rank,
    can_be_replaced,
    place_adapter,
    projections,
    require_adapter,
    shape_of,
    strength_of,
)
from linnet.model.lora_config import is_meant
from linnet.model.weights import (
    FORMATS,
    IS_A_PICKLE,
    WeightFiles,
    Written,
    join_rows,
    open_files,
    split_rows,
    write_safetensors,
)
from linnet.model.weights import INDEX as MODEL_INDEX
from linnet.model.weights import WEIGHTS as MODEL_WEIGHTS
from linnet.output import full_disk_named, path_from, replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model.lora_config import LoRAConfig
    from linnet.model.transformer import Transformer

WEIGHTS = "adapter_model.safetensors"
BASE_HASH = "linnet_base"  # in the weights' metadata
HASHED_PER_TENSOR = 4096  # numbers of each tensor that the hash of a base sees

_KEY = re.compile(
    r"(?:base_model\.(?:model\.)?)?(?P<name>.+)\.lora_(?P<which>A|B|magnitude_vector)"
    r"(?:\.[\w-]+)?(?:\.weight)?"
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
    if (more := beyond_low_rank(model, name)) is not None:
        raise ModelError(f"the adapter '{name}' cannot be written: {more}; merge it instead")
    layers = dict(adapted_layers(model))
    tensors: dict[str, Tensor] = {}
    present = []
    for projection in projections(model):
        held = [layers[own].part(name) for own in projection.parts if own in layers]
        parts = [part for part in held if part is not None]
        if not parts:
            continue
        present.append(projection)
        a, own_rows = parts[0].a, [part.b.detach() for part in parts if part.b is not None]
        rows = join_rows(own_rows, interleaved=projection.interleaved)
        assert a is not None
        stem = f"base_model.model.{projection.published}"
        tensors[f"{stem}.lora_A.weight"] = a.detach().cpu().float().contiguous()
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
    for what is not supported, for tensors that are missing, unknown or of another shape, and
    for an adapter that was made for another base.
    """
    path = Path(path)
    values = read_adapter_config(path)
    config = as_lora(values, path)
    base = values.get("base_model_name_or_path") or "not recorded"
    files = _open(path)
    found = _sort(model, files, values, base)
    _require_whole(model, found, values, config, base)
    recorded = files.metadata.get(BASE_HASH)
    comparable = recorded is not None and not any_base and not _is_half(model)
    if comparable and recorded != base_hash(model):
        raise ModelError(
            f"{path}: the adapter was trained on other weights than this model's; "
            f"its base is '{base}'{_remedy(path)}"
        )
    matrices = {
        published: (found.read(halves["A"]), found.read(halves["B"]))
        for published, halves in found.low_rank.items()
    }
    lengths = {
        published: found.read(halves["magnitude_vector"])
        for published, halves in found.low_rank.items()
        if "magnitude_vector" in halves
    }
    place_adapter(model, name, config, matrices, lengths=lengths, replaced=found.read_replaced())


@dataclass(frozen=True)
class _Sorted:
    """What the tensors of an adapter's file are for; none is read yet."""

    files: WeightFiles
    low_rank: dict[str, dict[str, str]]
    """By published name of a projection: which half, and under which name it is stored."""
    replaced: dict[str, tuple[Published, str]]
    """By published name of a parameter: its entry in the family's table, and its stored name."""
    rows: dict[str, list[int]]
    """By published name of a parameter: the rows of each of its parts."""

    def read(self, stored: str) -> Tensor:
        return self.files.read(stored, dtype=torch.float32)

    def read_replaced(self) -> dict[str, Tensor]:
        """Parameters that the adapter has of its own, by their names in the model."""
        found: dict[str, Tensor] = {}
        for published, (entry, stored) in self.replaced.items():
            tensor = self.read(stored)
            tensor = tensor.T if entry.transposed and tensor.dim() > 1 else tensor
            found |= zip(
                entry.own,
                split_rows(tensor, self.rows[published], interleaved=entry.interleaved),
                strict=True,
            )
        return found


def adapter_base(path: Path | str) -> str:
    """Where the base of an adapter is: a directory that exists, or a hub name with revision.

    Where that directory holds another model by now and ``DIRECTORY.previous`` the one that the
    adapter was trained on, it is the latter. Raises ModelError when it is recorded as a directory
    that is not there.
    """
    path = Path(path)
    values = read_adapter_config(path)
    base, revision = values.get("base_model_name_or_path"), values.get("revision")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{path / CONFIG}: expected base_model_name_or_path. Got {base!r}")
    for place in (path / base, Path(base)):
        if (place / "config.json").is_file():
            return str(_trained_on(path, Path(os.path.normpath(place.absolute()))))
    if not _HUB_NAME.fullmatch(base):
        raise ModelError(
            f"{path}: the adapter's base is '{base}', which is not there; load the base from "
            "where it is and give it this adapter: linnet.load(BASE, adapters={NAME: DIRECTORY})"
        )
    return f"{base}@{revision}" if isinstance(revision, str) and "@" not in base else base


def _trained_on(path: Path, base: Path) -> Path:
    """The directory of the base, or the one where it was kept when another replaced it."""
    kept = previous_version(base)
    if not ((kept / "config.json").is_file() and is_regular(path / WEIGHTS)):
        return base  # without looking at its weights
    recorded = open_files(path, [WEIGHTS]).metadata.get(BASE_HASH)
    if recorded is None or recorded == _hash_at(base):
        return base
    return kept if recorded == _hash_at(kept) else base


def _hash_at(directory: Path) -> str:
    status = directory.stat()
    return _hash_of_state(directory, status.st_ino, status.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _hash_of_state(directory: Path, inode: int, changed: int) -> str:
    return base_hash(load_model(directory))


def _remedy(path: Path) -> str:
    """What to do with an adapter that was trained on other weights."""
    with contextlib.suppress(ModelError):
        base = adapter_base(path)
        if base.endswith(".previous"):
            return f"; it was trained on {base}: name that as the model"
    return "; fine-tune this model anew, or give the adapter the model it was trained on"


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


def _open(path: Path) -> WeightFiles:
    """The tensors of an adapter."""
    file = path / WEIGHTS
    if not is_regular(file):
        for pickled in sorted(path.glob("*.bin")):
            raise ModelError(f"{pickled} {IS_A_PICKLE}")
        raise ModelError(f"{path}: expected an adapter directory, but it has no {WEIGHTS}")
    files = open_files(path, [WEIGHTS])
    for name, stored in files.items():
        if stored.format not in FORMATS:
            raise ModelError(f"{file}: the tensor '{name}' must be fp32, bf16 or fp16")
    return files


def _sort(model: Transformer, files: WeightFiles, values: Mapping[str, Any], base: str) -> _Sorted:
    """What each tensor is for. Raises ModelError for one that is for nothing, or another shape."""
    table = family(model.config.family)
    known = {projection.published for projection in projections(model)}
    parameters = _parameters(model)
    found = _Sorted(files, {}, {}, {})

    def spelled(name: str, among: Container[str]) -> str | None:
        name = table.name_of(name)
        spellings = (name, table.prefix + name, name.removeprefix(table.prefix))
        return next((spelling for spelling in spellings if spelling in among), None)

    for key in files:
        match = _KEY.fullmatch(key)
        if match is not None and (published := spelled(match["name"], known)) is not None:
            halves = found.low_rank.setdefault(published, {})
            if match["which"] in halves:
                raise ModelError(f"{files.path}: the tensor '{key}' is there twice")
            halves[match["which"]] = key
            continue
        name = re.sub(r"^base_model\.(model\.)?|\.base_layer(?=\.)", "", key)
        own = spelled(name, parameters)
        wanted = own is not None and _is_replaced(own, values)
        if not wanted and own is not None and _repeats_the_base(model, files, key, own):
            continue
        if own is None or not wanted:
            raise ModelError(
                f"{files.path}: the tensor '{key}' is for nothing that can be adapted in this "
                f"{model.config.family} model; the adapter's base is '{base}'"
            )
        if own in found.replaced:
            raise ModelError(f"{files.path}: the tensor '{key}' is there twice")
        found.replaced[own] = (parameters[own], key)
        found.rows[own] = _require_shape(model, parameters[own], files, key)
    return found


def _parameters(model: Transformer) -> dict[str, Published]:
    """The entries of the family's table by name; the output layer's too where it is tied."""
    table = family(model.config.family)
    untied = replace(model.config, tied=False)
    every = [*table.tensors(model.config), *table.tensors(untied)]
    return {entry.published: entry for entry in every}


def _is_replaced(published: str, values: Mapping[str, Any]) -> bool:
    """Whether an adapter with these settings has this parameter of its own."""
    module, _, kind = published.rpartition(".")
    if kind == "bias" and values.get("bias", "none") != "none":
        return True
    return any(_is_within(module, target) for target in values.get("modules_to_save") or ())


def _is_within(module: str, target: str) -> bool:
    """Whether a module is one that ``modules_to_save`` names, or within it: as PEFT compares."""
    parts = module.split(".")
    return any(".".join(parts[:end]).endswith(target) for end in range(1, len(parts) + 1))


def _require_shape(model: Transformer, entry: Published, files: WeightFiles, key: str) -> list[int]:
    """The rows of each part. Raises ModelError for another shape than the model's parameter."""
    if not all(can_be_replaced(model, own) for own in entry.own):
        raise ModelError(f"{files.path}: the tensor '{key}' cannot be replaced by an adapter")
    tied = entry.own == ("output.weight",) and model.config.tied
    own = ("embedding.weight",) if tied else entry.own
    shapes = [tuple(model.get_parameter(name).shape) for name in own]
    rows = [shape[0] for shape in shapes]
    whole = (sum(rows), *shapes[0][1:])
    expected = whole[::-1] if entry.transposed else whole
    if files[key].shape != expected:
        hint = "; it changes the vocabulary: merge it with PEFT" if "embed" in own[0] else ""
        raise ModelError(
            f"{files.path}: the tensor '{key}' must have shape {expected} for this model. "
            f"Got {files[key].shape}{hint}"
        )
    return rows


def _require_whole(
    model: Transformer,
    found: _Sorted,
    values: Mapping[str, Any],
    config: LoRAConfig,
    base: str,
) -> None:
    """Raise ModelError unless everything that the adapter is for is there and fits."""
    path = found.files.path
    targets = values.get("target_modules")
    partly = values.get("layers_to_transform") is not None or values.get("exclude_modules")
    if not found.low_rank and not found.replaced:
        raise ModelError(f"{path}: the adapter holds no tensors")
    for projection in projections(model):
        name = projection.published
        if name not in found.low_rank:
            if isinstance(targets, list) and not partly and is_meant(name, targets):
                raise ModelError(f"{path}: the tensor '{name}.lora_A.weight' is missing")
            continue
        rows, width = shape_of(model, projection)
        rank = config.rank_of(name)
        shapes: dict[str, tuple[int, ...]] = {"A": (rank, width), "B": (rows, rank)}
        if values.get("use_dora"):
            shapes["magnitude_vector"] = (rows,)
        halves = found.low_rank[name]
        for which, expected in shapes.items():
            if which not in halves:
                raise ModelError(f"{path}: the tensor '{name}.lora_{which}.weight' is missing")
            shape = found.files[halves[which]].shape
            if shape != expected:
                raise ModelError(
                    f"{path}: the tensor '{name}.lora_{which}.weight' must have shape {expected} "
                    f"for this model. Got {shape}; the adapter's base is '{base}'"
                )
        if halves.keys() - shapes.keys():
            raise ModelError(f"{path}: '{name}' has magnitudes of DoRA, but use_dora is not set")
    for target in values.get("modules_to_save") or ():
        meant = [p for p in _parameters(model) if _is_within(p.rpartition(".")[0], target)]
        missing = [published for published in meant if published not in found.replaced]
        if missing or not meant:
            what = f"the tensor '{missing[0]}' is missing" if meant else "this model has no such"
            raise ModelError(f"{path}: modules_to_save names '{target}', but {what}")


def _repeats_the_base(model: Transformer, files: WeightFiles, key: str, published: str) -> bool:
    """Whether this is a table of the base, which PEFT saves along where it may have changed.

    Raises ModelError when it did change: then it is more than an adapter.
    """
    (own, *_) = _parameters(model)[published].own
    if own not in ("embedding.weight", "output.weight"):
        return False
    table = model.output_table if own == "output.weight" else model.embedding.weight
    same = tuple(table.shape) == files[key].shape and torch.allclose(
        table.detach().cpu().float(), files.read(key, dtype=torch.float32), rtol=1e-2, atol=1e-6
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
    return path_from(path, Path(base)), None

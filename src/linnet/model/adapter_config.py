"""``adapter_config.json``, PEFT's description of an adapter, read and written.

Anything in it that is not known is refused by name: left out, it would change what the
adapter computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError, ModelError
from linnet.model.config_file import is_regular, read_object
from linnet.model.families.section import MOST, shown
from linnet.model.lora import Projection, projections
from linnet.model.lora_config import LoRAConfig, is_meant

if TYPE_CHECKING:
    from linnet.model.transformer import Transformer

CONFIG = "adapter_config.json"

# Settings that change nothing about what a finished adapter computes.
_NEUTRAL = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias",
    "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_config",
    "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_dora",
    "use_rslora", "velora_config",
}  # fmt: skip
_BIASES = ("none", "all", "lora_only")
_HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def read_adapter_config(path: Path) -> dict[str, Any]:
    """The ``adapter_config.json`` of a directory. Raises ModelError when there is none to read."""
    file = path / CONFIG
    if not is_regular(file):
        lacks = f"has no {CONFIG}" if path.exists() else "does not exist"
        raise ModelError(f"{path}: expected an adapter directory, but it {lacks}")
    return read_object(file)


def as_lora(values: Mapping[str, Any], path: Path) -> LoRAConfig:
    """The settings of a PEFT adapter. Raises ModelError for what is not LoRA as it is here."""
    file = path / CONFIG
    kind = values.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{file}: expected an adapter of type LORA. Got {shown(kind)}")
    biases, saved = values.get("bias", "none"), values.get("modules_to_save")
    if biases not in _BIASES:
        raise ModelError(f"{file}: bias must be {' or '.join(_BIASES)}. Got {shown(biases)}")
    if values.get("use_dora") not in (None, False, True):
        raise ModelError(f"{file}: use_dora must be true or false. Got {shown(values['use_dora'])}")
    named = isinstance(saved, list) and all(isinstance(name, str) and name for name in saved)
    if saved is not None and not named:
        raise ModelError(f"{file}: modules_to_save must be a list of names. Got {shown(saved)}")
    if saved and values.get("ensure_weight_tying"):
        raise ModelError(f"{file}: ensure_weight_tying with modules_to_save is not supported")
    start = values.get("init_lora_weights")
    if not any(start is known or start == known for known in _HARMLESS_STARTS):
        raise ModelError(
            f"{file}: init_lora_weights {shown(start)} changes the base's weights; convert the "
            "adapter with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )
    for key, value in values.items():
        if value and key not in _NEUTRAL:
            raise ModelError(
                f"{file}: {shown(key)[1:-1]} is not supported; expected LoRA. Got {shown(value)}"
            )
    try:
        return LoRAConfig(
            rank=_number(values, "r", int),
            alpha=_number(values, "lora_alpha", float),
            rslora=bool(values.get("use_rslora", False)),
            dropout=_number(values, "lora_dropout", float, default=0.0),
            rank_pattern=_pattern(values, "rank_pattern", int),
            alpha_pattern=_pattern(values, "alpha_pattern", float),
        )
    except ConfigError as error:
        raise ModelError(f"{file}: {error}") from None


def beyond_low_rank(path: Path) -> str | None:
    """What an adapter has besides its products, by its settings; None: nothing.

    Raises ModelError when there are none to read.
    """
    values = read_adapter_config(path)
    if values.get("use_dora"):
        return "use_dora"
    if values.get("bias", "none") != "none":
        return "biases of its own"
    return "modules_to_save" if values.get("modules_to_save") else None


def _number(values: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    found = values.get(key, default)
    allowed = (int, float) if kind is float else int
    try:
        if isinstance(found, allowed) and not isinstance(found, bool) and abs(found) < MOST:
            return kind(found)
    except OverflowError:
        pass
    raise ConfigError(f"{shown(key)[1:-1]} must be a number below {MOST}. Got {shown(found)}")


def _pattern(values: Mapping[str, Any], key: str, kind: type) -> dict[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise ConfigError(f"{key} must be a table of numbers. Got {shown(found)}")
    return {name: _number(found, name, kind) for name in found}


def published_config(
    model: Transformer, config: LoRAConfig, present: list[Projection], strength: float
) -> dict[str, Any]:
    """An adapter's settings as PEFT writes them, on these projections; all but the base."""
    tasks = {"output": "CAUSAL_LM", "none": "FEATURE_EXTRACTION"}
    return {
        "peft_type": "LORA",
        "task_type": tasks.get(model.config.head),
        "r": config.rank,
        "lora_alpha": config.alpha * strength,
        "use_rslora": config.rslora,
        "lora_dropout": config.dropout,
        "rank_pattern": dict(config.rank_pattern),
        "alpha_pattern": {key: value * strength for key, value in config.alpha_pattern.items()},
        "target_modules": _target_names(projections(model), present),
        "fan_in_fan_out": any(projection.transposed for projection in present),
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "use_dora": False,
    }


def _target_names(every: list[Projection], present: list[Projection]) -> list[str]:
    """The shortest names that mean these projections and no others.

    A last part that several places share (BERT's ``dense``) could mean modules beyond the
    Transformer too, so it is not used alone.
    """
    places: dict[str, set[str]] = {}
    for projection in every:
        places.setdefault(projection.leaf, set()).add(projection.within_block)
    short = {p.leaf if len(places[p.leaf]) == 1 else p.within_block for p in present}
    meant = [projection for projection in every if is_meant(projection.published, short)]
    return sorted(short) if meant == present else [p.published for p in present]

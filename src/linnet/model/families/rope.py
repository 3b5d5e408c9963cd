"""RoPE as ``config.json`` spells it, in transformers 4 and 5, read and written.

Transformers 4 has ``rope_theta``, ``partial_rotary_factor`` and ``rope_scaling`` side
by side; 5 has all in ``rope_parameters``. Both are written, so either reads it.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig, RopeScaling
from linnet.model.families.table import Published

_LEGACY_NAMES = {"su": "longrope"}  # as the first Phi-3 called it


def read_rope(
    values: Published,
    *,
    theta: float,
    head_width: int,
    kinds: tuple[str, ...] = ("linear", "llama3", "yarn"),
    nested: Published | None = None,
) -> dict[str, Any]:
    """The fields of ``ModelConfig`` that say how RoPE turns.

    ``theta``: the family's default base. ``kinds``: stretches that the family may have.
    ``nested``: where they stand, if not in the usual place. Raises ModelError for
    a kind that is not supported, which would silently be computed wrong.
    """
    if nested is None:
        nested = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if not isinstance(nested, dict):
        raise ModelError(f"config.json: rope_scaling must be an object. Got {nested!r}")
    partial = nested.get("partial_rotary_factor", values.get("partial_rotary_factor"))
    rotary = head_width if partial is None else int(head_width * partial)
    kind = nested.get("rope_type") or nested.get("type") or "default"
    kind = _LEGACY_NAMES.get(kind, kind)
    elsewhere = values.get("rope_parameters")
    second = elsewhere.get("rope_theta") if isinstance(elsewhere, dict) else None
    base = nested.get("rope_theta") or values.get("rope_theta") or second or theta
    return {
        "rope_theta": float(base),
        "rotary_width": 0 if rotary == head_width else rotary,
        "rope_scaling": None
        if kind == "default"
        else _scaling(kind, values, nested, kinds, rotary),
    }


def _scaling(
    kind: str, values: Published, nested: Published, kinds: tuple[str, ...], rotary: int
) -> RopeScaling:
    if kind not in kinds:
        raise ModelError(
            f"config.json: RoPE of type '{kind}' is not supported for model type "
            f"'{values.get('model_type')}'; expected 'default' or {' or '.join(map(repr, kinds))}"
        )
    context = values["max_position_embeddings"]
    outer = values.get("original_max_position_embeddings")
    original = outer or nested.get("original_max_position_embeddings") or context
    attention = nested.get("attention_factor")
    try:
        if kind == "linear":
            return RopeScaling("linear", float(nested["factor"]))
        if kind == "llama3":
            return RopeScaling(
                "llama3",
                float(nested["factor"]),
                int(original),
                low_frequency=float(nested["low_freq_factor"]),
                high_frequency=float(nested["high_freq_factor"]),
            )
        factor = float(nested.get("factor") or context / original)
        attention = None if attention is None else float(attention)
        if kind == "yarn":
            return RopeScaling(
                "yarn",
                factor,
                int(original),
                slow_turns=float(nested.get("beta_slow") or RopeScaling.slow_turns),
                fast_turns=float(nested.get("beta_fast") or RopeScaling.fast_turns),
                attention_factor=attention,
            )
        return RopeScaling(
            "longrope",
            factor,
            int(original),
            short_factors=_factors(nested, "short_factor", rotary // 2),
            long_factors=_factors(nested, "long_factor", rotary // 2),
            attention_factor=attention,
        )
    except KeyError as error:
        raise ModelError(f"config.json: {error} is missing in rope_scaling") from None


def _factors(nested: Published, key: str, count: int) -> tuple[float, ...]:
    found = nested[key]
    if not isinstance(found, list) or len(found) != count:
        raise ModelError(f"config.json: {key} of rope_scaling must be a list of {count} numbers")
    return tuple(map(float, found))


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """The same in both spellings."""
    scaling = config.rope_scaling
    partial = {}
    if config.rotary_width:
        partial = {"partial_rotary_factor": config.rotary_width / config.head_width}
    named = {} if scaling is None else _write_scaling(scaling, config.context)
    outer = {}
    if scaling is not None and scaling.kind == "longrope":  # where Phi-3 has it
        outer = {"original_max_position_embeddings": scaling.original_context}
    return {
        "rope_theta": config.rope_theta,
        **partial,
        **outer,
        "rope_scaling": named or None,
        "rope_parameters": {
            "rope_type": "default",
            **named,
            **outer,
            **partial,
            "rope_theta": config.rope_theta,
        },
    }


def _write_scaling(scaling: RopeScaling, context: int) -> dict[str, Any]:
    attention = scaling.attention_factor
    extra = {} if attention is None else {"attention_factor": attention}
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    if scaling.kind == "longrope":
        # Transformers 4 takes these three keys and no other; the factor follows from the contexts.
        if scaling.factor != context / scaling.original_context:
            extra["factor"] = scaling.factor
        return {
            "type": "longrope",
            "short_factor": list(scaling.short_factors),
            "long_factor": list(scaling.long_factors),
            **extra,
        }
    named = {
        "rope_type": scaling.kind,
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_context,
    }
    if scaling.kind == "llama3":
        return named | {
            "low_freq_factor": scaling.low_frequency,
            "high_freq_factor": scaling.high_frequency,
        }
    return named | {"beta_slow": scaling.slow_turns, "beta_fast": scaling.fast_turns} | extra

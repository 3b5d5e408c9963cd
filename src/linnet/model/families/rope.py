"""RoPE as ``config.json`` spells it, in transformers 4 and 5, read and written.

Transformers 4 has ``rope_theta``, ``partial_rotary_factor`` and ``rope_scaling`` side
by side; 5 has all in ``rope_parameters``. Both are written, so either reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from linnet.model.config import ModelConfig, RopeScaling
from linnet.model.families.section import Section, shown

_OTHER_KINDS = (
    "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
    "mscale", "mscale_all_dim", "truncate", "low_freq_factor", "high_freq_factor", "short_factor",
    "long_factor",
)  # fmt: skip
"""What one stretch reads and transformers passes over in another."""


def read_rope(
    settings: Section,
    *,
    theta: float,
    head_width: int,
    kinds: tuple[str, ...] = ("linear", "llama3", "yarn"),
    partial: bool = False,
    share: float = 1.0,
    keys: tuple[str, str] = ("rope_theta", "partial_rotary_factor"),
    original: int | None = None,
    nested: Section | None = None,
    legacy: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The fields of ``ModelConfig`` that say how RoPE turns.

    ``theta``: the family's default base. ``kinds``: stretches that the family may have.
    ``partial``: whether it may rotate a part of each head, by default ``share``. ``keys``: how
    the base and that part are called outside ``rope_parameters``. ``original``: the family's
    default for the context of the first training, where it has one. ``nested``: where they stand,
    if not in the usual place. ``legacy``: earlier names of kinds. Raises ModelError for what
    is not supported.
    """
    outer = settings
    if nested is None:
        nested = rope_section(settings)
    base, share = outer.number(keys[0], theta, above=0), outer.number(keys[1], share, above=0)
    kind = "default"
    if nested is not None:
        base = nested.number("rope_theta", base, above=0)
        share = nested.number("partial_rotary_factor", share, above=0)
        kind = _kind(nested)
        kind = (legacy or {}).get(kind, kind)
    if share > 1 or (share != 1 and not partial):
        expected = "at most 1" if partial else f"1 for model type '{settings.model_type}'"
        if nested is not None and "partial_rotary_factor" in nested:
            raise nested.error("partial_rotary_factor", f"must be {expected}. Got {share:g}")
        raise outer.error(keys[1], f"must be {expected}. Got {share:g}")
    rotary = int(head_width * share)
    scaling = None
    if nested is not None and kind != "default":
        scaling = _scaling(kind, outer, nested, kinds, rotary, original)
    if nested is not None:
        nested.skip(*_OTHER_KINDS)
    return {
        "rope_theta": base,
        "rotary_width": 0 if rotary == head_width else rotary,
        "rope_scaling": scaling,
    }


def rope_section(settings: Section) -> Section | None:
    """Where RoPE's settings stand: what transformers 4 reads goes before what 5 has besides."""
    new = settings.section("rope_parameters")
    old = settings.section("rope_scaling")
    if old is None:
        return new
    if new is not None:  # not read by transformers either
        new.skip(*new.values)
    return old


def _kind(nested: Section) -> str:
    """The type of RoPE, by its name today."""
    named = nested.get("type")
    kind = named if nested.get("rope_type") is None else nested.get("rope_type")
    if kind is None:
        return "default"
    if not isinstance(kind, str):
        raise nested.error("rope_type", f"must be a name. Got {shown(kind)}")
    return kind


def _scaling(
    kind: str,
    outer: Section,
    nested: Section,
    kinds: tuple[str, ...],
    rotary: int,
    usual: int | None,
) -> RopeScaling:
    if kind not in kinds:
        raise nested.error(
            "rope_type",
            f"{shown(kind)} is not supported for model type '{outer.model_type}'; expected "
            f"'default' or {' or '.join(map(repr, kinds))}",
        )
    if kind == "linear":
        return RopeScaling("linear", nested.number("factor", above=0))
    context = outer.integer("max_position_embeddings")
    original = nested.integer("original_max_position_embeddings", context)
    original = outer.integer("original_max_position_embeddings", usual or original)
    if kind == "llama3":
        low = nested.number("low_freq_factor", above=0)
        return RopeScaling(
            "llama3",
            nested.number("factor", above=0),
            original,
            low_frequency=low,
            high_frequency=nested.number("high_freq_factor", above=low),
        )
    factor = nested.number("factor", context / original, above=0)
    attention = None
    if nested.get("attention_factor") is not None:
        attention = nested.number("attention_factor", above=0)
    if kind == "yarn":
        return RopeScaling(
            "yarn",
            factor,
            original,
            beta_slow=nested.number("beta_slow", RopeScaling.beta_slow, above=0),
            beta_fast=nested.number("beta_fast", RopeScaling.beta_fast, above=0),
            truncate=nested.flag("truncate", True),
            attention_factor=_mscale(nested, factor) if attention is None else attention,
        )
    return RopeScaling(
        "longrope",
        factor,
        original,
        short_factors=nested.numbers("short_factor", rotary // 2),
        long_factors=nested.numbers("long_factor", rotary // 2),
        attention_factor=attention,
    )


def _mscale(nested: Section, factor: float) -> float | None:
    """YaRN's factor of attention where two settings of DeepSeek's say it; one alone does not."""
    above, below = (nested.number(key, 0.0) for key in ("mscale", "mscale_all_dim"))
    if not above or not below or factor <= 1:
        return None
    return (0.1 * above * math.log(factor) + 1) / (0.1 * below * math.log(factor) + 1)


def write_rope(config: ModelConfig, *, partial: bool = False) -> dict[str, Any]:
    """The same in both spellings; ``partial``: say even of whole heads that they are rotated."""
    scaling = config.rope_scaling
    rotated = {}
    if config.rotary_width or partial:
        share = (config.rotary_width or config.head_width) / config.head_width
        rotated = {"partial_rotary_factor": share}
    named = {} if scaling is None else _write_scaling(scaling, config.context)
    outer = {}
    if scaling is not None and scaling.kind == "longrope":  # where Phi-3 has it
        outer = {"original_max_position_embeddings": scaling.original_context}
    return {
        "rope_theta": config.rope_theta,
        **rotated,
        **outer,
        "rope_scaling": named or None,
        "rope_parameters": {
            "rope_type": "default",
            **named,
            **outer,
            **rotated,
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
    if not scaling.truncate:
        extra["truncate"] = False
    return named | {"beta_slow": scaling.beta_slow, "beta_fast": scaling.beta_fast} | extra

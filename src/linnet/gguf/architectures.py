"""A model's tensors and settings as llama.cpp has them, and where it computes another way.

Most of what llama.cpp needs follows from :class:`ModelConfig`; the rest is in the family's
record (:class:`linnet.model.families.record.GGUF`).

Reference: ``conversion/`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.model.config import ModelConfig
from linnet.model.families import family
from linnet.model.families.record import GGUF, HEAD_NAMES, Bias
from linnet.model.rope import attention_factor, stretch

if TYPE_CHECKING:
    from linnet.model import Transformer

# Ours on the left; within a block they follow "blocks.N.".
_OUTSIDE = {
    "embedding": "token_embd",
    "embedding_norm": "token_embd_norm",
    "position_embedding": "position_embd",
    "type_embedding": "token_types",
    "norm": "output_norm",
    "output": "output",
}
_INSIDE = {
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.o": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "attention_post_norm": "post_attention_norm",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
    "mlp_post_norm": "post_ffw_norm",
}
_NORMS_AFTER_SUMS = {
    "norm": "token_embd_norm",
    "attention_norm": "attn_output_norm",
    "mlp_norm": "layer_output_norm",
}
_BIASES: dict[Bias, str] = {
    "attention_bias": "biases of queries, keys and values",
    "output_bias": "bias after attention",
    "mlp_bias": "biases in the MLP",
}
# Metadata; a head that is not computed.
_NOT_TENSORS = re.compile(r"^blocks\.\d+\.mlp\.activation\.|^head\.")


def architecture(config: ModelConfig) -> GGUF:
    """llama.cpp's architecture for a model. Raises ModelError where it would compute another."""
    found = family(config.family).gguf
    if found is None:
        raise ModelError(
            f"llama.cpp has no architecture for model type '{config.family}'; it cannot be exported"
        )
    if config.causal:
        config.require_writes()
    if config.activation not in found.activations:
        raise ModelError(
            f"llama.cpp's {found.name} computes {' or '.join(found.activations)} in the MLP, but "
            f"this model has {config.activation}; it cannot be exported"
        )
    windowed = [config.is_windowed(layer) for layer in range(config.depth)]
    if found.windows is not None and any(windowed):
        fixed = [found.windows(layer) for layer in range(config.depth)]
        if windowed != fixed:
            raise ModelError(
                f"llama.cpp's {found.name} has windowed attention in blocks that are fixed "
                f"({_places(fixed)}), but this model has it in {_places(windowed)}; "
                "it cannot be exported"
            )
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "yarn" and not scaling.truncate:
        raise ModelError(
            "llama.cpp stretches YaRN's positions over whole pairs of coordinates, but this model "
            "has truncate: false in its rope_scaling; it cannot be exported"
        )
    rotary = [config.is_rotary(layer) for layer in range(config.depth)]
    if config.positions == "rope" and rotary != [found.rotary(n) for n in range(config.depth)]:
        raise ModelError(
            f"llama.cpp's {found.name} fixes which blocks have rotary positions, and this model "
            f"has them in {_places(rotary)}; it cannot be exported"
        )
    for setting, words in found.lacks.items():
        if getattr(config, setting):
            raise ModelError(
                f"llama.cpp's {found.name} has no {words}, which this model has ({setting}); it "
                "cannot be exported"
            )
    for bias in _BIASES:
        if getattr(config, bias) and bias not in found.biases:
            raise ModelError(
                f"llama.cpp's {found.name} has no {_BIASES[bias]}, which this model has "
                f"({bias}); it cannot be exported"
            )
    if found.output == "tied" and not config.tied and config.head == "output":
        raise ModelError(
            f"llama.cpp's {found.name} has no output layer beside the table of tokens, which this "
            "model has (tie_word_embeddings is false); it cannot be exported"
        )
    return found


def differences(config: ModelConfig) -> list[str]:
    """What llama.cpp is known to compute otherwise, a sentence for each."""
    found = []
    windowed = any(config.is_windowed(layer) for layer in range(config.depth))
    narrow = config.window is not None and config.window < config.context
    if architecture(config).windows is None and windowed and narrow:
        found.append(
            f"this model looks back {config.window} tokens; llama.cpp looks further, so longer "
            "texts are computed otherwise there"
        )
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "longrope":
        found.append(
            "llama.cpp stretches positions for long texts wherever its context is over "
            f"{scaling.original_context} tokens: for shorter texts run it with --ctx-size "
            f"{scaling.original_context}"
        )
    if config.head not in ("output", "none"):
        found.append(f"llama.cpp has no {HEAD_NAMES[config.head]}: the file gives embeddings only")
    return found


def tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """GGUF's name and the values of each tensor, in the format the model has them, one by one.

    Where nothing changes they share the model's memory. Raises ModelError for a part that
    llama.cpp has no name for.
    """
    config = model.config
    found = architecture(config)
    own = {named(name, config): name for name in model.state_dict() if not _NOT_TENSORS.match(name)}
    state = model.state_dict()
    for name, members in joined(found, list(own)):
        parts = [as_computed(m, state[own[m]].detach(), found, config) for m in members]
        together = torch.stack if members[0].split(".")[-2].isdigit() else torch.cat
        yield name, together(parts) if parts[1:] else parts[0]
    if found.output == "needed" and config.tied:
        yield "output.weight", state["embedding.weight"].detach()
    yield from _rope_factors(config)


def metadata(model: Transformer) -> dict[str, Any]:
    """The settings that llama.cpp reads, under their full keys."""
    config, found = model.config, architecture(model.config)
    values: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.depth,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
    }
    eps = "layer_norm_epsilon" if config.norm == "layernorm" else "layer_norm_rms_epsilon"
    values[f"attention.{eps}"] = float(config.norm_eps)
    if config.positions == "rope":
        values["rope.dimension_count"] = config.rotary_width or config.head_width
        values["rope.freq_base"] = float(config.rope_theta)
        values |= _rope_scaling(config)
    if not config.causal:
        values["attention.causal"] = False
    if config.attention_softcap is not None:
        values["attn_logit_softcapping"] = float(config.attention_softcap)
    if config.logit_softcap is not None:
        values["final_logit_softcapping"] = float(config.logit_softcap)
    if found.windows is not None:
        windowed = any(config.is_windowed(layer) for layer in range(config.depth))
        # A window as wide as the context is none.
        values["attention.sliding_window"] = config.window if windowed else config.context
        if config.rope_local_theta is not None:
            values["rope.freq_base_swa"] = float(config.rope_local_theta)
    named = {f"{found.name}.{key}": value for key, value in values.items()}
    return named | found.settings(config, model.state_dict())


def named(name: str, config: ModelConfig) -> str:
    """GGUF's name of one of our parameters."""
    place, _, kind = name.rpartition(".")
    inside = re.fullmatch(r"blocks\.(\d+)\.(.+?)((?:\.\d+)?)", place)
    part = inside[2] if inside else place
    known = _INSIDE if inside else _OUTSIDE
    after_sums = _NORMS_AFTER_SUMS if config.norm_place == "post" else {}
    theirs = after_sums.get(part) or known.get(part)
    if theirs is None:
        raise ModelError(f"llama.cpp's {config.family} has no place for the tensor '{name}'")
    return f"blk.{inside[1]}.{theirs}{inside[3]}.{kind}" if inside else f"{theirs}.{kind}"


def joined(found: GGUF, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each tensor of the file with the ones it is joined from."""
    fused = {member: (whole, members) for whole, members in found.fused for member in members}
    for name in names:
        *before, part, kind = name.split(".")
        if part.isdigit():  # the norm of one head
            if part == "0":
                stem = ".".join(before)
                yield f"{stem}.{kind}", [n for n in names if re.match(rf"{stem}\.\d+\.", n)]
            continue
        whole, members = fused.get(part, (part, (part,)))
        if part == members[0]:
            yield ".".join((*before, whole, kind)), [".".join((*before, m, kind)) for m in members]


def as_computed(name: str, values: Tensor, found: GGUF, config: ModelConfig) -> Tensor:
    """One tensor as llama.cpp multiplies by it."""
    part = name.split(".")[-2]
    if part == "position_embd":
        values = values[config.position_offset :]  # it counts from the first
    if config.norm == "rmsnorm_offset" and part.endswith("norm"):
        values = values.float() + 1
    # Gemma's scores have a scale of their own; what llama.cpp's differs by goes into the queries.
    if part == ("attn_q_norm" if config.qk_norm else "attn_q") and not found.reads_scale:
        wide = found.wide_scale_depth == config.depth
        theirs = (config.width / config.heads if wide else config.head_width) ** -0.5
        ratio = (config.attention_scale or config.head_width**-0.5) / theirs
        if not math.isclose(ratio, 1, rel_tol=1e-6):
            values = values.float() * ratio
    if found.pairs and part in ("attn_q", "attn_k"):
        heads = config.heads if part == "attn_q" else config.kv_heads
        halves = values.reshape(heads, 2, config.head_width // 2, *values.shape[1:])
        values = halves.transpose(1, 2).reshape(values.shape)
    return values


def _rope_factors(config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """By what each frequency of RoPE is divided, for the stretches that have no formula there."""
    scaling = config.rope_scaling
    if scaling is None or scaling.kind not in ("llama3", "longrope"):
        return
    if scaling.kind == "longrope":
        yield "rope_factors_long.weight", torch.tensor(scaling.long_factors)
        yield "rope_factors_short.weight", torch.tensor(scaling.short_factors)
        return
    width = config.rotary_width or config.head_width
    steps = torch.arange(0, width, 2, dtype=torch.float32)
    plain = 1.0 / config.rope_theta ** (steps / width)
    slowed = stretch(scaling, plain, theta=config.rope_theta, length=config.context)
    yield "rope_freqs.weight", plain / slowed


def _rope_scaling(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is None or scaling.kind == "llama3":
        return {}
    if scaling.kind == "longrope":
        return {
            "rope.scaling.original_context_length": scaling.original_context,
            "rope.scaling.attn_factor": attention_factor(scaling),
        }
    if scaling.kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling.factor)}
    # llama.cpp multiplies the factor that follows from the stretch by attn_factor (and does
    # not read yarn_attn_factor, whatever its name promises).
    natural = 0.1 * math.log(max(scaling.factor, 1.0)) + 1
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(scaling.factor),
        "rope.scaling.original_context_length": scaling.original_context,
        "rope.scaling.yarn_beta_fast": float(scaling.beta_fast),
        "rope.scaling.yarn_beta_slow": float(scaling.beta_slow),
        "rope.scaling.attn_factor": attention_factor(scaling) / natural,
    }


def _places(windowed: list[bool]) -> str:
    return ", ".join(str(layer) for layer, here in enumerate(windowed) if here) or "none"

"""What llama.cpp calls the parts of each family, and where it computes another way.

Every architecture of llama.cpp is compiled into it, with names of its own for
settings and tensors (its ``gguf`` package lists them). Most of what it needs to be
told follows from :class:`ModelConfig`; the table holds the rest:

* ``pairs``: it turns neighbouring coordinates of a head where Hugging Face's layout
  turns (i, i + R/2), so the rows of queries and keys change places;
* ``fused``: projections that it keeps in one tensor;
* ``windows``: which blocks it windows, where it windows any; elsewhere attention
  reaches all the way back.

Reference: ``conversion/`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.model.config import Family, ModelConfig
from linnet.model.families.apertus import RELU2_AS_XIELU
from linnet.model.rope import attention_factor, stretch

if TYPE_CHECKING:
    from linnet.model import Transformer


Bias: TypeAlias = Literal["attention_bias", "output_bias", "mlp_bias"]
"""A setting of :class:`ModelConfig`."""


@dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures."""

    name: str
    pairs: bool = False
    fused: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """GGUF's name of a fused tensor, and the names it joins along the output dimension."""
    windows: Callable[[int], bool] | None = None
    biases: tuple[Bias, ...] = ()
    """Which of the projections may have biases; more tensors than it knows it refuses."""
    output: Literal["either", "needed", "tied"] = "either"
    """Whether the file needs an output layer, or may have none beside the table of tokens."""
    wide_scale_depth: int = 0
    """Models of this many blocks have scores scaled by 1 / sqrt(D / H), all others by K."""


ALL_BIASES: tuple[Bias, ...] = ("attention_bias", "output_bias", "mlp_bias")
QKV = ("attn_qkv", ("attn_q", "attn_k", "attn_v"))
GATE_UP = ("ffn_up", ("ffn_gate", "ffn_up"))

ARCHITECTURES: dict[Family, Architecture] = {
    "gpt2": Architecture("gpt2", fused=(QKV,), biases=ALL_BIASES),
    "llama": Architecture("llama", pairs=True, biases=ALL_BIASES),
    "mistral": Architecture("llama", pairs=True, biases=ALL_BIASES),
    "qwen2": Architecture("qwen2", biases=("attention_bias",)),
    "qwen3": Architecture("qwen3"),
    "phi3": Architecture("phi3", fused=(QKV, GATE_UP)),
    "gemma2": Architecture(
        "gemma2", windows=lambda layer: layer % 2 == 0, output="tied", wide_scale_depth=46
    ),
    "gemma3_text": Architecture(
        "gemma3", windows=lambda layer: layer % 6 != 5, wide_scale_depth=62
    ),
    "bert": Architecture("bert", biases=ALL_BIASES),
    "arcee": Architecture("arcee", pairs=True),
    "apertus": Architecture("apertus", biases=("attention_bias", "output_bias"), output="needed"),
}

# Ours on the left; within a block they follow "blocks.N.".
_OUTSIDE = {
    "embedding": "token_embd",
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
_NOT_TENSORS = re.compile(r"^blocks\.\d+\.mlp\.xielu\.|^head\.")  # metadata; a head not computed


def architecture(config: ModelConfig) -> Architecture:
    """llama.cpp's architecture for a model. Raises ModelError where it would compute another."""
    found = ARCHITECTURES[config.family]
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
    if ARCHITECTURES[config.family].windows is None and windowed and narrow:
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
    if config.head == "masked":
        found.append("llama.cpp has no masked-token head: the file gives embeddings only")
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
        yield name, torch.cat(parts) if parts[1:] else parts[0]
    if found.output == "needed" and config.tied:
        yield "output.weight", state["embedding.weight"].detach()
    yield from _rope_factors(config)


def metadata(model: Transformer) -> dict[str, Any]:
    """The settings that llama.cpp reads, under their full keys."""
    config = model.config
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
    if ARCHITECTURES[config.family].windows is not None:
        windowed = any(config.is_windowed(layer) for layer in range(config.depth))
        # A window as wide as the context is none.
        values["attention.sliding_window"] = config.window if windowed else config.context
        if config.rope_local_theta is not None:
            values["rope.freq_base_swa"] = float(config.rope_local_theta)
    if config.family == "phi3":
        values["attention.sliding_window"] = 0  # without the key it takes Phi-3's own
    name = ARCHITECTURES[config.family].name
    return {f"{name}.{key}": value for key, value in values.items()} | _xielu(model)


def named(name: str, config: ModelConfig) -> str:
    """GGUF's name of one of our parameters."""
    place, _, kind = name.rpartition(".")
    inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", place)
    part = inside[2] if inside else place
    known = _INSIDE if inside else _OUTSIDE
    after_sums = _NORMS_AFTER_SUMS if config.norm_place == "post" else {}
    theirs = after_sums.get(part) or known.get(part)
    if theirs is None:
        raise ModelError(f"llama.cpp's {config.family} has no place for the tensor '{name}'")
    return f"blk.{inside[1]}.{theirs}.{kind}" if inside else f"{theirs}.{kind}"


def joined(found: Architecture, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each tensor of the file with the ones it is joined from."""
    fused = {member: (whole, members) for whole, members in found.fused for member in members}
    for name in names:
        *before, part, kind = name.split(".")
        whole, members = fused.get(part, (part, (part,)))
        if part == members[0]:
            yield ".".join((*before, whole, kind)), [".".join((*before, m, kind)) for m in members]


def as_computed(name: str, values: Tensor, found: Architecture, config: ModelConfig) -> Tensor:
    """One tensor as llama.cpp multiplies by it."""
    part = name.split(".")[-2]
    if config.norm == "rmsnorm_offset" and part.endswith("norm"):
        values = values.float() + 1
    # Gemma's scores have a scale of their own; what llama.cpp's differs by goes into the queries.
    if part == ("attn_q_norm" if config.qk_norm else "attn_q"):
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
        "rope.scaling.yarn_beta_fast": float(scaling.fast_turns),
        "rope.scaling.yarn_beta_slow": float(scaling.slow_turns),
        "rope.scaling.attn_factor": attention_factor(scaling) / natural,
    }


def _xielu(model: Transformer) -> dict[str, list[float]]:
    """Apertus' activation: a number of each kind for every block."""
    if model.config.family != "apertus":
        return {}
    depth, state = range(model.config.depth), model.state_dict()
    if model.config.activation == "relu2":
        return {f"xielu.{part}": [value for _ in depth] for part, value in RELU2_AS_XIELU.items()}
    return {
        f"xielu.{part}": [state[f"blocks.{layer}.mlp.xielu.{part}"].item() for layer in depth]
        for part in RELU2_AS_XIELU
    }


def _places(windowed: list[bool]) -> str:
    return ", ".join(str(layer) for layer, here in enumerate(windowed) if here) or "none"

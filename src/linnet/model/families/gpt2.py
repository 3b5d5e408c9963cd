"""The GPT-2 shape: learned positions, LayerNorm, GELU, biases, dropout.

Its projections are stored (in, out), queries, keys and values in one tensor.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig
from linnet.model.families.table import (
    FamilyTable,
    Published,
    Tensor,
    one,
    require,
    token_id,
    written_token_ids,
)


def _read(values: Published) -> ModelConfig:
    require(values, "activation_function", ("gelu_new", "gelu_pytorch_tanh"), default="gelu_new")
    require(values, "scale_attn_weights", (True,), default=True)
    require(values, "scale_attn_by_inverse_layer_idx", (False,), default=False)
    require(values, "add_cross_attention", (False,), default=False)
    try:
        width, heads = values["n_embd"], values["n_head"]
        return ModelConfig(
            family="gpt2",
            vocab_size=values["vocab_size"],
            context=values["n_positions"],
            width=width,
            depth=values["n_layer"],
            heads=heads,
            kv_heads=heads,
            head_width=width // heads,
            mlp_width=values.get("n_inner") or 4 * width,
            positions="learned",
            norm="layernorm",
            norm_eps=values.get("layer_norm_epsilon", 1e-5),
            activation="gelu_tanh",
            attention_bias=True,
            output_bias=True,
            mlp_bias=True,
            tied=bool(values.get("tie_word_embeddings", True)),
            dropout=float(values.get("resid_pdrop", 0.1)),
            bos_id=token_id(values, "bos_token_id"),
            eos_id=token_id(values, "eos_token_id"),
            pad_id=token_id(values, "pad_token_id"),
        )
    except KeyError as error:
        raise ModelError(f"config.json: {error} is missing") from None


def _write(config: ModelConfig) -> dict[str, Any]:
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the gpt2 shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tied,
        **written_token_ids(config),
    }


def _tensors(config: ModelConfig) -> list[Tensor]:
    tensors = [
        one("transformer.wte.weight", "embedding.weight"),
        one("transformer.wpe.weight", "position_embedding.weight"),
    ]
    for layer in range(config.depth):
        theirs, ours = f"transformer.h.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            flipped = kind == "weight"
            fused = tuple(f"{ours}attention.{part}.{kind}" for part in "qkv")
            tensors += [
                one(f"{theirs}ln_1.{kind}", f"{ours}attention_norm.{kind}"),
                Tensor(f"{theirs}attn.c_attn.{kind}", fused, flipped),
                Tensor(f"{theirs}attn.c_proj.{kind}", (f"{ours}attention.o.{kind}",), flipped),
                one(f"{theirs}ln_2.{kind}", f"{ours}mlp_norm.{kind}"),
                Tensor(f"{theirs}mlp.c_fc.{kind}", (f"{ours}mlp.up.{kind}",), flipped),
                Tensor(f"{theirs}mlp.c_proj.{kind}", (f"{ours}mlp.down.{kind}",), flipped),
            ]
    tensors += [one(f"transformer.ln_f.{kind}", f"norm.{kind}") for kind in ("weight", "bias")]
    if not config.tied:
        tensors.append(one("lm_head.weight", "output.weight"))
    return tensors


GPT2 = FamilyTable(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    read=_read,
    write=_write,
    tensors=_tensors,
    prefix="transformer.",
)

"""Every family against transformers: equal logits, both ways, in both spellings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import ModelError
from linnet.model import KVCache, Transformer, load_model, save_checkpoint
from linnet.model.families import FAMILIES, family
from linnet.progress import Progress

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 97, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
PLAIN_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 4.0,
}
LONG_ROPE = {
    "original_max_position_embeddings": 50,
    "rope_parameters": {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.1, 1.2, 1.5],
        "long_factor": [1.0, 2.0, 4.0, 9.0],
    },
}
ROUND = {"layer_norm_eps": 1e-3, "hidden_act": "gelu_new"}
CAUSAL = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}

CASES = {
    "gpt2": ("GPT2", GPT2 | IDS),
    "gpt2-untied-narrow-mlp": ("GPT2", GPT2 | IDS | {"n_inner": 40, "tie_word_embeddings": False}),
    "llama": ("Llama", SMALL | IDS),
    "llama-gqa-tied-biased": (
        "Llama",
        SMALL
        | IDS
        | {
            "num_key_value_heads": 2,
            "head_dim": 12,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "llama-theta": ("Llama", SMALL | IDS | PLAIN_ROPE | {"rms_norm_eps": 1e-3}),
    "qwen3": ("Qwen3", SMALL | IDS | {"num_key_value_heads": 2, "head_dim": 16}),
    "qwen3-tied": (
        "Qwen3",
        SMALL | IDS | {"head_dim": 8, "num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
    "llama3": ("Llama", SMALL | IDS | {"rope_parameters": LLAMA3_ROPE, "num_key_value_heads": 2}),
    "llama-linear": ("Llama", SMALL | IDS | {"rope_parameters": LINEAR_ROPE}),
    "mistral": ("Mistral", SMALL | IDS | {"num_key_value_heads": 2, "sliding_window": None}),
    "mistral-window": (
        "Mistral",
        SMALL | IDS | {"num_key_value_heads": 2, "sliding_window": 7, "head_dim": 12},
    ),
    "qwen2": ("Qwen2", SMALL | IDS | {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2-untied-yarn": (
        "Qwen2",
        SMALL | IDS | {"num_key_value_heads": 4, "rope_parameters": YARN_ROPE},
    ),
    "qwen2-window": (
        "Qwen2",
        SMALL
        | IDS
        | {
            "num_key_value_heads": 4,
            "use_sliding_window": True,
            "sliding_window": 9,
            "max_window_layers": 1,
        },
    ),
    "qwen3-window-yarn": (
        "Qwen3",
        SMALL
        | IDS
        | {
            "head_dim": 8,
            "num_key_value_heads": 4,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 2,
            "rope_parameters": YARN_ROPE,
        },
    ),
    "phi3": ("Phi3", SMALL | IDS | {"num_key_value_heads": 2, "sliding_window": 11}),
    "phi3-longrope-short": ("Phi3", SMALL | IDS | LONG_ROPE | {"num_key_value_heads": 4}),
    "phi3-longrope-long": (
        "Phi3",
        SMALL | IDS | LONG_ROPE | {"original_max_position_embeddings": 32},
    ),
    "phi4-mini": (
        "Phi3",
        SMALL
        | IDS
        | {
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 24,
            "rope_parameters": {
                "rope_type": "longrope",
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.3],
                "long_factor": [1.0, 2.5, 7.0],
            },
        },
    ),
    "gemma2": (
        "Gemma2",
        SMALL | IDS | {"head_dim": 12, "num_key_value_heads": 2, "sliding_window": 9},
    ),
    "gemma2-uncapped-biased": (
        "Gemma2",
        SMALL
        | IDS
        | {
            "head_dim": 8,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "attention_bias": True,
            "query_pre_attn_scalar": 20,
        },
    ),
    "gemma3": (
        "Gemma3Text",
        SMALL
        | IDS
        | {"head_dim": 12, "num_key_value_heads": 1, "sliding_window": 9, "vocab_size": 97},
    ),
    "gemma3-scaled": (
        "Gemma3Text",
        SMALL
        | IDS
        | {
            "head_dim": 8,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
            },
        },
    ),
    "arcee": ("Arcee", SMALL | IDS | {"num_key_value_heads": 1}),
    "arcee-biased": ("Arcee", SMALL | IDS | {"mlp_bias": True, "attention_bias": True}),
    "apertus": ("Apertus", SMALL | IDS | PLAIN_ROPE | {"num_key_value_heads": 2}),
    "smollm3": ("SmolLM3", SMALL | IDS | {"num_hidden_layers": 5, "num_key_value_heads": 2}),
    "smollm3-window": (
        "SmolLM3",
        SMALL
        | IDS
        | {
            "no_rope_layers": [0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": 9,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": False,
        },
    ),
    "olmo2": ("Olmo2", SMALL | IDS | {"num_key_value_heads": 2}),
    "olmo2-biased": ("Olmo2", SMALL | IDS | {"attention_bias": True, "tie_word_embeddings": True}),
    "granite": (
        "Granite",
        SMALL
        | IDS
        | {
            "num_key_value_heads": 2,
            "embedding_multiplier": 12.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.3,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "granite-plain": ("Granite", SMALL | IDS),
    "gpt-neox": ("GPTNeoX", SMALL | IDS),
    "gpt-neox-serial": (
        "GPTNeoX",
        SMALL
        | IDS
        | ROUND
        | {
            "use_parallel_residual": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5000.0,
                "partial_rotary_factor": 1.0,
            },
        },
    ),
    "gemma1": ("Gemma", SMALL | IDS | {"head_dim": 12, "num_key_value_heads": 1}),
    "gemma1-untied": (
        "Gemma",
        SMALL
        | IDS
        | {
            "head_dim": 8,
            "num_key_value_heads": 4,
            "tie_word_embeddings": False,
            "attention_bias": True,
            "hidden_act": "silu",
        },
    ),
    "phi": ("Phi", SMALL | IDS | {"partial_rotary_factor": 0.75, "num_key_value_heads": 2}),
    "phi-normed": ("Phi", SMALL | IDS | ROUND | {"qk_layernorm": True}),
    "stablelm": ("StableLm", SMALL | IDS | {"num_key_value_heads": 2}),
    "stablelm-parallel": (
        "StableLm",
        SMALL
        | IDS
        | {
            "num_key_value_heads": 2,
            "use_parallel_residual": True,
            "qk_layernorm": True,
            "use_qkv_bias": True,
            "tie_word_embeddings": True,
            "partial_rotary_factor": 0.5,
            "layer_norm_eps": 1e-3,
        },
    ),
    "apertus-tied": ("Apertus", SMALL | IDS | PLAIN_ROPE | {"tie_word_embeddings": True}),
}


def reference(case: str) -> torch.nn.Module:
    """A transformers model with weights large enough that a wrong detail shows."""
    name, values = CASES[case]
    config = getattr(transformers, f"{name}Config")(**values)
    config.dtype = torch.float32
    cls = getattr(transformers, CAUSAL.get(name, f"{name}ForCausalLM"))
    torch.manual_seed(1)
    model = cls(config).float().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, 48), generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_loads_what_transformers_saves(case: str, tmp_path: Path) -> None:
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    torch.testing.assert_close(ours(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=1e-4)
    own = [p for name, p in ours.named_parameters()]
    assert ours.config.parameters == sum(p.numel() for p in own)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_we_save(case: str, tmp_path: Path) -> None:
    first, second = tmp_path / "theirs", tmp_path / "ours"
    reference(case).save_pretrained(first)
    second.mkdir()
    ours = load_model(first)
    save_checkpoint(ours, second)
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        second, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert again.dtype == torch.float32
    torch.testing.assert_close(ours(tokens()), again(tokens()).logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours(tokens()), load_model(second)(tokens()), atol=0, rtol=0)


@torch.inference_mode()
def test_relu2_is_saved_as_an_apertus_that_transformers_computes_alike(tmp_path: Path) -> None:
    from linnet.model import ModelConfig

    config = ModelConfig(
        family="apertus",
        vocab_size=97,
        context=64,
        width=32,
        depth=2,
        heads=4,
        kv_heads=4,
        head_width=8,
        mlp_width=64,
        activation="relu2",
        qk_norm=True,
    )
    ours = Transformer(config).eval()
    ours.initialise(torch.Generator().manual_seed(1))
    for parameter in ours.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) / 5)
    save_checkpoint(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(ours(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=1e-4)
    assert load_model(tmp_path).config == config


# Their texts grow over the original context, where LongRoPE turns all positions anew.
CROSSING = ("phi3-longrope-long", "phi4-mini")


def spelled_as_in_4(values: dict[str, Any]) -> dict[str, Any]:
    """A config.json as transformers 4.57.6 writes it (compared once with what it wrote)."""
    old = {key: value for key, value in values.items() if key not in ("rope_parameters", "dtype")}
    old["torch_dtype"] = "float32"
    rope = dict(values.get("rope_parameters") or {})
    if "full_attention" in rope:  # Gemma 3
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    old["rope_theta"] = rope.pop("rope_theta", 10_000.0)
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if values["model_type"] == "gpt_neox":
        old |= {"rotary_emb_base": old["rope_theta"], "rotary_pct": old["partial_rotary_factor"]}
    if rope.get("rope_type") == "longrope":  # Phi-3 has just these three
        rope = {"type": "longrope", **{k: rope[k] for k in ("short_factor", "long_factor")}}
    plain = rope.get("rope_type", "default") == "default" and "type" not in rope
    old["rope_scaling"] = None if plain else rope
    if values["model_type"].startswith("gemma"):  # equal to a default that it leaves out
        del old["tie_word_embeddings"]
    return old


@torch.inference_mode()
@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("gpt2")])
def test_reads_the_spellings_of_transformers_4(case: str, tmp_path: Path) -> None:
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(spelled_as_in_4(json.loads(file.read_text()))))
    ours = load_model(tmp_path)
    torch.testing.assert_close(ours(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=1e-4)


def test_writes_both_spellings(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    reference("llama-theta").save_pretrained(tmp_path / "a")
    (tmp_path / "b").mkdir()
    save_checkpoint(load_model(tmp_path / "a"), tmp_path / "b", dtype=torch.bfloat16)
    values = json.loads((tmp_path / "b" / "config.json").read_text())
    assert values["torch_dtype"] == values["dtype"] == "bfloat16"
    assert values["rope_theta"] == values["rope_parameters"]["rope_theta"] == 5000.0


@torch.inference_mode()
@pytest.mark.parametrize("case", [case for case in CASES if case not in CROSSING])
def test_the_cache_changes_nothing(case: str, tmp_path: Path) -> None:
    reference(case).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    cache = KVCache(model.config, batch=2)
    pieces = [model(piece, cache) for piece in tokens().split([20, 1, 1, 7, 19], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens()), atol=1e-4, rtol=1e-4)
    with pytest.raises(ModelError, match="context holds 64 tokens"):
        model(tokens(), cache)


def test_sharded_weights_and_names_without_prefix(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = reference("gpt2")
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    with torch.inference_mode():
        expected = load_model(tmp_path)(tokens())
        bare = {}
        for file in tmp_path.glob("*.safetensors"):
            bare |= {k.removeprefix("transformer."): v for k, v in load_file(file).items()}
            file.unlink()
        (tmp_path / "model.safetensors.index.json").unlink()
        bare["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
        save_file(bare, tmp_path / "model.safetensors")
        torch.testing.assert_close(load_model(tmp_path)(tokens()), expected)


def with_pictures(path: Path) -> torch.nn.Module:
    """A tiny Gemma 3 that sees pictures, as the hub has it: most of its text part is unsaid."""
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "image_size": 28,
        "num_attention_heads": 2, "patch_size": 14,
    }  # fmt: skip
    text = {
        **SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 9,
        "num_hidden_layers": 7, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=96,
        boi_token_index=94, eoi_token_index=95,
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.Gemma3ForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(path)
    published = {
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {"model_type": "gemma3_text", **text}, "vision_config": vision,
        "eos_token_id": [1, 106], "image_token_index": 96, "mm_tokens_per_image": 4,
        "boi_token_index": 94, "eoi_token_index": 95, "initializer_range": 0.02,
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(published))
    return model  # type: ignore[no-any-return]


@torch.inference_mode()
def test_the_text_part_of_gemma_3_that_sees_pictures(tmp_path: Path) -> None:
    """In both spellings of transformers, counted what is left out, and written as text alone."""
    from safetensors.torch import load_file, save_file

    theirs = with_pictures(tmp_path)
    expected = theirs(input_ids=tokens() % 90).logits
    stored = load_file(tmp_path / "model.safetensors")
    other = {k: v for k, v in stored.items() if not k.startswith("language_model.")}
    text = {k: v for k, v in stored.items() if k.startswith("language_model.")}
    newer = {
        k.replace("language_model.model.", "model.language_model."): v for k, v in text.items()
    }
    newer |= {f"model.{k}": v for k, v in other.items()}
    for spelled in (stored, newer):
        save_file(spelled, tmp_path / "model.safetensors")
        warned = Warned()
        ours = load_model(tmp_path, progress=warned)
        torch.testing.assert_close(ours(tokens() % 90), expected, atol=1e-4, rtol=1e-4)
        numbers = sum(value.numel() for value in other.values())
        assert len(warned.lines) == 1
        assert f"{len(other)} tensors ({numbers:,} numbers) for other inputs" in warned.lines[0]
    assert ours.config.eos_id == 1
    assert ours.config.pad_id == 0
    (tmp_path / "text").mkdir()
    save_checkpoint(ours, tmp_path / "text", base=tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    assert type(again).__name__ == "Gemma3ForCausalLM"
    torch.testing.assert_close(again(tokens() % 90).logits, expected, atol=1e-4, rtol=1e-4)
    generation = json.loads((tmp_path / "text" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, 106]


def test_sizes_that_gemma_3_leaves_out_are_those_of_transformers() -> None:
    config = family("gemma3").read({"model_type": "gemma3", "text_config": {"hidden_size": 2560}})
    theirs = transformers.Gemma3TextConfig(hidden_size=2560)
    found = (
        config.vocab_size, config.depth, config.heads, config.kv_heads, config.head_width,
        config.mlp_width, config.context, config.window, config.norm_eps, config.tied,
        config.bos_id, config.eos_id, config.pad_id, config.rope_theta, config.rope_local_theta,
        config.attention_scale, config.window_layers,
    )  # fmt: skip
    rope = theirs.rope_parameters
    assert found == (
        theirs.vocab_size, theirs.num_hidden_layers, theirs.num_attention_heads,
        theirs.num_key_value_heads, theirs.head_dim, theirs.intermediate_size,
        theirs.max_position_embeddings, theirs.sliding_window, theirs.rms_norm_eps,
        theirs.tie_word_embeddings, theirs.bos_token_id, theirs.eos_token_id,
        theirs.pad_token_id, rope["full_attention"]["rope_theta"],
        rope["sliding_attention"]["rope_theta"], theirs.query_pre_attn_scalar**-0.5,
        tuple(kind == "sliding_attention" for kind in theirs.layer_types),
    )  # fmt: skip


class Warned(Progress):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def broken(tmp_path: Path, change: str) -> str:
    from safetensors.torch import load_file, save_file

    reference("llama").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    values = json.loads((tmp_path / "config.json").read_text())
    name = "model.layers.1.mlp.up_proj.weight"
    if change == "missing":
        del weights[name]
    elif change == "shape":
        weights[name] = weights[name][:5].clone()
    elif change == "extra":
        weights["model.layers.1.mlp.sideways.weight"] = torch.ones(2)
    elif change == "type":
        values["model_type"] = "mamba"
    elif change == "depth":
        values["num_hidden_layers"] = 10**9
    elif change == "rope":
        values["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    elif change == "heads":
        values["num_key_value_heads"] = 3
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(values))
    if change == "cut":
        data = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif change == "pickle":
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "'model.layers.1.mlp.up_proj.weight' is missing"),
        ("shape", "must have shape (56, 32). Got (5, 32)"),
        ("extra", "'model.layers.1.mlp.sideways.weight' does not belong"),
        ("type", f"known: {', '.join(sorted(FAMILIES))}"),
        ("depth", "num_hidden_layers must be a whole number from 1 to 512. Got 1000000000"),
        ("rope", "rope_parameters.rope_type 'dynamic' is not supported"),
        ("heads", "must be a multiple of kv_heads"),
        ("cut", "damaged"),
        ("pickle", "is a pickle"),
    ],
)
def test_names_what_is_wrong_with_a_checkpoint(change: str, said: str, tmp_path: Path) -> None:
    assert said in broken(tmp_path, change)

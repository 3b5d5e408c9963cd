"""GGUF files against transformers: llama.cpp gives the same log-probabilities in f32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import ModelError
from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.generate.engines import open_engine
from linnet.generate.torch_engine import TorchEngine

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

WITHIN = 5e-3  # nats, as the project promises
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
GPT2 = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}
UNTIED: dict[str, Any] = {"tie_word_embeddings": False}
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
    "original_max_position_embeddings": 32,
}
STEPS = [1.0 + 0.2 * step for step in range(8)]
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": STEPS,
    "long_factor": [2 * step for step in STEPS],
}
GEMMA = GROUPED | {"head_dim": 16, "sliding_window": 24, "query_pre_attn_scalar": 24}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied-narrow": ("GPT2", GPT2 | UNTIED | {"n_inner": 40}),
    "llama": ("Llama", GROUPED | UNTIED),
    "llama-tied-biased": ("Llama", SMALL | {"tie_word_embeddings": True, "attention_bias": True}),
    "llama-3": ("Llama", GROUPED | {"rope_parameters": LLAMA3_ROPE}),
    "llama-linear": ("Llama", GROUPED | {"rope_parameters": LINEAR_ROPE}),
    "llama-wide-heads": ("Llama", GROUPED | {"head_dim": 24, "rms_norm_eps": 1e-3}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": None}),
    "qwen2": ("Qwen2", GROUPED | {"tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2", GROUPED | {"rope_parameters": YARN_ROPE}),
    "qwen2-yarn-attention": (
        "Qwen2",
        GROUPED | {"rope_parameters": YARN_ROPE | {"attention_factor": 0.6}},
    ),
    "llama-yarn-mscale": (
        "Llama",
        GROUPED | {"rope_parameters": YARN_ROPE | {"mscale": 0.7, "mscale_all_dim": 1.6}},
    ),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 32}),
    "phi3": ("Phi3", GROUPED | {"sliding_window": None}),
    # llama.cpp stretches for long texts wherever its context is longer than the original one.
    "phi3-long": (
        "Phi3",
        GROUPED | {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 3},
    ),
    "phi4-mini": (
        "Phi3",
        GROUPED
        | {
            "tie_word_embeddings": True,
            "partial_rotary_factor": 0.5,
            "rope_parameters": LONG_ROPE
            | {"short_factor": STEPS[:4], "long_factor": STEPS[4:], "partial_rotary_factor": 0.5},
            "max_position_embeddings": 1024,
            "original_max_position_embeddings": 256,
        },
    ),
    "gemma2": ("Gemma2", GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 9.0}),
    "gemma3": ("Gemma3Text", GEMMA | {"num_hidden_layers": 7, "rope_local_base_freq": 2_000.0}),
    "gemma3-linear": (
        "Gemma3Text",
        GEMMA
        | {
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": LINEAR_ROPE,
                "sliding_attention": {"rope_type": "default", "rope_theta": 2_000.0},
            },
        },
    ),
    "arcee": ("Arcee", GROUPED),
    "smollm3": ("SmolLM3", GROUPED | {"num_hidden_layers": 5}),
    "olmo2": ("Olmo2", GROUPED),
    "granite": (
        "Granite",
        GROUPED
        | {
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "gpt-neox": ("GPTNeoX", SMALL),
    "gpt-neox-serial": ("GPTNeoX", SMALL | {"use_parallel_residual": False, "rotary_pct": 0.5}),
    "gemma1": ("Gemma", GROUPED | {"head_dim": 32}),
    "phi": ("Phi", SMALL | {"partial_rotary_factor": 0.5}),
    "stablelm": ("StableLm", GROUPED | {"use_qkv_bias": True}),
    "stablelm-parallel": (
        "StableLm",
        GROUPED | {"use_parallel_residual": True, "qk_layernorm": True},
    ),
    "apertus": ("Apertus", GROUPED),
}
PROMPTS = ("The small grey bird", "one 12 cat's house;\n", "mat " * 30)
CONTEXT = 256  # the least that llama.cpp makes


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_are_those_of_transformers(
    case: str, published: Callable[..., Path], tmp_path: Path
) -> None:
    name, values = CASES[case]
    path = published(name, values)
    file = export_gguf(path, tmp_path / "model.gguf", ExportConfig(type="f32"))
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    compared = 0
    with LlamaCpp(file, context=CONTEXT) as llama:
        for prompt in PROMPTS:
            ids = llama.tokens(prompt)
            assert ids == tokenizer(prompt)["input_ids"]
            for told, place in zip(*told_of(llama, ids), strict=True):
                expected = model(torch.tensor([place])).logits[0, -1].log_softmax(-1)
                for token, logprob in told.items():
                    assert abs(logprob - expected[token].item()) < WITHIN
                compared += len(told)
    assert compared >= 24


def test_what_llama_cpp_cannot_stretch_is_refused(published: Callable[..., Path]) -> None:
    path = published("Qwen2", GROUPED | {"rope_parameters": YARN_ROPE | {"truncate": False}})
    with pytest.raises(ModelError, match="truncate: false in its rope_scaling"):
        export_gguf(path, path / "model.gguf", ExportConfig(type="f32"))
    assert not (path / "model.gguf").exists()
    assert isinstance(open_engine(path), TorchEngine)


def told_of(llama: LlamaCpp, ids: list[int]) -> tuple[list[dict[int, float]], list[list[int]]]:
    """What llama.cpp says of three places, with the tokens before each."""
    found = llama.continuation(ids, length=3)
    before = [[*ids, *found.tokens[:place]] for place in range(len(found.logprobs))]
    return list(found.logprobs), before

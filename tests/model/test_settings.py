"""Every setting of every family, changed: logits equal transformers', or it is refused by name.

What transformers can read is taken from its configuration classes, so that a setting which a
new release brings is tried as soon as it is installed.
"""

import copy
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import CASES, CAUSAL

from linnet.errors import LinnetError, ModelError
from linnet.model import load_model
from linnet.model.families import FAMILIES, family

transformers = pytest.importorskip("transformers")

BASES = (
    "gpt2", "llama", "mistral-window", "qwen2", "qwen2-window", "qwen3", "phi3", "gemma2",
    "gemma3", "arcee", "apertus", "smollm3-window", "olmo2", "granite", "gpt-neox", "gemma1", "phi",
    "stablelm",
)  # fmt: skip
BERT = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 56, "max_position_embeddings": 64,
}  # fmt: skip
HALF = [1.0, 1.1, 1.2, 1.5]
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 40,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0},
    "longrope": {
        "short_factor": HALF, "long_factor": [1.0, 2.0, 4.0, 9.0],
        "original_max_position_embeddings": 50,
    },
    "proportional": {"factor": 2.0},
}  # fmt: skip
ROPE_CHANGES: tuple[dict[str, Any], ...] = (
    {}, {"factor": 2.0}, {"factor": None}, {"factor": 0.5}, {"attention_factor": 1.3},
    {"mscale": 0.7}, {"mscale": 0.7, "mscale_all_dim": 1.6},
    {"mscale": 1.0, "mscale_all_dim": 1.0},
    {"mscale": 0.7, "mscale_all_dim": 1.6, "attention_factor": 0.8}, {"mscale_all_dim": 0.4},
    {"truncate": False}, {"truncate": True}, {"beta_fast": 9.0}, {"beta_slow": 0.6},
    {"beta_slow": 40.0}, {"rope_theta": 777.0}, {"original_max_position_embeddings": 24},
    {"original_max_position_embeddings": None}, {"partial_rotary_factor": 0.5},
    {"partial_rotary_factor": 1.0}, {"low_freq_factor": 2.0}, {"high_freq_factor": 9.0},
    {"short_factor": [2.0, 2.1, 2.2, 2.5]}, {"long_factor": HALF}, {"mrope_section": [2, 1, 1]},
    {"something_new": 1},
)  # fmt: skip

MODERN = {
    "num_hidden_layers": 4, "local_attention": 16, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2,
}  # fmt: skip
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT),
    "roberta": ("Roberta", BERT | {"pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", BERT | {"pad_token_id": 1}),
    "mpnet": ("MPNet", BERT | {"pad_token_id": 1}),
    "distilbert": ("DistilBert", {
        "vocab_size": 97, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 56,
        "max_position_embeddings": 64,
    }),
    "modernbert": ("ModernBert", BERT | MODERN),
}  # fmt: skip


def published(case: str) -> tuple[Any, type, dict[str, Any]]:
    """The configuration's class, the model's and the settings of a case as they are stored."""
    encoder = case in ENCODERS
    name, values = ENCODERS[case] if encoder else CASES[case]
    config = getattr(transformers, f"{name}Config")
    made = f"{name}ForMaskedLM" if encoder else CAUSAL.get(name, f"{name}ForCausalLM")
    cls = getattr(transformers, made)
    stored = json.loads(config(**values).to_json_string(use_diff=False))
    stored["architectures"] = [cls.__name__]
    return config, cls, stored


@torch.inference_mode()
def verdict(case: str, values: dict[str, Any], path: Path) -> str:
    """What comes of a ``config.json`` here, beside what transformers makes of it."""
    config, cls, _ = published(case)
    file = path / "config.json"
    file.write_text(json.dumps(values))
    tokens = torch.randint(0, 89, (1, 40), generator=torch.Generator().manual_seed(3))
    try:
        torch.manual_seed(1)
        theirs = cls(config.from_pretrained(path)).float().eval()
        theirs.set_attn_implementation("eager")  # others pass over soft-caps
        for parameter in theirs.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
        wanted = theirs(tokens).logits
        theirs.save_pretrained(path)
    except Exception:
        try:
            family(values.get("model_type")).read(values)
        except LinnetError:
            return "neither"
        return "ours alone"
    file.write_text(json.dumps(values))
    try:
        found = load_model(path)(tokens)
    except ModelError:
        return "refused"
    close = found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-3, rtol=1e-3)
    return "equal" if close else f"differs by {(found - wanted).abs().max():.2g}"


def others(value: Any) -> list[Any]:
    """Values of the same kind, but not the same."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2, 1]
    if isinstance(value, float):
        return [value + 0.25, value * 3 + 1e-3]
    if isinstance(value, str):
        return ["relu", "gelu", "silu", "tanh"]
    if isinstance(value, list):
        return [value[::-1], ["full_attention"] * len(value)]
    return [True, 2, 0.5, "x"] if value is None else []


def changes(stored: dict[str, Any], fields: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in sorted(fields | set(stored)):
        if key in ("model_type", "transformers_version", "dtype", "rope_parameters"):
            continue
        for other in others(stored.get(key)):
            yield f"{key}={other!r}", {**stored, key: other}
        if key in stored:
            yield f"without {key}", {k: v for k, v in stored.items() if k != key}
            yield f"{key}=None", {**stored, key: None}
    yield "something new", {**stored, "something_new": False}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*BASES, *ENCODERS])
def test_every_setting_is_computed_as_transformers_does_or_refused(
    case: str, tmp_path: Path
) -> None:
    config, _, stored = published(case)
    fields = {f.name for f in dataclasses.fields(config) if not f.name.startswith("_")}
    assert verdict(case, stored, tmp_path) == "equal"
    found = {name: verdict(case, values, tmp_path) for name, values in changes(stored, fields)}
    assert not {name: v for name, v in found.items() if v.startswith("differs")}
    assert found["something new"] == "refused"
    counted = Counter(found.values())
    assert counted["equal"] > 20
    assert counted["refused"] > 2


def ropes(case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A configuration with each stretch and each of its settings changed, in both spellings."""
    stored = published(case)[2]
    plain = {k: v for k, v in stored.items() if k not in ("rope_parameters", "rope_scaling")}
    for kind in ROPES:
        for change in ROPE_CHANGES:
            rope = {"rope_type": kind, "rope_theta": 10_000.0, **ROPES[kind], **change}
            name = f"{kind} {change}"
            old = {key: value for key, value in rope.items() if key != "rope_theta"}
            theta = {"rope_theta": rope["rope_theta"]}
            if stored["model_type"] == "gemma3_text":
                local = {"rope_type": "default", "rope_theta": 100.0}
                new = {"full_attention": rope, "sliding_attention": local}
                theta["rope_local_base_freq"] = 100.0
            else:
                new = rope
            yield f"{name} as in 5", {**plain, "rope_parameters": new}
            yield f"{name} as in 4", {**plain, **theta, "rope_scaling": old}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in BASES if case not in ("gpt2", "qwen2-window")])
def test_every_setting_of_rope_in_every_family(case: str, tmp_path: Path) -> None:
    found = {name: verdict(case, values, tmp_path) for name, values in ropes(case)}
    assert not {name: v for name, v in found.items() if v.startswith("differs")}
    assert Counter(found.values())["equal"] > 20


# What must come of the settings that people have; the slow tests above try all there are.
YARN = {"rope_type": "yarn", "rope_theta": 1e4, **ROPES["yarn"]}
EXPECTED: dict[str, tuple[str, dict[str, Any], str]] = {
    "mscale": (
        "llama", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.6}}, "equal",
    ),
    "mscale alone": ("arcee", {"rope_parameters": {**YARN, "mscale": 0.7}}, "equal"),
    "truncate": ("qwen3", {"rope_parameters": {**YARN, "truncate": False}}, "equal"),
    "truncate, gemma": (
        "gemma3",
        {"rope_parameters": {"full_attention": {**YARN, "truncate": False}}},
        "rope_parameters.full_attention.truncate must be True",
    ),
    "attention_factor": ("qwen2", {"rope_parameters": {**YARN, "attention_factor": 0.6}}, "equal"),
    "new in rope": (
        "llama", {"rope_parameters": {**YARN, "new": 1}}, "rope_parameters.new is not known",
    ),
    "new": ("qwen3", {"use_new": False}, "use_new is not known for model type 'qwen3'"),
    "partial": ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
    "interleaved": ("llama", {"rope_interleaved": True}, "rope_interleaved must be False"),
    "no rope_scaling in apertus": ("apertus", {"rope_parameters": None}, "equal"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_settings_that_people_have(name: str, tmp_path: Path) -> None:
    case, change, expected = EXPECTED[name]
    values = published(case)[2] | change
    if expected == "equal":
        assert verdict(case, values, tmp_path) == "equal"
        return
    with pytest.raises(ModelError) as caught:
        family(values["model_type"]).read(values)
    assert expected in str(caught.value)


# Settings beside the sizes that published models have; none may be in the way.
SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 131072,
    "bos_token_id": 1, "eos_token_id": [2, 3], "initializer_range": 0.02, "use_cache": True,
    "transformers_version": "4.45.1", "torch_dtype": "bfloat16", "_name_or_path": "x",
}  # fmt: skip
PHI = {
    "attention_bias": False, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "attention_dropout": 0.0,
    "original_max_position_embeddings": 4096, "rope_theta": 10000.0, "rms_norm_eps": 1e-05,
    "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "tie_word_embeddings": False,
}  # fmt: skip
LONG = {"long_factor": [1.0] * 8, "short_factor": [1.0] * 8}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "SmolLM2": ("llama", {
        "is_llama_config": True, "rope_interleaved": False, "rope_scaling": None,
        "rope_theta": 100000, "pretraining_tp": 1, "mlp_bias": False, "pad_token_id": 2,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    }),
    "Falcon 3": ("llama", {"activation": "swiglu", "head_dim": 256, "rope_theta": 1000042}),
    "Llama 1": ("llama", {"max_sequence_length": 2048, "pad_token_id": -1, "hidden_act": "silu"}),
    "Llama 3.2": ("llama", {"rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    }, "unsloth_fixed": True}),
    "DeepSeek-R1-Distill-Qwen": ("qwen2", {
        "use_mrope": False, "use_sliding_window": False, "sliding_window": 4096,
        "max_window_layers": 21, "rope_theta": 10000,
    }),
    "Qwen2.5, long": ("qwen2", {"rope_scaling": {
        "factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn",
    }, "sliding_window": 131072, "max_window_layers": 28, "use_sliding_window": False}),
    "Qwen3": ("qwen3", {"sliding_window": None, "max_window_layers": 36, "head_dim": 16}),
    "Mistral Nemo": ("mistral", {"head_dim": 128, "sliding_window": None, "rope_theta": 1e6}),
    "Phi-3, long": ("phi3", PHI | {"rope_scaling": LONG | {"type": "su"}, "sliding_window": 2047}),
    "Phi-4-mini": ("phi3", PHI | {
        "full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False,
        "partial_rotary_factor": 0.75, "sliding_window": 262144, "tie_word_embeddings": True,
        "rope_scaling": {"type": "longrope", "long_factor": [1] * 6, "short_factor": [1.0] * 6},
    }),
    "Gemma 2": ("gemma2", {
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "cache_implementation": "hybrid", "sliding_window": 4096, "sliding_window_size": 4096,
        "head_dim": 16, "query_pre_attn_scalar": 224, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "rope_theta": 10000.0,
    }),
    "Gemma 3": ("gemma3_text", {
        "_sliding_window_pattern": 6, "sliding_window_pattern": 6, "rope_local_base_freq": 10000,
        "cache_implementation": "hybrid", "rope_scaling": None, "rope_theta": 1000000,
        "attn_logit_softcapping": None, "use_bidirectional_attention": False,
    }),
    "AFM": ("arcee", {"mlp_bias": False, "hidden_act": "relu2", "rope_scaling": {
        "beta_fast": 32.0, "beta_slow": 1.0, "factor": 20.0, "mscale": 1.0,
        "original_max_position_embeddings": 4096, "rope_type": "yarn", "type": "yarn",
    }}),
    "Apertus": ("apertus", {
        "hidden_act": "xielu", "hidden_dropout": 0.0, "mlp_bias": False, "post_norm": False,
        "qk_norm": True, "rope_theta": 12000000, "rope_scaling": {
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3", "type": "llama3",
        },
    }),
    "SmolLM3": ("smollm3", {
        "no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4, "layer_types": None,
        "max_window_layers": 28, "use_sliding_window": False, "sliding_window": None,
        "rope_theta": 5000000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "pretraining_tp": 2, "hidden_act": "silu", "attention_dropout": 0.0,
    }),
    "OLMo 2": ("olmo2", {
        "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 500000,
        "tie_word_embeddings": False, "pad_token_id": 100277,
    }),
    "Granite 3.3": ("granite", {
        "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "logits_scaling": 8.0,
        "residual_multiplier": 0.22, "mlp_bias": False, "rope_theta": 10000000.0,
        "rope_scaling": None, "tie_word_embeddings": True, "rms_norm_eps": 1e-05,
    }),
    "Pythia": ("gpt_neox", {
        "hidden_act": "gelu", "layer_norm_eps": 1e-05, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True,
        "num_key_value_heads": None,
    }),
    "Gemma": ("gemma", {
        "hidden_act": "gelu", "hidden_activation": None, "head_dim": 256, "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
    }),
    "Phi-2": ("phi", {
        "hidden_act": "gelu_new", "partial_rotary_factor": 0.5, "qk_layernorm": False,
        "embd_pdrop": 0.0, "resid_pdrop": 0.1, "rope_scaling": None, "rope_theta": 10000.0,
        "layer_norm_eps": 1e-05, "tie_word_embeddings": False, "num_key_value_heads": 4,
    }),
    "StableLM 2": ("stablelm", {
        "hidden_act": "silu", "layer_norm_eps": 1e-05, "partial_rotary_factor": 0.25,
        "rope_theta": 10000, "tie_word_embeddings": False, "use_qkv_bias": True,
        "hidden_dropout": 0.0, "attention_dropout": 0.0, "use_parallel_residual": False,
        "qk_layernorm": False, "num_key_value_heads": 4,
    }),
    "BERT": ("bert", {
        "architectures": ["BertForMaskedLM"], "classifier_dropout": None, "directionality": "bidi",
        "pooler_fc_size": 768, "pooler_type": "first_token_transform", "type_vocab_size": 2,
        "position_embedding_type": "absolute", "gradient_checkpointing": False,
        "attention_probs_dropout_prob": 0.1, "pad_token_id": 0, "id2label": {"0": "LABEL_0"},
        "num_key_value_heads": None,
    }),
    "XLM-R": ("xlm-roberta", {
        "architectures": ["XLMRobertaModel"], "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu", "layer_norm_eps": 1e-05, "output_past": True, "pad_token_id": 1,
        "position_embedding_type": "absolute", "type_vocab_size": 1, "num_key_value_heads": None,
    }),
    "all-mpnet-base-v2": ("mpnet", {
        "architectures": ["MPNetForMaskedLM"], "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-05,
        "pad_token_id": 1, "relative_attention_num_buckets": 32, "num_key_value_heads": None,
    }),
    "ModernBERT": ("modernbert", {
        "architectures": ["ModernBertForMaskedLM"], "classifier_activation": "gelu",
        "classifier_bias": False, "classifier_dropout": 0.0, "classifier_pooling": "mean",
        "cls_token_id": 50281, "decoder_bias": True, "deterministic_flash_attn": False,
        "embedding_dropout": 0.0, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "hidden_activation": "gelu", "initializer_cutoff_factor": 2.0, "layer_norm_eps": 1e-05,
        "local_attention": 128, "local_rope_theta": 10000.0, "mlp_bias": False,
        "mlp_dropout": 0.0, "norm_bias": False, "norm_eps": 1e-05, "sep_token_id": 50282,
        "position_embedding_type": "absolute", "reference_compile": None,
        "sparse_pred_ignore_index": -100, "sparse_prediction": False,
        "num_key_value_heads": None,
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_read(name: str) -> None:
    model_type, values = PUBLISHED[name]
    assert family(model_type).read(SIZES | {"model_type": model_type} | values).depth == 4


# What no configuration has, for every setting there is.
HOSTILE: tuple[Any, ...] = (
    0, -1, 1 << 31, 1 << 60, 10**400, -(10**400), 0.0, 1e308, float("nan"), float("inf"), "", "x",
    "1" * 5000, True, None, [], [[]], [None], [10**400], {}, {"a": {"b": []}}, [["x"]] * 3,
    {"rope_type": []}, {"rope_type": "yarn", "factor": 10**400}, {"full_attention": 5},
    {"rope_type": "longrope", "short_factor": 7, "long_factor": [{}] * 4},
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_hostile_setting_is_one_line(name: str) -> None:
    case = {
        "mistral": "mistral-window", "gemma3_text": "gemma3", "gpt_neox": "gpt-neox",
        "gemma": "gemma1",
    }.get(name, name)  # fmt: skip
    stored = published(case)[2]
    if name == "gemma3":
        stored = {"model_type": "gemma3", "text_config": stored, "vision_config": {}}
    table = family(name)
    table.read(stored)
    lines = []
    inner = stored.get("text_config", {})
    for key in sorted(
        {*stored, *inner, "rope_scaling", "rope_theta", "pretraining_tp", "head_dim"}
    ):
        for value in HOSTILE:
            values = copy.copy(stored)
            if key in inner:
                values["text_config"] = {**inner, key: value}
            else:
                values[key] = value
            try:
                table.read(values)
            except ModelError as error:
                lines.append(str(error))
    assert len(lines) > 100
    assert not [line for line in lines if "\n" in line or len(line) > 400]

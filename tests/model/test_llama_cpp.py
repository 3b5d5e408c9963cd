"""The default shape in llama.cpp: the same log-probabilities from the same weights.

Writes a GGUF as llama.cpp's own converter would for an Apertus checkpoint (its
names, its xIELU constants, its ``qwen2`` pre-tokenizer), from what Linnet saved.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linnet.model import ModelConfig, Transformer, load_checkpoint, save_checkpoint
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

gguf = pytest.importorskip("gguf")
xllamacpp = pytest.importorskip("xllamacpp")

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "attention_layernorm": "attn_norm",
    "feedforward_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers.": "blk.",
}
TEXT = "the small grey bird sat on the mat and 12 saw one cat's house. " * 12


@torch.no_grad()
def make_checkpoint(path: Path) -> None:
    tokenizer = path / "tokenizer"
    train_tokenizer([TEXT], tokenizer, TokenizerConfig(vocab_size=320), inputs={})
    size = json.loads((tokenizer / "manifest.json").read_text())["stats"]["vocab_size"]
    config = ModelConfig(
        family="apertus",
        vocab_size=size,
        context=128,
        width=64,
        depth=3,
        heads=4,
        kv_heads=4,
        head_width=16,
        mlp_width=128,
        activation="relu2",
        qk_norm=True,
        tied=False,
        bos_id=0,
        eos_id=0,
    )
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    model.initialise(generator)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    save_checkpoint(model, path, tokenizer=tokenizer)


def write_gguf(checkpoint: Path, out: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    weights = load_file(checkpoint / "model.safetensors")
    writer = gguf.GGUFWriter(str(out), "apertus")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    for part in ("alpha_n", "alpha_p", "beta", "eps"):
        values = [
            weights.pop(f"model.layers.{layer}.mlp.act_fn.{part}").item()
            for layer in range(config["num_hidden_layers"])
        ]
        getattr(writer, f"add_xielu_{part}")(values)
    add_tokenizer(writer, checkpoint / "tokenizer.json")
    for name, tensor in weights.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: "gguf.GGUFWriter", file: Path) -> None:
    saved = json.loads(file.read_text())
    special = {token["content"] for token in saved["added_tokens"]}
    vocabulary = {
        **saved["model"]["vocab"],
        **{t["content"]: t["id"] for t in saved["added_tokens"]},
    }
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    merges = saved["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def test_llama_cpp_computes_the_default_shape_alike(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "model.gguf")
    parameters.n_ctx = 128
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.endpoint_metrics = False
    server = xllamacpp.Server(parameters)
    checkpoint = load_checkpoint(tmp_path)
    compared = 0
    for prompt in ("the small grey bird", "a cat's 42 houses?\n", "one ", "mat", TEXT[:150]):
        request = {"prompt": prompt, "n_predict": 1, "temperature": 0, "logprobs": 8}
        answer = server.handle_completions(request)
        ids = checkpoint.tokenizer.encode(prompt)
        assert answer["usage"]["prompt_tokens"] == len(ids)
        with torch.inference_mode():
            expected = checkpoint.model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        told = answer["choices"][0]["logprobs"]
        if told is None:
            continue  # of an end of text, or half a character, the server tells nothing
        found = told["content"][0]["top_logprobs"]
        assert len(found) == 8
        for entry in found:
            assert math.isclose(entry["logprob"], expected[entry["id"]].item(), abs_tol=5e-3)
        compared += 1
    assert compared >= 2

"""The default shape in llama.cpp: the same log-probabilities from the same weights."""

import json
import math
from pathlib import Path

import pytest
import torch

from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.model import ModelConfig, Transformer, load_checkpoint, save_checkpoint
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

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


def test_llama_cpp_computes_the_default_shape_alike(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    file = export_gguf(tmp_path, tmp_path / "model.gguf", ExportConfig(type="f32"))
    checkpoint = load_checkpoint(tmp_path)
    compared = 0
    with LlamaCpp(file, context=128) as llama:
        for prompt in ("the small grey bird", "a cat's 42 houses?\n", "one ", "mat", TEXT[:150]):
            ids = checkpoint.tokenizer.encode(prompt)
            assert llama.tokens(prompt) == ids
            with torch.inference_mode():
                expected = checkpoint.model(torch.tensor([ids]))[0, -1].log_softmax(-1)
            found = llama.continuation(ids, length=1).logprobs[0]
            for token, logprob in found.items():
                assert math.isclose(logprob, expected[token].item(), abs_tol=5e-3)
            compared += len(found) == 8  # of half a character llama.cpp tells nothing
    assert compared >= 2

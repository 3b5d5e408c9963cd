"""What is made from scratch, now and before: llama.cpp computes the same log-probabilities."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.model import Transformer, load_checkpoint, save_checkpoint
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer
from linnet.train import ShapeConfig

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

TEXT = "the small grey bird sat on the mat and 12 saw one cat's house. " * 12


@torch.no_grad()
def make_checkpoint(path: Path, changes: dict[str, Any]) -> None:
    tokenizer = path / "tokenizer"
    train_tokenizer([TEXT], tokenizer, TokenizerConfig(vocab_size=320), inputs={})
    size = json.loads((tokenizer / "manifest.json").read_text())["stats"]["vocab_size"]
    shape = ShapeConfig(width=64, depth=3, head_width=16, context=128)
    config = replace(shape.model(size, end_of_text=0, pad=1), **changes)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    model.initialise(generator)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    save_checkpoint(model, path, tokenizer=tokenizer)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"family": "apertus", "activation": "relu2"},
        {"family": "apertus", "activation": "xielu"},
    ],
    ids=["default", "as it was", "xielu"],
)
def test_llama_cpp_computes_what_is_made_alike(changes: dict[str, Any], tmp_path: Path) -> None:
    make_checkpoint(tmp_path, changes)
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

"""Vectors by llama.cpp against those of torch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import linnet
from linnet.cli.embed import app
from linnet.errors import ConfigError, ModelError
from linnet.generate.engines import EngineConfig
from linnet.generate.llama_cpp.encoder import load_llama_cpp_encoder

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

WORDS = [
    *("a", "the", "man", "cat", "dog", "eats", "barks", "at", "night", "food", "walk"),
    *("##s", "##ing", ",", ".", "café", "über"),
]
TEXTS = ["the dog barks at night", "a cat", "The man eats food, a cat walks at night.", "", "Über"]
SETTINGS = EngineConfig(precision="f32", threads=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "bert"
    path.mkdir()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=48,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    return path


def test_the_command_takes_an_engine(model: Path) -> None:
    def embedded(*options: str) -> np.ndarray:
        done = CliRunner().invoke(app, [str(model), TEXTS[0], *options])
        assert done.exit_code == 0, done.output
        return np.float32(json.loads(done.stdout)["embedding"])

    exact = embedded()
    assert (embedded("--engine", "torch", "--dtype", "fp32") == exact).all()
    found = embedded("--engine", "llama.cpp", "--threads", "1")
    assert not (found == exact).all()
    np.testing.assert_allclose(found, exact, atol=1e-4)
    wrong = CliRunner().invoke(app, [str(model), "a", "--engine", "llama.cpp", "--dtype", "bf16"])
    assert isinstance(wrong.exception, ConfigError)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_torch(pooling: str, model: Path) -> None:
    (model / "1_Pooling").mkdir()
    kind = "sentence_transformers.models."
    (model / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": kind + "Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"},
            ]
        )
    )
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
    encoder = load_llama_cpp_encoder(model, SETTINGS)
    exact = linnet.load_encoder(model)
    try:
        for normalise in (False, True):
            found = encoder.embed(TEXTS, batch=2, normalise=normalise, prefix="the ")
            wanted = exact.embed(TEXTS, normalise=normalise, prefix="the ")
            assert np.allclose(found, wanted, atol=2e-4)
    finally:
        encoder.close()


def test_what_is_torchs(model: Path) -> None:
    encoder = load_llama_cpp_encoder(model, SETTINGS)
    with pytest.raises(ConfigError, match="takes a list"):
        encoder.embed("one text")
    encoder.close()
    (model / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "x.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Pooling"},
            ]
        )
    )
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "max"}))
    with pytest.raises(ModelError, match="use engine torch"):
        load_llama_cpp_encoder(model, SETTINGS)

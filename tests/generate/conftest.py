"""Tiny models of every family, with weights large enough that texts vary."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import SHAPES, MakeModel

from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

TEXTS = [
    "Once upon a time there was a fox. The fox met a naïve hen; the hen ran home. " * 4,
    "The fox and the hen — friends at last — sat down, and they sang: tra la la! " * 4,
]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Models this small only lose by sharing work, and much where other programs run too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    train_tokenizer(TEXTS, out, TokenizerConfig(vocab_size=320), inputs={})
    return out


@pytest.fixture(scope="session")
def make_model(tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Saves a random model of a family; the same arguments give the same weights."""

    def make(family: str, *, context: int = 64, directory: Path = tokenizer_directory) -> Path:
        tokenizer = load(directory)
        values: dict[str, Any] = {
            "family": family, "vocab_size": tokenizer.vocab_size, "context": context, "width": 32,
            "depth": 2, "heads": 4, "kv_heads": 4, "head_width": 8, "mlp_width": 48,
            "bos_id": tokenizer.end_of_text, "eos_id": tokenizer.end_of_text, "pad_id": 1,
        }  # fmt: skip
        torch.manual_seed(1)
        model = Transformer(ModelConfig(**(values | SHAPES[family])))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            # Texts that end at once would test little: make their ends unlikely.
            table = model.embedding if model.config.tied else model.output
            for end in {tokenizer.end_of_text, tokenizer.end_of_turn} - {None}:
                table.weight[end] *= 0.2
        out = tmp_path_factory.mktemp(family)
        save_checkpoint(model, out, tokenizer=directory)
        return out

    return make

"""Tiny models of every family, as transformers saves them, with a tokenizer each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

TEXT = "The small grey bird sat on the mat; and 12 saw one cat's house. " * 12
CAUSAL = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM", "Bert": "BertModel"}

MakePublished = Callable[..., Path]


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer directory, trained here."""
    path = tmp_path_factory.mktemp("byte-level")
    train_tokenizer([TEXT], path / "made", TokenizerConfig(vocab_size=320), inputs={})
    return path / "made"


@pytest.fixture
def published(byte_level: Path, tmp_path: Path) -> MakePublished:
    """Makes a model directory as transformers writes it; more rows than tokens, as many have."""
    transformers = pytest.importorskip("transformers")

    def make(
        name: str, values: dict[str, Any], *, tokenizer: Path | None = None, base: bool = False
    ) -> Path:
        tokenizer = tokenizer or byte_level
        size = json.loads((tokenizer / "manifest.json").read_text())["stats"]["vocab_size"]
        ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
        config = getattr(transformers, f"{name}Config")(vocab_size=size + 3, **ids, **values)
        torch.manual_seed(1)
        usual = f"{name}Model" if base else f"{name}ForCausalLM"
        model = getattr(transformers, CAUSAL.get(name, usual))(config).eval()
        with torch.no_grad():
            for entry, tensor in model.state_dict().items():
                if tensor.is_floating_point() and "inv_freq" not in entry and "eps" not in entry:
                    tensor.add_(torch.randn_like(tensor) * 0.15)
        out = tmp_path / "published"
        model.save_pretrained(out)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(tokenizer / file, out / file)
        return out

    return make

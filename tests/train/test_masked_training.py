"""An encoder from scratch: it learns to guess, and transformers reads it."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import test_loop
import torch
from test_loop import SMALL, make_shards

from linnet.errors import ConfigError
from linnet.generate.embedding import load_encoder
from linnet.model import load_checkpoint
from linnet.shards import Shards
from linnet.tokenizer.loading import load_with_mask
from linnet.tokenizer.special_tokens import mask_token
from linnet.train import ShapeConfig, TrainConfig, train
from linnet.train.config import FAMILIES, MadeFamily

pytestmark = pytest.mark.usefixtures("undrawn")

transformers = pytest.importorskip("transformers")

ENCODER = SMALL | {
    "family": "bert",
    "steps": 100,
    "context": 16,
    "batch_tokens": 1024,
    "validation_interval": 25,
    "warmup": 0.1,
}
WORDS = "the cat sat on a mat and saw one small grey bird fly home over wet grass".split()  # noqa: SIM905


def texts(count: int, seed: int) -> list[str]:
    """The same words round and round, from anywhere: a neighbour tells which one is hidden."""
    begins = np.random.default_rng(seed).integers(0, len(WORDS), count)
    return [" ".join((WORDS * 3)[begin : begin + 30]) + "." for begin in begins]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_loop, "texts", texts)
        return make_shards(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def encoder(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(shards, tmp_path_factory.mktemp("out") / "model", TrainConfig(**ENCODER)).path


def unigram_entropy(shards: Path) -> float:
    split = Shards.open(shards).split("validation")
    counts = Counter(split.read(0, split.tokens).tolist())
    shares = np.array(list(counts.values())) / split.tokens
    return float(-(shares * np.log(shares)).sum())


def test_it_learns_more_than_how_often_tokens_occur(shards: Path, encoder: Path) -> None:
    lines = [json.loads(line) for line in (encoder / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "validation_loss" in line]
    assert found[0]["validation_loss"] < math.log(320)
    assert found[-1]["validation_loss"] < unigram_entropy(shards)
    assert found[-1]["validation_accuracy"] > found[0]["validation_accuracy"]
    assert not any("bits_per_byte" in name for line in lines for name in line)


@torch.inference_mode()
def test_transformers_reads_it(encoder: Path) -> None:
    ours = load_checkpoint(encoder)
    theirs, info = transformers.BertForMaskedLM.from_pretrained(encoder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    assert tokenizer.mask_token_id == mask_token(ours.tokenizer)
    ids = tokenizer(f"the cat {tokenizer.mask_token} on a mat", return_tensors="pt")["input_ids"]
    assert (ids == tokenizer.mask_token_id).sum() == 1
    torch.testing.assert_close(ours.model(ids), theirs.eval()(ids).logits, atol=1e-4, rtol=1e-4)


def test_its_texts_have_vectors(encoder: Path) -> None:
    found = load_encoder(encoder)
    assert found.max_tokens == ENCODER["context"]
    assert found.embed(["the cat sat", ""]).shape == (2, SMALL["width"])


def test_the_mask_changes_no_text(shards: Path, tmp_path: Path) -> None:
    plain = Shards.open(shards).tokenizer_path
    tokenizer, mask = load_with_mask(plain)
    assert mask == tokenizer.vocab_size - 1
    before = load_with_mask(plain)[0]
    text = "one <|mask|> small bird <|endoftext|>"
    assert mask not in tokenizer.encode(text)  # what a document spells out hides nothing
    assert tokenizer.decode(tokenizer.encode(text)) == text
    tokenizer.save(tmp_path)
    assert load_with_mask(tmp_path)[1] == mask
    assert before.encode(text) == load_with_mask(tmp_path)[0].encode(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_can_be_made_is_what_the_family_computes(family: str, tmp_path: Path) -> None:
    from linnet.model import Transformer, load_model, save_checkpoint

    shape = ShapeConfig(family=family, width=32, head_width=16, depth=2, context=32)  # type: ignore[arg-type]
    config = shape.model(60, end_of_text=0, pad=1)
    model = Transformer(config).eval()
    model.initialise(torch.Generator().manual_seed(1))
    save_checkpoint(model, tmp_path)
    assert load_model(tmp_path).config == config


def test_what_cannot_be_made_is_said() -> None:
    assert set(get_args(MadeFamily)) == set(FAMILIES)  # what --help lists can be made
    with pytest.raises(ConfigError, match="'gemma2' can be adapted but not made from scratch"):
        ShapeConfig(family="gemma2").model(60, end_of_text=0, pad=None)

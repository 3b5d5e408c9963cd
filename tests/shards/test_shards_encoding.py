"""Encoding a corpus, against encoding each of its documents alone."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet.cli import app
from linnet.data import DataConfig, prepare, read_documents
from linnet.errors import ArtifactError, ConfigError, ModelError
from linnet.shards import EncodeConfig, Shards, encode, encode_texts
from linnet.shards import encoding as encoding_module
from linnet.shards.reader import SPLITS
from linnet.tokenizer import TokenizerConfig, load, train

pytestmark = pytest.mark.usefixtures("reading_here")

TEXT = "the a cat dog sat ran on under mat log quickly Grüße 日本 42 <|endoftext|>"
WORDS = TEXT.split(" ")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred small documents, one long one, in three splits."""
    folder = tmp_path_factory.mktemp("texts")
    choose = random.Random(0)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(300):
            length = 5_000 if number == 7 else choose.randint(5, 80)
            text = f"{number} " + " ".join(choose.choices(WORDS, k=length))
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    out = folder / "corpus"
    config = DataConfig(validation_fraction=0.2, test_fraction=0.2, workers=1)
    prepare([str(folder / "rows.jsonl")], out, config)
    return out


@pytest.fixture(scope="module")
def tokenizer(corpus: Path) -> Path:
    out = corpus.parent / "tokenizer"
    texts = (document.text for document in read_documents(corpus, "train"))
    train(texts, out, TokenizerConfig(vocab_size=300), inputs={})
    return out


def test_shards_hold_each_document_encoded_alone(
    corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding_module, "_BATCH_CHARACTERS", 2_000)  # many batches
    made = encode(corpus, tokenizer, tmp_path / "shards", EncodeConfig(shard_tokens=1_000))
    shards = Shards.open(tmp_path / "shards")
    alone = load(tokenizer)
    for name in SPLITS:
        split = shards.split(name)
        documents = list(read_documents(corpus, name))
        assert split.documents == len(documents) > 10
        for index, document in enumerate(documents):
            assert split.document(index).tolist() == [*alone.encode(document.text), 0]
            assert split.document_bytes(index) == len(document.text.encode())
        assert made.stats["splits"][name]["tokens"] == split.tokens
        assert made.stats["splits"][name]["bytes"] == split.bytes
    assert made.stats["bytes_per_token"] == pytest.approx(
        made.stats["bytes"] / made.stats["tokens"], abs=1e-4
    )


def test_shards_bring_their_tokenizer(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    encode(corpus, tokenizer, tmp_path / "shards", EncodeConfig())
    shards = Shards.open(tmp_path / "shards")
    own = load(shards.tokenizer_path)
    document = next(read_documents(corpus, "validation"))
    assert own.decode(shards.split("validation").document(0)[:-1].tolist()) == document.text
    assert (shards.vocab_size, shards.end_of_text) == (own.vocab_size, own.end_of_text)


def test_threads_change_nothing(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    one = encode(corpus, tokenizer, tmp_path / "one", EncodeConfig(workers=1))
    assert dict(os.environ) == before
    many = encode(corpus, tokenizer, tmp_path / "many", EncodeConfig())
    assert one.content == many.content
    assert one.manifest.recipe == many.manifest.recipe


def test_any_directory_with_a_tokenizer_serves(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    load(tokenizer).save(tmp_path / "plain")
    plain = encode(corpus, tmp_path / "plain", tmp_path / "one", EncodeConfig())
    same = encode(corpus, tokenizer, tmp_path / "two", EncodeConfig())
    assert plain.content == same.content


def test_texts_are_encoded_as_they_come(tokenizer: Path) -> None:
    loaded = load(tokenizer)
    found = list(encode_texts(iter(["the cat", "", "日本"]), loaded))
    assert [encoded.ids.tolist()[-1] for encoded in found] == [0, 0, 0]
    assert [encoded.text_bytes for encoded in found] == [7, 0, 6]
    assert found[0].ids.tolist() == [*loaded.encode("the cat"), 0]


def test_wrong_input(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a corpus"):
        encode(tokenizer, tokenizer, tmp_path / "out", EncodeConfig())
    with pytest.raises(ModelError, match="tokenizer"):
        encode(corpus, corpus, tmp_path / "out", EncodeConfig())
    with pytest.raises(ConfigError, match="shard_tokens"):
        EncodeConfig(shard_tokens=0)
    with pytest.raises(ConfigError, match="workers"):
        EncodeConfig(workers=-1)
    assert not (tmp_path / "out").exists()


def test_command_shows_bytes_per_token(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    arguments = ["data", "encode", str(corpus), str(tokenizer), "--out", str(tmp_path / "shards")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "bytes per token" in result.output
    assert Shards.open(tmp_path / "shards").split("train").documents > 0

"""Encoding and decoding: lossless, literal, bounded, and the same when streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from varied_texts import VARIED

from linnet.errors import ModelError
from linnet.tokenizer import StreamDecoder, Tokenizer, chunking, load

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEW
@given(text=st.text(max_size=200))
def test_decoding_gives_the_text_back(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize("text", VARIED)
def test_varied_text_comes_back(trained: Tokenizer, text: str) -> None:
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert b"".join(map(trained.token_bytes, ids)) == text.encode()
    assert not trained.special_ids & set(ids), "special tokens in a text are plain text"


@FEW
@given(seed=st.randoms(use_true_random=False), length=st.integers(0, 30), known=st.integers(0, 30))
def test_streaming_gives_what_decoding_gives(
    trained: Tokenizer, seed: object, length: int, known: int
) -> None:
    ids = [seed.randrange(trained.vocab_size) for _ in range(length)]  # type: ignore[attr-defined]
    stream = StreamDecoder(trained)
    parts = [stream.push(token) for token in ids]
    assert "".join(parts) + stream.finish() == trained.decode(ids)
    before, after = ids[:known], ids[known:]
    whole = trained.stream(after=before)
    rest = "".join(map(whole.push, after)) + whole.finish()
    assert trained.decode(ids).endswith(rest)


def test_half_characters_wait(trained: Tokenizer) -> None:
    ids = trained.encode("a𝄞b")
    stream = trained.stream()
    shown = [stream.push(token) for token in ids]
    assert [text for text in shown if text] == ["a", "𝄞", "b"]


def test_long_text_has_the_ids_of_the_whole(
    trained: Tokenizer, documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(documents) + " ".join(VARIED)
    assert len(text) > 2 * chunking.CHUNK_CHARACTERS
    whole = trained._backend.encode(text, add_special_tokens=False).ids
    assert trained.encode(text) == whole
    assert trained.encode_batch([text, "", "short", text]) == [
        whole,
        [],
        trained.encode("short"),
        whole,
    ]


def test_long_text_without_a_space_still_comes_back(trained: Tokenizer) -> None:
    text = "日本語" * 60_000
    assert trained.decode(trained.encode(text)) == text


def test_lone_surrogates_become_the_replacement_character(trained: Tokenizer) -> None:
    assert trained.decode(trained.encode("a\ud800b")) == "a\ufffdb"


def test_saving_keeps_everything(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "copy", model_max_length=512)
    copy = load(tmp_path / "copy")
    assert copy.config == {**trained.config, "model_max_length": 512}
    for text in VARIED:
        assert copy.encode(text) == trained.encode(text)


def test_unknown_ids_stand_for_nothing(trained: Tokenizer) -> None:
    assert trained.token_bytes(10**6) == b""
    assert "unused" in trained.token_name(10**6)
    assert trained.decode([trained.end_of_text]) == ""


def test_errors_name_what_was_expected(trained: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected tokenizer\.json"):
        load(tmp_path)
    trained.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="tokenizer_config"):
        load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ModelError, match="tokenizer_config"):
        load(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    Backend(BPE(vocab={"a": 0}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="eos_token"):
        load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "a"}))
    assert load(tmp_path).end_of_text == 0

"""Unigram against sentencepiece, which learns the pieces and could cut with them itself."""

from __future__ import annotations

import json
import math
import sys
from functools import cache
from pathlib import Path

import pytest

from linnet.errors import DataError, MissingExtraError
from linnet.tokenizer import TokenizerConfig, load, train
from linnet.tokenizer.training import SPECIAL_TOKENS


def test_words_are_cut_into_the_most_probable_pieces(documents: list[str], tmp_path: Path) -> None:
    """Against every way to cut a word, by brute force."""
    pytest.importorskip("sentencepiece")
    train(documents, tmp_path / "out", TokenizerConfig(kind="unigram", vocab_size=600), inputs={})
    tokenizer = load(tmp_path / "out")
    raw = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    names = [piece for piece, _ in raw["model"]["vocab"]]
    assert tuple(names[:4]) == SPECIAL_TOKENS
    assert tokenizer.vocab_size == 600
    scores = dict(map(tuple, raw["model"]["vocab"][4:]))
    assert math.fsum(map(math.exp, scores.values())) == pytest.approx(1, abs=0.05)

    @cache
    def best(word: str) -> float:
        ends = range(1, len(word) + 1)
        return max(
            (scores[word[:n]] + best(word[n:]) for n in ends if word[:n] in scores),
            default=-math.inf if word else 0.0,
        )

    words = sorted({word for text in documents[:5] for word in text.split() if word.isalpha()})
    assert len(words) > 200
    for word in words:
        own = sum(scores[tokenizer.token_name(token)] for token in tokenizer.encode(word))
        assert own == pytest.approx(best(word), abs=1e-3)


def test_training_is_deterministic(documents: list[str], tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    config = TokenizerConfig(kind="unigram", vocab_size=400)
    train(documents[:10], tmp_path / "one", config, inputs={})
    train(documents[9::-1], tmp_path / "two", config, inputs={})
    one, two = (tmp_path / name / "tokenizer.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_no_repeated_word_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    config = TokenizerConfig(kind="unigram", min_frequency=9)
    with pytest.raises(DataError, match="at least 9 times"):
        train(["a few words"], tmp_path / "out", config, inputs={})


def test_without_sentencepiece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*sentencepiece$"):
        train(["a a a"], tmp_path / "out", TokenizerConfig(kind="unigram"), inputs={})

"""Training: deterministic, sized as asked, readable by transformers."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from varied_texts import VARIED

from linnet.errors import ConfigError, DataError
from linnet.progress import Progress
from linnet.tokenizer import TokenizerConfig, load, train
from linnet.tokenizer.training import QWEN2_PATTERN, SMALLEST_VOCABULARY, SPECIAL_TOKENS


class Warnings(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def test_pattern_is_qwen2s() -> None:
    published = pytest.importorskip("transformers.models.qwen2.tokenization_qwen2")
    assert published.PRETOKENIZE_REGEX == QWEN2_PATTERN


def test_same_texts_in_any_order_give_the_same_file(documents: list[str], tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=600)
    first = train(documents, tmp_path / "first", config, inputs={"corpus": "a"})
    second = train(documents[::-1], tmp_path / "second", config, inputs={"corpus": "a"})
    assert first.content == second.content
    assert first.manifest.recipe == second.manifest.recipe


def test_special_tokens_come_first_and_padding_is_not_the_end(
    documents: list[str], tmp_path: Path
) -> None:
    train(documents, tmp_path / "out", TokenizerConfig(vocab_size=600), inputs={})
    tokenizer = load(tmp_path / "out")
    assert [tokenizer.token_id(name) for name in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert tokenizer.end_of_text == tokenizer.bos == 0
    assert tokenizer.pad == 1
    assert tokenizer.vocab_size == 600


def merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The word with each occurrence of the pair, from the left, as one symbol."""
    result: list[str] = []
    for symbol in word:
        # A symbol that was just made cannot be the left half of the same merge.
        if result and (result[-1], symbol) == pair:
            result[-1] = "".join(pair)
        else:
            result.append(symbol)
    return tuple(result)


def test_every_merge_is_the_most_frequent_pair(documents: list[str], tmp_path: Path) -> None:
    """Against Sennrich's algorithm by brute force: counting all pairs anew at each step."""
    text = re.sub(r"[^a-z]+", " ", " ".join(documents[:8]).lower())
    train([text], tmp_path / "out", TokenizerConfig(vocab_size=340), inputs={})
    model = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]
    # In text of letters and spaces, Qwen2's words are a letter run with one space before it.
    words = Counter(tuple(word) for word in re.findall(r" ?[a-z]+", text))
    assert len(model["merges"]) == 340 - SMALLEST_VOCABULARY
    for left, right in model["merges"]:
        pair = (left.replace("Ġ", " "), right.replace("Ġ", " "))
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for neighbours in pairwise(word):
                counts[neighbours] += count
        assert counts[pair] == max(counts.values())
        words = Counter({merged(word, pair): count for word, count in words.items()})


def test_characters_never_join(documents: list[str], tmp_path: Path) -> None:
    config = TokenizerConfig(kind="chars", vocab_size=700)
    train([*documents, *VARIED * 2], tmp_path / "out", config, inputs={})
    tokenizer = load(tmp_path / "out")
    for token in range(tokenizer.vocab_size):
        assert len(tokenizer.token_bytes(token).decode("utf-8", "ignore")) <= 1
    assert len(tokenizer.encode("日本語é")) == 4


@pytest.mark.parametrize("kind", ["bpe", "bytes", "chars", "unigram"])
def test_transformers_gives_the_same_ids_and_text(
    kind: str, documents: list[str], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    config = TokenizerConfig(kind=kind, vocab_size=600)  # type: ignore[arg-type]
    train(documents, tmp_path / "out", config, inputs={})
    ours = load(tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in [*VARIED, *documents[:5]]:
        ids = theirs.encode(text, split_special_tokens=True)
        assert ours.encode(text) == ids
        assert theirs.decode(ids) == ours.decode(ids) == text
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.pad_token_id) == (0, 0, 1)


def test_too_little_text_gives_a_smaller_vocabulary_and_a_warning(tmp_path: Path) -> None:
    warnings = Warnings()
    made = train(["hi"], tmp_path / "out", TokenizerConfig(), inputs={}, progress=warnings)
    assert made.stats["vocab_size"] == load(tmp_path / "out").vocab_size == SMALLEST_VOCABULARY
    assert "260" in warnings.texts[0]


def test_no_text_is_an_error_except_for_bytes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs text"):
        train([], tmp_path / "out", TokenizerConfig(), inputs={})
    assert not (tmp_path / "out").exists()
    train([], tmp_path / "out", TokenizerConfig(kind="bytes"), inputs={})
    assert load(tmp_path / "out").encode("a") != []


@pytest.mark.parametrize(
    "settings", [{"vocab_size": 100}, {"min_frequency": 0}, {"sample_bytes": 0}]
)
def test_settings_that_cannot_work(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TokenizerConfig(**settings)  # type: ignore[arg-type]

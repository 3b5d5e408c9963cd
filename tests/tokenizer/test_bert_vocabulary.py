"""WordPiece and what stands around whole texts, against transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from varied_texts import VARIED

from linnet.errors import ModelError
from linnet.tokenizer import adopt, load

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def vocabulary(documents: list[str], tmp_path: Path) -> Path:
    """A directory with nothing but ``vocab.txt``, as old checkpoints have it."""
    words = {word.lower() for text in documents[:10] for word in text.split() if word.isalpha()}
    signs = {sign for text in [*documents[:10], *VARIED] for sign in text.lower() if sign.strip()}
    pieces = [*SPECIAL, *sorted(words), *sorted(signs), *(f"##{sign}" for sign in sorted(signs))]
    place = tmp_path / "bert"
    place.mkdir()
    (place / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", encoding="utf-8")
    return place


@pytest.mark.parametrize("lower", [True, False])
def test_vocabulary_alone_is_read_as_berts(
    lower: bool, vocabulary: Path, documents: list[str], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    if not lower:
        settings = {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}
        (vocabulary / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = transformers.BertTokenizer.from_pretrained(vocabulary)
    adopt(str(vocabulary), tmp_path / "out")
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for ours in (load(vocabulary), load(tmp_path / "out")):
        assert (ours.start, ours.finish) == ((2,), (3,))
        assert (ours.end_of_text, ours.pad, ours.unknown) == (3, 0, 1)
        for text in [*VARIED[:-1], *documents[:3]]:
            expected = theirs(text, split_special_tokens=True)
            made = ours.encode_whole(text)
            assert made.ids == expected["input_ids"] == saved(text)["input_ids"]
            assert made.token_types == expected["token_type_ids"]
            assert ours.wrap(ours.encode(text)) == made
            both = theirs(text, "a second one", split_special_tokens=True)
            pair = ours.encode_whole(text, "a second one")
            assert (pair.ids, pair.token_types) == (both["input_ids"], both["token_type_ids"])


def test_without_a_post_processor_nothing_is_put_around(data: Path, tmp_path: Path) -> None:
    adopt(str(data / "tokenizers" / "gpt2"), tmp_path / "out")
    ours = load(tmp_path / "out")
    assert ours.encode_whole("Hello world").ids == [15496, 995]
    assert ours.encode_whole("Hello", " world").ids == [15496, 995]


def test_a_list_of_other_words_is_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"no \[UNK\]"):
        load(tmp_path)

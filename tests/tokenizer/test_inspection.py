"""Looking into a vocabulary."""

from __future__ import annotations

import pytest
from varied_texts import VARIED

from linnet.tokenizer import Tokenizer
from linnet.tokenizer.inspection import count_kinds, cut_into_pieces, kind_of, longest_tokens


def test_kinds_cover_the_vocabulary(trained: Tokenizer) -> None:
    counts = count_kinds(trained)
    assert sum(counts.values()) == trained.vocab_size
    assert counts["special"] == 4
    assert counts["single byte"] == 256


@pytest.mark.parametrize("text", VARIED)
def test_pieces_join_to_the_text(trained: Tokenizer, text: str) -> None:
    ids = trained.encode(text)
    pieces = cut_into_pieces(trained, ids)
    assert "".join(piece.text for piece in pieces) == text
    assert [token for piece in pieces for token in piece.tokens] == ids


def test_an_unfinished_character_is_shown(trained: Tokenizer) -> None:
    ids = trained.encode("𝄞")[:1]
    if trained.token_bytes(ids[0]) == "𝄞".encode():
        pytest.skip("one token in this vocabulary")
    assert cut_into_pieces(trained, ids)[-1].text == "\ufffd"


def test_longest_come_first(trained: Tokenizer) -> None:
    lengths = [len(trained.token_bytes(token)) for token in longest_tokens(trained, 5)]
    assert lengths == sorted(lengths, reverse=True)
    every = [len(trained.token_bytes(token)) for token in range(trained.vocab_size)]
    assert lengths[0] == max(every)


def test_kind_of_single_tokens(trained: Tokenizer) -> None:
    assert kind_of(trained, trained.end_of_text) == "special"
    assert kind_of(trained, trained.encode("a")[0]) == "single byte"

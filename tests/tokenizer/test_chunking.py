"""Cutting long texts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from linnet.tokenizer.chunking import chunks


@given(st.text(alphabet="ab1é ,.\n\t", max_size=300), st.integers(2, 40))
def test_pieces_are_the_text_and_end_where_words_end(text: str, limit: int) -> None:
    pieces = list(chunks(text, limit))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces) or text == ""
    for piece, following in pairwise(pieces):
        at_word_end = piece[-1].isalnum() and following[0] in " \t\n"
        # Only where there was no such place in the second half of the piece.
        window = piece + following[:1]
        possible = any(
            window[n - 1].isalnum() and window[n] in " \t\n"
            for n in range(limit // 2 + 1, min(limit, len(window) - 1) + 1)
        )
        assert at_word_end or not possible


def test_a_short_text_is_handed_on_as_it_is() -> None:
    text = "as it is"
    assert next(chunks(text)) is text

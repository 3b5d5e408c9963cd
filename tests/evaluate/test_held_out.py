from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.errors import DataError
from linnet.evaluate.held_out import even_sample, from_text, split_text_file


class Bytes:
    """The part of a tokenizer that is needed: one token per byte."""

    end_of_text = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


def split(path: Path, keep: int = 1 << 20) -> list[str]:
    return [text for text, _ in split_text_file(path, keep_bytes=keep)]


def test_documents_are_divided_by_lines_that_read_end_of_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(
        b"\xef\xbb\xbf one\r\ntwo \n<|endoftext|>\n\n<|endoftext|>\n"
        b"a line with <|endoftext|> in it\n  <|endoftext|>  \nlast"
    )
    assert split(file) == ["one\ntwo", "a line with <|endoftext|> in it", "last"]


def test_a_file_without_separators_is_one_document(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n\ntwo\n", encoding="utf-8")
    assert split(file) == ["one\n\ntwo"]


def test_a_huge_line_is_held_only_at_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.evaluate.held_out.PIECE_CHARACTERS", 1000)
    file = tmp_path / "a.txt"
    file.write_text("é" * 50_000, encoding="utf-8")
    ((text, size),) = split_text_file(file, keep_bytes=5_000)
    assert size == 100_000
    assert len(text.encode()) < 8_000
    held_out = from_text(file, Bytes(), max_bytes=5_001)  # type: ignore[arg-type]
    (document,) = held_out.documents
    assert document.text == "é" * 2_500
    assert (held_out.text_bytes, held_out.of_bytes) == (5_000, 100_000)
    assert not held_out.complete


def test_tokens_end_with_the_end_of_text(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    held_out = from_text(tmp_path, Bytes(), max_bytes=100)  # type: ignore[arg-type]
    assert [document.text for document in held_out.documents] == ["first", "second"]
    assert np.array_equal(held_out.documents[0].tokens, [*b"first", 256])
    assert held_out.complete


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe\x00caf\xe9"])
def test_no_text_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt"):
        from_text(file, Bytes(), max_bytes=100)  # type: ignore[arg-type]


def test_a_missing_file_and_an_empty_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        from_text(tmp_path / "none", Bytes(), max_bytes=100)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no text"):
        from_text(tmp_path, Bytes(), max_bytes=100)  # type: ignore[arg-type]


@given(sizes=st.lists(st.integers(1, 50), max_size=100), limit=st.integers(1, 500))
def test_a_sample_is_even_fits_and_is_not_needlessly_small(sizes: list[int], limit: int) -> None:
    sample = even_sample(enumerate(sizes), size=lambda item: item[1], limit=limit)
    assert (sample.of_items, sample.of_size) == (len(sizes), sum(sizes))
    places = [place for place, _ in sample.items]
    if not sizes:
        assert places == []
        return
    step = places[1] if len(places) > 1 else max(len(sizes), 1)
    assert places == list(range(0, len(sizes), step))
    held = [min(size, limit) for _, size in sample.items]
    assert len(held) == 1 or sum(held) <= limit
    if len(places) > 1 and step > 1:
        twice = sizes[:: step // 2]
        assert sum(min(size, limit) for size in twice) > limit

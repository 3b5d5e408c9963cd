"""Encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnet.data.decoding import detect_encoding, read_lines, read_text
from linnet.data.document import UnreadableError

FRENCH = "Les élèves étaient à l'école où le garçon a mangé des crêpes, même à Noël. "
POLISH = "Zażółć gęślą jaźń. Wszystkie dzieci są w szkole, a rodzice wrócą później. "
RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей чаю. Как дела сегодня? "
JAPANESE = "これは日本語のテキストです。東京都は日本の首都である。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "utf-8"),
        (FRENCH, "utf-8-sig"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "utf-32-le"),
        (FRENCH, "cp1252"),
        (POLISH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_text_is_read_in_its_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((text * 5).encode(encoding))
    assert read_text(path, limit=10**6) == text * 5


def test_a_declared_encoding_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    page = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251"><p>да</p>'
    path.write_bytes(page.encode("cp1251"))
    assert read_text(path, limit=10**6) == page


def test_bytes_that_are_not_utf8_far_into_a_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain words " * 200_000 + "café".encode("cp1252"))
    assert read_text(path, limit=10**7).endswith("café")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\x7fELF" + b"\1" * 50, "binary file"),
        (b"%PDF-1.7 text", "binary file"),
        (bytes(range(256)) * 40, "binary file"),
        (b"\1\2\3\4" * 100, "binary file"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match=reason):
        detect_encoding(path)


def test_lines_are_read_without_holding_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n" + b"x" * 3_000_000 + b"\rtwo\n\nthree")
    assert list(read_lines(path, limit=1000)) == ["one", None, "two", "", "three"]

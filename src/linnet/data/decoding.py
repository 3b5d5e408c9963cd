"""From bytes to characters: which encoding, and reading a file of any size with it.

The order of trust: a byte order mark; the bytes being valid UTF-8 to the end;
zeros where UTF-16 and UTF-32 put them; a declaration inside the file (HTML,
XML); then the guess of charset-normalizer on the first part.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO

from linnet.data.document import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE = 1 << 16
CHUNK = 1 << 20

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_STARTS = (
    b"%PDF-", b"PK\x03\x04", b"\x7fELF", b"MZ\x90", b"\x89PNG", b"\xff\xd8\xff", b"GIF8",
    b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"SQLite format 3", b"7z\xbc\xaf",
)  # fmt: skip
_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)"""
    rb"""|<\?xml[^>]{0,100}?encoding=["']([\w.-]+)""",
    re.IGNORECASE,
)
_WESTERN = "cp1252"
_COMMON = [
    "cp1252",
    "cp1250",
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp932",
    "euc_jp",
    "gb18030",
    "big5",
    "cp949",
    "iso8859_2",
    "mac_roman",
]
_CONTROL = bytes(c for c in range(0x20) if c not in b"\t\n\v\f\r\x1b")
_TOLERATED_CONTROL = 0.02  # share of control characters in what is still text


def detect_encoding(path: Path) -> str:
    """The encoding of a text file. Raises UnreadableError for an empty or a binary one."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
        if not sample:
            raise UnreadableError("empty file")
        for mark, name in _MARKS:
            if sample.startswith(mark):
                return name
        if sample.startswith(_BINARY_STARTS):
            raise UnreadableError("binary file")
        if b"\0" in sample:
            return _wide_encoding(sample)
        if len(sample.translate(None, _CONTROL)) < len(sample) * (1 - _TOLERATED_CONTROL):
            raise UnreadableError("binary file")
        file.seek(0)
        if _is_utf8(file):
            return "utf-8"
    return _declared_encoding(sample) or _guessed_encoding(sample)


def read_text(path: Path, *, limit: int) -> str:
    """A whole text file. Raises UnreadableError if it has more than ``limit`` bytes."""
    require_size(path, limit)
    encoding = detect_encoding(path)
    return path.read_bytes().decode(encoding, errors="replace").removeprefix("\ufeff")


def require_size(path: Path, limit: int) -> None:
    """Raise UnreadableError if the file has more than ``limit`` bytes."""
    size = path.stat().st_size
    if size > limit:
        raise UnreadableError(
            "larger than max_document_bytes", f"one document of {size:,} bytes; limit {limit:,}"
        )


def read_chunks(path: Path) -> Iterator[str]:
    """The characters of a text file of any size, a bounded number at a time.

    ``\\r\\n`` and ``\\r`` come out as ``\\n``.
    """
    with path.open(encoding=detect_encoding(path), errors="replace", newline=None) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def read_lines(path: Path, *, limit: int) -> Iterator[str | None]:
    """The lines of a text file, without line ends; None for one of more than ``limit`` characters.

    A line that is too long is passed over without being held.
    """
    parts: list[str] = []
    length = 0
    for chunk in read_chunks(path):
        lines = chunk.split("\n")
        for index, line in enumerate(lines):
            length += len(line)
            if length <= limit:
                parts.append(line)
            else:
                parts.clear()
            if index < len(lines) - 1:
                yield "".join(parts) if length <= limit else None
                parts.clear()
                length = 0
    if length:
        yield "".join(parts) if length <= limit else None


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _wide_encoding(sample: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: most text has zeros in every high byte."""
    sample = sample[: len(sample) // 4 * 4]
    zeros = [sample[offset::4].count(0) / max(len(sample) // 4, 1) for offset in range(4)]
    often = [share > 0.5 for share in zeros]
    patterns = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    encoding = patterns.get((often[0], often[1], often[2], often[3]))
    if encoding is None:
        raise UnreadableError("binary file")
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        raise UnreadableError("binary file") from None
    return encoding


def _declared_encoding(sample: bytes) -> str | None:
    found = _DECLARED.search(sample[:4096])
    if found is None:
        return None
    try:
        name = codecs.lookup((found[1] or found[2]).decode("ascii")).name
        codecs.getincrementaldecoder(name)().decode(sample)
    except (LookupError, UnicodeError):
        return None
    # The web's rule: what calls itself Latin-1 is Windows-1252.
    return "cp1252" if name in ("iso8859-1", "ascii") else name


def _guessed_encoding(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    found = list(from_bytes(sample, cp_isolation=list(_COMMON)))
    if not found:
        return _WESTERN
    # The guess among its equals is alphabetical; the Western one is far the most frequent.
    best = found[0]
    equals = [m for m in found if (m.chaos, m.coherence) == (best.chaos, best.coherence)]
    return _WESTERN if any(_WESTERN in m.could_be_from_charset for m in equals) else best.encoding

"""From bytes to characters: which encoding, and reading a file of any size with it.

The order of trust: a byte order mark; the whole file being UTF-8, or UTF-8 but for a few
bytes; zeros where UTF-16 and UTF-32 put them; the escapes of ISO-2022; a declaration inside
the file (HTML, XML, Python); then the likeliest of the legacy encodings
(``linnet.data.charsets``). A verdict is tried on the whole file, and the next one taken
where bytes contradict it.

No file is refused for single bytes. In UTF-8 a stray one between Latin letters is read as
Windows-1252, others become U+FFFD; a character that was cut at either end of the file goes,
and so do NULs. All are counted.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from linnet.data import charsets
from linnet.data.document import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
_START = 1 << 16
_SAMPLE, _WINDOWS, _LEAST_WINDOW = 1 << 16, 32, 1 << 11

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
    rb"""|<\?xml[^>]{0,100}?encoding=["']([\w.-]+)"""
    rb"""|\A(?:.*\n)?[ \t\f]*#.{0,200}?coding[:=][ \t]*([-\w.]+)""",  # PEP 263
    re.IGNORECASE,
)
# What files and mails say, and what they mean by it (encoding.spec.whatwg.org).
_MEANT = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "euc_kr": "cp949", "big5": "cp950", "tis-620": "cp874",
    "iso8859-9": "cp1254", "iso8859-11": "cp874",
}  # fmt: skip
_VISUAL = re.compile(r"-[ei]$")  # iso-8859-8-i: Hebrew in logical order
_NO_CHARSETS = {"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7"}
_ISO_2022 = (  # what announces it -> the encoding
    (re.compile(rb"\x1b\$\)C"), "iso2022_kr"),
    (re.compile(rb"\x1b(?:\$[@B]|\$\([DOQ]|\([IJ])"), "iso2022_jp_ext"),
)
_SHIFTS = b"\x0e\x0f"  # of ISO-2022-KR
_CONTROL = bytes(c for c in range(1, 0x20) if c not in b"\t\n\v\f\r\x1b")
_TOLERATED_CONTROL = 0.02  # share of control characters in what is still text
_TOLERATED_NULS = 0.01
_TOLERATED_ERRORS = 0.002  # share of the bytes beyond ASCII
_NEARLY = 2  # characters of UTF-8 for each byte that is not: then it is UTF-8
_LIKELY, _CLEARLY = 7.0, 2.0  # bits a byte under the models of languages
_ENOUGH = 24  # bytes beyond ASCII that can contradict a declaration
_BELOW_DIGITS = re.compile(rb"[\x00-\x2f]")  # never the second half of a character
_HIGH = re.compile(rb"[\x80-\xff]")

_ESCAPED = re.compile("[\udc80-\udcff]+")
# What is left of a character that was cut: in UTF-8, in double-byte encodings.
_CUT_AT_START = (re.compile("\\A[\udc80-\udcbf]{1,3}"), re.compile("\\A[\udc80-\udcfe]"))
_CUT_AT_END = (
    re.compile(
        "(?:[\udcc2-\udcf4]|[\udce0-\udcf4][\udc80-\udcbf]|[\udcf0-\udcf4][\udc80-\udcbf]{2})\\Z"
    ),
    re.compile("[\udc81-\udcfe]\\Z"),
)
_LONGEST_STRAY = 3  # bytes in a row that may each be a letter
_BLOCKS_OF_TEXT = {0, 1, *range(3, 7), *range(9, 15), 0x1E, 0x20, 0x30, *range(0x4E, 0xD8), 0xFF}
_LEAST_TEXT, _LEAST_STOPS, _LEAST_SURE = 0.95, 0.02, 16
_STOPS = " \n\t,.\u3000\u3001\u3002\uff0c"


@dataclass(frozen=True)
class Encoding:
    """How to read a file. ``skip``: bytes at its start that are the rest of a character."""

    name: str
    skip: int = 0

    @property
    def errors(self) -> str:
        """The error handler: bytes that do not fit are kept to be mended where that can be."""
        wide = self.name.startswith(("utf-16", "utf-32", "iso2022"))
        return "replace" if wide else "surrogateescape"


def detect_encoding(path: Path) -> Encoding:
    """The encoding of a text file. Raises UnreadableError for an empty or a binary one."""
    with path.open("rb") as file:
        return _detect(file)


def read_text(path: Path, *, limit: int, changes: Counter[str] | None = None) -> str:
    """A whole text file. Raises UnreadableError if it has more than ``limit`` bytes.

    ``changes`` counts what was mended or left out.
    """
    require_size(path, limit)
    return "".join(_decoded(path.open("rb"), changes, newline=""))


def decode(data: bytes, *, charset: str = "", changes: Counter[str] | None = None) -> str:
    """Bytes in the charset they are declared to have, else in the one they look like.

    Raises UnreadableError where they look like no text.
    """
    with contextlib.suppress(LookupError, ValueError):
        name = codec_of(charset)
        if name not in ("utf-8", "cp1252"):  # what is declared where nobody knew
            return data.decode(name)
    if not (b"\x1b" in data or b"\0" in data):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("utf-8").removeprefix("\ufeff")
    return "".join(_decoded(io.BytesIO(data), changes, newline="")) if data.strip() else ""


def require_size(path: Path, limit: int) -> None:
    """Raise UnreadableError if the file has more than ``limit`` bytes."""
    size = path.stat().st_size
    if size > limit:
        raise UnreadableError(
            "larger than max_document_bytes", f"one document of {size:,} bytes; limit {limit:,}"
        )


def read_chunks(path: Path, *, changes: Counter[str] | None = None) -> Iterator[str]:
    """The characters of a text file of any size, a bounded number at a time.

    ``\\r\\n`` and ``\\r`` come out as ``\\n``.
    """
    return _decoded(path.open("rb"), changes, newline=None)


def read_lines(
    path: Path, *, limit: int, changes: Counter[str] | None = None
) -> Iterator[str | None]:
    """The lines of a text file, without line ends; None for one of more than ``limit`` characters.

    A line that is too long is passed over without being held.
    """
    parts: list[str] = []
    length = 0
    for chunk in read_chunks(path, changes=changes):
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


def codec_of(charset: str) -> str:
    """What Python calls a charset. Raises LookupError for one that no text is written in."""
    name = codecs.lookup(_VISUAL.sub("", charset.lower().strip("\"' "))).name
    if name.replace("-", "_") in _NO_CHARSETS or not codecs.lookup(name)._is_text_encoding:
        raise LookupError(name)
    return _MEANT.get(name, name)


def _decoded(file: BinaryIO, changes: Counter[str] | None, *, newline: str | None) -> Iterator[str]:
    changes = Counter() if changes is None else changes
    with file:
        encoding = _detect(file)
        file.seek(encoding.skip)
        if encoding.skip:
            changes["cut characters"] += 1
        text = io.TextIOWrapper(
            file, encoding=encoding.name, errors=encoding.errors, newline=newline
        )
        held = ""
        first = True
        while chunk := text.read(CHUNK):
            chunk = held + chunk
            found = _ESCAPED.search(chunk, max(0, len(chunk) - _LONGEST_STRAY))
            cut = len(chunk) if found is None or found.end() < len(chunk) else found.start()
            chunk, held = chunk[:cut], chunk[cut:]
            yield _mended(chunk, encoding.name, changes, first=first)
            first = False
        if held:
            yield _mended(held, encoding.name, changes, first=first, last=True)


def _mended(
    text: str, encoding: str, changes: Counter[str], *, first: bool, last: bool = False
) -> str:
    """Without NULs, and with every byte that did not fit made a character."""
    if "\0" in text and not encoding.startswith(("utf-16", "utf-32")):
        changes["NUL characters"] += text.count("\0")
        text = text.replace("\0", "")
    if encoding.startswith(("utf-16", "utf-32", "iso2022")):
        if count := text.count("\ufffd"):
            changes["stray bytes"] += count
        return text.removeprefix("\ufeff") if first else text
    if _ESCAPED.search(text) is None:
        return text.removeprefix("\ufeff") if first else text
    is_utf8 = encoding.startswith("utf-8")
    if is_utf8 or encoding in charsets.DOUBLE_BYTE:
        for patterns, at_edge in ((_CUT_AT_START, first), (_CUT_AT_END, last)):
            if at_edge:
                text, count = patterns[not is_utf8].subn("", text)
                changes.update({"cut characters": count} if count else ())

    def mend(found: re.Match[str]) -> str:
        run = bytes(ord(character) - 0xDC00 for character in found[0])
        changes["stray bytes"] += len(run)
        around = text[: found.start()][-1:] + text[found.end() : found.end() + 1]
        if is_utf8 and len(run) <= _LONGEST_STRAY and all(map(_is_latin, around)):
            return run.decode("cp1252", "replace")
        return "\ufffd" * len(run)

    text = _ESCAPED.sub(mend, text)
    return text.removeprefix("\ufeff") if first else text


def _is_latin(character: str) -> bool:
    return character < "\u0250" or "\u2000" <= character <= "\u206f"


def _detect(file: BinaryIO) -> Encoding:
    start = file.read(_START)
    if not start:
        raise UnreadableError("empty file")
    for mark, name in _MARKS:
        if start.startswith(mark):
            return Encoding(name)
    if start.startswith(_BINARY_STARTS):
        raise UnreadableError("binary file")
    controls = len(start) - len(start.translate(None, _CONTROL))
    nuls = start.count(0) / len(start)
    odd = controls > len(start) * _TOLERATED_CONTROL
    if (nuls or odd) and (wide := _wide_encoding(start)):
        return Encoding(wide)
    if nuls > _TOLERATED_NULS or (odd and not _ISO_2022[0][0].search(start)):
        raise UnreadableError("binary file")
    return _utf8(file) or _legacy(file, start)


def _utf8(file: BinaryIO) -> Encoding | None:
    """UTF-8, or the 7-bit encodings within it, where the whole file is that."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    escaped = False
    beyond_ascii = 0
    file.seek(0)
    try:
        while chunk := file.read(CHUNK):
            escaped = escaped or b"\x1b" in chunk
            beyond_ascii += not chunk.isascii()
            decoder.decode(chunk)
    except UnicodeDecodeError:
        return None
    # Only the last character can be at fault now. A lone byte tells little.
    rest = decoder.getstate()[0]
    if rest and not beyond_ascii - 1 and len(rest) == 1:
        return None
    return (escaped and not beyond_ascii and _iso_2022(file)) or Encoding("utf-8")


def _iso_2022(file: BinaryIO) -> Encoding | None:
    for pattern, name in _ISO_2022:
        file.seek(0)
        while chunk := file.read(CHUNK):
            if pattern.search(chunk):
                return Encoding(name)
    return None


def _legacy(file: BinaryIO, start: bytes) -> Encoding:
    """The encoding of a file that is not UTF-8 throughout."""
    good, bad, sample = _census(file)
    if good >= _NEARLY * bad:
        return Encoding("utf-8")
    guesses = charsets.ranked(sample)
    if declared := _declared_encoding(start):
        cost = next((guess.cost for guess in guesses if guess.encoding == declared), 0.0)
        lie = cost > guesses[0].cost + _CLEARLY and charsets.beyond_ascii(sample) >= _ENOUGH
        if not lie and _fits(file, declared):
            return Encoding(declared)
    if 2 * good >= bad and guesses[0].cost > _LIKELY:  # as much UTF-8 as anything else
        return Encoding("utf-8")
    fitting = (guess.encoding for guess in guesses if _fits(file, guess.encoding))
    name = next(fitting, guesses[0].encoding)
    return Encoding(name, _cut_at_start(start, name) if name in charsets.DOUBLE_BYTE else 0)


def _census(file: BinaryIO) -> tuple[int, int, bytes]:
    """Characters of UTF-8 beyond ASCII, bytes that are none, and a sample of the places
    with bytes beyond ASCII, spread over the file and cut between characters."""
    size = file.seek(0, io.SEEK_END)
    chunks = -(-size // CHUNK)
    window, stride = max(_LEAST_WINDOW, _SAMPLE // chunks), max(1, chunks // _WINDOWS)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = bad = 0
    sample: list[bytes] = []
    file.seek(0)
    for number in range(chunks):
        chunk = file.read(CHUNK)
        text = decoder.decode(chunk, number == chunks - 1)
        strays = sum(map(len, _ESCAPED.findall(text)))
        good += len(text) - len(text.encode("ascii", "ignore")) - strays
        bad += strays
        if number % stride == 0 and (high := _HIGH.search(chunk)):
            sample.append(_window(chunk, high.start(), window, at_start=number == 0))
    return good, bad, b"\n".join(sample)


def _window(chunk: bytes, at: int, length: int, *, at_start: bool) -> bytes:
    """Some of a chunk around ``at``, from the end of a word to the end of a word."""
    earliest = max(0, at - length // 2)
    borders = [found.end() for found in _BELOW_DIGITS.finditer(chunk, earliest, at)]
    begin = borders[-1] if borders else 0 if at_start else at
    if not borders and not at_start and (border := _BELOW_DIGITS.search(chunk, at, at + length)):
        begin = border.end()
    end = begin + length
    if end < len(chunk):
        borders = [found.start() for found in _BELOW_DIGITS.finditer(chunk, begin, end)]
        end = borders[-1] if borders else end
    return chunk[begin:end]


def _fits(file: BinaryIO, name: str) -> bool:
    """Whether hardly a byte of the file is none of the encoding."""
    decoder = codecs.getincrementaldecoder(name)("surrogateescape")
    high = strays = 0
    file.seek(0)
    while chunk := file.read(CHUNK):
        high += charsets.beyond_ascii(chunk)
        try:
            strays += sum(map(len, _ESCAPED.findall(decoder.decode(chunk))))
        except UnicodeDecodeError:  # a stray byte of ASCII, which cannot be escaped
            return False
    return strays <= max(2, _TOLERATED_ERRORS * high)


def _cut_at_start(start: bytes, name: str) -> int:
    """1 where the file begins with the second half of a character, else 0."""
    border = _BELOW_DIGITS.search(start)
    run = start[: border.start() if border else len(start)][:4096]
    if _HIGH.search(run) is None:
        return 0
    return int(charsets.begins_cut(run, name))


def _wide_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: zeros where Latin letters have them, or else
    characters that all are of scripts in use, which those of swapped bytes are not."""
    sample = start[: len(start) // 4 * 4]
    zeros = [sample[offset::4].count(0) / max(len(sample) // 4, 1) for offset in range(4)]
    often = [share > 0.5 for share in zeros]
    patterns = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, False, True, True): "utf-32-le",
        (True, True, False, False): "utf-32-be",
    }
    encoding = patterns.get((often[0], often[1], often[2], often[3]))
    candidates = [encoding] if encoding else ["utf-16-le", "utf-16-be"]
    return next((name for name in candidates if _is_text(sample, name, sure=not encoding)), None)


def _is_text(sample: bytes, name: str, *, sure: bool) -> bool:
    """Whether all but a few characters are of scripts in use; to be ``sure``, also whether
    there are as many blanks and stops as texts have."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return False
    counts = Counter(ord(c) >> 8 if ord(c) >= 0x20 or c in "\t\n\v\f\r" else -1 for c in text)
    good = sum(n for block, n in counts.items() if block in _BLOCKS_OF_TEXT or block >= 0x1F0)
    stops = sum(map(text.count, _STOPS))
    enough = not sure or (len(text) >= _LEAST_SURE and stops >= _LEAST_STOPS * len(text))
    return enough and good >= _LEAST_TEXT * len(text)


def _declared_encoding(start: bytes) -> str | None:
    found = _DECLARED.search(start[:4096])
    if found is None:
        return None
    try:
        name = codec_of((found[1] or found[2] or found[3]).decode("ascii"))
    except (LookupError, UnicodeError):
        return None
    return None if name.startswith(("utf", "iso2022")) else name

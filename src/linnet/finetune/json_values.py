"""The values of a JSON file, one at a time, each with the line that it starts on (RFC 8259).

Whatever the size of the file, no more than one value of it is held.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any

from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_IN_NUMBERS = tuple("+-.eE0123456789")
_LONGEST_WORD = 16  # characters by which what is damaged may be recognised only later


class JsonValues:
    """A reader of values; ``line`` is where the last ``peek`` looked.

    ``limit``: characters of one value. All methods raise DataError naming file and line.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self.path, self.limit = path, limit
        self.line = 1
        self._chunks = self._read()
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            blank = _SPACE.match(self._text, self._at)
            self._move(blank.end() if blank else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def skip(self) -> None:
        """Leave the character that was looked at behind."""
        self._at += 1

    def take(self) -> Any:
        """The value that begins here. Tried again with twice the text, so the work is linear."""
        while True:
            length = len(self._text) - self._at
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise self.damaged("nested too deeply") from None
            except json.JSONDecodeError as error:
                may_go_on = (
                    error.msg.startswith("Unterminated string")
                    or error.pos > len(self._text) - _LONGEST_WORD
                )
                if not may_go_on or not self._more(length):
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise self.damaged(f"{error.msg}, line {line}") from None
                continue
            except ValueError as error:  # a number with very many digits
                raise self.damaged(str(error)) from None
            ended = end < len(self._text) and self._text[end] not in _IN_NUMBERS
            if ended or not self._more(length):  # a number may go on in the next chunk
                self._move(end)
                return value

    def damaged(self, problem: str) -> DataError:
        """What to raise about the value that is being read."""
        return DataError(f"{self.path}:{self.line}: not valid JSON: {problem}")

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, at_least: int) -> bool:
        parts, added = [self._text[self._at :]], 0
        while added < at_least and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            added += len(chunk)
        self._text, self._at = "".join(parts), 0
        if len(self._text) > self.limit + 2 * max(added, _CHUNK):
            raise DataError(
                f"{self.path}:{self.line}: a value is longer than {self.limit:,} characters"
            )
        return added > 0

    def _read(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        line = 1
        with self.path.open("rb") as file:
            while True:
                data = file.read(_CHUNK)
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    raise DataError(
                        f"{self.path}:{line}: not UTF-8 (byte {error.object[error.start]:#x}); "
                        "save the file as UTF-8"
                    ) from None
                line += data.count(b"\n")
                if text:
                    yield text
                if not data:
                    return

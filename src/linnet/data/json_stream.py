"""The values of a stream of JSON (RFC 8259), one at a time, each with the line that it starts on.

Whatever the length of the stream, no more than one value of it is held. Of ijson, which does
this too, version 3.6 was tried: it knows no lines, has no bound on a value, reads no NaN, and
ends the process at a number of 5,000 digits and at arrays nested 100,000 deep.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = re.compile(r"\s*")
_IN_NUMBERS = tuple("+-.eE0123456789")
_LONGEST_WORD = 16  # characters by which what is damaged may be recognised only later


class JsonError(ValueError):
    """The stream stops being JSON in the value that begins in ``line``."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class LongValueError(JsonError):
    """A value has more characters than it may."""


class JsonStream:
    """A reader of values. ``line`` is where the last ``peek`` looked.

    ``limit``: characters of one value. All methods raise JsonError.
    """

    def __init__(self, chunks: Iterator[str], *, limit: int) -> None:
        self.limit = limit
        self.line = 1
        self._chunks = chunks
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
                raise JsonError("nested too deeply", self.line) from None
            except json.JSONDecodeError as error:
                may_go_on = (
                    error.msg.startswith("Unterminated string")
                    or error.pos > len(self._text) - _LONGEST_WORD
                )
                if not may_go_on or not self._more(length):
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise JsonError(f"{error.msg}, line {line}", self.line) from None
                continue
            except ValueError as error:  # a number with very many digits
                raise JsonError(str(error), self.line) from None
            ended = end < len(self._text) and self._text[end] not in _IN_NUMBERS
            if ended or not self._more(length):  # a number may go on in the next chunk
                self._move(end)
                return value

    def elements(self) -> Iterator[tuple[int, Any]]:
        """The values of the array that begins here, each with its line."""
        self.skip()
        while self.peek() != "]":
            line = self.line
            yield line, self.take()
            if self.peek() == ",":
                self.skip()
            elif self.peek() != "]":
                found = self.peek() or "the end"
                raise JsonError(f"expected ',' or ']'. Got {found!r}", self.line)
        self.skip()

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, at_least: int) -> bool:
        """Whether more came; needed where what begins here does not end in the text so far."""
        if len(self._text) - self._at > self.limit:
            raise LongValueError(f"a value is longer than {self.limit:,} characters", self.line)
        parts, added = [self._text[self._at :]], 0
        while added < at_least and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            added += len(chunk)
        self._text, self._at = "".join(parts), 0
        return added > 0

"""A form with a file, read as it arrives: ``multipart/form-data``.

Nothing of the file is kept here; what else a form has is bounded in number and size.

Reference: RFC 7578
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from linnet.serve.asgi import Call

FORM = "multipart/form-data"
_MOST_PARTS = 16
_LARGEST_FIELD = 4096
_LONGEST_BOUNDARY = 256  # RFC 2046 has 70


class Form:
    """The fields of a form, and the name of its one file, as far as it was read."""

    def __init__(self, content_type: str) -> None:
        """Raises ApiError for another type than a form's."""
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._options = parse_options_header
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind.decode("latin-1") != FORM or not 0 < len(boundary) <= _LONGEST_BOUNDARY:
            raise ApiError(415, f"Send the file as {FORM}, as OpenAI's clients do.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.complete = False
        self._parts = 0
        self._header = self._value = b""
        self._disposition = b""
        self._field: str | None = None
        self._content = bytearray()
        self._is_file = False
        self._file: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> bytes:
        """What of the file is in the next bytes of the form. Raises ApiError."""
        from python_multipart.exceptions import FormParserError

        try:
            self._parser.write(data)
        except FormParserError as error:
            raise ApiError(400, f"The form cannot be read: {str(error)[:200]}") from None
        found, self._file = b"".join(self._file), []
        return found

    async def file(self, call: Call, limit: int) -> AsyncIterator[bytes]:
        """The pieces of the file in a call's body, of at most so many bytes. Raises ApiError for a
        form that is cut off or has no file.
        """
        async for piece in call.chunks(limit):
            if found := self.feed(piece):
                yield found
        if not self.complete:
            raise ApiError(400, "The form ends before it is complete.")
        if self.filename is None:
            raise ApiError(400, "Missing required parameter: 'file'.", param="file")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ApiError(400, f"A form has at most {_MOST_PARTS} parts here.")
        self._header = self._value = self._disposition = b""
        self._field, self._is_file = None, False
        self._content.clear()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = self._options(self._disposition)
        name = _text(options.get(b"name", b""))
        filename = options.get(b"filename")
        if filename is None:
            self._field = name
            return
        if name != "file" or self.filename is not None:
            raise ApiError(400, f"A form has one file, as 'file'. Got '{name[:60]}'", param="file")
        self._is_file = True
        self.filename = _text(filename)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._file.append(bytes(data[start:end]))
            return
        self._content += data[start:end]
        if len(self._content) > _LARGEST_FIELD:
            raise ApiError(
                400, f"'{(self._field or '')[:60]}' has at most {_LARGEST_FIELD} bytes in a form.",
                param=self._field,
            )  # fmt: skip

    def _end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = _text(bytes(self._content))

    def _on_end(self) -> None:
        self.complete = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "Names and fields of a form must be in UTF-8.") from None

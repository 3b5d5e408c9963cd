"""Outlook's mails, [MS-OXMSG]: an OLE file with a stream for each property of text or bytes.

Properties of fixed size stand together in one stream, in entries of 16 bytes;
an attachment is a folder of the same kind, and an attached mail a folder in it.
"""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.message import Message
from email.utils import format_datetime, formataddr
from typing import TYPE_CHECKING, Any

from linnet.data.document import UnreadableError
from linnet.data.extract.mime import POLICY, Mail, decode, file_name
from linnet.data.markup.html import all_text

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.data.extract.context import Context

# Properties, [MS-OXPROPS]
_CLASS, _SUBJECT, _SUBMITTED, _DELIVERED, _HEADERS = 0x001A, 0x0037, 0x0039, 0x0E06, 0x007D
_SENDER, _SENDER_SMTP, _SENDER_ADDRESS = 0x0C1A, 0x5D01, 0x0C1F
_TO, _CC, _ID, _REFERENCES, _ANSWERS = 0x0E04, 0x0E03, 0x1035, 0x1039, 0x1042
_BODY, _HTML, _INTERNET_CODEPAGE, _CODEPAGE = 0x1000, 0x1013, 0x3FDE, 0x3FFD
_DATA, _LONG_NAME, _SHORT_NAME, _DISPLAY_NAME, _HIDDEN = 0x3701, 0x3707, 0x3704, 0x3001, 0x7FFE
_CONTENT_TYPE = 0x370E

_UNICODE, _STRING8, _BINARY, _FOLDER = "001F", "001E", "0102", "000D"
_HEADER_BYTES, _INNER_HEADER_BYTES, _ATTACHMENT_HEADER_BYTES = 32, 24, 8
_ATTACHMENT = "__attach_version1.0_#"
_MOST_ATTACHMENTS = 1000
_CODEPAGES = {
    20127: "ascii", 20866: "koi8-r", 21866: "koi8-u", 28591: "cp1252", 28592: "iso8859-2",
    28605: "iso8859-15", 50220: "iso2022-jp", 50221: "iso2022-jp", 51932: "euc-jp",
    54936: "gb18030", 65001: "utf-8",
}  # fmt: skip
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_SEALED = ("multipart/encrypted", "application/pgp-encrypted")


def read_mail(path: Path, context: Context) -> Mail:
    """The mail in a file. Raises UnreadableError if it is damaged or encrypted."""
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(str(path)) as file:
            if not file.exists("__properties_version1.0"):
                raise UnreadableError("damaged msg", "an OLE file without a mail")
            return _Folder(file, [], _HEADER_BYTES, context).mail()
    except RecursionError:
        raise UnreadableError("damaged msg", "nested too deep") from None
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, struct.error) as error:
        raise UnreadableError("damaged msg", str(error)[:200]) from None


class _Folder:
    """The properties of a mail or of an attachment."""

    def __init__(self, file: Any, place: list[str], header_bytes: int, context: Context) -> None:
        self.file = file
        self.place = place
        self.context = context
        entries = (self._stream("__properties_version1.0") or b"")[header_bytes:]
        entries = entries[: len(entries) // 16 * 16]
        self.fixed = {tag: value for _, tag, _, value in struct.iter_unpack("<HHIQ", entries)}
        codepage = self.fixed.get(_INTERNET_CODEPAGE) or self.fixed.get(_CODEPAGE) or 0
        self.charset = _CODEPAGES.get(codepage & 0xFFFF, f"cp{codepage & 0xFFFF}")

    def text(self, *tags: int) -> str:
        """The first of these properties that is there and not empty."""
        for tag in tags:
            if data := self._property(tag, _UNICODE):
                return data.decode("utf-16-le", "replace").rstrip("\0")
            if data := self._property(tag, _STRING8):
                return decode(data, self.charset, self.context).rstrip("\0")
        return ""

    def mail(self) -> Mail:
        head = self._head()
        kind = self.text(_CLASS).upper()
        if head.get_content_type() in _SEALED or kind == "IPM.NOTE.SMIME":
            raise UnreadableError("encrypted")
        body = self.text(_BODY).replace("\r\n", "\n")
        if not body.strip():
            html = self._property(_HTML, _BINARY)
            body = all_text(
                decode(html, self.charset, self.context) if html else self.text(_HTML), quotes=True
            )
        found = Mail(head, body, [], Counter())
        for folder in self._attachments():
            folder.add_to(found, len(found.attachments) + 1)
        return found

    def add_to(self, mail: Mail, number: int) -> None:
        """Attach what this folder, an attachment, holds."""
        data = self._property(_DATA, _BINARY)
        kind = self.text(_CONTENT_TYPE)
        if kind in _SEALED:
            raise UnreadableError("encrypted")
        if data is None:
            inner = [*self.place, f"__substg1.0_{_DATA:04X}{_FOLDER}"]
            if self.file.exists([*inner, "__properties_version1.0"]):
                attached = _Folder(self.file, inner, _INNER_HEADER_BYTES, self.context).mail()
                mail.attachments.append(("", attached))
        elif self.fixed.get(_HIDDEN, 0) & 1 and kind.startswith("image/"):  # stands in the text
            mail.left_out["pictures"] += 1
        else:
            name = file_name(self.text(_LONG_NAME, _SHORT_NAME, _DISPLAY_NAME))
            mail.attachments.append((name or f"attachment-{number}", data))

    def _head(self) -> Message:
        """The headers that the mail came with, or what stands for them in one never sent."""
        if headers := self.text(_HEADERS).lstrip():
            head = message_from_string(headers, policy=POLICY)
            if "From" in head or "Subject" in head:
                return head
        head = Message()
        address = self.text(_SENDER_SMTP, _SENDER_ADDRESS)
        address = address if "@" in address else ""
        sender = self.text(_SENDER)
        values = {
            "From": formataddr((sender, address)) if address and sender != address else sender,
            "To": self.text(_TO),
            "Cc": self.text(_CC),
            "Date": self._date(),
            "Subject": self.text(_SUBJECT),
            "References": self.text(_REFERENCES),
            "In-Reply-To": self.text(_ANSWERS),
            "Message-ID": self.text(_ID),
        }
        for name, value in values.items():
            if value.strip():
                head[name] = " ".join(value.split())
        return head

    def _date(self) -> str:
        ticks = self.fixed.get(_SUBMITTED) or self.fixed.get(_DELIVERED)  # of 100 ns
        with contextlib.suppress(OverflowError):
            return format_datetime(_EPOCH + timedelta(microseconds=ticks // 10)) if ticks else ""
        return ""

    def _attachments(self) -> list[_Folder]:
        depth = len(self.place)
        names = {
            path[depth]
            for path in self.file.listdir(streams=False, storages=True)
            if path[:depth] == self.place and path[depth : depth + 1] != []
        }
        found = sorted(name for name in names if name.startswith(_ATTACHMENT))
        return [
            _Folder(self.file, [*self.place, name], _ATTACHMENT_HEADER_BYTES, self.context)
            for name in found[:_MOST_ATTACHMENTS]
        ]

    def _property(self, tag: int, form: str) -> bytes | None:
        return self._stream(f"__substg1.0_{tag:04X}{form}")

    def _stream(self, name: str) -> bytes | None:
        place = [*self.place, name]
        if self.file.get_type(place) != 2:  # a stream
            return None
        with self.file.openstream(place) as stream:
            data: bytes = stream.read()
        return data

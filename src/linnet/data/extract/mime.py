"""Internet messages (RFC 5322, MIME): the head of a mail, its text and what is attached.

Of alternatives the plain text is read, else HTML. Charsets that are missing or
wrong are guessed; parts in them that are damaged cost nothing but themselves.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from typing import TYPE_CHECKING

from linnet.data import decoding
from linnet.data.clean import replace_lone_surrogates
from linnet.data.document import UnreadableError
from linnet.data.markup.html import all_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.extract.context import Context

# One of these stands in every mail.
_HEADERS = ("From", "To", "Date", "Subject", "Received", "Message-ID", "MIME-Version")
_LONGEST_HEADER = 10_000  # characters; the standard library takes quadratic time over some
_SIGNATURES = {"pgp-signature", "pgp-keys", "pkcs7-signature", "x-pkcs7-signature"}
_SEALED = {"pkcs7-mime", "x-pkcs7-mime", "pgp-encrypted"}


_BLANKS = " \t\r\n\xa0\u200b\ufeff"
_EXCUSE = re.compile(
    r"(?:support|display|view|read|show|darstell|anzeig|affich)\w*\b.{0,60}\bHTML|\bHTML\b.{0,60}"
    r"(?:support|display|view|enabled|capable|fähig|compatible)",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_EXCUSE = 400  # characters
_UU_BEGIN = re.compile(r"begin(?:-base64)? [0-7]{3,4} (\S[^\n]{0,200})")
_LEAST_UU_LINES = 3  # of a file that was cut
_ARMOR = re.compile(
    r"^-----BEGIN PGP (SIGNATURE|PUBLIC KEY BLOCK)-----$.{0,100000}?^-----END PGP \1-----$\n?",
    re.MULTILINE | re.DOTALL,
)
_SIGNED = re.compile(r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:[\w-]+: .*\n)*\n?", re.MULTILINE)


@dataclass
class Mail:
    """A mail as it is written down. ``attachments``: names with bytes, or mails within it."""

    head: Message
    body: str
    attachments: list[tuple[str, bytes | Mail]]
    left_out: Counter[str]


class _Policy(Compat32):
    """Headers as plain strings of bounded length.

    The newer policies parse headers by a grammar that fails on many that are met
    in the wild, and is slow on hostile ones.
    """

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_LONGEST_HEADER]

    def header_fetch_parse(self, name: str, value: str) -> str:  # type: ignore[override]
        try:
            data = value.encode("ascii", "surrogateescape")
        except UnicodeEncodeError:  # made of text: nothing to decode
            return value
        try:
            return decoding.decode(data)
        except UnreadableError:
            return data.decode("cp1252", "replace")


POLICY = _Policy()


def parse_mail(data: bytes, context: Context, *, in_mailbox: bool = False) -> Mail:
    """A mail from its bytes. Raises UnreadableError if it is none or encrypted.

    ``in_mailbox``: it is one for certain, whatever its head says.
    """
    try:
        message = message_from_bytes(data, policy=POLICY)
        if not in_mailbox and not any(name in message for name in _HEADERS):
            raise UnreadableError("damaged mail", "no header of a mail")
        return _gathered(message, context)
    except RecursionError:
        raise UnreadableError("damaged mail", "nested too deep") from None


def header(head: Message, name: str) -> str:
    """The value of a header on one line, its encoded words decoded (RFC 2047)."""
    return _words_decoded(str(head.get(name, "")))


def decode(data: bytes, charset: str, context: Context) -> str:
    """Bytes of a text in the encoding they declare; in the one they look like if that fails."""
    try:
        return decoding.decode(data, charset=charset, changes=context.changes)
    except UnreadableError:  # bytes that no text has among those of one
        return data.decode("utf-8", "replace")


def file_name(name: str) -> str:
    """The name of an attachment without folders and what cannot be printed."""
    name = re.split(r"[/\\]", name)[-1]
    return "".join(filter(str.isprintable, name)).strip(". ")


def _gathered(message: Message, context: Context) -> Mail:
    body: list[str] = []
    mail = Mail(message, "", [], Counter())
    for part, wanted in _leaves(message, context):
        major, _, minor = part.get_content_type().partition("/")
        if minor in _SEALED and part.get_param("smime-type") != "signed-data":
            raise UnreadableError("encrypted")
        if major == "message" and part.is_multipart():
            inner: list[Message] = part.get_payload()  # type: ignore[assignment]
            mail.attachments += [("", _gathered(one, context)) for one in inner[:1]]
        elif _is_text(part):
            if wanted:
                text, files = _without_encoded(_text(part, context), mail.left_out)
                body.append(text)
                mail.attachments += files
        elif minor in _SIGNATURES or not (wanted or part.get_filename()):
            continue
        elif major in ("image", "audio", "video") and not _is_attachment(part):
            mail.left_out["pictures"] += 1
        elif isinstance(content := part.get_payload(decode=True), bytes):
            mail.attachments.append((_file_name(part, len(mail.attachments) + 1), content))
    mail.body = "\n\n".join(text for text in body if text.strip())
    return mail


def _leaves(message: Message, context: Context) -> Iterator[tuple[Message, bool]]:
    """The parts that are not made of parts, and whether they are the alternative to be read."""
    waiting = [(message, True)]
    while waiting:
        part, wanted = waiting.pop()
        if part.get_content_maintype() != "multipart" or not part.is_multipart():
            yield part, wanted
            continue
        children: list[Message] = part.get_payload()  # type: ignore[assignment]
        kind = part.get_content_subtype()
        if kind == "encrypted":
            raise UnreadableError("encrypted")
        best = _preferred(children, context) if kind == "alternative" else None
        waiting += [(c, wanted and best in (None, c)) for c in reversed(children)]


def _preferred(alternatives: list[Message], context: Context) -> Message | None:
    """The plain text, unless that is blank or only says that there is HTML."""
    for wanted in ("text/plain", "text/html", "multipart/", "text/plain"):
        for part in alternatives:
            if part.get_content_type().startswith(wanted) and (
                part.is_multipart() or _says_something(part, context)
            ):
                return part
    return next((part for part in alternatives if _is_text(part)), None)


def _says_something(part: Message, context: Context) -> bool:
    text = _text(part, context).strip(_BLANKS)
    return bool(text) and not (len(text) < _LONGEST_EXCUSE and _EXCUSE.search(text))


def _is_text(part: Message) -> bool:
    plain = part.get_content_type() in ("text/plain", "text/html")
    return plain and not _is_attachment(part) and not part.get_filename()


def _is_attachment(part: Message) -> bool:
    return str(part.get("Content-Disposition", "")).lower().startswith("attachment")


def _text(part: Message, context: Context) -> str:
    data = part.get_payload(decode=True)
    charset = part.get_content_charset() or ""
    text = decode(data, charset, context) if isinstance(data, bytes) else ""
    text = text.replace("\r\n", "\n")
    if part.get_content_subtype() == "html":
        return all_text(text, context.changes, quotes=True)
    if str(part.get_param("format", "")).lower() == "flowed":
        return unflowed(text, delete_space=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def unflowed(text: str, *, delete_space: bool = False) -> str:
    """Text in the format "flowed" with its paragraphs on one line each (RFC 3676).

    A line that ends in a blank goes on in the next one of the same quote depth.
    ``delete_space``: the blank itself is not part of the text (DelSp=yes).
    """
    lines: list[str] = []
    depth, flows = 0, False
    parts: list[str] = []
    for line in text.split("\n"):
        quotes = len(line) - len(line.lstrip(">"))
        content = line[quotes:].removeprefix(" ")
        if parts and not (flows and quotes == depth and content != "-- "):
            lines.append("".join(parts))
            parts = []
        parts.append(content if parts else ">" * quotes + " " * bool(quotes) + content)
        depth, flows = quotes, content.endswith(" ") and content != "-- "
        if flows and delete_space:
            parts[-1] = parts[-1][:-1]
    return "\n".join([*lines, "".join(parts)])


def _without_encoded(
    text: str, left_out: Counter[str]
) -> tuple[str, list[tuple[str, bytes | Mail]]]:
    """A text without what is encoded in it: uuencoded files, which are attachments, and the
    signatures and keys of PGP."""
    if "-----BEGIN PGP " in text:
        for pattern in (_ARMOR, _SIGNED):
            left_out["signature lines"] += sum(
                found[0].count("\n") for found in pattern.finditer(text)
            )
            text = pattern.sub("", text)
    if "begin " not in text and "begin-base64 " not in text:
        return text, []
    lines, files = text.split("\n"), list[tuple[str, bytes | Mail]]()
    kept: list[str] = []
    at = 0
    while at < len(lines):
        begin = _UU_BEGIN.fullmatch(lines[at].rstrip())
        content, end = _uudecoded(lines, at) if begin else (b"", at)
        if begin and end > at:
            files.append((file_name(begin[1]) or f"attachment-{len(files) + 1}", content))
            at = end
        else:
            kept.append(lines[at])
            at += 1
    return "\n".join(kept), files


def _uudecoded(lines: list[str], at: int) -> tuple[bytes, int]:
    """The file that begins in this line, and the line after it; the same line if none does."""
    decode = binascii.a2b_base64 if lines[at].startswith("begin-base64") else binascii.a2b_uu
    parts: list[bytes] = []
    for number in range(at + 1, len(lines)):
        line = lines[number].rstrip("\r")
        if line.strip() in ("end", "===="):
            return (b"".join(parts), number + 1) if parts else (b"", at)
        if not line.strip():
            continue
        try:
            parts += filter(None, [decode(line.encode("ascii"))])
        except (binascii.Error, UnicodeEncodeError):
            return (b"".join(parts), number) if len(parts) >= _LEAST_UU_LINES else (b"", at)
    return (b"".join(parts), len(lines)) if len(parts) >= _LEAST_UU_LINES else (b"", at)


def _file_name(part: Message, number: int) -> str:
    name = file_name(_words_decoded(part.get_filename() or ""))
    minor = part.get_content_subtype()
    suffix = {"plain": "txt", "calendar": "txt", "octet-stream": ""}.get(minor, minor)
    return name or file_name(f"attachment-{number}.{suffix}")


def _words_decoded(value: str) -> str:
    if "=?" in value:
        try:
            pieces = decode_header(value[:_LONGEST_HEADER])
        except (HeaderParseError, ValueError):
            pieces = [(value, None)]
        value = "".join(
            piece if isinstance(piece, str) else _word_decoded(piece, charset)
            for piece, charset in pieces
        )
    return replace_lone_surrogates(" ".join(value.split()))


def _word_decoded(data: bytes, charset: str | None) -> str:
    if charset is None:  # what stands between the words
        return data.decode("raw-unicode-escape", "replace")
    try:
        return data.decode(decoding.codec_of(charset), "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")

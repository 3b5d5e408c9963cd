"""Mails: Internet messages (.eml), mailboxes of them (RFC 4155), Outlook's .msg.

A document is the head of a mail (who to whom, when, about what) and its own
words; attachments are documents of their own. All share the conversation as
``thread``, so that an answer and what it answers fall into one split.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import TYPE_CHECKING

from linnet.data.blocks import Builder
from linnet.data.decoding import decode, require_size
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.mime import file_name, header, parse_mail
from linnet.data.markup.mail import own_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.mime import Mail

    Found = Iterator[Extracted | Dropped]

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_PGP = "-----BEGIN PGP MESSAGE-----"
_ID = re.compile(r"<([^<>\s]{3,})>")
_REPLY = re.compile(r"^(?:\s*(?:re|fwd?|aw|wg|antw|sv|vs|tr|rv|ref|rif)(?:\[\d+\])?:)+\s*", re.I)
_FORWARDED = re.compile(r"^\s*(?:fwd?|wg|tr|rv|i):", re.IGNORECASE)
_BETWEEN_PEOPLE = re.compile(r"[\s<>,;:\"()]+")
_SEPARATOR = re.compile(rb"From \S.{0,200}\d\d:\d\d.{0,100}\d{4}")
_QUOTED_SEPARATOR = re.compile(rb">+From ")


def read_eml(path: Path, context: Context) -> Found:
    require_size(path, context.config.max_document_bytes)
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[:400].count(0) > 100:  # UTF-16
        data = decode(data, changes=context.changes).encode()
    if not data.strip():
        raise UnreadableError("empty file")
    yield from _documents(parse_mail(data, context), "eml", context)


def read_mbox(path: Path, context: Context) -> Found:
    """Every mail of a mailbox, one in memory at a time."""
    for number, data in enumerate(_mailbox(path, context.config.max_document_bytes), 1):
        part = f"#{number}"
        if data is None:
            yield Dropped("document larger than max_document_bytes", part)
            continue
        inner = dataclasses.replace(context, group=f"{context.group}/{part}")
        yield from _within(part, data, "mbox", inner)


def read_msg(path: Path, context: Context) -> Found:
    from linnet.data.extract.outlook import read_mail

    require_size(path, context.config.max_document_bytes)
    yield from _documents(read_mail(path, context), "msg", context)


def _documents(mail: Mail, kind: str, context: Context) -> Found:
    """The mail, then what is attached to it."""
    subject = header(mail.head, "Subject")
    if mail.body.lstrip().startswith(_PGP):
        raise UnreadableError("encrypted")
    words, left_out = own_text(mail.body, forwarded=bool(_FORWARDED.match(subject)))
    thread = _thread(mail.head, subject)
    if words.strip():
        lines = [f"{name}: {value}" for name in _SHOWN if (value := header(mail.head, name))]
        written = Builder()
        written.add("\n".join(lines), "message")
        written.include(words, "mail", before="\n\n" if lines else "\n")
        changes = dict(mail.left_out + left_out)
        yield Extracted(
            written.text(), context.group, kind, family="mail", thread=thread, changes=changes
        )
    elif not mail.attachments:
        raise UnreadableError("no text in it")
    for name, content in mail.attachments:
        for found in _attached(name, content, kind, context):
            if isinstance(found, Extracted):
                yield dataclasses.replace(found, thread=thread)
            else:
                yield found


def _attached(name: str, content: bytes | Mail, kind: str, context: Context) -> Found:
    if isinstance(content, bytes):
        yield from context.nested(name, io.BytesIO(content))
        return
    title = header(content.head, "Subject")[:80].replace("/", "_")
    part = file_name(f"{title or 'mail'}.eml")
    if context.depth >= context.config.max_nesting:
        yield Dropped("nested deeper than max_nesting", part)
        return
    inner = dataclasses.replace(context, group=f"{context.group}/{part}", depth=context.depth + 1)
    yield from _within(part, content, kind, inner)


def _within(part: str, content: bytes | Mail, kind: str, context: Context) -> Found:
    """The documents of a mail in a mailbox or in another mail; one that fails costs only itself."""
    try:
        mail = _of_mailbox(content, context) if isinstance(content, bytes) else content
        for found in _documents(mail, kind, context):
            yield dataclasses.replace(found, part=f"{part}/{found.part}".rstrip("/"))
    except UnreadableError as error:
        if context.allowance.left < 0:
            raise
        yield Dropped(error.reason, part)


def _of_mailbox(data: bytes, context: Context) -> Mail:
    if not data.strip():
        raise UnreadableError("empty file")
    return parse_mail(data, context, in_mailbox=True)


def _thread(head: Message, subject: str) -> str:
    """The conversation: its first mail as far as this one knows, else its subject and people."""
    for name in ("References", "In-Reply-To", "Message-ID"):
        if found := _ID.search(str(head.get(name, ""))):
            return found[1].lower()
    about = _REPLY.sub("", subject)
    if not about:
        return ""
    people = _BETWEEN_PEOPLE.split(" ".join(header(head, name) for name in _SHOWN[:3]))
    return " ".join([about, *sorted({word for word in people if "@" in word})]).lower()


def _mailbox(path: Path, limit: int) -> Iterator[bytes | None]:
    """The mails of a mailbox; None for one of more than ``limit`` bytes.

    A mail begins with a line ``From SENDER DATE`` at the start or after a blank
    line; ``>From`` in a text was such a line (the mboxrd form).
    """
    lines: list[bytes] = []
    size, blank, began = 0, True, False
    with path.open("rb") as file:
        while line := file.readline(limit):
            if blank and _SEPARATOR.match(line):
                if began:
                    yield b"".join(lines) if size <= limit else None
                lines, size, began = [], 0, True
            elif began:
                size += len(line)
                if size <= limit:
                    lines.append(line[1:] if _QUOTED_SEPARATOR.match(line) else line)
                else:
                    lines.clear()
            elif line.strip():
                raise UnreadableError("damaged mbox", "it does not begin with a From line")
            blank = not line.strip()
    if not began:
        raise UnreadableError("empty file")
    yield b"".join(lines) if size <= limit else None

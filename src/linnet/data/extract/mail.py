"""Mails: Internet messages (.eml), mailboxes of them (RFC 4155), Outlook's .msg.

A document is the head of a mail (who to whom, when, about what) and what its writer wrote;
attachments are documents of their own. All share the conversation as ``thread``, so that an
answer and what it answers fall into one split.

What a mail repeats of earlier ones goes, and so does its signature: in a thread each mail would
otherwise be read as often as it was answered. Only what *ends* a mail is taken for history, and
only where it is marked as that: by ``>``, or by the head of the earlier mail. An answer between
quoted lines keeps what it answers, and what follows "the insurer wrote:" without marks is the
writer's own.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections import Counter
from typing import TYPE_CHECKING

from linnet.data.blocks import Builder
from linnet.data.decoding import decode, require_size
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.mime import file_name, header, parse_mail

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
_LEAST_QUOTED = 4  # fewer lines are quoted on purpose
_LONGEST_SIGNATURE = 20
_LONGEST_ATTRIBUTION = 3

# What programs write above the mail that is answered: Outlook in three forms, then the others.
_ORIGINAL = re.compile(
    r"^[-_]{3,} ?(?:Original(?:\s|-)?(?:Message|Nachricht|Appointment)|Urspr\w+ (?:Nachricht|Mail)"
    r"|Message d'origine|Mensaje original|Messaggio originale|Oorspronkelijk bericht"
    r"|Mensagem original) ?[-_]{3,}$",
    re.IGNORECASE,
)
_PASSED_ON = re.compile(
    r"^-{2,}.{0,40}(?:forward|weitergeleitet|transféré|reenviado|inoltrat|doorgestuurd)",
    re.IGNORECASE,
)
_RULE = re.compile(r"^_{20,}$")
_FROM = re.compile(r"^\*?(?:From|Von|De|Da|Van|Från|Fra)\s?:\*?\s\S")
_SENT = re.compile(r"^\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviado|Inviato|Verzonden)\s?:\*?\s\S")
_SUBJECT = re.compile(
    r"^\*?(?:Subject|Betreff|Objet|Asunto|Oggetto|Onderwerp|Assunto|Ämne|Emne)\s?:", re.IGNORECASE
)
_HEAD_LINES = 8
_WROTE = re.compile(
    r"^(?:On|Am|Le|El|Il|Op|Em|Den|Dnia)\s.{0,300}\d.{0,300}"
    r"\b(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef|escreveu|skrev|napisał)"
    r".{0,120}:$",
    re.IGNORECASE,
)


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


def own_text(body: str, *, forwarded: bool = False) -> tuple[str, Counter[str]]:
    """What the writer of this mail wrote, and how many lines of what else went.

    A forwarded mail keeps its history: that is what was sent. So does one that
    holds nothing else.
    """
    left_out = Counter[str]()
    lines = [line.rstrip() for line in body.split("\n")]
    lines = _without_signature(lines, left_out)
    if not (forwarded or any(map(_PASSED_ON.match, lines))):
        end = _end_of_own(lines)
        quoted = sum(1 for line in lines[end:] if line)
        if quoted >= _LEAST_QUOTED and any(lines[:end]):
            left_out["quoted lines"] += quoted
            lines = _without_signature(lines[:end], left_out)
    return "\n".join(lines).strip("\n"), left_out


def _without_signature(lines: list[str], left_out: Counter[str]) -> list[str]:
    """Without what follows the last line of two dashes (RFC 3676, 4.3), if that is short."""
    for start in range(len(lines) - 1, max(len(lines) - _LONGEST_SIGNATURE - 2, 0), -1):
        if lines[start].startswith(">") or _begins_history(lines, start):
            return lines
        if lines[start] == "--" and any(lines[:start]):
            left_out["signature lines"] += len(lines) - start
            return lines[:start]
    return lines


def _end_of_own(lines: list[str]) -> int:
    """The first line of the history that ends the mail; the number of lines if there is none."""
    end = len(lines)
    while end and (not lines[end - 1] or lines[end - 1].startswith(">")):
        end -= 1
    if any(line for line in lines[end:]):
        return _start_of_attribution(lines, end)
    return next((n for n in range(len(lines)) if _begins_history(lines, n)), len(lines))


def _begins_history(lines: list[str], at: int) -> bool:
    line = lines[at]
    if not line or line.startswith(">"):
        return False
    if _ORIGINAL.match(line):
        return True
    if _RULE.match(line):
        return at + 1 < len(lines) and _is_header(lines, at + 1)
    return _is_header(lines, at)


def _is_header(lines: list[str], at: int) -> bool:
    """Whether the head of a mail begins here: who, when and about what."""
    return (
        _FROM.match(lines[at]) is not None
        and any(map(_SENT.match, lines[at + 1 : at + 4]))
        and any(map(_SUBJECT.match, lines[at + 1 : at + _HEAD_LINES]))
    )


def _start_of_attribution(lines: list[str], end: int) -> int:
    """The line before the quoted ones says who wrote them; it may be broken in two or three."""
    last = end
    while last and not lines[last - 1]:
        last -= 1
    if not last or not lines[last - 1].endswith(":"):
        return end
    for start in range(last - 1, max(last - 1 - _LONGEST_ATTRIBUTION, -1), -1):
        if _WROTE.match(" ".join(lines[start:last])):
            return start
    return end

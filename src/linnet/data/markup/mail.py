"""The text of a mail: without what it repeats of earlier mails, and without its signature.

In a thread each mail would otherwise be read as often as it was answered. Only
what *ends* a mail is taken for history, and only where it is marked as that: by
``>``, or by the head of the earlier mail. An answer between quoted lines keeps what it
answers, and what follows "the insurer wrote:" without marks is the writer's own.
"""

from __future__ import annotations

import re
from collections import Counter

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

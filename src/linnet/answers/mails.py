"""What the head of a mail answers: who wrote it, to whom, and when.

Readers write the head of a mail above its text, a field in each line, by the names of RFC 5322.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from linnet.answers.languages import Expected, Language

Field: TypeAlias = Literal["From", "To", "Date", ""]
"""A field of a head; empty for none."""

_HEAD = re.compile(r"(?:(?:From|To|Cc|Bcc|Date|Subject): [^\n]*(?:\n|\Z)){2,}")
_FIELD = re.compile(r"(?P<name>From|To|Cc|Bcc|Date|Subject): [^\n]*\S")


def head_of(text: str) -> Iterator[tuple[str, int, int]]:
    """The fields that a text begins with if it is a mail: each by its name, and where it stands."""
    head = _HEAD.match(text)
    for found in _FIELD.finditer(text, 0, head.end()) if head is not None else ():
        yield found["name"], found.start(), found.end()


def asked_field(question: str, kind: Expected, language: Language | None) -> Field:
    """Which field answers a question about a mail: "who wrote...", "when was the mail sent"."""
    if language is None or not language.mails.search(question):
        return ""
    if kind in ("person", "") and language.addressed.search(question):
        return "To"
    return "From" if kind == "person" else "Date" if kind == "time" else ""

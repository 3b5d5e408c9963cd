"""What a document is, and what a file yields on the way to becoming documents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Document:
    """One document of a corpus.

    ``id`` is the hash of the text, so equal texts have equal ids. ``source``
    names the file it came from, ``group`` what must stay in one split with it.
    """

    id: str = ""
    source: str = ""
    group: str = ""
    kind: str = ""
    text: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Extracted:
    """A text found in a file. ``group`` None stands for the hash of the text."""

    text: str
    group: str | None
    kind: str


@dataclass(frozen=True)
class Dropped:
    """Part of a file that yields no document, and why."""

    reason: str


class UnreadableError(Exception):
    """A file yields nothing. ``reason`` is one of few; ``detail`` tells this case from others."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def text_id(text: str) -> str:
    """The hash that identifies a text: BLAKE2b, 128 bits, in hexadecimal."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

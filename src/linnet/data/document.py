"""What a document is, and what a file yields on the way to becoming documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.data.kinds import Family

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Document:
    """One document of a corpus.

    ``id`` is the hash of the text, so equal texts have equal ids. ``source``
    names the file it came from (and the part of it), ``group`` what must stay in
    one split with it. ``copies``: how often training reads it in one pass.
    """

    id: str = ""
    source: str = ""
    group: str = ""
    kind: str = ""
    text: str = ""
    bytes: int = 0
    copies: int = 1


@dataclass(frozen=True)
class Extracted:
    """A text found in a file, as the reader found it: cleaning comes later.

    ``group``: what shares a split with it; None stands for the hash of the text.
    ``part``: which part of the file it is (a member, a sheet, a row); empty for
    the whole. ``family`` is the kind's unless set. ``thread`` joins mails of one
    conversation. ``changes`` counts what the reader left out or repaired, such as
    ``{"running headers": 12}``. ``cut``: a section of a longer text, so that its first
    and last lines begin and end nothing.
    """

    text: str
    group: str | None
    kind: str
    part: str = ""
    family: Family | None = None
    thread: str = ""
    changes: Mapping[str, int] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Dropped:
    """Part of a file that yields no document, and why. ``part`` as for Extracted."""

    reason: str
    part: str = ""


MISSED_PAGES = (
    "pages that need OCR", "pages that OCR had no time for", "pages that OCR failed on",
    "damaged pages",
)  # fmt: skip
"""What ``changes`` of a document call pages that its text does not have."""


class UnreadableError(Exception):
    """A file yields nothing. ``reason`` is one of few; ``detail`` tells this case from others."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def text_id(text: str) -> str:
    """The hash that identifies a text: BLAKE2b, 128 bits, in hexadecimal."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

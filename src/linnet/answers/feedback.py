"""What people said of answers: a line of JSON each, kept in the index directory.

{"at": "2026-01-31T12:00:00+00:00", "answer": "...", "question": "...", "good": true,
 "refused": false, "probability": 0.93, "citations": [{"source": ..., "start": ..., "end": ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linnet.config import from_mapping, parse_json
from linnet.errors import LinnetError, OutputError
from linnet.output import lock, open_to_append

NAME = "feedback.jsonl"
LARGEST = 256_000_000
"""Bytes that the file may have."""
_LONGEST_LINE = 1_000_000


@dataclass(frozen=True)
class Span:
    """A cited stretch of a document."""

    source: str
    start: int
    end: int


@dataclass(frozen=True)
class Feedback:
    """What somebody said of one answer. ``by``: the name of their key."""

    answer: str
    question: str
    good: bool
    refused: bool = False
    probability: float | None = None
    citations: tuple[Span, ...] = ()
    by: str = ""
    at: str = ""


def note_feedback(index: Path, said: Feedback) -> None:
    """Append it, with the time. Raises OutputError where there is no more space for it."""
    at = said.at or datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({**asdict(said), "at": at}, ensure_ascii=False).encode() + b"\n"
    file = index / NAME
    if len(line) > _LONGEST_LINE:
        raise OutputError(f"feedback has at most {_LONGEST_LINE:,} bytes. Got {len(line):,}")
    with lock(file), open_to_append(file) as opened:
        size = opened.seek(0, 2)
        if size + len(line) > LARGEST:
            raise OutputError(f"{file} is full: it has {size:,} bytes; move it elsewhere")
        if size and not _ends_a_line(file):  # what a kill cut short stays a line of its own
            opened.write(b"\n")
        opened.write(line)


def read_feedback(index: Path) -> Iterator[Feedback]:
    """What was said, in order; the last word about an answer counts. Damaged lines are left out."""
    try:
        with (index / NAME).open("rb") as file:
            for line in file:
                if (said := _read(line)) is not None:
                    yield said
    except FileNotFoundError:
        return


def _read(line: bytes) -> Feedback | None:
    try:
        raw: Any = parse_json(line.decode())
        spans = tuple(from_mapping(Span, span, where=NAME) for span in raw.pop("citations", ()))
        found = from_mapping(Feedback, raw, where=NAME)
    except (ValueError, AttributeError, TypeError, LinnetError):
        return None
    return Feedback(**{**vars(found), "citations": spans})


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-1, 2)
        return opened.read(1) == b"\n"

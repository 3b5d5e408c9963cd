"""What people said of answers: a line for each, added to ``feedback.jsonl`` of the index.

A line is on the disk when it is answered for. What a killed process left of one is dropped by the
next that writes; a reader passes over it. Of one person's several verdicts on an answer the last
counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import Timeout

from linnet.answers.cases import Span
from linnet.config import from_mapping, parse_json, to_mapping
from linnet.errors import BusyError, ConfigError, DataError, OutputError
from linnet.output import hold, open_to_append, refuse_links

FEEDBACK_FILE = "feedback.jsonl"
LONGEST_LINE = 1 << 18  # bytes
MOST_LINES = 1_000_000
_LOCK_SECONDS = 20.0


@dataclass(frozen=True)
class Cited:
    """A stretch of a document that an answer cited."""

    source: str
    start: int
    end: int

    @property
    def span(self) -> Span:
        """As cases have it."""
        return Span(self.source, self.start, self.end)


@dataclass(frozen=True)
class Feedback:
    """One person's verdict on one answer."""

    question: str
    """As it was understood without the conversation."""
    answer_id: str
    verdict: Literal["good", "bad"]
    citations: tuple[Cited, ...] = ()
    time: str = ""
    """In UTC, as ISO 8601 has it."""
    by: str = ""
    """The name of the key that was used."""


def add_feedback(index: Path | str, given: Feedback) -> Feedback:
    """Write a verdict down, with the time. Raises DataError, BusyError and OutputError."""
    given = replace(given, time=datetime.now(UTC).isoformat(timespec="seconds"))
    line = json.dumps(to_mapping(given), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    if len(line) > LONGEST_LINE:
        raise DataError(f"feedback must have at most {LONGEST_LINE:,} bytes. Got {len(line):,}")
    file = Path(index) / FEEDBACK_FILE
    try:
        refuse_links(file)
        lock = file.with_name(f".{file.name}.lock")
        with hold(lock, timeout=_LOCK_SECONDS), open_to_append(file) as out:
            _drop_torn_line(file)
            out.write(line)
            out.flush()
            os.fsync(out.fileno())
    except Timeout:
        raise BusyError(f"{file}: another process holds it; try again") from None
    except OSError as error:
        raise OutputError(f"{file}: cannot write here ({error.strerror})") from None
    return given


def read_feedback(index: Path | str) -> list[Feedback]:
    """The last verdict on each answer of each person, in order. Raises DataError, naming a line."""
    file = Path(index) / FEEDBACK_FILE
    if not file.is_file():
        return []
    latest: dict[tuple[str, str], Feedback] = {}
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{file}, line {number}"
            if len(line) > LONGEST_LINE or number > MOST_LINES:
                raise DataError(
                    f"{file}: expected at most {MOST_LINES:,} lines of {LONGEST_LINE:,} bytes"
                )
            if not line.endswith(b"\n"):
                break  # being written, or left by a killed process
            try:
                given = from_mapping(Feedback, parse_json(line.decode("utf-8")), where=where)
            except (ValueError, TypeError, AttributeError, ConfigError) as error:
                raise DataError(
                    f"{where}: expected feedback; remove the line, or restore the file. {error}"
                ) from None
            latest[given.answer_id, given.by] = given
    return list(latest.values())


def verdict_on(given: Feedback, cited: Sequence[Span]) -> bool | None:
    """Whether an answer that cites these is right, as far as the verdict tells; None if not.

    What cites the same place as what was good is right; what cites nothing but what was bad is
    wrong.
    """
    own = [each.span for each in given.citations]
    shared = [span for span in cited if any(span.overlaps(other) for other in own)]
    if given.verdict == "good":
        return True if shared else None
    return False if cited and len(shared) == len(cited) else None


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        begin = max(0, end - LONGEST_LINE)
        file.seek(begin)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(begin + tail.rfind(b"\n") + 1)

"""What people decided about examples: a line for each decision, added and never changed.

The file lies beside the directory of examples (``NAME.decisions.jsonl``), so that making the
examples again leaves it alone; an example's id depends on its content, so that a decision finds
the same example again. The last line about an id counts. Several may decide at once: each line is
written under a lock, and reaches the disk before it is answered for. What a killed process left
of a line is dropped by the next one that writes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from filelock import Timeout

from linnet.config import from_mapping, parse_json, to_mapping
from linnet.errors import BusyError, ConfigError, DataError, OutputError
from linnet.output import hold, open_to_append, refuse_links, replacing

if TYPE_CHECKING:
    from linnet.examples.record import Example

SUFFIX = ".decisions.jsonl"
LONGEST_LINE = 1 << 20  # bytes
_LOCK_SECONDS = 20.0

Verdict = Literal["accepted", "mended", "rejected", "open"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Decision:
    """One person's verdict on one example; ``open`` takes back what was decided before."""

    id: str
    verdict: Verdict
    question: str | None = None
    """What replaces the question where it was mended; so also the answer and the quote."""
    answer: str | None = None
    quote: str | None = None
    shift: int = 0
    """Where the mended quote begins, in characters after the beginning of the example's own."""
    note: str = ""
    reviewer: str = ""
    time: str = ""
    """In UTC, as ISO 8601 has it."""

    def applied(self, example: Example) -> Example | None:
        """The example as decided; None where it was rejected."""
        if self.verdict == "rejected":
            return None
        if self.verdict != "mended":
            return example
        changes: dict[str, object] = {
            name: value
            for name, value in (("question", self.question), ("answer", self.answer))
            if value is not None
        }
        if self.quote is not None and example.start is not None:
            start = example.start + self.shift
            end = start + len(self.quote)
            changes |= {"quote": self.quote, "start": start, "end": end}
            if example.passage is not None:
                first, last = example.passage
                changes["passage"] = (min(first, start), max(last, end))
        return dataclasses.replace(example, **changes)  # type: ignore[arg-type]


def decisions_file(place: Path | str) -> Path:
    """Where the decisions lie about the examples of a directory, or of a file.

    A project's are those of the directory in it: see ``examples_file``.
    """
    from linnet.artifact import MANIFEST

    path = Path(place).absolute()
    if path.suffix == ".jsonl" and not path.is_dir():
        if not (path.parent / MANIFEST).is_file():
            return path.with_name(path.stem + SUFFIX)
        path = path.parent
    return path.with_name(path.name + SUFFIX)


class Decisions:
    """The decisions in one file, to which others may add meanwhile."""

    def __init__(self, file: Path) -> None:
        """Reads what is there; nothing is fine. Raises DataError, naming a damaged line."""
        self.file = file
        self.latest: dict[str, Decision] = {}
        """By the example's id, without those that were taken back."""
        self._identity: tuple[int, int] | None = None
        self._read = 0
        self._lines = 0
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since. Raises DataError, naming a damaged line."""
        try:
            file = self.file.open("rb")
        except FileNotFoundError:
            self._forget()
            return
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            if identity != self._identity or status.st_size < self._read:
                self._forget()
                self._identity = identity
            file.seek(self._read)
            while line := file.readline(LONGEST_LINE + 1):
                if not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
                    return  # being written, or left by a killed process
                self._lines += 1
                self._take(line)
                self._read += len(line)

    def add(self, decision: Decision) -> Decision:
        """Write one down, with the time; it is on the disk when this returns.

        Raises BusyError where another process does not let go of the file.
        """
        decision = dataclasses.replace(
            decision, time=datetime.now(UTC).isoformat(timespec="seconds")
        )
        line = _line(decision)
        if len(line) > LONGEST_LINE:
            raise DataError(f"expected a decision of at most {LONGEST_LINE:,} bytes. Got a longer")
        try:
            refuse_links(self.file)
            with hold(_lock(self.file), timeout=_LOCK_SECONDS), open_to_append(self.file) as file:
                _drop_torn_line(self.file)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except Timeout:
            raise BusyError(f"{self.file}: another process holds it; try again") from None
        except OSError as error:
            raise OutputError(f"{self.file}: cannot write here ({error.strerror})") from None
        self.refresh()
        return decision

    def _forget(self) -> None:
        self.latest.clear()
        self._identity, self._read, self._lines = None, 0, 0

    def _take(self, line: bytes) -> None:
        where = f"{self.file}, line {self._lines}"
        if len(line) > LONGEST_LINE:
            raise DataError(f"{where}: expected at most {LONGEST_LINE:,} bytes")
        try:
            decision = from_mapping(Decision, parse_json(line.decode("utf-8")), where=where)
        except (ValueError, TypeError, AttributeError, ConfigError) as error:
            raise DataError(
                f"{where}: expected a decision; remove the line, or restore the file. {error}"
            ) from None
        self.latest.pop(decision.id, None)
        if decision.verdict != "open":
            self.latest[decision.id] = decision


def keep_only(file: Path, ids: Collection[str]) -> int:
    """Forget what was decided about all others, down to the bytes; how many lines went.

    For documents that are to be forgotten: a mended answer may repeat what they say.
    """
    if not file.is_file():
        return 0
    refuse_links(file)
    with hold(_lock(file), timeout=_LOCK_SECONDS):
        lines = file.read_bytes().splitlines(keepends=True)
        left = [line for line in lines if _id_in(line) in ids]
        if len(left) < len(lines):
            with replacing(file) as neighbour:
                neighbour.write_bytes(b"".join(left))
    return len(lines) - len(left)


def _lock(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


def _line(decision: Decision) -> bytes:
    usual = Decision("", "open")
    values = {
        name: value
        for name, value in to_mapping(decision).items()
        if name in ("id", "verdict") or value != getattr(usual, name)
    }
    return json.dumps(values, ensure_ascii=False).encode("utf-8") + b"\n"


def _id_in(line: bytes) -> str | None:
    try:
        value = parse_json(line.decode("utf-8"))
    except ValueError:
        return None
    return value.get("id") if isinstance(value, dict) else None


def _drop_torn_line(path: Path) -> None:
    """Drop what a killed process left of a line: nobody was told that it counts."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        begin = max(0, end - LONGEST_LINE)
        file.seek(begin)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(begin + tail.rfind(b"\n") + 1)

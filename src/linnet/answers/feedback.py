"""What people said of answers: a line of JSON each, kept in the index directory.

{"at": "2026-01-31T12:00:00+00:00", "answer": "...", "question": "...", "good": true,
 "refused": false, "probability": 0.93, "citations": [{"source": ..., "start": ..., "end": ...}],
 "system": "...", "prompt": "...", "text": "..."}

The last three are what a model is trained on (``linnet align``): what it was asked, with the
passages, and the answer as it writes one.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linnet.config import from_mapping, parse_json
from linnet.errors import DataError, LinnetError, OutputError
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
    """Its id."""
    question: str
    good: bool
    refused: bool = False
    probability: float | None = None
    citations: tuple[Span, ...] = ()
    by: str = ""
    at: str = ""
    system: str = ""
    prompt: str = ""
    text: str = ""
    """See :class:`linnet.answers.evidence.Exchange`; empty where they are not known."""


MOST_GIVEN = 10_000
"""Answers that are remembered, so that they may be judged."""
MOST_TEXT = 32_000_000
"""Characters of prompts and answers that are remembered with them; older ones are judged
without."""
MOST_VERDICTS = 4
"""Verdicts on one answer that are kept, of which the last counts."""
_TEXTS = ("system", "prompt", "text")
_MOST_SPANS = 20  # of an answer that are remembered


@dataclass
class _Given:
    """An answer that may be judged, as it was given."""

    said: Feedback
    verdicts: list[bool] = field(default_factory=list)


class GivenAnswers:
    """The last answers that were given, each with the key that asked; for several threads.

    A verdict counts where the answer was given, to whoever judges it, and what it is about is taken
    from here: whoever may ask cannot put questions, citations or answers of their own among those
    that a gate is set by.
    """

    def __init__(self, most: int = MOST_GIVEN) -> None:
        self._most = most
        self._answers: OrderedDict[tuple[str, str], _Given] = OrderedDict()
        self._texts: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Those whose texts are remembered, with their characters; the oldest first."""
        self._characters = 0
        self._lock = threading.Lock()

    def add(self, said: Feedback) -> None:
        """Remember an answer; the oldest makes place for it. Where several were written to one
        question, one that answers is given and no refusal."""
        kept = replace(said, citations=said.citations[:_MOST_SPANS])
        key = said.answer, said.by
        with self._lock:
            before = self._answers.get(key)
            if said.refused and before is not None and not before.said.refused:
                return
            self._answers[key] = _Given(kept)
            self._characters -= self._texts.pop(key, 0)
            self._texts[key] = len(said.prompt) + len(said.text)
            self._characters += self._texts[key]
            while len(self._answers) > self._most:
                oldest, _ = self._answers.popitem(last=False)
                self._characters -= self._texts.pop(oldest, 0)
            while self._characters > MOST_TEXT:
                oldest, count = self._texts.popitem(last=False)
                self._characters -= count
                given = self._answers[oldest]
                given.said = replace(given.said, system="", prompt="", text="")

    def judged(self, answer: str, by: str, *, good: bool) -> Feedback | None:
        """The verdict of a key on an answer that it was given, to be noted; None where it said so
        already. Raises DataError where it was given no such answer, or changes its mind too
        often."""
        with self._lock:
            given = self._answers.get((answer, by))
            if given is None:
                raise DataError("this answer was not given here, or too long ago")
            if given.verdicts[-1:] == [good]:
                return None
            if len(given.verdicts) >= MOST_VERDICTS:
                raise DataError("this answer was judged too often")
            given.verdicts.append(good)
        return replace(given.said, good=good)


def note_feedback(index: Path, said: Feedback) -> None:
    """Append it, with the time. Raises OutputError where there is no more space for it."""
    at = said.at or datetime.now(UTC).isoformat(timespec="seconds")
    values = {**asdict(said), "at": at}
    kept = {name: values[name] for name in values if name not in _TEXTS or values[name]}
    line = json.dumps(kept, ensure_ascii=False).encode() + b"\n"
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

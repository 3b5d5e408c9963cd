"""Thumbs as preferences: what people said of answers that they were given.

Read are ``feedback.jsonl`` of an index, where answers from documents are judged, and calls of a log
that keeps contents, as ``linnet monitor export --contents --format jsonl`` writes them. Of one
answer the last verdict of each key counts. A thumb is a judged completion; an answer that was found
good and another to the same prompt that was not are a pair.

Learned from is only what was asked and answered as it stands there: a refusal, an answer whose text
or prompt was not kept, one that was cut for the log, or to more than the log has (earlier turns, a
system prompt) is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

from linnet.align.preferences import Judged, Pair
from linnet.answers.feedback import NAME
from linnet.errors import DataError
from linnet.examples.prompts import BETWEEN
from linnet.examples.record import is_examples
from linnet.finetune.row_schema import PromptRow, RowError
from linnet.finetune.rows import read_values
from linnet.progress import Progress

UNRATED = "nobody judged the answer"
CHANGED = "the verdict was changed later"
REFUSED = "the answer is a refusal, or was withheld"
UNKEPT = "its prompt or its text was not kept"
CUT_SHORT = "the log has only the beginning of it"
UNPAIRED = "no other answer to the prompt was judged the other way (--method kto needs none)"
DAMAGED = "the line is damaged"
_CUT_MARK = "more characters were not kept]"

_FIELDS = {"question", "answer", "good"}

LeaveOut: TypeAlias = Callable[[str], None]
"""Is told of each row that is not used, by the reason."""


@dataclass(frozen=True)
class _Thumb:
    """A judged answer."""

    source: str
    system: str
    prompt: str
    text: str
    good: bool
    prompt_tokens: int | None = None
    """As they were counted when it was asked, where that is known."""


def source_of(place: str | Path, progress: Progress) -> str | Path:
    """What is read where a command names a place: of an index, its thumbs; where it has examples as
    well, these, and it is said. Raises DataError for a log of calls that was not exported."""
    if str(place).startswith("hf:"):
        return place
    path = Path(place)
    thumbs = path / NAME
    if thumbs.is_file():
        if not is_examples(path):
            return thumbs
        progress.warn(f"{path}: learning from its examples; name {thumbs} to learn from thumbs")
    if path.is_file():
        with path.open("rb") as opened:
            if opened.read(16) == b"SQLite format 3\0":
                raise DataError(
                    f"{path}: expected rows. A log of calls is exported first: linnet monitor "
                    f"export {path} --contents --format jsonl > calls.jsonl"
                )
    return place


def is_thumbs(file: Path) -> bool:
    """Whether a file has verdicts on answers. Raises DataError for one that cannot be read."""
    if file.suffix.lower() != ".jsonl":
        return False
    rows = (value for _, value in read_values(file) if isinstance(value, Mapping))
    return next(rows, {}).keys() >= _FIELDS


def judged_thumbs(file: Path, leave_out: LeaveOut) -> Iterator[Judged]:
    """The verdicts of a file, each with its answer. Raises DataError, naming the row."""
    for thumb in _thumbs(file, leave_out):
        yield Judged(thumb.source, _row(thumb), thumb.good, prompt_tokens=thumb.prompt_tokens)


def pairs_of_thumbs(file: Path, leave_out: LeaveOut) -> Iterator[Pair]:
    """Of each prompt the answers that were found good beside those that were not, each in one pair
    at least. Raises DataError, naming the row."""
    prompts: dict[tuple[Any, ...], tuple[list[_Thumb], list[_Thumb]]] = {}
    for thumb in _thumbs(file, leave_out):
        key = thumb.system, thumb.prompt, thumb.prompt_tokens
        prompts.setdefault(key, ([], []))[not thumb.good].append(thumb)
    for good, bad in prompts.values():
        kept = {thumb.text for thumb in good} ^ {thumb.text for thumb in bad}
        chosen, rejected = ([t for t in some if t.text in kept] for some in (good, bad))
        unpaired = len(good) + len(bad)
        if chosen and rejected:
            unpaired -= len(chosen) + len(rejected)
            long, short = sorted((chosen, rejected), key=len, reverse=True)
            for one, other in zip(long, cycle(short), strict=False):
                better, worse = (one, other) if one.good else (other, one)
                yield Pair(
                    better.source, _row(better), _row(worse), prompt_tokens=better.prompt_tokens
                )
        for _ in range(unpaired):
            leave_out(UNPAIRED)


def _thumbs(file: Path, leave_out: LeaveOut) -> Iterator[_Thumb]:
    last = {_answer(value): source for source, value in read_values(file)}
    for source, value in read_values(file):
        if isinstance(value, RowError):
            leave_out(DAMAGED)
            continue
        if not isinstance(value, Mapping) or not value.keys() >= _FIELDS:
            raise DataError(f"{source}: expected a verdict, with question, answer and good")
        if value["good"] is None:
            leave_out(UNRATED)
        elif last[_answer(value)] != source:
            leave_out(CHANGED)
        elif value.get("refused") or value.get("state", "answered") != "answered":
            leave_out(REFUSED)
        elif (found := _thumb(value, source)) is None:
            leave_out(UNKEPT)
        elif found.text.endswith(_CUT_MARK) or found.prompt.endswith(_CUT_MARK):
            leave_out(CUT_SHORT)
        else:
            yield found


def _answer(value: Any) -> tuple[Any, ...]:
    """What a verdict is about, and whose it is."""
    if not isinstance(value, Mapping):
        return ()
    if "number" in value:  # a call of a log, which has one row
        return ("call", value["number"])
    return (str(value.get("answer")), str(value.get("by", "")))


def _thumb(value: Mapping[str, Any], source: str) -> _Thumb | None:
    """None where there is no prompt or no text."""
    is_call = "number" in value  # of a log: what is named answer is the text, and prompt a count
    prompt, text = (value.get(name) for name in (("question", "answer") if is_call else _TEXTS))
    if not (isinstance(prompt, str) and isinstance(text, str) and prompt and text.strip()):
        return None
    tokens = value.get("prompt") if is_call else None
    if is_call and not tokens:  # no model was asked
        return None
    return _Thumb(
        source, str(value.get("system") or ""), prompt, text, bool(value["good"]),
        tokens if isinstance(tokens, int) else None,
    )  # fmt: skip


_TEXTS = ("prompt", "text")


def _row(thumb: _Thumb) -> PromptRow:
    between = BETWEEN if thumb.prompt_tokens is None else ""
    return PromptRow(thumb.source, thumb.prompt, thumb.text, between, system=thumb.system)

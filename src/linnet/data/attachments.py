"""One file to one text, for whoever shows it to a model: nothing is masked, judged or kept.

Read as every document is (``linnet.data.extract``): in a confined process, bounded in time, memory
and size. What is left out is said by part and reason.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.config import from_mapping, to_mapping
from linnet.data import kinds
from linnet.data.clean import clean
from linnet.data.config import DataConfig
from linnet.data.document import Dropped
from linnet.data.executor import ProcessPool
from linnet.data.extract import Context, extract
from linnet.errors import DataError

if TYPE_CHECKING:
    from linnet.data.executor import Answer
    from linnet.data.worker import Job

READ = f"{__name__}:read_parts"
MOST_CHARACTERS = 1_000_000
MOST_SECONDS = 60.0
"""Of the whole file; one that says nothing for half of that is given up, too."""
MOST_LEFT_OUT = 50
"""Parts of which it is told by name that they were left out."""
_BETWEEN = "\n\n"  # parts
_SETTINGS = DataConfig(
    privacy="keep", min_characters=1, cut_above=MOST_CHARACTERS, max_document_bytes=64_000_000,
    max_expanded_bytes=200_000_000, max_nesting=2, file_timeout=MOST_SECONDS / 2, file_memory=1000,
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """A part of a file that the text does not have, and why."""

    part: str
    reason: str


@dataclass(frozen=True)
class Attachment:
    """The text of a file. ``characters``: of the whole, of which ``text`` may be the beginning."""

    name: str
    kind: str
    text: str
    characters: int
    left_out: tuple[LeftOut, ...] = ()
    more_left_out: int = 0
    """Parts that were left out beyond those."""


def check_attachment(name: str) -> None:
    """Raise DataError where a file of this name is none that can be read."""
    if reason := kinds.refusal(name):
        raise DataError(f"{kinds.printable(name)} cannot be read: {reason}")


def read_attachment(
    path: Path, name: str, *, most: int = MOST_CHARACTERS, seconds: float = MOST_SECONDS
) -> Attachment:
    """The text of a file that goes by ``name``, of at most so many characters.

    Raises DataError where there is none, or it takes longer than ``seconds``.
    """
    check_attachment(name)
    shown = kinds.printable(name)
    kind = kinds.kind_of(name)
    if kind and (program := kinds.lacking(kind, path)):
        raise DataError(f"{shown} cannot be read: {program}")
    config = dataclasses.replace(_SETTINGS, file_timeout=seconds / 2)
    pool = ProcessPool(1, timeout=config.file_timeout, memory_mb=config.file_memory)
    item = {"path": str(path), "kind": kind, "name": name, "most": most}
    end = time.monotonic() + seconds
    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        spools = Path(place) / "spools"
        spools.mkdir()
        for answer in pool.map(READ, [(0, item)], settings=to_mapping(config), spools=spools):
            parts += answer.messages
            if time.monotonic() > end and not answer.done:
                raise DataError(f"{shown} cannot be read: it takes longer than {seconds:g} s")
            if answer.reason:
                raise DataError(f"{shown} cannot be read: {_reason(answer)}")
        texts = [_with_text(part, spools) for part in parts if "place" in part]
    dropped = [LeftOut(part["part"], part["dropped"]) for part in parts if "dropped" in part]
    if not any(text.strip() for text in texts):
        reason = dropped[0].reason if dropped else "it has no text"
        raise DataError(f"{shown} cannot be read: {reason}")
    text = _BETWEEN.join(filter(None, texts))
    return Attachment(
        shown, next((part["kind"] for part in parts if "kind" in part), kind or ""), text,
        len(text) + sum(part.get("cut", 0) for part in parts),
        tuple(dropped[:MOST_LEFT_OUT]), max(len(dropped) - MOST_LEFT_OUT, 0),
    )  # fmt: skip


def read_parts(item: dict[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """The parts of a file, as messages; run in a worker."""
    config = from_mapping(DataConfig, job.settings, where="worker")
    context = Context.of_file(config, item["name"], job.scratch)
    left: int = item["most"]
    for found in extract(Path(item["path"]), kind=item["kind"], context=context):
        if isinstance(found, Dropped):
            yield {"dropped": found.reason, "part": found.part}
            continue
        if left <= 0:  # counted, but not cleaned: a long file is to end in time
            yield {"kind": found.kind, "cut": len(found.text)}
            continue
        known = kinds.KINDS.get(found.kind)
        text = clean(found.text, found.family or (known.family if known else "prose")).text
        # A row has a number as its part, which says nothing to whoever reads it.
        title = "" if found.part.startswith("#") or not found.part else f"[{found.part}]\n"
        text = title + text
        yield {"kind": found.kind, "cut": max(len(text) - left, 0), "place": job.store(text[:left])}
        left -= len(text) + len(_BETWEEN)


def _with_text(part: dict[str, Any], spools: Path) -> str:
    spool, offset, size = part["place"]
    if not size:  # a spool of nothing but empty texts is removed
        return ""
    with (spools / spool).open("rb") as file:
        file.seek(offset)
        text: bytes = file.read(size)
        return text.decode("utf-8")


def _reason(answer: Answer) -> str:
    return f"{answer.reason} ({answer.detail})" if answer.detail else answer.reason

"""The map of the data stage: one file to its cleaned, masked and tagged documents.

Runs in workers (``linnet.data.executor``). Everything that depends on one
document alone happens here; what depends on others is decided afterwards, from
the tags, so that thresholds can change without reading a file again.
"""

from __future__ import annotations

import difflib
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.config import from_mapping
from linnet.data import kinds, language, repeats, shingles
from linnet.data.blocks import structure_of
from linnet.data.clean import clean
from linnet.data.config import DataConfig
from linnet.data.document import Dropped, text_id
from linnet.data.extract import Context, extract
from linnet.data.privacy import Scrubber
from linnet.data.signals import signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.document import Extracted
    from linnet.data.kinds import Family
    from linnet.data.privacy import Scrubbed
    from linnet.data.worker import Job


FORMAT = 2  # raised when the same text comes to be noted differently
READ, STRIP = f"{__name__}:read", f"{__name__}:strip"
_SHOWN = 16  # one document in so many can be shown with what was changed in it


def read(item: dict[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """The documents of one file, as messages for the catalog.

    ``item``: path, kind, group. A message is ``{"dropped": reason, "part": ...}`` or
    a document. Raises UnreadableError when the file yields nothing.
    """
    config = _config(json.dumps(job.settings))
    scrubber = Scrubber.of(config)
    context = Context.of_file(config, item["group"], job.scratch)
    for found in extract(Path(item["path"]), kind=item["kind"], context=context):
        if isinstance(found, Dropped):
            yield {"dropped": found.reason, "part": found.part}
        else:
            yield _document(found, config, scrubber, job)


@functools.lru_cache(maxsize=1)
def _config(settings: str) -> DataConfig:
    """The settings, which are the same for all files of a run."""
    return from_mapping(DataConfig, json.loads(settings), where="worker")


def _document(found: Extracted, config: DataConfig, scrubber: Scrubber, job: Job) -> dict[str, Any]:
    known = kinds.KINDS.get(found.kind)
    family = found.family or (known.family if known else "prose")
    cleaned = clean(found.text, family)
    scrubbed = scrubber.scrub(cleaned.text, family)
    text = scrubbed.text
    least = 1 if family == "symbols" else config.min_characters  # water is "O"
    if len(text.strip()) < least:
        return {"dropped": "shorter than min_characters", "part": found.part}
    identity = text_id(text)
    positions = cleaned.positions + scrubbed.positions
    structure = structure_of(found.text, family).moved(positions)
    changes = {**found.changes, **cleaned.changes}
    shown = (changes or scrubbed.counts) and int(identity[:4], 16) % _SHOWN == 0
    group = found.group or identity
    if config.privacy != "keep" and scrubber.scrub(group, family).counts:
        group = text_id(group)  # the column that groups rows held an address, say
    return {
        "id": identity,
        "part": found.part,
        "group": group,
        "kind": found.kind,
        "family": family,
        "thread": found.thread and text_id(found.thread),  # it names people
        "place": job.store(text),
        "blocks": structure.pack().hex(),
        "changes": changes,
        "private": scrubbed.counts,
        "difference": _difference(found.text, scrubbed, family, scrubber) if shown else "",
        **tag(text, family),
        **({"edges": ""} if found.cut else {}),
    }


def _difference(before: str, after: Scrubbed, family: Family, scrubber: Scrubber) -> str:
    """What was changed in a text, masked on both sides.

    Empty where cleaning made something private be seen, such as an address that was
    broken at a line end: it cannot be masked in the text as it was.
    """
    masked = scrubber.scrub(before, family)
    return difference(masked.text, after.text) if masked.counts == after.counts else ""


def strip(item: dict[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """Documents without the lines that many of their source begin or end with.

    ``item``: ``lines`` (hashes), ``spools`` (a folder), ``documents`` as
    (number, spool, offset, bytes). A message for each document that changed.
    """
    repeated = frozenset(item["lines"])
    for number, spool, offset, size in item["documents"]:
        with (Path(item["spools"]) / spool).open("rb") as file:
            file.seek(offset)
            edited, count = repeats.strip(file.read(size).decode("utf-8"), repeated)
        if count:
            yield {
                "number": number,
                "id": text_id(edited.text),
                "place": job.store(edited.text),
                "lines": count,
                "bands": shingles.bands(edited.text).hex(),
                "positions": edited.positions.as_lists(),
            }


_SPOKEN: tuple[Family, ...] = ("prose", "web", "mail")  # what is written in a language
_SHOWN_LINES, _SHOWN_CHARACTERS = 40, 200
_COMPARED = 50_000  # characters of a document that a difference is made of


def tag(text: str, family: Family) -> dict[str, Any]:
    """Language, quality signals, MinHash bands and the first and last lines, as JSON values."""
    spoken, sure = language.identify(text) if family in _SPOKEN else ("", 0.0)
    measured = signals(text, family, spoken)
    return {
        "language": spoken,
        "quality": {**measured, "language": round(sure, 4)} if spoken else measured,
        "bands": shingles.bands(text).hex(),
        "edges": repeats.pack(repeats.edges(text)).hex() if family in _SPOKEN else "",
    }


def difference(before: str, after: str) -> str:
    """What cleaning changed, as the start of a unified diff without context."""
    old, new = (text[:_COMPARED].splitlines() for text in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
    shown = [line[:_SHOWN_CHARACTERS] for line in lines[:_SHOWN_LINES]]
    return "\n".join([*shown, "..."] if len(lines) > _SHOWN_LINES else shown)

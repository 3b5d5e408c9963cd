"""Where in a corpus something private was masked, and what stood there, if that can be told.

A corpus keeps no private value: its catalog counts them, and the text has a mask or a pseudonym
in their place. Values are read anew, from the files that the corpus was made of, where these are
still as they were; they stay in memory. Where the settings kept what was found, it stands in the
text itself.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.config import from_mapping
from linnet.data import catalog, kinds
from linnet.data.clean import clean
from linnet.data.config import DataConfig
from linnet.data.document import Dropped
from linnet.data.executor import ProcessPool
from linnet.data.extract import Context, extract
from linnet.data.files import scan
from linnet.data.locating import kept_texts
from linnet.data.privacy import Scrubber, masked_spans
from linnet.errors import ConfigError, LinnetError
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from linnet.data.kinds import Family
    from linnet.data.worker import Job

READ = f"{__name__}:read_private"


@dataclass(frozen=True)
class MaskedPlace:
    """A place of a document where something private stood, or stands."""

    source: str
    """The document, by its name in the corpus."""
    split: str
    kind: str
    start: int
    """In the text that the corpus has."""
    before: str
    """The text in front of it, as much as was wanted."""
    family: Family
    number: int
    """Which of the places of its document it is."""
    of: int
    value: str | None = field(default=None, repr=False)
    """What stood there; None where that is not known. Never to be shown."""


def masked_places(corpus: Path | str, *, before: int) -> Iterator[MaskedPlace]:
    """All such places of the documents that a corpus kept, each with ``before`` characters of the
    text in front of it."""
    found = artifact.read(corpus, kind="corpus")
    settings = found.manifest.config
    mode = settings.get("privacy", "mask")
    finder = scrubber_of(settings)
    of_kinds = tuple(found.manifest.stats.get("private", ()))
    if not of_kinds:
        return
    for document in kept_texts(found.path):
        text, family = document.text, document.family
        if mode == "keep":
            spans = finder.find(text, family)
        else:
            spans = list(masked_spans(text, of_kinds, pseudonyms=mode == "pseudonym"))
        for number, span in enumerate(spans):
            split = next((s for a, b, s in document.splits if a <= span.start < b), "")
            if split:
                yield MaskedPlace(
                    document.source, split, span.kind, span.start,
                    text[max(0, span.start - before) : span.start], family, number, len(spans),
                    text[span.start : span.end] if mode == "keep" else None,
                )  # fmt: skip


def scrubber_of(settings: Mapping[str, Any]) -> Scrubber:
    """What finds private values, by a corpus's settings, whatever these did with them."""
    return Scrubber(
        "mask",
        "",
        tuple(settings.get("privacy_patterns", ())),
        tuple(settings.get("privacy_allow", ())),
        names=bool(settings.get("privacy_names", False)),
    )


def private_values(
    corpus: Path | str, sources: Collection[str], *, progress: Progress = SILENT
) -> dict[str, list[tuple[str, str]]]:
    """What was masked in documents, kind and value in order, by the document's name.

    Only of files that are where they were and have not changed; they are read in confined
    processes. Of others nothing is returned.
    """
    corpus = Path(corpus)
    meta = catalog.read_meta(corpus / catalog.NAME)
    try:
        settings = _settings(meta)
        chosen = meta.get("selection", {})
        listed = scan(
            [source for source in meta.get("sources", ()) if Path(source).is_absolute()],
            include=chosen.get("include", ()),
            ignore=chosen.get("exclude", ()),
            gitignore=bool(chosen.get("gitignore", False)),
            images=settings.get("ocr") == "tesseract",
        ).files
    except LinnetError:
        return {}
    contents = _contents(corpus)
    wanted = [
        file
        for file in listed
        if file.name in contents
        and any(name == file.name or name.startswith(f"{file.name}/") for name in sources)
    ]
    items = [
        (number, {"path": file.path, "kind": file.kind, "group": file.group})
        for number, file in enumerate(wanted)
        if artifact.hash_file(Path(file.path)) == contents[file.name]
    ]
    found: dict[str, list[tuple[str, str]]] = {}
    config = DataConfig()
    pool = ProcessPool(1, timeout=config.file_timeout, memory_mb=config.file_memory)
    with (
        tempfile.TemporaryDirectory() as place,
        progress.task("reading what was masked", total=len(items), unit="files") as task,
    ):
        spools = Path(place) / "spools"
        spools.mkdir()
        for answer in pool.map(READ, items, settings=settings, spools=spools):
            for message in answer.messages:
                name = wanted[answer.number].name
                name = f"{name}/{message['part']}" if message["part"] else name
                found[name] = [(kind, value) for kind, value in message["found"]]
            task.advance(answer.done)
    return {name: values for name, values in found.items() if name in sources}


def read_private(item: dict[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """The private values of the documents of one file, as messages; run in a worker."""
    config = from_mapping(DataConfig, job.settings, where="worker")
    finder = Scrubber.of(config)
    context = Context.of_file(config, item["group"], job.scratch)
    for found in extract(Path(item["path"]), kind=item["kind"], context=context):
        if isinstance(found, Dropped):
            continue
        known = kinds.KINDS.get(found.kind)
        family: Family = found.family or (known.family if known else "prose")
        text = clean(found.text, family).text
        yield {
            "part": found.part,
            "found": [(s.kind, text[s.start : s.end]) for s in finder.find(text, family)],
        }


def with_values(
    places: Iterable[MaskedPlace], values: Mapping[str, list[tuple[str, str]]]
) -> list[MaskedPlace]:
    """The places with what stood there, where the document has as many of the same kinds.

    A line that was taken out of a document, or a value within another, makes them differ.
    """
    found = []
    for place in places:
        own = values.get(place.source, ())
        if place.value is None and len(own) == place.of and own[place.number][0] == place.kind:
            place = replace(place, value=own[place.number][1])
        found.append(place)
    return found


def _settings(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which files were read, but for finding everything."""
    names = {name for name in meta.get("extraction", {}) if name in DataConfig.__annotations__}
    if not names:
        raise ConfigError("the catalog has no settings")
    kept = {name: meta["extraction"][name] for name in names if name != "privacy_key"}
    return {**kept, "privacy": "mask"}


def _contents(corpus: Path) -> dict[str, str]:
    """The hash of each file's content, by its name in the corpus."""
    try:
        with closing(catalog.open_to_read(corpus / catalog.NAME)) as connection:
            return dict(connection.execute("SELECT name, content FROM files"))
    except sqlite3.Error:
        return {}

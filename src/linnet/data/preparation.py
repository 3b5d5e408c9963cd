"""The data stage: sources in, a corpus of clean, deduplicated, divided documents out.

The steps, each bounded in memory:

1. Survey: which files are there, with a hash of each (``survey``).
2. Take over what an earlier corpus in the same place has of unchanged files.
3. Read the other files in parallel; texts go to spool files (``pool``).
4. Drop repeated texts, keeping the first; where documents are few, cut them.
5. Write each document to its split in the order of files (``split``, ``storage``).

The result is a function of the sources and the settings: the number of workers
and what was there before leave no trace in it. (One thing is kept on purpose:
whether documents or pieces are held out, once ``auto`` has decided it.)
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.artifact import Artifact, Draft
from linnet.data import extract, pieces
from linnet.data.catalog import NAME, Catalog, Entry, read_meta
from linnet.data.config import DataConfig
from linnet.data.document import SPLITS, Document, text_id
from linnet.data.pool import Answer, Request, read_files
from linnet.data.report import PIECES_WARNING, Tally, build_report, summary
from linnet.data.split import fit_borders
from linnet.data.storage import SplitWriter, Spools, read_documents
from linnet.data.survey import Survey, survey
from linnet.errors import ArtifactError, DataError, OutputError
from linnet.progress import SILENT, Progress
from linnet.runtime import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linnet.data.files import Scan

KIND = "corpus"
FORMAT = 1
FEW_DOCUMENTS = 40  # with fewer, single documents are too coarse to hold out
_SPACE = 2.0  # disk needed while working, in sizes of the sources
_DEFAULTS = DataConfig()


def prepare(
    sources: Sequence[str | Path],
    out: Path,
    config: DataConfig = _DEFAULTS,
    *,
    exclude: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> Artifact:
    """Make a corpus of the files, folders or ``python:library`` in ``sources``.

    ``exclude``: directories inside the sources to pass over. ``out`` itself is
    passed over always. Raises DataError when a source is missing or nothing in
    the sources can be read; single bad files are listed in ``report.json``.
    """
    found = survey(sources, corpus=out, exclude=exclude, progress=progress)
    if not found.scan.files:
        raise DataError(_nothing_readable(sources, found.scan, Counter()))
    inputs = {"sources": found.fingerprint}
    recipe = artifact.recipe_hash(KIND, FORMAT, config.recipe(), inputs)
    existing = artifact.current(out, recipe, kind=KIND)
    if existing is not None and not existing.stats["unsettled"]:
        return existing
    total = sum(file.size for file in found.scan.files)
    artifact.require_space(out, int(total * _SPACE), purpose="preparing the documents")
    with artifact.create(
        out,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=("report.json",),
    ) as draft:
        try:
            _Preparation(draft, out, found, config, progress).run(sources)
        except sqlite3.OperationalError as error:
            raise OutputError(f"{draft.path}: the catalog cannot be written ({error})") from None
    return artifact.read(out, kind=KIND)


class _Preparation:
    """One run of the stage; its methods are the steps."""

    def __init__(
        self, draft: Draft, out: Path, found: Survey, config: DataConfig, progress: Progress
    ) -> None:
        self.draft = draft
        self.out = out
        self.found = found
        self.config = config
        self.progress = progress
        _discard_unsound(draft)
        self.catalog = Catalog(draft.path / NAME)
        self.spools = Spools(draft.path / "spools")

    def run(self, sources: Sequence[str | Path]) -> None:
        files = self.found.scan.files
        self.catalog.add_files(zip(files, self.found.contents, strict=True))
        self.catalog.discard_unfinished()
        self._take_over()
        self._read_files()
        if not self.catalog.count("SELECT count(*) FROM documents"):
            message = _nothing_readable(sources, self.found.scan, self._reasons())
            self._close()
            shutil.rmtree(self.draft.path)
            raise DataError(message)
        split_by = self._split_by()
        if split_by == "piece":
            self.progress.warn(PIECES_WARNING)
            self._cut()
        tally = self._write(split_by)
        report = build_report(self.catalog, self.found.scan, tally, split_by=split_by)
        artifact.write_json(self.draft.path / "report.json", report)
        unsettled = self.catalog.count("SELECT count(*) FROM files WHERE transient")
        self.draft.stats.update(summary(report), unsettled=unsettled)
        self.catalog.set_meta("extraction", _extraction(self.config))
        self.catalog.drop_working_tables()
        self._close()
        shutil.rmtree(self.spools.folder)

    def _close(self) -> None:
        self.catalog.close()
        self.spools.close()

    def _take_over(self) -> None:
        """Use the existing corpus for files that have not changed."""
        old = self.out / NAME
        if read_meta(old).get("extraction") == _extraction(self.config):
            self.catalog.adopt(old)
            self._copy_texts()
            self._assemble()
        self.catalog.forget_incomplete()
        self.catalog.commit()

    def _copy_texts(self) -> None:
        """Copy what is still wanted of the existing corpus's texts into a spool."""
        total = self.catalog.count("SELECT count(*) FROM documents")
        with self.progress.task("taking over documents", total=total) as task:
            try:
                for split in SPLITS:
                    for document in read_documents(self.out, split, columns=("id", "text")):
                        if self.catalog.lacks_text(document.id):
                            place = self.spools.add(document.text)
                            self.catalog.add_text(document.id, *place)
                            task.advance()
            except ArtifactError:  # the old corpus is damaged: what is missing is read again
                return

    def _assemble(self) -> None:
        """Put together the documents that the existing corpus holds in pieces."""
        for identity, parts in self.catalog.cut_documents():
            places = [self.catalog.find_text(piece) for piece, _ in parts]
            if self.catalog.find_text(identity) is None and None not in places:
                texts = [self.spools.read(*place) for place in places if place]
                gaps = [gap for _, gap in parts]
                text = "".join(text + gap for text, gap in zip(texts, gaps, strict=True))
                self.catalog.add_text(identity, *self.spools.add(text))

    def _read_files(self) -> None:
        files = self.found.scan.files
        numbers = self.catalog.unfinished()
        requests = [Request(n, files[n].path, files[n].kind, files[n].group) for n in numbers]
        if not requests:
            return
        total = sum(files[n].size for n in numbers)
        progress = self.progress.task("reading documents", total=total, unit="bytes")
        workers = self.config.workers or usable_cores()
        first: Counter[int] = Counter()
        with progress as task:
            for answer in read_files(requests, self.spools.folder, self.config, workers=workers):
                self.catalog.take(answer, first[answer.number])
                first[answer.number] += len(answer.documents)
                if answer.done:
                    del first[answer.number]
                    self.catalog.finish(self._checked(answer))
                    self.catalog.commit()
                    task.advance(files[answer.number].size)

    def _checked(self, answer: Answer) -> Answer:
        """The answer, unless the file changed after it was hashed."""
        file = self.found.scan.files[answer.number]
        try:
            status = os.stat(file.path)
            same = status.st_size == file.size and file.mtime_ns in (0, status.st_mtime_ns)
        except OSError:
            same = False
        if same:
            return answer
        reason = "changed while it was being read"
        return Answer(answer.number, [], done=True, reason=reason, transient=True)

    def _split_by(self) -> str:
        if self.config.split_by != "auto":
            return self.config.split_by
        try:
            before = artifact.read(self.out, kind=KIND)
        except ArtifactError:
            before = None
        if before is not None and before.manifest.config.get("split_by") == "auto":
            return str(before.stats["split_by"])
        groups = self.catalog.count("SELECT count(DISTINCT grp) FROM documents")
        return "piece" if groups < FEW_DOCUMENTS else "document"

    def _cut(self) -> None:
        for entry in self.catalog.entries():
            parts = pieces.cut(self.spools.read(entry.spool, entry.offset, entry.bytes))
            if len(parts) > 1:
                named = [(text_id(text), text, gap) for text, gap in parts]
                self.catalog.set_pieces(entry.id, [(name, gap) for name, _, gap in named])
                for name, text, _ in named:
                    self.catalog.add_text(name, *self.spools.add(text))

    def _items(self) -> Iterator[Entry]:
        """Documents, or their pieces, each text once."""
        written: set[str] = set()
        cut = dict(self.catalog.cut_documents())
        for entry in self.catalog.entries():
            if not cut:
                yield entry
                continue
            for identity, place in self._places(entry, cut.get(entry.id)):
                if identity not in written:
                    written.add(identity)
                    group = identity if entry.id in cut else entry.group
                    yield Entry(identity, entry.source, group, entry.kind, *place)

    def _places(
        self, entry: Entry, parts: list[tuple[str, str]] | None
    ) -> Iterator[tuple[str, tuple[str, int, int]]]:
        if parts is None:
            yield entry.id, (entry.spool, entry.offset, entry.bytes)
            return
        for identity, _ in parts:
            place = self.catalog.find_text(identity)
            assert place is not None
            yield identity, place

    def _write(self, split_by: str) -> Tally:
        borders = fit_borders(lambda: (entry.group for entry in self._items()), self.config)
        tally = Tally()
        writers = {split: SplitWriter(self.draft.path, split) for split in SPLITS}
        total = self.catalog.count("SELECT count(DISTINCT id) FROM documents")
        with self.progress.task("writing documents", total=total) as task:
            for entry in self._items():
                text = self.spools.read(entry.spool, entry.offset, entry.bytes)
                document = Document(
                    entry.id, entry.source, entry.group, entry.kind, text, entry.bytes
                )
                split = borders.split_of(entry.group)
                writers[split].add(document)
                tally.add(document, split)
                task.advance()
        for writer in writers.values():
            writer.close()
        return tally

    def _reasons(self) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for _, _, reason, _, dropped in self.catalog.files():
            if reason:
                reasons[reason] += 1
            elif dropped:
                reasons[max(dropped, key=lambda name: dropped[name])] += 1
        return reasons


def _extraction(config: DataConfig) -> dict[str, Any]:
    """What must be equal for a file's documents to be used again."""
    return json.loads(json.dumps({**config.extraction(), "format": extract.FORMAT}))  # type: ignore[no-any-return]


def _discard_unsound(draft: Draft) -> None:
    """Start anew where what an interrupted run left does not hold together."""
    if not draft.resumed:
        return
    sound = False
    spools = draft.path / "spools"
    try:
        catalog = Catalog(draft.path / NAME)
        ends = catalog.connection.execute(
            "SELECT spool, max(offset + bytes) FROM texts GROUP BY spool"
        ).fetchall()
        catalog.close()
        sound = all((spools / name).stat().st_size >= end for name, end in ends)
    except (OSError, sqlite3.DatabaseError):
        pass
    for left in draft.path.glob("*.parquet"):
        left.unlink()
    if not sound:
        shutil.rmtree(spools, ignore_errors=True)
        (draft.path / NAME).unlink(missing_ok=True)


def _nothing_readable(sources: Sequence[str | Path], found: Scan, reasons: Counter[str]) -> str:
    named = ", ".join(str(source) for source in sources)
    reasons = reasons + Counter(file.reason for file in found.skipped)
    count = len(found.files) + len(found.skipped)
    if not count:
        hidden = sum(found.ignored.values())
        what = f"only hidden files and the like ({hidden})" if hidden else "it is empty"
        return f"{named}: no documents found, {what}; name a folder with text files in it"
    listed = "; ".join(f"{number} x {reason}" for reason, number in reasons.most_common(3))
    return (
        f"{named}: none of {count} files can be used ({listed}); text, Markdown, HTML, "
        "reStructuredText, source code, JSON and CSV can"
    )

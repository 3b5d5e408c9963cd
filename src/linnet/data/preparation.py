"""The data stage: sources in, a corpus of clean, deduplicated, divided documents out.

The steps, each bounded in memory:

1. Survey: which files are there, with a hash of each (``survey``).
2. Take over what an earlier corpus in the same place has of unchanged files.
3. Read the other files in parallel (``executor``, ``reading``): a map over files.
4. Judge: what is kept, and in which split (``judging``): the barrier.
5. Write each document to its split in the order of files (``writing``).

The result is a function of the sources, the settings and, on purpose, of two
things that an earlier corpus in the same place decided: which split a document
is in, and whether ``auto`` divides documents or pieces. The number of workers
leaves no trace.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.artifact import Artifact, Draft
from linnet.config import from_mapping, to_mapping
from linnet.data import extract, quality, reading
from linnet.data.catalog import (
    NAME,
    Catalog,
    Place,
    has_column,
    is_damaged,
    open_to_read,
    read_meta,
)
from linnet.data.config import DataConfig, key_fingerprint
from linnet.data.contamination import NGrams
from linnet.data.document import SPLITS
from linnet.data.executor import Answer, Executor, ProcessPool
from linnet.data.files import absolute
from linnet.data.judging import Judge
from linnet.data.privacy import Scrubber
from linnet.data.report import build_report, dominance, summary
from linnet.data.report_page import PAGE, write_page
from linnet.data.storage import TEXTS, Texts
from linnet.data.survey import CorpusInputs, nothing_readable
from linnet.data.writing import held_out_overlap, write_splits
from linnet.errors import ConfigError, DataError, OutputError
from linnet.progress import SILENT, Progress
from linnet.runtime import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


KIND = "corpus"
FORMAT = 2
FEW_DOCUMENTS = 40  # with fewer, single documents are too coarse to hold out
REPORT = "report.json"
FORGOTTEN = "forgotten"
_WORKING = "working"
_SPACE = 2.0  # disk needed while working, in sizes of the sources
_FILE = 96 << 20  # bytes that a file must be allowed to have: libraries unpack tables of so many
_DEAD_SHARE = 0.5  # of a spool that may be out of use


def prepare(
    sources: str | Path | Sequence[str | Path],
    out: Path | str,
    config: DataConfig | None = None,
    *,
    exclude: Sequence[Path] = (),
    executor: Executor | None = None,
    training: bool = True,
    may_be_empty: bool = False,
    progress: Progress = SILENT,
) -> Artifact:
    """Make a corpus of files, folders, archives, web pages, ``hf:NAME`` and ``python:library``.

    ``exclude``: directories inside the sources to pass over. ``out`` itself is
    passed over always. ``executor`` runs the work; by default processes here. ``training``:
    whether to look at what matters for that alone, such as how much of the test text stands in
    training text (which reads all of both). ``may_be_empty``: whether a corpus without a document
    is made where none is left, since all were forgotten.
    Raises DataError when a source is missing or nothing in the sources can be
    read; single bad files are listed in ``report.json``.
    """
    sources = [sources] if isinstance(sources, str | Path) else sources
    config, out = config or DataConfig(), Path(out)
    # Settings that cannot work are told now, not by a process that reads files.
    _ = quality.rules(config.quality), Scrubber.of(config)
    files = CorpusInputs.survey(sources, out, config, exclude=exclude, progress=progress)
    found, inputs = files.found, files.hashes()
    if not found.scan.files and not may_be_empty:
        raise DataError(nothing_readable(sources, found.scan, Counter()))
    executor = executor or ProcessPool(
        config.workers or usable_cores(), timeout=config.file_timeout, memory_mb=config.file_memory
    )

    def write(draft: Draft) -> None:
        total = sum(file.size for file in found.scan.files)
        output.require_file_size(_FILE, purpose="preparing the documents")
        output.require_space(out, int(total * _SPACE), purpose="preparing the documents")
        try:
            with _Preparation(draft, out, files, config, executor, progress) as work:
                work.run(sources, training=training, may_be_empty=may_be_empty)
        except sqlite3.OperationalError as error:
            raise OutputError(f"{draft.path}: the catalog cannot be written ({error})") from None

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=(REPORT, PAGE, f"{TEXTS}/*"),
        working=_WORKING,
        reuse=lambda made: not made.stats["unsettled"],
    )


def made_with(corpus: Path, *, privacy_key: str = "") -> tuple[DataConfig, list[str]]:
    """The settings and sources that a corpus was made with.

    ``privacy_key`` is needed for one that was made with one. Raises ConfigError where it is
    missing or another, DataError for a corpus that does not say what it was made from.
    """
    made = artifact.read(corpus, kind=KIND).manifest.config
    if made.get("privacy_key"):
        if not privacy_key:
            raise ConfigError(f"{corpus} was made with a privacy key; give it: --privacy-key")
        if key_fingerprint(privacy_key) != made["privacy_key"]:
            raise ConfigError(f"{corpus} was made with another privacy key than this one")
        made = {**made, "privacy_key": privacy_key}
    meta = read_meta(corpus / NAME)
    if not meta.get("sources"):
        raise DataError(f"{corpus} does not say what it was made from; prepare it again")
    chosen = meta.get("selection", {})
    return from_mapping(DataConfig, {**made, **chosen}, where=str(corpus)), meta["sources"]


class _Preparation:
    """One run of the stage; its methods are the steps."""

    def __init__(
        self,
        draft: Draft,
        out: Path,
        files: CorpusInputs,
        config: DataConfig,
        executor: Executor,
        progress: Progress,
    ) -> None:
        self.draft, self.out = draft, out
        self.old = out / NAME  # the catalog of the corpus that this one replaces
        self.before: dict[str, Any] = {}  # what it was made with
        self.found, self.evaluation = files.found, files.evaluation
        forgotten = self.forgotten = files.forgotten
        self.config, self.executor, self.progress = config, executor, progress
        scan = self.found.scan
        scan.skipped = [file for file in scan.skipped if not forgotten.has_name(file.name)]
        _discard_unsound(draft)
        (draft.path / _WORKING).mkdir(exist_ok=True)
        self.catalog = Catalog(draft.path / NAME)
        self.texts = Texts(draft.path / TEXTS)
        self.split_by = config.split_by
        self.scrubber = Scrubber.of(config)

    def __enter__(self) -> _Preparation:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.catalog.close()
        self.texts.close()

    def run(
        self, sources: Sequence[str | Path], *, training: bool, may_be_empty: bool = False
    ) -> None:
        files = self.found.scan.files
        wanted = [
            (number, file, content)
            for number, (file, content) in enumerate(zip(files, self.found.contents, strict=True))
            if not self.forgotten.has_file(file, content)
        ]
        if left := len(files) - len(wanted):
            self.found.scan.ignored[FORGOTTEN] += left
        self.catalog.add_files(wanted)
        self.catalog.set_skipped((file.name, file.reason) for file in self.found.scan.skipped)
        self.catalog.discard_unfinished()
        if self.forgotten.readings - {reading_hash(_extraction(self.config))}:
            self.progress.warn(
                "documents inside files were forgotten as they were read with other settings or by "
                "another version: look whether they are back, and forget them again"
            )
        evaluation = self._evaluation_text()
        self._take_over()
        self._read_files()
        self._judge(evaluation)
        kept = self.catalog.count("SELECT count(*) FROM verdicts WHERE kept")
        if not kept and not may_be_empty:
            message = nothing_readable(sources, self.found.scan, self._reasons())
            self.__exit__()
            shutil.rmtree(self.draft.path)
            raise DataError(message)
        tally = write_splits(
            self.draft.path,
            self.catalog,
            self.texts,
            self.config,
            split_by=self.split_by,
            progress=self.progress,
            training=training,
        )
        report = build_report(
            self.catalog, self.texts, self.found.scan, tally, split_by=self.split_by
        )
        if training and self.split_by == "document":
            report["division"].update(
                held_out_overlap(self.catalog, self.texts),
                near_duplicates=self.config.near_duplicates,
            )
        for warning in dominance(self.catalog) if training else ():
            self.progress.warn(warning)
        output.write_json(self.draft.path / REPORT, report)
        write_page(self.draft.path)
        unsettled = self.catalog.count("SELECT count(*) FROM files WHERE transient")
        self.draft.stats.update(summary(report), unsettled=unsettled)
        self.catalog.set_meta("sources", [absolute(str(source)) for source in sources])
        self.catalog.set_meta("selection", selection(self.config))
        self.catalog.set_meta("extraction", _extraction(self.config))
        self.catalog.set_meta("division", _division(self.config))
        self.catalog.set_meta("split_by", self.split_by)
        self.catalog.drop_unused_texts()
        self.texts.compact(self.catalog, tolerated=0 if self.forgotten else _DEAD_SHARE)
        self.catalog.commit()

    # -- reading -----------------------------------------------------------------------

    def _take_over(self) -> None:
        """Use the existing corpus for files that have not changed."""
        if is_damaged(self.old):
            self.progress.warn(f"{self.old} is damaged: every file is read and divided again")
        else:
            self.before = read_meta(self.old)
        if self.before.get("extraction") == _extraction(self.config):
            self.catalog.adopt(self.old)
            self.catalog.drop_texts(self.forgotten.has_text, FORGOTTEN)
            self.texts.take_over(self.catalog.spools(), self.out / TEXTS)
            self._lose_damaged_spools()
        self.catalog.forget_incomplete()
        self.catalog.commit()

    def _lose_damaged_spools(self) -> None:
        """Texts that are not there any more are read again."""
        for spool, end in self.catalog.spool_ends():
            path = self.texts.folder / spool
            if not path.is_file() or path.stat().st_size < end:
                self.catalog.forget_spool(spool)

    def _read_files(self) -> None:
        files = self.found.scan.files
        numbers = self.catalog.unfinished()
        requests = ((n, _request(files[n])) for n in numbers)
        total = sum(files[n].size for n in numbers)
        first: Counter[int] = Counter()
        with self.progress.task("reading documents", total=total, unit="bytes") as task:
            for answer in self._answers(requests):
                answer = self._remembered(answer)
                first[answer.number] += self.catalog.take(answer, first[answer.number])
                if answer.done:
                    del first[answer.number]
                    self.catalog.finish(self._checked(answer))
                    self.catalog.commit()
                    task.advance(files[answer.number].size)

    def _remembered(self, answer: Answer) -> Answer:
        """The answer without the texts that are to be forgotten."""
        if not self.forgotten.texts:
            return answer
        left = {"dropped": FORGOTTEN, "part": ""}  # where it stood may say what it was
        messages = [
            left if self.forgotten.has_text(m.get("id", "")) else m for m in answer.messages
        ]
        return dataclasses.replace(answer, messages=messages)

    def _answers(self, requests: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Answer]:
        settings = to_mapping(self.config)
        return self.executor.map(
            reading.READ, requests, settings=settings, spools=self.texts.folder
        )

    def _checked(self, answer: Answer) -> Answer:
        """The answer, unless the file changed after it was hashed.

        A parser's complaint may quote the file, so it is masked as a text is.
        """
        detail = self.scrubber.scrub(answer.detail, "prose").text
        answer = dataclasses.replace(answer, detail=detail)
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

    # -- judging -----------------------------------------------------------------------

    def _judge(self, evaluation: NGrams | None) -> None:
        with self._sides() as before:
            judge = Judge(
                self.catalog,
                self.texts,
                self.config,
                self.executor,
                self.draft.path / _WORKING,
                before=before,
                evaluation=evaluation,
                progress=self.progress,
            )
            with contextlib.closing(judge):
                judge.run(by_cluster=self._whole_documents)
        self.catalog.commit()

    def _whole_documents(self, groups: int) -> bool:
        """Whether documents are divided, or pieces of them where there are few."""
        if self.split_by == "auto":
            if self.before.get("division") == _division(self.config):
                self.split_by = self.before["split_by"]
            else:
                self.split_by = "piece" if groups < FEW_DOCUMENTS else "document"
        return self.split_by == "document"

    @contextlib.contextmanager
    def _sides(self) -> Iterator[Callable[[str, str], int]]:
        """Where the corpus that this one replaces had a document, by its id or else its group."""
        if self.before.get("division") != _division(self.config):
            yield lambda identity, group: -1
            return
        with contextlib.closing(open_to_read(self.old)) as connection:

            def side(identity: str, group: str) -> int:
                for query, value in ((_SIDE_OF_ID, identity), (_SIDE_OF_GROUP, group)):
                    found = connection.execute(query, (value,)).fetchone()
                    if found:
                        return SPLITS.index(found[0])
                return -1

            yield side

    def _evaluation_text(self) -> NGrams | None:
        """The runs of words of the evaluation sets, read as any other file is."""
        if self.evaluation is None:
            return None
        folder = self.draft.path / _WORKING / "evaluation"
        folder.mkdir(exist_ok=True)
        texts = Texts(folder)
        requests = enumerate(_request(file) for file in self.evaluation.scan.files)
        settings = to_mapping(self.config)
        places: dict[int, list[Place]] = {}
        for answer in self.executor.map(reading.READ, requests, settings=settings, spools=folder):
            mine = places.setdefault(answer.number, [])
            mine += [tuple(m["place"]) for m in answer.messages if "place" in m]
            if answer.reason:
                name = self.evaluation.scan.files[answer.number].name
                raise DataError(f"evaluation set {name} cannot be read: {answer.reason}")
        every = (place for number in sorted(places) for place in places[number])
        found = NGrams.of(texts.read(place) for place in every)
        texts.close()
        return found

    def _reasons(self) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for query in (
            "SELECT reason, count(*) FROM files WHERE reason != '' GROUP BY reason",
            "SELECT reason, count(*) FROM dropped GROUP BY reason",
            "SELECT reason, count(*) FROM verdicts WHERE NOT kept GROUP BY reason",
        ):
            reasons.update(dict(self.catalog.rows(query)))
        return reasons


_SIDE_OF_ID = "SELECT side FROM verdicts WHERE id = ? AND side != '' LIMIT 1"
_SIDE_OF_GROUP = (
    "SELECT v.side FROM documents AS d JOIN verdicts AS v "
    "ON (v.file, v.ordinal) = (d.file, d.ordinal) WHERE d.grp = ? AND v.side != '' LIMIT 1"
)


def _request(file: Any) -> dict[str, Any]:
    return {"path": file.path, "kind": file.kind, "group": file.group}


def _extraction(config: DataConfig) -> dict[str, Any]:
    """What must be equal for a file's documents to be used again."""
    formats = {"format": extract.FORMAT, "reading": reading.FORMAT}
    return json.loads(json.dumps({**config.extraction(), **formats}))  # type: ignore[no-any-return]


def reading_hash(extraction: dict[str, Any]) -> str:
    """What tells one way of reading files from another."""
    return hashlib.sha256(json.dumps(extraction, sort_keys=True).encode()).hexdigest()


def selection(config: DataConfig) -> dict[str, Any]:
    """Which files are read, by names that hold wherever the next run is started from."""
    chosen = {name: getattr(config, name) for name in ("include", "exclude", "gitignore")}
    return {**chosen, "evaluation_sets": [absolute(name) for name in config.evaluation_sets]}


def _division(config: DataConfig) -> dict[str, Any]:
    """What must be equal for a document's split to stay."""
    names = ("validation_fraction", "test_fraction", "split_key", "split_by")
    return {name: getattr(config, name) for name in names}


def _discard_unsound(draft: Draft) -> None:
    """Start anew where what an interrupted run left does not hold together."""
    if not draft.resumed:
        return
    sound = False
    try:
        catalog = Catalog(draft.path / NAME)
        sound = has_column(catalog.connection, "documents", "blocks") and all(
            (draft.path / TEXTS / name).stat().st_size >= end for name, end in catalog.spool_ends()
        )
        catalog.close()
    except (OSError, sqlite3.DatabaseError):
        pass
    for left in draft.path.glob("*.parquet"):
        left.unlink()
    if not sound:
        shutil.rmtree(draft.path / TEXTS, ignore_errors=True)
        (draft.path / NAME).unlink(missing_ok=True)

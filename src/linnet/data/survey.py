"""What a corpus is made from: the files of its sources, evaluation sets, what is forgotten.

Have the sources changed? The files they hold, with a hash of what is in each.

A file whose size and time of change are those in the catalog of the existing
corpus is taken to hold what it held; any other is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.artifact import hash_file
from linnet.data import catalog
from linnet.data.files import Scan, SkippedFile, SourceFile, explain, scan
from linnet.data.forgetting import Forgotten
from linnet.errors import DataError
from linnet.output import named
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.data.config import DataConfig
    from linnet.data.files import Scan


# A file changed this shortly before the scan may change again without its time showing it.
_CLOCK_DOUBT_NS = 2_000_000_000
_HASHING_THREADS = 4


@dataclass(frozen=True)
class Survey:
    """What the sources hold now. ``contents`` are the hashes of ``scan.files``, in order."""

    scan: Scan
    contents: list[str]
    fingerprint: str


def survey(
    sources: Sequence[str | Path],
    *,
    corpus: Path | None = None,
    exclude: Sequence[Path] = (),
    include: Sequence[str] = (),
    ignore: Sequence[str] = (),
    gitignore: bool = False,
    images: bool = False,
    cache: Path | None = None,
    refresh: bool = False,
    progress: Progress = SILENT,
) -> Survey:
    """Look at every file of the sources. Raises DataError for a missing source.

    ``corpus``: an existing corpus, whose catalog saves reading what has not
    changed, or where one will be. ``cache``: where what comes from elsewhere is
    kept, beside the corpus unless given. The rest is as for ``files.scan``.
    """
    outputs = [corpus, *exclude] if corpus is not None else list(exclude)
    if cache is None and corpus is not None:
        cache = named(corpus).with_name(f"{named(corpus).name}.sources")
    now = time.time_ns()
    found = scan(
        sources,
        exclude=outputs,
        include=include,
        ignore=ignore,
        gitignore=gitignore,
        images=images,
        cache=cache,
        refresh=refresh,
        progress=progress,
    )
    known = catalog.known_files(corpus / catalog.NAME) if corpus is not None else {}
    hashes: list[str | None] = []
    for file in found.files:
        size, mtime, hashed = known.get(file.name, (-1, -1, ""))
        hashes.append(hashed if (file.size, file.mtime_ns) == (size, mtime) else None)
    unknown = [file for file, hashed in zip(found.files, hashes, strict=True) if hashed is None]
    fresh = iter(_hash_all(unknown, progress))

    files: list[SourceFile] = []
    contents: list[str] = []
    for file, content in zip(found.files, hashes, strict=True):
        value = content or next(fresh)
        if isinstance(value, SkippedFile):
            found.skipped.append(value)
            continue
        if file.mtime_ns > now - _CLOCK_DOUBT_NS:
            file = dataclasses.replace(file, mtime_ns=0)  # to be read again next time
        files.append(file)
        contents.append(value)
    found.files = files
    found.skipped.sort(key=lambda file: (file.name, file.reason))
    return Survey(found, contents, _fingerprint(found, contents))


def _hash_all(files: Sequence[SourceFile], progress: Progress) -> list[str | SkippedFile]:
    total = sum(file.size for file in files)
    results: list[str | SkippedFile] = []
    with (
        progress.task("looking for changes", total=total, unit="bytes") as task,
        ThreadPoolExecutor(_HASHING_THREADS) as threads,
    ):
        for file, result in zip(files, threads.map(_hash_one, files), strict=True):
            results.append(result)
            task.advance(file.size)
    return results


def _hash_one(file: SourceFile) -> str | SkippedFile:
    try:
        return hash_file(Path(file.path))
    except OSError as error:
        return SkippedFile(file.name, explain(error))


def _fingerprint(found: Scan, contents: Sequence[str]) -> str:
    """Also of what was skipped, so that a file that becomes readable is noticed."""
    lines = [
        *(f"{file.name}\0{content}" for file, content in zip(found.files, contents, strict=True)),
        *(f"{file.name}\0skipped: {file.reason}" for file in found.skipped),
    ]
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(line.encode("utf-8") + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class CorpusInputs:
    """What a corpus is made from."""

    found: Survey
    evaluation: Survey | None
    forgotten: Forgotten

    @classmethod
    def survey(
        cls,
        sources: Sequence[str | Path],
        out: Path,
        config: DataConfig,
        *,
        exclude: Sequence[Path],
        progress: Progress,
    ) -> CorpusInputs:
        evaluation = _evaluation_sets(config, progress) if config.evaluation_sets else None
        found = survey(
            sources,
            corpus=out,
            exclude=exclude,
            include=config.include,
            ignore=config.exclude,
            gitignore=config.gitignore,
            images=config.ocr == "tesseract",
            progress=progress,
        )
        return cls(found, evaluation, Forgotten.beside(out))

    def hashes(self) -> dict[str, str]:
        """By role: the content hash."""
        inputs = {"sources": self.found.fingerprint}
        if self.evaluation is not None:
            inputs["evaluation"] = self.evaluation.fingerprint
        if self.forgotten:
            inputs["forgotten"] = self.forgotten.fingerprint()
        return inputs


def current_inputs(
    sources: Sequence[str | Path], out: Path, config: DataConfig, *, exclude: Sequence[Path] = ()
) -> dict[str, str]:
    """The content hashes that a corpus in ``out`` would have as its inputs if it were made now."""
    return CorpusInputs.survey(sources, out, config, exclude=exclude, progress=SILENT).hashes()


def _evaluation_sets(config: DataConfig, progress: Progress) -> Survey:
    """The files of the evaluation sets. Raises DataError where there is none to read."""
    found = survey(config.evaluation_sets, progress=progress)
    if not found.scan.files:
        why = nothing_readable(config.evaluation_sets, found.scan, Counter())
        raise DataError(f"evaluation sets: {why}")
    for file in found.scan.skipped:
        progress.warn(f"evaluation set {file.name} is not read: {file.reason}")
    return found


def nothing_readable(sources: Sequence[str | Path], found: Scan, reasons: Counter[str]) -> str:
    named = ", ".join(str(source) for source in sources)
    reasons = reasons + Counter(file.reason for file in found.skipped)
    count = len(found.files) + len(found.skipped)
    if not count:
        hidden = sum(found.ignored.values())
        what = f"only hidden files and the like ({hidden})" if hidden else "it is empty"
        return f"{named}: no documents found, {what}; name a folder with text files in it"
    listed = "; ".join(f"{number} x {reason}" for reason, number in reasons.most_common(3))
    if not listed:
        return f"{named}: no file is left that was not forgotten or left out"
    return (
        f"{named}: none of {count} files can be used ({listed}); linnet data kinds lists what can"
    )

"""What a corpus is made from: the files of its sources, evaluation sets, what is forgotten."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.data.forgotten import Forgotten
from linnet.data.survey import Survey, survey
from linnet.errors import DataError
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.data.config import DataConfig
    from linnet.data.files import Scan


@dataclass(frozen=True)
class Material:
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
    ) -> Material:
        evaluation = _evaluation_sets(config, progress) if config.evaluation_sets else None
        found = survey(
            sources,
            corpus=out,
            exclude=exclude,
            include=config.include,
            ignore=config.exclude,
            gitignore=config.gitignore,
            progress=progress,
        )
        return cls(found, evaluation, Forgotten.beside(out))

    def inputs(self) -> dict[str, str]:
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
    return Material.survey(sources, out, config, exclude=exclude, progress=SILENT).inputs()


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
    return (
        f"{named}: none of {count} files can be used ({listed}); linnet data kinds lists what can"
    )

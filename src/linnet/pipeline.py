"""From documents to a model you can talk to: the stages in order, within a time budget.

Each stage (:mod:`linnet.stages`) is skipped when what it would make is there already, or may be
kept: a plan is made once and then frozen, so that adding a document does not change the model's
shape; a tokenizer is kept as long as it still suits the documents.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact, output, stages
from linnet.card import renew_part
from linnet.config import parse_duration, show_duration
from linnet.data.files import absolute, names_a_path
from linnet.errors import BudgetError, ConfigError, DataError, StoppedError
from linnet.evaluate import read_evaluation
from linnet.planner import Plan, read_plan
from linnet.progress import SILENT, Progress
from linnet.project import LOCK_NAME, Project, changed_settings, set_option
from linnet.report import REPORT, write_report
from linnet.stages import CONFIG_FILE, ProjectConfig, Stage

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate import Evaluation


@dataclass(frozen=True)
class Build:
    """What a build made."""

    project: Project
    model: Path
    report: Path
    evaluation: Evaluation
    plan: Plan
    seconds: float


def build(
    sources: str | Path | Sequence[str | Path] = (),
    out: Path | str = "model",
    *,
    budget: str | float | None = None,
    settings: Sequence[str] = (),
    replan: bool = False,
    retrain_tokenizer: bool = False,
    progress: Progress = SILENT,
) -> Build:
    """Turn files and folders into a model in ``out/model``, within ``budget``: ``5m``, or seconds.

    Run again it redoes only what changed; interrupted it carries on. A model that is
    replaced stays in ``out/model.previous`` until the next one is. Without
    ``sources`` it builds the project that is in ``out`` already.
    ``settings`` are assignments such as ``train.width=128``.
    Raises ConfigError for another budget than the one that was planned for, without
    ``replan``; BusyError when another build is at work in ``out``, OutputError when
    ``out`` holds something else, DamagedError when a stage made before is broken,
    DataError and BudgetError when there is too little text or time, StoppedError
    after Ctrl-C.
    """
    started = time.monotonic()
    out = Path(out)
    sources = [sources] if isinstance(sources, str | Path) else sources
    output.check_output_directory(out, allowed=(CONFIG_FILE, f".{LOCK_NAME}.lock"))
    # What cannot work is said before anything is made.
    project = _configure(out, sources, budget, settings)
    if budget is not None and not replan:
        _refuse_other_budget(project)
    with output.lock(out / LOCK_NAME):
        is_new = not (out / CONFIG_FILE).exists()
        project = _configure(out, sources, budget, settings)
        project.save()
        try:
            flags = {"plan": replan, "tokenizer": retrain_tokenizer}
            rebuild = {stage for stage, wanted in flags.items() if wanted}
            return _Builder(project, rebuild, progress, started).run()
        except (ConfigError, DataError, BudgetError):
            if is_new and set(os.listdir(out)) <= {CONFIG_FILE, f".{LOCK_NAME}.lock"}:
                (out / CONFIG_FILE).unlink()  # nothing was made: no project begins here
            raise
        except KeyboardInterrupt:
            raise StoppedError(
                "stopped; what was finished is kept: run the same command again to carry on"
            ) from None


def _refuse_other_budget(project: Project) -> None:
    """A plan holds until it is made again, and with it the time that training takes."""
    if not artifact.is_artifact(project.stage("plan")):
        return
    planned, wanted = read_plan(project.stage("plan")).budget, project.workspace().budget
    if planned != wanted:
        raise ConfigError(
            f"{project.path} was planned for {show_duration(planned)}. Got a budget of "
            f"{show_duration(wanted)}: add --replan to plan and train again for it, or "
            "leave out --budget to keep the plan"
        )


def _configure(
    out: Path, sources: Sequence[str | Path], budget: str | float | None, settings: Sequence[str]
) -> Project:
    """The project as asked for: what is there, with what was given now."""
    if (out / CONFIG_FILE).is_file():
        config = Project.open(out).config
        if sources:
            config = replace(config, sources=_absolute(sources))
    elif sources:
        config = ProjectConfig(_absolute(sources))
    else:
        raise ConfigError(f"{out} is not a project yet: name the files and folders to build from")
    if budget is not None:
        parse_duration(budget)
        config = replace(config, budget=budget if isinstance(budget, str) else f"{budget}s")
    for assignment in settings:
        config = set_option(config, assignment)
    project = Project(out, config)
    project.check()
    for source in project.config.sources:
        if names_a_path(source) and not os.path.lexists(source):
            raise DataError(f"{source}: no such file or folder")
    return project


def _absolute(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """Paths that stay true wherever the next build is started from."""
    return tuple(_absolute_source(str(source)) for source in sources)


def _absolute_source(source: str) -> str:
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{os.fsencode(source)!r}: {CONFIG_FILE} can only name paths that are UTF-8; "
            "rename it, or name the folder above it"
        ) from None
    return absolute(source)


class _Builder:
    """One build in progress. ``rebuild``: stages whose artifact is not to be kept."""

    def __init__(
        self, project: Project, rebuild: set[str], progress: Progress, started: float
    ) -> None:
        self.project, self.rebuild, self.progress = project, rebuild, progress
        self.stages = stages.in_project(project.config)
        self.workspace = project.workspace()
        self.workspace.progress, self.workspace.started = progress, started

    def run(self) -> Build:
        self.refuse_damaged()
        changed = [stage.name for stage in self.stages if self.make(stage)]
        self.renew_card(changed)
        report = self.project.path / REPORT
        if changed or not report.is_file():
            with self.progress.task("writing the report"):
                write_report(self.project.path)
        made = self.workspace.artifacts
        return Build(
            self.project,
            made["model"].path,
            report,
            read_evaluation(made["evaluation"].path),
            read_plan(made["plan"].path),
            time.monotonic() - self.workspace.started,
        )

    def refuse_damaged(self) -> None:
        """Raise DamagedError, naming the file, before work is done on top of a broken stage."""
        for stage in self.stages:
            found = self.workspace.read(stage.name)
            if found is not None and stage.verify:
                artifact.read(found.path, verify=True)

    def make(self, stage: Stage) -> bool:
        """Build one stage or keep its artifact, and say which; returns whether it changed."""
        before, started = self.workspace.read(stage.name), time.monotonic()
        made = self.pinned(stage, before) or stage.make(self.workspace)
        self.workspace.artifacts[stage.name] = made
        # Settings that do not go with it (a plan, say) are refused before the long stages.
        for later in self.stages[self.stages.index(stage) + 1 :]:
            later.check_settings(self.workspace)
        if before is not None and made.manifest == before.manifest:
            self.progress.message(f"{stage.name:<11} unchanged")
            return False
        seconds = time.monotonic() - started
        self.progress.message(f"{stage.name:<11} {stage.summary(made)}  ({seconds:.1f} s)")
        return True

    def pinned(self, stage: Stage, before: Artifact | None) -> Artifact | None:
        """The artifact of a pinned stage, if it still fits."""
        pin = stage.pin
        if pin is None or before is None or stage.name in self.rebuild:
            return None
        if before.manifest.format != stage.format:
            return None
        changed = bool(changed_settings(stage, self.workspace, before))
        if changed and not pin.ignores_settings:
            return None
        recorded = before.manifest.inputs
        inputs = {
            role: self.workspace.artifacts[name].content for role, name in stage.inputs.items()
        }
        if not changed and {role: entry.content for role, entry in recorded.items()} == inputs:
            return before
        return before if pin.still_fits(self.workspace, before) else None

    def renew_card(self, changed: Sequence[str]) -> None:
        """Put what the stages that changed say of themselves into the model's card."""
        for stage in self.stages:
            if stage.card is not None and {stage.name, "model"} & {*changed}:
                table = stage.card(self.workspace.artifacts[stage.name])
                renew_part(self.workspace.artifacts["model"].path, stage.name, table)

"""A project: one directory that holds every stage from documents to model.

    linnet.toml   what to build from, for how long, and settings that override defaults
    corpus/       plan/  tokenizer/  shards/  model/  evaluation/
    report.html

Here is what is current in it and what is not. What the stages are is declared in
:mod:`linnet.stages`, and ``linnet.pipeline`` makes them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linnet import artifact, output, stages
from linnet.config import dump_toml, from_mapping, load_toml, refuse_unknown, show
from linnet.errors import ArtifactError, ConfigError, DamagedError
from linnet.stages import CONFIG_FILE, ProjectConfig, Stage, Workspace

if TYPE_CHECKING:
    from linnet.artifact import Artifact

LOCK_NAME = "build"
HEADER = """\
# What linnet build makes this project from. Edit it and run `linnet build --out DIR` again:
# only what depends on a change is made again. Each table takes the settings of its stage,
# for example  [train]  width = 128 ; `linnet train --help` lists them.
# What you do not set is in the plan, which stays as it is: --replan makes it again,
# for the budget, documents and settings of the day.

"""

State = Literal["current", "stale", "kept", "unfinished", "missing", "damaged"]


@dataclass(frozen=True)
class StageStatus:
    """Where one stage stands. ``reason`` says why it is not simply current."""

    stage: Stage
    state: State
    reason: str
    upstream: tuple[str, ...]
    artifact: Artifact | None

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def summary(self) -> str:
        """What was made, in one line; empty where there is nothing."""
        return self.stage.summary(self.artifact) if self.artifact is not None else ""


@dataclass(frozen=True)
class Project:
    """A project directory and its configuration."""

    path: Path
    config: ProjectConfig

    @classmethod
    def open(cls, path: Path | str) -> Project:
        """Read an existing project. Raises ArtifactError when there is none."""
        path = Path(path)
        file = path / CONFIG_FILE
        if not file.is_file():
            raise ArtifactError(
                f"{path}: expected a project made by linnet build (no {CONFIG_FILE})"
            )
        return cls(path, _read_config(file))

    def save(self) -> None:
        """Write ``linnet.toml``, unless it says the same already (comments in it then stay)."""
        file = self.path / CONFIG_FILE
        if file.is_file() and Project.open(self.path).config == self.config:
            return
        tables = {
            name: self.config.table(name)
            for name, stage in stages.tables().items()
            if stage.applies_to(self.config)
        }
        values = {"sources": list(self.config.sources), "budget": self.config.budget, **tables}
        output.write_text(file, HEADER + dump_toml(values))

    def stage(self, name: str) -> Path:
        """The directory of a stage."""
        return self.path / name

    def workspace(self) -> Workspace:
        """The project as its stages see it, before any is made."""
        return Workspace(self.path, self.config)

    def check(self) -> None:
        """Raise ConfigError if the settings cannot work, as far as that shows before a plan."""
        for stage in stages.in_project(self.config):
            stage.check_settings(self.workspace())

    def status(self) -> list[StageStatus]:
        """Every stage: what it was made from, and whether that has changed since."""
        workspace, found = self.workspace(), dict[str, StageStatus]()
        for stage in stages.in_project(self.config):
            status = found[stage.name] = _status(stage, workspace, found)
            if status.artifact is not None:
                workspace.artifacts[stage.name] = status.artifact
        return list(found.values())


def set_option(config: ProjectConfig, assignment: str) -> ProjectConfig:
    """Apply ``train.width=128`` to a configuration. Raises ConfigError when malformed."""
    name, equals, value = assignment.partition("=")
    table, dot, key = name.strip().partition(".")
    known = [f"{name}." for name in stages.tables()]
    if not equals or not dot or f"{table}." not in known:
        raise ConfigError(
            f"--set takes {', '.join(known[:-1])} or {known[-1]} and a value, "
            f"such as train.width=128. Got {assignment!r}"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    except RecursionError:
        raise ConfigError(f"--set {table}.{key}: the value nests too deeply") from None
    changed = {**config.table(table), key: parsed}
    return replace(config, tables={**config.tables, table: changed})


def changed_settings(stage: Stage, workspace: Workspace, made: Artifact) -> list[str]:
    """The names of the settings that a stage would be made with otherwise now."""
    try:
        recipe = stage.recipe(workspace)
    except DamagedError:  # of the plan: that is said elsewhere
        recipe = None
    if recipe is None:
        return []
    before = made.manifest.config
    return [n for n in sorted(before.keys() | recipe.keys()) if before.get(n) != recipe.get(n)]


def _read_config(file: Path) -> ProjectConfig:
    raw = load_toml(file)
    known = stages.tables()
    refuse_unknown(raw, ("sources", "budget", *known), where=str(file))
    tables = {name: raw.pop(name) for name in known if name in raw}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {name} must be a table. Got {show(table)}")
    config = from_mapping(ProjectConfig, {**raw, "tables": tables}, where=str(file))
    if re.fullmatch(r"[0-9.]+", config.budget):  # seconds without a unit, as once was allowed
        config = replace(config, budget=f"{config.budget}s")
    return config


def _status(stage: Stage, workspace: Workspace, before: Mapping[str, StageStatus]) -> StageStatus:
    upstream = stage.upstream(workspace.config)
    unfinished = artifact.partial_exists(workspace.directory(stage.name))
    try:
        made = workspace.read(stage.name)
    except DamagedError as error:
        return StageStatus(stage, "damaged", str(error), upstream, None)
    if made is None:
        if unfinished:
            return StageStatus(stage, "unfinished", "begun, but not finished", upstream, None)
        return StageStatus(stage, "missing", "not made yet", upstream, None)
    state, reason = _judge(stage, workspace, made, before)
    if state == "stale" and unfinished:
        state, reason = "unfinished", f"{reason}; made again, but not finished"
    return StageStatus(stage, state, reason, upstream, made)


def _judge(
    stage: Stage, workspace: Workspace, made: Artifact, before: Mapping[str, StageStatus]
) -> tuple[State, str]:
    """Whether what a stage made is current, and if not, why."""
    if made.manifest.format != stage.format:
        return "stale", f"its format is {made.manifest.format}; this version makes {stage.format}"
    pin = stage.pin
    changed = changed_settings(stage, workspace, made)
    reasons = [f"changed: {', '.join(changed)}"] if changed else []
    is_kept = pin is not None and (pin.ignores_settings or not changed)
    inputs = _changed_inputs(stage, made, before)
    if inputs and (is_kept or not reasons):
        reasons.append(pin.changed if pin is not None and pin.changed else inputs[0])
    if (
        not reasons
        and stage.stale_reason is not None
        and (why := stage.stale_reason(workspace, made))
    ):
        reasons.append(why)
    if not reasons:
        return "current", ""
    if pin is None or not is_kept:
        return "stale", reasons[0]
    return "kept", f"{', '.join(reasons)}; {pin.note}"


def _changed_inputs(stage: Stage, made: Artifact, before: Mapping[str, StageStatus]) -> list[str]:
    """Which of the stages that it reads have changed since, or are about to."""
    changed = []
    for role, name in stage.inputs.items():
        upstream, recorded = before[name], made.manifest.inputs.get(role)
        if upstream.state in ("stale", "unfinished", "missing", "damaged"):
            changed.append(f"{name} is {upstream.state}")
        elif upstream.artifact and recorded and recorded.content != upstream.artifact.content:
            changed.append(f"{name} changed")
    return changed

"""What a stage of a project declares, and the project as its stages see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from linnet import artifact
from linnet.config import from_mapping, parse_duration, read_json, to_mapping
from linnet.errors import ArtifactError, DamagedError
from linnet.planner import Plan, read_plan
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.card import Table

T = TypeVar("T")

CONFIG_FILE = "linnet.toml"


@dataclass(frozen=True)
class ProjectConfig:
    """What ``linnet.toml`` holds."""

    sources: tuple[str, ...]
    budget: str = "5m"
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The settings of the stages, each table by its name."""

    def table(self, name: str) -> dict[str, Any]:
        """The settings in one table, none where there is no such table."""
        return self.tables.get(name, {})


@dataclass
class Workspace:
    """A project as its stages see it: its directory, its settings, and what is made so far."""

    path: Path
    config: ProjectConfig
    made: dict[str, Artifact] = field(default_factory=dict)
    """The artifacts that a stage may read, by the stage that made them."""
    progress: Progress = SILENT
    started: float = 0.0
    """When the build began, on the monotonic clock."""

    def directory(self, stage: str) -> Path:
        return self.path / stage

    @property
    def budget(self) -> float:
        """Seconds the whole build may take."""
        return parse_duration(self.config.budget)

    @property
    def plan(self) -> Plan | None:
        """The plan, None before there is one."""
        return read_plan(self.made["plan"].path) if "plan" in self.made else None

    def configure(self, kind: type[T], table: str, planned: Mapping[str, Any] | None = None) -> T:
        """The settings in a table of ``linnet.toml``, before them those that were planned."""
        values = {**(planned or {}), **self.config.table(table)}
        return from_mapping(kind, values, where=f"{CONFIG_FILE} [{table}]")

    def read(self, stage: str) -> Artifact | None:
        """What a stage made, None before it has. Raises DamagedError when it cannot be used."""
        path = self.directory(stage)
        try:
            return artifact.read(path, kind=stage)
        except DamagedError:
            raise
        except ArtifactError as error:
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                return None
            raise DamagedError(f"{error}; move it away and run linnet build again") from None


@dataclass(frozen=True)
class Section:
    """What the report says of a stage: a title, a sentence and figures, or a template of its own.

    A template lies beside the stage's module and gets ``facts``. ``place`` orders the page.
    """

    title: str = ""
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()
    template: str = "section.html.jinja"
    facts: Any = None
    place: int = 10


@dataclass(frozen=True)
class Keep:
    """Why a stage is not made again though what it was made from changed."""

    until: str
    """What status says of it, with the option that makes it again."""
    suits: Callable[[Workspace, Artifact], bool]
    """Whether a build may keep it; it tells the reader of the progress."""
    whatever_is_set: bool = False
    """Whether it is kept though its settings changed."""
    changed: str = ""
    """What status says of inputs that changed, if not which ones."""


@dataclass(frozen=True)
class Stage:
    """One step from documents to a model: what it is made from, how, and what is said of it.

    A stage makes the artifact of its name in the directory of its name. It comes after the stages
    that it reads in the table (:data:`linnet.stages.STAGES`); status, ``--set``, build, report,
    card and forgetting take from here what they need to know of it.
    """

    name: str
    make: Callable[[Workspace], Artifact]
    """Makes it, or finds it current, from what is in the workspace."""
    summary: Callable[[Artifact], str]
    """What was made, in one line."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The stages that it reads, each by the name that its manifest has for it."""
    table: str | None = None
    """The table in ``linnet.toml`` with its settings."""
    config: type | None = None
    """The dataclass of these settings."""
    settings: Callable[[Workspace], Mapping[str, Any] | None] | None = None
    """The settings that it would be made with now; None where they wait for the plan."""
    check: Callable[[Workspace], None] | None = None
    """Raises ConfigError for settings that cannot work, as far as that shows yet."""
    when: Callable[[ProjectConfig], bool] | None = None
    """Which projects have it; None: all."""
    outdated: Callable[[Workspace, Artifact], str] | None = None
    """Why it is stale, besides its settings and the stages that it reads; empty where it is not."""
    keep: Keep | None = None
    report: Callable[[Workspace], Section | None] | None = None
    """Its section of the report, also where it is not made yet."""
    card: Callable[[Artifact], Table] | None = None
    """What the model's card says of it."""
    forgetting: Literal["remake", "remove", "learned", "none"] = "remove"
    """What becomes of it when a document is forgotten: it is made again, or removed; it stays and
    is named because it learned from documents; or it holds nothing of them."""
    verified: bool = False
    """Whether every byte of it is checked before it is built on."""

    @property
    def optional(self) -> bool:
        return self.when is not None

    def exists_in(self, config: ProjectConfig) -> bool:
        return self.when is None or self.when(config)

    def made_from(self, config: ProjectConfig) -> tuple[str, ...]:
        """What status shows: the stages that it reads, or the project's sources."""
        return tuple(self.inputs.values()) or config.sources

    def recipe(self, workspace: Workspace) -> Mapping[str, Any] | None:
        """The settings that it would be made with now; None where they wait for the plan."""
        if self.settings is not None:
            return self.settings(workspace)
        if self.config is None or self.table is None:
            return {}
        return to_mapping(workspace.configure(self.config, self.table))

    def check_settings(self, workspace: Workspace) -> None:
        """Raise ConfigError for settings that cannot work, as far as that shows yet."""
        if self.check is not None:
            self.check(workspace)
        elif self.config is not None and self.table is not None:
            workspace.configure(self.config, self.table)


def with_table(name: str) -> Callable[[ProjectConfig], bool]:
    """Projects whose ``linnet.toml`` has this table: for stages that one asks for."""
    return lambda config: name in config.tables


def read_object(path: Path) -> dict[str, Any] | None:
    """What a JSON file says, for the report: None where there is none or it cannot be read."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def number(value: object = "") -> str:
    """A value as the report shows it: ``12,345``."""
    return f"{value:,}" if isinstance(value, int) else str(value)

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
    """A project as its stages see it: its directory, its settings, and the artifacts so far."""

    path: Path
    config: ProjectConfig
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    """What a stage may read, by the stage that made it."""
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
        return read_plan(self.artifacts["plan"].path) if "plan" in self.artifacts else None

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
class Pin:
    """Lets a stage keep its artifact when its inputs change."""

    note: str
    """What status says of it, with the option that rebuilds it."""
    still_fits: Callable[[Workspace, Artifact], bool]
    """Whether a build may keep it; reports through the workspace's progress."""
    ignores_settings: bool = False
    """Whether it is kept when its settings change, too."""
    changed: str = ""
    """What status says of changed inputs instead of naming them."""


@dataclass(frozen=True)
class Stage:
    """One step of a project: its inputs and settings, how it is built, and how it is described.

    A stage writes the artifact of its name into the directory of its name, and stands in the table
    (:data:`linnet.stages.STAGES`) after the stages that it reads. Build, status, ``--set``, report,
    card and ``forget`` work from this declaration alone.
    """

    name: str
    make: Callable[[Workspace], Artifact]
    """Builds it from the artifacts in the workspace, or returns the current one."""
    summary: Callable[[Artifact], str]
    """The artifact in one line."""
    format: int = 1
    """The format of its artifact, as its function writes it: one of another format is stale."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The stages that it reads, by the role that its manifest gives them."""
    table: str | None = None
    """Its table in ``linnet.toml``."""
    config: type | None = None
    """The dataclass of the settings in that table."""
    settings: Callable[[Workspace], Mapping[str, Any] | None] | None = None
    """Gives the settings of its recipe, None before there is a plan; by default the table's."""
    check: Callable[[Workspace], None] | None = None
    """Raises ConfigError for settings that cannot work; by default reads the table."""
    when: Callable[[ProjectConfig], bool] | None = None
    """Which projects have it; None: all."""
    stale_reason: Callable[[Workspace, Artifact], str] | None = None
    """Why it is stale, apart from its settings and its input stages; empty if it is not."""
    pin: Pin | None = None
    report: Callable[[Workspace], Section | None] | None = None
    """Its section of the report, called for a missing artifact, too."""
    card: Callable[[Artifact], Table] | None = None
    """What the model's card says of it."""
    on_forget: Literal["rebuild", "remove", "trained", "none"] = "remove"
    """What ``forget`` does with it: rebuild or remove it; keep it and warn that it was trained on
    the document; or nothing, as it holds nothing of documents."""
    verify: bool = False
    """Whether a build checks the hash of every file first."""

    def applies_to(self, config: ProjectConfig) -> bool:
        return self.when is None or self.when(config)

    def upstream(self, config: ProjectConfig) -> tuple[str, ...]:
        """The stages that it reads, or the project's sources."""
        return tuple(self.inputs.values()) or config.sources

    def recipe(self, workspace: Workspace) -> Mapping[str, Any] | None:
        """The settings that a build would use now, None before there is a plan."""
        if self.settings is not None:
            return self.settings(workspace)
        if self.config is None or self.table is None:
            return {}
        return to_mapping(workspace.configure(self.config, self.table))

    def check_settings(self, workspace: Workspace) -> None:
        """Raise ConfigError for settings that cannot work, as far as is known yet."""
        if self.check is not None:
            self.check(workspace)
        elif self.config is not None and self.table is not None:
            workspace.configure(self.config, self.table)


def if_configured(name: str) -> Callable[[ProjectConfig], bool]:
    """For ``when``: projects whose ``linnet.toml`` has this table."""
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

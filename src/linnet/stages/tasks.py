"""Tasks that a project puts its model to: those that ``[tasks]`` in ``linnet.toml`` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from linnet.config import option, to_mapping
from linnet.errors import ArtifactError, ConfigError, LinnetError
from linnet.evaluate import TasksConfig, evaluate_tasks, read_items, read_results
from linnet.evaluate.report_page import suite_facts
from linnet.evaluate.suite import choose
from linnet.stages.stage import CONFIG_FILE, Section, Stage, Workspace, if_configured

if TYPE_CHECKING:
    from linnet.artifact import Artifact


@dataclass(frozen=True)
class ProjectTasks(TasksConfig):
    """Which tasks, and how to run them."""

    tasks: tuple[str, ...] = option(
        (), "tasks to run: NAME, NAME=PLACE or FILE.yaml, with paths as seen from the project"
    )


def _configure(workspace: Workspace) -> ProjectTasks:
    return workspace.configure(ProjectTasks, "tasks")


def _settings(workspace: Workspace) -> Mapping[str, Any]:
    return to_mapping(_configure(workspace))


def _check(workspace: Workspace) -> None:
    config = _configure(workspace)
    if not config.tasks:
        raise ConfigError(f'{CONFIG_FILE} [tasks]: name some, such as tasks = ["coherence"]')
    choose(config.tasks, workspace.path, base=workspace.path)


def _make(workspace: Workspace) -> Artifact:
    config = _configure(workspace)
    own = {field.name: getattr(config, field.name) for field in fields(TasksConfig)}
    evaluate_tasks(
        workspace.path,
        workspace.artifacts["shards"].path,
        config.tasks,
        workspace.directory("tasks"),
        TasksConfig(**own),
        base=workspace.path,
        progress=workspace.progress,
    )
    made = workspace.read("tasks")
    assert made is not None
    return made


def _summary(made: Artifact) -> str:
    figures = made.stats.get("figures", {})
    first = [f"{name}: {metric} {value:.3g}" for name, own in figures.items()
             for metric, value in list(own.items())[:1]]  # fmt: skip
    return ", ".join(first) or "no figures"


def _stale_reason(workspace: Workspace, made: Artifact) -> str:
    """Whether a file or directory that a task reads has changed since."""
    try:
        config = _configure(workspace)
        now = choose(config.tasks, workspace.path, base=workspace.path).inputs(config)
    except LinnetError as error:
        return str(error)
    for role, content in now.items():
        recorded = made.manifest.inputs.get(role)
        current = content if isinstance(content, str) else content.content
        if recorded is None or recorded.content != current:
            return f"{role} changed"
    return ""


def _report(workspace: Workspace) -> Section | None:
    made = workspace.artifacts.get("tasks")
    if made is None:
        return None
    try:
        facts = suite_facts(read_results(made.path), read_items(made.path))
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return None
    return Section(template="tasks.html.jinja", facts=facts, place=1)


STAGE = Stage(
    name="tasks",
    make=_make,
    summary=_summary,
    inputs={"model": "model", "data": "shards", "corpus": "corpus"},
    table="tasks",
    config=ProjectTasks,
    settings=_settings,
    check=_check,
    when=if_configured("tasks"),
    stale_reason=_stale_reason,
    report=_report,
)

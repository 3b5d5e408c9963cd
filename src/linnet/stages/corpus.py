"""The corpus: the project's documents, clean, deduplicated and divided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.data import DataConfig, current_inputs, prepare
from linnet.data.report_page import CorpusFacts, corpus_facts
from linnet.errors import DamagedError, DataError
from linnet.output import human_bytes
from linnet.stages.shards import split_facts
from linnet.stages.stage import Section, Stage, Workspace

if TYPE_CHECKING:
    from linnet.artifact import Artifact


def configure(workspace: Workspace) -> DataConfig:
    return workspace.configure(DataConfig, "data")


def facts(workspace: Workspace) -> CorpusFacts | None:
    return corpus_facts(workspace.directory("corpus"))


def _make(workspace: Workspace) -> Artifact:
    return prepare(
        workspace.config.sources,
        workspace.directory("corpus"),
        configure(workspace),
        exclude=[workspace.path],
        progress=workspace.progress,
    )


def _stale_reason(workspace: Workspace, made: Artifact) -> str:
    try:
        now = current_inputs(
            workspace.config.sources, made.path, configure(workspace), exclude=[workspace.path]
        )
    except (DataError, DamagedError) as error:
        return str(error)
    before = {role: entry.content for role, entry in made.manifest.inputs.items()}
    return "the documents changed" if now != before else ""


def _summary(made: Artifact) -> str:
    count, size = (sum(made.stats[key].values()) for key in ("documents", "bytes"))
    return f"{count:,} documents, {human_bytes(size)} of text"


def _report(workspace: Workspace) -> Section:
    shown = {"corpus": facts(workspace), "splits": split_facts(workspace)}
    return Section(template="documents.html.jinja", facts=shown, place=2)


STAGE = Stage(
    name="corpus",
    make=_make,
    summary=_summary,
    format=2,
    table="data",
    config=DataConfig,
    settings=lambda workspace: configure(workspace).recipe(),
    stale_reason=_stale_reason,
    report=_report,
    on_forget="rebuild",
)

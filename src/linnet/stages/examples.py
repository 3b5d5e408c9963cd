"""The examples: questions, instructions and refusals made out of the corpus.

A project has them where its ``linnet.toml`` has a table ``[examples]``, which may be empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.examples import ExamplesConfig, make_examples
from linnet.stages.stage import Section, Stage, Workspace, if_configured

if TYPE_CHECKING:
    from linnet.artifact import Artifact


def _make(workspace: Workspace) -> Artifact:
    return make_examples(
        workspace.artifacts["corpus"].path,
        workspace.directory("examples"),
        workspace.configure(ExamplesConfig, "examples"),
        progress=workspace.progress,
    )


def _summary(made: Artifact) -> str:
    kinds = len(made.stats["kinds"])
    return f"{made.stats['examples']:,} examples of {kinds} kind{'' if kinds == 1 else 's'}"


def _report(workspace: Workspace) -> Section | None:
    made = workspace.artifacts.get("examples")
    if made is None:
        return None
    stats = made.stats
    return Section(
        title="Examples made of the documents",
        text=f"{stats['examples']:,} questions, instructions and refusals, each checked against "
        "its source. examples/report.html shows some of them, and what was rejected.",
        rows=[(kind, f"{count:,}") for kind, count in stats["kinds"].items()],
        place=4,
    )


STAGE = Stage(
    name="examples",
    make=_make,
    summary=_summary,
    inputs={"corpus": "corpus"},
    table="examples",
    config=ExamplesConfig,
    when=if_configured("examples"),
    report=_report,
    on_forget="rebuild",
)

"""The stages of a project, in the order in which they are built: one declaration each.

A new stage is a module here with a ``STAGE`` and a line in ``STAGES``. What shows stages or goes
through them (``linnet.project``, ``linnet.pipeline``, ``linnet.report``, ``linnet.forget``,
``--set``) knows them from this table alone.
"""

from linnet.errors import ConfigError
from linnet.stages import corpus, evaluation, examples, model, plan, shards, tasks, tokenizer
from linnet.stages.stage import (
    CONFIG_FILE,
    Pin,
    ProjectConfig,
    Section,
    Stage,
    Workspace,
    if_configured,
)

__all__ = [
    "CONFIG_FILE",
    "STAGES",
    "Pin",
    "ProjectConfig",
    "Section",
    "Stage",
    "Workspace",
    "if_configured",
    "in_project",
    "tables",
]

STAGES: tuple[Stage, ...] = (
    corpus.STAGE,
    examples.STAGE,
    plan.STAGE,
    tokenizer.STAGE,
    shards.STAGE,
    model.STAGE,
    evaluation.STAGE,
    tasks.STAGE,
)


def in_project(config: ProjectConfig) -> list[Stage]:
    """The stages of a project with this configuration. Raises ConfigError if one lacks an input."""
    found = [stage for stage in STAGES if stage.applies_to(config)]
    names = {stage.name for stage in found}
    for stage in found:
        for name in stage.inputs.values():
            if name not in names:
                raise ConfigError(f"{CONFIG_FILE}: stage {stage.name} needs stage {name}; add it")
    return found


def tables() -> dict[str, Stage]:
    """The tables that ``linnet.toml`` may have, with the stages whose settings they hold."""
    return {stage.table: stage for stage in STAGES if stage.table is not None}

"""The plan: which model suits the documents, the machine and the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.page import duration
from linnet.planner import (
    PLAN_FILE,
    plan,
    plan_settings,
    read_plan,
    refuse_hopeless,
    show_parameters,
)
from linnet.stages import evaluation, model, tokenizer
from linnet.stages.stage import Pin, Section, Stage, Workspace, number, read_object
from linnet.train.metrics import read_curves

if TYPE_CHECKING:
    from linnet.artifact import Artifact

# What the plan calls the stages whose time it foresees.
PLANNED = {"data": "corpus", "encode": "shards", "train": "model", "evaluate": "evaluation"}


@dataclass(frozen=True)
class PlanFacts:
    """The plan's reasons, and its figures with what came of them."""

    reasons: list[str]
    compared: list[tuple[str, str, str]]


def facts(workspace: Workspace) -> PlanFacts | None:
    """What was planned beside what came of it."""
    planned = read_object(workspace.directory("plan") / PLAN_FILE)
    if planned is None:
        return None
    trained, scored = model.facts(workspace), evaluation.read(workspace)
    curves = workspace.directory("model") / "metrics.jsonl"
    steps = read_curves(curves).steps[-1:] if curves.is_file() else []
    compared = []
    if "parameters" in planned:
        real = number(trained.parameters) if trained is not None else ""
        compared.append(("parameters", number(planned["parameters"]), real))
    if "steps" in planned:
        compared.append(("training steps", number(planned["steps"]), number(*steps)))
    if planned.get("expected_bits_per_byte") is not None:
        real = f"{scored.bits_per_byte:.3f}" if scored is not None else ""
        expected = f"{planned['expected_bits_per_byte']:.3f}"
        compared.append(("bits per byte, held out", expected, real))
    seconds = planned.get("seconds")
    for stage, expectation in (seconds if isinstance(seconds, dict) else {}).items():
        made = workspace.artifacts.get(PLANNED.get(str(stage), str(stage)))
        real = duration(made.manifest.seconds) if made is not None else ""
        compared.append((f"time for {stage}", duration(expectation), real))
    return PlanFacts([str(reason) for reason in planned.get("reasons", [])], compared)


def _settings(workspace: Workspace) -> Mapping[str, Any]:
    overrides = workspace.config.table("train")
    return plan_settings(workspace.budget, overrides, tokenizer.vocab_size(workspace))


def _check(workspace: Workspace) -> None:
    _settings(workspace)
    if not artifact.is_artifact(workspace.directory("plan")):
        refuse_hopeless(workspace.budget)


def _make(workspace: Workspace) -> Artifact:
    return plan(
        workspace.artifacts["corpus"].path,
        workspace.directory("plan"),
        budget=workspace.budget,
        spent=time.monotonic() - workspace.started,
        overrides=workspace.config.table("train"),
        vocab_size=tokenizer.vocab_size(workspace),
        progress=workspace.progress,
    )


def _still_fits(workspace: Workspace, made: Artifact) -> bool:
    if read_plan(made.path).budget != workspace.budget:
        workspace.progress.warn(
            "the plan was made for another budget and stays as it is; "
            f"--replan makes one for {workspace.config.budget}"
        )
    return True


STAGE = Stage(
    name="plan",
    make=_make,
    summary=lambda made: (
        f"{show_parameters(made.stats['parameters'])} parameters, "
        f"about {made.stats['steps']:,} steps"
    ),
    inputs={"corpus": "corpus"},
    settings=_settings,
    check=_check,
    pin=Pin(
        note="frozen until --replan",
        still_fits=_still_fits,
        ignores_settings=True,
        changed="made for other documents",
    ),
    report=lambda workspace: Section(template="plan.html.jinja", facts=facts(workspace), place=4),
    on_forget="none",
)

"""Turns documents, a machine and a time into a model size, and predicts what comes of it.

``measuring`` looks at the documents and the machine, ``choosing`` picks the
model and says what it will come to.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import from_mapping, parse_duration, read_json
from linnet.errors import ConfigError, DamagedError
from linnet.planner.choosing import (
    Plan,
    check_settings,
    choose,
    choose_vocabulary,
    refuse_hopeless,
    show_parameters,
    training_settings,
)
from linnet.planner.measuring import CorpusFacts, MachineFacts, measure_corpus, measure_machine
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.artifact import Artifact, Draft

__all__ = [
    "CorpusFacts",
    "MachineFacts",
    "Plan",
    "check_settings",
    "choose",
    "choose_vocabulary",
    "measure_corpus",
    "measure_machine",
    "plan",
    "plan_settings",
    "read_plan",
    "refuse_hopeless",
    "show_parameters",
    "training_settings",
]

KIND, FORMAT = "plan", 1
PLAN_FILE = "plan.json"


def plan(
    corpus: Path | str,
    out: Path | str,
    *,
    budget: str | float,
    spent: float = 0.0,
    overrides: Mapping[str, Any] | None = None,
    vocab_size: int | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Plan a model for the documents in ``corpus`` within ``budget``: ``5m``, or seconds.

    ``spent``: seconds of it already gone. ``overrides`` and ``vocab_size``:
    what is not the planner's to choose. Raises DataError when there is too
    little text, BudgetError when there is too little time.
    """
    from linnet.runtime import detect

    overrides, budget = overrides or {}, parse_duration(budget)
    source = artifact.read(corpus, kind="corpus")

    def write(draft: Draft) -> None:
        started = time.monotonic()
        with progress.task("measuring documents and machine"):
            facts = measure_corpus(source.path)
            machine = measure_machine(detect(overrides.get("device", "auto")))
        chosen = choose(
            facts,
            machine,
            budget=budget,
            spent=spent + time.monotonic() - started,
            overrides=overrides,
            vocab_size=vocab_size,
        )
        output.write_json(draft.path / PLAN_FILE, asdict(chosen))
        draft.stats.update(parameters=chosen.parameters, steps=chosen.steps)

    # Time spent and the machine's speed are no part of the recipe: whoever calls wants a new one.
    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=plan_settings(budget, overrides, vocab_size),
        inputs={"corpus": source},
        reuse=False,
    )


FAMILY_UNSAID = "apertus"
"""What plans were made for that do not say their family."""


def plan_settings(
    budget: float, overrides: Mapping[str, Any], vocab_size: int | None
) -> dict[str, Any]:
    """What a plan is made for, as its manifest keeps it."""
    given = {f"train.{name}": value for name, value in overrides.items()}
    vocabulary = {} if vocab_size is None else {"tokenizer.vocab_size": vocab_size}
    return {"budget": budget, **vocabulary, **given}


def read_plan(path: Path) -> Plan:
    """Read what :func:`plan` wrote. Raises DamagedError when it cannot be used."""
    found = artifact.read(path, kind=KIND)
    try:
        values = read_json(found.path / PLAN_FILE)
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        found_plan = from_mapping(Plan, values, where=PLAN_FILE)
        return replace(found_plan, train={"family": FAMILY_UNSAID, **found_plan.train})
    except (OSError, ValueError, ConfigError) as error:
        raise DamagedError(
            f"{path / PLAN_FILE} is damaged ({error}); delete {path} and run linnet build again"
        ) from None

"""The gate of an index directory: fitted from what lies there, and read again.

INDEX/gate/gate.json     models, threshold, what is usual in the index
INDEX/gate/terms.npz     how many passages have a term, by its hash
INDEX/gate/trials.jsonl  each question, its features and what came of it
INDEX/gate/results.json  the figures
INDEX/gate/report.html   the same for people
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.answers.cases import Case, read_cases
from linnet.answers.feedback import NAME as FEEDBACK_FILE
from linnet.answers.feedback import read_feedback
from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.fitting import fit_trials
from linnet.answers.gate.gate import FORMAT, KIND, open_gate, write_gate
from linnet.answers.gate.report import PAGE, write_report
from linnet.answers.gate.results import results
from linnet.answers.gate.trials import Over, Trial
from linnet.config import parse_json, read_json, to_mapping
from linnet.errors import ArtifactError, ConfigError, DamagedError, DataError, typed
from linnet.examples.decisions import decisions_file
from linnet.examples.record import examples_file
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft

TRIALS_FILE = "trials.jsonl"
RESULTS_FILE = "results.json"
LONGEST_TRIAL = 1 << 20
TRAINED_ON_EXAMPLES = ("encoder", "reranker")
"""Parts of an index that learned from the examples of its training split."""


def fit_gate(
    index: Path | str,
    config: GateConfig | None = None,
    *,
    people: Path | str | None = None,
    over: Over | None = None,
    written_by: Artifact | str | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Fit the gate of an index from its examples, its feedback and ``people``'s questions.

    ``over``: the assistant that is to be judged, over anything that is searched; the one that
    answers with passages if left out. ``written_by``: the content of the model that it writes
    with. Gives the gate that is there where nothing has changed. Raises DataError where there are
    too few questions, ConfigError where the promise is to be for people's and there are none.
    """
    from linnet.answers.assistant import Assistant
    from linnet.retrieval.index import Index

    index, config = Path(index), config or GateConfig()
    if config.promise == "people" and people is None:
        raise ConfigError("promise 'people' needs questions of people: name them with --people")
    if people is not None and not Path(people).is_file():
        raise DataError(f"{people}: expected a file of questions, but there is none")
    inputs = _inputs(index, people)
    if written_by is not None:
        inputs["model"] = written_by

    def write(draft: Draft) -> None:
        with Index.open(index) as opened:
            fitted = fit_trials(
                over or Assistant, opened, _cases(index, people), config,
                feedback=list(read_feedback(index)), progress=progress,
            )  # fmt: skip
        write_gate(fitted.gate, draft.path)
        with output.create_file(draft.path / TRIALS_FILE) as file:
            for trial in fitted.trials:
                file.write(json.dumps(trial.to_json(), ensure_ascii=False).encode() + b"\n")
        found = {**results(fitted, config), "index": index.resolve().name}
        output.write_json(draft.path / RESULTS_FILE, found)
        write_report(draft.path, found, fitted.trials)
        draft.stats.update(found)

    return artifact.make(
        index / KIND, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=inputs,
        volatile=(PAGE,), reuse=_is_readable,
    )  # fmt: skip


def _is_readable(gate: Artifact) -> bool:
    try:
        open_gate(gate.path)
    except ArtifactError:
        return False
    return True


def read_gate_results(index: Path | str) -> dict[str, Any]:
    """The figures of a gate. Raises ArtifactError and DamagedError."""
    if Path(index).is_dir() and not artifact.is_artifact(artifact.within(index, KIND)):
        raise ArtifactError(
            f"{index}: expected a gate directory, but no gate was fitted there; "
            f"run linnet gate fit {typed(str(index))}"
        )
    found = artifact.read(index, kind=KIND)
    try:
        values = read_json(found.path / RESULTS_FILE)
        if not isinstance(values, dict) or "promise" not in values:
            raise ValueError("it holds no results")
    except (OSError, ValueError) as error:
        raise DamagedError(f"{found.path / RESULTS_FILE} cannot be read ({error})") from None
    return values


def changed_since(index: Path | str) -> list[str]:
    """What a gate was fitted with that is not as it was: ``index``, ``reranker``, ``feedback``...

    The promise was for what it was fitted with.
    """
    index = Path(index)
    made = artifact.read(index, kind=KIND)
    before = {name: entry.content for name, entry in made.manifest.inputs.items()}
    try:
        inputs = _inputs(made.path.parent, None)
    except (ArtifactError, DataError):  # something is gone
        return ["the index or its examples"]
    now = {
        name: value if isinstance(value, str) else value.content for name, value in inputs.items()
    }
    elsewhere = ("people", "model")  # nobody knows where these are
    return [
        name
        for name in dict.fromkeys((*before, *now))
        if name not in elsewhere and before.get(name) != now.get(name)
    ]


def read_trials(index: Path | str) -> Iterator[Trial]:
    """The questions that a gate was fitted with. Raises ArtifactError and DamagedError."""
    file = artifact.read(index, kind=KIND).path / TRIALS_FILE
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_TRIAL + 1):
            number += 1
            try:
                values = parse_json(line.decode())
                features = {str(n): float(v) for n, v in values.pop("features").items()}
                yield Trial(**{**values, "features": features})
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise DamagedError(f"{file}, line {number}, cannot be read ({error})") from None


def _cases(index: Path, people: Path | str | None) -> list[Case]:
    """Questions of the examples, and people's.

    Where a part of the index learned from the training split, only the others tell how good it is.
    """
    found = read_cases(examples_file(index))
    if any(artifact.is_artifact(index / part) for part in TRAINED_ON_EXAMPLES):
        found = [case for case in found if case.split != "train"]
    if not found and people is None:
        raise DataError(f"{index}: expected examples to fit a gate with; run linnet examples")
    if people is not None:
        asked = read_cases(people, corpus=index / "corpus")
        if not asked:
            raise DataError(f"{people}: expected questions of people, but there is none")
        found += asked
    return found


def _inputs(index: Path, people: Path | str | None) -> dict[str, Artifact | str]:
    examples = examples_file(index)
    inputs: dict[str, Artifact | str] = {
        "index": artifact.read(index, kind="index"),
        "examples": artifact.hash_file(examples),
    }
    for part in TRAINED_ON_EXAMPLES:
        if artifact.is_artifact(index / part):
            inputs[part] = artifact.read(index / part)
    for name, file in (
        ("decisions", decisions_file(examples)),
        ("feedback", index / FEEDBACK_FILE),
        ("people", None if people is None else Path(people)),
    ):
        if file is not None and file.is_file():
            inputs[name] = artifact.hash_file(file)
    return inputs

"""Opening what answers from documents, with the model that writes and how well it did before.

A small model may answer worse than the passages themselves. How often it is right is measured on
the questions that were made of the same documents (:func:`measure_writer`), beside the passages on
the same questions, and kept in the index's directory by the model's content: one that was right
less often does not write there, and says so. It thinks before it answers only where that was right
more often.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from linnet import artifact, output
from linnet.answers.assistant import Assistant
from linnet.answers.cases import is_right, read_cases
from linnet.answers.gathering import GatherConfig
from linnet.answers.guards import Guards
from linnet.answers.writer import Admit, ModelWriter
from linnet.config import from_mapping, read_json, replace, to_mapping
from linnet.errors import ConfigError, DamagedError, DataError, ModelError
from linnet.examples.config import ExamplesConfig
from linnet.examples.writer import is_address, model_input
from linnet.generate.engines import EngineConfig
from linnet.grounding import Checker
from linnet.progress import SILENT, Progress
from linnet.respond import LanguageModel, RemoteResponder, Responder, read_key
from linnet.respond.address import sent_away
from linnet.respond.engine import EngineResponder
from linnet.respond.language_model import open_model, require_writer

WRITERS = "writers.json"
CHECKER = "checker"
QUESTIONS = 24
FEWEST = 8
_MOST_WRITERS = 1_000


@dataclass(frozen=True)
class Strength:
    """How many of the same questions were answered right."""

    questions: int
    passages: int
    """By the passages themselves."""
    model: int
    reasoned: int
    """By the model when it thinks first."""

    @property
    def reasons(self) -> bool:
        """Whether thinking first is better."""
        return self.reasoned > self.model

    @property
    def is_weak(self) -> bool:
        """Whether the passages themselves answer better."""
        return max(self.model, self.reasoned) < self.passages

    def said(self, name: str) -> str:
        """For people."""
        best = max(self.model, self.reasoned)
        return (
            f"{name} was right on {best} of {self.questions} questions about these documents, the "
            f"passages themselves on {self.passages}"
        )


def open_assistant(
    place: Path | str,
    *,
    model: str | Path | LanguageModel | Responder | ModelWriter | None = None,
    model_name: str = "",
    model_key: str = "",
    engine: EngineConfig | None = None,
    guards: Guards | None = None,
    config: GatherConfig | None = None,
    progress: Progress = SILENT,
) -> Assistant:
    """What answers from the index in a directory that ``linnet index`` or ``linnet assistant``
    made: ``linnet.open_assistant("notes-index").ask("When does the lease end?")``.

    ``model``: what writes the answers: a directory, hub name, GGUF file, an address with
    ``model_name``, or an open model; without one the passages answer. ``model_key``: the
    environment variable with the key for an address. ``guards``: what is refused.
    Raises ArtifactError where there is no index, ModelError where the model cannot be asked.
    """
    writer = None
    if isinstance(model, str | Path):
        writer = open_writer(
            str(model), place=place, model_name=model_name, model_key=model_key, engine=engine,
            progress=progress,
        )  # fmt: skip
    elif isinstance(model, ModelWriter):
        writer = model
    elif model is not None:
        writer = ModelWriter(model, checker=_checker(place))
    return Assistant.open(place, writer=writer, guards=guards, config=config)


def open_writer(
    model: str,
    *,
    place: Path | str,
    model_name: str = "",
    model_key: str = "",
    name: str = "",
    engine: EngineConfig | None = None,
    progress: Progress = SILENT,
) -> ModelWriter:
    """The model that writes from the documents of an index, as :func:`open_assistant` has it."""
    name = name or model_name or Path(model).stem
    responder: Responder
    if is_address(model):
        identity_of(model, model_name)  # which says what is missing
        if (said := sent_away(model, "questions, and the passages found for them,")) is not None:
            progress.warn(said)
        responder = RemoteResponder(model, model_name, key=read_key(variable=model_key or None))
    else:
        with progress.task("opening the model"):
            opened = open_model(model, engine or EngineConfig(), progress=progress)
        responder = EngineResponder(require_writer(opened, model).engine, name=name)
        if responder.refusal is not None:
            responder.engine.close()
            raise ModelError(
                f"{model} cannot be asked: {responder.refusal}; name a model that was trained to "
                "answer"
            )
    return writer_of(responder, place, model=model, model_name=model_name, name=name)


def writer_of(
    responder: Responder,
    place: Path | str,
    *,
    model: str,
    model_name: str = "",
    name: str,
    strict: bool = False,
    admit: Admit | None = None,
) -> ModelWriter:
    """A model that is open already, as the writer of an index, by what was measured of it there.

    ``model``, ``model_name``: what it was opened by. ``strict``, ``admit``: see
    :class:`ModelWriter`.
    """
    identity = identity_of(model, model_name)
    strength = read_strengths(place).get(identity)
    weak = strength is not None and strength.is_weak
    return ModelWriter(
        responder, name=name, checker=_checker(place), identity=identity, strict=strict,
        admit=admit,
        reasoning=strength is not None and strength.reasons,
        weakness=f"{strength.said(name)}: these answer" if strength is not None and weak else "",
    )  # fmt: skip


def identity_of(model: str, model_name: str = "") -> str:
    """Which model it is, by its content; or by its address and name."""
    named = replace(ExamplesConfig(), {"model": model, "model_name": model_name})
    found = model_input(named)
    assert found is not None
    return found if isinstance(found, str) else found.content


def _checker(place: Path | str) -> Checker | None:
    """The checker beside an index, where one was trained (``linnet grounding train``)."""
    own = Path(place) / CHECKER
    return Checker.open(own) if (own / "config.json").is_file() else None


def measure_writer(
    place: Path | str,
    writer: ModelWriter,
    *,
    questions: int = QUESTIONS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Strength:
    """How often a model is right about the documents of an index, and how often the passages are;
    kept there. Raises DataError where there are too few questions (``linnet examples``)."""
    cases = [
        case
        for case in read_cases(Path(place) / "examples")
        if case.answerable and not case.turns and case.kind_made == "question"
    ]
    if len(cases) < FEWEST:
        raise DataError(
            f"{place}: expected at least {FEWEST} questions about the documents. Got {len(cases)}"
        )
    random.Random(seed).shuffle(cases)
    cases = cases[:questions]
    assistant = Assistant.open(place)
    writers = {
        "passages": None, "model": writer.with_reasoning(False),
        "reasoned": writer.with_reasoning(True),
    }  # fmt: skip
    counts = dict.fromkeys(writers, 0)
    with progress.task("the model is tried", total=len(cases), unit="questions") as task:
        for case in cases:
            evidence = assistant.gather(assistant.understand(case.question))
            passages = assistant.draft(evidence)
            for name, by in writers.items():
                draft = by.draft(evidence) if by is not None else passages
                cited = draft.citations or passages.citations
                counts[name] += is_right(case, cited, evidence.passages)
            task.advance()
    strength = Strength(len(cases), **counts)
    _keep(place, writer.identity, strength)
    return strength


def read_strengths(place: Path | str) -> dict[str, Strength]:
    """What was measured of models on an index, by their content."""
    file = Path(place) / WRITERS
    try:
        raw = read_json(file)
        return {
            name: from_mapping(Strength, values, where=str(file)) for name, values in raw.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ConfigError) as error:
        raise DamagedError(
            f"{file} is damaged ({error}); delete it, and the models are measured again"
        ) from None


def _keep(place: Path | str, identity: str, strength: Strength) -> None:
    if not identity:
        return
    file = Path(place) / WRITERS
    with output.lock(file):
        known = {**read_strengths(place), identity: strength}
        kept = dict(list(known.items())[-_MOST_WRITERS:])
        output.write_json(file, {name: to_mapping(own) for name, own in kept.items()})


def has_documents(place: Path | str) -> bool:
    """Whether a directory has an index of documents."""
    return artifact.is_artifact(artifact.within(place, "index")) and _kind(place) == "index"


def _kind(place: Path | str) -> str:
    return artifact.read(artifact.within(place, "index")).manifest.kind

"""A router that was learned, as it is kept and used.

ROUTER/router.json          models, features, encoder and its fingerprint
ROUTER/router.safetensors   weights, and what came of held-out questions
ROUTER/results.json         the figures

No text of a question is kept, but what neighbours are found by: vectors, from which something may
be guessed of what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet import artifact, output
from linnet.config import read_json
from linnet.errors import ArtifactError, ConfigError, DamagedError
from linnet.retrieval.encoders import TextEncoder, choose_encoder
from linnet.routing.features import Attempt, attempt_features, question_features
from linnet.routing.learners import Learned, gains, learned_from
from linnet.routing.targets import HeldOut, chosen_of, scores_of
from linnet.routing.vectors import Space, counted

Numbers: TypeAlias = npt.NDArray[np.float64]

KIND = "router"
FORMAT = 1
MODEL_FILE = "router.json"
ARRAYS_FILE = "router.safetensors"
LARGEST_ARRAYS = 1 << 31
STAGES = ("question", "attempt")


@dataclass(frozen=True)
class Stage:
    """What decides with so much in sight: the question, or the local answer, too."""

    space: Space
    fitted: Learned
    held_out: HeldOut = field(repr=False)


@dataclass(frozen=True)
class Estimate:
    """What is expected of the models for one question."""

    qualities: tuple[float, ...]
    """The local one's first."""


@dataclass(frozen=True)
class LearnedRouter:
    """Estimates how well models will answer; may be used by several threads at once."""

    models: tuple[str, ...]
    """The local one first; it alone where nothing is known of larger ones."""
    stages: Mapping[str, Stage]
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Of the questions that it learned from; see ``training.key_of``."""
    encoder_name: str = ""
    encoder_source: str = ""
    encoder_fingerprint: str = ""
    encoder: TextEncoder | None = field(default=None, repr=False)

    def with_stage(self, name: str, stage: Stage) -> LearnedRouter:
        """With one more."""
        return replace(self, stages={**self.stages, name: stage})

    @property
    def needs_scores(self) -> bool:
        """Whether it judges answers by the log-probabilities of their tokens."""
        return bool(
            {"answer_logprob", "answer_least_logprob", "answer_entropy"} & set(self.looks_at)
        )

    @property
    def looks_at(self) -> tuple[str, ...]:
        """The features of answers."""
        stage = self.stages.get("attempt")
        return () if stage is None or stage.space.answer is None else stage.space.answer.names

    def estimate(self, stage: str, question: str, attempt: Attempt | None = None) -> Estimate:
        """What is expected of each model."""
        return self.estimates(stage, [question], None if attempt is None else [attempt])[0]

    def estimates(
        self, stage: str, questions: Sequence[str], attempts: Sequence[Attempt] | None = None
    ) -> list[Estimate]:
        """Of many."""
        own = self.stages[stage]
        vectors = own.space.vectors(
            [question_features(question) for question in questions],
            None if attempts is None else [attempt_features(attempt) for attempt in attempts],
            self._about(questions),
        )
        predicted = own.fitted.predict(vectors)
        return [Estimate(tuple(map(float, row))) for row in predicted]

    def decide(
        self, stage: str, estimate: Estimate, threshold: float, places: Sequence[int]
    ) -> tuple[float, int]:
        """Among larger models by their places: the score, and the place of the one that a question
        goes to; 0 is the local one."""
        own = np.array([estimate.qualities])
        columns = [place - 1 for place in places]
        gained = gains(own)[:, columns]
        prices = self.stages[stage].held_out.prices[columns]
        chosen = int(chosen_of(gained, prices, threshold)[0])
        return float(scores_of(gained, prices)[0]), places[chosen - 1] if chosen else 0

    @cached_property
    def places(self) -> dict[str, int]:
        """Of the questions that it learned from, by key."""
        return {key: place for place, key in enumerate(self.keys)}

    def _about(self, questions: Sequence[str]) -> Numbers:
        if self.encoder is None:
            return counted(questions)
        return np.asarray(self.encoder.embed_queries(questions), dtype=np.float64)


def write_router(router: LearnedRouter, directory: Path) -> None:
    """Its files."""
    from safetensors.numpy import save

    arrays: dict[str, Any] = {}
    stages = {}
    for name, stage in router.stages.items():
        held_out = stage.held_out
        own: dict[str, Any] = {
            **{f"fitted.{key}": value for key, value in stage.fitted.arrays().items()},
            "gains": held_out.gains, "qualities": held_out.qualities, "costs": held_out.costs,
        }  # fmt: skip
        if stage.space.rarity is not None:
            own["rarity"] = stage.space.rarity
        arrays |= {f"{name}.{key}": np.ascontiguousarray(value) for key, value in own.items()}
        stages[name] = {
            "space": stage.space.to_json(), "learner": stage.fitted.kind,
            "after_attempt": held_out.after_attempt,
        }  # fmt: skip
    values = {
        "models": list(router.models), "stages": stages, "keys": list(router.keys),
        "encoder": {"name": router.encoder_name, "source": router.encoder_source,
                    "fingerprint": router.encoder_fingerprint},
    }  # fmt: skip
    output.write_json(directory / MODEL_FILE, values)
    with output.create_file(directory / ARRAYS_FILE) as file:
        file.write(save(arrays))


def open_learned(path: Path | str) -> LearnedRouter:
    """A router out of its directory.

    Raises ArtifactError where there is none, DamagedError where it cannot be read, ConfigError
    where its encoder is not the one that it learned with.
    """
    found = artifact.read(path, kind=KIND)
    if found.manifest.format != FORMAT:
        raise ArtifactError(
            f"{found.path}: expected a router of format {FORMAT}. Got {found.manifest.format}; "
            "run 'linnet route train' again"
        )
    try:
        values, arrays = read_json(found.path / MODEL_FILE), _arrays(found.path / ARRAYS_FILE)
        encoder = values["encoder"]
        models = tuple(map(str, values["models"]))
        router = LearnedRouter(
            models,
            {
                str(name): _stage(own, _of(arrays, str(name)), max(2, len(models)))
                for name, own in values["stages"].items()
            },
            tuple(map(str, values["keys"])),
            str(encoder["name"]), str(encoder["source"]), str(encoder["fingerprint"]),
        )  # fmt: skip
        if "question" not in router.stages or not set(router.stages) <= set(STAGES):
            raise ValueError("it has no stage for questions")
        if any(len(s.held_out.gains) != len(router.keys) for s in router.stages.values()):
            raise ValueError("it holds no held-out questions")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{found.path} cannot be read ({error}); run 'linnet route train' again"
        ) from None
    return _with_encoder(router, found.path)


def _with_encoder(router: LearnedRouter, path: Path) -> LearnedRouter:
    if not router.encoder_source:
        return router
    encoder = choose_encoder(router.encoder_source, offline=True)
    if encoder is None or encoder.fingerprint != router.encoder_fingerprint:
        raise ConfigError(
            f"{path}: learned with the encoder {router.encoder_name}, which has changed since; "
            "run 'linnet route train' again"
        )
    return replace(router, encoder=encoder)


def _stage(values: Mapping[str, Any], arrays: Mapping[str, Any], models: int) -> Stage:
    fitted = {
        name.removeprefix("fitted."): own
        for name, own in arrays.items()
        if name.startswith("fitted.")
    }
    space = Space.from_json(values["space"], arrays.get("rarity"))
    numbers = {
        name: np.asarray(arrays[name], dtype=np.float64) for name in ("gains", "qualities", "costs")
    }
    rows = len(numbers["gains"])
    if numbers["gains"].shape != (rows, models - 1) or any(
        numbers[name].shape != (rows, models) for name in ("qualities", "costs")
    ):
        raise ValueError("it holds no held-out questions")
    held_out = HeldOut(**numbers, after_attempt=bool(values["after_attempt"]))
    return Stage(space, learned_from(str(values["learner"]), fitted), held_out)


def _arrays(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if file.stat().st_size > LARGEST_ARRAYS:
        raise ValueError(f"{file.name} is larger than {LARGEST_ARRAYS:,} bytes")
    try:
        return dict(load(file.read_bytes()))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _of(arrays: Mapping[str, Any], stage: str) -> dict[str, Any]:
    start = f"{stage}."
    return {name.removeprefix(start): own for name, own in arrays.items() if name.startswith(start)}

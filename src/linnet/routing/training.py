"""A router learned from questions of which it is known how well models answered them.

    queries -> features and vectors -> ridge, logistic or neighbours, by the error on held-out folds
            -> what each threshold does on held-out questions (``targets``)

Two stages are learned where the local answers are there: one that sees the question alone, and one
that sees the local answer, too. Each question is scored by models that did not learn from it; the
ones that are kept learned from all. What is right is used for nothing but learning and scoring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet import artifact, output
from linnet.artifact import Artifact, Draft
from linnet.artifact.manifest import hash_json
from linnet.config import to_mapping
from linnet.errors import ConfigError, DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval.encoders import LEXICAL, TextEncoder, choose_encoder
from linnet.routing import learners
from linnet.routing.config import AUTO, LOCAL, RouterTrainConfig
from linnet.routing.curves import curve
from linnet.routing.features import attempt_features, attempt_of_row, question_features
from linnet.routing.learned import FORMAT, KIND, LearnedRouter, Stage, write_router
from linnet.routing.queries import Queries, Query
from linnet.routing.targets import HeldOut
from linnet.routing.vectors import Numeric, Space, counted, rarity_of

Numbers: TypeAlias = npt.NDArray[np.float64]

RESULTS_FILE = "results.json"
LEAST_QUERIES = 20
SHOWN_POINTS = 11


@dataclass
class Table:
    """Queries as numbers, in the order of their rows."""

    questions: list[str]
    question_rows: list[dict[str, float]]
    answer_rows: list[dict[str, float]] | None
    about: Numbers
    is_embedded: bool
    qualities: Numbers
    """(queries, models): the local one first."""
    costs: Numbers

    def __len__(self) -> int:
        return len(self.questions)

    def space(self, rows: npt.NDArray[np.int64], *, answers: bool) -> Space:
        """Made of these rows."""
        own = self.answer_rows if answers else None
        return Space(
            Numeric.of([self.question_rows[row] for row in rows]),
            None if own is None else Numeric.of([own[row] for row in rows]),
            None if self.is_embedded else rarity_of(self.about[rows]),
        )

    def vectors(self, space: Space, rows: npt.NDArray[np.int64]) -> Numbers:
        """Of these rows."""
        own = self.answer_rows if space.answer is not None else None
        return space.vectors(
            [self.question_rows[row] for row in rows],
            None if own is None else [own[row] for row in rows],
            self.about[rows],
        )


@dataclass
class _Trained:
    router: LearnedRouter
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """By stage and learner: the mean squared error of the gains on held-out questions."""
    notes: list[str] = field(default_factory=list)


def train_router(
    out: Path | str,
    queries: Queries,
    config: RouterTrainConfig | None = None,
    *,
    inputs: Mapping[str, Artifact | str] | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Learn a router and write it to ``out``. ``inputs``: the data by name and hash.

    Gives the one that is there where nothing has changed. Raises DataError where there are too few
    questions, ConfigError for a model that the data do not have.
    """
    config = config or RouterTrainConfig()
    encoder = encoder_of(config.encoder, progress)
    every = dict(inputs or {"queries": digest_of(queries)})
    if encoder is not None:
        every["encoder"] = encoder.fingerprint

    def write(draft: Draft) -> None:
        trained = _train(queries, config, encoder, progress)
        write_router(trained.router, draft.path)
        found = results_of(trained.router, trained.errors, trained.notes)
        output.write_json(draft.path / RESULTS_FILE, found)
        draft.stats.update(found)

    return artifact.make(
        out, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=every,
    )  # fmt: skip


def encoder_of(name: str, progress: Progress = SILENT) -> TextEncoder | None:
    """The encoder of that name; None for hashed groups of characters."""
    if name == LEXICAL:
        return None
    return choose_encoder(None if name == AUTO else name, progress=progress)


def digest_of(queries: Queries) -> str:
    """A hash of all that is learned from."""
    rows = [
        [row.id, row.question, {model: own.to_json() for model, own in row.outcomes.items()}]
        for row in queries.rows
    ]
    return hash_json(rows)


def _train(
    queries: Queries, config: RouterTrainConfig, encoder: TextEncoder | None, progress: Progress
) -> _Trained:
    models = models_of(queries, config)
    kept = queries.of(models)
    notes = kept.notes
    rows = _drawn(kept.rows, config)
    if len(rows) < len(kept.rows):
        notes.append(f"{len(rows):,} of {len(kept.rows):,} questions were drawn to learn from.")
    if len(rows) < LEAST_QUERIES:
        raise DataError(
            f"expected at least {LEAST_QUERIES} questions that {', '.join(models)} answered. "
            f"Got {len(rows)}"
        )
    table = table_of(rows, models, config, encoder, progress)
    answered = table.answer_rows is not None
    if config.answers and not answered:
        notes.append("No stage judges local answers: the data do not have them.")
    trained = _Trained(_empty(models, encoder, [row.question for row in rows]), notes=notes)
    for name in ("question", "attempt") if answered else ("question",):
        errors, stage = _stage(table, config, answers=name == "attempt")
        trained.errors[name] = errors
        trained.router = trained.router.with_stage(name, stage)
    if len(models) == 1:
        notes.append(
            "The data have no answers of a larger model: it is taken as always right, so that only "
            "a share can be a target. 'linnet compare' has the same questions answered by both."
        )
    return trained


def models_of(queries: Queries, config: RouterTrainConfig) -> tuple[str, ...]:
    """The models that are chosen between, the local one first. Raises ConfigError, and DataError
    where there is nothing to learn from."""
    have = queries.models
    if not have:
        raise DataError(" ".join(("there are no questions to learn from.", *queries.notes)))
    local = config.local or (LOCAL if LOCAL in have else "")
    if not local:
        raise ConfigError(
            f"which model runs on this machine? Name it with --local; there are: {', '.join(have)}"
        )
    larger = config.models or tuple(name for name in have if name != local)
    for name in (local, *larger):
        if name not in have:
            raise ConfigError(f"the data have no model '{name}'; there are: {', '.join(have)}")
    if local in larger or len(set(larger)) < len(larger):
        raise ConfigError("each model is either the local one or a larger one, once")
    return (local, *larger)


def table_of(
    rows: Sequence[Query],
    models: Sequence[str],
    config: RouterTrainConfig,
    encoder: TextEncoder | None,
    progress: Progress = SILENT,
) -> Table:
    """Rows as numbers. Nothing but qualities and costs is taken of larger models."""
    questions = [row.question for row in rows]
    local = [row.outcomes[models[0]] for row in rows]
    answers = None
    if config.answers and sum(bool(each.answer or each.signals) for each in local) > len(rows) / 2:
        answers = [
            attempt_features(attempt_of_row(row.question, each.answer, each.signals))
            for row, each in zip(rows, local, strict=True)
        ]
    about = counted(questions) if encoder is None else _embedded(encoder, questions)
    qualities = np.array([[row.outcomes[model].quality for model in models] for row in rows])
    costs = np.array([
        [np.nan if (cost := row.outcomes[model].cost) is None else cost for model in models]
        for row in rows
    ])  # fmt: skip
    if len(models) == 1:  # a larger one that is always right
        qualities = np.concatenate([qualities, np.ones((len(rows), 1))], axis=1)
        costs = np.concatenate([costs, np.full((len(rows), 1), np.nan)], axis=1)
    return Table(
        questions, [question_features(each) for each in questions], answers, about,
        encoder is not None, qualities, costs,
    )  # fmt: skip


def folds_of(count: int, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Which part each row belongs to; parts are of equal size."""
    found = np.empty(count, dtype=np.int64)
    found[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return found


def held_out_predictions(
    table: Table, names: Sequence[str], folds: npt.NDArray[np.int64], *, answers: bool
) -> dict[str, Numbers]:
    """By learner, of each row, by a model that did not learn from its fold: (rows, models)."""
    found = {name: np.zeros_like(table.qualities) for name in names}
    for fold in np.unique(folds):
        inside, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        space = table.space(others, answers=answers)
        fitted = learners.fit(names, table.vectors(space, others), table.qualities[others])
        vectors = table.vectors(space, inside)
        for name, own in fitted.items():
            found[name][inside] = own.predict(vectors)
    return found


def _stage(
    table: Table, config: RouterTrainConfig, *, answers: bool
) -> tuple[dict[str, float], Stage]:
    """The best learner, what it predicts of held-out rows, and the one that learned from all."""
    folds = folds_of(len(table), min(config.folds, len(table)), config.seed)
    names = learners.LEARNERS if config.learner == AUTO else (config.learner,)
    predicted = held_out_predictions(table, names, folds, answers=answers)
    errors = {name: learners.error(own, table.qualities) for name, own in predicted.items()}
    best = min(errors, key=lambda name: errors[name])  # the first of equals
    rows = np.arange(len(table))
    space = table.space(rows, answers=answers)
    fitted = learners.fit((best,), table.vectors(space, rows), table.qualities)[best]
    gains = learners.gains(predicted[best])
    return errors, Stage(
        space, fitted, HeldOut(gains, table.qualities, table.costs, after_attempt=answers)
    )


def results_of(
    router: LearnedRouter, errors: Mapping[str, Mapping[str, float]], notes: Sequence[str]
) -> dict[str, Any]:
    """The figures of a router as plain values."""
    found: dict[str, Any] = {
        "models": list(router.models), "encoder": router.encoder_name,
        "questions": len(router.keys), "stages": {}, "notes": list(notes),
    }  # fmt: skip
    for name, stage in router.stages.items():
        held_out = stage.held_out
        levels = np.quantile(held_out.scores, np.linspace(1, 0, SHOWN_POINTS)[1:])
        points = [held_out.point(float(t)) for t in (np.inf, *dict.fromkeys(levels))]
        own: dict[str, Any] = {
            "learner": stage.fitted.kind, "errors": dict(errors[name]),
            "points": [{**to_mapping(p), "threshold": _finite(p.threshold)} for p in points],
        }  # fmt: skip
        if held_out.qualities.shape[1] == 2:
            drawn = curve(held_out.scores, *held_out.qualities.T)
            own |= {"apgr": _finite(drawn.apgr), "calls_50": drawn.calls(0.5),
                    "calls_80": drawn.calls(0.8)}  # fmt: skip
        found["stages"][name] = own
    singles = next(iter(router.stages.values())).held_out
    found["single"] = [
        {"model": model, "quality": float(quality), "cost": _finite(float(cost))}
        for model, quality, cost in zip(
            router.models, singles.qualities.mean(0), singles.costs.mean(0), strict=False
        )
    ]
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _drawn(rows: Sequence[Query], config: RouterTrainConfig) -> list[Query]:
    if len(rows) <= config.questions:
        return list(rows)
    places = np.random.default_rng(config.seed).permutation(len(rows))[: config.questions]
    return [rows[place] for place in np.sort(places)]


def _embedded(encoder: TextEncoder, questions: Sequence[str]) -> Numbers:
    return np.asarray(encoder.embed_queries(questions), dtype=np.float64)


def _empty(
    models: Sequence[str], encoder: TextEncoder | None, questions: Sequence[str]
) -> LearnedRouter:
    return LearnedRouter(
        models=tuple(models),
        stages={},
        keys=tuple(map(key_of, questions)),
        encoder_name="" if encoder is None else encoder.name,
        encoder_source="" if encoder is None else encoder.source,
        encoder_fingerprint="" if encoder is None else encoder.fingerprint,
        encoder=encoder,
    )


def key_of(question: str) -> str:
    """By which a question that was learned from is known again; it cannot be read from it."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:32]

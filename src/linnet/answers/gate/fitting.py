"""Fitting a gate: questions asked, a model of what came of them, and a threshold with a promise.

    examples, people's questions, feedback
        -> put to the assistant (``trials``), also with the answer withheld
        -> half of the documents: features become a probability (``model``)
        -> the other half: the threshold that keeps the promise (``linnet.scoring.bounds``)

The thresholds and their order are chosen on the first half, by models that did not learn from the
questions they score; only the test of each sees the second half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet.answers.cases import Case
from linnet.answers.feedback import Feedback
from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.features import FEATURES
from linnet.answers.gate.gate import Gate
from linnet.answers.gate.model import MonotoneModel, fit, recalibration, rescaled
from linnet.answers.gate.reference import Reference, measure
from linnet.answers.gate.trials import (
    Over,
    Part,
    Trial,
    part_of,
    place_of,
    put,
    put_rated,
    with_withheld,
)
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval import Index, Searchable
from linnet.scoring.bounds import Certificate, certify, sequence

if TYPE_CHECKING:
    pass

PAIRS = (
    ("title_asked", "rest_covered"),
    ("words_covered", "reranked"),
    ("dense_level", "rest_covered"),
    ("lexical_margin", "dense_margin"),
    ("agreement", "words_covered"),
)
"""Features that tell more together than each by itself."""
SCOPE_PAIRS = (("found_covered", "lexical_level"), ("found_covered", "dense_level"))
LEAST = 0.5
"""What is more likely wrong than right is not shown, whatever was promised."""
FOLDS = 5
_LEAST_TO_LEARN = 20


@dataclass
class Fitted:
    """A gate, and all that it was made of."""

    gate: Gate
    trials: list[Trial]
    thresholds: list[float]
    """Those that were tested, in order, chosen without the questions that they were tested on."""
    notes: list[str] = field(default_factory=list)
    """What is to be known about it."""


def fit_trials(
    over: Over,
    index: Searchable,
    cases: Sequence[Case],
    config: GateConfig,
    *,
    feedback: Sequence[Feedback] = (),
    progress: Progress = SILENT,
) -> Fitted:
    """Fit a gate for an assistant over an index, on questions of which it is known what is right.

    Raises DataError where there are too few to learn from.
    """
    if isinstance(index, Index) and index.reranker is not None:
        index.reranker.late = math.inf  # nobody waits; a busy machine must not teach it
    reference = measure(index, seed=config.seed)
    drawn = list(with_withheld(_drawn(cases, config), config.withheld, config.seed))
    asked = put(over, index, drawn, reference, total=len(drawn), progress=progress)
    rated = put_rated(over, index, feedback, reference)
    fitted = fit_gate_to(asked.trials + rated.trials, reference, config)
    if asked.undecided:
        fitted.notes.append(
            f"{asked.undecided:,} withheld questions were left out: what was cited instead has the "
            "expected value, too."
        )
    if of_many := asked.of_many + rated.of_many:
        fitted.notes.append(
            f"{of_many:,} questions were left out: they were taken as asking for a list, a number "
            "or a summary, which is drawn from many passages."
        )
    if rated.undecided:
        fitted.notes.append(
            f"{rated.undecided:,} rated questions were left out: they are answered otherwise now."
        )
    return fitted


def fit_gate_to(trials: list[Trial], reference: Reference, config: GateConfig) -> Fitted:
    """Fit a gate to what came of questions. Sets the probabilities of the trials."""
    learn = [trial for trial in trials if trial.part == "learn"]
    if len(learn) < _LEAST_TO_LEARN or len({trial.right for trial in learn}) < 2:
        count = sum(trial.right for trial in learn)
        raise DataError(
            f"expected at least {_LEAST_TO_LEARN} questions to learn from, some answered rightly "
            f"and some not. Got {len(learn)}, {count} answered rightly; make more examples"
        )
    notes: list[str] = []
    right = _fit(learn, PAIRS)
    scope = _fit_scope(learn, notes)
    own = [trial for trial in trials if is_of_promise(trial, config)]
    calibration = [trial for trial in own if trial.part == "calibrate"]
    if not calibration:
        raise DataError(
            f"expected questions to set the threshold on ({config.promise}), about other documents "
            f"than those to learn from. Got none among {len(own)}; they have to be about more "
            "documents"
        )
    before = [
        trial for trial in own if trial.part == "learn" and not trial.id.endswith("-withheld")
    ]
    apart = _scored_apart(before, learn, config.seed)
    if len(before) >= _LEAST_TO_LEARN:
        # What was withheld for learning is not among the questions that are asked.
        slope, shift = recalibration(apart, _right(before))
        right, apart = right.rescaled(slope, shift), rescaled(apart, slope, shift)
    thresholds = _sequence(apart, _right(before), len(calibration), config)
    columns = columns_of(trials)
    for trial, probability, in_scope in zip(
        trials, right.probabilities(columns, list(FEATURES)),
        scope.probabilities(columns, list(FEATURES)), strict=True,
    ):  # fmt: skip
        trial.probability, trial.in_scope = float(probability), float(in_scope)
    certificate = certified(calibration, thresholds, config)
    return Fitted(Gate(reference, right, scope, certificate), trials, thresholds, notes)


def _sequence(
    scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], count: int, config: GateConfig
) -> list[float]:
    found = sequence(scores, right, config.rate, trials=count, confidence=config.confidence)
    return [max(found[0], LEAST), *(level for level in found[1:] if level > LEAST)] if found else []


def certified(
    trials: Sequence[Trial], thresholds: Sequence[float], config: GateConfig
) -> Certificate:
    """The threshold that keeps the promise on these."""
    scores = np.array([trial.probability for trial in trials])
    return certify(scores, _right(trials), thresholds, config.rate, config.confidence)


def is_of_promise(trial: Trial, config: GateConfig) -> bool:
    """Whether a question is of those that the promise is for."""
    return trial.origin in (config.promise, "feedback")


def _drawn(cases: Sequence[Case], config: GateConfig) -> Iterator[tuple[Case, Part]]:
    """As many of each origin as the settings allow, of each kind its share."""
    by_origin: dict[str, list[Case]] = {}
    for case in cases:
        by_origin.setdefault(case.origin, []).append(case)
    for own in by_origin.values():
        ordered = sorted(own, key=lambda case: place_of(case.id, config.seed))
        for case in ordered[: config.questions]:
            yield case, part_of(case.document, config.learn, config.seed)


def _fit(trials: Sequence[Trial], pairs: Sequence[tuple[str, str]]) -> MonotoneModel:
    return fit(columns_of(trials), _right(trials), list(FEATURES), pairs=pairs)


def _fit_scope(learn: Sequence[Trial], notes: list[str]) -> MonotoneModel:
    """Answerable questions against off-topic ones: a near miss or a withheld one is between."""
    own = [trial for trial in learn if trial.kind in ("answerable", "off_topic")]
    inside = np.array([trial.kind == "answerable" for trial in own])
    if inside.all():
        notes.append("There was no off-topic question to learn from: in_scope says nothing.")
    return fit(columns_of(own), inside, list(FEATURES), pairs=SCOPE_PAIRS)


def _scored_apart(
    wanted: Sequence[Trial], learn: Sequence[Trial], seed: int
) -> npt.NDArray[np.float64]:
    """Probabilities from models that have not seen the question's document."""
    found = np.zeros(len(wanted))
    folds = {id(t): int(place_of(t.document, seed + 1) * FOLDS) for t in (*wanted, *learn)}
    for fold in range(FOLDS):
        inside = [n for n, trial in enumerate(wanted) if folds[id(trial)] == fold]
        others = [trial for trial in learn if folds[id(trial)] != fold]
        if inside and others:
            model = _fit(others, PAIRS)
            columns = columns_of([wanted[n] for n in inside])
            found[inside] = model.probabilities(columns, list(FEATURES))
    return found


def columns_of(trials: Sequence[Trial]) -> npt.NDArray[np.float64]:
    rows = [[trial.features.get(name, np.nan) for name in FEATURES] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(trials), len(FEATURES))


def _right(trials: Sequence[Trial]) -> npt.NDArray[np.bool_]:
    return np.array([trial.right for trial in trials], dtype=bool)

"""Drift of the questions in a log: against those that gates were fitted on, and against the first.

A gate keeps every question that it was fitted with, and the numbers of each (``trials.jsonl``), so
that nothing more needs to be stored: those that its threshold was set on are the reference. Only
questions that came after it was fitted are compared, as numbers of another gate have another scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.directory import read_gate_results, read_trials
from linnet.answers.gate.features import watched
from linnet.answers.gate.fitting import is_of_promise
from linnet.answers.gate.gate import KIND
from linnet.config import from_mapping
from linnet.monitor.drift import Drift, FirstQuestions, Reference, Watch
from linnet.monitor.log import Log
from linnet.monitor.promises import Promise
from linnet.retrieval.terms import words

if TYPE_CHECKING:
    from linnet.routing.settings import Routing

LOG_FILE = "monitor.sqlite"
"""What a log is called in the directory of an index or an assistant."""
MOST_LOOKED = 20_000
"""Of a log that is opened, the newest calls that are looked at."""
_AT_ONCE = 2000


@dataclass(frozen=True)
class FittedOn:
    """What a gate was fitted on, and what it promises."""

    content: str
    """Changes where the gate does."""
    created: float
    promise: Promise | None
    reference: Reference | None
    """None where it has too few questions, or keeps no numbers of them."""


def fitted_on(index: Path | str) -> FittedOn | None:
    """Of the gate of an index; None where there is none.

    Raises ArtifactError and DamagedError for one that cannot be read.
    """
    place = Path(index) / KIND
    if not artifact.is_artifact(place):
        return None
    made = artifact.read(place, kind=KIND)
    promised = read_gate_results(place)["promise"]
    promise = None
    if promised["threshold"] is not None:
        promise = Promise(
            float(promised["rate"]), float(promised["confidence"]), str(promised["of"])
        )
    config = from_mapping(GateConfig, made.manifest.config, where=str(place))
    rows = [
        {
            **watched(trial.features), "in_scope": trial.in_scope,
            "probability": trial.probability, "words": float(len(words(trial.question))),
        }
        for trial in read_trials(place)
        if trial.part == "calibrate" and is_of_promise(trial, config)
    ]  # fmt: skip
    created = datetime.fromisoformat(made.manifest.created).timestamp()
    return FittedOn(made.content, created, promise, Reference.of("gate", rows))


class Watching:
    """The watches of a log; each look goes on where the last one ended."""

    def __init__(
        self,
        gates: Mapping[str, FittedOn] | None = None,
        *,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """``names``: which documents a model answers from, by the name that it is asked for by;
        otherwise all answer from the same, whose name is empty. ``gates``: of the documents.

        Whoever answers in the end does not count: that may depend on what was found.
        """
        self.gates = dict(gates or {})
        self.names = names
        self._watches: dict[str, tuple[Watch | None, FirstQuestions]] = {}
        self._last = 0

    def look(self, log: Log) -> None:
        """Take in what is new in the log. Raises StoreError."""
        if not self._last:
            with log.reading() as run:
                (newest,) = run("SELECT MAX(number) FROM calls").fetchone()
            self._last = max(0, (newest or 0) - MOST_LOOKED)
        while True:
            with log.reading() as run:
                rows = run(
                    "SELECT number, at, id, asked, in_scope, probability, features FROM calls "
                    "WHERE number > ? ORDER BY number LIMIT ?",
                    (self._last, _AT_ONCE),
                ).fetchall()
            for _, at, id, asked, in_scope, probability, features in rows:
                numbers = json.loads(features)
                for name, value in (("in_scope", in_scope), ("probability", probability)):
                    numbers[name] = math.nan if value is None else value
                self._add(at, id, asked, numbers)
            if len(rows) < _AT_ONCE:
                self._last = rows[-1][0] if rows else self._last
                return
            self._last = rows[-1][0]

    def _add(self, at: float, id: str, asked: str, numbers: Mapping[str, float]) -> None:
        name = "" if self.names is None else self.names.get(asked)
        if name is None or not any(map(math.isfinite, numbers.values())):
            return  # it is no longer served, or nothing was looked for in documents
        if name not in self._watches:
            gate = self.gates.get(name)
            watch = None
            if gate is not None and gate.reference is not None:
                watch = Watch(gate.reference, model=name)
            self._watches[name] = watch, FirstQuestions(model=name)
        watch, first = self._watches[name]
        if name in self.gates and at < self.gates[name].created:
            return
        if watch is not None:
            watch.add(at, id, numbers)
        first.add(at, id, numbers)

    def found(self, now: float) -> Sequence[Drift]:
        """What there is to say of each model."""
        return [
            watch.found(now)
            for pair in self._watches.values()
            for watch in pair
            if watch is not None
        ]


def reference_model(routing: Routing) -> str:
    """The model whose price says what the cloud would have cost: the first that has one."""
    return next((name for name, model in routing.models.items() if model.priced), "")


def log_in(place: Path) -> Path:
    """The log at a place: the file itself, or the usual one of a directory."""
    return place / LOG_FILE if place.is_dir() else place

"""How well a router learned from outcomes tells which questions need the larger model.

    python benchmarks/routing.py gsm8k_responses.csv --local mistralai/Mixtral-8x7B-Instruct-v0.1
        [--encoder lexical|minilm|DIRECTORY] [--assignments 20] [--ablations] [--json FILE]

Questions are put into five parts at random; the router learns from four of them and scores the
fifth. The scores of all questions together give RouteLLM's figures (``linnet.routing.curves``):
APGR, and the share of calls to the strong model that recovers half and 80 % of the gap; each is the
mean over the assignments of parts. The interval is the bootstrap's over questions, each drawn with
its scores in all assignments. Penalties and the number of neighbours are chosen within the four
parts. Of the strong model nothing is used but whether it was right, and only of the four parts.

With the question alone, and with the local answer as well; with an encoder of questions, or without
one. ``--ablations``: every learner, and features left out.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.routing import learners
from linnet.routing.config import RouterTrainConfig
from linnet.routing.curves import curve
from linnet.routing.queries import read_queries
from linnet.routing.training import (
    Table,
    encoder_of,
    folds_of,
    held_out_predictions,
    models_of,
    table_of,
)

FOLDS = 5
RESAMPLES = 200
FORMAT = (
    "answer_concludes", "answer_ends", "answer_lines", "answer_last_words", "answer_last_numbers",
)  # fmt: skip
"""Features of how an answer is laid out, which may be peculiar to a data set."""
ARITHMETIC = (
    "answer_equations", "answer_false", "answer_any_false", "answer_last_false",
    "answer_no_equation", "answer_longest_equation", "answer_unexplained",
    "answer_steps_of_numbers", "answer_steps_apart", "answer_per_step",
    "answer_ends_in_last_result", "answer_ends_in_result",
)  # fmt: skip
Scores = list[npt.NDArray[np.float64]]


def scored(table: Table, learner: str, assignments: int, *, answers: bool) -> Scores:
    """Of each assignment, how much better the strong model is expected to do, held out."""
    found = []
    for seed in range(assignments):
        folds = folds_of(len(table), FOLDS, seed)
        predicted = held_out_predictions(table, (learner,), folds, answers=answers)[learner]
        found.append(learners.gains(predicted)[:, 0])
    return found


def figures(scores: Scores, table: Table) -> dict[str, Any]:
    """APGR and calls, means over the assignments, with intervals over questions."""
    weak, strong = table.qualities.T
    curves = [curve(own, weak, strong) for own in scores]
    every = {
        "apgr": [own.apgr for own in curves],
        "calls_50": [own.calls(0.5) for own in curves],
        "calls_80": [own.calls(0.8) for own in curves],
    }
    found: dict[str, Any] = {
        name: {"mean": float(np.mean(own)), "spread": float(np.std(own))}
        for name, own in every.items()
    }
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = generator.integers(len(table), size=len(table))
        drawn.append(np.mean([curve(own[rows], weak[rows], strong[rows]).apgr for own in scores]))
    found["apgr"]["low"], found["apgr"]["high"] = map(float, np.quantile(drawn, [0.025, 0.975]))
    return found


def without(table: Table, names: Sequence[str]) -> Table:
    """The same, but for these features of answers."""
    rows = table.answer_rows or []
    kept = [{name: v for name, v in row.items() if name not in names} for row in rows]
    return replace(table, answer_rows=kept)


def show(label: str, found: dict[str, Any], seconds: float) -> None:
    """One line."""
    apgr = found["apgr"]
    print(
        f"{label:44} APGR {apgr['mean']:.3f} ({apgr['low']:.3f} - {apgr['high']:.3f}; "
        f"{apgr['spread']:.3f} between assignments)  calls for 50 % "
        f"{found['calls_50']['mean']:.1%}, for 80 % {found['calls_80']['mean']:.1%}  "
        f"[{seconds:.0f} s of processor]",
        flush=True,
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--local", default="mistralai/Mixtral-8x7B-Instruct-v0.1")
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--learner", default=learners.LEARNERS[0], choices=learners.LEARNERS)
    parser.add_argument("--assignments", type=int, default=20)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    config = RouterTrainConfig(local=given.local, encoder=given.encoder)
    queries = read_queries([given.data])
    models = models_of(queries, config)
    encoder = encoder_of(given.encoder)
    table = table_of(queries.of(models).rows, models, config, encoder)
    weak, strong = table.qualities.mean(0)
    print(f"{len(table):,} questions: {models[0]} {weak:.1%}, {models[1]} {strong:.1%}; questions "
          f"embedded by {encoder.name if encoder else 'hashed characters'}")  # fmt: skip
    has_answers = table.answer_rows is not None
    runs: list[tuple[str, Table, str, bool]] = [
        ("question alone", table, given.learner, False),
        *([("question and local answer", table, given.learner, True)] if has_answers else []),
    ]
    if given.ablations:
        bare = replace(table, about=np.zeros((len(table), 1)), is_embedded=True)
        for other in learners.LEARNERS:
            if other != given.learner:
                runs.append((f"question alone, {other}", table, other, False))
                runs.append((f"question and answer, {other}", table, other, True))
        runs += [
            ("question alone, without what it is about", bare, given.learner, False),
            ("with answer, without what it is about", bare, given.learner, True),
            ("with answer, without its layout", without(table, FORMAT), given.learner, True),
            ("with answer, without arithmetic", without(table, ARITHMETIC), given.learner, True),
        ]
    results = {}
    for label, own, learner, answers in runs:
        began = time.process_time()
        results[label] = figures(scored(own, learner, given.assignments, answers=answers), own)
        show(label, results[label], time.process_time() - began)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How much a gate lets an index answer, what it promises, and whether the promise is kept.

    python benchmarks/gate.py --medquad medquad.jsonl --off-topic alpaca_en_demo.json --work DIR
        [--share 0.25] [--first 0.0] [--questions 2000] [--reranker]
    python benchmarks/gate.py --trials DIR/trials.jsonl

Documents are medquad's answers, each titled by its focus; equal answers, and answers to equal
questions, are one target. Questions are people's (of medquad) and those that linnet examples makes
of the documents. Focuses are divided: of half of them the gate learns, a quarter sets the
threshold, and all figures are of the last quarter. Off-topic questions (Alpaca's, without the
medical ones) and withheld targets are never learned from as such. Over 200 resplits of the stored
scores of the last two quarters the threshold is set on half of the focuses and tried on the others.

``--share``: of the focuses; those before ``--first`` are left out. ``--reranker``: one is trained
on people's and made questions of half of them, with which the gate has nothing to do then. What
is in DIR already is used again; ``--trials`` fits and scores once more what was stored.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from linnet.answers import Assistant
from linnet.answers.cases import Case, Span, read_cases
from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.features import FEATURES
from linnet.answers.gate.fitting import Fitted, certified, columns_of, fit_gate_to, fit_trials
from linnet.answers.gate.reference import Reference
from linnet.answers.gate.results import figures, resplits, separation
from linnet.answers.gate.trials import Trial, place_of, put
from linnet.answers.reranking import ensure_reranker
from linnet.examples import EXAMPLES_FILE, make_examples
from linnet.retrieval.index import Index
from linnet.retrieval.indexing import IndexConfig, make_index
from linnet.retrieval.reranker_training import RerankerConfig

MEDICAL = re.compile(
    r"health|disease|medic|cancer|doctor|patient|symptom|diet|nutri|vitamin|sleep|stress|virus"
    r"|vaccin|covid|pandemic|drug|therap|exercise|body|blood|heart|brain|gene|cell|anxi|depress"
    r"|weight|pain|allerg|infect|bacteri|muscle|smok|alcohol|surg|hospital|organ|immun|protein",
    re.IGNORECASE,
)
RESPLIT_SHARE = 0.5


def documents_of(rows: Sequence[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Write a document for each row; its name by the row's id."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, row in enumerate(rows):
        row["id"] = str(number)
        name = f"{number:05}.md"
        names[row["id"]] = f"{folder.name}/{name}"
        file = folder / name
        if not file.exists():
            file.write_text(f"# {row['focus']}\n\n{row['answer']}\n")
    return names


def people_of(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[Case]:
    """People's questions, each once, with all documents that answer it."""
    by_answer, by_question = defaultdict(list), defaultdict(list)
    for row in rows:
        by_answer[row["answer"].strip()].append(row)
        by_question[row["question"].strip().lower()].append(row)
    found = []
    for own in by_question.values():
        row = own[0]
        same = [other for each in own for other in by_answer[each["answer"].strip()]]
        gold = tuple(Span(names[name]) for name in dict.fromkeys(each["id"] for each in same))
        found.append(
            Case(f"people-{row['id']}", row["question"], "answerable", (gold,), origin="people",
                 document=row["focus"], language="en")
        )  # fmt: skip
    return found


def off_topic_of(file: Path) -> list[Case]:
    """Alpaca's instructions, without the medical ones."""
    found = []
    for number, row in enumerate(json.loads(file.read_text())):
        text = f"{row['instruction']} {row['input']}".strip()
        if not MEDICAL.search(text):
            found.append(
                Case(f"alpaca-{number}", text[:500], "off_topic", origin="alpaca",
                     document=f"alpaca {number}", language="en")
            )  # fmt: skip
    return found


def judged(fitted: Fitted, trials: list[Trial]) -> list[Trial]:
    """The same with the gate's probabilities."""
    columns, names = columns_of(trials), list(FEATURES)
    both = zip(
        trials, fitted.gate.right.probabilities(columns, names),
        fitted.gate.scope.probabilities(columns, names), strict=True,
    )  # fmt: skip
    for trial, probability, in_scope in both:
        trial.probability, trial.in_scope = float(probability), float(in_scope)
    return trials


def is_test(document: str) -> bool:
    """Whether a focus that nothing was learned from is in the last quarter."""
    return place_of(f"{document} test", 0) < 0.5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--medquad", type=Path)
    parser.add_argument("--off-topic", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--reranker", action="store_true")
    parser.add_argument("--trials", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--first", type=float, default=0.0)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--off-topic-questions", type=int, default=300)
    given = parser.parse_args()

    if given.trials is not None:
        for promise in ("people", "generated"):
            show(promise, stored_trials(given.trials))
        return
    if None in (given.medquad, given.off_topic, given.work):
        parser.error("--medquad, --off-topic and --work are needed")
    rows = [json.loads(line) for line in given.medquad.open(encoding="utf-8")]
    rows = [
        row
        for row in rows
        if row["answer"] and given.first <= place_of(row["focus"], 5) < given.share
    ]
    names = documents_of(rows, given.work / "docs")
    focus = {names[row["id"]]: row["focus"] for row in rows}
    out = given.work / "index"
    made = make_index(given.work / "docs", out, IndexConfig())
    make_examples(out / "corpus", out / "examples")
    print(f"{len(rows):,} documents of {len(set(focus.values())):,} focuses: "
          f"{made.stats['passages']:,} passages")  # fmt: skip
    people = people_of(rows, names)
    generated = [
        replace(case, document=focus.get(case.document, case.document))
        for case in read_cases(out / "examples")
    ]
    off_topic = off_topic_of(given.off_topic)[: given.off_topic_questions]
    if given.reranker:
        trained = [case for case in people if is_of_reranker(case.document)]
        file = given.work / "people.jsonl"
        file.write_text("".join(json.dumps(row_of(case)) + "\n" for case in trained))
        own = given.work / "made.jsonl"
        with (out / "examples" / EXAMPLES_FILE).open(encoding="utf-8") as lines:
            own.write_text("".join(
                line for line in lines
                if is_of_reranker(focus.get(json.loads(line).get("source"), ""))
            ))  # fmt: skip
        ensure_reranker(out, questions=[file, own], config=RerankerConfig(threads=1))
        people = [case for case in people if not is_of_reranker(case.document)]
        generated = [case for case in generated if not is_of_reranker(case.document)]
    began = time.process_time()
    config = GateConfig(questions=given.questions)
    with Index.open(out) as index:
        fitted = fit_trials(Assistant, index, [*people, *generated], config)
        by_id = {case.id: case for case in people}
        apart = [t for t in fitted.trials if t.part == "calibrate" and t.origin == "people"]
        withheld = [by_id[t.id].withheld() for t in apart if is_test(t.document)]
        more = put(
            Assistant, index, [(case, "calibrate") for case in (*withheld, *off_topic)],
            fitted.gate.reference,
        ).trials  # fmt: skip
    with (given.work / "trials.jsonl").open("w") as stored:
        for trial in (*fitted.trials, *more):
            stored.write(json.dumps(trial.to_json()) + "\n")
    print(f"{time.process_time() - began:.0f} s of the processor for the questions")
    for promise in ("people", "generated"):
        show(promise, stored_trials(given.work / "trials.jsonl"))


def stored_trials(file: Path) -> list[Trial]:
    """What was stored of each question."""
    return [Trial(**json.loads(line)) for line in file.open(encoding="utf-8")]


def is_of_reranker(focus: str) -> bool:
    """Whether the re-ranker learns from the questions of a focus."""
    return place_of(f"{focus} reranker", 0) < 0.5


def row_of(case: Case) -> dict[str, Any]:
    """A case as a row of people's questions."""
    gold = [{"source": span.source} for part in case.gold for span in part]
    return {"id": case.id, "question": case.question, "gold": gold, "document": case.document}


def show(promise: str, stored: Sequence[Trial]) -> None:
    """The figures for one promise, of trials that were stored."""
    config = GateConfig(promise=promise)  # type: ignore[arg-type]
    # What was withheld or off the subject apart from learning is in no promise.
    apart_only = [
        t for t in stored
        if t.origin == "alpaca" or (t.part == "calibrate" and t.id.endswith("-withheld"))
    ]  # fmt: skip
    used = {id(trial) for trial in apart_only}
    trials = [trial for trial in stored if id(trial) not in used]
    if not any(trial.origin == promise for trial in trials):
        return
    for trial in trials:
        if trial.part == "calibrate" and is_test(trial.document):
            trial.part = "test"  # type: ignore[assignment]
    nothing = Reference(0, {}, np.empty(0, np.uint64), np.empty(0, np.uint32))
    fitted = fit_gate_to(trials, nothing, config)
    judged(fitted, apart_only)
    setting = [t for t in trials if t.part == "calibrate" and t.origin == promise]
    test = [t for t in trials if t.part == "test" and t.origin == promise]  # type: ignore[comparison-overlap]
    certificate = certified(setting, fitted.thresholds, config)
    print(f"\n{promise}: {certificate}")
    for name, value in figures(test, certificate).items():
        print(f"  {name}: {value}")
    answerable = [t for t in test if t.answerable]
    withheld = [t for t in apart_only if t.kind == "withheld" and is_test(t.document)]
    off_topic = [t for t in apart_only if t.origin == "alpaca"]
    print(f"  in_scope against {len(off_topic)} off-topic:",
          separation(answerable, off_topic, "in_scope"))  # fmt: skip
    if promise == "people":
        print(f"  probability against {len(withheld)} withheld:",
              separation(answerable, withheld, "probability"))  # fmt: skip
        right = [t for t in answerable if t.right]
        print("  of right drafts alone:", separation(right, withheld, "probability"))
    print(
        "  resplits:", resplits([*setting, *test], fitted.thresholds, config, share=RESPLIT_SHARE)
    )
    weights = {name: round(sum(w), 2) for name, w in fitted.gate.right.weights.items()}
    print("  weights:", dict(sorted(weights.items(), key=lambda each: -each[1])))


if __name__ == "__main__":
    main()

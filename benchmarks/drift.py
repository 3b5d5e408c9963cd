"""How seldom drift is said where there is none, and how soon where there is.

    python benchmarks/gate.py --medquad medquad.jsonl --off-topic alpaca_en_demo.json --work DIR
    python benchmarks/drift.py --trials DIR/trials.jsonl [--reference 200]
        [--streams 100] [--seed 0]

The numbers of each question are those that an assistant over MedQuAD's answers gave (``trials``):
people's questions are on topic, Alpaca's (without the medical ones) are not. Reference and stream
are drawn from the same questions, so that a quiet month is exactly that; 50 questions a day. An
inflow begins after so many quiet days, and each question is then off topic with its share.

Reported: months of 100 with an alarm; of each inflow how many streams noticed it within three days,
and after how many questions (median, and 95 of 100); the same where the reference is the questions
that were generated from the documents; processor time for a question.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linnet.answers.gate.features import watched
from linnet.monitor.drift import FALSE_ALARM, Reference, Watch
from linnet.retrieval.terms import words

A_DAY = 50
DAY = 86_400.0
Row = Mapping[str, float]


def rows_of(file: Path) -> dict[str, list[Row]]:
    """The numbers of questions that no gate learned from, by where they come from."""
    found: dict[str, list[Row]] = {"people": [], "generated": [], "off topic": []}
    with file.open() as lines:
        for line in lines:
            trial = json.loads(line)
            kind, origin = trial["kind"], trial["origin"]
            name = {"answerable": origin, "off_topic": "off topic"}.get(kind)
            if trial["part"] != "calibrate" or name not in found or origin == "feedback":
                continue
            if name == "off topic" and origin == "generated":
                continue
            found[name].append({
                **watched(trial["features"]), "in_scope": trial["in_scope"],
                "probability": trial["probability"], "words": len(words(trial["question"])),
            })  # fmt: skip
    return found


def asked_until_alarm(
    generator: np.random.Generator,
    reference: Reference,
    on: Sequence[Row],
    off: Sequence[Row],
    *,
    quiet: int,
    days: int,
    share: float,
) -> int | None:
    """The number of the question with which an alarm came, after the quiet days; negative in them;
    None: there was none."""
    watch = Watch(reference)
    begin = quiet * A_DAY
    for number in range((quiet + days) * A_DAY):
        pool = off if number >= begin and generator.random() < share else on
        row = pool[int(generator.integers(len(pool)))]
        at = number * DAY / A_DAY
        watch.add(at, str(generator.integers(1 << 60)), row)
        if watch.alarms:
            return number - begin + 1
    return None


def reference(generator: np.random.Generator, pool: Sequence[Row], size: int) -> Reference:
    """Of so many questions drawn from these."""
    drawn = [pool[int(n)] for n in generator.integers(len(pool), size=size)]
    found = Reference.of("gate", drawn)
    assert found is not None
    return found


def inflow(
    rows: Mapping[str, Sequence[Row]], share: float, quiet: int, size: int, streams: int, seed: int
) -> dict[str, Any]:
    """What is noticed of an inflow."""
    generator = np.random.default_rng(seed)
    after = [
        asked_until_alarm(
            generator, reference(generator, rows["people"], size), rows["people"],
            rows["off topic"],
            quiet=quiet, days=14, share=share,
        )
        for _ in range(streams)
    ]  # fmt: skip
    counted = sorted(math.inf if n is None else n for n in after if n is None or n > 0)
    noticed = sum(n <= 3 * A_DAY for n in counted)
    return {
        "share": share, "quiet_days": quiet, "streams": len(counted),
        "false": len(after) - len(counted), "within_3_days": noticed,
        "median_questions": _finite(counted[len(counted) // 2]),
        "95_of_100_questions": _finite(counted[math.ceil(0.95 * len(counted)) - 1]),
    }  # fmt: skip


def _finite(number: float) -> float | None:
    """None: not within two weeks."""
    return number if math.isfinite(number) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--reference", type=int, default=200)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = rows_of(given.trials)
    print("questions:", {name: len(own) for name, own in rows.items()})
    began = time.process_time()
    generator = np.random.default_rng(given.seed)
    quiet = [
        asked_until_alarm(
            generator, reference(generator, rows["people"], given.reference), rows["people"], (),
            quiet=0, days=30, share=0.0,
        )
        for _ in range(given.streams)
    ]  # fmt: skip
    spent = time.process_time() - began
    alarms = sum(n is not None for n in quiet)
    print(f"quiet months with an alarm: {alarms} of {given.streams} (at most {FALSE_ALARM:.0%} "
          "are expected)")  # fmt: skip
    print(f"processor time: {1e6 * spent / (given.streams * 30 * A_DAY):.0f} us a question")
    for quiet_days in (0, 25):
        for share in (0.05, 0.1, 0.2, 0.3, 0.5) if quiet_days == 0 else (0.1, 0.3):
            found = inflow(rows, share, quiet_days, given.reference, given.streams, given.seed + 1)
            print(json.dumps(found))
    if rows["generated"]:
        generated = [
            asked_until_alarm(
                generator, reference(generator, rows["generated"], given.reference),
                rows["people"], (), quiet=0, days=30, share=0.0,
            )
            for _ in range(max(1, given.streams // 5))
        ]  # fmt: skip
        counted = sorted(math.inf if n is None else n for n in generated)
        print(f"people's questions against generated ones: noticed in "
              f"{sum(n is not None for n in generated)} of {len(generated)}, median after "
              f"{counted[len(counted) // 2]} questions")  # fmt: skip


if __name__ == "__main__":
    main()

"""What came of questions that several models answered: ``outcomes.jsonl``, a row for each answer.

    {"id": "7", "question": "...", "model": "cloud", "quality": 0.8, "cost": 0.00012,
     "seconds": 1.4, "answer": "...", "signals": {"logprob": -0.3}}

``linnet compare MODEL MODEL --questions FILE`` writes it, and a router learns from it. All rows of
one ``id`` are answers to the same question; an answer that could not be scored has no row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linnet import output
from linnet.config import parse_json, show
from linnet.errors import DataError

OUTCOMES = "outcomes.jsonl"
LONGEST_LINE = 1 << 24
MOST_ROWS = 10_000_000
_LARGEST = 1e300


@dataclass(frozen=True)
class ModelOutcome:
    """One answer of one model, and how good it was."""

    id: str
    """Of the question."""
    question: str
    model: str
    quality: float
    """From 0 to 1."""
    cost: float | None
    """What the model billed, in the unit of its prices; None: it is not known."""
    seconds: float
    """Until the answer was complete."""
    answer: str
    signals: Mapping[str, float] = field(default_factory=dict)
    """What is known of the answer without knowing whether it is right. ``logprob``: mean
    log-probability of its tokens; ``probability``, ``in_scope``: what a gate said of it;
    ``grounded``: share of its claims that its passages support; ``tokens``: those written;
    ``refused``: 1 where it says that it does not know."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the row has."""

    def to_json(self) -> dict[str, Any]:
        """As the row of a file."""
        return {
            "id": self.id, "question": self.question, "model": self.model,
            "quality": self.quality, "cost": self.cost, "seconds": self.seconds,
            "answer": self.answer, "signals": dict(self.signals), **self.more,
        }  # fmt: skip


def write_outcomes(file: Path, outcomes: Iterable[ModelOutcome]) -> None:
    """Write them all, or nothing."""
    with output.replacing(file) as neighbour, neighbour.open("wb") as rows:
        for each in outcomes:
            row = json.dumps(each.to_json(), ensure_ascii=False, allow_nan=False)
            rows.write(row.encode("utf-8", "replace") + b"\n")


def read_outcomes(file: Path | str) -> list[ModelOutcome]:
    """All rows of a file. Raises DataError, naming the line."""
    file = Path(file)
    found: list[ModelOutcome] = []
    try:
        with file.open("rb") as rows:
            number = 0
            while line := rows.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{file}, line {number}"
                if len(line) > LONGEST_LINE or len(found) == MOST_ROWS:
                    raise DataError(
                        f"{where}: expected at most {LONGEST_LINE:,} bytes in a line, and "
                        f"{MOST_ROWS:,} lines"
                    )
                if line.strip():
                    found.append(_row(line, where))
    except OSError as error:
        raise DataError(f"{file}: expected outcomes, but {error.strerror or error}") from None
    return found


def _row(line: bytes, where: str) -> ModelOutcome:
    try:
        row = parse_json(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object")
    for name in ("id", "question", "model"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where}: expected '{name}', as text. Got {show(row.get(name))}")
    quality = _number(row.get("quality"), "quality", where, most=1.0)
    cost = row.get("cost")
    signals = row.get("signals") or {}
    if not isinstance(signals, dict):
        raise DataError(f"{where}: expected 'signals', an object of numbers. Got {show(signals)}")
    known = ("id", "question", "model", "quality", "cost", "seconds", "answer", "signals")
    return ModelOutcome(
        id=row["id"], question=row["question"], model=row["model"], quality=quality,
        cost=None if cost is None else _number(cost, "cost", where),
        seconds=_number(row.get("seconds", 0.0), "seconds", where),
        answer=row["answer"] if isinstance(row.get("answer"), str) else "",
        signals={
            str(name): _number(value, f"signals.{name}", where, least=-math.inf)
            for name, value in signals.items()
        },
        more={name: value for name, value in row.items() if name not in known},
    )  # fmt: skip


def _number(
    value: Any, name: str, where: str, *, least: float = 0.0, most: float = math.inf
) -> float:
    """Raises DataError for what is no number, or outside the bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= _LARGEST or not least <= value <= most:
        bounds = f" from {least:g} to {most:g}" if most < math.inf else ""
        raise DataError(f"{where}: expected '{name}', a number{bounds}. Got {show(value)}")
    return float(value)

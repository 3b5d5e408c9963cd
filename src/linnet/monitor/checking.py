"""Answers drawn at random from the log, for somebody to check; and what they found."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from linnet.config import parse_json
from linnet.errors import DataError
from linnet.monitor.log import Log

_LARGEST_LINE = 1_000_000


def draw(log: Log, since: float | None, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """A random sample of the answers that a gate let through, to be checked by somebody.

    ``good`` of each is to be filled in: true or false. Contents are there if the log has them.
    Raises StoreError.
    """
    with log.reading() as run:
        numbers = [
            number
            for (number,) in run(
                "SELECT number FROM calls WHERE at >= ? AND state = 'answered' "
                "AND probability IS NOT NULL ORDER BY number",
                (-math.inf if since is None else since,),
            )
        ]
    chosen = sorted(random.Random(seed).sample(numbers, min(count, len(numbers))))
    rows = []
    for number in chosen:
        with log.reading() as run:
            row = run(
                "SELECT id, at, model, probability, question, answer FROM calls WHERE number = ?",
                (number,),
            ).fetchone()
        if row is not None:  # it may have been forgotten meanwhile
            names = ("id", "at", "model", "probability", "question", "answer")
            rows.append({**dict(zip(names, row, strict=True)), "good": None})
    return rows


def read_checked(file: Path) -> dict[str, bool]:
    """Verdicts on a sample, of rows with ``id`` and ``good``; those without one are left out.

    Raises DataError.
    """
    found = {}
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(_LARGEST_LINE + 1):
            number += 1
            try:
                row = parse_json(line.decode())
                name, good = row["id"], row["good"]
            except (ValueError, TypeError, KeyError):
                name, good = None, None
            if not isinstance(name, str) or not (good is None or isinstance(good, bool)):
                raise DataError(
                    f"{file}, line {number}: expected an object in JSON with 'id', and 'good' that "
                    "is true, false or null"
                )
            if good is not None:
                found[name] = good
    return found

"""Choosing among texts by their likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linnet.errors import DataError
from linnet.generate.engine import Likelihood


def choice_scores(
    found: Sequence[Likelihood], choices: Sequence[str], right: int
) -> tuple[dict[str, float], int]:
    """Scores of a choice by likelihood, and the one that was chosen.

    ``right`` is chosen rightly if no other is as likely, so that a model which finds all alike does
    not get every point. ``margin``: nats between it and the best other one.
    """
    logs = [-each.nats for each in found]
    by_length = [log / max(1, len(text)) for log, text in zip(logs, choices, strict=True)]
    best_other = max(log for place, log in enumerate(logs) if place != right)
    return {
        "right": float(_wins(logs, right)),
        "right_by_length": float(_wins(by_length, right)),
        "chance": 1 / len(choices),
        "margin": logs[right] - best_other,
        "gold_nats": found[right].nats,
        "gold_tokens": found[right].tokens,
    }, max(range(len(logs)), key=logs.__getitem__)


def _wins(values: Sequence[float], right: int) -> bool:
    return all(values[right] > each for place, each in enumerate(values) if place != right)


def right_choice(answer: Any, choices: Sequence[str]) -> int:
    """Which choice an answer means: its text, its number from 0, or its letter."""
    if isinstance(answer, str) and answer in choices:
        return list(choices).index(answer)
    if isinstance(answer, str) and answer.strip() in choices:
        return list(choices).index(answer.strip())
    place = -1
    if isinstance(answer, int) and not isinstance(answer, bool):
        place = answer
    elif isinstance(answer, str) and answer.strip().isdecimal() and len(answer) < 9:
        place = int(answer)
    elif isinstance(answer, str) and len(answer.strip()) == 1:
        place = ord(answer.strip().upper()) - ord("A")
    if not 0 <= place < len(choices):
        raise DataError(
            f"the target must be one of the choices ({', '.join(choices)[:200]}), its number "
            f"from 0 or its letter. Got {str(answer)[:60]!r}"
        )
    return place

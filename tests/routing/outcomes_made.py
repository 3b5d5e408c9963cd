"""Made outcomes: long questions need the larger model, and wrong sums give answers away."""

from __future__ import annotations

import random

from linnet.routing.outcomes import ModelOutcome
from linnet.routing.queries import Queries, Query

SUBJECTS = ("apples", "lamps", "letters", "boats", "stamps", "chairs", "coins", "maps")


def made(count: int = 120, *, seed: int = 0, costs: bool = True) -> Queries:
    """``count`` questions; the local model is right where the question is short, mostly."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        steps, subject = generator.randint(1, 8), generator.choice(SUBJECTS)
        first = generator.randint(2, 90)
        question = f"Ann has {first} {subject}. " + " ".join(
            f"Then she buys {generator.randint(2, 90)} more {subject}." for _ in range(steps)
        )
        question += f" How many {subject} does she have?"
        right = generator.random() < (0.95 if steps < 4 else 0.3)
        total = first + steps
        answer = f"{first} + {steps} = {total if right else total + 3}. She has {total}."
        outcomes = {
            "local": ModelOutcome(
                str(number), question, "local", float(right), 0.0 if costs else None, 0.1, answer
            ),
            "cloud": ModelOutcome(
                str(number), question, "cloud", float(generator.random() < 0.9),
                0.001 if costs else None, 1.0, "It depends.",
            ),
        }  # fmt: skip
        rows.append(Query(str(number), question, outcomes))
    return Queries(rows)

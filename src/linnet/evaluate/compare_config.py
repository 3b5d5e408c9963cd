"""How models are compared, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from linnet.config import option
from linnet.evaluate.compare import CompareConfig
from linnet.evaluate.compare_return import ReturnConfig

Measure: TypeAlias = Literal["f1", "exact_match", "contains", "grounded", "judge"]
PERSON, TERMINAL, NOBODY = "person", "terminal", "none"
"""Judges that are no model: a sheet to fill in, questions in the terminal, no judge."""
ABOUT: Mapping[str, str] = {
    "f1": "the words shared with the expected answer (F1)",
    "exact_match": "whether it is the expected answer",
    "contains": "whether it contains the expected answer",
    "grounded": "the share of its claims that the passage supports",
    "judge": "which answer the judge finds better: 1, half for a tie, or 0",
}
"""What the quality of an answer is, by each measure."""


@dataclass(frozen=True)
class ModelsConfig(CompareConfig, ReturnConfig):
    """How models are compared."""

    metric: Literal["auto", "f1", "exact_match", "contains", "grounded", "judge"] = option(
        "auto",
        "what quality is; auto: contains where short answers are expected, f1 where long ones are, "
        "without any what the judge says, and without a judge grounded",
        group="Models",
    )
    solved: float = option(
        0.5, "quality from which on a question counts as solved", group="Models", above=0, most=1
    )
    limit: int | None = option(
        None, "only so many questions, drawn by the seed", group="Models", least=1
    )
    split: Literal["test", "validation", "train"] = option(
        "test", "the questions of this split, where they are divided", group="Models"
    )
    answer_tokens: int = option(64, "length of an answer, in tokens", group="Models", least=1)
    judge_tokens: int = option(
        200, "length of a verdict, in tokens; models that reason first need more", group="Models",
        least=16,
    )  # fmt: skip
    passages: bool = option(True, "put the passages of the questions before them", group="Models")
    instruction: bool = option(
        True, "ask for a short answer; without, as linnet finetune puts examples", group="Models"
    )
    cost: float | None = option(
        None, "money that models may cost, all runs with the same --out together", group="Models",
        least=0,
    )  # fmt: skip
    checker: str = option(
        "", "directory of a checker for what the rules of groundedness leave open", group="Models"
    )

"""How a model is scored, as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linnet.config import Config, option


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """How to score a model."""

    split: Literal["test", "validation", "train"] = option(
        "test", "which split of encoded documents to score"
    )
    max_bytes: int = option(
        4_000_000, "score at most this much text, an even sample of the documents", least=1
    )
    level: float = option(0.95, "confidence level of the interval", above=0, below=1)
    resamples: int = option(1000, "resamplings of the documents behind the interval", least=1)
    seed: int = option(0, "seed of the resampling and of the first sample", least=0)
    baseline_bytes: int = option(
        4_000_000, "training text that the baselines may learn from; 0 leaves them out", least=0
    )
    samples: int = option(6, "continuations to write", least=0)
    sample_tokens: int = option(160, "length of a continuation, in tokens", least=1)
    temperature: float = option(0.8, "temperature of the continuations", least=0)
    overlap_bytes: int = option(
        500_000_000,
        "training text to search for what the continuations repeat; 0 for none",
        least=0,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    dtype: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format to compute in")


@dataclass(frozen=True)
class TasksConfig(EvaluateConfig):
    """How to run the tasks that are asked for by name or by file."""

    limit: int | None = option(
        None, "only this many items of each task, drawn by the seed, for a quick try", least=1
    )
    shots: int = option(0, "solved examples before each question", least=0, most=64)
    style: Literal["auto", "chat", "plain", "bare"] = option(
        "auto",
        "ask as a conversation or as plain text (auto: as the model can), with an instruction "
        "before the question; bare: without one, as linnet finetune puts examples",
    )
    answer_tokens: int = option(48, "length of an answer, in tokens", least=1)
    distractors: int = option(
        3, "wrong answers beside the right one, where one is to be chosen", least=1, most=32
    )
    continuations: int = option(40, "continuations that coherence is measured on", least=2)
    passages: int = option(
        100, "passages of training text, and as many held-out ones, that the model is to give back",
        least=1,
    )  # fmt: skip
    prefix_tokens: int = option(50, "tokens of such a passage that it is shown", least=1)
    suffix_tokens: int = option(50, "tokens that follow, and that it is to write", least=4)
    references: int = option(
        1000, "sequences never planted, among which canaries are ranked", least=10
    )
    attempts: int = option(
        4, "texts to write where something private was masked, the first greedily", least=1
    )
    checker: str = option(
        "", "directory of a checker for what the rules of groundedness leave open"
    )

"""Which model is best when the time is up?

A larger model learns more from each token but sees fewer of them. On short
budgets the best model is the one that sees about ``TOKENS_PER_PARAMETER`` tokens
per parameter of its matrices (measured here, see docs/experiments.md; Hoffmann
et al., arXiv:2203.15556, find about 20 for runs a million times longer).
Repeating the documents helps less and less (arXiv:2305.16264), so epochs are
capped.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from linnet.config import show_duration, to_mapping
from linnet.errors import BudgetError, ConfigError
from linnet.output import human_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.planner.measuring import CorpusFacts, MachineFacts
    from linnet.train.config import TrainConfig

SHORTEST_TRAINING = 8.0  # seconds
SHORTEST_LIMIT = 30.0  # seconds, for however few steps
WRONG_ESTIMATE = 4.0  # times that a few steps may take longer than estimated
MOST_EPOCHS = 20

TOKENS_PER_PARAMETER = 0.6
SPREAD = (0.85, 1.2)  # of expected bits per byte: corpora tried lay between these times it

# width, depth, head width
SHAPES = (
    (64, 2, 32),
    (128, 2, 32),
    (128, 3, 32),
    (192, 3, 64),
    (256, 3, 64),
    (256, 4, 64),
    (320, 5, 64),
    (384, 6, 64),
    (512, 6, 64),
    (512, 8, 64),
    (640, 10, 64),
    (768, 12, 64),
    (1024, 16, 64),
    (1280, 20, 128),
    (1536, 24, 128),
)
CONTEXT = 1024  # tokens: a conversation of several turns, or a page or two
SMALL_CONTEXT = 256  # where the user's updates are too small for it
SHORT_ROWS = 0.8  # of the run reads shorter rows, which costs less and teaches as much
PLANNED = (
    "family",
    "width",
    "depth",
    "head_width",
    "context",
    "short_rows",
    "short_length",
    "batch_tokens",
    "seconds",
)
VOCABULARIES = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Plan:
    """What will be made, why, and what is expected of it."""

    budget: float
    vocab_size: int
    train: dict[str, Any]
    """What was chosen of :class:`linnet.train.TrainConfig`: the settings in ``PLANNED``."""
    parameters: int
    steps: int
    epochs: float
    tokens_per_second: float
    expected_bits_per_byte: float | None
    seconds: dict[str, float]
    """Expected time of each stage."""
    reasons: list[str]
    corpus: dict[str, Any]
    machine: dict[str, Any]

    @property
    def seconds_for_training(self) -> float:
        """What the budget leaves for training, whether or not all of it is worth using."""
        return self.budget - sum(t for stage, t in self.seconds.items() if stage != "train")


def choose(
    corpus: CorpusFacts,
    machine: MachineFacts,
    *,
    budget: float,
    spent: float,
    overrides: Mapping[str, Any] | None = None,
    vocab_size: int | None = None,
) -> Plan:
    """Pick the largest shape that sees enough tokens in the time that training gets."""
    seconds = _stage_seconds(corpus, budget, spent)
    if seconds["train"] < SHORTEST_TRAINING:
        raise BudgetError(
            f"a budget of {show_duration(budget)} leaves no time to train on "
            f"{human_bytes(corpus.train_bytes)}; allow at least "
            f"{show_duration(smallest_budget(corpus, spent))}"
        )
    best: tuple[TrainConfig, _Outcome] | None = None
    for config in _candidates(machine.device, seconds["train"], overrides or {}, where="plan"):
        vocabulary = vocab_size or choose_vocabulary(
            corpus.train_bytes, width=config.width, depth=config.depth
        )
        outcome = _outcome(config, vocabulary, corpus, machine)
        if best is None or outcome.tokens_per_parameter >= TOKENS_PER_PARAMETER:
            best = config, outcome
    assert best is not None
    config, outcome = best
    available, seconds["train"] = (
        seconds["train"],
        min(config.seconds or math.inf, outcome.seconds_needed),
    )
    settings = to_mapping(config)
    planned: tuple[str, ...] = PLANNED
    if not config.steps and outcome.seconds_needed < available:
        # The documents end before the time does: steps, which an estimate of their speed that is
        # too high, as it is for small models, does not cut short.
        settings["steps"], planned = outcome.steps, (*PLANNED, "steps")
        patience = max(SHORTEST_LIMIT, WRONG_ESTIMATE * outcome.seconds_needed)
        settings["seconds"] = round(min(available, patience), 1)
    elif not config.steps:
        settings["seconds"] = max(1.0, round(seconds["train"], 1))  # 0 would be no limit
    return Plan(
        budget=budget,
        vocab_size=outcome.vocab_size,
        train={name: settings[name] for name in planned},
        parameters=outcome.parameters,
        steps=outcome.steps,
        epochs=round(outcome.epochs, 2),
        tokens_per_second=round(outcome.tokens_per_second),
        expected_bits_per_byte=expected_bits(corpus, outcome.tokens),
        seconds={name: round(value, 1) for name, value in seconds.items()},
        reasons=_reasons(corpus, machine, config, outcome, seconds["train"]),
        corpus=asdict(corpus),
        machine=asdict(machine),
    )


def check_settings(overrides: Mapping[str, Any], *, where: str) -> None:
    """Raise ConfigError if no model can be made with the user's settings of the training."""
    _candidates("cpu", 60.0, overrides, where=where)


def _candidates(
    device: str, seconds: float, overrides: Mapping[str, Any], *, where: str
) -> list[TrainConfig]:
    """One configuration per shape, from small to large, less those that cannot work."""
    found: list[TrainConfig] = []
    problems: list[ConfigError] = []
    for shape in SHAPES:
        try:
            config = training_settings(_settings(shape, device, seconds), overrides, where=where)
            config.model(VOCABULARIES[0], end_of_text=0, pad=1)
        except ConfigError as problem:
            problems.append(problem)
        else:
            found.append(config)
    if not found:
        raise problems[0]
    return found


def training_settings(
    chosen: Mapping[str, Any], overrides: Mapping[str, Any], *, where: str
) -> TrainConfig:
    """What was chosen, with the user's settings in its place.

    A chosen setting that would not fit what the user set follows it: the width
    of a head, the size of a batch. Raises ConfigError when the user's cannot work.
    """
    from linnet.config import from_mapping
    from linnet.train.config import TrainConfig

    settings = {**chosen, **overrides}
    width, head_width = settings.get("width"), settings.get("head_width")
    if "head_width" not in overrides and isinstance(width, int) and isinstance(head_width, int):
        shared = math.gcd(width, head_width)
        settings["head_width"] = head_width if shared % 2 else shared  # RoPE turns pairs
    context, batch = settings.get("context"), settings.get("batch_tokens")
    small = isinstance(context, int) and isinstance(batch, int) and batch < context
    if small and "context" not in overrides:
        settings["context"] = context = SMALL_CONTEXT
    if ("context" in overrides or small) and not {"short_rows", "short_length"} & overrides.keys():
        settings |= {"short_rows": 0.0, "short_length": 0}
    if "batch_tokens" not in overrides and isinstance(context, int) and isinstance(batch, int):
        settings["batch_tokens"] = max(context, batch)
    return from_mapping(TrainConfig, settings, where=where)


def refuse_hopeless(budget: float) -> None:
    """Raise BudgetError for a budget that is too short for any documents, so that it can be said
    before they are read."""
    from linnet.planner.measuring import CorpusFacts

    none = CorpusFacts(documents=0, train_bytes=0, ngram_bits_per_byte=None)
    if _stage_seconds(none, budget, spent=0.0)["train"] < SHORTEST_TRAINING:
        raise BudgetError(
            f"a budget of {show_duration(budget)} leaves no time to train, however few documents "
            f"there are; allow at least {show_duration(smallest_budget(none, 0.0))}"
        )


def smallest_budget(corpus: CorpusFacts, spent: float) -> float:
    """The least time that a plan for these documents accepts, rounded up to say it simply."""
    low, high = 0.0, 1.0
    while _stage_seconds(corpus, high, spent)["train"] < SHORTEST_TRAINING:
        low, high = high, 2 * high
    while high - low > 0.5:
        middle = (low + high) / 2
        enough = _stage_seconds(corpus, middle, spent)["train"] >= SHORTEST_TRAINING
        low, high = (low, middle) if enough else (middle, high)
    return math.ceil(high / 60) * 60.0 if high > 60 else math.ceil(high / 5) * 5.0


def choose_vocabulary(train_bytes: int, *, width: int, depth: int) -> int:
    """A vocabulary whose tables stay below the blocks, and whose tokens are all seen often."""
    blocks = 12 * width * width * depth
    fitting = [
        size
        for size in VOCABULARIES
        if 2 * size * width <= 0.5 * blocks and size * 500 <= train_bytes
    ]
    return fitting[-1] if fitting else VOCABULARIES[0]


def show_parameters(count: int) -> str:
    """``5243904`` as ``5.2 M``."""
    for size, name in ((1_000_000_000, "B"), (1_000_000, "M")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count / 1e3:.0f} k"


@dataclass(frozen=True)
class _Outcome:
    """What one shape would come to in the time given."""

    vocab_size: int
    parameters: int
    tokens_per_second: float
    tokens: int
    steps: int
    epochs: float
    tokens_per_parameter: float
    seconds_needed: float
    """Until the documents were read as often as pays, or the steps asked for are made."""


def _outcome(
    config: TrainConfig,
    vocab_size: int,
    corpus: CorpusFacts,
    machine: MachineFacts,
) -> _Outcome:
    from linnet.runtime import Runtime
    from linnet.train.machine import (
        COMPILED_SPEEDUP,
        compiled_shapes,
        flops_per_token,
        should_compile,
    )

    model = config.model(vocab_size, end_of_text=0, pad=1)
    runtime = Runtime(machine.device, machine.dtype, machine.threads)  # type: ignore[arg-type]
    compiled = should_compile(config, runtime, cost=machine.compile_seconds)
    length = float(config.context)
    if config.short_rows:
        length += config.short_rows * (config.resolved_short_length - config.context)
    speed = (
        machine.flops
        / flops_per_token(model, length=length)
        * (COMPILED_SPEEDUP if compiled else 1.0)
    )
    overhead = compiled_shapes(config) * machine.compile_seconds if compiled else 0.0
    useful = max(1.0, (config.seconds or math.inf) - overhead)
    corpus_tokens = corpus.train_bytes / bytes_per_token(vocab_size)
    wanted = config.steps * config.batch_tokens or corpus_tokens * MOST_EPOCHS
    tokens = min(speed * useful, wanted)
    tables = vocab_size * config.width * (1 if config.tied else 2)
    return _Outcome(
        vocab_size=vocab_size,
        parameters=model.parameters,
        tokens_per_second=speed,
        tokens=int(tokens),
        steps=max(1, int(tokens / config.batch_tokens)),
        epochs=tokens / corpus_tokens,
        tokens_per_parameter=tokens / (model.parameters - tables),
        seconds_needed=overhead + wanted / speed,
    )


def bytes_per_token(vocab_size: int) -> float:
    """A usual figure for European text; the tokenizer's own is known only once it is trained."""
    return 0.33 * math.log2(vocab_size)


def _settings(shape: tuple[int, int, int], device: str, seconds: float) -> dict[str, Any]:
    """What is chosen for one shape: the settings in ``PLANNED``."""
    width, depth, head_width = shape
    long = device == "cuda" or seconds > 1800
    return {
        "width": width,
        "depth": depth,
        "head_width": head_width,
        "context": CONTEXT,
        "short_rows": SHORT_ROWS,
        "short_length": 512 if long else 256,
        "batch_tokens": 65_536 if device == "cuda" else 8192 if long else 2048,
        "seconds": seconds,
    }


def _stage_seconds(corpus: CorpusFacts, budget: float, spent: float) -> dict[str, float]:
    """How the budget is divided: what is spent, cautious guesses, and the rest to training."""
    megabytes = corpus.train_bytes / 1e6
    seconds = {
        "data": spent,
        "tokenizer": 1.0 + min(megabytes, 64) / 3,
        "encode": 1.0 + megabytes / 4,
        "evaluate": min(max(7.0, 0.08 * budget), 120.0),
    }
    return seconds | {"train": budget - sum(seconds.values())}


def _reasons(
    corpus: CorpusFacts,
    machine: MachineFacts,
    config: TrainConfig,
    outcome: _Outcome,
    seconds: float,
) -> list[str]:
    told = [
        f"The documents hold {human_bytes(corpus.train_bytes)} of training text in "
        f"{corpus.documents:,} documents, about "
        f"{corpus.train_bytes / bytes_per_token(outcome.vocab_size):,.0f} tokens.",
        f"This machine ({machine.processor}, {machine.threads} threads, {machine.dtype}) does "
        f"{machine.flops / 1e9:,.0f} GFLOP/s in a training step, so a model of "
        f"{show_parameters(outcome.parameters)} parameters learns from about "
        f"{outcome.tokens_per_second:,.0f} tokens a second.",
        f"In {show_duration(seconds)} of training that is {outcome.tokens:,} tokens "
        f"({outcome.epochs:.1f} passes over the documents), "
        f"{outcome.tokens_per_parameter:.2f} per parameter of the blocks. A larger model would "
        "see too few to be better, a smaller one could hold less.",
        f"A vocabulary of {outcome.vocab_size:,} keeps the embedding tables below half the size "
        "of the blocks, and every token is met often enough to be learnt.",
        f"A context of {config.context:,} tokens, about "
        f"{human_bytes(config.context * bytes_per_token(outcome.vocab_size))} of text, "
        + (
            f"is room for {'a conversation of several turns' if config.causal else 'a passage'}, "
            f"and to fine-tune on such. {config.short_rows:.0%} of the training read rows of "
            f"{config.resolved_short_length:,}, which is faster and teaches as much; the rest "
            "reads whole ones."
            if config.short_rows
            else "as it was set."
        ),
    ]
    if outcome.epochs >= MOST_EPOCHS - 0.01 and not config.steps:
        told.append(
            f"Training ends after {MOST_EPOCHS} passes, before the time is up: more would only "
            "memorise. More documents would make a better model."
        )
    if corpus.ngram_bits_per_byte is not None:
        told.append(
            f"A 5-gram model of bytes spends {corpus.ngram_bits_per_byte:.2f} bits per byte on "
            f"held-out documents; runs of this length came to about "
            f"{expected_ratio(outcome.tokens):.0%} of that, from "
            f"{SPREAD[0] * expected_ratio(outcome.tokens):.0%} on simple text to "
            f"{SPREAD[1] * expected_ratio(outcome.tokens):.0%} on little or difficult text."
        )
    return told


def expected_bits(corpus: CorpusFacts, tokens: int) -> float | None:
    """Bits per byte to expect after training on so many tokens.

    Relative to what a 5-gram model of bytes achieves on the same held-out documents: how hard
    a text is differs far more between corpora than this ratio does (docs/experiments.md).
    """
    if corpus.ngram_bits_per_byte is None:
        return None
    return round(corpus.ngram_bits_per_byte * expected_ratio(tokens), 3)


def expected_ratio(tokens: int) -> float:
    """Bits per byte relative to the 5-gram: the curve of simple stories, raised to the middle of
    the other corpora tried, which lie from ``SPREAD[0]`` to ``SPREAD[1]`` times it."""
    return 1.17 * (0.46 + 0.21 * math.sqrt(1e6 / max(tokens, 10_000)))

"""The settings of a training run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError
from linnet.model import families
from linnet.model.config import ModelConfig
from linnet.output import human_bytes
from linnet.runtime import MOST_THREADS, DeviceName, DtypeName, memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    name: found.scratch for name, found in sorted(families.FAMILIES.items()) if found.scratch
}
"""What a family that can be made from scratch fixes; the rest is as in ``ModelConfig``."""

LARGEST_LR = 1e38  # a float32 holds it
TRAINING_BYTES = 12  # per parameter, at least: weight, gradient and one moment, in fp32

if TYPE_CHECKING:
    MadeFamily = str
else:
    MadeFamily = Literal[tuple(FAMILIES)]


@dataclass(frozen=True)
class Kind:
    """Something that a setting chooses by name; loaded when it is used."""

    module: str
    name: str

    def load(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)


@dataclass(frozen=True)
class ObjectiveKind(Kind):
    """An objective, for causal models or for encoders, whose batches have hidden tokens."""

    causal: bool = True


@dataclass(frozen=True)
class OptimizerKind(Kind):
    """A function ``(matrices, *, weight_decay, dtype)`` that makes an optimizer of them."""

    lr: float
    """Peak learning rate where none is set."""


OPTIMIZERS = {
    "muon": OptimizerKind("linnet.train.optimizers", "muon", lr=0.03),
    "adamw": OptimizerKind("linnet.train.optimizers", "adamw", lr=0.002),
}
"""Optimizers for the matrices inside the blocks; the rest is AdamW's."""

OBJECTIVES = {
    "next_token": ObjectiveKind("linnet.train.objectives", "next_token"),
    "masked_token": ObjectiveKind("linnet.train.objectives", "masked_token", causal=False),
}
"""What can be minimised; see ``linnet.train.objectives``."""

if TYPE_CHECKING:
    OptimizerName: TypeAlias = str
    ObjectiveName: TypeAlias = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]
    ObjectiveName = Literal[("auto", *OBJECTIVES)]


def refuse_unknown(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ConfigError for a setting that is none of its choices."""
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}. Got {value!r}")


@dataclass(frozen=True)
class ShapeConfig(Config):
    """The model to make. Sizes left at 0 follow from the others."""

    family: MadeFamily = option(
        "qwen3",
        "Published shape to train; bert is an encoder, which guesses masked tokens.",
        more={"table": True},
    )
    width: int = option(256, "Width of the model.", least=1)
    depth: int = option(3, "Number of Transformer blocks.", least=1)
    head_width: int = option(64, "Width of one attention head.", group="Model", least=1)
    kv_heads: int = option(0, "Key/value heads; 0: as many as query heads.", group="Model", least=0)
    mlp_width: int = option(
        0, "Hidden width of the MLP; 0: what the family does.", group="Model", least=0
    )
    context: int = option(256, "Longest sequence, in tokens.", least=1)
    tied: bool = option(
        False, "Share the embedding table with the output layer; bert does.", group="Model"
    )
    dropout: float = option(
        0.0, "Share of activations dropped in training.", group="Model", least=0, below=1
    )

    @property
    def causal(self) -> bool:
        """Whether the model sees only what came before, as all but encoders do."""
        return bool(FAMILIES.get(self.family, {}).get("causal", True))

    def model(self, vocab_size: int, *, end_of_text: int, pad: int | None) -> ModelConfig:
        """The model's configuration for a vocabulary.

        Raises ConfigError when the sizes do not fit together.
        """
        if self.width % self.head_width:
            raise ConfigError(
                f"width must be a multiple of head_width. Got {self.width} and {self.head_width}"
            )
        if self.family not in FAMILIES:
            raise ConfigError(
                f"a model of the family '{self.family}' can be adapted but not made from "
                f"scratch; made can be: {', '.join(FAMILIES)}"
            )
        heads = self.width // self.head_width
        fixed = FAMILIES[self.family]
        # A gated MLP has three matrices, so two thirds of the usual width cost the same.
        gated_width, plain_width = round(8 / 3 * self.width / 32) * 32, 4 * self.width
        grouped = fixed.get("positions") != "learned"
        chosen: dict[str, Any] = {
            "vocab_size": vocab_size,
            "context": self.context,
            "width": self.width,
            "depth": self.depth,
            "heads": heads,
            "kv_heads": (self.kv_heads or heads) if grouped else heads,
            "head_width": self.head_width,
            "mlp_width": self.mlp_width or plain_width,
            "tied": self.tied,
            "dropout": self.dropout,
            "bos_id": end_of_text,
            "eos_id": end_of_text,
            "pad_id": pad,
        }
        made = ModelConfig(family=self.family, **{**chosen, **fixed})
        return replace(made, mlp_width=gated_width) if made.gated and not self.mlp_width else made


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """Which optimizer a new model gets, and the peak learning rates of its parts."""

    optimizer: OptimizerName = option(
        "muon", "For the matrices inside the blocks.", group="Optimizer", more={"table": True}
    )
    matrix_lr: float = option(
        0.0,
        "Peak learning rate of those matrices; 0: 0.03 or 0.002.",
        group="Optimizer",
        least=0,
        most=LARGEST_LR,
    )
    embedding_lr: float = option(
        0.0,
        "Peak learning rate of the embeddings (AdamW); 0: 0.02, or 0.002 for an encoder.",
        group="Optimizer",
        least=0,
        most=LARGEST_LR,
    )
    output_lr: float = option(
        0.003,
        "Peak learning rate of an untied output layer (AdamW).",
        group="Optimizer",
        least=0,
        most=LARGEST_LR,
    )
    vector_lr: float = option(
        0.02,
        "Peak learning rate of norms and biases (AdamW).",
        group="Optimizer",
        least=0,
        most=LARGEST_LR,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unknown("optimizer", self.optimizer, OPTIMIZERS)

    @property
    def resolved_matrix_lr(self) -> float:
        """The learning rate of the matrices, by optimizer where none was set."""
        return self.matrix_lr or OPTIMIZERS[self.optimizer].lr


@dataclass(frozen=True)
class RunConfig(Config):
    """What every kind of training has: its length, schedule, validations and machine."""

    EXECUTION: ClassVar[tuple[str, ...]] = (
        "device", "threads", "dtype", "compile", "save_seconds", "sample_interval",
    )  # fmt: skip
    """Where and how often, not what: these may differ between runs of one recipe."""

    steps: int = option(0, "Updates to make; 0: as many as fit into --seconds.", least=0)
    seconds: float = option(
        0.0,
        "Wall-clock limit for the whole run, compiling, validation and saving included; 0: none.",
        least=0,
    )
    seed: int = option(1, "Seed of weights, order and dropout.", least=0)
    weight_decay: float = option(
        0.1,
        "Pull of the matrices towards zero; matters when text is read several times.",
        group="Optimizer",
        least=0,
    )
    clip: float = option(1.0, "Largest gradient norm; 0: no limit.", group="Optimizer", least=0)
    schedule: Literal["wsd", "cosine"] = option(
        "wsd", "After warm-up: stay, then fall in a line (wsd), or a half cosine.", group="Schedule"
    )
    warmup: float = option(
        0.0, "Share of the run that warms up.", group="Schedule", least=0, below=1
    )
    decay: float = option(
        0.5, "Share of the run over which wsd falls to zero.", group="Schedule", least=0, most=1
    )
    validation_interval: int = option(
        0,
        "Steps between validations; 0: five times in the run.",
        group="Validation and saving",
        least=0,
    )
    patience: int = option(
        0,
        "Stop after so many validations without improvement; 0: never.",
        group="Validation and saving",
        least=0,
    )
    save_seconds: float = option(
        60.0,
        "Seconds between saves of the state for resuming.",
        group="Validation and saving",
        least=0,
    )
    sample_interval: int = option(
        0,
        "Steps between printed samples; 0: four times in the run.",
        group="Validation and saving",
        least=0,
    )
    device: DeviceName = option("auto", "Where to compute.", group="Machine")
    dtype: DtypeName = option("auto", "Format of matrix products.", group="Machine")
    threads: int = option(
        0, "CPU threads; 0: all usable cores.", group="Machine", least=0, most=MOST_THREADS
    )
    compile: Literal["auto", "yes", "no"] = option(
        "auto",
        "torch.compile: auto uses it where there is a compiler and time for it to pay.",
        group="Machine",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup + self.decay > 1:
            raise ConfigError(
                f"warmup and decay are shares of the run that together must not exceed 1. "
                f"Got {self.warmup} and {self.decay}"
            )

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {k: v for k, v in to_mapping(self).items() if k not in self.EXECUTION}


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """Training on the tokens of texts."""

    batch_tokens: int = option(2048, "Tokens per update.", least=0)
    objective: ObjectiveName = option(
        "auto",
        "What is minimised; auto: the loss of the next token, or for an encoder of hidden ones.",
        group="Optimizer",
        more={"table": True},
    )
    validation_tokens: int = option(
        50_000,
        "Tokens of held-out text per validation, at most.",
        group="Validation and saving",
        least=0,
    )
    canaries: int = option(
        0,
        "Random sequences to plant in the training data, so that memorising can be measured.",
        group="Validation and saving",
        least=0,
        most=10_000,
    )
    canary_repeats: int = option(
        1,
        "Times that each of them stands in a pass over the data.",
        group="Validation and saving",
        least=1,
        most=10_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unknown("objective", self.objective, ("auto", *OBJECTIVES))

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        objective = ("objective",) if self.objective == "auto" else ()
        canaries = () if self.canaries else ("canaries", "canary_repeats")
        return {k: v for k, v in super().recipe().items() if k not in (*objective, *canaries)}


@dataclass(frozen=True)
class TrainConfig(TrainingConfig, OptimizerConfig, ShapeConfig):
    """Training a model from scratch: its shape, how long, and how."""

    short_rows: float = option(
        0.0,
        "Share of the run, at its start, that reads shorter rows than the context: faster.",
        group="Schedule",
        least=0,
        most=1,
    )
    short_length: int = option(
        0, "Tokens in those rows, a part of the context; 0: half of it.", group="Schedule", least=0
    )
    micro_rows: int = option(
        0, "Rows computed at once; 0: the whole batch, or less if large.", group="Machine", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps and not self.seconds:
            raise ConfigError("training needs an end: set steps or seconds")
        if self.batch_tokens < self.context:
            raise ConfigError(
                f"batch_tokens must be at least the context ({self.context}). "
                f"Got {self.batch_tokens}"
            )
        if self.short_rows and (self.context < 2 or self.context % self.resolved_short_length):
            raise ConfigError(
                f"the context must be a multiple of short_length. Got {self.context} and "
                f"{self.resolved_short_length}"
            )

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        unused = () if self.short_rows else ("short_length",)
        return {k: v for k, v in super().recipe().items() if k not in unused}

    @property
    def rows(self) -> int:
        """Rows per update."""
        return self.batch_tokens // self.context

    @property
    def resolved_short_length(self) -> int:
        """Tokens in short rows, where none were set."""
        return self.short_length or self.context // 2

    @property
    def resolved_embedding_lr(self) -> float:
        """The learning rate of the embeddings; at that of a causal model an encoder stays
        where it only knows how often tokens occur."""
        return self.embedding_lr or (0.02 if self.causal else 0.002)


@dataclass(frozen=True)
class PairTrainingConfig(Config):
    """What training on pairs of texts has in common."""

    epochs: int = option(2, "Times that each is read.", least=1)
    batch: int = option(32, "Pairs per update.", least=1)
    lr: float = option(1e-4, "Peak learning rate.", above=0)
    max_tokens: int = option(128, "Longest pair, in tokens; of the passage the rest is cut.",
                             least=16)  # fmt: skip
    seed: int = option(0, "Seed of what is drawn, of the order and of the new layer.", least=0)
    device: DeviceName = option("auto", "Where to compute.")
    dtype: DtypeName = option("auto", "Number format of matrix products.")
    threads: int = option(0, "CPU threads; 0: all usable cores.", least=0, most=MOST_THREADS)

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        machine = ("device", "dtype", "threads")
        return {name: value for name, value in to_mapping(self).items() if name not in machine}


def check_memory(model: ModelConfig, device: str) -> None:
    """Raise ConfigError if the weights, gradients and moments of a model exceed this machine."""
    needed, there = TRAINING_BYTES * model.parameters, memory_bytes()
    if device != "cuda" and there is not None and needed > there:
        raise ConfigError(
            f"a model of {model.parameters:,} parameters (width {model.width}, depth "
            f"{model.depth}, vocabulary {model.vocab_size:,}) needs {human_bytes(needed)} of "
            f"memory to train, but this machine has {human_bytes(there)}; set smaller ones"
        )

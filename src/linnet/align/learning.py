"""What each method of alignment reads, minimises and looks at: one object a method.

``align.align`` knows what all have in common: a base, steps, memory, the loop, and what is saved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from linnet.align.encoding import (
    UNOPPOSED,
    Unit,
    UnitsReport,
    encode_units,
    remedies_for,
    require_units,
    template_tail,
)
from linnet.align.objectives import DesirabilityLoss, PolicyLoss, PreferenceLoss, token_log_probs
from linnet.align.preferences import (
    Judged,
    Pair,
    judged_examples,
    pairs_of_examples,
    read_judged,
    read_pairs,
)
from linnet.align.prompts import EncodedPrompt, encode_prompts, read_prompts, require_prompts
from linnet.align.reference import reference_log_probs
from linnet.align.rewards import REWARDS, Reward, Rewards, choose_rewards
from linnet.align.rollouts import HeldOutRewards, Policy, Rollouts
from linnet.align.streams import (
    DivergingBatches,
    judged_batch,
    mismatched,
    pair_batch,
    scored_batch,
    shuffled,
)
from linnet.align.thumbs import LeaveOut, is_thumbs, judged_thumbs, pairs_of_thumbs
from linnet.align.validation import HeldOutUnits
from linnet.answers.feedback import NAME as FEEDBACK
from linnet.errors import ConfigError, DataError
from linnet.finetune.config import LEAST_HELD_OUT, MOST_HELD_OUT, ExamplesConfig
from linnet.finetune.examples import ALSO_HELD_OUT, AnyKeyed, divide
from linnet.finetune.row_schema import ChatRow
from linnet.finetune.rows import Split, open_source
from linnet.model.checkpoint import Checkpoint
from linnet.model.lora import activate
from linnet.model.merging import ADAPTER
from linnet.progress import Progress
from linnet.train.supervised import PairLoss

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.align.config import AlignConfig
    from linnet.finetune.base import Base
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.loop import Validator
    from linnet.train.objectives import Objective
    from linnet.train.stream import Stream

_SPLITS: tuple[Split, ...] = ("train", "validation")
MOST_VALIDATED = 32
"""Held-out prompts that are answered at a validation."""


@dataclass(frozen=True)
class Assembled:
    """What a loop is given."""

    stream: Stream
    objective: Objective
    validator: Validator | None
    """Over what is held out; None where nothing is."""


@dataclass(frozen=True)
class Sizes:
    """How a run computes."""

    micro_units: int
    tokens: int
    """Computed at once."""
    device: str


class Learning(Protocol):
    """One method with its data."""

    units: int
    """That are trained on: pairs, judged completions, prompts."""
    longest: int
    """Tokens of the longest prompt and completion."""
    chosen_tokens: float
    """Of a held-out completion that was chosen, on average; 0 where none was."""

    def assemble(
        self,
        directory: Path,
        base: Base,
        model: Transformer,
        sizes: Sizes,
        notes: dict[str, Any],
        progress: Progress,
    ) -> Assembled:
        """Stream, objective and validator of a run in ``directory``; the model has taken no
        step. ``notes`` are kept with the state of the run."""

    def statistics(self) -> dict[str, Any]:
        """What the manifest says of the data."""


def forms_of(data: Sequence[str | Path], config: AlignConfig) -> set[type]:
    """Which kinds of rows the data has, by its first one."""
    if config.method == "grpo":
        return {ChatRow} if config.template != "none" else set()
    first = next(_rows_of(data, config), None)
    if first is None:
        return set()
    return {type(first.chosen if isinstance(first, Pair) else first.row)}


def read_learning(
    data: Sequence[str | Path],
    base: Base,
    config: AlignConfig,
    rewards: Mapping[str, Reward],
    progress: Progress,
) -> Learning:
    """What a method learns from. Raises DataError naming file and line, and ConfigError."""
    for source in data:
        for unused in open_source(source).unused:
            progress.warn(f"{unused} is a test split and is not read")
    if config.method == "grpo":
        return PolicyLearning.read(data, base, config, rewards, progress)
    return PreferenceLearning.read(data, base, config, progress)


def _held_apart(
    units: list[AnyKeyed], apart: list[AnyKeyed], share: float
) -> tuple[list[AnyKeyed], list[AnyKeyed], int]:
    """What to train on and what to hold out: what is ``apart`` in the data itself, and where that
    is nothing, or too little to tell by, a share of the prompts. None is on both sides: how many
    were left out for that."""
    if not share:
        return units, [], 0
    held_out = sorted(apart, key=lambda each: each.key)[:MOST_HELD_OUT]
    keys = {each.key for each in held_out}
    train = [each for each in units if each.key not in keys]
    alike = len(units) - len(train)
    if len(held_out) >= LEAST_HELD_OUT or not train:
        return train, held_out, alike
    train, more = divide(train, share)
    return train, held_out + more, alike


def examples_config(config: AlignConfig) -> ExamplesConfig:
    """How rows become tokens."""
    return ExamplesConfig(context=config.context, template=config.template, seed=config.seed)


def _rows_of(
    data: Sequence[str | Path],
    config: AlignConfig,
    report: UnitsReport | None = None,
    split: Split = "train",
) -> Iterator[Pair | Judged]:
    report = report or UnitsReport()
    of_file: Callable[[Path], Iterator[Pair | Judged]]
    of_examples: Callable[..., Iterator[Pair | Judged]]
    of_thumbs: Callable[[Path, LeaveOut], Iterator[Pair | Judged]]
    of_file, of_examples, of_thumbs = (
        (read_judged, judged_examples, judged_thumbs)
        if config.method == "kto"
        else (read_pairs, pairs_of_examples, pairs_of_thumbs)
    )
    for source in data:
        opened = open_source(source)
        if opened.corpus is not None:
            raise DataError(
                f"{source}: expected preferences or examples. Got a corpus, without {FEEDBACK}"
            )
        if opened.examples is not None:
            unopposed = partial(report.leave_out, UNOPPOSED)
            yield from of_examples(opened.examples, split=split, left_out=unopposed)
        else:
            for file in opened.files.get(split, []):
                if is_thumbs(file):
                    yield from of_thumbs(file, report.leave_out)
                else:
                    yield from of_file(file)


class PreferenceLearning:
    """From pairs, or from completions that were judged."""

    def __init__(
        self,
        config: AlignConfig,
        train: Sequence[Unit],
        held_out: Sequence[Unit],
        report: UnitsReport,
    ) -> None:
        self.config, self.train, self.held_out, self.report = config, train, held_out, report
        self.units = len(train)
        self.longest = max(unit.places for unit in (*train, *held_out)) + 1
        chosen = [unit.completions[0] for unit in held_out if unit.desirable]
        self.chosen_tokens = sum(int(c.trained.sum()) for c in chosen) / max(1, len(chosen))

    @classmethod
    def read(
        cls, data: Sequence[str | Path], base: Base, config: AlignConfig, progress: Progress
    ) -> PreferenceLearning:
        """Units to train on and to hold out, by their prompts. Raises DataError."""
        report = UnitsReport()
        encoding, tail = examples_config(config), list[int]()
        if config.method == "reward":
            # Whole texts are read, the last token too, and as transformers' templates end them.
            encoding = dataclasses.replace(encoding, context=config.context - 1)
            if config.template != "none" and base.tokenizer.chat_template is not None:
                tail = template_tail(base.tokenizer)
        with progress.task("reading preferences", unit="rows"):
            units, apart = (
                encode_units(
                    _rows_of(data, config, report, split), base.tokenizer, encoding,
                    too_long=config.too_long, tail=tail, report=report,
                )
                for split in _SPLITS
            )  # fmt: skip
        train, held_out, alike = _held_apart(units, apart, config.held_out)
        if alike:
            report.dropped[ALSO_HELD_OUT] = alike
        remedies = remedies_for(config.context, config.too_long, longest=base.shape.context)
        for line in report.losses(config.context, remedies=remedies):
            progress.warn(line)
        what = "judged completions" if config.method == "kto" else "pairs"
        require_units(train, report, what, remedies=remedies)
        if config.method == "kto" and len({unit.desirable for unit in train}) == 1:
            good = train[0].desirable
            others = any(unit.desirable != good for unit in held_out)
            raise DataError(
                "expected completions that are good and others that are not. All "
                f"{len(train):,} are {'good' if good else 'not'}"
                f"{', as the others are held out (--held-out 0 keeps them)' if others else ''}"
            )
        return cls(config, train, held_out, report)

    def assemble(
        self,
        directory: Path,
        base: Base,
        model: Transformer,
        sizes: Sizes,
        notes: dict[str, Any],
        progress: Progress,
    ) -> Assembled:
        """See :class:`Learning`; what the reference says of every completion is computed here."""
        config, train, held_out = self.config, self.train, self.held_out
        known = torch.zeros(0)
        unrelated = []
        if config.method == "kto":
            unrelated = mismatched(train, seed=config.seed, context=config.context)
        if config.method != "reward":
            asked = [each for unit in (*train, *held_out) for each in unit.completions] + unrelated
            known = reference_log_probs(
                model.eval(), asked, directory, tokens=sizes.tokens, progress=progress
            )
        own = config.rows_of_a_unit
        first = known[: own * len(train)].view(-1, own)
        second = known[own * len(train) : own * (len(train) + len(held_out))].view(-1, own)
        stream: Stream
        objective: Objective
        if config.method == "reward":
            objective = PairLoss(config.center)
        elif config.method == "kto":
            weights = config.desirable_weight, config.undesirable_weight
            objective = DesirabilityLoss(config.beta, *weights)
        else:
            objective = PreferenceLoss(
                config.loss, config.beta, config.smoothing, config.sft_weight
            )
        if config.method == "kto":
            stream = DivergingBatches(
                train, first, unrelated, known[len(known) - len(unrelated) :],
                tokens=sizes.tokens, batch=config.batch, seed=config.seed,
            )  # fmt: skip
        else:
            make = partial(self._batch, train, first)
            stream = shuffled(train, make, batch=config.batch, seed=config.seed)
        places = range(len(held_out))
        batches = [
            self._batch(held_out, second, places[start : start + sizes.micro_units])
            for start in range(0, len(held_out), sizes.micro_units)
        ]
        validator = HeldOutUnits(objective, batches, sizes.device) if batches else None
        return Assembled(stream, objective, validator)

    def _batch(self, units: Sequence[Unit], reference: Tensor, places: Sequence[int]) -> Batch:
        some, numbers = [units[place] for place in places], list(places)
        if self.config.method == "reward":
            return scored_batch(some)
        if self.config.method == "kto":
            return judged_batch(some, reference[numbers], 0.0)
        return pair_batch(some, reference[numbers])

    def statistics(self) -> dict[str, Any]:
        """See :class:`Learning`."""
        return {
            "train": len(self.train),
            "held_out": len(self.held_out),
            **dataclasses.asdict(self.report),
        }


class PolicyLearning:
    """From rewards of what the model itself writes."""

    chosen_tokens = 0.0

    def __init__(
        self,
        config: AlignConfig,
        train: Sequence[EncodedPrompt],
        held_out: Sequence[EncodedPrompt],
        rewards: Rewards,
        dropped: int,
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.rewards, self.dropped = rewards, dropped
        self.units = len(train)
        prompts = [len(each.tokens) for each in (*train, *held_out)]
        self.longest = max(prompts) + config.max_tokens + 1

    @classmethod
    def read(
        cls,
        data: Sequence[str | Path],
        base: Base,
        config: AlignConfig,
        own: Mapping[str, Reward],
        progress: Progress,
    ) -> PolicyLearning:
        """Prompts to train on and to hold out, and the rewards (``own``: the owner's). Raises
        DataError, ConfigError."""
        wanted = config.rewards or tuple(own)
        if not wanted:
            raise ConfigError(
                "grpo needs --rewards NAME, --reward-file FILE.py or --reward-model DIR; there "
                f"are: {', '.join(REWARDS)}"
            )
        rewards = choose_rewards(wanted, own)
        if unused := [name for name in own if name not in rewards.parts]:
            progress.warn(
                f"not used: {', '.join(unused)} of --reward-file or --reward-model; beside "
                "--rewards, name them there as well"
            )
        longest = config.context - config.max_tokens
        if longest < 1:
            raise ConfigError(
                f"--max-tokens must be below the context of {config.context:,} tokens (--context), "
                f"which prompts are part of. Got {config.max_tokens:,}"
            )
        chat = config.template != "none" and base.tokenizer.chat_template is not None
        with progress.task("reading prompts", unit="rows"):
            (prompts, dropped), (apart, more) = (
                encode_prompts(
                    (prompt for source in data for prompt in read_prompts(source, split)),
                    base.tokenizer, chat=chat, longest=longest,
                )
                for split in _SPLITS
            )  # fmt: skip
        dropped += more
        if dropped:
            every = dropped + len(prompts) + len(apart)
            progress.warn(
                f"{dropped:,} of {every:,} prompts left out: longer than the "
                f"{longest:,} tokens that --context ({config.context:,}) leaves beside "
                f"--max-tokens ({config.max_tokens:,})"
            )
        train, held_out, alike = _held_apart(prompts, apart, config.held_out)
        if alike:
            progress.warn(f"{alike:,} prompts left out: {ALSO_HELD_OUT}")
        require_prompts(train, dropped)
        known = [each.prompt.known for each in (*train, *held_out)]
        for name, (column, count) in rewards.unread(known).items():
            said = (
                f"the reward '{name}' reads '{column}', which {count:,} of {len(known):,} rows lack"
            )
            if count == len(known):
                raise DataError(said)
            progress.warn(f"{said}: it is of no use there")
        return cls(config, train, _drawn(held_out, seed=config.seed), rewards, dropped)

    def assemble(
        self,
        directory: Path,
        base: Base,
        model: Transformer,
        sizes: Sizes,
        notes: dict[str, Any],
        progress: Progress,
    ) -> Assembled:
        """See :class:`Learning`."""
        config = self.config
        checkpoint = Checkpoint(
            model, base.tokenizer, model.config, base.stop_ids, base.path, base.located.pin
        )
        policy = Policy(checkpoint, config.max_tokens)
        stream = Rollouts(
            self.train, policy, self.rewards,
            group=config.group, batch=config.batch, seed=config.seed,
            scale=config.scale_rewards, updates=config.updates, masked=config.mask_cut,
            reference=_reference(base, config, sizes) if config.kl else None, progress=progress,
        )  # fmt: skip
        objective = PolicyLoss(config.max_tokens, config.clip_low, config.clip_high, config.kl)
        validator = None
        if self.held_out:
            validator = HeldOutRewards(self.held_out, policy, self.rewards, notes)
        return Assembled(stream, objective, validator)

    def statistics(self) -> dict[str, Any]:
        """See :class:`Learning`."""
        return {"train": len(self.train), "held_out": len(self.held_out), "dropped": self.dropped}


def _drawn(prompts: Sequence[EncodedPrompt], *, seed: int) -> list[EncodedPrompt]:
    """Of many a sample, in their order."""
    count = min(MOST_VALIDATED, len(prompts))
    places = np.random.default_rng(seed).choice(len(prompts), count, replace=False)
    return [prompts[place] for place in sorted(places.tolist())]


def _reference(base: Base, config: AlignConfig, sizes: Sizes) -> Any:
    """What the reference says of tokens: the base with the adapter off, or loaded once more."""
    if config.weights == "lora":

        def without_adapter(model: Transformer, batch: Batch) -> Tensor:
            activate(model, None)
            try:
                return token_log_probs(model, batch)
            finally:
                activate(model, ADAPTER)

        return without_adapter
    frozen = base.load(dtype=base.stored, device=sizes.device).eval()

    def loaded(model: Transformer, batch: Batch) -> Tensor:
        return token_log_probs(frozen, batch)

    return loaded

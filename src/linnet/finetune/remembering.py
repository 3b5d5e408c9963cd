"""What a run does not to forget: its general text, replayed and watched, and the sweep at its end.

The text is settled once, before the first step, and kept with the run's state: a run
that is resumed goes on with the very same.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError
from linnet.finetune.forgetting import ForgettingGuard, GeneralLoss, plot_forgetting
from linnet.finetune.mixing import Mixture
from linnet.finetune.packing import PackedBatches
from linnet.finetune.replay import (
    GeneralText,
    general_text,
    own_shards,
    read_examples,
    sample_replay,
    save_examples,
)
from linnet.finetune.strength import STRENGTHS, Between, Sweep, sweep_strength, write_sweep
from linnet.finetune.validation import held_out_loss
from linnet.model.lora import adapters_of, set_strength
from linnet.output import write_text
from linnet.progress import SILENT, Progress
from linnet.train.metrics import METRICS
from linnet.train.speed import at_rest
from linnet.train.state import STATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.examples import Example, Examples
    from linnet.finetune.validation import HeldOutLoss
    from linnet.model import Checkpoint, Transformer
    from linnet.train.loop import Loop
    from linnet.train.machine import Machine
    from linnet.train.stream import Stream

SAMPLING_SHARE = 0.1  # of a time limit, at most, for each of what is replayed and held out


@dataclass(frozen=True)
class ReplayNeed:
    """How much replay a run reads for so many epochs of its examples."""

    tokens: int
    """Different tokens to have at hand."""
    rows: float
    """Rows that they add to those of the examples."""


def replay_need(examples: Sequence[Example], config: FinetuneConfig, *, length: int) -> ReplayNeed:
    """What ``replay``, a share of all trained tokens, comes to."""
    if not config.replay:
        return ReplayNeed(0, 0.0)
    learned = config.epochs * sum(int(example.trained.sum()) for example in examples)
    replayed = learned * config.replay / (1 - config.replay)
    # With a limit on steps or time, epochs do not say how much is read.
    bounded = config.replay_tokens if config.steps or config.seconds else replayed
    return ReplayNeed(int(min(config.replay_tokens, bounded)), replayed / length)


def settle_general_text(
    directory: Path,
    base: Checkpoint,
    config: FinetuneConfig,
    *,
    replay_tokens: int,
    length: int,
    compiled: bool = False,
    progress: Progress = SILENT,
) -> GeneralText:
    """The general text of the run in ``directory``: as kept, as given, the base's own, or sampled.

    ``base``: the model before its first step. Raises DataError when the text given is too little.
    """
    places = [directory / STATE / f"{name}.safetensors" for name in ("replay", "general")]
    budget = replay_tokens, config.general_tokens
    kept = directory / STATE / "general.txt"
    if kept.is_file():
        found = [read_examples(place) if place.is_file() else [] for place in places]
        return GeneralText(found[0], found[1], kept.read_text(encoding="utf-8"))
    given: Path | None = Path(config.general) if config.general else None
    if given is None and base.path is not None:
        given = own_shards(base.path, base.tokenizer)
    if given is not None:
        shorter = replace(config, context=length)
        text = general_text(
            given, base.tokenizer, shorter,
            replay_tokens=budget[0], held_out_tokens=budget[1], progress=progress,
        )  # fmt: skip
    else:
        seconds = config.seconds * SAMPLING_SHARE
        with at_rest(base.model, compiled=compiled) if base.model.training else nullcontext():
            # Different seeds: what is held out must not be replayed.
            sides = [
                sample_replay(
                    base, tokens=tokens, seed=config.seed * 2 + side, context=length,
                    seconds=seconds, progress=progress,
                )
                for side, tokens in enumerate(budget)
            ]  # fmt: skip
        text = GeneralText(sides[0], sides[1], "text that the base model wrote")
    for place, examples in zip(places, (text.replay, text.held_out), strict=True):
        if examples:
            save_examples(place, examples)
    kept.parent.mkdir(exist_ok=True)
    write_text(kept, text.source)
    return text


@dataclass(frozen=True)
class Remembering:
    """A run's general text, and what watches over it."""

    text: GeneralText
    loss: GeneralLoss | None
    """The validator; None where forgetting is not measured."""
    guard: ForgettingGuard
    notes: dict[str, Any]
    """Of both, which the loop saves."""

    def finish(
        self,
        loop: Loop,
        directory: Path,
        config: FinetuneConfig,
        *,
        domain: HeldOutLoss | None,
        base: Mapping[str, Tensor],
    ) -> dict[str, Any]:
        """Draw what was forgotten, and try the strengths; what the manifest says about it.

        ``domain``: held-out examples. ``base``: the weights that training began from.
        """
        if self.loss is None or domain is None:
            return {}
        limit = config.max_forgetting
        plot_forgetting(directory / METRICS, directory, limit=limit)
        found: dict[str, Any] = {"general_text": self.text.source}
        remark = self.guard.remark(loop.best, loop.best_step)
        if remark is not None:
            loop.progress.warn(remark)
        left = config.seconds - loop.seconds
        in_time = not config.seconds or left > len(STRENGTHS) * loop.validation_seconds
        if config.sweep and loop.best_step and in_time:
            sweep = sweep_run(
                loop.model, directory, base=base, domain=domain, general=self.loss,
                max_forgetting=limit, compiled=loop.machine.compiled, progress=loop.progress,
            )  # fmt: skip
            found["recommended_strength"] = sweep.recommended.strength
        return found


def begin_remembering(
    directory: Path,
    base: Checkpoint,
    examples: Examples,
    config: FinetuneConfig,
    *,
    rows: int,
    length: int,
    machine: Machine,
    progress: Progress = SILENT,
) -> Remembering:
    """Settle the general text of the run in ``directory`` and the watch over it.

    ``base``: the model before its first step. Raises ConfigError for a limit on forgetting
    where nothing says what is gained for it.
    """
    if config.max_forgetting and not examples.held_out:
        raise ConfigError(
            "max_forgetting weighs general text against held-out examples, but there are none; "
            "raise --held-out, or name a file of them with --validation"
        )
    if not examples.held_out:
        config = replace(config, general_tokens=0)
    text = settle_general_text(
        directory,
        base,
        config,
        replay_tokens=replay_need(examples.train, config, length=length).tokens,
        length=length,
        compiled=machine.compiled,
        progress=progress,
    )
    loss = held_out_loss(
        text.held_out,
        rows=rows,
        length=length,
        tokens=sum(example.places for example in text.held_out),
        device=machine.runtime.device,
    )
    notes: dict[str, Any] = {}
    guard = ForgettingGuard(config.max_forgetting, config.forgetting_patience, progress, notes)
    return Remembering(text, None if loss is None else GeneralLoss(loss, notes), guard, notes)


def mixed_stream(
    examples: Sequence[Example],
    replay: Sequence[Example],
    *,
    share: float,
    rows: int,
    length: int,
    seed: int,
) -> Stream:
    """Batches of the examples, in which replay has its share of the trained tokens."""
    if not replay:
        return PackedBatches(examples, rows=rows, length=length, seed=seed)
    parts = [
        (PackedBatches(part, rows=1, length=length, seed=seed), weight)
        for part, weight in ((examples, 1 - share), (replay, share))
    ]
    return Mixture(parts, rows=rows)


def sweep_run(
    model: Transformer,
    directory: Path,
    *,
    base: Mapping[str, Tensor],
    domain: HeldOutLoss,
    general: GeneralLoss,
    max_forgetting: float,
    compiled: bool,
    progress: Progress = SILENT,
) -> Sweep:
    """Try the strengths of what was trained, write and draw them; the model stays as it is.

    ``base``: after full fine-tuning, the weights that training began from.
    """
    adapters = adapters_of(model)
    adapted = adapters is not None and adapters.active is not None
    name = adapters.active if adapters is not None else None
    turn = partial(set_strength, model, name or "") if adapted else Between(model, base)
    with at_rest(model, compiled=compiled):
        sweep = sweep_strength(
            model, turn, domain=domain, general=general.text,
            max_forgetting=max_forgetting, progress=progress,
        )  # fmt: skip
    write_sweep(sweep, directory)
    progress.message(sweep.sentence())
    return sweep

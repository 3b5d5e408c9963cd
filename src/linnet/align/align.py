"""Alignment: a model and preferences in, a model or an adapter that prefers them out.

The loop is that of all training (:mod:`linnet.train.loop`), the base that of fine-tuning; an
objective, a stream of units and what is validated are put together here. The reference is the
base itself: what it says of every completion is computed before the first step.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact, runtime
from linnet.align import judge
from linnet.align.config import AlignConfig
from linnet.align.learning import Learning, Sizes, examples_config, forms_of, read_learning
from linnet.align.rewards import Reward, load_rewards
from linnet.align.thumbs import source_of
from linnet.align.validation import AlignmentGuard
from linnet.card import CARD, write_card
from linnet.errors import ConfigError
from linnet.finetune.base import base_input, data_inputs, find_base, fit_base
from linnet.finetune.budget import CPU_TOKENS, GPU_TOKENS, VALIDATIONS
from linnet.finetune.forgetting import FORGETTING, ForgettingGuard, GeneralLoss
from linnet.finetune.memory import Demand, Fit, fit
from linnet.finetune.packing import held_out_loss
from linnet.finetune.replay import settle_general_text
from linnet.model.checkpoint import Checkpoint, save_checkpoint
from linnet.model.heads import replace_head
from linnet.model.merging import ADAPTER, merge
from linnet.progress import SILENT, Progress
from linnet.runtime import available_memory
from linnet.train.distributed import interruptible
from linnet.train.execution import recompute_blocks
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.optimizers import finetuning_optimizer
from linnet.train.state import STATE, trained_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.artifact import Artifact, Draft
    from linnet.finetune.base import Base
    from linnet.hub import Located
    from linnet.model import Transformer
    from linnet.train.loop import Figures, Validator

FORMAT = 2
FIT = "fit.json"
VOLATILE = (CARD, METRICS, "*.svg", "*.png")
ENOUGH_STEPS = 60  # a run on few rows reads them again, up to
MOST_PASSES = 5.0

_REMEDIES = {
    "dpo": "try --sft-weight 0.1, --loss ipo, a larger --beta or a lower --lr, or fine-tune on "
    "what was chosen first",
    "kto": "try a larger --beta or a lower --lr, or fine-tune on what was good first",
}
"""Against chosen completions that become less likely, by the method."""


@dataclass(frozen=True)
class _Plan:
    """What is settled before the first step."""

    config: AlignConfig
    learning: Learning
    steps: int
    machine: Machine
    fitted: Fit

    @property
    def sizes(self) -> Sizes:
        """How the run computes."""
        tokens = self.fitted.micro_rows * self.config.rows_of_a_unit * self.learning.longest
        return Sizes(self.fitted.micro_rows, tokens, self.machine.runtime.device)


def align(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: Path | str,
    config: AlignConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Align a model with preferences; write an adapter, a model, or a model that scores.

    ``model``: a model directory, or a hub name. ``data``: files of rows (see
    :mod:`linnet.align.preferences`). What this recipe has made already is returned as it is; an
    interrupted run goes on from its last save. Raises DataError naming file and line for rows that
    cannot be used, ModelError for a model that cannot be read or trained, BudgetError where
    memory or time do not suffice, StoppedError after Ctrl-C.
    """
    started = time.monotonic()
    config, out = config or AlignConfig(), Path(out)
    named = [data] if isinstance(data, str | Path) else data
    data = [source_of(place, progress) for place in named]
    found = find_base(model, "align", progress=progress)
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs(
            data, "", config.general, book="open", progress=progress
        ),
    }  # fmt: skip
    rewards, judging = _brought_rewards(config, inputs, progress)

    def write(draft: Draft) -> None:
        base = fit_base(
            found,
            forms_of(data, config),
            config.template,
            lora=config.weights == "lora",
            progress=progress,
        )
        own = dataclasses.replace(config, context=min(config.context, base.shape.context))
        if judging is not None:
            rewards[judge.NAME] = judge.Judge(judging.path, progress=progress)
        learning = read_learning(data, base, own, rewards, progress)
        plan = _settle(draft.path, base, learning, own)
        load_plotting()  # at the end, nobody would have reserved the time for it
        with interruptible() as interrupt, runtime.threads(plan.machine.runtime.threads):
            loop = _assemble(draft.path, base, plan, progress, started)
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            if remark := _remark(own, loop.best, loop.best_step):
                progress.warn(remark)
            _save(base, loop.model, draft.path, own)
            plot_curves(draft.path / METRICS, draft.path, of_tokens=False)
        draft.stats.update(_statistics(plan, loop))
        write_card(draft, base=found.path)

    return artifact.make(
        out,
        write,
        kind="adapter" if config.method != "reward" and config.weights == "lora" else "model",
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
        sources=[found.path],
    )


def _brought_rewards(
    config: AlignConfig, inputs: dict[str, Artifact | str], progress: Progress
) -> tuple[dict[str, Reward], Located | None]:
    """The owner's functions, and where the model is that scores; what both are made of goes into
    ``inputs``. Raises ConfigError."""
    rewards: dict[str, Reward] = {}
    if config.reward_file is not None:
        brought = load_rewards(config.reward_file)
        inputs["rewards"] = brought.hash
        rewards |= brought.functions
    if config.reward_model is None:
        return rewards, None
    if judge.NAME in rewards:
        raise ConfigError(f"{config.reward_file}: '{judge.NAME}' is what --reward-model gives")
    judging = find_base(config.reward_model, "judge with", progress=progress)
    inputs["judge"] = base_input(judging.path, pin=judging.pin, progress=progress)
    return rewards, judging


def _settle(directory: Path, base: Base, learning: Learning, config: AlignConfig) -> _Plan:
    """Machine, steps and what is computed at once; as they began, where a run is resumed."""
    machine = choose_machine(
        directory, device=config.device, dtype=config.dtype, threads=config.threads,
        compiled=lambda _: False,  # every batch has another length
    )  # fmt: skip
    batch = config.batch if config.method == "grpo" else min(config.batch, learning.units)
    per_epoch = math.ceil(learning.units * config.group_rows / batch)
    passes = config.epochs or min(MOST_PASSES, max(1.0, ENOUGH_STEPS / per_epoch))
    by_time = config.seconds and not config.epochs
    steps = config.steps or (0 if by_time else math.ceil(passes * per_epoch))
    kept = directory / STATE / FIT
    if kept.is_file():
        return _Plan(config, learning, steps, machine, Fit.read(kept))
    device = machine.runtime.device
    unit = learning.longest * config.rows_of_a_unit
    usual = config.micro_tokens or (CPU_TOKENS if device == "cpu" else GPU_TOKENS)
    demand = Demand(
        base.shape,
        config.lora() if config.weights == "lora" else None,
        rows=1,
        length=unit,
        dtype=runtime.torch_dtype(machine.runtime.dtype),
    )
    fitted = fit(
        demand, rows=batch, limit=max(1, usual // unit), available=available_memory(device),
        recompute=config.checkpoint_activations,
    )  # fmt: skip
    fitted.save(kept)
    return _Plan(config, learning, steps, machine, fitted)


def _assemble(directory: Path, base: Base, plan: _Plan, progress: Progress, started: float) -> Loop:
    config, machine = plan.config, plan.machine
    model = _load(base, plan)
    if plan.fitted.recompute:
        recompute_blocks(model, compiled=False)
    watch: dict[str, Any] = {}
    parts = plan.learning.assemble(directory, base, model, plan.sizes, watch, progress)
    device = machine.runtime.device
    validators: list[Validator] = []
    if parts.validator is not None:
        validators.append(parts.validator)
    if config.general_tokens and config.method != "reward":
        text = settle_general_text(
            directory,
            Checkpoint(model, base.tokenizer, model.config, base.stop_ids, base.path,
                       base.located.pin),
            examples_config(config),
            general=config.general, replay_tokens=0, held_out_tokens=config.general_tokens,
            length=config.context, seconds=config.seconds, progress=progress,
        )  # fmt: skip
        rows = max(1, plan.sizes.tokens // config.context)
        general = held_out_loss(
            text.held_out, rows=rows, length=config.context, device=device,
            tokens=config.general_tokens,
        )  # fmt: skip
        if general is not None and parts.validator is not None:
            validators.append(GeneralLoss(general, watch))
    guard = AlignmentGuard(
        ForgettingGuard(config.max_forgetting, config.forgetting_patience, progress, watch),
        beta=config.beta if config.method in ("dpo", "kto") else 0.0,
        tokens=plan.learning.chosen_tokens,
        remedy=_REMEDIES.get(config.method, ""),
        progress=progress,
        notes=watch,
    )
    model.train()
    return Loop(
        directory,
        dataclasses.replace(config, steps=plan.steps),
        machine=machine,
        model=model,
        stream=parts.stream,
        objective=parts.objective,
        optimizers=[
            finetuning_optimizer(
                model, lr=config.peak_lr(base.shape.parameters), weight_decay=config.weight_decay
            )
        ],
        micro_units=plan.fitted.micro_rows,
        validators=validators,
        validations=VALIDATIONS,
        validate_first=True,
        judge=guard.judge,
        notes=watch,
        remedy="start again with a lower --lr",
        progress=progress,
        started=started,
    )


def _load(base: Base, plan: _Plan) -> Transformer:
    """The base as it is trained; to score, with a fresh head and in fp32."""
    config, machine = plan.config, plan.machine
    dtype = runtime.torch_dtype(machine.runtime.dtype)
    scores = config.method == "reward"
    model = base.load_to_train(
        config.lora() if config.weights == "lora" else None,
        dtype=torch.float32 if scores else dtype, device=machine.runtime.device, seed=config.seed,
    )  # fmt: skip
    if scores:
        model.compute_dtype = dtype
        generator = torch.Generator().manual_seed(config.seed)
        replace_head(model, "sequence", labels=("reward",), generator=generator)
    return model


def _save(base: Base, model: Transformer, directory: Path, config: AlignConfig) -> None:
    """Write the adapter or the model; one that scores with its adapter merged into it, and without
    a chat template where it has learned to score plain text."""
    if config.method != "reward":
        base.save(model, directory, lora=config.weights == "lora")
        return
    if config.template == "none":
        base = base.without_template()
    if config.weights == "lora":
        merge(model, ADAPTER, reversible=False)
    base.save_tokenizer(directory)
    save_checkpoint(model, directory, base=base.path)


def _remark(config: AlignConfig, best: Figures | None, step: int) -> str | None:
    """What its owner should know of the weights that are kept; None where all is well."""
    if best is None:
        return None
    held = {"dpo": ", a larger --beta", "kto": ", a larger --beta", "grpo": ", --kl"}
    if config.max_forgetting and best.get(FORGETTING, 0.0) > config.max_forgetting:
        return (
            f"no validated step stayed within --max-forgetting {config.max_forgetting:g}: kept "
            f"step {step}, which forgot {best[FORGETTING]:.3f} bits per byte; try a lower --lr"
            f"{held.get(config.method, '')}"
        )
    if not step:
        return (
            "no validation was better than the one before the first step, so the model is kept as "
            "it was; try more --steps, another --lr, or other data"
        )
    return None


def _statistics(plan: _Plan, loop: Loop) -> dict[str, Any]:
    """What the manifest says about the run."""
    first = loop.first or {}
    return {
        "method": plan.config.method,
        "weights": plan.config.weights,
        "trained_parameters": sum(v.numel() for v in trained_tensors(loop.model).values()),
        "lr": plan.config.peak_lr(loop.model.config.parameters),
        "micro_units": plan.fitted.micro_rows,
        "memory_expected": plan.fitted.memory.total,
        **loop.statistics(),
        **{f"base_{name}": round(value, 5) for name, value in first.items()},
        "rows": plan.learning.statistics(),
    }

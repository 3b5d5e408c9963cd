"""Fine-tuning: a model and examples in, an adapted model or an adapter out.

The loop is that of pretraining (:mod:`linnet.train.loop`); its parts are put together here.
With ``full`` all weights are trained, kept in fp32 whatever the base is stored in.
With ``lora`` the base stays frozen, in the format that the machine computes fastest
in, and only the added matrices are trained and saved.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact, runtime
from linnet.card import CARD, write_card
from linnet.errors import ConfigError, typed
from linnet.finetune.base import base_input, data_inputs, find_base, read_base
from linnet.finetune.budget import VALIDATIONS, plan_run, time_run
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.examples import load_examples
from linnet.finetune.forgetting import ForgettingGuard, GeneralLoss, plot_forgetting
from linnet.finetune.packing import held_out_loss, mixed_stream
from linnet.finetune.replay import replay_need, settle_general_text
from linnet.finetune.strength import STRENGTHS, sweep_run
from linnet.model.checkpoint import Checkpoint
from linnet.progress import SILENT, Progress
from linnet.train.canaries import draw_canaries
from linnet.train.distributed import interruptible
from linnet.train.execution import compile_ahead, compile_blocks, recompute_blocks
from linnet.train.loop import Loop
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.objectives import named_objective
from linnet.train.optimizers import finetuning_optimizer
from linnet.train.state import STATE, trained_tensors
from linnet.train.validation import continue_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.artifact import Artifact, Draft
    from linnet.finetune.base import Base
    from linnet.finetune.budget import Plan
    from linnet.finetune.encoding import Example
    from linnet.finetune.examples import Examples
    from linnet.finetune.preview import Preview
    from linnet.finetune.replay import GeneralText
    from linnet.hub import Located
    from linnet.model import Transformer
    from linnet.train.canaries import Canaries
    from linnet.train.validation import HeldOutLoss

FORMAT = 1
VOLATILE = (CARD, METRICS, "*.svg", "*.png")


def finetune(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: Path | str,
    config: FinetuneConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Adapt a model to examples; write a model directory (full) or an adapter (lora).

    ``model``: a model directory, or a hub name such as ``org/name@revision``. ``data``:
    files and directories of rows, or corpora (see :mod:`linnet.finetune.rows`).
    What this recipe has made already is returned as it is; an interrupted run
    goes on from its last save.
    Raises DataError naming file and line for rows that cannot be used, ModelError
    for a model that cannot be read or trained, BudgetError when the time limit
    leaves no room for a step, StoppedError after Ctrl-C.
    """
    started = time.monotonic()
    config, out = config or FinetuneConfig(), Path(out)
    data = [data] if isinstance(data, str | Path) else data
    found = find_base(model, "train", progress=progress)
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs(data, config.validation, config.general, book=config.book, progress=progress),
    }

    def write(draft: Draft) -> None:
        base, plan = _prepare(found, data, draft.path, config, progress)
        load_plotting()  # at the end, nobody would have reserved the time for it
        with interruptible() as interrupt, runtime.threads(plan.machine.runtime.threads):
            changing, plan = _make_model(base, plan, progress)
            command = usual_command(model, data, out, config)
            plan = time_run(plan, changing, draft.path, command=command, progress=progress)
            text = _general_text(base, plan, changing, draft.path, progress)
            watch = _watch(plan, text, progress)
            loop = _assemble(draft.path, base, plan, changing, watch, text, progress, started)
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            base.save(loop.model, draft.path, lora=config.method == "lora")
            canaries = _canaries(config)
            if canaries is not None:
                canaries.write(draft.path)
            plot_curves(draft.path / METRICS, draft.path)
            draft.stats.update(_look_back(base, plan, loop, watch, text))
        _describe(draft, plan, loop)
        write_card(draft, base=found.path)

    return artifact.make(
        out,
        write,
        kind="model" if config.method == "full" else "adapter",
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
        sources=[found.path],
    )


def preview_examples(
    model: str | Path,
    data: Sequence[str | Path],
    config: FinetuneConfig,
    *,
    progress: Progress = SILENT,
) -> Preview:
    """What :func:`finetune` would train on, to be looked at (printed by ``rich``).

    No weight is read. Raises what :func:`finetune` raises of model and rows.
    """
    from linnet.finetune.preview import Preview

    found = find_base(model, "train", progress=progress)
    base, examples, config = _read(found, data, config, progress)
    return Preview(examples, base.tokenizer, config)


def usual_command(
    model: str | Path, data: Sequence[str | Path], out: Path, config: FinetuneConfig
) -> str:
    """The command line of a run with these settings, but of the usual length."""
    words = ["linnet", "finetune", str(model), *map(str, data), "--out", str(out)]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in ("epochs", "steps", "seconds", "batch_tokens"):
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
            continue
        for single in value if isinstance(value, tuple) else (value,):
            words += [f"--{name}", str(single)]
    return typed(*words)


def _read(
    located: Located, data: Sequence[str | Path], config: FinetuneConfig, progress: Progress
) -> tuple[Base, Examples, FinetuneConfig]:
    """Base and examples, and the settings within the base's context."""
    base = read_base(located, data, config, progress)
    config = dataclasses.replace(config, context=min(config.context, base.shape.context))
    examples = load_examples(data, base.tokenizer, config, progress=progress)
    canaries = _canaries(config)
    if canaries is not None:
        examples = examples.with_texts(canaries.texts, base.tokenizer, config, canaries.repeats)
    return base, examples, config


def _canaries(config: FinetuneConfig) -> Canaries | None:
    """What to plant among the examples, if the settings ask for it."""
    if not config.canaries:
        return None
    return draw_canaries(config.canaries, repeats=config.canary_repeats, seed=config.seed, stage=1)


def _prepare(
    located: Located,
    data: Sequence[str | Path],
    directory: Path,
    config: FinetuneConfig,
    progress: Progress,
) -> tuple[Base, Plan]:
    base, examples, config = _read(located, data, config, progress)
    if config.max_forgetting and not examples.held_out:
        raise ConfigError(
            "max_forgetting weighs general text against held-out examples, but there are none; "
            "raise --held-out, or name a file of them with --validation"
        )
    return base, plan_run(directory, base.shape, examples, config)


def _make_model(base: Base, plan: Plan, progress: Progress) -> tuple[Transformer, Plan]:
    """The base as it is trained: with an adapter on it, or all its weights in fp32.

    And the plan: without compiling where that failed.
    """
    config, machine = plan.config, plan.machine
    model = base.load_to_train(
        config.lora() if config.method == "lora" else None,
        dtype=runtime.torch_dtype(machine.runtime.dtype),
        device=machine.runtime.device,
        seed=config.seed,
    )
    if plan.fitted.recompute:
        recompute_blocks(model, compiled=machine.compiled)
    elif machine.compiled:
        compile_blocks(model)
    model.train()
    if machine.compiled:
        compiled = compile_ahead(
            model, rows=plan.micro_rows, length=plan.length, segmented=True, progress=progress
        )
        machine = dataclasses.replace(machine, compiled=compiled)
    return model, dataclasses.replace(plan, machine=machine)


def _general_text(
    base: Base, plan: Plan, model: Transformer, directory: Path, progress: Progress
) -> GeneralText:
    """The general text of the run, settled before its first step."""
    examples = plan.examples
    return settle_general_text(
        directory,
        Checkpoint(model, base.tokenizer, model.config, base.stop_ids, base.path, base.located.pin),
        plan.config,
        general=plan.config.general,
        replay_tokens=replay_need(examples.train, plan.config, length=plan.length).tokens,
        held_out_tokens=plan.extent.general if examples.held_out else 0,
        length=plan.length,
        seconds=plan.config.seconds,
        compiled=plan.machine.compiled,
        progress=progress,
    )


@dataclass(frozen=True)
class _Watch:
    """What is validated, and what decides from it."""

    domain: HeldOutLoss | None
    """On held-out examples."""
    general: GeneralLoss | None
    """On general text; None where forgetting is not measured."""
    guard: ForgettingGuard
    notes: dict[str, Any]
    """Of both, which the loop saves."""


def _watch(plan: Plan, text: GeneralText, progress: Progress) -> _Watch:
    measure = partial(
        held_out_loss,
        rows=plan.micro_rows,
        length=plan.length,
        device=plan.machine.runtime.device,
    )
    notes: dict[str, Any] = {}
    general = measure(text.held_out, tokens=sum(example.places for example in text.held_out))
    config = plan.config
    return _Watch(
        measure(plan.examples.held_out, tokens=plan.extent.domain),
        None if general is None else GeneralLoss(general, notes),
        ForgettingGuard(config.max_forgetting, config.forgetting_patience, progress, notes),
        notes,
    )


def _assemble(
    directory: Path,
    base: Base,
    plan: Plan,
    model: Transformer,
    watch: _Watch,
    text: GeneralText,
    progress: Progress,
    started: float,
) -> Loop:
    config, examples = plan.config, plan.examples
    optimizer = finetuning_optimizer(
        model,
        lr=plan.lr,
        weight_decay=config.weight_decay,
        pull=config.pull,
        base=base.load(dtype=base.stored) if config.pull else None,
    )
    stream = mixed_stream(
        examples.train,
        text.replay,
        share=config.replay,
        rows=plan.rows,
        length=plan.length,
        seed=config.seed,
    )
    sampler = partial(
        _answer, (examples.held_out or examples.train)[0], base=base, seed=config.seed
    )
    return Loop(
        directory,
        dataclasses.replace(config, steps=plan.planned.steps),
        machine=plan.machine,
        model=model,
        stream=stream,
        objective=named_objective(config.objective, causal=True),
        optimizers=[optimizer],
        micro_units=plan.micro_rows,
        validators=[found for found in (watch.domain, watch.general) if found is not None],
        validations=VALIDATIONS,
        validate_first=True,
        judge=watch.guard.judge,
        sampler=sampler,
        notes=watch.notes,
        remedy="start again with a lower --lr",
        progress=progress,
        started=started,
    )


def _answer(example: Example, model: Transformer, *, base: Base, seed: int) -> str:
    """The end of an example's prompt, an arrow, and what the model answers."""
    begin = int(example.trained.argmax())
    prompt = [int(token) for token in example.tokens[: max(1, begin)]]
    generator = torch.Generator().manual_seed(seed)
    answer = continue_text(model, prompt, stop_ids=base.stop_ids, generator=generator)
    shown = " ".join(base.tokenizer.decode(prompt).split())[-60:]
    return f"{shown} → {base.tokenizer.decode(answer)}"


def _look_back(
    base: Base, plan: Plan, loop: Loop, watch: _Watch, text: GeneralText
) -> dict[str, Any]:
    """Draw what was forgotten, and try the strengths; what the manifest says about it."""
    if watch.general is None or watch.domain is None:
        return {}
    config, directory = plan.config, loop.directory
    plot_forgetting(directory / METRICS, directory, limit=config.max_forgetting)
    found: dict[str, Any] = {"general_text": text.source}
    remark = watch.guard.remark(loop.best, loop.best_step)
    if remark is not None:
        loop.progress.warn(remark)
    left = config.seconds - loop.seconds
    in_time = not config.seconds or left > len(STRENGTHS) * loop.validation_seconds
    if config.sweep and loop.best_step and in_time:
        sweep = sweep_run(
            loop.model,
            directory,
            base=dict(base.load(dtype=base.stored).named_parameters()),
            domain=watch.domain,
            general=watch.general.text,
            max_forgetting=config.max_forgetting,
            compiled=plan.machine.compiled,
            progress=loop.progress,
        )
        found["recommended_strength"] = sweep.recommended.strength
    return found


def _describe(draft: Draft, plan: Plan, loop: Loop) -> None:
    """What the manifest says about the run."""
    trained = sum(value.numel() for value in trained_tensors(loop.model).values())
    first = loop.first or {}
    draft.stats.update(
        {
            "method": plan.config.method,
            "parameters": plan.demand.shape.parameters,
            "trained_parameters": trained,
            "lr": plan.lr,
            "row_tokens": plan.length,
            "micro_rows": plan.micro_rows,
            "memory_expected": plan.fitted.memory.total,
            **loop.statistics(),
            "passes": round(loop.pace.step / plan.planned.per_pass, 2),
            "trained_tokens": loop.trained,
            **{f"base_{name}": round(value, 5) for name, value in first.items()},
            "examples": plan.examples.report.to_mapping(),
        }
    )

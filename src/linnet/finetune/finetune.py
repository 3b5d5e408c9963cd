"""Fine-tuning: a model and examples in, an adapted model or an adapter out.

The loop is that of pretraining (:mod:`linnet.train.loop`); its parts for a run are
put together in :mod:`linnet.finetune.run`.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact, hub, runtime
from linnet.card import CARD, write_card
from linnet.errors import ConfigError
from linnet.finetune.base import read_base
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.examples import load_examples
from linnet.finetune.inputs import base_input, data_inputs
from linnet.finetune.run import prepare_run
from linnet.model.adapter import is_adapter
from linnet.progress import SILENT, Progress
from linnet.train.interrupt import interruptible
from linnet.train.metrics import METRICS
from linnet.train.plots import load_plotting, plot_curves
from linnet.train.state import STATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.artifact import Artifact, Draft
    from linnet.finetune.preview import Preview
    from linnet.hub import Located

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
    found = _trainable(hub.find(model, progress=progress))
    kind = "model" if config.method == "full" else "adapter"
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs(data, config.validation, config.general, progress=progress),
    }

    def write(draft: Draft) -> None:
        command = usual_command(model, data, out, config)
        run = prepare_run(found, data, draft.path, config, progress, command=command)
        load_plotting()  # at the end, nobody would have reserved the time for it
        threads = run.machine.runtime.threads
        with interruptible() as interrupt, runtime.threads(threads):
            changing = run.model()
            run = run.compiled(changing, progress)
            run = run.timed(changing, draft.path, progress)
            known = run.remembering(changing, draft.path, progress)
            loop = run.loop(draft.path, changing, known, progress, started)
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            run.save(loop.model, draft.path)
            plot_curves(draft.path / METRICS, draft.path)
            draft.stats.update(run.look_back(loop, known, draft.path))
        run.describe(draft, loop)
        write_card(draft, base=found.path)

    return artifact.make(
        out,
        write,
        kind=kind,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
        sources=[found.path],
    )


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
    return shlex.join(words)


def _trainable(found: Located) -> Located:
    if is_adapter(found.path):
        raise ConfigError(
            f"{found.path} is an adapter; merge it first (linnet merge), and train what comes out"
        )
    return found


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

    found = _trainable(hub.find(model, progress=progress))
    base = read_base(found, data, config, progress)
    config = dataclasses.replace(config, context=min(config.context, base.shape.context))
    examples = load_examples(data, base.tokenizer, config, progress=progress)
    return Preview(examples, base.tokenizer, config)

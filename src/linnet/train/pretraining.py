"""Training a model from scratch on encoded documents: the parts that the loop gets."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet import artifact, runtime
from linnet.card import CARD, write_card
from linnet.errors import DataError
from linnet.model import Transformer, save_checkpoint
from linnet.progress import SILENT, Progress
from linnet.shards import Shards
from linnet.shards.batches import Batches
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer.loading import load_with_mask
from linnet.train.canaries import PlantedDocuments, draw_canaries
from linnet.train.config import TrainConfig, check_memory
from linnet.train.distributed import interruptible
from linnet.train.execution import compile_ahead, compile_blocks, write_out_attention
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine, should_compile
from linnet.train.masking import MaskedBatches, MaskedLoss, Masking
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.objectives import named_objective
from linnet.train.optimizers import build_optimizers, optimizer_of_objective
from linnet.train.state import STATE
from linnet.train.stream import ShortRows
from linnet.train.validation import held_out, sample_text
from linnet.train.warm_start import LARGEST_VOCABULARY, bigram_counts, fit_bigrams

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.shards.batches import Documents
    from linnet.tokenizer import Tokenizer
    from linnet.train.loop import Validator
    from linnet.train.objectives import Objective
    from linnet.train.stream import Stream

KIND, FORMAT = "model", 1
VOLATILE = (CARD, METRICS, "*.svg", "*.png")


def train(
    shards: Path | str,
    out: Path | str,
    config: TrainConfig | None = None,
    *,
    objective: Objective | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Train a model on encoded documents; write a checkpoint directory.

    ``objective``: a function or module of your own, instead of the one in ``config``.
    What this recipe has made already is returned as it is; an interrupted run
    goes on from its last save.
    Raises DataError when there is too little text, BudgetError when the time
    limit leaves no room for a step, StoppedError after Ctrl-C, TrainingError
    when the loss is no longer a number.
    """
    started = time.monotonic()
    config, out = config or TrainConfig(), Path(out)
    data = Shards.open(shards)
    inputs = {"shards": data.artifact}

    def write(draft: Draft) -> None:
        machine = choose_machine(
            draft.path,
            device=config.device,
            dtype=config.dtype,
            threads=config.threads,
            compiled=partial(should_compile, config),
        )
        load_plotting()  # at the end, nobody would have reserved the time for it
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            source = _source(data, config)
            loop = _assemble(
                data, draft.path, config, source, objective, machine, progress, started
            )
            if not loop.resume():
                _begin(loop, data, config)
            loop.run(interrupt)
            loop.keep_best()
            _save(loop.model, draft.path, data)
            plot_curves(draft.path / METRICS, draft.path)
        _describe(draft, loop, source)
        write_card(draft)

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
    )


def micro_rows(config: TrainConfig) -> int:
    """Rows computed at once: the largest divisor of the batch that is not too large."""
    limit = config.micro_rows or max(1, 65_536 // config.context)
    return max(n for n in range(1, min(config.rows, limit) + 1) if config.rows % n == 0)


def _source(data: Shards, config: TrainConfig) -> Batches:
    """The documents as batches, with canaries among them where the settings ask for some."""
    documents: Documents = data.split("train")
    if documents.tokens < config.context + 1:
        raise DataError(
            f"training needs at least {config.context + 1} tokens, one full context. "
            f"Got {documents.tokens}; add documents or use a smaller --context"
        )
    if config.canaries:
        canaries = draw_canaries(config.canaries, repeats=config.canary_repeats, seed=config.seed)
        documents = PlantedDocuments(documents, canaries, load_tokenizer(data.tokenizer_path))
    return Batches(documents, rows=config.rows, length=config.context, seed=config.seed)


def _assemble(
    data: Shards,
    directory: Path,
    config: TrainConfig,
    source: Batches,
    objective: Objective | None,
    machine: Machine,
    progress: Progress,
    started: float,
) -> Loop:
    tokenizer, masking = _tokenizer(data, config)
    model, machine = _make_model(data, config, tokenizer, machine, progress)
    dtype = runtime.torch_dtype(machine.runtime.dtype)
    stream: Stream = source
    if masking is not None:
        stream = MaskedBatches(stream, masking, seed=config.seed)
    if config.short_rows:
        stream = ShortRows(stream, share=config.short_rows, length=config.resolved_short_length)
    objective = objective or named_objective(config.objective, causal=config.causal)
    sampler = partial(sample_text, tokenizer=tokenizer, seed=config.seed)
    return Loop(
        directory,
        config,
        machine=machine,
        model=model,
        stream=stream,
        objective=objective,
        optimizers=[
            *build_optimizers(model, config, dtype=dtype),
            *optimizer_of_objective(objective, lr=config.vector_lr),
        ],
        micro_units=micro_rows(config),
        validators=_validators(data, config, machine, masking),
        sampler=sampler if masking is None else None,
        remedy="start again with a lower --matrix-lr or --embedding-lr",
        progress=progress,
        started=started,
    )


def _tokenizer(data: Shards, config: TrainConfig) -> tuple[Tokenizer, Masking | None]:
    """The tokenizer, and for an encoder what hides its tokens."""
    if config.causal:
        return load_tokenizer(data.tokenizer_path), None
    tokenizer, mask = load_with_mask(data.tokenizer_path)
    return tokenizer, Masking(mask, tokenizer.vocab_size, tuple(sorted(tokenizer.special_ids)))


def _make_model(
    data: Shards, config: TrainConfig, tokenizer: Tokenizer, machine: Machine, progress: Progress
) -> tuple[Transformer, Machine]:
    """The model as it is trained, and the machine: without compiling where that failed."""
    vocabulary = max(data.vocab_size, tokenizer.vocab_size)  # the mask token may be new
    shape = config.model(vocabulary, end_of_text=data.end_of_text, pad=tokenizer.pad)
    check_memory(shape, machine.runtime.device)  # before any is taken
    model = Transformer(shape).to(machine.runtime.device)
    model.compute_dtype = runtime.torch_dtype(machine.runtime.dtype)
    write_out_attention(model, machine.runtime, compiled=machine.compiled)
    model.train()
    if machine.compiled:
        compile_blocks(model)
        lengths = {config.context} | (
            {config.resolved_short_length} if config.short_rows else set()
        )
        compiled = all(
            compile_ahead(
                model,
                rows=micro_rows(config) * config.context // length,
                length=length,
                progress=progress,
            )
            for length in sorted(lengths)
        )
        machine = replace(machine, compiled=compiled)
    return model, machine


def _validators(
    data: Shards,
    config: TrainConfig,
    machine: Machine,
    masking: Masking | None,
) -> list[Validator]:
    found = held_out(
        data.split("validation"),
        rows=micro_rows(config),
        length=config.context,
        tokens=config.validation_tokens,
        device=machine.runtime.device,
    )
    if found is None:
        return []
    return [found if masking is None else MaskedLoss.of(found, masking)]


def _begin(loop: Loop, data: Shards, config: TrainConfig) -> None:
    """Fresh weights, then the bigrams."""
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    model = loop.model
    with torch.no_grad():
        model.initialise(generator)
    shape = model.config
    if shape.causal and not shape.tied and shape.vocab_size <= LARGEST_VOCABULARY:
        counts = bigram_counts(data.split("train"), model.config.vocab_size)
        dtype = runtime.torch_dtype(loop.machine.runtime.dtype)
        loss = fit_bigrams(model, counts, dtype=dtype)
        loop.record({"step": 0, "event": f"bigrams fitted: loss {loss:.3f}"})


def _save(model: Transformer, path: Path, data: Shards) -> None:
    if model.config.causal:
        save_checkpoint(model, path, tokenizer=data.tokenizer_path)
        return
    tokenizer, _ = load_with_mask(data.tokenizer_path)
    tokenizer.save(path, model_max_length=model.config.context)
    save_checkpoint(model, path)


def _describe(draft: Draft, loop: Loop, source: Batches) -> None:
    documents = source.split
    draft.stats["parameters"] = loop.model.config.parameters
    draft.stats.update(loop.statistics())
    draft.stats["epochs"] = round(loop.tokens / documents.tokens, 2)
    if isinstance(documents, PlantedDocuments):
        documents.canaries.write(draft.path)
        draft.stats["canary_occurrences"] = documents.occurrences(source)

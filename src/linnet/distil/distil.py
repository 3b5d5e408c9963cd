"""Distillation: a teacher and text in, a smaller model out; or what the teacher expects, or writes.

The loop is that of all training. A student of the teacher's vocabulary learns what it expects at
each place, from the model itself or from saved logits; one of another vocabulary is tuned on what
it writes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact, runtime
from linnet.align.rollouts import Policy
from linnet.card import CARD, write_card
from linnet.config import to_mapping
from linnet.distil import saved_logits
from linnet.distil.config import DistilConfig
from linnet.distil.data import (
    contents_of,
    inputs_of,
    is_rows,
    read_examples_of,
)
from linnet.distil.loop import (
    Passes,
    Rows,
    distillation_loop,
    live_teacher,
    load_teacher,
    machine_of,
    read_shape,
    teacher_figures,
)
from linnet.distil.own_samples import OwnSamples
from linnet.distil.saved_logits import SavedBatches, SavedLogits, is_saved_logits
from linnet.distil.students import (
    fresh_shape,
    fresh_student,
    optimizers_for,
    require_same_tokens,
)
from linnet.distil.written_texts import ROWS, prompts_of_rows, prompts_of_texts, write_texts
from linnet.errors import ConfigError, ContradictionError, DamagedError, OutputError
from linnet.evaluate.held_out import even_sample
from linnet.finetune.base import find_base
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.finetune import finetune
from linnet.finetune.packing import PackedBatches, held_out_loss
from linnet.finetune.rows import open_source
from linnet.model import load_model, save_checkpoint
from linnet.model.checkpoint import Checkpoint, read_stop_ids, stored_dtype
from linnet.model.quantised import require_plain
from linnet.output import check_output_directory, named
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer
from linnet.train.config import check_memory
from linnet.train.distributed import interruptible
from linnet.train.loop import Loop
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.state import STATE
from linnet.train.validation import sample_text

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.distil.teachers import Teacher
    from linnet.distil.written_texts import TextPrompt
    from linnet.finetune.encoding import Example
    from linnet.hub import Located
    from linnet.model import ModelConfig, Transformer
    from linnet.tokenizer import Tokenizer
    from linnet.train.machine import Machine
    from linnet.train.validation import HeldOutLoss

FORMAT = 1
_OF_RUNS = ("teacher_weight", "mixing", "own_samples", "width", "depth", "steps", "seconds", "lr",
            "batch_tokens", "weight_decay", "clip", "schedule", "warmup", "decay",
            "validation_interval", "patience", "max_tokens")  # fmt: skip

READING = ("context", "tokens", "train_on", "template", "too_long", "columns", "held_out")
"""The settings by which a text is cut, which saved logits belong to."""
_OF_ROWS = ("validation", "held_out", "columns", "book", "train_on", "too_long", "template")


def distil_model(
    teacher: Path | str,
    data: Path | str,
    out: Path | str,
    config: DistilConfig | None = None,
    *,
    student: Path | str | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Have a smaller model learn from a larger one; write its model directory.

    ``teacher``: a model, or the logits that were saved of one (``save_logits``: they are what is
    written then). ``data``: text, a corpus, shards, or rows, of whose completions is learned.
    ``student``: a model; None: a fresh one. An interrupted run goes on from its last save.
    Raises ModelError for a teacher of another vocabulary, ConfigError for settings that contradict
    each other, DataError for too little text.
    """
    started = time.monotonic()
    config, out = config or DistilConfig(), Path(out)
    found = find_base(teacher, "distil", progress=progress)
    theirs = None if student is None else find_base(student, "distil", progress=progress)
    _require_meant(config, theirs, data)
    inputs = inputs_of(found, theirs, data, config, progress)
    if config.by == "text":
        assert theirs is not None
        tuning = tuning_config(config, data)
        place = _place_of_texts(out, [found.path, theirs.path])
        texts = _written(found, data, place, config, inputs, progress)
        return finetune(theirs.path, texts.path / ROWS, out, tuning, progress=progress)
    if config.save_logits:
        return _saved(found, data, out, config, inputs, progress)

    def write(draft: Draft) -> None:
        lesson = _Lesson.read(found, theirs, data, config, inputs, progress)
        machine = machine_of(config, draft.path)
        load_plotting()
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            loop, stats = lesson.assemble(draft.path, machine, progress, started)
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            loop.model.compute_dtype = None
            base = None if theirs is None else theirs.path
            save_checkpoint(
                loop.model, draft.path, tokenizer=base or found.path, base=base,
                dtype=None if base is None else stored_dtype(base),
            )  # fmt: skip
            plot_curves(draft.path / METRICS, draft.path)
        draft.stats.update(
            {
                "parameters": loop.model.config.parameters,
                **stats,
                **loop.statistics(),
                **{f"start_{name}": round(v, 5) for name, v in (loop.first or {}).items()},
            }
        )
        write_card(draft, base=None if theirs is None else theirs.path)

    sources = [found.path, *([] if theirs is None else [theirs.path])]
    return artifact.make(
        out, write, kind="model", format=FORMAT, config=config.recipe(), inputs=inputs,
        resume=True, volatile=(CARD, METRICS, "*.svg", "*.png"), working=STATE, sources=sources,
    )  # fmt: skip


def tuning_config(config: DistilConfig, data: Path | str) -> FinetuneConfig:
    """How a student is tuned on texts: fine-tuning's own settings, but for those that are given."""
    own = {field.name for field in dataclasses.fields(FinetuneConfig)}
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name in own - {"columns", "book"} and getattr(config, field.name) != field.default
    }
    if not is_rows(data):
        given["template"] = "none"
    return FinetuneConfig(**{**given, "method": "full"})


def _place_of_texts(out: Path, sources: Sequence[Path]) -> Path:
    """Beside the student. Raises OutputError, before anything is written, where the student could
    not be."""
    artifact.refuse_place_of(out, sources)
    check_output_directory(out, allowed=(artifact.MANIFEST,))
    out = named(out)
    if not out.name:
        raise OutputError(f"{out}: expected a directory to make. Got the root of all others")
    return out.with_name(f"{out.name}.text")


def _require_meant(config: DistilConfig, student: Located | None, data: Path | str) -> None:
    """Raise ContradictionError for what does not go together."""
    if student is not None:
        for name in ("width", "depth"):
            config.refuse(name, f"is for a fresh student, but there is {student.path}")
    if not is_rows(data):
        for name in _OF_ROWS:
            config.refuse(name, f"is for rows with prompts, but {data} is plain text")
    if config.by == "text" and student is None:
        raise ConfigError(
            "expected --student MODEL: texts are for a student of another vocabulary, and a fresh "
            "one has the teacher's"
        )
    if student is not None:
        require_plain(student.path, "train the model that it was made from")
        read_shape(student.path)  # refuses one that does not write
    if config.save_logits and student is not None:
        raise ConfigError(f"--save-logits makes no student. Got one, {student.path}")


def _tokenizer_path(teacher: Located, student: Located | None) -> Path:
    """Whose tokenizer reads the text; raises ModelError where the two are not the same."""
    if student is None:
        return teacher.path
    require_same_tokens(load_tokenizer(teacher.path), load_tokenizer(student.path))
    return student.path


@dataclass(frozen=True)
class _Lesson:
    """What a run learns, from whom, before any weight is read."""

    teacher: Located
    student: Located | None
    shape: ModelConfig
    """The student's."""
    tokenizer: Tokenizer
    config: DistilConfig
    saved: SavedLogits | None
    examples: list[Example]
    held_out: list[Example]
    continues: bool
    """Whether the examples are plain text."""

    @classmethod
    def read(
        cls,
        teacher: Located,
        student: Located | None,
        data: Path | str,
        config: DistilConfig,
        inputs: Mapping[str, Artifact | str],
        progress: Progress,
    ) -> _Lesson:
        """Raises what :func:`distil_model` raises."""
        tokenizer = load_tokenizer(_tokenizer_path(teacher, student))
        shape = read_shape(teacher.path)
        own = fresh_shape(shape, tokenizer, config) if student is None else read_shape(student.path)
        saved = SavedLogits.open(teacher.path) if is_saved_logits(teacher.path) else None
        if saved is not None:
            tokens = min(tokenizer.vocab_size, shape.vocab_size)
            if saved.tokens != tokens:
                raise DamagedError(
                    f"{teacher.path}: these logits are of {saved.tokens:,} tokens, but the model "
                    f"that is named beside them has {tokens:,}; save them anew"
                )
            config = _as_saved(saved, config, inputs)
            examples, held_out = saved.examples, saved.held_out
        else:
            context = min(config.context, shape.context, own.context)
            config = dataclasses.replace(config, context=context)
            examples, held_out = read_examples_of(data, tokenizer, config, progress)
        return cls(
            teacher, student, own, tokenizer, config, saved, examples, held_out, not is_rows(data)
        )

    def assemble(
        self, directory: Path, machine: Machine, progress: Progress, started: float
    ) -> tuple[Loop, dict[str, Any]]:
        """The loop, and what the manifest says besides."""
        config = self.config
        rows = Rows.of(config, context=self.shape.context)
        model = self._student(machine)
        validator = held_out_loss(
            self.held_out, rows=rows.micro, length=rows.length, device=machine.runtime.device,
            tokens=config.held_out_tokens,
        )  # fmt: skip
        stream = self._stream(model, rows)  # which may refuse, so it comes before what takes time
        teacher, stats = self._teacher(machine, validator)
        if isinstance(stream, OwnSamples) and stream.left_out:
            progress.warn(
                f"{stream.left_out:,} prompts are too long to be continued: --max-tokens leaves "
                f"{rows.length - config.max_tokens} tokens for them"
            )
        model.train()
        loop = distillation_loop(
            directory, config, teacher=teacher, student=model, stream=stream,
            optimizers=optimizers_for(model, config, fresh=self.student is None),
            validator=validator, rows=rows, machine=machine, progress=progress, started=started,
            sampler=partial(sample_text, tokenizer=self.tokenizer, seed=config.seed),
        )  # fmt: skip
        return loop, stats

    def _student(self, machine: Machine) -> Transformer:
        dtype, device = runtime.torch_dtype(machine.runtime.dtype), machine.runtime.device
        torch.manual_seed(self.config.seed)
        if self.student is None:
            check_memory(self.shape, device)  # before any is taken
            return fresh_student(
                self.shape, self.examples, seed=self.config.seed, device=device, dtype=dtype
            )
        model = load_model(self.student.path, device=device, dtype=torch.float32)
        model.compute_dtype = dtype
        return model.requires_grad_(True)

    def _teacher(
        self, machine: Machine, validator: HeldOutLoss | None
    ) -> tuple[Teacher | None, dict[str, Any]]:
        """Who teaches, and what is known of how well; nobody where it would have no weight."""
        if self.saved is not None:
            kept = ("teacher_parameters", "teacher_loss", "teacher_bits_per_byte")
            own = self.saved.found.stats
            return self.saved, {name: own[name] for name in kept if name in own}
        if not self.config.teacher_weight:
            return None, {}
        model = load_teacher(self.teacher.path, machine)
        shared = min(self.shape.vocab_size, self.tokenizer.vocab_size)
        return live_teacher(model, shared), teacher_figures(model, validator)

    def _stream(self, model: Transformer, rows: Rows) -> Passes:
        config = self.config
        if self.saved is not None:
            return SavedBatches(self.saved, rows=rows.count, length=rows.length, seed=config.seed)
        own = round(config.own_samples * rows.count)
        text = None
        if own < rows.count:
            text = PackedBatches(
                self.examples, rows=rows.count - own, length=rows.length, seed=config.seed
            )
        if not own:
            assert text is not None
            if config.own_samples:
                raise ConfigError(
                    f"own_samples are a share of the {rows.count} rows of an update. Got "
                    f"{config.own_samples}, which is none; raise it, or --batch-tokens"
                )
            return text
        stop_ids = read_stop_ids(
            self.teacher.path if self.student is None else self.student.path,
            self.shape, self.tokenizer,
        )  # fmt: skip
        checkpoint = Checkpoint(model, self.tokenizer, self.shape, stop_ids)
        return OwnSamples(
            text, self.examples, Policy(checkpoint, config.max_tokens), rows=own,
            length=rows.length, seed=config.seed, continues=self.continues,
        )  # fmt: skip


def _as_saved(
    saved: SavedLogits, config: DistilConfig, inputs: Mapping[str, Artifact | str]
) -> DistilConfig:
    """The settings of a run with saved logits. Raises ConfigError for what these do not fit."""
    path = saved.found.path
    if config.own_samples:
        raise ContradictionError(
            f"--own-samples needs a teacher that reads them. Got {path}, saved logits",
            "own_samples",
        )  # fmt: skip
    if not config.teacher_weight:
        raise ContradictionError(
            f"--teacher-weight 0 leaves the teacher out. Got {path}, its logits", "teacher_weight"
        )
    if saved.found.stats.get("contents") != contents_of(inputs):
        raise ConfigError(
            f"{path}: these logits were saved of another text (or other --validation or --book); "
            "give the text that they are of, or save them anew"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in READING:
        value, default = saved.reading.get(name, defaults[name]), defaults[name]
        given = getattr(config, name)
        if given not in (default, tuple(value) if isinstance(value, list) else value):
            raise ConfigError(
                f"{path}: these logits were saved with --{name.replace('_', '-')} {value}. "
                f"Got {given}; leave it out, or save them anew"
            )
    saved.require_temperature(config.temperature)
    return dataclasses.replace(config, context=saved.length)


def _saved(
    teacher: Located,
    data: Path | str,
    out: Path,
    config: DistilConfig,
    inputs: Mapping[str, Artifact | str],
    progress: Progress,
) -> Artifact:
    """What a teacher expects of a text, as an artifact."""
    if is_saved_logits(teacher.path):
        raise ConfigError(f"{teacher.path}: expected a model to save the logits of. Got logits")

    def write(draft: Draft) -> None:
        shape, tokenizer = read_shape(teacher.path), load_tokenizer(teacher.path)
        own = dataclasses.replace(config, context=min(config.context, shape.context))
        examples, held_out = read_examples_of(data, tokenizer, own, progress)
        machine = machine_of(config, draft.path)
        rows = Rows.of(own, context=shape.context)
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            model = load_teacher(teacher.path, machine)
            live = live_teacher(model, tokenizer.vocab_size)
            saved_logits.save_sources(draft.path, teacher.path, examples, held_out)
            figures = saved_logits.save_logits(
                live, examples, draft.path, k=config.save_logits, temperature=config.temperature,
                rows=rows.micro, length=rows.length, device=machine.runtime.device,
                interrupt=interrupt, progress=progress,
            )  # fmt: skip
            validator = held_out_loss(
                held_out, rows=rows.micro, length=rows.length, device=machine.runtime.device,
                tokens=config.held_out_tokens,
            )  # fmt: skip
            draft.stats.update(teacher_figures(model, validator))
        draft.stats.update(
            {
                "vocabulary": live.tokens,
                "k": min(config.save_logits, live.tokens),
                "temperature": config.temperature,
                "context": rows.length,
                "places": figures.places,
                "rest": figures.rest,
                "contents": contents_of(inputs),
                "reading": {name: to_mapping(config)[name] for name in READING},
            }
        )

    settings = {name: value for name, value in config.recipe().items() if name not in _OF_RUNS}
    return artifact.make(
        out, write, kind=saved_logits.KIND, format=FORMAT, config=settings, inputs=inputs,
        resume=True, working=STATE, sources=[teacher.path],
    )  # fmt: skip


def _written(
    teacher: Located,
    data: Path | str,
    out: Path,
    config: DistilConfig,
    inputs: Mapping[str, Artifact | str],
    progress: Progress,
) -> Artifact:
    """Texts of a teacher, as an artifact with a file of rows."""
    if is_saved_logits(teacher.path):
        raise ConfigError(f"{teacher.path}: expected a model that writes. Got saved logits")

    def write(draft: Draft) -> None:
        machine = machine_of(config, draft.path)
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            model = load_teacher(teacher.path, machine)
            tokenizer = load_tokenizer(teacher.path)
            stop_ids = read_stop_ids(teacher.path, model.config, tokenizer)
            checkpoint = Checkpoint(model, tokenizer, model.config, stop_ids, teacher.path)
            prompts = _prompts(data, tokenizer, model.config, config, progress)
            draft.stats.update(
                write_texts(
                    checkpoint, prompts, draft.path, samples=config.samples,
                    max_tokens=config.max_tokens, temperature=config.temperature,
                    seed=config.seed, interrupt=interrupt, progress=progress,
                )
            )  # fmt: skip

    names = ("samples", "max_tokens", "temperature", "seed", "template", "columns", "tokens",
             "context", "book")  # fmt: skip
    settings = {name: value for name, value in to_mapping(config).items() if name in names}
    of_text = {role: found for role, found in inputs.items() if role != "base"}
    return artifact.make(
        out, write, kind="texts", format=FORMAT, config=settings, inputs=of_text,
        resume=True, working=STATE, sources=[teacher.path],
    )  # fmt: skip


def _prompts(
    data: Path | str,
    tokenizer: Tokenizer,
    shape: ModelConfig,
    config: DistilConfig,
    progress: Progress,
) -> list[TextPrompt]:
    """What the teacher is given to complete."""
    own = dataclasses.replace(config, context=min(config.context, shape.context))
    if is_rows(data):
        rows = open_source(data).rows("train", config.column_names(), book=config.book)
        chat = config.template != "none" and tokenizer.chat_template is not None
        prompts = prompts_of_rows(rows, tokenizer, chat=chat)
        some = even_sample(prompts, size=lambda each: len(each.tokens), limit=config.tokens).items
        if len(some) < len(prompts):
            progress.warn(
                f"{len(prompts) - len(some):,} of {len(prompts):,} prompts left out: more than the "
                f"{config.tokens:,} tokens of --tokens"
            )
        return some
    found, _ = read_examples_of(data, tokenizer, own, progress)
    return prompts_of_texts(found, tokenizer, seed=config.seed)

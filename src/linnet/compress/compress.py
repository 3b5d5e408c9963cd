"""Compression: a model and questions in, the smallest file that keeps what was asked for out.

What was measured lies beside the output (``linnet.compress.measurements``), so that another choice
is made without measuring anything again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet import artifact
from linnet.artifact import Artifact
from linnet.card import CARD
from linnet.compress.blockwise import HELD_OUT
from linnet.compress.candidates import Candidate, Plan, bytes_of
from linnet.compress.choice import Choice, choose, is_above_chance, loss_of
from linnet.compress.config import CompressConfig
from linnet.compress.measurements import MeasuredModel, Speed
from linnet.compress.prune import prune_model, read_text_for
from linnet.compress.prune_config import PruneConfig
from linnet.compress.pruning import require_prunable
from linnet.compress.quality import Questions, read_questions
from linnet.compress.report import PAGE, RESULTS, Compression, write_report
from linnet.compress.sensitivity import MOST_TOKENS, divergence_from, first_tokens
from linnet.config import to_mapping
from linnet.distil.loop import read_shape
from linnet.errors import ConfigError, DataError
from linnet.finetune.base import base_input, data_inputs, find_base
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.replay import read_text
from linnet.gguf.quantisation import libgguf_package
from linnet.model import load_model
from linnet.output import check_output_directory, human_bytes, make_directory, named, remove
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from linnet.artifact import Draft
    from linnet.model import Transformer
    from linnet.tokenizer import Tokenizer

FORMAT = 3
MODEL = "model.gguf"
FILES, PRUNED = "files", "pruned"
LONGEST = 2048  # tokens of a question with its passage and answer
BENCH_TEXTS = 8


class NoCandidateError(ConfigError):
    """No candidate does what was asked for. ``directory`` has the figures of all."""

    def __init__(self, message: str, directory: Path) -> None:
        super().__init__(message)
        self.directory = directory


def candidates_of(out: Path) -> Path:
    """The folder beside ``out`` with the candidates and what was measured of them."""
    out = named(out)
    return out.with_name(f"{out.name}.candidates")


def compress(
    model: Path | str,
    questions: Path | str,
    out: Path | str,
    config: CompressConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Write the smallest file of a model that keeps what its owner's questions need.

    ``questions``: what ``linnet examples`` made (those kept for testing are judged by), or a file
    of rows with prompts and completions. In ``out`` are the file (``model.gguf``, or what a model
    directory has), the figures of every candidate (``results.json``), a page and a plot. Candidates
    and what was measured of them stay in :func:`candidates_of` it: an interrupted run goes on
    behind them, and another choice measures nothing that is known.

    Raises DataError for too few questions, or where the model answers them no better than by
    chance, so that there is nothing to keep; NoCandidateError for a size that nothing reaches, and
    where no candidate surely keeps the quality, by how much the best one misses, and how many
    questions would tell.
    """
    config, out = config or CompressConfig(), Path(out)
    libgguf_package()
    if config.prune and Path(config.calibration).resolve() == Path(questions).resolve():
        raise ConfigError(
            f"{config.calibration}: expected a text for --calibration that is not the questions. "
            "Got the questions: a pruned model would learn what it is judged by"
        )
    found = find_base(model, "compress", plain=True, progress=progress)
    read_shape(found.path)  # refuses one that does not write
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs([questions], "", config.calibration, book="open", progress=progress),
    }
    base = inputs["base"]
    content = base.content if isinstance(base, Artifact) else str(base)

    def write(draft: Draft) -> None:
        folder = candidates_of(out)
        check_output_directory(folder, allowed=(FILES, PRUNED))
        run = _Run.begin(found.path, content, questions, folder, config, progress)
        try:
            choice, refusal = run.choose(), ""
        except ConfigError as error:
            choice, refusal = None, str(error)
        found_all = Compression(
            str(model), run.full(), run.candidates(), choice, refusal, config,
            len(run.questions.right),
        )  # fmt: skip
        if choice is None:
            write_report(folder, found_all)
            raise NoCandidateError(refusal, folder)
        for name in (RESULTS, PAGE, "candidates.svg", "candidates.png"):  # of an earlier refusal
            remove(folder / name)
        taken = run.file_of(choice.name)
        if taken.is_dir():
            shutil.copytree(taken, draft.path, dirs_exist_ok=True)
        else:
            shutil.copyfile(taken, draft.path / MODEL)
            run.require_opens(choice.name, out / MODEL)
        write_report(draft.path, found_all)
        draft.stats.update(
            {"choice": choice.name, "reason": choice.reason, "bytes": bytes_of(taken)}
        )

    return artifact.make(
        out, write, kind="compressed", format=FORMAT, config=to_mapping(config), inputs=inputs,
        volatile=(RESULTS, PAGE, CARD, "*.svg", "*.png"), sources=[found.path],
    )  # fmt: skip


@dataclass
class _Run:
    """The model, what it is judged by, and what is judged."""

    whole: MeasuredModel
    questions: Questions
    texts: list[str]
    config: CompressConfig
    progress: Progress
    folder: Path
    content: str
    pruned: list[MeasuredModel] = field(default_factory=list)
    found: list[Candidate] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        path: Path,
        content: str,
        source: Path | str,
        folder: Path,
        config: CompressConfig,
        progress: Progress,
    ) -> _Run:
        """Everything that all candidates are measured with. Raises DataError, and for pruning that
        is impossible ModelError or ConfigError."""
        model = _load(path, progress)
        context = model.config.context
        tokenizer = load_tokenizer(path)
        questions = read_questions(
            source, tokenizer, context=min(LONGEST, context),
            most=config.questions, seed=config.seed,
            learned=config.calibration if config.shares else "", progress=progress,
        )  # fmt: skip
        rows = _calibration(questions, tokenizer, context, config, progress)
        if config.shares:  # before anything is measured, or what was measured is removed
            _require_prunable(model, path, config, progress)
        make_directory(folder / FILES)
        whole = MeasuredModel(
            model, path, folder / FILES / "whole", content, rows, config, progress=progress
        )
        if not is_above_chance(*whole.own_answers(questions)):
            raise DataError(
                f"{source}: the model finds right answers no likelier behind their own questions "
                "than behind others: there is nothing to lose by compressing it; train or tune it "
                "first"
            )
        texts = [tokenizer.decode(ids.tolist()) for ids in questions.texts()[:BENCH_TEXTS]]
        return cls(whole, questions, texts, config, progress, folder, content)

    def choose(self) -> Choice:
        """Measure all candidates, and choose. Raises ConfigError where none does."""
        if not self.config.shares:
            self._require_small_enough()
        self._measure(self.whole)
        for share in self.config.shares:
            smaller = self._pruned(share)
            self.pruned.append(smaller)
            self._measure(smaller)
        while True:
            choice = choose(self.candidates(), self.config)
            source, plan = self._plan_of(choice.name)
            source.file(plan)  # made again where it is gone; what comes out otherwise is measured
            place = [each.name for each in self.found].index(choice.name)
            again = self._candidate(source, plan)
            if again == self.found[place]:
                return choice
            self.found[place] = again

    def full(self) -> Candidate:
        """The model itself."""
        size = bytes_of(self.whole.path)
        speed = self.whole.own_speed(self.texts) if self.found else Speed(None)
        return Candidate(
            "model", size, 8 * size / self.whole.model.config.parameters, None, speed.measured,
            speed.remark,
        )  # fmt: skip

    def candidates(self) -> list[Candidate]:
        """All that were measured, largest first; where none was, what could be made."""
        found = self.found or [
            self._candidate(self.whole, plan, made=False) for plan in self.whole.plans
        ]
        return sorted(found, key=lambda each: -each.bytes)

    def file_of(self, name: str) -> Path:
        """The file of a candidate."""
        source, plan = self._plan_of(name)
        return source.file(plan)

    def require_opens(self, name: str, out: Path) -> None:
        """Have llama.cpp open the file of a candidate, once. Raises ModelError, naming ``out``."""
        source, plan = self._plan_of(name)
        source.require_opens(plan, out)

    def _plan_of(self, name: str) -> tuple[MeasuredModel, Plan]:
        sources = (self.whole, *self.pruned)
        every = {source.prefix + plan.name: (source, plan)
                 for source in sources for plan in source.plans}  # fmt: skip
        return every[name]

    def _measure(self, source: MeasuredModel) -> None:
        with self.progress.task("candidates", total=len(source.plans), unit="files") as task:
            for plan in source.plans:
                task.update(note=source.prefix + plan.name)
                self.found.append(self._candidate(source, plan))
                task.advance()

    def _candidate(self, source: MeasuredModel, plan: Plan, *, made: bool = True) -> Candidate:
        name, parameters = source.prefix + plan.name, source.model.config.parameters
        expected = source.apart + plan.expected
        if not made:
            bits = 8 * plan.bytes / parameters
            return Candidate(name, plan.bytes, bits, None, None, "not made", expected)
        before, _ = self.whole.own_answers(self.questions)
        loss = loss_of(
            before, source.answers(plan, self.questions), self.questions.tokens,
            keep=self.config.kept, confidence=self.config.confidence, seed=self.config.seed,
        )  # fmt: skip
        size, speed = source.bytes(plan), source.speed(plan, self.texts)
        bits = 8 * size / parameters
        return Candidate(name, size, bits, loss, speed.measured, speed.remark, expected)

    def _require_small_enough(self) -> None:
        """Raise ConfigError, before a file is made, for a size that none can have."""
        smallest = min(self.whole.plans, key=lambda plan: plan.bytes)
        most = self.config.most_bytes
        if most and smallest.bytes > most:
            raise ConfigError(
                f"no candidate has at most {self.config.size}; the smallest, {smallest.name}, has "
                f"more than {human_bytes(smallest.bytes)}, {human_bytes(smallest.bytes - most)} "
                "too many; prune the model first, or let --prune try it"
            )

    def _pruned(self, share: float) -> MeasuredModel:
        """A model with this share of the parameters, distilled from the whole one.

        It has read the calibration text, so how far it is from the whole one is measured on a part
        that was held back.
        """
        settings, whole = _pruning(self.config, share), self.whole
        made = prune_model(
            whole.path, self.config.calibration, self.folder / PRUNED / f"{share:g}", settings,
            progress=self.progress,
        )  # fmt: skip
        model = _load(made.path, self.progress)
        held_out = _held_out(whole.model, whole.path, self.config, share, self.progress)
        apart = divergence_from(whole.model, model, held_out)
        return MeasuredModel(
            model, made.path, self.folder / FILES / f"{share:g}", made.content, whole.rows,
            self.config, prefix=f"{100 * share:g}% ", apart=apart, progress=self.progress,
        )  # fmt: skip


def _load(path: Path, progress: Progress) -> Transformer:
    return load_model(path, dtype=torch.float32, progress=progress).eval()


def _require_prunable(
    model: Transformer, path: Path, config: CompressConfig, progress: Progress
) -> None:
    """Raise LinnetError for what pruning would stop at."""
    require_prunable(model.config)
    for share in config.shares:
        _pruning(config, share).shape(model.config)
    if not _held_out(model, path, config, config.shares[0], progress):
        raise DataError(
            f"{config.calibration}: expected enough text to hold some back. Got too little"
        )


def _pruning(config: CompressConfig, share: float) -> PruneConfig:
    return PruneConfig(
        keep=share, seconds=config.prune_seconds, steps=config.prune_steps, seed=config.seed,
        threads=config.threads,
    )  # fmt: skip


def _held_out(
    model: Transformer, path: Path, config: CompressConfig, share: float, progress: Progress
) -> list[Tensor]:
    """Calibration text that a pruned model does not read."""
    settings = _pruning(config, share)
    _, kept_back = read_text_for(settings, path, config.calibration, model.config, progress)
    return first_tokens(_as_rows(example.tokens for example in kept_back))


def _calibration(
    questions: Questions,
    tokenizer: Tokenizer,
    context: int,
    config: CompressConfig,
    progress: Progress,
) -> list[Tensor]:
    """Text of the owner's as tokens ``(1, T)``."""
    wanted = config.calibration_tokens or MOST_TOKENS
    texts = questions.texts()
    if config.calibration:
        text = read_text(
            Path(config.calibration), tokenizer, ExamplesConfig(context=min(512, context)),
            tokens=wanted, held_out_tokens=0, progress=progress,
        )  # fmt: skip
        texts = [example.tokens for example in text.replay]
        if len(texts) < HELD_OUT:
            raise DataError(
                f"{config.calibration}: expected at least {HELD_OUT} texts of up to 512 tokens, "
                f"one of them to judge GPTQ by. Got {len(texts)}; give more text, and more "
                "--calibration-tokens"
            )
    chosen: list[Tensor] = []
    total = 0
    for row in _as_rows(texts):
        if total >= wanted and len(chosen) >= HELD_OUT:
            break
        chosen.append(row)
        total += row.numel()
    return chosen


def _as_rows(texts: Iterable[npt.NDArray[np.uint32]]) -> list[Tensor]:
    return [torch.from_numpy(tokens.astype(np.int64))[None] for tokens in texts]

"""Compression: a model and questions in, the smallest file that keeps what was asked for out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from markupsafe import Markup

from linnet import artifact, page
from linnet.card import CARD
from linnet.compress.candidates import Candidate, measure, plans, speed_of
from linnet.compress.choice import is_above_chance
from linnet.compress.config import CompressConfig
from linnet.compress.importance import measure_importance
from linnet.compress.mixing import options_of
from linnet.compress.quality import Questions, nats, read_questions
from linnet.compress.sensitivity import MOST_TOKENS, sensitivities, weighted
from linnet.config import to_mapping
from linnet.errors import ConfigError, DataError, ModelError
from linnet.export.gguf import require_opens
from linnet.finetune.base import base_input, data_inputs, find_base
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.replay import general_text
from linnet.gguf.quantisation import Importance, libgguf_package
from linnet.model import load_model
from linnet.output import human_bytes, make_directory, write_json, write_text
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer
from linnet.train.metrics import (
    INK,
    TRAINING,
    VALIDATION,
    blank_figure,
    style_axes,
    svg,
    write_figure,
)
from linnet.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.artifact import Artifact, Draft
    from linnet.model import Transformer

FORMAT = 1
WORK = "work"
RESULTS, PAGE, MODEL = "results.json", "report.html", "model.gguf"
LONGEST = 2048  # tokens of a question with its passage and answer
BENCH_TEXTS = 8


@dataclass(frozen=True)
class Choice:
    """The candidate that was taken, and why."""

    name: str
    reason: str


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
    of rows with prompts and completions. In ``out`` are the file (``model.gguf``), the figures of
    every candidate (``results.json``), a page and a plot. An interrupted run goes on behind the
    candidates that it has measured.

    Raises DataError for too few questions, or where the model answers them no better than by
    chance, so that there is nothing to keep; ConfigError for a size that nothing reaches, and where
    no candidate surely keeps the quality, saying which comes nearest and how many questions would
    tell.
    """
    config, out = config or CompressConfig(), Path(out)
    libgguf_package()
    found = find_base(model, "compress", progress=progress)
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs([questions], "", config.calibration, book="open", progress=progress),
    }

    def write(draft: Draft) -> None:
        run = _Run.begin(found.path, questions, draft.path / WORK, config, progress)
        candidates = list(run.measured())
        choice = choose(candidates, config)
        shutil.copyfile(run.file_of(choice.name), draft.path / MODEL)
        require_opens(draft.path / MODEL, out / MODEL, causal=True, progress=progress)
        write_report(
            draft.path, str(model), run.full, candidates, choice, config, len(run.questions.right)
        )
        draft.stats.update({"choice": choice.name, "reason": choice.reason,
                            "bytes": (draft.path / MODEL).stat().st_size})  # fmt: skip

    return artifact.make(
        out, write, kind="compressed", format=FORMAT, config=to_mapping(config), inputs=inputs,
        resume=True, working=WORK, volatile=(RESULTS, PAGE, CARD, "*.svg", "*.png"),
        sources=[found.path],
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """A model, what it is judged by, and where its candidates are made."""

    path: Path
    model: Transformer
    work: Path
    questions: Questions
    before: np.ndarray[Any, np.dtype[np.float64]]
    texts: list[str]
    importance: Importance
    rows: list[Tensor]
    """Texts as tokens, by which it is known what matters."""
    full: Candidate
    config: CompressConfig
    progress: Progress

    @classmethod
    def begin(
        cls, path: Path, source: Path | str, work: Path, config: CompressConfig, progress: Progress
    ) -> _Run:
        """Everything that all candidates are measured with. Raises DataError."""
        make_directory(work)
        model = load_model(path, dtype=torch.float32, progress=progress).eval()
        if not model.config.writes:
            raise ModelError(f"{path} is an encoder; compressing is for models that write text")
        tokenizer = load_tokenizer(path)
        questions = read_questions(
            source, tokenizer, context=min(LONGEST, model.config.context),
            most=config.questions, seed=config.seed, progress=progress,
        )  # fmt: skip
        before = nats(model, questions.right, progress=progress)
        other = nats(model, questions.other, progress=progress)
        if not is_above_chance(before, other):
            raise DataError(
                f"{source}: the model finds right answers no likelier behind their own questions "
                "than behind others: there is nothing to lose by compressing it; train or tune it "
                "first"
            )
        texts = [tokenizer.decode(ids.tolist()) for ids in questions.texts()[:BENCH_TEXTS]]
        speed, remark = None, ""
        if config.measure_speed:
            with progress.task("measuring the model"):
                speed, remark = speed_of(path, "f32", texts, config)
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        full = Candidate(
            "model", size, 8 * size / model.config.parameters, None, speed, remark
        )  # fmt: skip
        rows = _calibration(model, questions, path, config, progress)
        importance: Importance = {}
        if config.calibration_tokens:
            total = sum(row.numel() for row in rows)
            importance = measure_importance(model, rows, total=total, progress=progress)
        return cls(
            path, model, work, questions, before, texts, importance, rows, full, config, progress
        )

    def measured(self) -> Iterator[Candidate]:
        """The candidates, largest first."""
        options = options_of(self.model, self.importance, progress=self.progress)
        if not options:
            raise ModelError(f"{self.path}: none of its matrices has rows that divide into blocks")
        costs = sensitivities(
            self.model, self.path, options, self.rows, self.work,
            importance=self.importance, progress=self.progress,
        )  # fmt: skip
        options = weighted(options, costs)
        ways = list(plans(self.model, options))
        smallest = min(ways, key=lambda way: way.bytes)
        if self.config.most_bytes and smallest.bytes > self.config.most_bytes:  # said at once
            raise ConfigError(
                f"no candidate has at most {self.config.size}; the smallest, {smallest.name}, has "
                f"more than {human_bytes(smallest.bytes)}"
            )
        with self.progress.task("candidates", total=len(ways), unit="files") as task:
            for plan in ways:
                task.update(note=plan.name)
                yield measure(
                    plan, self.path, self.model, self.work,
                    questions=self.questions, before=self.before, texts=self.texts,
                    importance=self.importance, rows=self.rows, config=self.config,
                    progress=SILENT,
                )  # fmt: skip
                task.advance()

    def file_of(self, name: str) -> Path:
        """The file of a candidate."""
        return self.work / f"{name.replace(' ', '-')}.gguf"


def _calibration(
    model: Transformer, questions: Questions, path: Path, config: CompressConfig, progress: Progress
) -> list[Tensor]:
    """Text of the owner's as tokens ``(1, T)``."""
    wanted = config.calibration_tokens or MOST_TOKENS
    if config.calibration:
        own = ExamplesConfig(context=min(512, model.config.context))
        text = general_text(
            Path(config.calibration), load_tokenizer(path), own,
            replay_tokens=wanted, held_out_tokens=0, progress=progress,
        )  # fmt: skip
        texts = [example.tokens for example in text.replay]
    else:
        texts = questions.texts()
    chosen, total = [], 0
    for tokens in texts:
        if total >= wanted:
            break
        chosen.append(torch.from_numpy(tokens.astype(np.int64))[None])
        total += len(tokens)
    return chosen


def choose(candidates: Sequence[Candidate], config: CompressConfig) -> Choice:
    """The candidate that does what was asked for. Raises ConfigError where none does."""
    share = f"{config.kept:.2%}".replace(".00%", "%")
    if config.most_bytes:
        fitting = [each for each in candidates if each.bytes <= config.most_bytes]
        if not fitting:
            least = min(candidates, key=lambda each: each.bytes)
            raise ConfigError(
                f"no candidate has at most {config.size}; the smallest, {least.name}, has "
                f"{human_bytes(least.bytes)}"
            )
        best = max(fitting, key=lambda each: each.loss.kept if each.loss else 0.0)
        assert best.loss is not None
        return Choice(
            best.name,
            f"of {len(fitting)} that have at most {config.size} it keeps most: "
            f"{best.loss.kept:.2%} ({best.loss.low:.2%} to {best.loss.high:.2%})",
        )
    # Tested in an order that comes from the calibration text, up to the first that may lose more:
    # where that is not the questions' own, none of those that are accepted does, with the
    # confidence that each is tested with (a fixed sequence).
    ordered = sorted(candidates, key=lambda each: (each.expected, -each.bytes))
    keeping = list(takewhile(lambda c: c.loss and c.loss.verdict == "keeps", ordered))
    if not keeping:
        nearest = max(candidates, key=lambda each: each.loss.low if each.loss else 0.0)
        assert nearest.loss is not None
        needed = nearest.loss.needed
        more = f"; about {needed:,} questions would tell" if needed else ""
        raise ConfigError(
            f"no candidate surely keeps {share} of the likelihood of right answers; the nearest, "
            f"{nearest.name}, keeps {nearest.loss.kept:.2%}, but it may be {nearest.loss.low:.2%}"
            f"{more}; ask for less with --keep, or give more questions"
        )
    if config.speed:
        timed = [each for each in keeping if each.speed is not None]
        if not timed:
            raise ConfigError(f"no speed could be measured: {keeping[0].remark}")
        best = max(timed, key=lambda each: each.speed.one if each.speed else 0.0)
        why = f"the fastest of {len(timed)} that keep {share}"
    else:
        best = min(keeping, key=lambda each: (each.bytes, -(each.loss.kept if each.loss else 0)))
        why = f"the smallest of {len(keeping)} that surely keep {share}"
    assert best.loss is not None
    return Choice(best.name, f"{why}: {best.loss.kept:.2%}, at least {best.loss.low:.2%}")


def write_report(
    directory: Path,
    model: str,
    full: Candidate,
    candidates: Sequence[Candidate],
    choice: Choice,
    config: CompressConfig,
    questions: int,
) -> None:
    """Write figures, page and plot."""
    rows = [full, *candidates]
    write_json(
        directory / RESULTS,
        {
            "version": __version__,
            "settings": to_mapping(config),
            "questions": questions,
            "choice": asdict(choice),
            "candidates": [asdict(each) for each in rows],
        },
    )
    figure = draw(rows, choice, config)
    write_figure(figure, directory, "candidates")
    template = page.environment("linnet.compress").get_template("report.html.jinja")
    text = template.render(
        model=model, full=full, candidates=list(candidates), choice=choice, config=config,
        chosen=next(each for each in candidates if each.name == choice.name),
        front=[each.name for each in pareto(candidates)], questions=questions,
        human_bytes=human_bytes, plot=Markup(svg(figure)),
        version=__version__,
    )  # fmt: skip
    write_text(directory / PAGE, text)


def draw(rows: Sequence[Candidate], choice: Choice, config: CompressConfig) -> Any:
    """Quality against size, with intervals; what nothing is smaller and better than is joined."""
    figure = blank_figure(height=4.6)
    axes = figure.subplots()
    shown = [each for each in rows if each.loss is not None]
    sizes = [each.bytes / 1e6 for each in shown]
    kept = [100 * each.loss.kept for each in shown if each.loss]
    spans = [
        [100 * (each.loss.kept - each.loss.low) for each in shown if each.loss],
        [100 * (each.loss.high - each.loss.kept) for each in shown if each.loss],
    ]
    axes.errorbar(sizes, kept, yerr=spans, fmt="o", color=TRAINING, ecolor=TRAINING, elinewidth=1,
                  markersize=4)  # fmt: skip
    front = pareto(shown)
    axes.plot(
        [each.bytes / 1e6 for each in front],
        [100 * each.loss.kept for each in front if each.loss],
        color=TRAINING, linewidth=1, alpha=0.5,
    )  # fmt: skip
    for each, x, y in zip(shown, sizes, kept, strict=True):
        is_chosen = each.name == choice.name
        axes.annotate(
            each.name, (x, y), textcoords="offset points", xytext=(5, -9), fontsize=8,
            color=VALIDATION if is_chosen else INK, fontweight="bold" if is_chosen else "normal",
        )  # fmt: skip
    axes.axhline(100 * config.kept, color=VALIDATION, linewidth=1, linestyle="--")
    style_axes(axes, "likelihood of right answers that is kept, % for each token")
    axes.set_xlabel("size of the file, MB", color=INK)
    return figure


def pareto(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that none is smaller and better than; smallest first."""
    front: list[Candidate] = []
    for each in sorted(candidates, key=lambda c: (c.bytes, -(c.loss.kept if c.loss else 0))):
        kept = each.loss.kept if each.loss else 0.0
        if not front or kept > (front[-1].loss.kept if front[-1].loss else 0.0):
            front.append(each)
    return front


def read_results(directory: Path) -> dict[str, Any]:
    """What :func:`compress` wrote. Raises DataError."""
    try:
        found: dict[str, Any] = json.loads((directory / RESULTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{directory}: expected results of linnet compress ({error})") from None
    return found

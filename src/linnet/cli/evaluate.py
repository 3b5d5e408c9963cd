"""``linnet evaluate``: score a model on held-out text, and put it to tasks."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.artifact import within
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import ConfigError, ModelError, typed
from linnet.evaluate import EvaluateConfig, TasksConfig, evaluate, evaluate_tasks
from linnet.evaluate.answering import evaluate_answers
from linnet.evaluate.harness import HarnessConfig, evaluate_harness
from linnet.evaluate.metrics import METRICS
from linnet.evaluate.tasks import TASKS
from linnet.evaluate.tasks.baselines import BASELINE_NAMES

if TYPE_CHECKING:
    from linnet.evaluate import Evaluation

SHOWN_FAILURES = 10

app = typer.Typer(rich_markup_mode=None, add_completion=False)


TaskNames = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|NAME=PLACE|FILE.yaml",
        help="Only this task; several times. PLACE: the file or directory of questions that it "
        f"reads. FILE.yaml: a task of your own. There are: {', '.join(TASKS)}.",
        show_default=False,
    ),
]
Answers = Annotated[
    bool,
    typer.Option(
        "--answers",
        help="Score the answers of an index to questions: examples, or JSONL rows that say where "
        "the answer stands.",
    ),
]
HarnessNames = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE.yaml",
        help="A task of lm-evaluation-harness (pip install 'linnet[harness]'); several times.",
        show_default=False,
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE_OR_SHARDS",
        help="Held-out text: a file, a folder of .txt and .md files, or encoded shards "
        "(those of a project, if left out). With --answers: questions.",
    ),
]


@app.command()
@configured(TasksConfig)
def run(
    model: Annotated[
        Path, typer.Argument(help="A model directory, or a project; an index with --answers.")
    ],
    data: HeldOut = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Training text for the baselines [default: the model's own corpus]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the result in this directory.")] = None,
    answers: Answers = False,
    task: TaskNames = None,
    harness: HarnessNames = None,
    harness_tasks: Annotated[
        Path | None, typer.Option(help="A folder of more task files for --harness.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let --harness fetch its data from the hub.")
    ] = False,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run the Python that task files for --harness name."),
    ] = False,
    writer: Annotated[
        Path | None,
        typer.Option("--model", help="The model that writes the answers, with --answers."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Score a model on held-out text, beside simple baselines.

    Bits per byte compare any two models on the same text: fewer is better.

    Example: linnet evaluate notes-model
    """
    config = replace(TasksConfig(), settings)
    if data is None and within(model, "shards") != model:
        data = model
    if not harness and (harness_tasks is not None or download or allow_code):
        raise ConfigError("--harness-tasks, --download and --allow-code are for --harness")
    if task and harness:
        raise ConfigError("--task and --harness are two runs; linnet compare takes both")
    if writer is not None and not answers:
        raise ConfigError("--model is for --answers")
    if answers and (task or harness or corpus is not None):
        raise ConfigError("--answers is for an index; leave out --task, --harness, --corpus")
    if not (answers or harness or task):
        _score_text(model, data, out, config, settings, corpus, as_json)
        return
    progress = terminal_progress()
    if answers:
        if data is None:
            place = typed(str(model))
            raise ConfigError(f"name the questions: linnet evaluate --answers {place} FILE.jsonl")
        found = evaluate_answers(model, data, out, config, model=writer, progress=progress)
    elif harness:
        own = HarnessConfig(settings.get("shots"), download, allow_code)
        found = evaluate_harness(
            model, harness, out, config, own, include=harness_tasks, progress=progress
        )
    else:
        names = task or []
        found = evaluate_tasks(model, data, names, out, config, corpus=corpus, progress=progress)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    _show_tasks(found)
    if out is not None:
        terminal.print(f"report: {out / 'report.html'}", markup=False)


def _score_text(
    model: Path,
    data: Path | None,
    out: Path | None,
    config: TasksConfig,
    settings: dict[str, Any],
    corpus: Path | None,
    as_json: bool,
) -> None:
    """Without tasks. Raises where there is no text, or what is given is for tasks."""
    if data is None:
        if not Path(model).exists():
            raise ModelError(f"{model}: expected a project directory, but it does not exist")
        raise ConfigError(
            f"name the text to score {model} on: only a project has shards of its own"
        )
    given = [field.name for field in fields(EvaluateConfig)]
    for name in settings:
        if name not in given:
            raise ConfigError(f"--{name.replace('_', '-')} is for tasks: name one with --task")
    own = EvaluateConfig(**{name: getattr(config, name) for name in given})
    result = evaluate(model, data, out, own, corpus=corpus, progress=terminal_progress())
    if as_json:
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        _show(result)


def _show_tasks(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("task", "figure", "", "interval", "items", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for name, result in found["tasks"].items():
        for metric, figure in result["figures"].items():
            interval = ""
            if "low" in figure:
                interval = f"{_figure(metric, figure['low'])} to {_figure(metric, figure['high'])}"
            value = _figure(metric, figure["value"])
            table.add_row(name, metric, value, interval, str(figure["items"]))
        for item, scores in ({} if result["figures"] else result["scores"]).items():
            for score, value in scores.items():
                table.add_row(name, f"{item} {score}", f"{value:.3f}", "", "")
    data = f" on {found['data']}" if found["data"] is not None else ""
    terminal.print(f"{found['model']}{data}", markup=False)
    terminal.print(table)
    for name, result in found["tasks"].items():
        for metric, reason in result.get("undefined", {}).items():
            terminal.print(f"{name} has no {metric}: {reason}", markup=False)
        for part, reason in result.get("left_out", {}).items():
            terminal.print(f"{name} leaves out {part}: {reason}", markup=False)
        if result.get("cut"):
            terminal.print(
                f"{name}: {result['cut']} prompts are longer than the context; their beginning was "
                "left out",
                markup=False,
            )
        failed = list(result["failed"].items())
        for item, error in failed[:SHOWN_FAILURES]:
            terminal.print(f"{name} {item} failed: {error}", markup=False)
        if len(failed) > SHOWN_FAILURES:
            terminal.print(f"{name}: {len(failed) - SHOWN_FAILURES} more failed", markup=False)


def _figure(metric: str, value: float) -> str:
    return f"{value:.1%}" if metric in METRICS and METRICS[metric].share else f"{value:.3f}"


def _show(result: Evaluation) -> None:
    from rich.table import Table

    scored = f"{result.documents:,} documents, {result.bytes:,} bytes, {result.tokens:,} tokens"
    if result.bytes < result.of_bytes:
        scored += (
            f" (an even sample of {result.of_documents:,} documents, {result.of_bytes:,} bytes)"
        )
    split = f", {result.split} split" if result.split else ""
    terminal.print(f"{result.model} on {result.data}{split}: {scored}", markup=False)
    table = Table("", "bits per byte", box=None, pad_edge=False, show_header=True)
    table.columns[1].justify = "right"
    rows = [(result.model, result.bits_per_byte)]
    if result.baselines is not None:
        named = result.baselines.bits_per_byte.items()
        rows += [(BASELINE_NAMES.get(name, name), score) for name, score in named]
    for name, score in sorted(rows, key=lambda row: row[1]):
        table.add_row(name, f"{score:.3f}", style="bold" if name == result.model else None)
    terminal.print(table)
    if result.confidence_interval is not None:
        interval = result.confidence_interval
        terminal.print(
            f"{interval.level:.0%} interval {interval.low:.3f} to {interval.high:.3f}, "
            "by resampling documents"
        )
    terminal.print(f"perplexity {result.perplexity:.2f} per token")
    _show_samples(result)


def _show_samples(result: Evaluation) -> None:
    for sample in result.samples:
        terminal.print()
        terminal.print(sample.prompt, style="bold", markup=False, end="")
        terminal.print(sample.text, markup=False)
        if sample.overlap is not None and sample.real_overlap is not None:
            terminal.print(
                f"longest passage also in the training text: {sample.overlap.characters} "
                f"characters (of the real continuation: {sample.real_overlap.characters})",
                style="dim",
            )

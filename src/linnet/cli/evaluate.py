"""``linnet evaluate``: score a model on held-out text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.artifact import within
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import ConfigError, ModelError
from linnet.evaluate import EvaluateConfig, evaluate
from linnet.evaluate.evaluation import evaluate_tasks
from linnet.evaluate.tasks import TASKS
from linnet.evaluate.tasks.baselines import BASELINE_NAMES

if TYPE_CHECKING:
    from linnet.evaluate import Evaluation

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(EvaluateConfig)
def run(
    model: Annotated[Path, typer.Argument(help="A model directory, or a project.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE_OR_SHARDS",
            help="Held-out text: a file, a folder of .txt and .md files, or encoded shards "
            "(those of a project, if left out).",
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Training text for the baselines [default: the model's own corpus]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the result in this directory.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only this task; several times. There are: {', '.join(TASKS)}.",
            show_default=False,
        ),
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
    config = replace(EvaluateConfig(), settings)
    if data is None:
        if not Path(model).exists():
            raise ModelError(f"{model}: expected a project directory, but it does not exist")
        if within(model, "shards") == model:
            raise ConfigError(
                f"name the text to score {model} on: only a project has shards of its own"
            )
        data = model
    if task:
        found = evaluate_tasks(
            model, data, task, out, config, corpus=corpus, progress=terminal_progress()
        )
        _show_tasks(found) if not as_json else typer.echo(json.dumps(found, ensure_ascii=False))
        return
    result = evaluate(model, data, out, config, corpus=corpus, progress=terminal_progress())
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
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}" if "low" in figure else ""
            table.add_row(name, metric, f"{figure['value']:.3f}", interval, str(figure["items"]))
        for item, scores in ({} if result["figures"] else result["scores"]).items():
            for score, value in scores.items():
                table.add_row(name, f"{item} {score}", f"{value:.3f}", "", "")
    terminal.print(f"{found['model']} on {found['data']}", markup=False)
    terminal.print(table)
    for name, result in found["tasks"].items():
        for item, error in result["failed"].items():
            terminal.print(f"{name} {item} failed: {error}", markup=False)


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

"""``linnet reranker``: train what puts the passages of an index in order, and say how well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet import artifact
from linnet.answers.reranking import ensure_reranker
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import ArtifactError, typed
from linnet.retrieval.reranker import KIND
from linnet.retrieval.reranker_training import RerankerConfig

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("train")
@configured(RerankerConfig)
def train_command(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Questions of which it is known what answers them: made examples, or JSON Lines "
            "of people's; may be repeated. Those of the index, if not given."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The encoder to start from; the best at hand, if not given."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a model that reads a question with each passage, and puts the likeliest first.

    It is kept where it does better than the search on questions that it was not trained on.

    Example: linnet reranker train notes-index
    """
    config = replace(RerankerConfig(), settings)
    made = ensure_reranker(
        index, questions=questions or (), encoder=encoder, config=config,
        progress=terminal_progress(),
    )  # fmt: skip
    _show(made.stats, as_json)


@app.command("report")
def report_command(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
) -> None:
    """Say how well the re-ranker of an index does on questions that it was not trained on.

    Example: linnet reranker report notes-index
    """
    place = artifact.within(index, KIND)
    if index.is_dir() and not artifact.is_artifact(place):
        raise ArtifactError(
            f"{index}: expected a {KIND} directory, but none was trained there; "
            f"run linnet {KIND} train {typed(str(index))}"
        )
    _show(artifact.read(place, kind=KIND).stats, as_json)


def _show(stats: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(stats, ensure_ascii=False))
        return
    terminal.print(
        f"trained on {stats['trained']:,} questions; on {stats['before']['questions']:,} others:",
        markup=False,
    )
    for name in ("recall@1", "recall@5", "mrr"):
        before, after = stats["before"][name], stats["after"][name]
        terminal.print(
            f"  {name:<9} {before['value']:.3f} before, {after['value']:.3f} after "
            f"({after['low']:.3f} to {after['high']:.3f})",
            markup=False,
        )
    terminal.print(f"  calibration error {stats['ece']['with_rank']:.3f}", markup=False)
    kept = "is used" if stats["kept"] else "is not better than the search, and was not kept"
    terminal.print(f"the re-ranker {kept}", markup=False)

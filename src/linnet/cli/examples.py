"""``linnet examples``: questions, instructions and refusals made out of documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from linnet.cli.examples_export import export
from linnet.cli.examples_review import review
from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import replace
from linnet.errors import typed
from linnet.examples import EXAMPLES_FILE, REJECTED_FILE, ExamplesConfig, make_examples

if TYPE_CHECKING:
    from linnet.artifact import Artifact

_MAKE = "make"
_SHOWN_REASONS = 3


class _MakeByDefault(TyperGroup):
    """``linnet examples CORPUS`` is ``linnet examples make CORPUS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_MAKE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_MakeByDefault,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def examples() -> None:
    """Make questions, instructions and refusals out of documents, each checked against its source.

    'linnet examples CORPUS --out DIR' makes them; 'linnet examples make --help' lists the options.
    """


@app.command(_MAKE, cls=GroupedCommand)
@configured(ExamplesConfig)
def make(
    corpus: Annotated[
        Path, typer.Argument(help="A corpus, from 'linnet data prepare', or a project.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the examples.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Make examples out of a corpus; 'make' may be left out.

    Example: linnet examples make corpus --out questions
    """
    config = replace(ExamplesConfig(), settings)
    made = make_examples(corpus, out, config, progress=terminal_progress())
    if as_json:
        typer.echo(json.dumps(made.stats, ensure_ascii=False))
    else:
        _show(made)


def _show(made: Artifact) -> None:
    from rich.table import Table

    stats = made.stats
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("kind", "examples", "share"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind, count in stats["kinds"].items():
        table.add_row(kind, f"{count:,}", f"{count / stats['examples']:.0%}")
    terminal.print(table)
    splits = ", ".join(f"{name} {count:,}" for name, count in stats["splits"].items())
    rate = stats["per_kilobyte"]
    per = f", {rate:.2f} for each kB of prose" if rate is not None else ""
    terminal.print(f"{stats['examples']:,} examples ({splits}){per}", markup=False)
    if stats["rejected"]:
        terminal.print("rejected:", markup=False)
    for check, reasons in stats["rejected"].items():
        for reason, count in list(reasons.items())[:_SHOWN_REASONS]:
            terminal.print(f"  {count:>9,}  {check}: {reason}", markup=False)
    place = typed(str(made.path))
    terminal.print(f"examples: {made.path / EXAMPLES_FILE}", markup=False)
    terminal.print(f"rejected, with reasons: {made.path / REJECTED_FILE}", markup=False)
    terminal.print(f"report: {made.path / 'report.html'}", markup=False)
    terminal.print(f"look at one: {as_typed(f'head -1 {place}/{EXAMPLES_FILE}')}", markup=False)


app.command("review")(review)
app.command("export")(export)

"""``linnet bench``: how fast each engine writes here, and how good it stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.bench import BenchConfig, compare
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.output import human_bytes

if TYPE_CHECKING:
    from linnet.bench import Comparison
    from linnet.bench.comparison import Drafting

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(BenchConfig)
def run(
    model: Annotated[
        str, typer.Argument(help="A model, project or adapter directory, a hub name, a GGUF file.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Measure speed, memory and quality on every engine and in every number format.

    The fastest that stays as good is what 'linnet serve' and 'linnet chat' use from then on.

    Example: linnet bench notes-model
    """
    config = replace(BenchConfig(), settings)
    found = compare(model, config, progress=terminal_progress())
    if as_json:
        typer.echo(json.dumps(found.to_mapping(), ensure_ascii=False))
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from rich.table import Table

    titles = ("", "tokens/s", f"{found.streams} at once", "first token", "memory", "bits/byte", "")
    table = Table(*titles, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        name = row.engine if row.precision == "auto" else f"{row.engine} {row.precision}"
        if row.found is None:
            table.add_row(name, "-", "-", "-", "-", "-", "")
            continue
        rise = found.rise(row)
        table.add_row(
            name,
            f"{row.found.one:,.0f}",
            f"{row.found.many:,.0f}",
            f"{row.found.first_token_seconds * 1000:,.0f} ms",
            "?" if row.found.peak_bytes is None else human_bytes(row.found.peak_bytes),
            f"{row.found.bits_per_byte:.3f}",
            "" if rise is None else f"{rise:+.2%}",
            style="bold" if row is found.choice else None,
        )
    terminal.print(table)
    for row in found.rows:
        if row.found is None:
            terminal.print(f"{row.engine} {row.precision}: {row.remark}", markup=False)
    terminal.print(f"bits per byte of: {found.text}", markup=False)
    for way in found.drafting:
        name = _way(way)
        if way.found is None:
            terminal.print(f"{name}: {way.remark}", markup=False)
        else:
            terminal.print(
                f"{name}: {way.found.quoting:,.0f} tokens/s where it quotes, "
                f"{way.found.other:,.0f} elsewhere",
                markup=False,
            )
    if found.choice is not None:
        terminal.print(
            f"auto: {found.choice.engine} {found.choice.precision}, the fastest whose bits per "
            f"byte rise by no more than {found.bound:.1%}",
            markup=False,
        )
    if found.drafting_choice is not None:
        terminal.print(f"auto: {_way(found.drafting_choice)}", markup=False)


def _way(way: Drafting) -> str:
    """A way of drafting, in words."""
    parts = ["look-up"] * way.lookup + [f"the model {way.draft}"] * bool(way.draft)
    return f"drafts by {' and '.join(parts)}" if parts else "no drafts"

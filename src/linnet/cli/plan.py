"""``linnet plan``: what model suits these documents, this machine and this time."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import show_duration

if TYPE_CHECKING:
    from linnet.planner import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def plan(
    corpus: Annotated[Path, typer.Argument(help="A corpus, from linnet data prepare.")],
    budget: Annotated[str, typer.Option(help="Time for the rest of the build.")] = "5m",
    out: Annotated[Path | None, typer.Option(help="Keep the plan in this directory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose a model for the data, this machine and the time allowed, and say why.

    Example: linnet plan notes-model/corpus --budget 1h
    """
    from linnet.planner import plan as make_plan
    from linnet.planner import read_plan

    with tempfile.TemporaryDirectory() as scratch:
        place = out or Path(scratch) / "plan"
        make_plan(corpus, place, budget=budget, progress=terminal_progress())
        made = read_plan(place)
    if as_json:
        typer.echo(json.dumps(asdict(made)))
    else:
        show_plan(made)


def show_plan(made: Plan) -> None:
    """The plan in words and figures."""
    from linnet.planner import show_parameters

    shape = made.train
    terminal.print(
        f"{show_parameters(made.parameters)} parameters: width {shape['width']}, "
        f"depth {shape['depth']}, context {shape['context']}, vocabulary {made.vocab_size:,}",
        markup=False,
    )
    if made.expected_bits_per_byte is not None:
        terminal.print(
            f"expected: about {made.expected_bits_per_byte:.2f} bits per byte on held-out text",
            markup=False,
        )
    stages = ", ".join(f"{name} {show_duration(value)}" for name, value in made.seconds.items())
    terminal.print(f"time: {stages}", markup=False)
    for reason in made.reasons:
        terminal.print(f"- {reason}", markup=False)

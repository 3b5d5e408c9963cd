"""Models side by side, in the terminal: what came of it, and a person as their judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from linnet.cli.terminal import TextWriter
from linnet.cli.terminal import out as terminal
from linnet.errors import StoppedError
from linnet.evaluate import compare_page
from linnet.evaluate.compare_config import ABOUT

if TYPE_CHECKING:
    from linnet.evaluate.compare_results import ModelsComparison
    from linnet.evaluate.compare_return import Return
    from linnet.evaluate.judging import Better
    from linnet.evaluate.judging_people import Pairing


def decide(pair: Pairing, one: str, two: str) -> Better | None:
    """Show someone two answers, and ask which is better."""
    writer = TextWriter()
    asked = pair.asked
    parts = [("Question", asked.question)]
    if asked.expected:
        parts.append(("Expected", " | ".join(asked.expected)))
    for title, text in (*parts, ("Answer 1", one), ("Answer 2", two)):
        writer.write(f"\n{title}\n{text}\n")
    answers: dict[str, Better | None] = {"1": "first", "2": "second", "t": "tie", "s": None}
    while True:
        said = typer.prompt("better: 1, 2, t (tie), s (skip), q (quit)").strip().lower()
        if said == "q":
            raise StoppedError("stopped; your verdicts are kept, and the same command goes on")
        if said in answers:
            return answers[said]


def show_models(found: ModelsComparison) -> None:
    """Print what came of a comparison."""
    from rich.table import Table
    from rich.text import Text

    for line in compare_page.conclusions(found):
        terminal.print(line, markup=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for model in found.models:
        table.add_column(Text(model.name), justify="right", overflow="fold")
    columns = [list(compare_page.rows_of(model, found.currency)) for model in found.models]
    for rows in zip(*columns, strict=True):
        table.add_row(rows[0][0], *(Text(value) for _, value in rows))
    terminal.print(table)
    terminal.print(
        f"{found.questions:,} questions; quality is {ABOUT[found.measure]}", style="dim",
        markup=False,
    )  # fmt: skip
    _show_pairs(found)
    for each in found.returns:
        _show_return(each, found.currency)
    for text, count in found.left_out.items():
        terminal.print(f"left out: {count:,} ({text})", markup=False)
    for warning in found.warnings:
        terminal.print(warning, markup=False, style="yellow")
    for model in found.models:
        for name, reason in model.undefined.items():
            terminal.print(f"{model.name} has no {name}: {reason}", markup=False, style="dim")


def _show_pairs(found: ModelsComparison) -> None:
    for pair in found.pairs:
        if pair.wins is not None:
            terminal.print(
                f"by quality {pair.second} {compare_page.shown_wins(pair.wins)}", markup=False
            )
        if pair.judged is not None:
            terminal.print(
                f"by the judge {pair.second} {compare_page.shown_wins(pair.judged)}", markup=False
            )
        if pair.reliability is not None:
            for line in compare_page.of_judge(pair.reliability, found.settings["level"]):
                terminal.print(line, markup=False, style="dim")


def _show_return(found: Return, currency: str) -> None:
    from rich.table import Table

    terminal.print(f"{found.own} in the place of {found.replaced}", markup=False, style="bold")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    for term in found.terms:
        name = compare_page.TERMS[term.name][0]
        table.add_row(name, compare_page.shown_term(term.name, term, currency), term.formula)
    terminal.print(table)

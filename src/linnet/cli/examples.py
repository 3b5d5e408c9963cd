"""``linnet examples``: questions out of documents, reviewed by people, and given to others."""

from __future__ import annotations

import typer

from linnet.cli.examples_export import export
from linnet.cli.examples_review import review

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback()
def examples() -> None:
    """Questions, instructions and refusals out of documents."""


app.command("review")(review)
app.command("export")(export)

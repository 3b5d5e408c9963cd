"""``linnet quickstart``: a model from what every machine with Python has, and answers from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from linnet.cli.build import show_build
from linnet.cli.terminal import as_typed, err, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.errors import typed

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PROMPTS = ("The", "A list is", "def __init__(self", "import os\n")
QUESTIONS = ("What is a context manager?", "What does the assert statement do?")


@app.command()
def quickstart(
    budget: Annotated[str, typer.Option(help="Time for the whole build: 5m, 10m, 1h.")] = "5m",
    out: Annotated[Path, typer.Option(help="Directory of the project.")] = Path("quickstart"),
    prompt: Annotated[bool, typer.Option("--prompt/--no-prompt", help="End at a prompt.")] = True,
) -> None:
    """Build a model from Python's own documentation, then try it, and ask the documentation.

    The text is the documentation and library of the Python that runs this, so
    nothing is downloaded. The model continues what you type; questions are answered
    with citations from the same documents. Without a terminal it writes samples instead.

    Example: linnet quickstart --budget 10m
    """
    from linnet.data import PYTHON_LIBRARY
    from linnet.pipeline import build
    from linnet.respond import load

    err.print(
        f"Building a small language model from the documentation and library of this Python, "
        f"in about {budget}. Nothing is downloaded.",
        markup=False,
    )
    made = build([PYTHON_LIBRARY], out, budget=budget, progress=terminal_progress())
    show_build(made)
    engine = load(made.model)
    _show_answers(out / "assistant")
    if prompt and sys.stdin.isatty() and sys.stdout.isatty():
        from linnet.cli.chat import converse

        terminal.print("\nThe model continues what you type:", style="bold", markup=False)
        converse(engine.engine)
        return
    for seed, text in enumerate(PROMPTS):
        completion = engine.generate(
            text, max_tokens=60, temperature=0.7, repetition_penalty=1.1, seed=seed
        )
        terminal.print(f"\n[{text.strip()}] ->", markup=False, style="dim")
        terminal.print(text + completion.text, markup=False)


def _show_answers(place: Path) -> None:
    """Make the documentation searchable, and ask it something."""
    from linnet.answers import Assistant
    from linnet.answers.steps import index_words, read_documents
    from linnet.answers.workspace import Workspace
    from linnet.cli.ask import show_answer
    from linnet.data import PYTHON_LIBRARY

    work, progress = Workspace.of([PYTHON_LIBRARY], place), terminal_progress()
    for step in (read_documents, index_words):
        step(work, progress)
    assistant = Assistant.open(place)
    for question in QUESTIONS:
        terminal.print(f"\n{question}", style="bold", markup=False)
        show_answer(assistant.ask(question))
    page = as_typed(f"linnet assistant --out {typed(str(place))}")
    err.print(f"\nask more, on a page: {page}", markup=False)

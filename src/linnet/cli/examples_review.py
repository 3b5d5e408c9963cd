"""``linnet examples review``: people decide about examples, on a page or in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from linnet.cli.terminal import err
from linnet.cli.terminal import out as terminal
from linnet.errors import ConfigError, LinnetError
from linnet.examples.record import Example
from linnet.examples.review import Filter, Review, Sitting
from linnet.finetune.preview import BEGIN, END, visible

_KEYS = "a accept · m mend · r reject · s skip · u undo · q quit"
_STYLES = {"quote": "bold reverse", "passage": "bold", "": "dim"}


def review(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Examples, or a project that has some.")
    ],
    in_terminal: Annotated[
        bool, typer.Option("--terminal", help="Review here instead of on a page.")
    ] = False,
    kind: Annotated[str, typer.Option(help="Only examples of this kind.")] = "",
    generator: Annotated[str, typer.Option(help="Only those of this generator.")] = "",
    split: Annotated[str, typer.Option(help="Only those of this split.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the random order.")] = 0,
    reviewer: Annotated[str, typer.Option(help="A name to note with each decision.")] = "",
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus, where it is not where it was.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any that is free.")] = 0,
) -> None:
    """Accept, mend and reject examples by keyboard, with the precision so far and its interval.

    Decisions are kept in DIR.decisions.jsonl, and hold for the same examples made again.

    Example: linnet examples review questions
    """
    found = Review(directory, seed=seed, corpus=corpus)
    chosen = Filter(kind, generator, split)
    if not any(map(chosen.admits, found.examples.values())):
        there = "; ".join(f"{name}: {', '.join(some)}" for name, some in found.choices().items())
        raise ConfigError(f"expected examples to review. None is of that choice; there are {there}")
    if found.strayed:
        err.print(
            f"{found.strayed:,} earlier decisions are about examples that are not here; they are "
            "kept, and count again when the same examples are made again"
        )
    if in_terminal:
        _review_here(found, chosen, reviewer)
    else:
        _serve(found, reviewer, port)


def _serve(found: Review, reviewer: str, port: int) -> None:
    from linnet.serve.logs import log_to_stderr
    from linnet.serve.review import open_review
    from linnet.serve.server import require_server

    require_server()
    server, address = open_review(found, port=port, reviewer=reviewer)
    log_to_stderr("errors")
    err.print(f"Open {address} in a browser of this machine; Ctrl-C stops", markup=False)
    server.run()


def _review_here(found: Review, chosen: Filter, reviewer: str) -> None:
    sitting = found.sitting("terminal", reviewer)
    terminal.print(_KEYS)
    example = found.following(sitting, chosen)
    while True:
        _show_precision(found, chosen)
        if example is None:
            terminal.print("All decided. u takes the last decision back, q quits.")
        else:
            terminal.print(shown(found, example))
        key = _key()
        try:
            if key in ("q", ""):
                return
            if key == "u":
                example = found.undo(sitting) or example
            elif example is not None and _act(found, sitting, example, key):
                example = found.following(sitting, chosen)
        except LinnetError as error:
            terminal.print(Text(str(error), style="red"))


def _act(found: Review, sitting: Sitting, example: Example, key: str) -> bool:
    """Do what a key stands for; whether that was something."""
    match key:
        case "a":
            found.decide(sitting, example.id, "accepted")
        case "r":
            found.decide(sitting, example.id, "rejected")
        case "m":
            question = _edited("question", example.question)
            answer = _edited("answer", example.answer)
            quote = None if example.quote is None else _edited("quote", example.quote)
            found.decide(
                sitting, example.id, "mended", question=question, answer=answer, quote=quote
            )
        case "s":
            found.skip(sitting, example.id)
        case _:
            terminal.print(_KEYS)
            return False
    return True


def _show_precision(found: Review, chosen: Filter) -> None:
    so_far = found.precision(chosen)
    line = f"{so_far.decided:,} of {so_far.total:,} decided"
    if so_far.share is not None:
        low, high = so_far.interval
        line += f"; precision {so_far.share:.1%} ({low:.1%} to {high:.1%} at 95 %)"
    terminal.rule(line)


def shown(found: Review, example: Example) -> Text:
    """The example as the terminal shows it: what documents say is text, whatever is in it."""
    text = Text()
    tags = [example.kind, example.split, example.generator, example.language]
    text.append(" · ".join(filter(None, tags)) + "\n", style="dim")
    for turn in example.turns:
        text.append(f"{visible(turn.question)}\n  {visible(turn.answer)}\n", style="dim")
    text.append(visible(example.question) + "\n", style="bold")
    text.append(f"  {visible(example.answer)}\n\n")
    where = " › ".join(filter(None, (example.source, *example.headings)))
    if where:
        text.append(visible(where) + "\n", style="cyan")
    for segment in found.surroundings(example):
        words = visible(segment.text)
        marked = f"{BEGIN}{words}{END}" if segment.mark and not terminal.is_terminal else words
        text.append(marked, style=_STYLES[segment.mark])
    text.append("\n")
    return text


def _key() -> str:
    """The next key; at the end of what is piped in, none."""
    if not sys.stdin.isatty():
        while (line := sys.stdin.readline()).strip() == "" and line:
            pass
        return line.strip().lower()[:1]
    import click

    key = click.getchar()
    if key in ("\x03", "\x04"):
        return ""
    return key.lower()


def _edited(name: str, text: str) -> str:
    """What is typed instead of the text, which is there to be changed; nothing typed keeps it."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip() or text
    one_line = " ".join(text.split())
    try:
        import readline

        readline.set_startup_hook(lambda: readline.insert_text(one_line))
    except ImportError:
        terminal.print(f"{name}: {one_line}", markup=False)
    try:
        typed = input(f"{name}> ").strip()
    finally:
        if "readline" in sys.modules:
            sys.modules["readline"].set_startup_hook()
    return text if typed in ("", one_line) else typed

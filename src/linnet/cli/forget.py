"""``linnet forget``: a document out of everything that was made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linnet.cli.terminal import ask_for_consent, terminal_progress
from linnet.cli.terminal import out as terminal

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_SHOWN = 20


@app.command()
def forget(
    place: Annotated[Path, typer.Argument(metavar="DIR", help="A project, or a corpus.")],
    what: Annotated[
        str,
        typer.Argument(help="A path or the end of one, or a document's id; see linnet data list."),
    ],
    regex: Annotated[
        bool, typer.Option("--regex", help="WHAT is an expression found in texts and file names.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    privacy_key: Annotated[
        str, typer.Option(help="The key that the corpus was made with, if it was.")
    ] = "",
) -> None:
    """Remove a document from corpus, shards and reports; say which models saw it.

    It stays away wherever the file is moved to, and so do equal texts; what is
    similar is named. Your own files are not touched.

    Example: linnet forget notes-model letters/2019-03.txt
    """
    from linnet.forget import find_documents
    from linnet.forget import forget as forget_documents

    matches = find_documents(place, what, regex=regex)
    if matches:
        terminal.print(f"{len(matches):,} document(s):", markup=False)
    else:
        terminal.print("none; what was interrupted is to be finished:", markup=False)
    for match in matches[:_SHOWN]:
        where = f"in {match.split}" if match.split else "not trained on"
        where += ", the same text" if match.copy else ""
        terminal.print(f"  {match.name} ({where})", markup=False)
    if len(matches) > _SHOWN:
        terminal.print(f"  and {len(matches) - _SHOWN:,} more")
    if not yes:
        ask_for_consent("forget them?", "nothing was forgotten")
    done = forget_documents(
        place, what, regex=regex, privacy_key=privacy_key, progress=terminal_progress()
    )
    terminal.print(f"forgotten: {len(done.documents):,}")
    for name in done.promoted[:_SHOWN]:
        terminal.print(f"  {name} takes the place of one that it repeated", markup=False)
    for one in done.remaining[:_SHOWN]:
        where = f"in {one.split}" if one.split else "not kept now"
        terminal.print(
            f"  {one.name} ({where}) holds {one.share:.0%} of {one.of} and stays: "
            "forget it too if it is to go",
            markup=False,
        )
    if len(done.remaining) > _SHOWN:
        terminal.print(f"  and {len(done.remaining) - _SHOWN:,} more hold much of it")
    for path in done.saw:
        terminal.print(
            f"  {path} may have learned from it: weights are not unlearned, train it again",
            markup=False,
        )
    for path in done.traces:
        terminal.print(f"  a passage of it still stands in {path}", markup=False)

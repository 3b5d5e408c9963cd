"""``linnet push``: a model or an adapter to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.terminal import ask_for_consent, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.output import human_bytes

if TYPE_CHECKING:
    from linnet.hub import Upload

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def push(
    model: Annotated[Path, typer.Argument(help="A model directory or an adapter.")],
    repository: Annotated[str, typer.Argument(help="Where to: org/name. Made if there is none.")],
    private: Annotated[
        bool,
        typer.Option("--private/--public", help="Who may see a repository that is made new."),
    ] = True,
    revision: Annotated[str, typer.Option(help="Branch to upload to.")] = "main",
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
) -> None:
    """Upload a model or an adapter to the Hugging Face hub, after showing what would go.

    Only what the model consists of: no logs, no samples, no manifest, nothing that names a
    place on this machine.

    Example: linnet push medical-model me/medical-model
    """
    from linnet import hub

    upload = hub.plan_upload(model, repository, private=private, revision=revision)
    _show(upload)
    if not yes:
        ask_for_consent("Upload this?", "nothing was uploaded")
    address = hub.push(upload, progress=terminal_progress())
    terminal.print(f"uploaded: {address}", markup=False)


def _show(upload: Upload) -> None:
    who = "private, if it is made new" if upload.private else "PUBLIC, if it is made new"
    branch = f", branch {upload.revision}" if upload.revision != "main" else ""
    terminal.print(f"to {upload.repository}{branch} ({who}):", markup=False)
    for name, size in upload.files:
        terminal.print(f"  {name}  {human_bytes(size)}", markup=False)
    terminal.print(f"  together {human_bytes(upload.bytes)}", markup=False)
    if upload.left_out:
        terminal.print(f"stays here: {', '.join(upload.left_out)}", markup=False)

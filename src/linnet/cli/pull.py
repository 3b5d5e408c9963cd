"""``linnet pull``: a model from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(help="A repository: org/name, or org/name@revision to pin it.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Directory to copy it to. Without: only into the hub's own cache."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit. [default: main]")
    ] = None,
) -> None:
    """Download a model or an adapter from the Hugging Face hub.

    Only weights in safetensors, settings and vocabularies: no pickles and no code. Goes on
    where it was interrupted. HF_HUB_OFFLINE=1 uses what was downloaded before.

    Example: linnet pull HuggingFaceTB/SmolLM2-135M-Instruct --out smollm
    """
    from linnet import hub
    from linnet.errors import ModelError

    progress = terminal_progress()
    if out is not None:
        made = hub.pull(name, out, revision=revision, progress=progress)
        commit = made.stats["revision"]
        terminal.print(f"{made.path}: {made.stats['source']} at commit {commit}", markup=False)
        return
    found = hub.find(name, revision=revision, progress=progress)
    if found.pin is None:
        raise ModelError(f"{name}: expected a name on the hub, such as org/name or hf:name")
    terminal.print(f"{found.pin}: in {found.path}", markup=False)

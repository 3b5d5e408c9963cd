"""``linnet keys``: who may use a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import as_typed, err, out
from linnet.config import replace
from linnet.serve.keys import KeyLimits, add_key, default_file, read_keys, revoke_key

app = typer.Typer(
    help="Make, list and revoke the API keys of linnet serve.",
    rich_markup_mode=None,
    add_completion=False,
)

File = Annotated[Path | None, typer.Option("--keys", help="The file; otherwise the user's own.")]


@app.command()
@configured(KeyLimits)
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is, to know it by.")],
    file: File = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Make a key and show it, this once.

    Example: linnet keys add laptop --requests-per-minute 60 --collections manuals,prices
    """
    place = file or default_file()
    key = add_key(place, name, replace(KeyLimits(), settings))
    err.print(f"{place}: the key of '{name}'; only its hash is kept, so note it now:", markup=False)
    typer.echo(key)


@app.command("list")
def list_keys(file: File = None) -> None:
    """List the keys: names, dates and limits.

    Example: linnet keys list
    """
    place = file or default_file()
    keys = read_keys(place)
    if not keys:
        err.print(as_typed(f"no keys in {place}: linnet keys add NAME makes one"), markup=False)
    for key in keys:
        limits = [
            f"{getattr(key.limits, name)} {words}"
            for name, words in (
                ("requests_per_minute", "requests a minute"),
                ("tokens_per_minute", "tokens a minute"),
                ("concurrent", "at a time"),
            )
            if getattr(key.limits, name)
        ]
        if key.limits.collections:
            limits.append(f"sees {', '.join(key.limits.collections)}")
        if key.limits.documents:
            limits.append("lists and changes documents")
        if key.limits.monitoring:
            limits.append("sees the figures of all answers")
        if key.limits.private_data != "auto":
            limits.append(f"private data: {key.limits.private_data}")
        out.print("  ".join([key.name, key.made, *limits]), markup=False)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    file: File = None,
) -> None:
    """Make a key worthless; a server that runs notices it within a second.

    Example: linnet keys revoke laptop
    """
    place = file or default_file()
    revoke_key(place, name)
    err.print(f"{place}: '{name}' is revoked", markup=False)

"""``linnet cache``: the files that Linnet keeps outside the user's directories."""

from __future__ import annotations

from typing import Annotated

import typer

from linnet.cli.terminal import as_typed
from linnet.cli.terminal import out as terminal

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all of them; they are made again when needed.")
    ] = False,
) -> None:
    """Show how much is kept to start models faster, and where; or remove it.

    llama.cpp reads GGUF files; one made from a model directory is kept for the next time.

    Example: linnet cache --clear
    """
    from linnet.generate.llama_cpp.cache import cache_directory, clear_cache, kept_files
    from linnet.output import human_bytes

    if clear:
        count, size = clear_cache()
        terminal.print(f"removed {count:,} files, {human_bytes(size)}", markup=False)
    left = kept_files()
    total = human_bytes(sum(file.stat().st_size for file in left))
    hint = as_typed("; 'linnet cache --clear' removes them") if left and not clear else ""
    terminal.print(f"{cache_directory()}: {len(left):,} files, {total}{hint}", markup=False)

"""``linnet data encode``: a corpus in, tokens out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.shards import EncodeConfig
from linnet.shards import encode as encode_corpus

if TYPE_CHECKING:
    from linnet.artifact import Artifact


@configured(EncodeConfig)
def encode(
    corpus: Annotated[Path, typer.Argument(help="A corpus, from 'linnet data prepare'.")],
    tokenizer: Annotated[Path, typer.Argument(help="A directory with a tokenizer.")],
    out: Annotated[Path, typer.Option(help="Directory for the shards.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Encode every document of a corpus as tokens, ready to train on.

    Example: linnet data encode corpus tokenizer --out shards
    """
    config = replace(EncodeConfig(), settings)
    _show(encode_corpus(corpus, tokenizer, out, config, progress=terminal_progress()))


def _show(shards: Artifact) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("split", "documents", "tokens", "bytes per token"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, counts in shards.stats["splits"].items():
        table.add_row(
            split,
            f"{counts['documents']:,}",
            f"{counts['tokens']:,}",
            f"{counts['bytes_per_token']:.2f}" if counts["tokens"] else "",
        )
    terminal.print(table)

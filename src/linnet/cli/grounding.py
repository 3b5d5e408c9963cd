"""``linnet grounding``: check claims against passages, and train what checks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import DataError
from linnet.grounding import Checker, CheckerConfig, check, claims, train_checker

LARGEST_PASSAGE = 64 << 20

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("train")
@configured(CheckerConfig)
def train_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS|FILE|FOLDER",
            help="Documents: a corpus, text, or JSONL rows with text, passage or answer.",
        ),
    ],
    encoder: Annotated[
        str, typer.Option(help="The encoder to start from: a directory, or its name on the hub.")
    ],
    out: Annotated[Path, typer.Option(help="Write the checker into this directory.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Train an encoder to tell claims that a passage supports from others.

    Claims are made of the documents' sentences; a fifth of the documents is kept back to measure.

    Example: linnet grounding train corpus --encoder all-MiniLM-L6-v2 --out checker
    """
    config = replace(CheckerConfig(), settings)
    made = train_checker(source, encoder, out, config, progress=terminal_progress())
    stats = made.manifest.stats
    held_out = stats["held_out"]
    terminal.print(
        f"{out}: trained on {stats['pairs']:,} claims; on claims of "
        f"{held_out['documents']:,} other documents",
        markup=False,
    )
    for name in ("precision", "recall"):
        figure = held_out[name]
        terminal.print(
            f"  {name} {figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%}, "
            f"{figure['pairs']:,} claims)",
            markup=False,
        )


@app.command("check")
def check_command(
    text: Annotated[str, typer.Argument(help="What is claimed.")],
    passages: Annotated[list[Path], typer.Argument(help="Files of text that it is to rest on.")],
    checker: Annotated[
        Path | None, typer.Option(help="A checker, for what the rules leave open.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each claim.")
    ] = False,
) -> None:
    """Say of each claim of a text whether files support it, and what they lack.

    Example: linnet grounding check "It was approved in 2024." report.txt
    """
    read = [_read(path) for path in passages]
    own = claims(text)
    if not own:
        raise DataError(f"expected a sentence that claims something. Got {text[:60]!r}")
    verdicts = [check(claim, read) for claim in own] if checker is None else (
        Checker.open(checker).check(own, read))  # fmt: skip
    for claim, verdict in zip(own, verdicts, strict=True):
        missing = [
            {"kind": each.kind, "text": each.text, "found": each.found} for each in verdict.missing
        ]
        if as_json:
            values = {"claim": claim.text, "status": verdict.status, "rule": verdict.rule,
                      "score": verdict.score, "missing": missing}  # fmt: skip
            typer.echo(json.dumps(values, ensure_ascii=False))
            continue
        why = f" ({verdict.rule})" if verdict.rule else ""
        lacks = "".join(f"; {each['kind']}: {each['text']}" for each in missing)
        terminal.print(f"{verdict.status}{why}{lacks} · {claim.text}", markup=False)


def _read(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"{path}: expected a file of text, but there is none")
    if path.stat().st_size > LARGEST_PASSAGE:
        raise DataError(f"{path} is larger than {LARGEST_PASSAGE >> 20} MB")
    from linnet.data.decoding import decode

    text = decode(path.read_bytes())
    if not text.strip():
        raise DataError(f"{path}: expected a file of text, but it is empty")
    return text

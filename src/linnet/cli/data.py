"""``linnet data``: documents in, a corpus out; a corpus in, tokens out."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from linnet.cli.encode import encode
from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import replace
from linnet.data import DataConfig, list_documents, locate, stored_texts
from linnet.data import explain as explain_document
from linnet.data import prepare as prepare_corpus
from linnet.data.kinds import KINDS, REFUSED
from linnet.data.report import grouped
from linnet.errors import ConfigError, typed
from linnet.output import human_bytes

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.data.inspection import FileStory, Listed, Story
    from linnet.data.locating import Location, StoredText

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_SHOWN_REASONS, _SHOWN_BLOCKS, _SHOWN_CHARACTERS = 12, 12, 80
_UNKNOWN = "not known: read by an older version; known once documents change and are prepared again"


@app.callback()
def data() -> None:
    """Prepare documents, see what became of them, encode them as tokens."""


@app.command("prepare", cls=GroupedCommand)
@configured(DataConfig)
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, archives, patterns, web addresses, hf:DATASET; "
            "python:library is Python's own documentation and source.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the corpus.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Read documents, clean and judge them, drop repeats, divide them into splits.

    Example: linnet data prepare ~/notes python:library --out corpus
    """
    config = replace(DataConfig(), settings)
    _show(prepare_corpus(sources, out, config, progress=terminal_progress()))


app.command("encode")(encode)


@app.command("explain")
def explain(
    corpus: Annotated[Path, typer.Argument(help="A corpus, from 'linnet data prepare'.")],
    document: Annotated[
        str, typer.Argument(help="A file's name or the end of it, or the start of a document's id.")
    ],
    at: Annotated[
        str,
        typer.Option(
            metavar="START:END",
            help="Where these characters of the document's text stand in its file.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what happened to a document, and why; or where a stretch of its text stands.

    Example: linnet data explain corpus handbook.pdf --at 1200:1350
    """
    if at:
        _tell_places(locate(corpus, document, *_stretch(at)), as_json=as_json)
        return
    found = explain_document(corpus, document)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(file) for file in found], ensure_ascii=False))
        return
    for file in found:
        _tell_file(file)
    if len(stories := [story for file in found for story in file.documents]) == 1:
        _tell_outline(stored_texts(corpus, stories[0].id)[0])


@app.command("list")
def list_all(
    corpus: Annotated[Path, typer.Argument(help="A corpus, from 'linnet data prepare'.")],
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Only what was dropped or not read, and why.")
    ] = False,
    split: Annotated[
        str, typer.Option(help="Only what is in this split: train, validation or test.")
    ] = "",
    kind: Annotated[str, typer.Option(help="Only files of this kind, such as pdf.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object on each line.")
    ] = False,
) -> None:
    """List every document with its split, and what was dropped or not read with the reason.

    Example: linnet data list corpus --dropped
    """
    found = list_documents(corpus, dropped=dropped, split=split, kind=kind)
    lines = map(_as_json if as_json else _listed, found)
    if sys.stdout.isatty():
        os.environ.setdefault("LESS", "-FRX")  # what fits the screen is simply printed
        click.echo_via_pager(f"{line}\n" for line in lines)
    else:
        for line in lines:
            typer.echo(line)


def _as_json(one: Listed) -> str:
    return json.dumps(dataclasses.asdict(one), ensure_ascii=False)


def _listed(one: Listed) -> str:
    of = f" of {one.same_as}" if one.same_as else ""
    more = f" and {one.count - 1:,} more like it" if one.count > 1 else ""
    reason = f"  ({one.reason}{of})" if one.reason else ""
    return f"{one.verdict:<10}  {one.name}{more}{reason}"


@app.command("kinds")
def kinds() -> None:
    """List the kinds of files that are read.

    Example: linnet data kinds
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("kind", "read as", "file names end in"):
        table.add_column(heading, overflow="fold")
    for kind in KINDS.values():
        endings = kind.suffixes or kind.names
        if endings and kind.programs:
            endings += f" (needs {' or '.join(kind.needs)})"
        if endings:
            table.add_row(kind.name, kind.family, endings)
    terminal.print(table)
    terminal.print(f"not read: {' '.join(sorted(REFUSED))}", markup=False, style="dim")


def _show(corpus: Artifact) -> None:
    from rich.table import Table

    stats = corpus.stats
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("split", "documents", "text"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, count in stats["documents"].items():
        table.add_row(split, f"{count:,}", human_bytes(stats["bytes"][split]))
    terminal.print(table)
    terminal.print(
        f"files read: {stats['files']['read']:,}, skipped: {stats['files']['skipped']:,}"
    )
    for title, reasons in (
        ("skipped files", grouped(stats["skipped"])),
        ("dropped documents", grouped(stats["dropped"])),
        ("personal data and secrets found", stats["private"]),
    ):
        _show_reasons(title, reasons)
    place = typed(str(corpus.path))
    terminal.print(f"report: {corpus.path / 'report.html'}", markup=False)
    for what, command in (
        ("every file and reason", f"linnet data list {place} --dropped"),
        ("one document", f"linnet data explain {place} NAME"),
    ):
        terminal.print(f"{what}: {as_typed(command)}", markup=False)


def _show_reasons(title: str, reasons: dict[str, int]) -> None:
    if not reasons:
        return
    terminal.print(f"{title}:", markup=False)
    for reason, count in list(reasons.items())[:_SHOWN_REASONS]:
        terminal.print(f"  {count:>9,}  {reason}", markup=False)
    if len(reasons) > _SHOWN_REASONS:
        terminal.print(f"             and {len(reasons) - _SHOWN_REASONS} other reasons")


def _tell_file(file: FileStory) -> None:
    terminal.print(f"{file.name}", markup=False, style="bold")
    if file.kind:
        terminal.print(f"  {file.kind}, {human_bytes(file.bytes)}", markup=False)
    if file.reason:
        detail = f" ({file.detail})" if file.detail else ""
        terminal.print(f"  skipped: {file.reason}{detail}", markup=False)
    for reason, count in file.dropped.items():
        terminal.print(f"  {count:,} part(s) gave no document: {reason}", markup=False)
    for story in file.documents:
        _tell(story, file)
    if file.document_count > len(file.documents) > 1:
        terminal.print(f"  {file.document_count - len(file.documents):,} more documents in it")


def _tell(story: Story, file: FileStory) -> None:
    for line in _lines(story, file):
        terminal.print(f"  {line}", markup=False)


def _stretch(at: str) -> tuple[int, int]:
    start, _, end = at.partition(":")
    if not (start.isdecimal() and end.isdecimal()):
        raise ConfigError(f"--at is START:END in characters, such as 1200:1350. Got '{at}'")
    return int(start), int(end)


def _tell_places(found: list[Location], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        terminal.print(one.source, markup=False, style="bold")
        place = str(one.place) or ("no pages or lines" if one.known else _UNKNOWN)
        terminal.print(f"  characters {one.start:,} to {one.end:,}: {place}", markup=False)
        if one.headings:
            terminal.print(f"  under {' > '.join(one.headings)}", markup=False)
        terminal.print(f"  {one.kind}: {_shortened(one.text)}", markup=False)


def _tell_outline(document: StoredText) -> None:
    """The headings of a document, or its first and last blocks, with where they stand."""
    if document.structure is None:
        terminal.print(f"    places: {_UNKNOWN}", markup=False)
        return
    blocks = list(document.blocks())
    headings = [block for block in blocks if block.kind == "heading"]
    shown = headings or [*blocks[:1], *blocks[1:][-1:]]
    for block in shown[:_SHOWN_BLOCKS]:
        place = f", {block.place}" if block.place.unit else ""
        text = "  " * len(block.headings) + _shortened(document.text[block.start : block.end])
        terminal.print(f"    {block.start:,} to {block.end:,}{place}: {text}", markup=False)
    if len(shown) > _SHOWN_BLOCKS:
        terminal.print(f"    and {len(shown) - _SHOWN_BLOCKS:,} more headings", markup=False)


def _shortened(text: str) -> str:
    return textwrap.shorten(" ".join(text.split()), _SHOWN_CHARACTERS, placeholder=" ...")


def _lines(story: Story, file: FileStory) -> list[str]:
    part = story.name.removeprefix(file.name).strip("/")
    lines = [f"document {part or '(the whole file)'}, id {story.id}"]
    language = f", language {story.language}" if story.language else ""
    lines.append(f"  read as {story.family}{language}, {human_bytes(story.bytes)} of text")
    counts = dict(story.changes)
    if story.repeated_lines:
        counts["repeated lines"] = story.repeated_lines
    if counts:
        lines.append("  changed: " + ", ".join(f"{n:,} x {what}" for what, n in counts.items()))
    if story.private:
        found = ", ".join(f"{n:,} x {what}" for what, n in story.private.items())
        lines.append(f"  personal data and secrets: {found}")
    if story.kept:
        times = f", read {story.copies} times in a pass" if story.copies != 1 else ""
        lines.append(f"  kept in {story.split or 'pieces'}{times}; decided by {story.group}")
    else:
        same = f" of {story.same_as} (similarity {story.similarity:.2f})" if story.same_as else ""
        lines.append(f"  dropped: {story.reason}{same}")
    if story.cluster_size > 1:
        others = ", ".join(story.cluster)
        count = story.cluster_size - 1
        noun = "other" if count == 1 else "others"
        lines.append(f"  never separated from {count:,} {noun}: {others}")
    return lines

"""``linnet search``: the passages that answer a query."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.options import GroupedCommand
from linnet.cli.questions import Row, answer_each, as_line
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.errors import ConfigError
from linnet.retrieval.index import Filters, Index

if TYPE_CHECKING:
    from linnet.retrieval import Found

_SHOWN = 700  # characters of a passage

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=GroupedCommand)
def search(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help='Rows of {"id", "question"} instead of a query, - for standard input.',
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many passages.", min=1, max=1000)] = 5,
    collection: Annotated[
        list[str] | None, typer.Option(help="Search this collection alone; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Documents of such a name alone: '*.pdf'.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Documents of this format alone, such as pdf.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Documents in this language alone, such as de.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Files changed on this day or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Files changed on this day or before.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the passages that answer a query.

    Example: linnet search notes-index "when does the lease end" -k 3
    """
    if (query is None) == (queries is None):
        raise ConfigError("expected a query, or --queries FILE.jsonl")
    filters = Filters(
        tuple(source or ()), tuple(kind or ()), tuple(language or ()), _seconds(since),
        _seconds(until, days=1),
    )  # fmt: skip
    with Index.open(index) as opened:
        opened.require(collection, filters)
        if opened.is_stale:
            _tell(f"{index}: documents were read since; run linnet index again to search them")
        if query is not None:
            found = opened.search(query, k, collections=collection, filters=filters)
            _tell(opened.problem)
            if as_json:
                typer.echo(as_line([one.to_json() for one in found]))
            else:
                _show(found)
            return

        def answer(row: Row) -> Row:
            found = opened.search(row["question"], k, collections=collection, filters=filters)
            return {"id": row["id"], "passages": [one.to_json() for one in found]}

        assert queries is not None
        try:
            answer_each(queries, answer)
        finally:
            _tell(opened.problem)


def _tell(problem: str) -> None:
    if problem:
        terminal_progress().warn(problem)


def _seconds(day: str | None, *, days: int = 0) -> int | None:
    """The beginning of a day in UTC, or the last second before so many later. Raises ConfigError
    for what is no day."""
    if day is None:
        return None
    try:
        begun = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"a day is YYYY-MM-DD. Got {day!r}") from None
    return int(begun.timestamp()) + 86_400 * days - bool(days)


def _show(found: list[Found]) -> None:
    if not found:
        terminal.print("nothing found", markup=False)
    for number, one in enumerate(found, 1):
        passage, place = one.passage, one.passage.place
        where = f", {place.where}" if place.where else ""
        more = len(passage.places) - 1
        also = f", and in {more:,} other place{'s' if more > 1 else ''}" if more else ""
        terminal.print(
            f"{number}. {place.source}{where} [{place.start}:{place.end}]{also}  {one.score:.2f}",
            style="bold",
            markup=False,
        )
        path = " > ".join(dict.fromkeys(filter(None, (passage.title, *passage.headings))))
        if path:
            terminal.print(f"   {path}", style="dim", markup=False)
        text = passage.text if len(passage.text) <= _SHOWN else f"{passage.text[:_SHOWN]} …"
        terminal.print("\n".join(f"   {line}" for line in text.splitlines()), markup=False)

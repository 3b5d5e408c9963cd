"""``linnet monitor``: what the log of a server says, in words and figures."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from linnet.cli.terminal import as_typed, ask_for_consent, err
from linnet.cli.terminal import out as terminal
from linnet.errors import ConfigError, DataError, typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linnet.monitor.figures import Row
    from linnet.monitor.log import Log
    from linnet.monitor.report import Report
    from linnet.monitor.watching import Watching

_REPORT = "report"
_MARKS = {"good": "+", "bad": "!", "open": "?", "fact": " "}
_BAR = 24
_SHOWN = 10
_NAME = 9
"""Columns that a name has at least."""


class _ReportByDefault(TyperGroup):
    """``linnet monitor FILE`` is ``linnet monitor report FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_REPORT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ReportByDefault,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The log of 'linnet serve --monitor', or a directory with one."
    ),
]
Since = Annotated[
    str, typer.Option(help="From when on: 7d, 12h, 2026-01-31 or all.", metavar="WHEN")
]


@app.callback()
def monitor() -> None:
    """Show what was asked of a server, how well it was answered, and what that cost.

    'linnet monitor FILE' reports; 'linnet monitor report --help' lists the options.
    """


@app.command(_REPORT)
def report(
    file: File,
    since: Since = "7d",
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The index that answers come from, whose gate promises how many are wrong; "
            "otherwise the directory of FILE, if it has one.",
        ),
    ] = None,
    routing: Annotated[
        Path | None, typer.Option(help="The settings of routing, for the name of the money.")
    ] = None,
    checked: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", help="A sample from 'linnet monitor sample', with verdicts."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as one JSON object.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a page to this file.")
    ] = None,
) -> None:
    """Report on a period: sentences first, then figures.

    Example: linnet monitor report calls.sqlite --since 30d --html report.html
    """
    from linnet.monitor.checking import read_checked
    from linnet.monitor.report import period, write_page
    from linnet.monitor.report import report as make

    now = time.time()
    begin = period(since, now)
    verdicts = read_checked(checked) if checked is not None else None
    currency, compared_with = _money_of(routing)
    with closing(_opened(file)) as log:
        made = make(
            log, _watching(file, index), since=begin, until=now, checked=verdicts,
            currency=currency, compared_with=compared_with,
        )  # fmt: skip
    if verdicts is not None and (missing := len(verdicts) - made.figures.realised.judged) > 0:
        err.print(
            f"{missing:,} of {len(verdicts):,} checked answers are not among those of this period; "
            "see --since",
            markup=False,
        )
    if html is not None:
        write_page(made, html)
        err.print(f"report: {html}", markup=False)
    if as_json:
        typer.echo(json.dumps(made.to_json(), ensure_ascii=False))
    elif html is None:
        _show(made)


@app.command()
def sample(
    file: File,
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Where to write it.")],
    count: Annotated[int, typer.Option(min=1, help="How many answers.")] = 100,
    since: Since = "30d",
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
) -> None:
    """Draw answers from documents at random, to be checked: set 'good' of each to true or false.

    Example: linnet monitor sample calls.sqlite --out check.jsonl
    """
    from linnet import output
    from linnet.monitor.checking import draw
    from linnet.monitor.report import period

    if out.exists():  # with somebody's verdicts, perhaps
        raise ConfigError(f"{out} is there already; name another file, or remove it")
    begin = period(since, time.time())
    with closing(_opened(file)) as log:
        rows = draw(log, begin, count, seed=seed)
    if not rows:
        raise DataError("no answer in this period was let through by a gate: nothing to check")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with output.create_file(out, mode=0o600) as made:  # as the log: there may be contents
        made.write(text.encode())
    err.print(f"{out}: {len(rows):,} answers; set 'good' of each, then:", markup=False)
    when = "all" if begin is None else datetime.fromtimestamp(begin).isoformat(timespec="seconds")
    again = typed("linnet", "monitor", "report", str(file), "--since", when, "--checked", str(out))
    err.print(f"  {as_typed(again)}", markup=False, soft_wrap=True)
    if rows[0]["question"] is None:
        err.print("the log has no contents (--monitor-contents): look them up by 'id'",
                  markup=False)  # fmt: skip


@app.command()
def export(
    file: File,
    since: Since = "all",
    format: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="csv or jsonl.")
    ] = "csv",
    contents: Annotated[
        bool, typer.Option("--contents", help="With questions, answers and sources, if kept.")
    ] = False,
) -> None:
    """Write every call of a period to standard output.

    Example: linnet monitor export calls.sqlite --format jsonl
    """
    from linnet.monitor.report import period

    begin = period(since, time.time())
    with closing(_opened(file)) as log:
        rows = _exported(log, begin, contents=contents)
        if format == "jsonl":
            for row in rows:
                _write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        names = _columns(contents=contents)
        _write(_line(names))
        for row in rows:
            _write(_line([_csv_value(row[name]) for name in names]))


@app.command()
def forget(
    file: File,
    key: Annotated[
        str | None, typer.Option(help="All calls of the key of this name.", metavar="NAME")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What was asked and answered where it rests on this document; what that used "
            "stays. May be given several times.",
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="All calls before a date, or longer ago than 30d."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Remove calls, or what was asked and answered in them, from the log, down to the bytes.

    Example: linnet monitor forget calls.sqlite --key intern
    """
    from linnet.monitor.log import Log
    from linnet.monitor.report import period
    from linnet.monitor.watching import log_in

    if sum(each is not None for each in (key, source, before)) != 1:
        raise ConfigError("name what to forget with one of --key, --source and --before")
    place = log_in(file)
    with closing(Log(place, is_reading=True)):  # there is one
        pass
    until = None if before is None else period(before, time.time())
    if before is not None and until is None:
        until = math.inf
    if not yes:
        ask_for_consent(f"forget it in {place}?", "nothing was forgotten")
    with closing(Log(place, keep_days=0)) as log:
        if key is not None:
            count = log.forget_key(key)
        elif source is not None:
            count = log.forget_contents(source)
        else:
            assert until is not None
            count = log.forget_before(until)
    what = "calls without their contents" if source is not None else "calls forgotten"
    terminal.print(f"{count:,} {what}", markup=False)


def _columns(*, contents: bool) -> list[str]:
    from linnet.monitor.entry import Entry

    kept = ("question", "answer", "sources")
    return [each.name for each in fields(Entry) if contents or each.name not in kept]


def _exported(log: Log, since: float | None, *, contents: bool) -> Iterator[dict[str, Any]]:
    """Money in its unit, and times as they are: in seconds since 1970."""
    from linnet.respond.prices import money

    names = _columns(contents=contents)
    for entry in log.read(*(() if since is None else (since,))):
        row = {name: getattr(entry, name) for name in names}
        for name in ("cost", "would_cost"):
            row[name] = None if row[name] is None else float(money(row[name]))
        row["features"] = dict(row["features"])
        yield row


def _line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue()


def _write(text: str) -> None:
    """Bytes as they are, whatever the terminal's encoding."""
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


def _opened(place: Path) -> Log:
    """The log at a place, to be read alone."""
    from linnet.monitor.log import Log
    from linnet.monitor.watching import log_in

    return Log(log_in(place), keep_days=0, is_reading=True)


def _watching(place: Path, index: Path | None) -> Watching:
    """What watches the questions, by the gate of the index if there is one."""
    from linnet.monitor.watching import Watching, fitted_on

    found = fitted_on(index or (place if place.is_dir() else place.absolute().parent))
    if found is not None and found.reference is None:
        err.print(
            "the gate keeps too few questions to compare others with; fit it again with more",
            markup=False,
        )
    if index is not None and found is None:
        err.print(f"{index}: no gate was fitted there; nothing is promised", markup=False)
    return Watching({} if found is None else {"": found})


def _money_of(routing: Path | None) -> tuple[str, str]:
    """The unit of money, and the model that others are compared with."""
    if routing is None:
        return "", ""
    from linnet.monitor.watching import reference_model
    from linnet.routing.settings import read_routing

    settings = read_routing(routing)
    return settings.currency, reference_model(settings)


def _show(report: Report) -> None:
    """Sentences, then tables."""
    for sentence in report.sentences:
        terminal.print(f"{_MARKS[sentence.mood]} {sentence.text}", markup=False)
    found = report.figures
    if not found.calls:
        return
    _show_spans(found.spans, found.span)
    _show_rows("model", found.models, found.currency)
    if len(found.keys) > 1 or any(row.name for row in found.keys):
        _show_rows("key", found.keys, found.currency)
    if found.routes:
        from linnet.monitor.sentences import DECIDED_BY

        table = _table("answered by", "decided by", "reason", ">questions")
        for route in found.routes[:_SHOWN]:
            by = DECIDED_BY.get(route.decided_by, route.decided_by)
            _add(table, route.model, by, route.name, f"{route.calls:,}")
        _print(table)
    for drift in report.drift:
        if not drift.questions:
            continue
        with_ = "the gate's questions" if drift.reference == "gate" else "the first questions"
        name = f"{drift.model}, " if drift.model else ""
        table = _table(f"{name}against {with_}", ">higher", ">95 % interval", ">last week",
                       ">evidence")  # fmt: skip
        for each in drift.numbers:
            if each.superiority is None or each.low is None or each.high is None:
                continue
            _add(
                table, each.about, f"{each.superiority:.0%}", f"{each.low:.0%} to {each.high:.0%}",
                "" if each.recent is None else f"{each.recent:.0%}", f"{each.evidence:.1f}",
            )  # fmt: skip
        _print(table)
        terminal.print(
            f"{drift.questions:,} questions; an alarm is at evidence {drift.needed:.1f} of all "
            f"together, which is {drift.evidence:.1f}; 50 % is no change",
            style="dim", markup=False,
        )  # fmt: skip


def _show_spans(rows: Sequence[Row], span: str) -> None:
    most = max((row.calls for row in rows), default=0)
    if not most or len(rows) < 2:
        return
    table = _table(span, ">questions", "", ">refused", ">failed", ">median")
    for row in rows[-31:]:
        bar = "#" * round(_BAR * row.calls / most)
        median = "" if row.p50 is None else f"{row.p50:.2g} s"
        cells = (str(n) if n else "" for n in (row.refused + row.held, row.failed + row.left))
        _add(table, row.name, f"{row.calls:,}", bar, *cells, median)
    _print(table)


def _show_rows(name: str, rows: Sequence[Row], currency: str) -> None:
    table = _table(name, ">questions", ">answered", ">refused", ">failed", ">good", ">bad",
                   ">tokens", f">cost {currency}".strip(), ">median")  # fmt: skip
    for row in rows[:_SHOWN]:
        counts = (
            row.calls,
            row.answered,
            row.refused + row.held,
            row.failed + row.left,
            row.good,
            row.bad,
        )
        tokens = row.prompt + row.written
        median = "" if row.p50 is None else f"{row.p50:.2g} s"
        _add(table, row.name or "-", *(f"{n:,}" for n in counts),
             f"{tokens:,}" if tokens < 1_000_000 else f"{tokens / 1e6:,.1f} M", _cost(row.cost),
             median)  # fmt: skip
    _print(table)


def _cost(value: float) -> str:
    from linnet.respond.prices import readable

    return readable(value) if value else "0"


def _table(*names: str) -> Any:
    """``>`` before a name: to the right, and never cut, as what has such a name are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for name in names:
        is_number = name.startswith(">")
        table.add_column(
            name.removeprefix(">"), justify="right" if is_number else "left", no_wrap=is_number,
            overflow="fold", min_width=None if is_number else _NAME,
        )  # fmt: skip
    return table


def _add(table: Any, *cells: str) -> None:
    """Cells are no markup: what models and keys are called is not ours."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def _print(table: Any) -> None:
    terminal.print()
    terminal.print(table, markup=False)


def _csv_value(value: Any) -> str | int | float:
    """As a cell that a spreadsheet takes for what it is, and never for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text[:1] in "=+-@\t\r" else text

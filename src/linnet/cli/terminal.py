"""What the command line writes: progress on standard error, tables and texts on standard output."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Column
from rich.text import Text

from linnet.cli.commands import COMMANDS
from linnet.config import show_duration
from linnet.errors import StoppedError, typed
from linnet.output import human_bytes
from linnet.progress import Progress, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]")  # all but tab and line feed
WIDE = 100  # columns from which a long bar leaves room for the note
PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal to redraw
LEAST_SHARE = 0.01  # of the work, before which nothing tells how long the rest takes

# Lines are left whole: a terminal wraps them, and a file or a program wants them so.
err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)


def program() -> str:
    """What to type for this ``linnet``: its name, or where it is when that is not on the path."""
    started = Path(sys.argv[0])
    program = started.with_name(f"{started.name}.exe")
    if program.exists():  # what pip installs on Windows leaves out the ending of its own name
        started = program
    if started.name == "__main__.py" and started.parent.name == "linnet":
        return f"{typed(sys.executable)} -m linnet"
    found = shutil.which("linnet")
    if started.stem != "linnet" or not started.exists():
        return "linnet"  # called from a program
    if found is not None and Path(found).samefile(started):
        return "linnet"
    with contextlib.suppress(ValueError):
        started = started.absolute().relative_to(Path.cwd())
    return typed(str(started))


def as_typed(text: str) -> str:
    """Commands within a message as they can be typed here (``.venv/bin/linnet chat ...``)."""
    own = program()
    if own == "linnet":
        return text
    return re.sub(rf"(?<![\w./-])linnet(?= ({'|'.join(COMMANDS)})\b)", lambda _: own, text)


def ask_for_consent(question: str, nothing: str) -> None:
    """End the command unless somebody says yes. ``nothing``: what was not done then."""
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or an input that has ended
        print(file=sys.stderr)
        agreed = False
    if not agreed:
        raise StoppedError(f"{nothing}; --yes does it without asking")


def terminal_progress() -> Progress:
    """Bars where they can be drawn anew; now and then a line in a log file or a dumb terminal."""
    return _BarProgress() if err.is_terminal and not err.is_dumb_terminal else _LineProgress()


class _Amount(ProgressColumn):
    def render(self, task: Bar) -> Text:
        if task.total is None and not task.completed:  # it does not count what it does
            return Text("")
        return Text(_amount(task.completed, task.total, task.fields.get("unit", "")))


class _BarTask(Task):
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, amount: float = 1) -> None:
        self.bars.advance(self.task, amount)

    def update(
        self, *, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        if total is not None:
            self.bars.update(self.task, total=total)
        if done is not None:
            self.bars.update(self.task, completed=done)
        if note is not None:
            self.bars.update(self.task, note=note)


class _BarProgress(Progress):
    def __init__(self) -> None:
        self.bars: Bars | None = None
        self.open = 0

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        if self.bars is None:
            narrow = err.width < WIDE
            self.bars = Bars(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=8 if narrow else 20),
                _Amount(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
                # What does not fit is cut off here, so that a bar is one line whatever the width.
                TextColumn(
                    "[dim]{task.fields[note]}",
                    table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
                ),
                console=err,
                transient=True,
                expand=True,
            )
            self.bars.start()
        self.open += 1
        bars = self.bars
        bar = bars.add_task(name, total=total, unit=unit, note="")
        try:
            yield _BarTask(bars, bar)
        finally:
            bars.remove_task(bar)
            self.open -= 1
            if self.open == 0:
                bars.stop()
                self.bars = None

    def message(self, text: str) -> None:
        err.print(as_typed(text), markup=False)

    def warn(self, text: str) -> None:
        err.print(f"warning: {as_typed(text)}", style="yellow", markup=False)


class _LineTask(Task):
    def __init__(self, name: str, total: float | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0.0
        self.note = ""
        self.started = self.printed = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.update(done=self.done + amount)

    def update(
        self, *, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        now = time.monotonic()
        if now - self.printed < PLAIN_INTERVAL:
            return
        self.printed = now
        left = ""
        if self.total and self.done >= self.total * LEAST_SHARE:
            seconds = (now - self.started) * (self.total - self.done) / self.done
            left = f", {show_duration(max(seconds, 0))} left"
        note = f"  {self.note}" if self.note else ""
        amount = _amount(self.done, self.total, self.unit)
        print(f"{self.name}: {amount}{left}{note}", file=sys.stderr, flush=True)


class _LineProgress(Progress):
    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        yield _LineTask(name, total, unit)

    def message(self, text: str) -> None:
        print(as_typed(text), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {as_typed(text)}", file=sys.stderr, flush=True)


def _amount(done: float, total: float | None, unit: str) -> str:
    if unit == "bytes":
        return human_bytes(done) + (f" of {human_bytes(total)}" if total else "")
    if unit == "%":
        return f"{done:.0f} %"
    return f"{done:,.0f}" + (f" of {total:,.0f}" if total else "") + (f" {unit}" if unit else "")


class TextWriter:
    """Writes generated text to standard output, piece by piece, as it comes.

    To a file or another program: the text's exact bytes in UTF-8, whatever the
    locale says, and nothing else, not even a line end. To a terminal: what it can
    show, with control characters (which could move the cursor or change settings) replaced,
    and a line end at the end.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()

    def write(self, text: str) -> None:
        """Show a piece of text."""
        if self.is_terminal:
            encoding = self.stream.encoding or "utf-8"
            shown = _CONTROL.sub("\ufffd", text)
            self.stream.write(shown.encode(encoding, "replace").decode(encoding))
            self.stream.flush()
        else:
            self.stream.flush()
            self.stream.buffer.write(text.encode("utf-8", "replace"))
            self.stream.buffer.flush()

    def finish(self) -> None:
        """End the text."""
        if self.is_terminal:
            self.write("\n")

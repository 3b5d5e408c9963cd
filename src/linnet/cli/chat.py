"""``linnet chat``: continue what is typed, line by line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import err
from linnet.cli.writing import TextWriter
from linnet.config import replace
from linnet.errors import ConfigError, LinnetError
from linnet.generate import GenerateConfig, Request, Sampling, load

if TYPE_CHECKING:
    from linnet.generate import Engine

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PROMPT = "> "
GREETING = "Type the beginning of a text. /help lists the commands, Ctrl-D leaves."
HELP = """\
Each line is continued on its own; an empty line goes on with the last text.
Ctrl-C stops a text, Ctrl-D or /exit leaves.

/settings            show the settings
/temperature 0.5     change one; the same for the others
/stop "\\n\\n"         stop before an empty line (/stop alone: before nothing)
/seed                without a value: back to the default
"""


@app.command()
@configured(GenerateConfig)
def run(
    model: Annotated[Path, typer.Argument(help="A model directory, or a project's.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Continue what you type, line by line.

    Ctrl-C stops a text, Ctrl-D leaves, /help lists the commands.

    Example: linnet chat notes-model --temperature 0.5
    """
    config = replace(GenerateConfig(), settings)
    converse(load(model, device=config.device, dtype=config.dtype).engine, config)


def converse(engine: Engine, sampling: Sampling | None = None) -> None:
    """Read lines from standard input until it ends; write what follows each.

    Without a terminal the lines are not asked for: only the texts are written.
    """
    _Conversation(engine, sampling or Sampling()).run()


class _Conversation:
    def __init__(self, engine: Engine, sampling: Sampling) -> None:
        self.engine = engine
        self.sampling = sampling
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self.last = ""
        """The last text, prompt included."""

    def run(self) -> None:
        if self.interactive:
            err.print(GREETING, markup=False)
            with contextlib.suppress(ImportError):  # Windows has none, but edits lines itself
                import readline  # noqa: F401 (gives input() editing and history)
        while (line := self._read_line()) is not None:
            if line.strip() in ("/exit", "/quit"):
                return
            try:
                if line.startswith("/"):
                    self._command(line)
                else:
                    self._continue(line or self.last)
            except LinnetError as error:
                err.print(f"error: {error}", markup=False)

    def _read_line(self) -> str | None:
        """The next line; None when there are no more."""
        while True:
            try:
                return input(PROMPT if self.interactive else "")
            except EOFError:
                if self.interactive:
                    err.print()
                return None
            except UnicodeDecodeError as error:
                err.print(f"error: a line must be text, but it cannot be decoded: {error}")
            except KeyboardInterrupt:
                err.print("\nCtrl-D or /exit leaves", markup=False)

    def _continue(self, prompt: str) -> None:
        writer = TextWriter()
        chunks = self.engine.stream(Request(prompt, self.sampling))
        self.last = prompt
        if self.interactive:
            writer.write(prompt)  # so that the whole reads as one text
        try:
            for chunk in chunks:
                writer.write(chunk.text)
                self.last += chunk.text
        except KeyboardInterrupt:
            pass  # it stops this text only
        writer.write("\n")

    def _command(self, line: str) -> None:
        name, _, value = line[1:].strip().partition(" ")
        name = name.replace("-", "_")
        known = [field.name for field in dataclasses.fields(Sampling)]
        if name == "help":
            err.print(HELP, markup=False)
        elif name == "settings":
            for field in known:
                err.print(f"{field} = {getattr(self.sampling, field)!r}", markup=False)
        elif name not in known:
            raise ConfigError(f"unknown command '/{name}'; /help lists them")
        elif value:
            self.sampling = replace(self.sampling, {name: _parse(name, value)}, where="chat")
        else:
            default: Any = getattr(Sampling(), name)
            self.sampling = dataclasses.replace(self.sampling, **{name: default})


def _parse(name: str, value: str) -> Any:
    """A value as typed: JSON, or else plain text."""
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    return [parsed] if name == "stop" and not isinstance(parsed, list) else parsed

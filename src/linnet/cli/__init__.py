"""The command line: parse, call the Python API, render.

Each command lives in its own module, imported only when it is called, so that
``linnet --help`` answers at once and never loads torch. A new command is one
module with an ``app`` and one line in ``linnet.cli.commands``.
"""

from __future__ import annotations

import codecs
import difflib
import errno
import importlib
import io
import logging
import os
import sys
from io import TextIOWrapper
from typing import Any

import typer
from typer.core import TyperGroup

from linnet.cli.commands import COMMANDS, WRITING
from linnet.errors import LinnetError, StoppedError
from linnet.runtime import share_cores
from linnet.version import __version__


class _LazyGroup(TyperGroup):
    """Typer carries its own copy of click or uses the package, by version: hence the ``Any``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"linnet.cli.{COMMANDS[cmd_name][0]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        if isinstance(command, TyperGroup):
            command.no_args_is_help = True
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """``linnet help data list`` is ``linnet data list --help``."""
        first = next((place for place, word in enumerate(args) if word[:1] != "-"), len(args))
        if args[first : first + 1] == ["help"]:
            args = [*args[:first], *args[first + 1 :], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        near = difflib.get_close_matches(args[0], [*COMMANDS, "help"], n=1) if args else []
        if near and near[0] != args[0]:
            ctx.fail(f"there is no command '{args[0]}'; did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # here, because Typer would leave without a word
            raise StoppedError("stopped") from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(
    cls=_LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"linnet {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="On an error, show the whole traceback."),
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Turn a folder of documents into a small language model you run yourself.

    Example: linnet build ~/notes --out notes-model --budget 10m
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


def _as_escapes(error: UnicodeError) -> tuple[str, int]:
    """What the output's encoding lacks, as JSON writes it: ``\\u2026``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)
    ), error.end


def _open_closed_streams() -> None:
    """Where a program was started without one, Python has None, and the next file that is opened
    would get its number: what native code prints would end up there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (it stays)
            os.set_inheritable(stream.fileno(), True)  # the same goes for programs started here
            setattr(sys, name, stream)


def _print_any_text() -> None:
    """Documents have characters that the encoding of a terminal or a pipe may lack."""
    codecs.register_error("linnet.escapes", _as_escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="linnet.escapes")


def _speak_utf8() -> None:
    """Read and write UTF-8 in pipes and files as well.

    Windows has another encoding for these, which lacks most letters of the world: an answer with
    one of them would end the command. ``PYTHONIOENCODING`` still chooses.
    """
    if os.environ.get("PYTHONIOENCODING"):
        return
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper) or stream.isatty():
            continue
        if codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


def main() -> None:
    """Run the command line; expected errors become one line and exit status 1."""
    _open_closed_streams()
    _speak_utf8()
    _print_any_text()
    debug = "--debug" in sys.argv
    if not debug:
        os.environ["RUST_BACKTRACE"] = "0"  # libraries in Rust would print their own traceback
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells where its cache lies
    if next((word for word in sys.argv[1:] if word[:1] != "-"), "") not in WRITING:
        share_cores()
    try:
        app()
    except StoppedError as stop:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # leave the line that shows ^C
        print(stop, file=sys.stderr)
        sys.exit(130)
    except LinnetError as error:
        if debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if debug:
            raise
        if error.errno == errno.ENOSPC:
            place = f" while writing {error.filename}" if error.filename else ""
            _fail(f"the disk is full{place}; finished stages are kept: free some, then run again")
        if error.errno == errno.EFBIG:
            _fail("a file would be larger than the system allows (ulimit -f, or the file system)")
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (MemoryError, RuntimeError) as error:
        if debug or not _is_out_of_memory(error):
            raise
        _fail("out of memory; use a smaller model, a smaller batch or fewer --workers")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, for which torch has no exception of its own on the CPU."""
    said = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


def _fail(message: str) -> None:
    from linnet.cli.terminal import as_typed

    message = as_typed(message)
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(1)

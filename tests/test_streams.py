"""What the command line reads and writes: streams of any encoding, closed ones, and consent."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from linnet.cli import terminal
from linnet.errors import StoppedError


@pytest.mark.parametrize(("typed", "goes_on"), [("y\n", True), ("n\n", False), ("", False)])
def test_what_nobody_agreed_to_is_not_done(typed: str, goes_on: bool) -> None:
    asking = typer.Typer()

    @asking.command()
    def ask() -> None:
        terminal.ask_for_consent("forget them?", "nothing was forgotten")
        print("done")

    done = CliRunner().invoke(asking, input=typed)
    assert ("done" in done.output) is goes_on
    if not goes_on:
        assert isinstance(done.exception, StoppedError)
        assert str(done.exception) == "nothing was forgotten; --yes does it without asking"


def test_what_an_encoding_lacks_is_printed_as_json_writes_it() -> None:
    text = "Müller … 😀 \udcfc"
    program = (
        "import contextlib, json, sys\n"
        "from linnet.cli import main\n"
        "sys.argv = ['linnet', '--version']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        f"print(json.dumps({text!a}, ensure_ascii=False))\n"
    )
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=False, timeout=60,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.decode(encoding).splitlines()[1]) == text


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stream_may_be_closed(number: int, tmp_path: Path) -> None:
    """Commands ask streams whether they are a terminal, and files must not take their numbers."""
    program = (
        "import contextlib, os, sys\n"
        "from linnet.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "found = [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)]\n"
        f"open({str(tmp_path / 'found')!r}, 'w').write(str(found))\n"
        "import subprocess\n"
        f"os.fstat({number})\n"
        f"subprocess.run([sys.executable, '-c', 'import os; os.fstat({number})'], check=True)\n"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" --version {number}>&-', sys.executable, program],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found").read_text() == "[False, False, False]"


def test_how_long_the_rest_takes_is_said_once_there_is_something_to_tell_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    monkeypatch.setattr(terminal, "err", screen)
    clock = iter([0.0, 20.0, 40.0, 140.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.terminal_progress().task("reading", total=1_000_000, unit="bytes") as task:
        task.update(done=147)
        task.update(done=100_000)
        task.update(done=500_000)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 147 B of 1.0 MB",
        "reading: 100.0 KB of 1.0 MB, 6m left",
        "reading: 500.0 KB of 1.0 MB, 2m 20s left",
    ]


def test_the_library_that_draws_does_not_report_on_its_caches(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory can be made under this")
    program = (
        "import contextlib\n"
        "from linnet.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "import matplotlib\n"
        "matplotlib.get_cachedir()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "caches")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

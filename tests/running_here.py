"""Commands run in the process of the tests: starting another takes longer than most of them."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from linnet.cli import main


@dataclass
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


Here = Callable[..., Done]


def running_here(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Here:
    """What a function does that takes arguments as they are typed, and what is typed then."""

    def run(*arguments: object, input: bytes = b"") -> Done:
        monkeypatch.setattr("sys.argv", ["linnet", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(input), "utf-8"))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capfdbinary.readouterr())

    return run

"""``linnet generate`` and ``linnet chat``, as programs; in this process where that is enough."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import MakeModel

import linnet
from linnet.cli.chat import converse
from linnet.generate import Chunk, Request
from running_here import Here

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run(*arguments: str, input: bytes = b"", **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "linnet", *arguments],
        input=input,
        capture_output=True,
        env={**os.environ, **ONE_THREAD, **environment},
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> Path:
    made = make_model("qwen3", context=512)
    file = made / "tokenizer_config.json"  # without a template it continues texts
    settings = json.loads(file.read_text(encoding="utf-8"))
    del settings["chat_template"]
    file.write_text(json.dumps(settings), encoding="utf-8")
    return made


def expected(model: Path, prompt: str, count: int = 20, engine: str = "torch") -> bytes:
    found = linnet.load(model, engine=engine).generate(prompt, max_tokens=count, temperature=0)
    return found.text.encode()


def test_generate_prints_the_new_text_and_nothing_else(model: Path, here: Here) -> None:
    greedy = ("--max-tokens", "20", "--temperature", "0")
    wanted = expected(model, "The naïve fox", engine="auto")
    # A locale that cannot show most characters must not matter.
    done = run("generate", str(model), "The naïve fox", *greedy, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout == wanted
    assert done.stderr == b""
    read = here("generate", str(model), "-", *greedy, input="The naïve fox\r\n".encode())
    assert read.stdout == done.stdout


def test_generate_as_json(model: Path, here: Here) -> None:
    done = here(
        "generate", str(model), "The", "--json", "--seed", "4", "--stop", "e", "--stop", "a"
    )
    found = json.loads(done.stdout)
    whole = linnet.load(model).generate("The", seed=4, stop=("e", "a"))
    assert found == {
        "prompt": "The",
        "text": whole.text,
        "finish_reason": "stop",
        "prompt_tokens": whole.prompt_tokens,
        "completion_tokens": len(whole.tokens),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{model}", "x", "--temperature", "-1"), b"error: temperature must be 0 or more."),
        (("{model}", "the fox " * 400, "--engine", "torch"), b"the context holds 512"),
        (("{model}/none", "x"), b"expected a model directory"),
        (("{model}", "-"), b"must be UTF-8 text"),
    ],
)
def test_generate_fails_in_one_line(
    arguments: tuple[str, ...], said: bytes, model: Path, here: Here
) -> None:
    filled = [argument.format(model=model) for argument in arguments]
    done = here("generate", *filled, input=b"\xff\xfe\xff")
    assert done.returncode == 1
    assert done.stdout == b""
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_chat_without_a_terminal_writes_only_texts(model: Path, here: Here) -> None:
    lines = "The naïve fox\n/max_tokens 5\nA hen\n\n/nonsense\n/top-p 7\n/settings\n/exit\nunread\n"
    exact = ("--engine", "torch", "--temperature", "0", "--max-tokens", "20")
    done = here("chat", str(model), *exact, input=lines.encode())
    assert done.returncode == 0
    fox, hen = expected(model, "The naïve fox"), expected(model, "A hen", 5)
    on = expected(model, "A hen" + hen.decode(), 5)
    assert done.stdout == fox + b"\n" + hen + b"\n" + on + b"\n"
    messages = done.stderr.decode()
    assert "unknown command '/nonsense'" in messages
    assert "top_p must be above 0 and at most 1. Got 7.0" in messages
    assert "max_tokens = 5\n" in messages


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            command = [sys.executable, "-m", "linnet", *arguments]
            os.execve(sys.executable, command, {**os.environ, **ONE_THREAD, "TERM": "dumb"})
        self.seen = ""

    def wait_for(self, pattern: str) -> str:
        """Read until what is new matches; return it."""
        deadline = time.monotonic() + 60
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            ready, _, _ = select.select([self.file], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{pattern!r} did not come; got {self.seen!r}"
            try:
                self.seen += os.read(self.file, 4096).decode("utf-8", "replace")
            except OSError as error:
                raise AssertionError(f"it ended; the last it wrote: {self.seen!r}") from error
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())


def test_chat_on_a_terminal(model: Path) -> None:
    terminal = Terminal(
        "chat", str(model), "--engine", "torch", "--max-tokens", "100000", "--seed", "1"
    )
    terminal.wait_for(r"/help.*> ")
    terminal.type("/max_tokens 3\n")
    terminal.wait_for(r"> ")
    terminal.type("The fox\n")
    terminal.wait_for(r"The fox.*The fox.*\n> ")  # typed, then repeated with what follows
    terminal.type("/max_tokens 100000\n")
    terminal.wait_for(r"> ")
    terminal.type("The hen\n")
    terminal.wait_for(r"The hen.*The hen.{5}")
    os.kill(terminal.pid, signal.SIGINT)  # stops the text, not the program
    terminal.wait_for(r"\n> ")
    terminal.type("\x04")
    _, status = os.waitpid(terminal.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_ctrl_c_stops_a_text_but_not_the_conversation(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    class Endless:
        def stream(self, request: Request) -> Iterator[Chunk]:
            yield Chunk(f" {request.prompt} and on", (5,))
            raise KeyboardInterrupt

    answers = iter(["first", KeyboardInterrupt(), "second", "", EOFError()])

    def typed(prompt: str) -> str:
        answer = next(answers)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("builtins.input", typed)
    converse(Endless())  # type: ignore[arg-type]
    shown, messages = capfdbinary.readouterr()
    texts = [b" first and on", b" second and on", b" second second and on and on"]
    assert shown.splitlines() == texts
    assert messages.count(b"Ctrl-D or /exit leaves") == 1


def test_control_characters_do_not_reach_a_terminal() -> None:
    from io import StringIO

    from linnet.cli.terminal import TextWriter

    class Screen(StringIO):
        encoding = "latin-1"

        def isatty(self) -> bool:
            return True

    screen = Screen()
    writer = TextWriter(screen)
    writer.write("tab\tline\n\x1b[2J\x9b5n naïve €")
    writer.finish()
    assert screen.getvalue() == "tab\tline\n?[2J?5n naïve ?\n"

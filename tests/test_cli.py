"""The command line as a whole: its help, its errors, and options made from dataclasses."""

import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from linnet.cli import COMMANDS, app, main, terminal
from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed
from linnet.config import option
from linnet.errors import BusyError, DataError, LinnetError, StoppedError, install_command, typed
from linnet.version import __version__


def commands(
    group: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be typed, with what it is called by."""
    group = group or typer.main.get_command(app)
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())
NAMES = [" ".join(path) for path in ALL]


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_there_are_commands() -> None:
    assert {path[0] for path in ALL} == set(COMMANDS)
    assert ("data", "prepare") in ALL


HELP = """
import contextlib, io, json, sys
from linnet.cli import main
found = {}
for name in json.loads(sys.argv[1]):
    sys.argv = ["linnet", *name.split(), "--help"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code
    heavy = {"torch", "transformers", "pyarrow", "matplotlib"} & set(sys.modules)
    found[name] = [code, out.getvalue()[:7], err.getvalue(), sorted(heavy)]
print(json.dumps(found))
"""


def test_help_answers_without_loading_anything_heavy() -> None:
    """All commands in one process: what one of them loads is charged to it and to those after."""
    done = python(HELP, json.dumps(["", *NAMES]))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["", *NAMES]
    assert {name: told for name, told in found.items() if told != [0, "Usage: ", "", []]} == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_documented_with_an_example_that_parses(name: str) -> None:
    command = ALL[tuple(name.split())]
    text = command.help
    assert text
    assert re.fullmatch(r"[A-Z].*\.", text.split("\n\n")[0].replace("\n", " "))
    found = re.search(r"^ *Example: (linnet .+)$", text, re.MULTILINE)
    assert found, f"{name}: its docstring needs a line 'Example: linnet ...'"
    typed = shlex.split(found[1])
    assert typed[1 : 1 + len(name.split())] == name.split()
    # Raises an error where an argument is missing or an option unknown.
    command.make_context(name, typed[1 + len(name.split()) :])


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_is(name: str) -> None:
    for parameter in ALL[tuple(name.split())].params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} needs a help text"


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "linnet", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"linnet {__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "linnet"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: ")
    assert "build" in done.stdout


def test_help_is_a_word_as_well() -> None:
    for words, usage in (
        (["help"], "Usage: root [OPTIONS] COMMAND"),
        (["help", "data", "list"], "Usage: root data list "),
        (["--debug", "help", "data", "list"], "Usage: root data list "),
    ):
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.output[: len(usage)]) == (0, usage)
    assert "did you mean 'help'?" in CliRunner().invoke(app, ["hlep"]).output


@pytest.mark.parametrize("name", sorted({path[0] for path in ALL if len(path) > 1}))
def test_a_command_of_commands_alone_shows_them(name: str) -> None:
    shown = CliRunner().invoke(app, [name]).output
    assert "Commands:" in shown
    assert "Missing" not in shown


# -- how things end ------------------------------------------------------------------------


def run_main(
    problem: BaseException, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> SystemExit | BaseException:
    """What comes out of ``main`` when a command raises ``problem``."""

    def fail(*arguments: object, **settings: object) -> None:
        raise problem

    monkeypatch.setattr("linnet.project.Project.open", fail)
    monkeypatch.setattr(sys, "argv", ["linnet", *flags, "status", "somewhere"])
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (SystemExit, or the problem)
        main()
    return caught.value


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (DataError("no text. Add some"), 1, "error: no text. Add some\n"),
        (BusyError("a\nb"), 1, "error: a b\n"),
        (StoppedError("stopped and saved"), 130, "stopped and saved\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (MemoryError(), 1, "error: out of memory; use a smaller model, a smaller batch or "),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "error: out of memory; use a smaller model, a smaller batch or fewer --workers\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.bin"),
            1,
            "error: the disk is full while writing x.bin; finished stages are kept: "
            "free some, then run again\n",
        ),
        (PermissionError(13, "Permission denied", "x"), 1, "error: x: Permission denied\n"),
    ],
)
def test_each_error_is_one_line_and_a_status(
    problem: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = run_main(problem, monkeypatch)
    assert isinstance(left, SystemExit)
    assert left.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(said)
    assert printed.err.count("\n") == 1


def test_debug_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run_main(DataError("x"), monkeypatch, "--debug"), DataError)


def test_what_is_not_expected_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run_main(ZeroDivisionError(), monkeypatch), ZeroDivisionError)


def test_a_wrong_command_or_option_is_explained() -> None:
    for arguments, said in ((["bild"], "bild"), (["status", "--jsn", "."], "--jsn")):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert said in done.output


# -- options from dataclasses --------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    width: int = option(256, "Width of the model.")
    rate: float = option(0.5, "How fast.")
    tied: bool = option(False, "Share the table.")
    quiet: bool = option(True, "Say less.")
    kind: Literal["small", "large"] = option("small", "What to make.")
    columns: tuple[str, ...] = option((), "Columns with text.")
    device: Literal["cpu", "cuda"] | None = option(None, "Where.")
    unseen: int = 7
    """Not declared with option(): no flag."""


def offered() -> typer.Typer:
    small = typer.Typer(rich_markup_mode=None)

    @small.command()
    @configured(Settings)
    def make(place: str, width: int = 3, *, settings: dict[str, Any]) -> None:
        """Make."""
        print(place, width, settings)

    return small


@pytest.mark.parametrize(
    ("typed", "settings"),
    [
        ([], {}),
        (["--rate", "2"], {"rate": 2.0}),
        (["--tied", "--no-quiet"], {"tied": True, "quiet": False}),
        (["--no-tied"], {"tied": False}),
        (["--columns", "a", "--columns", "b"], {"columns": ["a", "b"]}),
        (["--kind", "large", "--device", "cpu"], {"kind": "large", "device": "cpu"}),
    ],
)
def test_only_what_was_given_becomes_a_setting(typed: list[str], settings: dict[str, Any]) -> None:
    done = CliRunner().invoke(offered(), ["here", *typed])
    assert done.output == f"here 3 {settings}\n"


def test_a_parameter_of_the_command_itself_is_not_an_option_twice() -> None:
    done = CliRunner().invoke(offered(), ["here", "--width", "9"])
    assert done.output == "here 9 {}\n"


def test_options_show_help_choices_and_defaults() -> None:
    done = CliRunner().invoke(offered(), ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    text = " ".join(done.output.split())
    assert "How fast. [default: 0.5]" in text
    assert "What to make. (small, large) [default: small]" in text
    assert "Say less. [default: yes]" in text
    assert "Where. (cpu, cuda)" in text
    assert "unseen" not in text
    assert CliRunner().invoke(offered(), ["x", "--unseen", "1"]).exit_code == 2


def test_a_setting_of_the_wrong_type_is_named() -> None:
    done = CliRunner().invoke(offered(), ["here", "--rate", "fast"])
    assert done.exit_code == 2
    assert "--rate" in done.output


def test_every_dataclass_behind_a_command_gives_all_its_options() -> None:
    import dataclasses

    from linnet.bench import BenchConfig
    from linnet.data import DataConfig
    from linnet.evaluate import EvaluateConfig
    from linnet.finetune.config import FinetuneConfig
    from linnet.generate import GenerateConfig
    from linnet.serve.keys import KeyLimits
    from linnet.serve.settings import ServeConfig
    from linnet.shards import EncodeConfig
    from linnet.tokenizer import TokenizerConfig
    from linnet.train.config import TrainConfig

    behind: dict[str, type] = {
        "data prepare": DataConfig,
        "data encode": EncodeConfig,
        "tokenizer train": TokenizerConfig,
        "train": TrainConfig,
        "evaluate": EvaluateConfig,
        "generate": GenerateConfig,
        "chat": GenerateConfig,
        "finetune": FinetuneConfig,
        "bench": BenchConfig,
        "serve": ServeConfig,
        "keys add": KeyLimits,
    }
    unseen = {"logit_bias", "ignore_eos", "min_tokens"}  # tokens by number are nothing to type
    for name, cls in behind.items():
        flags = {parameter.name for parameter in ALL[tuple(name.split())].params}
        fields = {field.name for field in dataclasses.fields(cls)} - unseen
        assert fields <= flags, name  # type: ignore[arg-type]


@pytest.mark.parametrize(("command", "shared"), [("train", True), ("--debug serve", False)])
def test_only_commands_that_train_shorten_spinning(
    command: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = ("GOMP_SPINCOUNT", "OPENBLAS_THREAD_TIMEOUT")
    for name in variables:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that it is as it was afterwards
    monkeypatch.setattr(sys, "argv", ["linnet", *command.split(), "--help"])
    with pytest.raises(SystemExit):
        main()
    assert [name in os.environ for name in variables] == [shared, shared]


@pytest.mark.parametrize(("typed", "meant"), [("biuld", "build"), ("sevre", "serve")])
def test_a_mistyped_command_gets_a_suggestion(typed: str, meant: str) -> None:
    result = CliRunner().invoke(app, [typed])
    assert result.exit_code == 2
    assert f"there is no command '{typed}'; did you mean '{meant}'?" in result.output


@pytest.mark.parametrize(
    "typed",
    [
        "chat nope", "serve nope", "generate nope hello", "evaluate nope", "bench nope",
        "export gguf nope --out x", "export check nope", "merge nope --out x",
        "export packed nope --out x", "embed nope hello",
        "data list nope", "plan nope", "finetune . nope.jsonl --out x",
    ],
)  # fmt: skip
def test_a_path_that_is_not_there_is_what_the_error_names(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, typed.split())
    assert re.match(r"nope\S*: expected .*, but it does not exist$", str(done.exception))
    assert not list(tmp_path.iterdir())


def test_commands_in_messages_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "in here" / "linnet"
    script.parent.mkdir()
    script.touch(mode=0o755)
    said = "run linnet build again (linnet chat DIR); another linnet process, ./linnet build"
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    quoted = "'in here/linnet'"
    assert as_typed(said) == (
        f"run {quoted} build again ({quoted} chat DIR); another linnet process, ./linnet build"
    )
    monkeypatch.setenv("PATH", str(script.parent))
    assert as_typed(said) == said
    monkeypatch.setattr("sys.argv", [str(tmp_path / "linnet" / "__main__.py")])
    assert "-m linnet build again" in as_typed(said)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "pytest" / "__main__.py")])
    assert as_typed(said) == said


@pytest.mark.parametrize("width", [80, 40, 160])
def test_progress_takes_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, soft_wrap=True)
    monkeypatch.setattr(terminal, "err", screen)
    note = "loss 2.310 · held-out 1.234 bits/byte · 12,345 tokens/s"
    with terminal.terminal_progress().task("training", total=774, unit="steps") as task:
        task.update(done=500, note=note)
        progress = task.bars  # type: ignore[attr-defined]
        progress.refresh()
        progress.refresh()
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "500 of 774 steps" in written
    assert (note in written) == (width > 100)
    assert "\x1b[1A\x1b[2K\x1b[1A" not in written  # the cursor never goes up by a second line


def test_help_has_the_common_options_first_then_groups() -> None:
    @dataclass(frozen=True)
    class Settings:
        rare: int = option(1, "Rarely set.", group="Optimizer")
        steps: int = option(2, "How many.")
        lr: float = option(0.1, "How fast.", group="Optimizer")

    own = typer.Typer(rich_markup_mode=None)

    @own.command(cls=GroupedCommand)
    @configured(Settings)
    def run(name: str, *, settings: dict[str, Any]) -> None:
        """Run it."""

    shown = CliRunner().invoke(own, ["--help"]).output
    places = [
        shown.index(text)
        for text in ("Arguments:", "Options:", "--steps", "--help", "Optimizer:", "--rare", "--lr")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("name", [("train",), ("finetune",), ("data", "prepare"), ("serve",)])
def test_long_helps_are_in_groups(name: tuple[str, ...]) -> None:
    """Six to twelve common options, three to six headings, no heading over a single option."""
    (command,) = (found for path, found in commands() if path == name)
    assert isinstance(command, GroupedCommand)
    options = [p for p in command.params if p.param_type_name == "option"]
    sizes = Counter(getattr(option, "rich_help_panel", None) for option in options)
    assert 6 <= sizes.pop(None) + 1 <= 12  # with --help
    assert 3 <= len(sizes) <= 6
    assert min(sizes.values()) > 1


@pytest.mark.parametrize(
    ("python", "pip", "uv", "has_pip", "expected"),
    [
        ("/env/bin/python", "/env/bin/pip", None, True, "pip install gguf"),
        ("/usr/bin/python3", "/usr/bin/pip", None, True, "pip install gguf"),
        ("/env/bin/python", "/usr/bin/pip", None, True, "/env/bin/python -m pip install gguf"),
        ("/my env/bin/python", None, "/bin/uv", True, "'/my env/bin/python' -m pip install gguf"),
        (
            "/env/bin/python", "/usr/bin/pip", "/bin/uv", False,
            "uv pip install --python /env/bin/python gguf",
        ),
    ],
)  # fmt: skip
def test_the_command_that_installs_is_for_the_environment_that_runs(
    monkeypatch: pytest.MonkeyPatch,
    python: str,
    pip: str | None,
    uv: str | None,
    has_pip: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr("shutil.which", {"pip": pip, "uv": uv}.get)
    monkeypatch.setattr("linnet.errors.find_spec", lambda name: name if has_pip else None)
    assert install_command("gguf") == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "docs", "--out", "new/deep"),
        ("data", "prepare", "docs", "--out", "new/deep"),
        ("export", "gguf", "absent", "--out", "new/deep/model.gguf"),
        ("export", "ollama", "absent", "--out", "new/deep"),
        ("merge", "absent", "--out", "new/deep"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_command_that_fails_leaves_no_directories(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/short.txt").write_text("short")
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, LinnetError)
    assert [path.as_posix() for path in Path().rglob("*")] == ["docs", "docs/short.txt"]


def test_pipes_carry_every_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has an encoding for them that lacks most."""
    written = io.BytesIO()
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    stream = io.TextIOWrapper(written, encoding="cp1252", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    left = run_main(DataError("заметки.txt: 読めません, \udcff"), monkeypatch)
    assert isinstance(left, SystemExit)
    sys.stderr.flush()
    # The last was no letter in the name of the file.
    assert r"заметки.txt: 読めません, \udcff" in written.getvalue().decode("utf-8")


def test_commands_as_they_are_typed_on_windows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "in here" / "linnet.exe"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(script.with_suffix(""))])  # as pip's programs have it
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert as_typed("linnet build x") == f"'{Path('in here/linnet.exe')}' build x"
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        said = typed("linnet", "chat", r"C:\My notes")
    assert said == r'linnet chat "C:\My notes"'

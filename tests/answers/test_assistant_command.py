"""``linnet assistant``: from documents to an answer, and which model it offers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from linnet.answers import steps
from linnet.answers.current import CurrentAssistant
from linnet.cli import assistant as command
from linnet.errors import DataError, ModelError
from linnet.planner.open_models import OPEN_MODELS, fitting_model
from linnet.respond.conversation import ConversationError
from linnet.serve.settings import ServeConfig

pytestmark = pytest.mark.usefixtures("reading_here")

GB = 1_000_000_000


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "lease.md").write_text("# Lease\n\nThe lease ends on 30 June 2027.\n")
    (folder / "boiler.md").write_text("# Boiler\n\nThe boiler is serviced every October.\n")
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command.app, arguments, catch_exceptions=True)


def test_from_documents_to_an_answer_and_again(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEPS", steps.STEPS[:3])
    monkeypatch.setattr("linnet.retrieval.embedding.choose_encoder", lambda *_, **__: None)
    out = str(tmp_path / "assistant")
    first = run(str(notes), "--out", out, "--no-serve", "--ask", "When does the lease end?")
    assert first.exit_code == 0, first.output
    assert "The lease ends on 30 June 2027." in first.stdout
    assert "notes/lease.md, line 3" in first.stdout
    assert "2 documents" in first.stderr
    assert "found by meaning: left out: no encoder is in use; pip install" in first.stderr
    (notes / "boiler.md").unlink()
    again = run("--out", out, "--no-serve", "--ask", "Who services the boiler?")
    assert again.exit_code == 0, again.output
    assert "1 document " in again.stderr
    assert "I don't know" in again.stdout
    third = run("--out", out, "--no-serve")
    assert third.stderr.count("nothing was to do") == 2
    assert "linnet assistant --out" in third.stderr


def test_what_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    missing = run(str(tmp_path / "none"), "--out", str(tmp_path / "made"), "--no-serve")
    assert isinstance(missing.exception, DataError)
    assert "is not there" in str(missing.exception)
    assert not (tmp_path / "made").exists()


def test_questions_before_the_documents_are_read_are_told_to_wait(tmp_path: Path) -> None:
    with pytest.raises(ConversationError) as refused:
        CurrentAssistant(tmp_path).ask("When?")
    assert refused.value.code == "not_ready"


@pytest.mark.parametrize(
    ("memory", "cores", "device", "expected"),
    [
        (16 * GB, 2, "cpu", "SmolLM2-360M-Instruct"),
        (16 * GB, 1, "cpu", "SmolLM2-135M-Instruct"),
        (16 * GB, 4, "cpu", "Qwen3-0.6B"),
        (16 * GB, 16, "cpu", "SmolLM2-1.7B-Instruct"),
        (GB, 64, "cpu", "SmolLM2-360M-Instruct"),
        (24 * GB, 2, "cuda", "Qwen3-4B-Instruct-2507"),
        (None, 64, "cpu", "Qwen3-4B-Instruct-2507"),
        (GB // 10, 64, "cpu", None),
    ],
)
def test_the_model_fits_the_machine(
    memory: int | None, cores: int, device: str, expected: str | None
) -> None:
    found = fitting_model(memory, cores, device=device)
    assert (found and found.name.rpartition("/")[2]) == expected
    assert [model.parameters for model in OPEN_MODELS] == sorted(
        model.parameters for model in OPEN_MODELS
    )


def test_nothing_is_downloaded_that_nobody_agreed_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(command, "_is_here", lambda name: False)
    monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert command._model("auto", ServeConfig()) is None
    assert "to download. Fetch it now?" in asked[0]
    assert "linnet pull" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert command._model("auto", ServeConfig()) is None
    assert len(asked) == 1
    monkeypatch.setattr(command, "_is_here", lambda name: True)
    assert command._model("auto", ServeConfig()) in {model.name for model in OPEN_MODELS}
    assert command._model("none", ServeConfig()) is None
    with pytest.raises(ModelError, match="expected a model's directory"):
        command._model("./nowhere", ServeConfig())

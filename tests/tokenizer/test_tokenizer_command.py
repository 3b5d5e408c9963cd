"""``linnet tokenizer``: the command line over the stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet.cli import app
from linnet.data import DataConfig, prepare
from linnet.errors import ConfigError
from linnet.tokenizer import Tokenizer, load

pytestmark = pytest.mark.usefixtures("reading_here")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for number, text in enumerate(documents):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    prepare([str(folder)], folder.parent / "corpus", DataConfig(workers=1))
    return folder.parent / "corpus"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["tokenizer", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_then_inspect(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    assert "500 tokens" in run("train", corpus, "--out", out, "--vocab-size", "500")
    assert load(out).vocab_size == 500
    shown = run("inspect", out, "the value of [0] is 12")
    assert "bytes per token" in shown
    assert "|[|0|]|" in shown.replace(" ", "")
    assert "ids: " in shown
    assert "special" in run("inspect", out)


def test_text_from_a_file(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    (tmp_path / "text.txt").write_text("one two\n" * 300, encoding="utf-8")
    shown = run("inspect", tmp_path, "--file", tmp_path / "text.txt")
    assert "2,400 bytes" in shown
    assert "ids: " not in shown


def test_adopt(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "source")
    run("train", "--from", tmp_path / "source", "--out", tmp_path / "out")
    assert load(tmp_path / "out").encode("text") == trained.encode("text")


@pytest.mark.parametrize(
    "arguments",
    [(), ("corpus", "--from", "other"), ("--from", "other", "--vocab-size", "300")],
)
def test_options_that_contradict(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run("train", *arguments, "--out", tmp_path / "out")

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from linnet.cli.evaluate import app
from linnet.errors import DataError

FAST = ["--device", "cpu", "--resamples", "20", "--samples", "1", "--sample-tokens", "3"]


def test_json_is_one_object_and_nothing_else(model: Path, stories: Path) -> None:
    result = CliRunner().invoke(app, [str(model), str(stories), "--json", *FAST])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["documents"] == 3
    assert values["confidence_interval"]["low"] <= values["bits_per_byte"]
    assert set(values["baselines"]["bits_per_byte"]) == {"unigram", "ngram", "xz"}
    assert values["samples"][0]["overlap"]["characters"] == 8
    assert {"perplexity", "tokens", "bytes", "of_bytes", "context", "dtype"} <= set(values)


def test_the_table_puts_the_model_among_the_baselines(model: Path, stories: Path) -> None:
    result = CliRunner().invoke(app, [str(model), str(stories), *FAST])
    assert result.exit_code == 0, result.output
    for shown in ("model", "xz compression", "perplexity", "95% interval", "the fox"):
        assert shown in result.stdout


def test_out_keeps_the_result(model: Path, stories: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    arguments = [str(model), str(stories), "--out", str(out), "--json", *FAST]
    result = CliRunner().invoke(app, arguments)
    kept = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert kept == json.loads(result.stdout)


def test_tasks_by_name(model: Path, stories: Path) -> None:
    said = [str(model), str(stories), "--task", "text", "--task", "baselines", *FAST]
    shown = CliRunner().invoke(app, said)
    assert shown.exit_code == 0, shown.output
    assert "perplexity" in shown.stdout
    assert "xz bits_per_byte" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*said, "--json"]).stdout)
    assert list(found["tasks"]) == ["text", "baselines"]
    refused = CliRunner().invoke(app, [str(model), str(stories), "--task", "sampels"])
    assert "did you mean 'samples'?" in str(refused.exception)


def test_an_empty_file_is_one_line_of_error(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n", encoding="utf-8")
    result = CliRunner().invoke(app, [str(model), str(empty), *FAST])
    assert isinstance(result.exception, DataError)
    assert "\n" not in str(result.exception)


def test_help_loads_no_torch() -> None:
    code = "import sys, linnet.cli.evaluate as c; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0

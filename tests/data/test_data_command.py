"""``linnet data prepare`` as it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def _linnet(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linnet", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_prepare_prints_what_went_in_and_what_did_not(folder: Path, tmp_path: Path) -> None:
    done = _linnet("data", "prepare", folder, "--out", tmp_path / "corpus", "--min-characters", "5")
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert "binary file" in done.stdout
    assert (tmp_path / "corpus" / "report.json").is_file()


def test_an_error_is_one_line(tmp_path: Path) -> None:
    done = _linnet("data", "prepare", tmp_path / "nothing", "--out", tmp_path / "corpus")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_help_has_an_example() -> None:
    done = _linnet("data", "prepare", "--help")
    assert "Example: linnet data prepare" in done.stdout
    assert "--max-document-bytes" in done.stdout

"""``linnet data prepare`` as it is typed."""

from pathlib import Path

import pytest

from running_here import Here

pytestmark = pytest.mark.usefixtures("reading_here")


def test_prepare_prints_what_went_in_and_what_did_not(
    folder: Path, tmp_path: Path, here: Here
) -> None:
    out = tmp_path / "corpus"
    done = here("data", "prepare", folder, "--out", out, "--min-characters", "5")
    assert done.returncode == 0, done.stderr
    assert b"train" in done.stdout
    assert b"binary file" in done.stdout
    assert (out / "report.json").is_file()


def test_an_error_is_one_line(tmp_path: Path, here: Here) -> None:
    done = here("data", "prepare", tmp_path / "nothing", "--out", tmp_path / "corpus")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1


def test_help_has_an_example(here: Here) -> None:
    done = here("data", "prepare", "--help")
    assert b"Example: linnet data prepare" in done.stdout
    assert b"--max-document-bytes" in done.stdout

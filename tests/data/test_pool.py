"""Workers that die or hang cost one file and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from linnet import data
from linnet.data import DataConfig, pool

BAD_WORKER = """
import os, sys, time
sys.path.append(sys.argv.pop(1))
from linnet.data import extract, worker
real = extract.extract
def dangerous(path, **options):
    if path.name == "crash.txt":
        os._exit(3)
    if path.name == "hang.txt":
        time.sleep(600)
    if path.name == "bug.txt":
        raise RuntimeError("a parser's bug")
    return real(path, **options)
worker.extract = dangerous
worker.main()
"""


@pytest.fixture
def bad_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_START", BAD_WORKER)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_file_costs_only_itself(
    folder: Path, tmp_path: Path, bad_worker: None, workers: int
) -> None:
    for name in ("crash", "hang", "bug"):
        (folder / f"{name}.txt").write_text(f"the file named {name}, with enough words")
    config = DataConfig(workers=workers, file_timeout=3)
    corpus = data.prepare([folder], tmp_path / "corpus", config)
    assert corpus.stats["skipped"] == {
        "binary file": 1,
        "pdf is not supported yet": 1,
        "the parser failed": 1,
        "the process reading it died": 1,
        "took longer than file_timeout": 1,
    }
    assert sum(corpus.stats["documents"].values()) == 60 + 30 + 3
    assert corpus.stats["unsettled"] == 2


def test_what_a_dead_worker_could_not_read_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "crash.txt").write_text("a file that was only unlucky")
    monkeypatch.setattr(pool, "_START", BAD_WORKER)
    data.prepare([folder], tmp_path / "corpus")
    monkeypatch.undo()
    corpus = data.prepare([folder], tmp_path / "corpus")
    assert corpus.stats["unsettled"] == 0
    assert sum(corpus.stats["documents"].values()) == 60 + 30 + 3 + 1


def test_modules_beside_the_documents_are_not_imported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "html", "lxml", "typing"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported a document')")
    monkeypatch.chdir(folder)
    corpus = data.prepare([folder], tmp_path / "corpus")
    assert "the process reading it died" not in corpus.stats["skipped"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_stopping_early_leaves_no_process(folder: Path, tmp_path: Path) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    files = sorted(folder.glob("note-*.txt"))
    requests = [pool.Request(n, str(path), None, path.name) for n, path in enumerate(files)]
    started = []
    real = pool.subprocess.Popen

    def record(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.subprocess, "Popen", record)
        answers = pool.read_files(requests, spools, DataConfig(), workers=2)
        next(answers)
        answers.close()
    assert started
    assert all(process.poll() is not None for process in started)
    assert not os.path.exists(f"/proc/{started[0].pid}/exe")

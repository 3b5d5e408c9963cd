"""Files that are made once: by one of several processes, whole, and not for ever."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet.cli import app
from linnet.errors import OutputError
from linnet.generate.llama_cpp import cache
from linnet.generate.llama_cpp.cache import (
    cached,
    content_hash,
    kept_files,
    note_use,
    remove_oldest,
)
from linnet.progress import Progress

OPEN = """
import sys, time
from pathlib import Path
from linnet.generate.llama_cpp.cache import cached
def make(out):
    print("made", flush=True)
    time.sleep(0.5)
    out.write_bytes(b"made")
print(cached([Path(sys.argv[1])], "both", make))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x" * (2 << 20))
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def write(out: Path) -> None:
    out.write_bytes(b"made")


def test_a_file_is_made_once_for_its_content(source: Path) -> None:
    made = []

    def make(out: Path) -> None:
        made.append(out)
        write(out)

    first = cached([source], "a", make)
    assert first.read_bytes() == b"made"
    assert cached([source], "a", make) == first
    moved = source.rename(source.with_name("elsewhere"))
    assert cached([moved], "a", make) == first
    assert len(made) == 1
    assert cached([moved], "b", make) != first
    (moved / "manifest.json").write_text('{"seconds": 3}')
    assert cached([moved], "a", make) == first
    (moved / "model.safetensors").write_bytes(b"y" * (2 << 20))
    assert cached([moved], "a", make) != first
    assert not list(first.parent.glob(".*making*"))


def test_a_hash_is_noted_and_never_stale(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = content_hash(source)
    monkeypatch.setattr(cache, "hash_file", lambda file: pytest.fail(f"hashed {file}"))
    (source / "config.json").unlink()
    small = content_hash(source)  # only the large file is left, whose hash is known
    monkeypatch.undo()
    assert small != first
    weights = source / "model.safetensors"
    times = weights.stat()
    weights.write_bytes(b"z" * (2 << 20))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert content_hash(source) != small


def test_what_fails_leaves_nothing(source: Path, gguf_cache: Path) -> None:
    def full(out: Path) -> None:
        out.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = set(gguf_cache.iterdir()) if gguf_cache.exists() else set()
    with pytest.raises(OutputError, match="the disk is full"):
        cached([source], "full", full)
    left = {file.name for file in set(gguf_cache.iterdir()) - before}
    assert all(name.endswith(".sha256") for name in left), left
    assert cached([source], "full", write).read_bytes() == b"made"


def test_two_processes_make_one_file(source: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(source)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[0].split() for process in both]
    assert sorted(map(len, told)) == [1, 2]
    assert told[0][-1] == told[1][-1]
    assert Path(told[0][-1]).is_file()


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    files = []
    for age, name in enumerate(("new", "older", "oldest")):
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(bytes(100))
        then = time.time() - 90_000 * (age + 1)
        os.utime(file, (then, then))
        files.append(file)
    remove_oldest(tmp_path, keep=files[2], limit=250)
    assert [file.exists() for file in files] == [True, False, True]
    os.utime(files[0])  # in use
    remove_oldest(tmp_path, keep=files[2], limit=0)
    assert [file.exists() for file in files] == [True, False, True]


def test_a_place_that_cannot_be_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        cached([source], "a", write)


def test_a_file_that_is_served_counts_as_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that has been open for days keeps its file; one of the user's is not touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served, other = cached([source], "a", write), cached([source], "b", write)
    days_ago = time.time() - 3 * 86_400
    for file in (served, other):
        os.utime(file, (days_ago, days_ago))
    own = tmp_path / "own.gguf"
    own.write_bytes(b"mine")
    os.utime(own, (days_ago, days_ago))
    note_use(served)
    note_use(own)
    assert own.stat().st_mtime == pytest.approx(days_ago)
    remove_oldest(served.parent, keep=own, limit=0)
    assert served.exists()
    assert not other.exists()


def test_what_is_kept_is_named_shown_and_cleared(source: Path, gguf_cache: Path) -> None:
    class Listener(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    file = cached([source], "shown", write, progress=Listener())
    cached([source], "shown", write, progress=Listener())
    assert len(said) == 1
    assert str(file) in said[0]
    assert "linnet cache --clear" in said[0]
    assert str(gguf_cache) in CliRunner().invoke(app, ["cache"]).output
    result = CliRunner().invoke(app, ["cache", "--clear"])
    assert not file.exists()
    assert not kept_files()
    assert f"{gguf_cache}: 0 files, 0 B" in " ".join(result.output.split())

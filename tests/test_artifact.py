"""Artifacts: whole or absent, found current or not, and never two writers in one place."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnet import artifact, output
from linnet.artifact import Artifact, Recipe, writing
from linnet.errors import (
    ArtifactError,
    BusyError,
    ConfigError,
    DamagedError,
    DataError,
    OutputError,
    StoppedError,
)

Usage = namedtuple("Usage", "total used free")


def write(path: Path, text: str = "hello", **changes: Any) -> Artifact:
    settings: dict[str, Any] = {"kind": "thing", "format": 1, "config": {}, "inputs": {}}
    volatile = changes.pop("volatile", ())
    with artifact.create(path, **{**settings, **changes}, volatile=volatile) as draft:
        (draft.path / "text.txt").write_text(text, encoding="utf-8")
        (draft.path / "time.log").write_text(str(time.time_ns()), encoding="utf-8")
        draft.stats["length"] = len(text)
    return artifact.read(path)


def listing(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = write(tmp_path / "made", config={"width": 3})
    assert (made.path / "text.txt").read_text() == "hello"
    assert made.stats == {"length": 5}
    assert made.manifest.config == {"width": 3}
    assert made.manifest.files["text.txt"].sha256 == hashlib.sha256(b"hello").hexdigest()
    assert made.manifest.files["text.txt"].bytes == 5
    assert listing(tmp_path) == {"made"}
    assert artifact.read(made.path, kind="thing", verify=True).manifest == made.manifest


def test_content_depends_on_files_alone_and_recipe_on_what_they_are_made_from(
    tmp_path: Path,
) -> None:
    first = write(tmp_path / "made", config={"width": 3})
    again = write(tmp_path / "other", config={"width": 4})
    assert first.content == again.content
    assert first.manifest.recipe != again.manifest.recipe
    assert write(tmp_path / "other", "changed").content != first.content
    for change in ({"kind": "other"}, {"format": 2}, {"inputs": {"corpus": "0" * 64}}):
        assert write(tmp_path / "other", **change).manifest.recipe != first.manifest.recipe


def test_volatile_files_stay_outside_the_content(tmp_path: Path) -> None:
    first = write(tmp_path / "made", volatile=("text.*",))
    second = write(tmp_path / "other", "another", volatile=("text.*",))
    assert first.content == second.content
    assert first.manifest.files["text.txt"].sha256 is None
    (first.path / "time.log").write_text("longer than it was", encoding="utf-8")
    assert artifact.read(first.path, verify=True)  # volatile files may change
    (first.path / "time.log").unlink()
    with pytest.raises(DamagedError, match=r"time\.log is missing"):
        artifact.read(first.path)


def test_an_error_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    before = write(tmp_path / "made")

    def fail(resume: bool) -> None:
        with artifact.create(
            tmp_path / "made", kind="thing", format=1, config={}, inputs={}, resume=resume
        ) as draft:
            (draft.path / "half.txt").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail(resume=False)
    assert listing(tmp_path) == {"made"}
    with pytest.raises(RuntimeError):
        fail(resume=True)
    assert listing(tmp_path) == {"made", ".made.partial"}
    assert artifact.read(tmp_path / "made", verify=True).manifest == before.manifest


def resume(path: Path, config: dict[str, Any]) -> bool:
    with artifact.create(
        path, kind="thing", format=1, config=config, inputs={}, resume=True
    ) as draft:
        resumed = (draft.path / "half.txt").exists()
        assert draft.resumed is resumed
        (draft.path / "half.txt").write_text("half")
        if not resumed:
            raise RuntimeError("stop")
    return resumed


def test_only_the_same_recipe_is_taken_up_again(tmp_path: Path) -> None:
    for width in (3, 4):  # the second is another recipe: it starts anew
        with pytest.raises(RuntimeError):
            resume(tmp_path / "made", {"width": width})
        assert artifact.partial_exists(tmp_path / "made")
    assert resume(tmp_path / "made", {"width": 4})
    made = artifact.read(tmp_path / "made", verify=True)
    assert set(made.manifest.files) == {"half.txt"}
    assert not artifact.partial_exists(tmp_path / "made")


@pytest.mark.parametrize("reader", [artifact.read, write])
def test_a_kill_between_the_two_renames_loses_nothing(reader: Any, tmp_path: Path) -> None:
    write(tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / ".made.superseded")
    assert reader(tmp_path / "made").manifest.stats == {"length": 5}
    assert listing(tmp_path) == {"made"}


def test_a_kill_after_both_renames_leaves_the_new_one(tmp_path: Path) -> None:
    write(tmp_path / "other", "old")
    write(tmp_path / "made", "newer")
    (tmp_path / "other").rename(tmp_path / ".made.superseded")
    assert artifact.read(tmp_path / "made").stats == {"length": 5}
    write(tmp_path / "made", "newest")
    assert listing(tmp_path) == {"made"}


def test_readers_never_disturb_a_writer(tmp_path: Path) -> None:
    write(tmp_path / "made")
    stop = threading.Event()
    seen: list[int] = []
    failed: list[Exception] = []

    def look() -> None:
        while not stop.is_set():
            try:
                seen.append(artifact.read(tmp_path / "made", verify=True).stats["length"])
            except ArtifactError as error:
                failed.append(error)

    # The reader may look while the old directory is gone and the new one is not there yet.
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for size in range(60):
            write(tmp_path / "made", "x" * (size + 6))
    finally:
        stop.set()
        reader.join()
    assert not failed
    assert seen == sorted(seen)
    assert artifact.read(tmp_path / "made", verify=True).stats == {"length": 65}


KILLED = """
import os, signal, sys
from pathlib import Path
from linnet import artifact, output
point = sys.argv[2]
real = os.replace
def rename(source, target):
    if point == "before" and source.name == "made":
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if point == "between" and source.name == "made":
        os.kill(os.getpid(), signal.SIGKILL)
    if point == "after" and source.name == ".made.partial":
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = rename
with artifact.create(Path(sys.argv[1]), kind="thing", format=1, config={}, inputs={}) as draft:
    (draft.path / "text.txt").write_text("new")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize(("point", "left"), [("before", 5), ("between", 5), ("after", None)])
def test_killed_while_swapping(point: str, left: int | None, tmp_path: Path) -> None:
    write(tmp_path / "made")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "made"), point], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    found = artifact.read(tmp_path / "made", verify=True)
    assert found.stats.get("length") == left  # the other writer recorded no length
    assert write(tmp_path / "made", "newest").stats == {"length": 6}
    assert listing(tmp_path) == {"made"}


def test_what_linnet_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    foreign = tmp_path / "made"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds something that linnet did not write"):
        write(foreign)
    assert (foreign / "thesis.txt").read_text() == "years of work"
    file = tmp_path / "other"
    file.write_text("years of work")
    with pytest.raises(OutputError, match="is a file; choose another output directory"):
        write(file)
    assert file.read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty").stats == {"length": 5}


def test_an_empty_directory_is_filled_with_whoever_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = write(Path("."))
    assert made.stats == {"length": 5}
    assert os.listdir() == os.listdir(tmp_path / "here") != []  # it is not one that is gone
    assert listing(tmp_path) == {"here"}
    assert artifact.current(Path("."), Recipe("thing", 1, {}, {})) is not None
    with pytest.raises(OutputError, match=r"you are in it; run the command from another one"):
        write(Path("."), "other", config={"a": 1})
    with pytest.raises(OutputError, match=r"you are in it"):
        write(tmp_path / "here", "other")
    (tmp_path / "here" / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "here" / "inner")
    with pytest.raises(OutputError, match=r"you are in it"):
        write(Path(".."), "other")
    monkeypatch.chdir(tmp_path)
    assert write(Path("here"), "another").stats == {"length": 7}
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="holds something that linnet did not write"):
        write(Path(".."))
    assert listing(tmp_path) == {"here"}


@pytest.mark.parametrize("name", ["notes.txt", "text.txt"])
def test_what_is_put_into_an_empty_directory_meanwhile_stays(name: str, tmp_path: Path) -> None:
    made, recipe = tmp_path / "made", Recipe("thing", 1, {}, {})
    made.mkdir()
    with contextlib.ExitStack() as stack:
        if name == "text.txt":
            stack.enter_context(pytest.raises(OutputError, match=f"{name} is in the way; move it"))
        with artifact.create(made, kind="thing", format=1, config={}, inputs={}) as draft:
            (draft.path / "text.txt").write_text("hello")
            (made / name).write_text("mine")
    assert (made / name).read_text() == "mine"
    assert listing(tmp_path) == ({"made"} if name == "notes.txt" else {"made", ".made.partial"})
    if name == "text.txt":
        (made / name).unlink()
    assert artifact.current(made, recipe) is not None
    assert (made / "text.txt").read_text() == "hello"


@pytest.mark.parametrize("moved", range(3))
def test_killed_while_filling(moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").mkdir()
    real, left = output.move, [moved]

    def move(source: Path, target: Path) -> None:
        if source.parent.name == ".made.partial":
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        real(source, target)

    # Killed, so that nothing is cleared up.
    for killed in (writing, artifact.reading):
        monkeypatch.setattr(killed, "remove", lambda path: None)
    monkeypatch.setattr(artifact.reading, "move", move)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "made")
    monkeypatch.undo()
    assert not artifact.is_artifact(tmp_path / "made")
    assert write(tmp_path / "made", "newest").stats == {"length": 6}
    assert listing(tmp_path) == {"made"}


def damage(made: Path, manifest: dict[str, Any], how: str) -> None:
    file = made / "manifest.json"
    text = file.read_text()
    changed: dict[str, str] = {
        "empty": "",
        "cut": text[:100],
        "list": "[]",
        "unknown": json.dumps({**manifest, "surprise": 1}),
        "files": json.dumps({**manifest, "files": {"text.txt": 3}}),
        "missing": json.dumps({k: v for k, v in manifest.items() if k != "files"}),
    }
    file.write_text(changed[how])


@pytest.mark.parametrize("how", ["empty", "cut", "list", "unknown", "files", "missing"])
def test_a_damaged_manifest_is_named_with_what_to_do(how: str, tmp_path: Path) -> None:
    made = write(tmp_path / "made").path
    damage(made, json.loads((made / "manifest.json").read_text()), how)
    with pytest.raises(DamagedError) as caught:
        artifact.read(made)
    assert f"{made / 'manifest.json'} is damaged" in str(caught.value)
    assert f"delete {made} and run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    made = write(tmp_path / "made").path
    (made / "text.txt").write_text("jello")  # of the same size
    assert artifact.read(made)
    with pytest.raises(DamagedError, match=r"text\.txt is not what was written"):
        artifact.read(made, verify=True)
    (made / "text.txt").write_text("hell")
    with pytest.raises(DamagedError, match=r"text\.txt should have 5 bytes\. Got 4; delete .*made"):
        artifact.read(made)
    (made / "text.txt").unlink()
    with pytest.raises(DamagedError, match=r"text\.txt is missing"):
        artifact.read(made)


def test_absent_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a corpus directory, but it does not exist"):
        artifact.read(tmp_path / "made", kind="corpus")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtifactError, match=r"but it has no manifest\.json"):
        artifact.read(tmp_path)
    write(tmp_path / "made")
    with pytest.raises(ArtifactError, match="expected a corpus directory, but it is a thing"):
        artifact.read(tmp_path / "made", kind="corpus")


def test_current_means_same_recipe_and_whole(tmp_path: Path) -> None:
    made = write(tmp_path / "made")
    recipe = Recipe("thing", 1, {}, {})
    assert artifact.current(made.path, recipe)
    assert artifact.current(made.path, replace(recipe, config={"width": 3})) is None
    assert artifact.current(tmp_path / "none", recipe) is None
    (made.path / "text.txt").unlink()
    assert artifact.current(made.path, recipe) is None


HOLDER = """
import sys, time
from pathlib import Path
from linnet import artifact, output
with output.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_that_holds_the_lock_is_respected_and_forgotten_when_killed(
    tmp_path: Path,
) -> None:
    before = write(tmp_path / "made")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "made")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="another linnet process is writing here"):
            write(tmp_path / "made", "other")
        assert artifact.read(tmp_path / "made", verify=True).manifest == before.manifest
        write(tmp_path / "other")  # another place is free
    finally:
        holder.kill()
        holder.wait()
    assert write(tmp_path / "made", "newer").stats == {"length": 5}
    assert listing(tmp_path) == {"made", "other"}  # without their locks


CONTENDER = """
import os, sys
from pathlib import Path
from linnet import output
place = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
    with output.hold(place / ".made.lock"):
        # Fails where another is within: two would make the same file.
        os.close(os.open(place / "within", os.O_CREAT | os.O_EXCL))
        os.unlink(place / "within")
"""


def test_two_that_contend_are_never_both_within_though_lock_files_are_removed(
    tmp_path: Path,
) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        _, errors = process.communicate("go\n", timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert listing(tmp_path) == set()


def test_a_lock_file_removed_while_one_waits_for_it(tmp_path: Path) -> None:
    entered: list[str] = []

    def second() -> None:
        with output.hold(tmp_path / "lock"):
            entered.append("second")
            assert (tmp_path / "lock").exists()

    waiting = threading.Thread(target=second)
    with output.hold(tmp_path / "lock"):
        waiting.start()
        waiting.join(0.2)
        assert entered == []
    waiting.join(10)
    assert entered == ["second"]
    assert listing(tmp_path) == set()


def fail(path: Path, text: str, error: Exception) -> None:
    """Make an artifact that can be resumed, and fail after some text."""
    with artifact.create(path, kind="thing", format=1, config={}, inputs={}, resume=True) as draft:
        (draft.path / "some.txt").write_text(text)
        raise error


def test_directories_for_what_failed_are_removed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "a" / "b" / "made", tmp_path / "there" / "made"):
        with pytest.raises(DataError):
            fail(place, "some", DataError("too little text"))
    assert listing(tmp_path) == {"there"}  # which was there before
    assert listing(tmp_path / "there") == set()


@pytest.mark.parametrize(
    ("error", "written", "stays"),
    [
        (StoppedError("stopped"), "some", True),
        (OSError(errno.EIO, "broken"), "some", True),
        (StoppedError("stopped"), "", False),
        (DataError("too little text"), "some", False),
        (ConfigError("cannot work"), "some", False),
    ],
)
def test_what_was_begun_stays_where_there_is_something_to_resume(
    tmp_path: Path, error: Exception, written: str, stays: bool
) -> None:
    with pytest.raises(type(error)):
        fail(tmp_path / "made", written, error)
    assert artifact.partial_exists(tmp_path / "made") == stays
    assert listing(tmp_path) == ({".made.partial"} if stays else set())


def test_lineage_is_relative_so_that_all_can_move_together(tmp_path: Path) -> None:
    corpus = write(tmp_path / "a" / "corpus", kind="corpus")
    shards = write(tmp_path / "a" / "shards", kind="shards", inputs={"corpus": corpus})
    inputs = {"shards": shards, "corpus": corpus, "sources": "0" * 64}
    write(tmp_path / "a" / "model", kind="model", inputs=inputs)
    (tmp_path / "a").rename(tmp_path / "b")
    made = artifact.lineage(tmp_path / "b" / "model")
    assert [entry.manifest.kind for entry in made] == ["model", "shards", "corpus"]
    assert made[0].manifest.inputs["corpus"].content == corpus.content
    shutil.rmtree(tmp_path / "b" / "corpus")
    assert len(artifact.lineage(tmp_path / "b" / "model")) == 2


def test_what_lies_on_another_drive_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_two_drives(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    corpus = write(tmp_path / "corpus", kind="corpus")
    monkeypatch.setattr(os.path, "relpath", of_two_drives)
    write(tmp_path / "model", kind="model", inputs={"corpus": corpus})
    made = artifact.lineage(tmp_path / "model")
    assert [entry.manifest.kind for entry in made] == ["model", "corpus"]


def test_too_little_room_is_said_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 30_000_000))
    output.require_space(tmp_path / "not" / "yet", 10_000_000, purpose="the corpus")
    with pytest.raises(OutputError, match=r"the corpus needs 20\.0 MB, but only 30\.0 MB are free"):
        output.require_space(tmp_path / "not" / "yet", 20_000_000, purpose="the corpus")
    with pytest.raises(OutputError, match=r"and 16\.8 MB have to stay free"):
        output.require_space(tmp_path / "not" / "yet", 20_000_000, purpose="the corpus")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "text.txt"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # safetensors and tokenizers report it so.
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_error_however_it_is_reported(error: Exception, tmp_path: Path) -> None:
    before = write(tmp_path / "made")
    with (
        pytest.raises(OutputError, match=r"made: the disk is full; what was finished is kept"),
        artifact.create(tmp_path / "made", kind="thing", format=1, config={}, inputs={}),
    ):
        raise error
    assert artifact.read(tmp_path / "made", verify=True).manifest == before.manifest
    assert listing(tmp_path) == {"made"}
    with (
        pytest.raises(OutputError, match=r"made: a file of this size may not .*ulimit -f"),
        output.full_disk_named(tmp_path / "made"),
    ):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


@pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX")
def test_a_limit_on_files_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (200_000, resource.RLIM_INFINITY))
    with pytest.raises(OutputError, match=r"none may be larger than 200\.0 KB .*ulimit -f"):
        output.require_file_size(96 << 20, purpose="the corpus")
    monkeypatch.undo()
    output.require_file_size(1, purpose="the corpus")


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    output.write_text(tmp_path / "made", "old")
    with pytest.raises(UnicodeEncodeError):
        output.write_text(tmp_path / "made", "not text: \udcff")
    assert (tmp_path / "made").read_text() == "old"
    assert listing(tmp_path) == {"made"}


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 KB"), (2_000_000, "2.0 MB"), (3e15, "3000.0 TB")],
)
def test_sizes_as_disks_are_sold(count: float, shown: str) -> None:
    assert output.human_bytes(count) == shown


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to be another user")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from linnet import artifact
        from linnet.errors import OutputError
        os.setuid(65534)
        try:
            with artifact.create(Path(sys.argv[1]), kind="a", format=1, config={}, inputs={}):
                pass
        except OutputError as error:
            print(error)
    """)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:  # where pytest keeps others out
        parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "made")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}: cannot write here (Permission denied)\n", done.stderr


@pytest.mark.parametrize("moment", ["swap", "rmtree"])
def test_a_run_killed_when_all_is_written_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Neither the result nor what is needed to go on may be lost in between."""
    path = tmp_path / "made"

    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    def run(patch: pytest.MonkeyPatch) -> None:
        target = (artifact.writing, "swap") if moment == "swap" else (artifact.writing, "remove")
        with artifact.create(
            path, kind="thing", format=1, config={}, inputs={}, resume=True, working="state"
        ) as draft:
            (draft.path / "text.txt").write_text("hello", encoding="utf-8")
            (draft.path / "state").mkdir()
            (draft.path / "state" / "big.bin").write_bytes(bytes(9))
            patch.setattr(*target, die)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        run(patch)
    assert not path.exists()
    recipe = Recipe("thing", 1, {}, {})
    assert artifact.current(path, replace(recipe, format=2)) is None
    found = artifact.current(path, recipe)
    assert found is not None
    assert set(found.manifest.files) == {"text.txt"}
    assert (path / "text.txt").read_text() == "hello"
    assert not artifact.partial_exists(path)


def test_what_something_is_made_from_is_not_replaced_by_it(tmp_path: Path) -> None:
    with artifact.create(tmp_path / "base", kind="a", format=1, config={}, inputs={}) as draft:
        (draft.path / "file").write_text("kept")
    made = artifact.read(tmp_path / "base")
    for out in (tmp_path / "base", tmp_path, tmp_path / "x" / ".." / "base"):
        with (
            pytest.raises(OutputError, match="expected another place to write to"),
            artifact.create(out, kind="b", format=1, config={}, inputs={"base": made}),
        ):
            pass
        with (
            pytest.raises(OutputError, match="would be lost"),
            artifact.create(
                out, kind="b", format=1, config={}, inputs={}, sources=[tmp_path / "base"]
            ),
        ):
            pass
    assert (tmp_path / "base" / "file").read_text() == "kept"
    with artifact.create(
        tmp_path / "base2", kind="b", format=1, config={}, inputs={"base": made}
    ) as draft:
        (draft.path / "file").write_text("made")


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(sys.platform == "win32", reason="there are no modes")
class TestWhoMayRead:
    def test_directories_are_for_their_owner(self, tmp_path: Path) -> None:
        before = os.umask(0o022)
        try:
            made = write(tmp_path / "new" / "made")
        finally:
            os.umask(before)
        assert mode_of(tmp_path / "new") == mode_of(made.path) == 0o700
        assert mode_of(made.path / "text.txt") == 0o644

    def test_the_owner_may_say_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(output.MODE_VARIABLE, "750")
        assert mode_of(write(tmp_path / "made").path) == 0o750
        for wrong in ("7", "077", "abc", "0o750", "1750"):
            monkeypatch.setenv(output.MODE_VARIABLE, wrong)
            with pytest.raises(ConfigError, match="LINNET_DIRECTORY_MODE"):
                write(tmp_path / "other")

    def test_a_directory_keeps_its_mode(self, tmp_path: Path) -> None:
        made = write(tmp_path / "made")
        made.path.chmod(0o755)
        assert mode_of(write(tmp_path / "made", "again").path) == 0o755


class TestLinksOfStrangers:
    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        file = tmp_path / "victim"
        file.write_text("kept", encoding="utf-8")
        return file

    @pytest.mark.parametrize("name", [".made.txt.partial", "made.txt"])
    def test_a_file_is_written_in_place_of_a_link(
        self, tmp_path: Path, victim: Path, name: str
    ) -> None:
        (tmp_path / name).symlink_to(victim)
        output.write_text(tmp_path / "made.txt", "new")
        assert victim.read_text("utf-8") == "kept"
        assert (tmp_path / "made.txt").read_text("utf-8") == "new"
        assert not (tmp_path / "made.txt").is_symlink()
        assert not (tmp_path / ".made.txt.partial").exists()

    def test_a_directory_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / ".made.txt.partial").mkdir()
        with pytest.raises(OutputError, match=r"\.made\.txt\.partial is in the way"):
            output.write_text(tmp_path / "made.txt", "new")

    def test_nothing_is_appended_through_a_link(self, tmp_path: Path, victim: Path) -> None:
        for target in (victim, tmp_path / "nothing"):
            link = tmp_path / "log"
            link.symlink_to(target)
            with pytest.raises(OutputError, match="log is a symbolic link"):
                output.open_to_append(link)
            link.unlink()
        assert victim.read_text("utf-8") == "kept"
        assert not (tmp_path / "nothing").exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes")
    def test_a_pipe_is_no_log(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "log")
        with pytest.raises((OutputError, OSError)):
            output.open_to_append(tmp_path / "log")

    @pytest.mark.parametrize("link", ["file", "folder/file", ""])
    def test_a_partial_directory_with_links_is_not_taken_up(
        self, tmp_path: Path, victim: Path, link: str
    ) -> None:
        partial, elsewhere = tmp_path / ".made.partial", tmp_path / "elsewhere"
        content = partial if link else elsewhere
        content.mkdir()
        recipe = Recipe("thing", 1, {}, {}).hash
        (content / "recipe").write_text(recipe, encoding="utf-8")
        if link:
            (partial / link).parent.mkdir(exist_ok=True)
            (partial / link).symlink_to(victim)
        else:
            partial.symlink_to(elsewhere)
        with (
            pytest.raises(OutputError, match=rf"{link or 'partial'} is a symbolic link"),
            artifact.create(
                tmp_path / "made", kind="thing", format=1, config={}, inputs={}, resume=True
            ) as draft,
        ):
            (draft.path / (link or "file")).write_text("harm", encoding="utf-8")
        assert victim.read_text("utf-8") == "kept"
        assert [path.name for path in elsewhere.glob("*")] in ([], ["recipe"])

    def test_a_lock_is_no_link(self, tmp_path: Path, victim: Path) -> None:
        (tmp_path / ".made.lock").symlink_to(victim)
        with pytest.raises(OutputError, match=r"\.made\.lock is a symbolic link"):
            write(tmp_path / "made")
        assert victim.read_text("utf-8") == "kept"

    def test_a_file_of_an_artifact_is_no_link(self, tmp_path: Path, victim: Path) -> None:
        made = write(tmp_path / "made", "kept")
        (made.path / "text.txt").unlink()
        (made.path / "text.txt").symlink_to(victim)
        with pytest.raises(DamagedError, match=r"text\.txt is a symbolic link"):
            artifact.read(made.path)


@pytest.mark.parametrize(
    ("name", "is_plain"),
    [
        ("a", True), ("a/b.c", True), ("..a", True), ("a/.b", True), ("ü", True), ("", False),
        (".", False), ("..", False), ("/a", False), ("a/", False), ("a//b", False),
        ("a/../b", False), ("./a", False), ("a\\b", False), ("c:a", False), ("a\0", False),
        (5, False), (None, False),
    ],
)  # fmt: skip
def test_plain_names(name: Any, is_plain: bool) -> None:
    assert output.is_plain_name(name) == is_plain

"""Artifacts updated by transaction: all of an update or nothing, and readers keep their files."""

import hashlib
import json
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnet import artifact, output
from linnet.artifact import Artifact, Generation, Recipe, generations
from linnet.errors import ArtifactError, BusyError, DamagedError, OutputError

SETTINGS: dict[str, Any] = {"kind": "index", "format": 1, "config": {}, "inputs": {}}
RECIPE = Recipe(**SETTINGS)


def change(path: Path, *, removed: tuple[str, ...] = (), **texts: str) -> Artifact:
    """Update an artifact: write files of these names, and leave out others."""
    with artifact.update(path, **SETTINGS) as draft:
        for name in removed:
            draft.remove(name)
        for name, text in texts.items():
            (draft.path / name).write_text(text, encoding="utf-8")
        draft.stats["files"] = len(texts)
    return artifact.read(path, verify=True)


def texts(found: Artifact) -> dict[str, str]:
    return {name: found.file(name).read_text("utf-8") for name in sorted(found.names)}


def listing(path: Path) -> set[str]:
    """Every file below a place."""
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


def own(found: Artifact) -> set[str]:
    """What an artifact of one generation consists of."""
    manifest = f"generation-{found.manifest.generation}.json"
    return {"manifest.json", manifest, *found.manifest.files}


def assert_nothing_else(found: Artifact) -> None:
    """Neither in an artifact nor beside it."""
    expected = {f"{found.path.name}/{name}" for name in own(found)}
    assert listing(found.path.parent) == expected


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the disk keeps things when the power fails is not seen here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_nobody_is_left_in_a_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what is updated was none of this kind, it is replaced; as soon as nobody is in it."""
    place = tmp_path / "index"
    with artifact.create(place, **SETTINGS) as draft:
        (draft.path / "old").touch()
    monkeypatch.chdir(place)
    for finishing in (lambda: change(place, a="one"), lambda: artifact.current(place, RECIPE)):
        with pytest.raises(OutputError, match="you are in it"):
            finishing()
    assert os.listdir() == os.listdir(place)
    monkeypatch.chdir(tmp_path)
    found = artifact.current(place, RECIPE)
    assert found is not None
    assert texts(found) == {"a": "one"}


def test_an_update_changes_what_it_writes_and_keeps_the_rest(tmp_path: Path) -> None:
    first = change(tmp_path / "index", a="one", b="two")
    assert (first.manifest.generation, texts(first)) == (1, {"a": "one", "b": "two"})
    second = change(tmp_path / "index", b="other", c="three")
    assert (second.manifest.generation, second.stats) == (2, {"files": 2})
    assert texts(second) == {"a": "one", "b": "other", "c": "three"}
    assert second.names["a"] == "generation-1/a"  # where it was: nothing is copied
    third = change(tmp_path / "index", removed=("a", "b"))
    assert texts(third) == {"c": "three"}
    assert_nothing_else(third)
    for name in ("a", "index"):
        with pytest.raises(ArtifactError, match=f"expected a file {name} in it, but it has none"):
            third.file(name)


def test_it_is_an_artifact_as_any(tmp_path: Path) -> None:
    change(tmp_path / "index", a="one")
    made = change(tmp_path / "index", b="two")
    assert artifact.is_artifact(made.path)
    assert artifact.read(tmp_path, kind="index") == made  # within a project
    recipe = Recipe(**SETTINGS)
    assert artifact.current(made.path, recipe) == made
    assert artifact.current(made.path, replace(recipe, format=2)) is None
    with artifact.create(
        tmp_path / "answers", kind="answers", format=1, config={}, inputs={"index": made}
    ) as draft:
        (draft.path / "answer").write_text("42")
    found = artifact.lineage(tmp_path / "answers")
    assert [one.manifest.kind for one in found] == ["answers", "index"]
    assert found[0].manifest.inputs["index"].content == made.content
    with pytest.raises(ArtifactError, match="expected a corpus directory, but it is an index"):
        artifact.read(made.path, kind="corpus")


def test_the_content_depends_on_the_files_not_on_how_they_came_to_be(tmp_path: Path) -> None:
    change(tmp_path / "one", a="old", b="two")
    change(tmp_path / "one", c="three", a="one")
    change(tmp_path / "other", a="one", b="two", c="three")
    one, other = artifact.read(tmp_path / "one"), artifact.read(tmp_path / "other")
    assert one.content == other.content
    assert one.manifest.recipe == other.manifest.recipe
    assert change(tmp_path / "other", a="another").content != one.content


def test_the_content_of_other_artifacts_is_what_it_was(tmp_path: Path) -> None:
    with artifact.create(tmp_path / "made", kind="thing", format=1, config={}, inputs={}) as draft:
        (draft.path / "text.txt").write_text("hello", encoding="utf-8")
        (draft.path / "time.log").write_text("now", encoding="utf-8")
    made = artifact.read(tmp_path / "made")
    listed = f'["thing",{{"text.txt":"{hashlib.sha256(b"hello").hexdigest()}"}}]'
    assert made.content == hashlib.sha256(listed.encode()).hexdigest()
    assert "generation" not in (made.path / "manifest.json").read_text("utf-8")


def rows(draft: artifact.Draft, *values: str) -> None:
    """An SQLite file of these rows; what is in it is the digest."""
    place = draft.path / "rows.sqlite"
    connection = sqlite3.connect(place)
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (v)")
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    every = connection.execute("SELECT v FROM t ORDER BY v").fetchall()
    connection.close()
    draft.digest = hashlib.sha256(repr(every).encode()).hexdigest()


def test_a_database_is_content_by_the_digest_that_its_writer_gives(tmp_path: Path) -> None:
    made = []
    for parts in (("a", "b"), ("b", "a"), ("a",)):
        for transaction in (False, True):
            place = tmp_path / f"{'-'.join(parts)}-{transaction}" / "index"
            writing = artifact.update if transaction else artifact.create
            with writing(place, **SETTINGS) as draft:
                rows(draft, *parts)
            made.append(artifact.read(place, verify=True).content)
    assert len(set(made)) == 2
    assert made[0] == made[3]
    with artifact.update(tmp_path / "a-True" / "index", **SETTINGS) as draft:
        draft.copy("rows.sqlite")
        rows(draft, "b")
    now = artifact.read(tmp_path / "a-True" / "index", verify=True)
    assert now.content == made[0]
    assert_nothing_else(now)
    # It is volatile, yet a transaction vouches for every byte.
    file = now.file("rows.sqlite")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(DamagedError, match=r"rows\.sqlite is not what was written"):
        artifact.read(now.path, verify=True)


# -- readers -------------------------------------------------------------------------------


def test_an_open_reader_keeps_its_files_until_it_is_done(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, a="one", b="two")
    with artifact.snapshot(place, kind="index") as old:
        change(place, b="changed")
        with artifact.snapshot(place) as newer:
            last = change(place, removed=("a",), b="changed again")
            assert texts(old) == {"a": "one", "b": "two"}
            assert texts(newer) == {"a": "one", "b": "changed"}
            assert texts(last) == {"b": "changed again"}
        assert texts(old) == {"a": "one", "b": "two"}
        last = change(place)
        assert texts(old) == {"a": "one", "b": "two"}
        assert not (place / newer.names["b"]).exists()  # nobody reads it any more
    assert_nothing_else(change(place))


def test_what_a_reader_needs_is_not_guessed(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, a="one")
    with artifact.snapshot(place) as old:
        change(place, a="two")
        (place / "generation-1.json").unlink()
        change(place, a="three")
        assert texts(old) == {"a": "one"}
    assert_nothing_else(change(place, a="four"))


def test_a_reader_that_died_is_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, a="one")
    (place / "readers").mkdir()
    (place / "readers" / f"1-{'0' * 32}").touch()  # without the lock, which died with it
    assert_nothing_else(change(place, a="two"))


def test_readers_and_a_writer_never_disturb_each_other(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, number="0", same="0")
    stop = threading.Event()
    seen: list[int] = []
    failed: list[BaseException] = []

    def look() -> None:
        while not stop.is_set():
            try:
                with artifact.snapshot(place, verify=True) as found:
                    both = texts(found)
                    assert both["number"] == both["same"]
                    seen.append(int(both["number"]))
            except BaseException as error:
                failed.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 25):
            change(place, number=str(number), same=str(number))
    finally:
        stop.set()
        reader.join()
    assert not failed
    assert seen == sorted(seen)
    assert_nothing_else(change(place, number="last"))


def test_reading_where_no_lock_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(tmp_path / "index", a="one")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("linnet.artifact.generations.hold", refuse)
    with artifact.snapshot(tmp_path / "index") as found:
        assert texts(found) == {"a": "one"}


def test_a_snapshot_of_another_artifact_is_the_artifact(tmp_path: Path) -> None:
    with artifact.create(tmp_path / "made", kind="thing", format=1, config={}, inputs={}) as draft:
        (draft.path / "a").write_text("one")
    with artifact.snapshot(tmp_path / "made", kind="thing") as found:
        assert texts(found) == {"a": "one"}
    with (
        pytest.raises(ArtifactError, match="does not exist"),
        artifact.snapshot(tmp_path / "none"),
    ):
        pass


# -- what goes wrong -----------------------------------------------------------------------


def killed(path: Path, step: int, write: Callable[[Path], object]) -> bool:
    """Run ``write`` in a process that dies before its n-th step in the file system."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(count)
    try:
        write(path)
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("first", [True, False])
def test_a_kill_at_any_moment_leaves_the_generation_before(first: bool, tmp_path: Path) -> None:
    origin = tmp_path / "origin" / "index"
    if not first:
        change(origin, a="one", b="two")
        change(origin, b="old")
    before, after = {"a": "one", "b": "old"}, {"b": "new", "c": "more"}

    def write(path: Path) -> None:
        change(path, removed=() if first else ("a",), **after)

    ends, step = [], 0
    while True:
        place = tmp_path / str(step) / "index"
        if first:
            place.parent.mkdir()
        else:
            shutil.copytree(origin.parent, place.parent)
        died = killed(place, step, write)
        if artifact.is_artifact(place):
            found = texts(artifact.read(place, verify=True))
            ends.append(found == after)
            assert found in (before, after)
        else:
            ends.append(False)
            assert first
        # Whatever is left, the next update goes on from there, and leaves nothing else.
        last = change(place, c="last")
        assert texts(last)["c"] == "last"
        assert_nothing_else(last)
        shutil.rmtree(place.parent)
        if not died:
            break
        step += 1
    assert step > 20
    assert ends == sorted(ends)  # once it is there it stays
    assert ends[-1]


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
@pytest.mark.parametrize("which", ["manifest.json", "generation-2.json", "data", "kept data"])
def test_damage_is_found(which: str, how: str, tmp_path: Path) -> None:
    change(tmp_path / "index", a="kept", b="old")
    made = change(tmp_path / "index", b="written" * 9)
    places = {"data": made.file("b"), "kept data": made.file("a")}
    file = places.get(which, made.path / which)
    content = file.read_bytes()
    middle = len(content) // 2
    spoiled = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:middle], "flipped": spoiled, "empty": b""}[how])
    if (which, how) == ("manifest.json", "gone"):
        with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
            artifact.read(made.path)
        return
    with pytest.raises(DamagedError) as caught:
        artifact.read(made.path, verify=how == "flipped" and "data" in which)
    said = str(caught.value)
    assert file.name in said or which == "manifest.json"
    assert f"delete {made.path}" in said
    assert "\n" not in said


def test_no_bit_of_the_manifests_may_change(tmp_path: Path) -> None:
    made = change(tmp_path / "index", a="one")
    for name in ("manifest.json", "generation-1.json"):
        content = (made.path / name).read_bytes()
        for place in range(0, len(content) - 1, 3):  # the last byte ends the line
            changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            (made.path / name).write_bytes(changed)
            with pytest.raises(DamagedError):
                artifact.read(made.path)
        (made.path / name).write_bytes(content)
    assert artifact.read(made.path) == made


def test_an_error_leaves_the_generation_before_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "index"

    def fail() -> None:
        with artifact.update(place, **SETTINGS) as draft:
            (draft.path / "half").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert listing(tmp_path) == set()
    before = change(place, a="one")
    with pytest.raises(RuntimeError):
        fail()
    assert artifact.read(place, verify=True) == before
    assert_nothing_else(before)


def test_an_update_waits_for_a_reader_that_clears_up(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, a="one")
    held = threading.Event()

    def clear_up() -> None:
        with output.lock(place):
            held.set()
            time.sleep(0.1)

    reader = threading.Thread(target=clear_up)
    reader.start()
    held.wait()
    change(place, a="two")
    reader.join()
    assert artifact.read(place).manifest.generation == 2


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "CLEARING_SECONDS", 0.01)
    change(tmp_path / "index", a="one")
    with (
        artifact.update(tmp_path / "index", **SETTINGS),
        pytest.raises(BusyError, match="another linnet process is writing here"),
    ):
        change(tmp_path / "index", a="two")


def test_what_cannot_be_removed_or_replaced_at_once_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where nothing happens to a file that somebody has open."""
    place = tmp_path / "index"
    change(place, a="one")
    held, waits = place / "generation-1" / "a", [1, 2]
    unlink, replace = Path.unlink, os.replace

    def guarded_unlink(self: Path, missing_ok: bool = False) -> None:
        if self == held:
            raise PermissionError(13, "in use")
        unlink(self, missing_ok=missing_ok)

    def guarded_replace(source: Path, target: Path) -> None:
        if target.name == "manifest.json" and waits:
            waits.pop()
            raise PermissionError(13, "in use")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", guarded_unlink)
        patch.setattr(os, "replace", guarded_replace)
        patch.setattr(output, "_MOVES_WHAT_IS_OPEN", False)
        made = change(place, a="two")
    assert (texts(made), waits) == ({"a": "two"}, [])
    assert listing(place) == own(made) | {"generation-1/a"}
    assert_nothing_else(change(place, a="three"))


def test_another_format_begins_anew_while_readers_keep_the_old(tmp_path: Path) -> None:
    place = tmp_path / "index"
    change(place, a="one", b="two")
    with artifact.snapshot(place) as old:
        with artifact.update(place, **{**SETTINGS, "format": 2}) as draft:
            assert draft.before is None
            with pytest.raises(ArtifactError, match="of the previous generation"):
                draft.copy("a")
            (draft.path / "c").write_text("three")
        now = artifact.read(place, verify=True)
        assert (texts(now), now.manifest.generation) == ({"c": "three"}, 2)
        assert texts(old) == {"a": "one", "b": "two"}
    with artifact.create(place, **SETTINGS) as whole:  # and it can be replaced as a whole
        (whole.path / "d").write_text("four")
    assert texts(artifact.read(place, verify=True)) == {"d": "four"}
    assert texts(change(place, e="five")) == {"e": "five"}  # which knows no generations


def test_it_is_made_once(tmp_path: Path) -> None:
    calls = []

    def write(draft: Generation) -> None:
        calls.append(draft.before)
        (draft.path / "a").write_text("one")

    place = tmp_path / "index"
    first = artifact.make_generation(place, write, **SETTINGS)
    assert artifact.make_generation(place, write, **SETTINGS) == first
    again = artifact.make_generation(place, write, **{**SETTINGS, "inputs": {"corpus": "0" * 64}})
    assert again.manifest.generation == 2
    assert calls == [None, first]
    (place / "generation-2.json").write_text("{}")  # damaged: said, not written over
    with pytest.raises(DamagedError, match="delete"):
        artifact.make_generation(place, write, **SETTINGS)


@pytest.mark.parametrize("name", ["generation-2", "readers", "generation-1/a", ".x"])
def test_nothing_is_written_or_removed_through_a_link(name: str, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "index", tmp_path / "elsewhere"
    change(place, a="one")
    elsewhere.mkdir()
    (elsewhere / "thesis").write_text("years of work")
    shutil.rmtree(place / name) if (place / name).is_dir() else (place / name).unlink(True)
    (place / name).symlink_to(elsewhere)
    with pytest.raises((OutputError, DamagedError), match=f"{name} is a symbolic link"):
        change(place, a="two")
    if name != "generation-1/a":
        with artifact.snapshot(place) as found:
            assert texts(found) == {"a": "one"}
    assert listing(elsewhere) == {"thesis"}


def test_a_manifest_of_a_generation_lists_files_of_generations(tmp_path: Path) -> None:
    made = change(tmp_path / "index", a="one")
    file, pointer = made.path / "generation-1.json", made.path / "manifest.json"
    values = json.loads(file.read_text("utf-8"))
    for name in ("a", "readers/a", "generation-x/a", "generation-1/../a", "generation-1/"):
        files = {name: values["files"]["generation-1/a"]}
        file.write_text(json.dumps({**values, "files": files}), encoding="utf-8")
        digest = artifact.hash_file(file)
        pointer.write_text(json.dumps({"generation": 1, "sha256": digest}), encoding="utf-8")
        with pytest.raises(DamagedError, match=r"generation-1\.json is damaged \(.*file"):
            artifact.read(made.path)

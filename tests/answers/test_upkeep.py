"""Keeping an assistant current: steps in order, what fails, what changes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet.answers import upkeep as module
from linnet.answers.upkeep import SkipStep, Step, Upkeep, vanished
from linnet.answers.workspace import Workspace, check_name
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError, StoppedError
from linnet.progress import Progress

pytestmark = pytest.mark.usefixtures("reading_here")

PATIENCE = 60


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/wren.txt").write_text("The wren sings.")
    return Workspace.of([tmp_path / "notes"], tmp_path / "assistant")


class Made:
    """Steps that note when they were done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.acts: dict[str, Callable[[Progress], Any]] = {}

    def step(self, name: str, **kind: Any) -> Step:
        def make(work: Workspace, progress: Progress) -> str | None:
            self.done.append(name)
            act = self.acts.get(name)
            return f"{name} made" if act is None else act(progress)

        return Step(name, name.title(), make, **kind)

    def steps(self) -> list[Step]:
        return [
            self.step("read", essential=True),
            self.step("index", essential=True, answers=True),
            self.step("learn"),
            self.step("gate"),
        ]


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def running(work: Workspace, made: Made) -> Iterator[Callable[..., Upkeep]]:
    begun: list[Upkeep] = []

    def start(**settings: Any) -> Upkeep:
        found = Upkeep(work, made.steps(), **settings)
        begun.append(found)
        found.start()
        return found

    yield start
    for each in begun:
        each.stop(wait=PATIENCE)


def failing(error: Exception) -> Callable[[Progress], Any]:
    def act(progress: Progress) -> None:
        raise error

    return act


def test_a_step_that_fails_leaves_those_before_it_in_use(work: Workspace, made: Made) -> None:
    refreshed: list[str] = []
    made.acts["learn"] = failing(ValueError("a fault that nobody foresaw"))
    made.acts["gate"] = failing(SkipStep("too few questions"))
    upkeep = Upkeep(work, made.steps(), refreshed=lambda: refreshed.append(made.done[-1]))
    assert upkeep.update()
    assert made.done == ["read", "index", "learn", "gate"]
    status = upkeep.status()
    assert [step.state for step in status.steps] == ["done", "done", "failed", "skipped"]
    assert "nobody foresaw" in status.steps[2].text
    assert status.answers
    assert not status.problem
    assert refreshed == ["index"]


def test_nothing_follows_an_essential_step_that_fails(work: Workspace, made: Made) -> None:
    made.acts["read"] = failing(DataError("no documents found"))
    upkeep = Upkeep(work, made.steps())
    assert not upkeep.update()
    assert made.done == ["read"]
    assert upkeep.status().problem == "no documents found"
    assert not upkeep.status().answers
    del made.acts["read"]
    assert upkeep.update()
    assert upkeep.status().problem == ""


def test_progress_is_told_and_stopping_interrupts(work: Workspace, made: Made) -> None:
    told: list[tuple[float, float | None, str]] = []
    upkeep: Upkeep

    def act(progress: Progress) -> str:
        with progress.task("reading", total=4, unit="files") as task:
            task.advance(3)
            step = upkeep.status().steps[0]
            told.append((step.done, step.total, step.unit))
            upkeep.stop()
            task.advance()
        raise AssertionError("it went on")

    made.acts["read"] = act
    upkeep = Upkeep(work, made.steps())
    with pytest.raises(StoppedError):
        upkeep.update()
    assert told == [(3, 4, "files")]
    assert made.done == ["read"]


def test_what_can_wait_gives_way_to_new_documents(
    running: Callable[..., Upkeep], made: Made
) -> None:
    learning, goes_on = threading.Event(), threading.Event()

    def learn(progress: Progress) -> str:
        with progress.task("learning") as task:
            learning.set()
            assert goes_on.wait(PATIENCE)
            task.advance()
        return "learned"

    made.acts["learn"] = learn
    upkeep = running()
    assert learning.wait(PATIENCE)
    assert upkeep.status().answers
    upkeep.wake()
    goes_on.set()
    assert upkeep.idle.wait(PATIENCE)
    assert made.done == ["read", "index", "learn", "read", "index", "learn", "gate"]


def test_what_can_wait_does_while_somebody_is_answered(
    running: Callable[..., Upkeep], made: Made
) -> None:
    answered, asked = threading.Event(), threading.Event()

    def is_busy() -> bool:
        asked.set()
        return not answered.is_set()

    upkeep = running(is_busy=is_busy)
    assert asked.wait(PATIENCE)
    assert made.done == ["read", "index"]
    answered.set()
    assert upkeep.idle.wait(PATIENCE)
    assert made.done == ["read", "index", "learn", "gate"]


def test_it_gives_way_a_few_times_only(
    running: Callable[..., Upkeep], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARE", 1e12)  # once done, it is not done again here
    upkeep: Upkeep
    begun = threading.Event()

    def learn(progress: Progress) -> str:
        assert begun.wait(PATIENCE)
        with progress.task("learning") as task:
            if made.done.count("learn") <= 10:
                upkeep.wake()  # documents that change all the time
            task.advance()
        return "learned"

    made.acts["learn"] = learn
    upkeep = running()
    begun.set()
    assert upkeep.idle.wait(PATIENCE)
    assert made.done.count("learn") == module.INTERRUPTIONS + 1


def test_learning_takes_a_share_of_the_time(
    work: Workspace, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def learn(progress: Progress) -> str:
        now[0] += 60.0
        return "learned"

    made.acts["learn"] = learn
    upkeep = Upkeep(work, made.steps())
    assert upkeep.update()
    assert upkeep.update()
    assert made.done == ["read", "index", "learn", "gate", "read", "index", "gate"]
    assert upkeep.status().steps[2].state == "skipped"
    now[0] += 60.0 * module.SHARE
    assert upkeep.update()
    assert made.done[-2:] == ["learn", "gate"]


def test_a_folder_that_is_gone_is_waited_for(
    running: Callable[..., Upkeep], work: Workspace, made: Made, tmp_path: Path
) -> None:
    upkeep = running(follow=True)
    assert upkeep.idle.wait(PATIENCE)
    (tmp_path / "notes").rename(tmp_path / "away")
    wait_until(lambda: "is not there" in upkeep.status().problem)
    assert made.done == ["read", "index", "learn", "gate"]
    assert upkeep.status().answers
    (tmp_path / "away").rename(tmp_path / "notes")
    wait_until(lambda: not upkeep.status().problem)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 20):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come to that")


def test_an_empty_folder_is_no_reason_to_forget(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "notes/wren.txt").unlink()
    assert vanished(work) == ""  # nothing was read from it yet
    (tmp_path / "notes/wren.txt").write_text("The wren sings in the hedge.")
    from linnet.data import prepare

    prepare(work.sources, work.corpus, work.reading_settings(), exclude=[work.path])
    (tmp_path / "notes/wren.txt").unlink()
    assert "is empty" in vanished(work)


def test_changes_are_followed(running: Callable[..., Upkeep], made: Made, tmp_path: Path) -> None:
    upkeep = running(follow=True)
    assert upkeep.idle.wait(PATIENCE)
    (tmp_path / "notes/owl.txt").write_text("The owl hunts.")
    wait_until(lambda: made.done.count("index") == 2)


def test_a_directory_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/letter.txt").write_text("Dear Ada")
    with pytest.raises(OutputError, match="did not write"):
        Workspace.of([tmp_path], tmp_path / "own")
    with pytest.raises(ArtifactError, match="linnet assistant"):
        Workspace(tmp_path / "own")
    with pytest.raises(ConfigError, match="name the documents"):
        Workspace.of([], tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["letter.txt"]


def test_sources_are_remembered(tmp_path: Path, work: Workspace) -> None:
    with pytest.raises(DataError, match="mistyped is not there"):
        Workspace.of([tmp_path / "mistyped"], work.path)
    again = Workspace.of([], work.path)
    assert again.owner_sources == (str(tmp_path / "notes"),)


def test_how_scanned_pages_are_read_is_remembered(tmp_path: Path, work: Workspace) -> None:
    assert (work.reading_settings().ocr, work.reads_images) == ("none", False)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG")
    with pytest.raises(ConfigError, match="not a text format"):
        work.add("photo.png", photo)
    Workspace.of([], work.path, ocr="tesseract")
    again = Workspace.of([tmp_path / "notes"], work.path)
    assert again.reading_settings().ocr == "tesseract"
    assert again.add("photo.png", photo) == "added/photo.png"
    Workspace.of([], work.path, ocr="none")
    assert Workspace(work.path).remove("added/photo.png")  # it may be taken out all the same


@pytest.mark.parametrize("name", ["a.txt", "für.md", "a b (2).pdf", "sub/deep.html", "README"])
def test_usual_names_are_taken(name: str) -> None:
    assert "/".join(check_name(name)) == name

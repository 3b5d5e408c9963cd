"""Links, pipes and odd directories where Linnet is going to write in a stranger's project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from case import Case

VICTIM = "victim"  # a file beside the project that nothing may touch
TEXT = "do not touch\n"
BUILD = ("build", "--out", "DIR/project", "--set", "train.steps=5")
TRAIN = ("train", "DIR/project/shards", "DIR/made")
SETTINGS = {
    "steps": 3, "compile": "no", "threads": 1, "batch_tokens": 64, "width": 32, "depth": 1,
    "context": 32, "validation_tokens": 500,
}  # fmt: skip


def victim(place: Path) -> Path:
    """A file, and a folder with one, that lie outside of the project."""
    file = place / VICTIM
    file.write_text(TEXT, encoding="utf-8")
    folder = place / f"{VICTIM}s"
    folder.mkdir(exist_ok=True)
    (folder / "kept").write_text(TEXT, encoding="utf-8")
    return file


def untouched(place: Path) -> bool:
    """Whether they are as they were, and nothing was added."""
    folder = place / f"{VICTIM}s"
    if not folder.exists():
        return True
    texts = [(place / VICTIM).read_text("utf-8"), (folder / "kept").read_text("utf-8")]
    return texts == [TEXT, TEXT] and os.listdir(folder) == ["kept"]


def _link(name: str, *, target: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        victim(place)
        file = place / name
        if file.is_dir() and not file.is_symlink():
            file.rename(file.with_name("moved"))
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(place / target)

    return make


def _cases() -> Iterator[Case]:
    harmless = "project/.linnet.toml.partial", "project/.report.html.partial"
    for target in (VICTIM, "nothing"):
        for name in harmless:
            # A setting that rewrites linnet.toml, the evaluation and the report.
            command = ("build", "--out", "DIR/project", "--set", "evaluate.seed=7")
            make = _link(name, target=target)
            title = f"link: {name} to {target}"
            yield Case(title, make, command, "", project=True, seconds=60)
        for lock in ("build", "model", "shards"):
            name = f"project/.{lock}.lock"
            command = (
                BUILD if lock != "shards" else ("forget", "DIR/project", "note-01.txt", "--yes")
            )
            line = r"\S+\.lock is a symbolic link"
            yield Case(
                f"link: {name} to {target}", _link(name, target=target), command, line,
                project=True, seconds=60,
            )  # fmt: skip
    changes = {"model": "train.steps=5", "evaluation": "evaluate.samples=2"}
    for stage, change in changes.items():
        name = f"project/.{stage}.partial"
        command = ("build", "--out", "DIR/project", "--set", change)
        make = _link(name, target=f"{VICTIM}s")
        line = r"\S+\.partial is a symbolic link"
        yield Case(f"link: {name}", make, command, line, project=True, seconds=60)
    for file in ("metrics.jsonl", "state", "loss.svg", "config.json", "tokenizer.json"):
        for target in (VICTIM, f"{VICTIM}s"):
            yield Case(
                f"link: a resumed {file} to {target}", _resumed(file, target), TRAIN,
                r"\S+ is a symbolic link", project=True, seconds=60,
            )  # fmt: skip
    yield Case(
        "pipe: a resumed metrics.jsonl", _pipe, TRAIN, r"\S+ is no regular file", project=True
    )


def _recipe(place: Path) -> str:
    """The recipe that :data:`TRAIN` is about to make."""
    from linnet.artifact import Recipe, read
    from linnet.config import from_mapping
    from linnet.train import TrainConfig
    from linnet.train.pretraining import FORMAT, KIND

    config = from_mapping(TrainConfig, SETTINGS, where="case")
    shards = read(place / "project" / "shards")
    return Recipe(KIND, FORMAT, config.recipe(), {"shards": shards}).hash


def _resumed(file: str, target: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        victim(place)
        partial = place / ".made.partial"
        partial.mkdir()
        (partial / "recipe").write_text(_recipe(place), encoding="utf-8")
        (partial / file).unlink(missing_ok=True)
        (partial / file).symlink_to(place / target)

    return make


def _pipe(place: Path) -> None:
    partial = place / ".made.partial"
    partial.mkdir()
    (partial / "recipe").write_text(_recipe(place), encoding="utf-8")
    os.mkfifo(partial / "metrics.jsonl")


CASES = list(_cases())

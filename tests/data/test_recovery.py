"""What a corpus must survive, and what must not survive in it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet import data, output
from linnet.data import DataConfig, catalog, reading
from linnet.data.executor import Answer
from linnet.data.worker import Job
from linnet.errors import DataError, OutputError
from reading_here import ReadingHere

pytestmark = pytest.mark.usefixtures("reading_here")

QUESTION = "Which of the many kinds of moss beside the old stream is the first to turn green again?"
ADDRESS = "quentin.zzyzx@example.com"


def _in(folder: Path, passage: str) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name for path in files if passage.encode() in path.read_bytes()}


def _sources(corpus: Path) -> set[str]:
    return {d.source for split in data.SPLITS for d in data.read_documents(corpus, split)}


@pytest.mark.slow
def test_a_damaged_catalog_costs_time_only(folder: Path, tmp_path: Path) -> None:
    made = data.prepare([folder], tmp_path / "corpus")
    place = made.path / catalog.NAME
    content = bytearray(place.read_bytes())
    for page in range(len(content) // 4096 // 2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 2000] = bytes(2000)
    place.write_bytes(content)
    (folder / "new.txt").write_text("Something new, so that the corpus has to be made again.")
    again = data.prepare([folder], made.path)
    assert again.content == data.prepare([folder], tmp_path / "fresh").content


def test_what_was_deleted_is_gone_from_the_texts_too(folder: Path, tmp_path: Path) -> None:
    (folder / "letter.txt").write_text("A letter that mentions the word zanzibarquartz just once.")
    corpus = data.prepare([folder], tmp_path / "corpus").path
    assert _in(corpus, "zanzibarquartz")
    (folder / "letter.txt").unlink()
    data.prepare([folder], corpus)
    assert not _in(corpus, "zanzibarquartz")


def test_pieces_are_kept_from_evaluation_sets_too(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"Document {number} says {number * 7919} things.")
    (folder / "answers.txt").write_text(f"Someone asked: {QUESTION} Nobody knew it.")
    (tmp_path / "questions.txt").write_text(QUESTION)
    config = DataConfig(evaluation_sets=(str(tmp_path / "questions.txt"),))
    corpus = data.prepare([folder], tmp_path / "corpus", config)
    assert corpus.stats["split_by"] == "piece"
    assert "docs/answers.txt" not in _sources(corpus.path)


class _Counting(ReadingHere):
    """Notes which files it is asked to read."""

    def __init__(self) -> None:
        super().__init__(2, timeout=60, memory_mb=2000)
        self.read: set[str] = set()

    def map(self, task, items, **options):
        def noted():
            for number, item in items:
                self.read |= {Path(item["path"]).name} if task == reading.READ else set()
                yield number, item

        return super().map(task, noted(), **options)


@pytest.mark.parametrize("name", ["questions.docx", "questions.png", "missing.jsonl"])
def test_an_evaluation_set_that_cannot_be_read_is_told_first(
    name: str, folder: Path, tmp_path: Path
) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and then nothing that makes sense")
    counting = _Counting()
    config = DataConfig(evaluation_sets=(str(tmp_path / name),))
    with pytest.raises(DataError, match=name):
        data.prepare([folder], tmp_path / "corpus", config, executor=counting)
    assert counting.read <= {name}


def test_the_names_of_groups_and_threads_are_masked(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(
        "".join(
            json.dumps({"owner": ADDRESS, "text": f"Row {n} is about {n * 7919} things."}) + "\n"
            for n in range(50)
        )
    )
    (folder / "mail.eml").write_text(
        f"From: Quentin <{ADDRESS}>\nTo: all@example.com\nSubject: Mosses\n\n"
        "The mosses beside the stream are green again, as they are in every year.\n"
    )
    config = DataConfig(group_column="owner", split_by="document", near_duplicates=1)
    corpus = data.prepare([folder], tmp_path / "corpus", config).path
    assert not _in(corpus, "quentin.zzyzx")
    documents = [d for split in data.SPLITS for d in data.read_documents(corpus, split)]
    assert not any("zzyzx" in d.group for d in documents)
    assert len({d.group for d in documents if d.source.startswith("docs/rows.jsonl")}) == 1


@pytest.mark.parametrize("inside", ["\u200b", "\xad", "\x01", "\ufeff"])
def test_a_difference_does_not_show_what_cleaning_brought_to_light(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SHOWN", 1)
    file = tmp_path / "note.txt"
    file.write_text(f"Write to quentin@exam{inside}ple.com about the mosses beside the stream.\n")
    job = Job({}, tmp_path, tmp_path / "spool")
    item = {"path": str(file), "kind": "text", "group": "note.txt"}
    (message,) = reading.read(item, job)
    assert message["private"] == {"EMAIL": 1}
    assert "quentin" not in message["difference"]


class _Complaining(ReadingHere):
    """One file fails, and the parser quotes it."""

    def map(self, task, items, **options) -> Iterator[Answer]:
        for answer in super().map(task, items, **options):
            if answer.done and answer.number == 0 and task == reading.READ:
                reason, detail = "the parser failed", f"ValueError: not a number: {ADDRESS}"
                answer = dataclasses.replace(answer, messages=[], reason=reason, detail=detail)
            yield answer


def test_what_a_parser_says_is_masked(folder: Path, tmp_path: Path) -> None:
    executor = _Complaining(2, timeout=60, memory_mb=2000)
    corpus = data.prepare([folder], tmp_path / "corpus", executor=executor).path
    assert "ValueError: not a number: <EMAIL>" in (corpus / "report.json").read_text()
    assert not _in(corpus, ADDRESS)


@pytest.mark.slow
def test_a_disk_without_room_for_what_is_compared_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="disk is full"):
        data.prepare([folder], tmp_path / "corpus")
    monkeypatch.undo()
    resumed = data.prepare([folder], tmp_path / "corpus")
    assert resumed.content == data.prepare([folder], tmp_path / "fresh").content


def test_a_corpus_that_takes_its_place_late_has_no_working_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when it was whole, before what was only needed on the way was removed."""
    out = tmp_path / "corpus"
    remove = output.remove

    def stay(place: Path, **options: Any) -> None:
        if Path(place).name == "working":
            raise KeyboardInterrupt
        remove(place, **options)

    monkeypatch.setattr("linnet.artifact.writing.remove", stay)
    with pytest.raises(KeyboardInterrupt):
        data.prepare([folder], out)
    monkeypatch.undo()
    data.prepare([folder], out)
    assert not (out / "working").exists()
    assert (out / "texts").is_dir()

"""The stage as a whole: what comes out, and that it depends on nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from as_on_windows import OPEN, as_on_windows
from conftest import PAGE
from linnet import artifact, data
from linnet.data import DataConfig, preparation, reading
from linnet.errors import DataError
from linnet.progress import Progress
from reading_here import ReadingHere

pytestmark = pytest.mark.usefixtures("reading_here")


def _corpus(path: Path) -> dict[str, list[data.Document]]:
    return {split: list(data.read_documents(path, split)) for split in data.SPLITS}


def _same(first: artifact.Artifact, second: artifact.Artifact) -> None:
    assert first.content == second.content
    reports = [(a.path / "report.json").read_bytes() for a in (first, second)]
    assert reports[0] == reports[1]


def _splits(path: Path) -> dict[str, str]:
    return {d.source: split for split, ds in _corpus(path).items() for d in ds}


def _fresh(folder: Path, tmp_path: Path) -> Path:
    return data.prepare([folder], tmp_path / "fresh").path


class Watched(ReadingHere):
    """Notes which files it is asked to read."""

    def __init__(self) -> None:
        super().__init__(2, timeout=60, memory_mb=2000)
        self.read: set[str] = set()

    def map(self, task, items, **options):
        def noted():
            for number, item in items:
                if task == reading.READ:
                    self.read.add(Path(item["path"]).name)
                yield number, item

        return super().map(task, noted(), **options)


@pytest.mark.usefixtures("reading_confined")
def test_every_document_comes_out_once_with_its_text(folder: Path, tmp_path: Path) -> None:
    corpus = data.prepare([folder], tmp_path / "corpus")
    documents = [d for split in _corpus(corpus.path).values() for d in split]
    texts = {d.source: d.text for d in documents}
    assert texts["docs/note-03.txt"] == (folder / "note-03.txt").read_text().strip()
    assert texts["docs/sub/page.html"] == PAGE
    assert texts["docs/code.py"] == "def double(x):\n    return 2 * x"
    assert {d.text for d in documents} >= {f"Row {n} holds some words." for n in range(30)}
    assert len({d.id for d in documents}) == len(documents) == 60 + 30 + 3
    assert all(d.bytes == len(d.text.encode()) for d in documents)
    report = json.loads((corpus.path / "report.json").read_text())
    assert report["documents"]["dropped"] == {
        "exact duplicate": 1,
        "shorter than min_characters": 1,
    }
    assert report["duplicates"] == [
        {
            "name": "docs/note-07.txt",
            "same_as": "docs/copy.txt",
            "documents": 1,
            "similarity": 1.0,
        }
    ]
    assert report["skipped"]["reasons"] == {"binary file": 1, "damaged pdf": 1}
    found = report["documents"]["found"]
    assert found == report["documents"]["kept"] + sum(report["documents"]["dropped"].values())
    assert all(corpus.stats["documents"][split] for split in data.SPLITS)


@pytest.mark.usefixtures("reading_confined")
def test_the_result_does_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    results = [
        data.prepare([folder], tmp_path / str(workers), DataConfig(workers=workers))
        for workers in (1, 3)
    ]
    _same(*results)


def test_a_second_run_reads_only_what_changed_and_equals_a_fresh_one(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    before = data.prepare([folder], out)
    splits = _splits(out)
    assert data.prepare([folder], out) == before

    (folder / "note-05.txt").write_text("This note was written anew, with other words.")
    (folder / "note-06.txt").unlink()
    (folder / "copy.txt").unlink()  # note-07 takes its place
    (folder / "added.txt").write_text("One more document, which was not here before.")
    os.utime(folder / "note-08.txt")
    watched = Watched()
    updated = data.prepare([folder], out, executor=watched)
    assert watched.read == {"note-05.txt", "added.txt"}
    now, fresh = (_splits(path) for path in (updated.path, _fresh(folder, tmp_path)))
    assert now.keys() == fresh.keys()
    assert "docs/note-07.txt" in now
    assert "docs/note-06.txt" not in now
    # What was divided before stays where it was; a fresh corpus may only differ in what was
    # there under another name.
    assert now["docs/note-07.txt"] == splits["docs/copy.txt"]
    assert all(now[name] == splits[name] for name in now.keys() & splits.keys())
    assert {name for name in now if now[name] != fresh[name]} <= {"docs/note-07.txt"}


@pytest.mark.slow
def test_other_settings_read_everything_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    data.prepare([folder], out)
    changed = data.prepare([folder], out, DataConfig(min_characters=2))
    _same(changed, data.prepare([folder], tmp_path / "fresh", DataConfig(min_characters=2)))


def test_a_killed_run_is_taken_up_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "corpus"

    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "build_report", die)
    with pytest.raises(KeyboardInterrupt):
        data.prepare([folder], out)
    monkeypatch.undo()
    assert not out.exists()

    watched = Watched()
    resumed = data.prepare([folder], out, executor=watched)
    assert not watched.read
    _same(resumed, data.prepare([folder], tmp_path / "fresh"))


def _long_documents(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        paragraphs = (f"Paragraph {number}.{n} of a longer text. " * 12 for n in range(80))
        (folder / f"book-{number}.txt").write_text("\n\n".join(paragraphs))


class _Warnings(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.slow
def test_few_long_documents_are_held_out_in_pieces(tmp_path: Path) -> None:
    folder, out = tmp_path / "books", tmp_path / "corpus"
    _long_documents(folder, 4)
    heard = _Warnings()
    corpus = data.prepare([folder], out, progress=heard)
    assert "pieces" in heard.lines[0]
    assert corpus.stats["split_by"] == "piece"
    splits = _corpus(out)
    assert all(splits.values())
    ids = [{d.id for d in documents} for documents in splits.values()]
    assert not (ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2])
    words = sorted(" ".join(d.text for ds in splits.values() for d in ds).split())
    assert words == sorted(" ".join(p.read_text() for p in folder.iterdir()).split())

    (folder / "book-1.txt").write_text("A new book of one short paragraph only.")
    _same(data.prepare([folder], out), data.prepare([folder], tmp_path / "fresh"))


@pytest.mark.slow
def test_what_auto_decided_stays(tmp_path: Path) -> None:
    folder, out = tmp_path / "books", tmp_path / "corpus"
    _long_documents(folder, 3)
    data.prepare([folder], out)
    _long_documents(folder, 45)
    assert data.prepare([folder], out).stats["split_by"] == "piece"
    assert data.prepare([folder], tmp_path / "fresh").stats["split_by"] == "document"


def test_a_divided_text_file_gives_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    stories = [f"Once upon a time there were {n} bears in a wood." for n in range(100)]
    path.write_text("\n<|endoftext|>\n".join(stories))
    corpus = data.prepare([path], tmp_path / "corpus")
    documents = [d for ds in _corpus(corpus.path).values() for d in ds]
    assert sorted(d.text for d in documents) == sorted(stories)
    assert all(d.group == d.id for d in documents)


def test_a_document_that_is_too_large_is_skipped_with_its_reason_unless_it_can_be_cut(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "line.txt").write_text("x" * 3_000_000)
    (folder / "page.html").write_text("<p>" + "x" * 3_000_000)
    (folder / "parts.txt").write_text(f"good part one\n<|endoftext|>\n{'y' * 2_000_000}")
    config = DataConfig(max_document_bytes=1_000_000, min_characters=5, quality=("off",))
    corpus = data.prepare([folder], tmp_path / "corpus", config)
    assert corpus.stats["skipped"]["larger than max_document_bytes"] == 1  # the page
    texts = [d.text for ds in _corpus(corpus.path).values() for d in ds]
    assert "good part one" in texts
    for letter in "xy":  # at least one of the equal sections
        assert any(set(text) == {letter} for text in texts)


def test_nothing_to_read_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    out = tmp_path / "corpus"
    with pytest.raises(DataError, match="it is empty"):
        data.prepare([folder], out)
    (folder / "a.pdf").write_bytes(b"%PDF-1.4")
    (folder / "b.txt").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(DataError, match="none of 2 files can be used") as caught:
        data.prepare([folder], out)
    assert "damaged pdf" in str(caught.value)
    assert "binary file" in str(caught.value)
    assert not out.exists()
    assert not artifact.partial_exists(out)


def test_reading_some_columns_leaves_the_others_empty(folder: Path, tmp_path: Path) -> None:
    corpus = data.prepare([folder], tmp_path / "corpus")
    first = next(data.read_documents(corpus.path, "train", columns=["id", "bytes"]))
    assert first.id
    assert first.bytes
    assert first.text == ""
    with pytest.raises(DataError, match="split must be one of"):
        next(data.read_documents(corpus.path, "dev"))


@pytest.mark.slow
def test_real_documents_yield_what_is_in_them(test_data: Path, tmp_path: Path) -> None:
    config = DataConfig(quality=("off",), near_duplicates=1.0)
    corpus = data.prepare([test_data / "documents"], tmp_path / "corpus", config)
    texts = {d.source: d.text for ds in _corpus(corpus.path).values() for d in ds}
    jis = texts["documents/example-steelJIS-datasheet-utf-16.html"]
    assert "日本語" in jis
    assert "日本語" in " ".join(texts.values())
    included = next(text for name, text in texts.items() if "README-w-include" in name)
    assert "sample docs directory" in included
    assert "import" not in included.split("\n")[0]
    assert corpus.stats["files"]["read"] > 100


@pytest.mark.skipif(not OPEN.is_dir(), reason="needs to be told what is open")
def test_nothing_is_left_open_that_is_to_be_moved_or_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows moves and removes nothing that is open or mapped."""
    refused = as_on_windows(monkeypatch)
    corpus = data.prepare([folder], tmp_path / "corpus")
    (folder / "new.txt").write_text("Something new, so that the corpus is made again.", "utf-8")
    assert data.prepare([folder], corpus.path).content != corpus.content
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "letter.txt").write_text(" \n" * 50, "utf-8")
    with pytest.raises(DataError, match="none of 1 files"):
        data.prepare([empty], tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "docs", "empty"]
    assert refused == []

"""Which files are found, and whether they changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from linnet import data
from linnet.data import python_library
from linnet.data.files import absolute, is_junk, scan
from linnet.data.survey import survey
from linnet.errors import DataError
from linnet.forget import forget

pytestmark = pytest.mark.usefixtures("reading_here")


def _names(*sources: str | Path, **options) -> list[str]:
    return [file.name for file in scan(sources, **options).files]


def test_files_are_sorted_and_junk_is_counted(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.txt").write_text("x")
    (folder / "~$lock.txt").write_text("x")
    (folder / "photo.jpg").write_bytes(b"x")
    found = scan([folder])
    assert [file.name for file in found.files] == sorted(file.name for file in found.files)
    assert found.ignored == {"hidden": 1, "made by tools": 2}
    assert [(file.name, file.reason) for file in found.skipped] == [
        ("docs/photo.jpg", "not a text format")
    ]


def test_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent in "ab":
        (tmp_path / parent / "notes").mkdir(parents=True)
        (tmp_path / parent / "notes" / "x.txt").write_text(parent)
    a, b = tmp_path / "a" / "notes", tmp_path / "b" / "notes"
    assert _names(a, b, a) == ["notes#2/x.txt", "notes/x.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_pipes_and_loops_do_no_harm(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a.txt").write_text("text")
    (root / "inner" / "loop").symlink_to(root, target_is_directory=True)
    (root / "broken.txt").symlink_to(root / "nothing.txt")
    os.mkfifo(root / "pipe.txt")
    found = scan([root])
    assert [file.name for file in found.files] == ["docs/inner/a.txt"]
    assert {file.name: file.reason for file in found.skipped} == {
        "docs/broken.txt": "broken link",
        "docs/inner/loop": "link to a folder that was already read",
        "docs/pipe.txt": "not a regular file",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_folder_is_named_by_its_own_place_rather_than_by_a_link(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    (root / "m").mkdir(parents=True)
    (root / "m" / "a.txt").write_text("text")
    for link in ("a", "z"):
        (root / link).symlink_to(root / "m", target_is_directory=True)
    assert _names(root) == ["docs/m/a.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_unicode_are_read(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    place = os.fsencode(root) + b"/caf\xe9.txt"
    with open(place, "wb") as file:
        file.write(b"some text in a file with an old name")
    corpus = data.prepare([root], tmp_path / "corpus")
    assert [d.source for d in data.read_documents(corpus.path, "train")] == ["docs/caf\\xe9.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_are_listed_explained_and_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    names = [b"two\nlines.txt", b"caf\xe9.txt", b"red\x1b[31m.txt", b"plain.txt"]
    for number, name in enumerate(names):
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(b"some text in the file number %d" % number)
    corpus = data.prepare([root], tmp_path / "corpus").path
    shown = ["docs/caf\\xe9.txt", "docs/plain.txt", "docs/red\\x1b[31m.txt", "docs/two\\nlines.txt"]
    assert [one.name for one in data.list_documents(corpus)] == shown
    for name in names[:3]:
        typed = os.fsdecode(name)
        assert data.explain(corpus, typed)[0].name in shown
        assert len(forget(corpus, typed).documents) == 1
    data.prepare([root], corpus)
    assert [one.name for one in data.list_documents(corpus)] == ["docs/plain.txt"]


def test_a_folder_that_may_not_be_read_is_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def refuse(path: str):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert ("docs/sub", "permission denied") in {(s.name, s.reason) for s in scan([folder]).skipped}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "note-00.txt").chmod(0)
    corpus = data.prepare([folder], tmp_path / "corpus")
    assert corpus.stats["skipped"]["permission denied"] == 1


def test_what_comes_and_goes_during_the_scan_does_no_harm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def cloud_drive(path: str):
        entries = list(real(path))
        if str(path) == str(folder):
            (folder / "note-00.txt").unlink()
            (folder / "sub").rename(folder.parent / "away")
        return iter(entries)

    monkeypatch.setattr(os, "scandir", cloud_drive)
    found = scan([folder])
    assert {file.name: file.reason for file in found.skipped} == {
        "docs/note-00.txt": "no such file or directory",
        "docs/sub": "no such file or directory",
    }


def test_what_programs_left_is_told_by_its_marks(folder: Path) -> None:
    before = _names(folder)
    (folder / "made").mkdir()
    (folder / "made" / "x.txt").write_text("x")
    (folder / "made" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (folder / "table").mkdir()
    for name in ("dataset_info.json", "state.json"):
        (folder / "table" / name).write_text("{}")
    (folder / ".report.docx.icloud").write_text("x")
    found = scan([folder])
    assert [file.name for file in found.files] == before
    assert found.ignored == {"hidden": 1, "made by tools": 3}
    assert found.skipped[0].reason == "not downloaded from the cloud"
    (folder / "manifest.json").write_text('{"name": "an extension"}')
    (folder / "state.json").write_text("{}")
    assert "docs/state.json" in _names(folder)


def test_names_of_junk() -> None:
    junk = (".DS_Store", "__MACOSX", "Thumbs.db", "~$letter.docx", "draft.txt~", "node_modules")
    assert all(map(is_junk, junk))
    assert not any(map(is_junk, ("letter.docx", "maps", "a.min.txt", "temp")))


def test_sources_have_names_that_hold_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    kept = ("python:library", "https://example.org/a?b=c", "hf:org/name:config@test[5:10]")
    assert tuple(map(absolute, kept)) == kept
    assert absolute("docs/**/*.txt") == f"{tmp_path}/docs/**/*.txt"
    assert absolute("hf:rows@test[:5]") == f"hf:{tmp_path}/rows@test[:5]"


def test_what_linnet_wrote_is_not_read_again(folder: Path) -> None:
    before = _names(folder)
    data.prepare([folder], folder / "corpus")
    (folder / "model").mkdir()
    (folder / "model" / "notes.txt").write_text("x")
    assert _names(folder, exclude=[folder / "model"]) == before


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        scan([tmp_path / "nothing"])


def test_the_fingerprint_follows_names_and_contents(folder: Path, tmp_path: Path) -> None:
    first = survey([folder]).fingerprint
    os.utime(folder / "note-01.txt")
    assert survey([folder]).fingerprint == first
    (folder / "note-01.txt").write_text("changed contents of the note")
    second = survey([folder]).fingerprint
    (folder / "note-01.txt").rename(folder / "other.txt")
    assert len({first, second, survey([folder]).fingerprint}) == 3


def test_the_fingerprint_trusts_the_catalog_for_old_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    corpus = data.prepare([folder], tmp_path / "corpus")

    def fail(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("linnet.data.survey.hash_file", fail)
    fingerprint = survey([folder], corpus=corpus.path).fingerprint
    assert fingerprint == corpus.manifest.inputs["sources"].content


def test_the_library_of_python_keeps_a_module_and_its_docstrings_together() -> None:
    files = {name: (path, kind) for path, name, kind in python_library.files()}
    folders = {part for name in files for part in name.split("/")[:-1]}
    assert not folders & {"test", "tests", "site-packages", "idlelib", "encodings"}
    path, _ = files["json/decoder.py"]
    source, docs = python_library.read_module(Path(path).read_text(), "json/decoder.py")
    assert source.group == docs.group == "json/decoder.py"
    assert "class json.decoder.JSONDecoder" in docs.text
    import json.decoder

    assert json.decoder.JSONDecoder.raw_decode.__doc__.split()[0] in docs.text


def test_the_topics_are_those_of_help() -> None:
    from pydoc_data.topics import topics

    path = next(path for path, name, _ in python_library.files() if name.endswith("topics.py"))
    found = list(python_library.read_topics(Path(path).read_text(encoding="utf-8")))
    assert [extracted.group for extracted in found] == [f"topics/{name}" for name in sorted(topics)]
    assert topics["while"].split() == found[sorted(topics).index("while")].text.split()

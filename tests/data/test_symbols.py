"""Molecules, logs and files whose names say nothing."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from linnet.data import kinds
from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract
from linnet.data.extract.sniff import sniff


def read(path: Path, kind: str | None, **settings: int) -> list[Extracted]:
    context = Context.of_file(DataConfig(**settings), path.name, path.parent)  # type: ignore[arg-type]
    return [one for one in extract(path, kind=kind, context=context) if isinstance(one, Extracted)]


def test_each_molecule_is_a_document_without_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text(
        "smiles name\nCC(=O)Oc1ccccc1C(=O)O aspirin\n\nC[C@H](N)C(=O)O\tL-alanine 1\nO\n"
    )
    documents = read(path, "symbols")
    assert [one.text for one in documents] == ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "O"]
    assert [one.part for one in documents] == ["#2", "#4", "#5"]
    assert {(one.group, one.family) for one in documents} == {(None, "symbols")}


def test_logs_are_cut_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    lines = [f"2024-05-01 12:00:{n % 60:02} INFO request {n} für é" for n in range(200)]
    path.write_text("\n".join(lines), encoding="utf-8")
    (whole,) = read(path, "log")
    assert (whole.text, whole.part) == ("\n".join(lines), "")
    pieces = read(path, "log", cut_above=1000)
    assert "\n".join(one.text for one in pieces) == "\n".join(lines)
    assert all(500 <= len(one.text) <= 1000 for one in pieces[:-1])
    pieces = read(path, "log", max_document_bytes=1000)
    assert all(len(one.text.encode()) <= 1000 for one in pieces)


MAIL = "Received: from a\nSubject: Hello\nFrom: a@b.org\n\nThe text.\n"
STARTS = {
    "html": "\ufeff <!-- saved -->\n<!DOCTYPE html><html><body>x</body></html>",
    "xml": '<?xml version="1.0"?><a>b</a>',
    "eml": MAIL,
    "mbox": f"From a@b.org Mon May  6 12:00:00 2024\n{MAIL}",
    "json": json.dumps([{"text": "a"}], indent=1),
    "jsonl": '{"text": "a"}\n{"text": "b"}\n',
    "notebook": json.dumps({"cells": [{"cell_type": "code"}]}, indent=1),
    "transcript": "WEBVTT\n\n00:00.000 --> 00:01.000\nx",
    "rtf": "{\\rtf1 x}",
    "code": "#!/bin/sh\necho",
    "text": "From here on: a letter.\nSubject: none\n[see below] {as said}",
}


@pytest.mark.parametrize("kind", STARTS)
def test_the_first_bytes_tell(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "nameless"
    path.write_text(STARTS[kind], encoding="utf-8")
    assert sniff(path) == kind


def test_containers_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "nameless"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    for content in (data.getvalue(), gzip.compress(data.getvalue()), gzip.compress(b"text")):
        path.write_bytes(content)
        assert sniff(path) == "archive"
    parquet.write_table(pa.table({"a": [1]}), path)
    assert sniff(path) == "parquet"


def test_real_documents_are_recognised_without_their_names(test_data: Path) -> None:
    told = {"pdf", "docx", "pptx", "xlsx", "xls", "odt", "rtf", "epub", "msg", "html", "xml"}
    files = [path for path in (test_data / "documents").rglob("*") if path.suffix]
    files = [path for path in files if kinds.kind_of(path.name) in told and path.stat().st_size]
    assert len(files) > 100
    wrong = [(f.name, sniff(f)) for f in files if sniff(f) != kinds.kind_of(f.name)]
    assert wrong == [("password_protected.xlsx", "docx")]  # which can only be told with its key


def test_a_name_that_is_not_true(test_data: Path, tmp_path: Path) -> None:
    documents = test_data / "documents"
    for source, name, part in [
        ("fake-html.html", "a.pdf", "My first paragraph"),
        ("fake-html.html", "a.xls", "My first paragraph"),
        ("simple.docx", "a.txt", "These are a few of my favorite things"),
    ]:
        shutil.copyfile(documents / source, tmp_path / name)
        texts = [one.text for one in read(tmp_path / name, kinds.kind_of(name))]
        assert part in "".join(texts)


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.docx", b"PK\x03\x04" + bytes(100)), ("a.pdf", b"%PDF-1.7\n" + bytes(range(256)))],
)
def test_damage_stays_damage(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged"):
        read(path, kinds.kind_of(name))

"""``linnet data list``: every file and document once, with its verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from linnet import data
from linnet.data import DataConfig
from linnet.errors import ConfigError

pytestmark = pytest.mark.usefixtures("reading_here")


@pytest.fixture
def corpus(folder: Path, tmp_path: Path) -> Path:
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "more.jsonl").write_text('{"text": "x"}\n{"text": "y"}\n')
    return data.prepare([folder], tmp_path / "corpus", DataConfig(min_characters=5)).path


def test_what_is_listed_is_what_the_report_counts(corpus: Path) -> None:
    report = json.loads((corpus / "report.json").read_text())
    listed = list(data.list_documents(corpus))
    counts: Counter[str] = Counter()
    for one in listed:
        counts[one.verdict] += one.count
    assert {split: counts[split] for split in data.SPLITS} == {
        split: report["splits"][split]["documents"] for split in data.SPLITS
    }
    assert counts["dropped"] == sum(report["documents"]["dropped"].values())
    assert counts["not read"] == report["files"]["skipped"]
    by_name = {one.name: one for one in listed}
    assert by_name["docs/picture.png"].reason == "not a text format"
    assert by_name["docs/blob.txt"].reason == "binary file"
    assert by_name["docs/note-07.txt"].same_as == "docs/copy.txt"
    assert by_name["docs/more.jsonl/#1"].count == 2
    assert data.explain(corpus, "picture.png")[0].reason == "not a text format"


def test_each_filter_leaves_what_it_says(corpus: Path) -> None:
    def listed(**wanted: object) -> list[data.Listed]:
        return list(data.list_documents(corpus, **wanted))  # type: ignore[arg-type]

    everything = listed()
    assert listed(dropped=True) == [e for e in everything if e.verdict in ("dropped", "not read")]
    for split in data.SPLITS:
        assert listed(split=split) == [e for e in everything if e.verdict == split] != []
    assert listed(kind="jsonl") == [e for e in everything if e.kind == "jsonl"] != []
    assert {e.name for e in listed(kind="pdf")} == {"docs/scan.pdf"}
    for bad in ({"split": "dev"}, {"kind": "word"}, {"split": "test", "dropped": True}):
        with pytest.raises(ConfigError):
            listed(**bad)


def test_pieces_are_listed_where_they_are(tmp_path: Path) -> None:
    book = "\n\n".join(f"Paragraph {n} of a longer text. " * 12 for n in range(300))
    (tmp_path / "book.txt").write_text(book)
    config = DataConfig(quality=("off",))
    corpus = data.prepare([tmp_path / "book.txt"], tmp_path / "corpus", config).path
    assert [e.verdict for e in data.list_documents(corpus)] == ["pieces"]
    for split in data.SPLITS:
        documents = list(data.read_documents(corpus, split))
        assert [e.bytes for e in data.list_documents(corpus, split=split)] == [
            d.bytes for d in documents
        ]
        assert documents


def test_as_it_is_typed(corpus: Path) -> None:
    command = [sys.executable, "-m", "linnet", "data", "list", str(corpus), "--dropped"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "dropped     docs/note-07.txt  (exact duplicate of docs/copy.txt)" in lines
    assert "not read    docs/picture.png  (not a text format)" in lines
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(lines)
    assert {json.loads(line)["verdict"] for line in done.stdout.splitlines()} == {
        "dropped",
        "not read",
    }

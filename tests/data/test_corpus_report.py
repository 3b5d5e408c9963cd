"""The report on a corpus says what its reader wants to know first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linnet import data
from linnet.data import DataConfig
from linnet.data.report import grouped
from linnet.data.report_page import facts_of, overlap_verdict
from linnet.progress import Progress

pytestmark = pytest.mark.usefixtures("reading_here")


class Heard(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def corpus(folder: Path, tmp_path: Path) -> Path:
    for number, suffix in enumerate(("djvu", "mobi", "rar", "warc")):
        (folder / f"file-{number}.{suffix}").write_bytes(b"binary")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "rows.csv").write_text("text,n\n" + "x,1\n" * 3)
    (folder / "node_modules").mkdir()
    return data.prepare([folder], tmp_path / "corpus", DataConfig(exclude=("*.md",))).path


def test_every_reason_stands_once_with_an_example_and_all_add_up(corpus: Path) -> None:
    report = json.loads((corpus / "report.json").read_text())
    facts = facts_of(report)
    reasons = [entry.reason for entry in facts.left_out]
    assert len(reasons) == len(set(reasons))
    assert all(entry.names for entry in facts.left_out), facts.left_out
    by_reason = {entry.reason: entry for entry in facts.left_out}
    unsupported = by_reason["formats that are not supported: djvu, mobi, rar, warc"]
    assert unsupported.count == "4 files"
    assert unsupported.names == ["docs/file-0.djvu", "docs/file-1.mobi"]
    assert by_reason["left out by a pattern"].names == ["docs/sub/read.md"]
    assert by_reason["made by tools"].names == ["docs/node_modules"]
    assert by_reason["exact duplicate"].names == ["docs/note-07.txt"]
    ignored = sum(report["files"]["ignored"].values())
    assert sum(e.files for e in facts.left_out) == report["files"]["skipped"] + ignored
    dropped = sum(report["documents"]["dropped"].values())
    assert sum(e.documents for e in facts.left_out) == dropped


def test_the_page_says_what_is_in_each_split(corpus: Path) -> None:
    facts = facts_of(json.loads((corpus / "report.json").read_text()))
    page = " ".join((corpus / "report.html").read_text().split())
    assert [split.name for split in facts.splits] == list(data.SPLITS)
    for split in facts.splits:
        documents = list(data.read_documents(corpus, split.name))
        assert (split.documents, split.bytes) == (len(documents), sum(d.bytes for d in documents))
        assert f'<td>{split.name}</td><td class="n">{split.documents}</td>' in page
    assert sum(split.share for split in facts.splits) == pytest.approx(1)
    assert facts.overlap
    assert facts.overlap in page


def test_reasons_are_left_alone_where_few_are_of_a_kind() -> None:
    assert grouped({"djvu is not supported": 1, "empty file": 2}) == {
        "empty file": 2,
        "djvu is not supported": 1,
    }
    doc = "doc is not supported: save it in today's format (docx, pptx)"
    assert grouped({"djvu is not supported": 1, doc: 3, "empty file": 2}) == {
        "formats that are not supported: djvu, doc": 4,
        "empty file": 2,
    }


@pytest.mark.parametrize(
    ("shared", "usual", "says"),
    [
        (0.002, 0.0, "That is little"),
        (0.15, 0.14, "That is usual here: training documents share 14% with one another"),
        (0.15, 0.02, "That is much: training documents share 2% with one another"),
        (0.02, 0.0, "That is much"),
    ],
)
def test_what_test_and_training_share_is_judged(shared: float, usual: float, says: str) -> None:
    division = {"shared_runs": shared, "usual_runs": usual, "compared_bytes": 1}
    assert overlap_verdict(division).startswith(says)
    assert overlap_verdict({}) == overlap_verdict({"shared_runs": shared}) == ""


@pytest.mark.slow
def test_a_document_that_dominates_is_named(folder: Path, tmp_path: Path) -> None:
    heard = Heard()
    data.prepare([folder], tmp_path / "before", progress=heard)
    assert not heard.lines
    words = " ".join(f"Sentence number {n} is one of a great many." for n in range(300))
    (folder / "minutes.txt").write_text(words)
    corpus = data.prepare([folder], tmp_path / "corpus", progress=heard).path
    (line,) = heard.lines
    assert "docs/minutes.txt" in line
    report = json.loads((corpus / "report.json").read_text())
    assert report["warnings"] == [line]
    sizes = {d.source: d.bytes for s in data.SPLITS for d in data.read_documents(corpus, s)}
    assert f"{sizes['docs/minutes.txt'] / sum(sizes.values()):.0%} of the text" in line


def test_edits_below_the_threshold_that_straddle_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(60):
        words = [f"w{number}n{place}" for place in range(120)]
        (folder / f"a{number}.txt").write_text(" ".join(words))
        words[::25] = ["edited"] * len(words[::25])
        (folder / f"b{number}.txt").write_text(" ".join(words))
    config = DataConfig(quality=("off",), test_fraction=0.2, near_duplicates=0.95)
    config = DataConfig(**{**vars(config), "held_out_share": 1.0})
    corpus = data.prepare([folder], tmp_path / "corpus", config).path
    similar = json.loads((corpus / "report.json").read_text())["division"]["similar"]
    where = {
        d.source.partition("/")[2]: split
        for split in data.SPLITS
        for d in data.read_documents(corpus, split)
    }
    straddling = [
        name
        for name, split in where.items()
        if split == "test" and where.get({"a": "b", "b": "a"}[name[0]] + name[1:]) == "train"
    ]
    assert similar["documents"] == len(straddling) > 3
    assert similar["of"] == sum(split == "test" for split in where.values())
    assert all(pair["name"][6:] == pair["like"][6:] for pair in similar["pairs"])
    assert (
        f"{similar['documents']} of {similar['of']} test documents"
        in (corpus / "report.html").read_text()
    )

"""Where a stretch of text stands in its file: told from the catalog, checked against the files."""

from __future__ import annotations

import itertools
import json
import sqlite3
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from office import write_docx
from test_pdf import write_pdf
from typer.testing import CliRunner

from linnet import data
from linnet.cli.data import app
from linnet.data import DataConfig
from linnet.data.catalog import _LEAST_ID as LEAST_ID
from linnet.errors import DataError

pytestmark = pytest.mark.usefixtures("reading_here")

_NOTICE = "Confidential, for members of the club only."
_PLAIN = (
    "\ufeffFerns\r\n\r\nWrite to ann@example.com or bob@example.com about\r\nthe mosses.  \r\n"
    "\r\n\r\n\r\nLast line.\r\n"
)
_MARKDOWN = """---
title: x
---
# Guide

Some words that go on
over a line.

## Inner part

- one item
- another with
  more

| plant | height |
|---|---|
| moss | 3 |
| fern | 40 |

```
first = 1
second = 2
```
"""


def _folder(root: Path) -> None:
    root.mkdir()
    (root / "plain.txt").write_text(_PLAIN, newline="")
    (root / "guide.md").write_text(_MARKDOWN)
    (root / "code.py").write_text("import os\n\n\ndef double(number):\n    return 2 * number\n")
    (root / "manual.rst").write_text(
        "Title\n=====\n\nText.\n\nPart one\n--------\nIts *first* words.\n"
    )
    (root / "notes.org").write_text("* Woods\nSome text.\n** Mosses\nThey are green.\n")
    (root / "table.csv").write_text("plant,height\n\nmoss,3\nfern,40\n")
    (root / "rows.jsonl").write_text(
        json.dumps({"text": "The first row of all."}) + "\n"
        + json.dumps({"messages": [{"role": "user", "content": "What grows here?"},
                                   {"role": "assistant", "content": "Ferns and mosses."}]}) + "\n"
    )  # fmt: skip
    (root / "page.html").write_text(
        "<h1 id='top'>Plants</h1><p>First words.</p><h2 id='moss'>Mosses</h2><p>They are green.</p>"
        "<table><tr><th>plant</th><th>height</th></tr><tr><td>fern</td><td>40</td></tr></table>"
    )
    cells = [
        {"cell_type": "markdown", "source": "# Areas\n\nOf circles."},
        {"cell_type": "code", "source": "def area(r):\n    return 3 * r * r", "outputs": []},
    ]
    (root / "book.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}))
    (root / "talk.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nWelcome to you all.\n\n"
        "2\n01:02:03,500 --> 01:02:05,000\nThat was the end.\n"
    )
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Ann <ann@example.com>", "Trees"
    mail.set_content("They grow quickly in the valley.")
    mail.add_attachment("The attached words.\n\nMore of them.\n", filename="list.txt")
    (root / "letter.eml").write_bytes(mail.as_bytes())
    style = '<w:pPr><w:pStyle w:val="H1"/></w:pPr>'
    texts = [f"<w:p>{style}<w:r><w:t>Beginning</w:t></w:r></w:p>"]
    texts += ["<w:p><w:r><w:t>Under it.</w:t></w:r></w:p>"]
    heading = '<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
    write_docx(root / "letter.docx", "".join(texts), styles=heading)
    pages = [f"BT /F1 12 Tf 72 700 Td (The words of page {name}.) Tj ET" for name in ("one", "two")]
    write_pdf(root / "pages.pdf", *pages)
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        archive.writestr("inner/deep.txt", "Above it.\n\nIn the archive.\n")
    for number, name in enumerate("abcdefghijkl"):  # lines alike but for a number repeat
        (root / f"note-{number:02}.txt").write_text(
            f"{_NOTICE}\n\nCall +1 212 555 77{number:02} about {name * 4}.\n\n"
            f"Words {name * 3}, and some more of them, so that the notice is not most of it.\n"
        )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("located")
    _folder(place / "docs")
    config = DataConfig(quality=("off",), min_characters=1, near_duplicates=1.0)
    return data.prepare(place / "docs", place / "corpus", config).path


@pytest.mark.parametrize(
    ("document", "words", "place", "kind", "headings"),
    [
        ("plain.txt", "mosses", "line 4", "paragraph", ()),
        ("plain.txt", "Last line", "line 8", "paragraph", ()),
        ("guide.md", "Guide", "line 4", "heading", ()),
        ("guide.md", "over a line", "line 7", "paragraph", ("Guide",)),
        ("guide.md", "more", "line 13", "list", ("Guide", "Inner part")),
        ("guide.md", "fern | 40", "line 18", "table", ("Guide", "Inner part")),
        ("guide.md", "second", "line 22", "code", ("Guide", "Inner part")),
        ("guide.md", "go on over", "lines 6 to 7", "paragraph", ("Guide",)),
        ("code.py", "2 * number", "line 5", "code", ()),
        ("manual.rst", "first words", "line 8", "paragraph", ("Title", "Part one")),
        ("notes.org", "green", "line 4", "paragraph", ("Woods", "Mosses")),
        ("table.csv", "fern", "row 4", "table", ()),
        ("rows.jsonl/#1", "first row", "row 1", "paragraph", ()),
        ("rows.jsonl/#2", "Ferns and", "row 2", "message", ()),
        ("page.html", "First words", "section #top", "paragraph", ("Plants",)),
        ("page.html", "They are", "section #moss", "paragraph", ("Plants", "Mosses")),
        ("page.html", "fern | 40", "section #moss", "table", ("Plants", "Mosses")),
        ("book.ipynb", "circles", "cell 1", "paragraph", ("Areas",)),
        ("book.ipynb", "return", "cell 2", "code", ("Areas",)),
        ("talk.srt", "the end", "1:02:03", "paragraph", ()),
        ("letter.eml", "Trees", "", "message", ()),
        ("letter.eml", "valley", "", "paragraph", ()),
        ("letter.eml/list.txt", "More of", "line 3", "paragraph", ()),
        ("letter.docx", "Under it", "", "paragraph", ("Beginning",)),
        ("pages.pdf", "page two", "page 2", "paragraph", ()),
        ("all.zip/inner/deep.txt", "archive", "line 3", "paragraph", ()),
        ("note-07.txt", "Words hhh", "line 5", "paragraph", ()),
        ("note-07.txt", "about", "line 3", "paragraph", ()),
    ],
)  # fmt: skip
def test_a_stretch_stands_where_the_file_has_it(
    corpus: Path, document: str, words: str, place: str, kind: str, headings: tuple[str, ...]
) -> None:
    (stored,) = data.stored_texts(corpus, f"docs/{document}")
    start = stored.text.index(words)
    (found,) = data.locate(corpus, f"docs/{document}", start, start + len(words))
    assert (found.source, found.text, found.known) == (f"docs/{document}", words, True)
    assert (str(found.place), found.kind, found.headings) == (place, kind, headings)


def test_blocks_hold_all_words_in_order(corpus: Path) -> None:
    seen = 0
    for split in data.SPLITS:
        for source in {document.source for document in data.read_documents(corpus, split)}:
            (stored,) = data.stored_texts(corpus, source)
            blocks = list(stored.blocks())
            assert all(a.end <= b.start for a, b in itertools.pairwise(blocks))
            held = [word for b in blocks for word in stored.text[b.start : b.end].split()]
            assert held == stored.text.split()
            seen += 1
    assert seen > 20


def test_lines_that_repeat_and_what_is_masked_move_nothing(corpus: Path) -> None:
    (stored,) = data.stored_texts(corpus, "docs/note-03.txt")
    assert stored.text.startswith("Call <PHONE> about dddd.\n\nWords ddd, ")


def test_a_piece_is_found_by_its_id(corpus: Path) -> None:
    documents = [d for split in data.SPLITS for d in data.read_documents(corpus, split)]
    (wanted,) = [d for d in documents if d.source == "docs/guide.md"]
    (found,) = data.locate(corpus, wanted.id[:LEAST_ID])
    assert found.text == wanted.text
    assert (found.place.first, found.place.last) == (4, 22)


def test_the_command_says_where(corpus: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["explain", str(corpus), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    (stored,) = data.stored_texts(corpus, "docs/guide.md")
    start = stored.text.index("one item")
    shown = run("guide.md", "--at", f"{start}:{start + 8}")
    assert f"characters {start} to {start + 8}: line 11" in shown
    assert "under Guide > Inner part" in shown
    (found,) = json.loads(run("guide.md", "--at", f"{start}:{start + 8}", "--json"))
    assert (found["text"], found["place"]["first"]) == ("one item", 11)
    assert "0 to 5, line 4: Guide" in run("guide.md")


def test_a_stretch_that_is_not_there_is_refused(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"START:END from 0 to there. Got 5:4000"):
        data.locate(corpus, "docs/code.py", 5, 4000)
    with pytest.raises(DataError, match="no document 'nothing"):
        data.locate(corpus, "nothing.txt")
    result = CliRunner().invoke(app, ["explain", str(corpus), "code.py", "--at", "here"])
    assert "START:END" in str(result.exception)


def test_a_corpus_without_blocks_stays_current_until_something_changes(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "corpus"
    docs.mkdir()
    for number in range(3):
        (docs / f"{number}.txt").write_text(f"Number {number}.\n\nIts words are {number * 7}.\n")
    made = data.prepare(docs, out)
    _as_an_older_version_made_it(out / "catalog.sqlite")
    before = {d.source: d for s in data.SPLITS for d in data.read_documents(out, s)}
    assert data.prepare(docs, out).manifest.recipe == made.manifest.recipe
    (unknown,) = data.locate(out, "docs/1.txt", 0, 6)
    assert (unknown.known, unknown.text, str(unknown.place)) == (False, "Number", "")
    shown = CliRunner().invoke(app, ["explain", str(out), "1.txt"]).output
    assert "places: not known" in shown

    (docs / "2.txt").write_text("Other words are here now.\n")
    data.prepare(docs, out)
    (known,) = data.locate(out, "docs/1.txt", 11, 14)
    assert (known.known, known.text, str(known.place)) == (True, "Its", "line 3")
    after = {d.source: d for s in data.SPLITS for d in data.read_documents(out, s)}
    assert {name: after[name] for name in ("docs/0.txt", "docs/1.txt")} == {
        name: before[name] for name in ("docs/0.txt", "docs/1.txt")
    }


def _as_an_older_version_made_it(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE documents DROP COLUMN blocks")
        connection.execute("ALTER TABLE verdicts DROP COLUMN positions")
        connection.execute(
            "UPDATE meta SET value = json_set(value, '$.format', 3) WHERE name = 'extraction'"
        )
    connection.close()

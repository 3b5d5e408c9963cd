"""``linnet index`` and ``linnet search`` over files, through the real data stage."""

from __future__ import annotations

import json
import re
import shutil
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from linnet.cli.index import app as index_app
from linnet.cli.search import app as search_app
from linnet.data import prepare, stored_texts
from linnet.data.config import DataConfig
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError
from linnet.retrieval import Index, make_index
from linnet.retrieval.indexing import for_search, update_index

pytestmark = pytest.mark.usefixtures("reading_here")

SHARED = Path(__file__).parents[3] / "shared" / "data" / "documents"
ROWS = "".join(f"plant {n},{n} cm\n" for n in range(120))
NOTE = "The boat house is open from May to October, and the key hangs behind the door.\n"


def write_documents(root: Path) -> None:
    """A few files of each kind, some of which training would leave out."""
    for folder in ("staff", "garden"):
        (root / folder).mkdir(parents=True)
    mail = EmailMessage()
    mail["From"], mail["To"] = "Ann <ann@example.com>", "bob@example.com"
    mail["Subject"], mail["Date"] = "The broken pump", "Tue, 3 Mar 2026 10:00:00 +0000"
    mail.set_content("Dear Bob,\n\nthe pump in cellar two has to be replaced by Friday.\n\nAnn\n")
    (root / "staff" / "pump.eml").write_bytes(bytes(mail))
    (root / "staff" / "rules.md").write_text(
        "---\ntitle: x\n---\n# Rules\n\n## Leave\n\n- 25 days a year\n"
        "- write to ann@example.com\n\n"
        "## Pay\n\n| grade | wage |\n|---|---|\n| one | 2000 |\n| two | 2500 |\n\n"
        "```\nwage = grade * 500\n```\n"
    )
    (root / "garden" / "plants.csv").write_text("name,height\n" + ROWS)
    (root / "garden" / "page.html").write_text(
        "<html><head><title>Pond</title></head><body><nav><a href='/'>Home</a></nav><main>"
        "<h1>The pond</h1><p>Carps are fed twice a day.</p><ul><li>bread never</li>"
        "<li>peas sometimes</li></ul></main></body></html>"
    )
    (root / "garden" / "log.log").write_text(
        "".join(f"2026-03-{n:02} gate {n} closed\n" for n in range(1, 29))
    )
    (root / "notes.txt").write_text(NOTE)
    (root / "copy.txt").write_text(NOTE)
    (root / "short.txt").write_text("PIN 4711")
    (root / "code.py").write_text('"""Doubling."""\n\n\ndef double(x):\n    return 2 * x\n')
    (root / "rows.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": f"Row {n} names the town of Ulm."}) + "\n"
                for n in range(3))
    )  # fmt: skip
    (root / "empty.txt").write_text("")


def every_word_is_found(place: Path) -> int:
    """Check that passages are stored text, word for word, and that they have all of it; gives how
    many there are."""
    said: dict[str, str] = {}
    stored: dict[str, list[str]] = {}
    count = 0
    with Index.open(place) as opened:
        for passage in opened.passages():
            for spot in passage.places:
                if spot.source not in stored:
                    found = stored_texts(place / "corpus", spot.source)
                    stored[spot.source] = [one.text for one in found]
                assert any(
                    text[spot.start : spot.end] == passage.text for text in stored[spot.source]
                ), spot
                above = " ".join([*passage.headings, passage.title])
                said[spot.source] = f"{said.get(spot.source, '')} {passage.text} {above}"
                count += 1
        for document in opened.documents():
            texts = [one.text for one in stored_texts(place / "corpus", document.source)]
            words = set(re.findall(r"\w+", " ".join(texts)))
            assert words <= set(re.findall(r"\w+", said.get(document.source, ""))), document.source
    return count


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index at ``index`` of the documents at ``docs``."""
    root = tmp_path_factory.mktemp("made")
    write_documents(root / "docs")
    make_index(root / "docs", root / "index")
    return root


def run(app: Any, *words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def search(place: Path, *words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(search_app, place, *words, "--json"))
    return found


def test_everything_of_every_kind_can_be_found_and_cited(made: Path) -> None:
    assert every_word_is_found(made / "index") >= 12
    for query, source, text in (
        ("replace the pump", "docs/staff/pump.eml", "cellar two"),
        ("days of leave", "docs/staff/rules.md", "ann@example.com"),  # not masked
        ("wage of grade two", "docs/staff/rules.md", "2500"),
        ("plant 77", "docs/garden/plants.csv", "plant 77 | 77 cm"),
        ("what are carps fed", "docs/garden/page.html", "peas"),
        ("gate 17 closed", "docs/garden/log.log", "gate 17 closed"),
        ("PIN", "docs/short.txt", "4711"),
        ("double", "docs/code.py", "return 2 * x"),
    ):
        found = search(made / "index", query)[0]
        assert found["source"] == source
        assert text in found["text"]
        assert found.keys() == {"source", "start", "end", "page", "score", "text"}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared documents are not here")
def test_everything_of_the_shared_documents_can_be_cited(tmp_path: Path) -> None:
    make_index(SHARED, tmp_path / "index")
    assert every_word_is_found(tmp_path / "index") > 2000


def test_many_queries_are_a_line_each(made: Path, tmp_path: Path) -> None:
    asked = tmp_path / "queries.jsonl"
    asked.write_text('{"id": 7, "question": "boat house"}\n\n{"question": "Ulm", "id": "x"}\n')
    lines = run(search_app, made / "index", "--queries", asked, "-k", 2).splitlines()
    first, second = map(json.loads, lines)
    assert (first["id"], second["id"]) == (7, "x")
    assert first["passages"][0]["source"] == "docs/copy.txt"
    assert len(second["passages"]) == 2
    asked.write_bytes(b'{"id": 1, "question": "boat"}\n{"id": 2}\n{\n\xff\n{"question": "Ulm"}\n')
    result = CliRunner().invoke(search_app, [str(made / "index"), "--queries", str(asked)])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["id"] for row in found] == [1, None, None, None, "5"]
    assert found[0]["passages"]
    assert found[4]["passages"]
    for number, row in enumerate(found[1:4], 2):
        assert f"line {number}: expected" in row["error"]
    assert isinstance(result.exception, DataError)
    assert "3 lines held no question" in str(result.exception)


def test_a_folder_of_documents_is_no_place_for_an_index(tmp_path: Path) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"
    for folder in (docs, other):
        folder.mkdir()
        (folder / "note.txt").write_text(NOTE)
    for out in (docs, other, other / "note.txt"):
        with pytest.raises(OutputError, match="choose another output directory"):
            make_index(docs, out)
    assert [file.name for file in (*docs.iterdir(), *other.iterdir())] == ["note.txt"] * 2
    # An index that is there already is kept up, whatever else came to lie beside it.
    made = make_index(docs, docs / "index")
    (docs / "index" / "mine.txt").write_text("a note")
    assert make_index(docs, docs / "index").content == made.content


@pytest.mark.parametrize("left", ["corpus.sources", ".corpus.partial", ".corpus.lock"])
def test_what_a_run_that_failed_left_is_no_obstacle(left: str, tmp_path: Path) -> None:
    """Pages that were fetched before another could not be, or the lock of a process killed."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "note.txt").write_text(NOTE)
    (tmp_path / "index").mkdir()
    if left.endswith(".lock"):
        (tmp_path / "index" / left).touch()
    else:
        (tmp_path / "index" / left).mkdir()
    assert make_index(tmp_path / "docs", tmp_path / "index").manifest.kind == "index"


def test_people_read_where_it_stands(made: Path) -> None:
    said = run(search_app, made / "index", "boat house", "-k", 1)
    assert "1. docs/copy.txt, line 1 [0:" in said
    assert "and in 1 other place" in said
    assert NOTE.strip() in said
    assert "nothing found" in run(search_app, made / "index", "xylophone")


def test_what_is_searched_can_be_narrowed(made: Path) -> None:
    place = made / "index"
    assert {
        one["source"].split("/")[1] for one in search(place, "the", "--collection", "staff")
    } == {"staff"}
    assert [one["source"] for one in search(place, "plant pond carps", "--kind", "html")] == [
        "docs/garden/page.html"
    ]
    assert search(place, "boat", "--source", "*.md") == []
    assert search(place, "boat", "--until", "1999-12-31") == []
    for option, there in (
        ("--language", "'en'"),
        ("--kind", "'html'"),
        ("--collection", "'staff'"),
    ):
        with pytest.raises(ConfigError, match=f"'ru'; there is .*{there}"):
            search(place, "boat", option, "ru")


def test_only_what_changed_is_done_again_and_what_is_gone_is_not_found(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "docs", tmp_path / "docs")
    place = tmp_path / "index"
    stats = json.loads(run(index_app, tmp_path / "docs", "--out", place, "--json"))
    assert stats["unread_by_reason"] == {"empty file": 1}
    generation = Index.open(place).generation
    assert json.loads(run(index_app, tmp_path / "docs", "--out", place, "--json")) == stats
    assert Index.open(place).generation == generation
    (tmp_path / "docs" / "notes.txt").unlink()
    (tmp_path / "docs" / "garden" / "new.txt").write_text("Newts live in the pond.")
    with Index.open(place) as reader:
        assert not reader.is_stale
        prepare(tmp_path / "docs", place / "corpus", for_search(DataConfig()), training=False)
        assert reader.is_stale
    assert "run linnet index again" in CliRunner().invoke(search_app, [str(place), "newts"]).stderr
    update_index(place)
    assert [one["source"] for one in search(place, "newts")] == ["docs/garden/new.txt"]
    assert [one["source"] for one in search(place, "boat house")] == ["docs/copy.txt"]
    shutil.rmtree(tmp_path / "docs")
    with pytest.raises(DataError, match="still answers from what it had before"):
        update_index(place)
    assert [one["source"] for one in search(place, "newts")] == ["docs/garden/new.txt"]


def test_of_a_corpus_its_documents_are_indexed_unmasked_else_its_own_texts(tmp_path: Path) -> None:
    docs, corpus, place = tmp_path / "docs", tmp_path / "corpus", tmp_path / "index"
    docs.mkdir()
    (docs / "a.txt").write_text(f"{NOTE}Write to ann@example.com about the key.\n")
    (docs / "b.txt").write_text("PIN 4711")
    (docs / "c.md").write_text(NOTE)
    prepare(docs, corpus, DataConfig(exclude=("*.md",)))
    made = make_index(corpus, place)
    assert made.stats["documents"] == 2  # read as the corpus was: without c.md
    assert "ann@example.com" in search(place, "write to")[0]["text"]
    docs.rename(tmp_path / "away")
    warned: list[str] = []

    from linnet.progress import Progress

    class Listening(Progress):
        def warn(self, text: str) -> None:
            warned.append(text)

    make_index(corpus, place, progress=Listening())
    assert "not there any more" in warned[0]
    assert "<EMAIL>" in search(place, "write to")[0]["text"]
    with pytest.raises(DataError, match="Got a directory with an index"):
        make_index(place / "index", tmp_path / "other")


def test_there_is_nothing_to_search(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected an index, but there is none"):
        CliRunner().invoke(search_app, [str(tmp_path), "x"], catch_exceptions=False)
    (tmp_path / "docs").mkdir()
    with pytest.raises(DataError, match="no documents found"):
        make_index(tmp_path / "docs", tmp_path / "index")
    assert not (tmp_path / "index" / "index").exists()


def test_commands_that_are_named_can_be_typed(tmp_path: Path) -> None:
    notes, place = tmp_path / "my notes", tmp_path / "my index"
    notes.mkdir()
    (notes / "a.txt").write_text("The lease ends on 30 June.\n")
    assert f"search: linnet search '{place}' QUERY" in run(index_app, notes, "--out", place)
    for missing, make in (
        (notes, f"linnet index '{notes}' --out INDEX"),
        (tmp_path / "no index", f"linnet index DOCS --out '{tmp_path / 'no index'}'"),
    ):
        with pytest.raises(ArtifactError, match=re.escape(f"there is none: {make}")):
            Index.open(missing)

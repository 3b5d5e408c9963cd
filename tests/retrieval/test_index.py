"""Indexes: what is found, and what becomes of it when documents change."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from made_index import Texts, index

from linnet import artifact, output
from linnet.answers.privacy import Screen, masked_name, surroundings, unmasked_name
from linnet.artifact import generations
from linnet.data.locating import Unread
from linnet.errors import ArtifactError, BusyError, ConfigError, DamagedError
from linnet.retrieval import Filters, Found, Index, IndexConfig, terms, updating
from linnet.retrieval.lexical import Weights

WORDS = ["moss", "fern", "stone", "river", "bridge", "lamp", "signal", "winter", "copper", "grain"]
FEW = {
    "docs/hr/leave.md": "# Leave\n\nEverybody has 25 days of leave a year.",
    "docs/hr/pay.md": "# Pay\n\nWages are paid on the last day of a month.",
    "docs/it/vpn.txt": "The server is vpn.example.org; ask Anna about certificates.",
    "docs/notes.txt": "Ferns grow beside the river. Everybody has 25 days of leave a year.",
}


def found(place: Path, query: str, k: int = 10, **how: object) -> list[Found]:
    with Index.open(place) as opened:
        return opened.search(query, k, **how)  # type: ignore[arg-type]


def sources(place: Path, query: str, **how: object) -> list[str]:
    return [one.passage.place.source for one in found(place, query, **how)]


def text_of(drawn: random.Random, *, heads: bool = True) -> str:
    parts = []
    for _ in range(drawn.randrange(1, 4)):
        if heads and drawn.random() < 0.6:
            parts.append("# " + " ".join(drawn.choices(WORDS, k=drawn.randrange(1, 4))))
        parts.append(" ".join(drawn.choices(WORDS, k=drawn.randrange(3, 30))) + ".")
    return "\n\n".join(parts)


def test_scores_are_those_of_the_formula(tmp_path: Path) -> None:
    drawn = random.Random(3)
    index({f"d/{n}.txt": f"{text_of(drawn)} only{n}" for n in range(40)}, tmp_path / "index")
    with Index.open(tmp_path / "index") as opened:
        passages = list(opened.passages())
        fields = [
            [
                Counter(terms(each, "en"))
                for each in (
                    p.title,
                    "\n".join([*(h for h in p.headings if h != p.title), p.context]),
                    p.text,
                )
            ]
            for p in passages
        ]
        weights, size = Weights(), len(passages)
        averages = [sum(f[n].total() for f in fields) / size for n in range(3)]
        for query in ("moss", "river bridges", "copper copper winter nothing"):
            expected = {}
            for passage, counts in zip(passages, fields, strict=True):
                score = 0.0
                for term in terms(query, "en"):
                    frequency = sum(any(own[term] for own in other) for other in fields)
                    idf = math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))
                    tf = sum(
                        w * own[term] / (1 - b + b * own.total() / average)
                        for w, b, own, average in zip(
                            weights.weights, weights.b, counts, averages, strict=True
                        )
                    )
                    score += idf * tf / (weights.k1 + tf)
                if score:
                    expected[passage.place] = score
            got = {one.passage.place: one.score for one in opened.search(query, 1000)}
            assert got == pytest.approx(expected, rel=1e-5)
            assert got


def test_passages_are_stored_text_with_title_headings_and_place(tmp_path: Path) -> None:
    index(FEW, tmp_path / "index")
    (one,) = found(tmp_path / "index", "wages")
    passage, place = one.passage, one.passage.place
    assert FEW[place.source][place.start : place.end] == passage.text
    assert (place.source, passage.title, passage.headings) == ("docs/hr/pay.md", "Pay", ("Pay",))
    (one,) = found(tmp_path / "index", "certificates")
    assert one.passage.title == "vpn"  # the name of the file, where nothing else is its title


def test_a_program_may_end_with_an_index_open(tmp_path: Path) -> None:
    made = index({"a.txt": "A wren is small."}, tmp_path / "index").path
    # Where it is found only after modules have been taken apart.
    program = (
        f"import sys; from linnet.retrieval import Index; sys.kept = Index.open({str(made)!r}); "
        "print(len(sys.kept))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not list((made / "readers").glob("*"))  # as it was let go


def test_equal_passages_are_one_with_all_their_places(tmp_path: Path) -> None:
    twice = {**FEW, "docs/hr/copy.md": FEW["docs/hr/leave.md"]}
    index(twice, tmp_path / "index")
    best = found(tmp_path / "index", "days of leave")
    assert [p.source for p in best[0].passage.places] == ["docs/hr/copy.md", "docs/hr/leave.md"]
    index({**twice, "docs/hr/again.md": twice["docs/hr/copy.md"]}, tmp_path / "index")  # later
    best = found(tmp_path / "index", "days of leave")
    assert [p.source for p in best[0].passage.places] == [
        "docs/hr/again.md", "docs/hr/copy.md", "docs/hr/leave.md",
    ]  # fmt: skip
    index({name: text for name, text in twice.items() if "copy" not in name}, tmp_path / "index")
    best = found(tmp_path / "index", "days of leave")
    assert [p.source for p in best[0].passage.places] == ["docs/hr/leave.md"]


def test_equal_texts_under_different_headings_are_found_once(tmp_path: Path) -> None:
    note = "Members pay no entrance fee in winter."
    index({"d/a.md": f"# One\n\n{note}", "d/b.md": f"# Two\n\n{note}"}, tmp_path / "index")
    (one,) = found(tmp_path / "index", "entrance fee")
    assert {place.source for place in one.passage.places} == {"d/a.md", "d/b.md"}


def test_updates_end_where_a_new_index_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "SEGMENT_PASSAGES", 24)  # so that segments are joined
    monkeypatch.setattr(updating, "_MOST_SMALL", 3)
    drawn = random.Random(5)
    shared = [f"# Shared {n}\n\n{text_of(drawn)}" for n in range(4)]
    texts = {f"d/{n}.md": text_of(drawn) for n in range(12)}
    queries = ("moss river", "bridge lamp winter", "grain")
    for step in range(14):
        for _ in range(drawn.randrange(1, 4)):
            name = f"d/{drawn.randrange(20)}.md"
            if drawn.random() < 0.4:
                texts.pop(name, None)
            else:
                texts[name] = drawn.choice(shared) if drawn.random() < 0.4 else text_of(drawn)
        made = index(texts, tmp_path / "index")
        if step % 5 != 3:
            continue
        index(texts, tmp_path / f"fresh{step}")
        for query in queries:
            one, other = (
                {
                    (f.passage.id, f.passage.places): round(f.score, 4)
                    for f in found(place, query, 1000)
                }
                for place in (tmp_path / "index", tmp_path / f"fresh{step}")
            )
            assert one == other
        with Index.open(tmp_path / "index") as opened:
            assert {document.source for document in opened.documents()} == texts.keys()
            assert made.stats["passages"] == len(opened) == len(list(opened.passages()))
        assert made.stats["documents"] == len(texts)
    assert made.stats["segments"] < 8


def test_no_byte_of_what_is_gone_is_left(tmp_path: Path) -> None:
    shared = "Everything else is as it was."
    texts = {"d/a.md": f"# Zanzibar\n\nzebras\n\n# All\n\n{shared}", "d/b.md": f"# All\n\n{shared}"}
    index(texts, tmp_path / "index")
    index({**texts, "d/c.md": f"# All\n\n{shared}"}, tmp_path / "index")
    assert holds(tmp_path, b"anzibar")
    assert holds(tmp_path, b"a.md")
    index({"d/b.md": texts["d/b.md"]}, tmp_path / "index")
    assert not any(holds(tmp_path, word) for word in (b"anzibar", b"zebra", b"a.md", b"c.md"))
    assert sources(tmp_path / "index", "everything") == ["d/b.md"]


def holds(folder: Path, word: bytes) -> bool:
    return any(word in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ({}, {"docs/hr/leave.md", "docs/notes.txt"}),
        ({"collections": ["hr"]}, {"docs/hr/leave.md"}),
        ({"collections": ["docs", "it"]}, {"docs/notes.txt"}),
        ({"collections": []}, set()),
        ({"filters": Filters(sources=("*.txt",))}, {"docs/notes.txt"}),
        ({"filters": Filters(kinds=("md",))}, {"docs/hr/leave.md"}),
        ({"filters": Filters(languages=("de",))}, set()),
        ({"filters": Filters(since=100)}, {"docs/notes.txt"}),
        ({"filters": Filters(until=300), "collections": ["hr"]}, set()),
    ],
)
def test_only_what_is_let_through_is_searched(
    tmp_path: Path, how: dict[str, object], names: set[str]
) -> None:
    index(Texts(FEW, modified={"docs/notes.txt": 200}), tmp_path / "index")
    assert set(sources(tmp_path / "index", "25 leave", **how)) == names


def test_a_mail_has_its_subject_as_title_and_the_day_it_was_sent(tmp_path: Path) -> None:
    head = "From: Ann\nSubject: The broken pump: again\n"
    texts = {
        "d/a.eml": f"{head}Date: Tue, 3 Mar 2026 10:00:00 +0100\n\nSubject: no.\nIt leaks.",
        "d/b.eml": f"{head}Date: one day\n\nIt leaks no more.",
        "d/c.eml": "It leaks still.",
    }
    index(Texts(texts, modified={"d/b.eml": 5}), tmp_path / "index")
    with Index.open(tmp_path) as opened:
        documents = [(one.title, one.date) for one in opened.documents()]
    again = "The broken pump: again"
    assert documents == [(again, 1772528400), (again, 5), ("c", 0)]


def test_collections_can_be_said(tmp_path: Path) -> None:
    config = IndexConfig(collections=("people=docs/hr/*", "people=docs/notes.txt"))
    made = index(FEW, tmp_path / "index", config)
    assert made.stats["collections"] == {"people": 3, "it": 1}
    made = index(FEW, tmp_path / "index")  # other collections are another index
    assert made.stats["collections"] == {"hr": 2, "it": 1, "docs": 1}
    assert sources(tmp_path / "index", "wages", collections=["people"]) == []
    with pytest.raises(ConfigError, match="NAME=PATTERN"):
        IndexConfig(collections=("people",))


def test_words_that_only_ask_do_not_count(tmp_path: Path) -> None:
    texts = {"d/a.txt": "What is where, and who is what to whom?", "d/b.txt": "A lamp."}
    index(texts, tmp_path / "index")
    assert sources(tmp_path / "index", "What is a lamp?") == ["d/b.txt"]
    assert sources(tmp_path / "index", "who is what") == ["d/a.txt"]  # where there is nothing else
    assert sources(tmp_path / "index", '"who is what" lamp')[0] == "d/a.txt"


def test_questions_meet_documents_of_their_language(tmp_path: Path) -> None:
    texts = {
        "d/de.txt": "Die Kündigungen der Verträge müssen schriftlich erfolgen.",
        "d/es.txt": "Las baterías se cargan en cuatro horas.",
        "d/ru.txt": "Договоры аренды расторгаются письменно.",
        "d/en.txt": "Batteries are charged within four hours.",
        "d/ja.txt": "契約は書面で解除できます。",
    }
    languages = {name: name[2:4] for name in texts}
    index(Texts(texts, languages=languages), tmp_path / "index")
    for query, name in (
        ("Kündigung Vertrag", "de"), ("batería", "es"), ("договор аренды", "ru"),
        ("battery charging", "en"), ("契約の解除", "ja"),
    ):  # fmt: skip
        assert sources(tmp_path / "index", query)[:1] == [f"d/{name}.txt"]


def test_quoted_words_are_found_as_they_stand(tmp_path: Path) -> None:
    texts = {
        "d/a.txt": "The red lamp is on. A signal follows.",
        "d/b.txt": "Red is the signal; the lamp is on, on the lamp.",
        "d/c.txt": "Lamp. Red. Signal. The lamp is red.",
    }
    index(texts, tmp_path / "index")
    assert sources(tmp_path / "index", "signal red lamp")[0] == "d/c.txt"
    names = sources(tmp_path / "index", 'signal "red lamp"')
    assert names[0] == "d/a.txt"
    assert len(names) == 3  # the others come behind
    assert sources(tmp_path / "index", '"on the lamp"')[0] == "d/b.txt"


def test_a_reader_keeps_what_it_opened_until_it_reloads(tmp_path: Path) -> None:
    index(FEW, tmp_path / "index")
    with Index.open(tmp_path / "index") as opened:
        assert not opened.reload()
        index({"docs/new.txt": "Wages are paid weekly."}, tmp_path / "index")
        assert len(opened) == 4
        assert opened.search("wages")[0].passage.place.source == "docs/hr/pay.md"
        assert opened.reload()
        assert [one.passage.place.source for one in opened.search("wages")] == ["docs/new.txt"]
        assert not holds(tmp_path, b"last day of a month")  # nobody needs it any more


def test_what_could_not_be_read_is_named(tmp_path: Path) -> None:
    unread = [Unread("d/scan.pdf", "pdf", "needs OCR"), Unread("d/a.zip/x", "", "encrypted", 3)]
    made = index(Texts(FEW, unread=unread), tmp_path / "index")
    assert (made.stats["unread"], made.stats["unread_by_reason"]["encrypted"]) == (4, 3)
    with Index.open(tmp_path / "index") as opened:
        assert opened.unread() == unread


def test_a_kill_at_any_moment_leaves_the_index_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(FEW, tmp_path / "index")
    changed = {**FEW, "docs/hr/pay.md": "Wages are paid weekly."}
    create, left = output.create_file, 0

    def dying(path: Path) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return create(path)

    kills = 0
    for left_at in range(100):
        left = left_at
        monkeypatch.setattr(output, "create_file", dying)
        try:
            index(changed, tmp_path / "index")
            break
        except KeyboardInterrupt:
            kills += 1
        finally:
            monkeypatch.setattr(output, "create_file", create)
        assert sources(tmp_path / "index", "wages") == ["docs/hr/pay.md"]
    assert kills > 15
    assert "weekly" in found(tmp_path / "index", "wages")[0].passage.text
    assert not holds(tmp_path, b"last day of a month")


def test_two_indexers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "CLEARING_SECONDS", 0.01)
    index(FEW, tmp_path / "index")
    with output.lock(tmp_path / "index"), pytest.raises(BusyError, match="another linnet process"):
        index({}, tmp_path / "index")
    assert len(sources(tmp_path / "index", "leave")) == 2


def test_an_index_without_passages_finds_nothing(tmp_path: Path) -> None:
    made = index({}, tmp_path / "index")
    assert (made.stats["documents"], made.stats["passages"]) == (0, 0)
    assert found(tmp_path / "index", "leave") == []
    index(FEW, tmp_path / "index")
    index({"d/x.txt": "***"}, tmp_path / "index")
    with Index.open(tmp_path / "index") as opened:
        assert opened.search("leave") == []
        assert len(opened.documents()) == 1


@pytest.mark.parametrize("query", ["", "   ", "?!", '""', '"', "the " * 20_000, "\x00\ud800", "💥"])
def test_odd_queries(tmp_path: Path, query: str) -> None:
    index(FEW, tmp_path / "index")
    assert isinstance(found(tmp_path / "index", query), list)


def test_there_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="linnet index DOCS --out"):
        Index.open(tmp_path / "nothing")
    (tmp_path / "notes").mkdir()
    with pytest.raises(ArtifactError, match=r"linnet index \S+ --out INDEX"):
        Index.open(tmp_path)


def test_an_index_of_another_version(tmp_path: Path) -> None:
    with artifact.update(tmp_path, kind="index", format=999, config={}, inputs={}) as draft:
        output.write_json(draft.path / "index.json", {})
    with pytest.raises(ArtifactError, match=r"format 1\. Got 999: run linnet index again"):
        Index.open(tmp_path)
    index(FEW, tmp_path)  # in its place
    assert sources(tmp_path, "wages") == ["docs/hr/pay.md"]


def test_damage_is_named_wherever_it_is(tmp_path: Path) -> None:
    made = index(FEW, tmp_path / "index")
    for name in made.names:
        file = made.file(name)
        whole = file.read_bytes()
        for broken in {whole[: len(whole) // 2], whole + b"x", b""} - {whole}:
            file.write_bytes(broken)
            with pytest.raises(DamagedError, match="run"):
                Index.open(tmp_path / "index")
        if whole:  # of the right length, but not what it was
            file.write_bytes(b"\x93NUMPY"[: len(whole)] + b"\xff" * (len(whole) - 6))
            with pytest.raises(DamagedError, match="damaged"):
                Index.open(tmp_path / "index")
        file.write_bytes(whole)
    assert json.loads((tmp_path / "index/manifest.json").read_text())["generation"] == 1
    assert found(tmp_path / "index", "wages")


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("postings", [99], "postings names what is not there"),
        ("postings", [-1], "postings names what is not there"),
        ("starts", [5, 1], "starts is not in order"),
        ("place_starts", [-1], "place_starts is not in order"),
        ("lengths", [[-1, 0, 0]], "a length is below 0"),
        ("counts", None, "counts does not fit the rest"),
    ],
)
def test_a_strangers_segment_names_nothing_that_is_not_there(
    tmp_path: Path, name: str, values: list[int] | None, what: str
) -> None:
    index(FEW, tmp_path)
    with updating.later_transaction(tmp_path) as draft:
        file = draft.copy(f"segments/1-0/{name}.npy")
        array = np.load(file)
        if values is None:
            array = array[:-1]
        else:
            array[: len(values)] = values
        np.save(file, array)
    with pytest.raises(DamagedError, match=what):
        Index.open(tmp_path)


def test_a_strangers_table_is_refused(tmp_path: Path) -> None:
    import pyarrow

    index(FEW, tmp_path)
    with updating.later_transaction(tmp_path) as draft:
        file = draft.copy("segments/1-0/passages.arrow")
        with pyarrow.memory_map(str(file)) as source:
            table = pyarrow.ipc.open_file(source).read_all()
        numbers = pyarrow.array(range(len(table)))
        changed = table.set_column(table.column_names.index("context"), "context", numbers)
        file.unlink()
        with pyarrow.ipc.new_file(str(file), changed.schema) as writer:
            writer.write_table(changed)
    with pytest.raises(DamagedError, match=r"passages\.arrow has other columns"):
        Index.open(tmp_path)


def test_what_the_end_of_a_passage_cuts_is_masked_and_so_are_names(tmp_path: Path) -> None:
    iban = "DE89 3704 0044 0532 0130 00"
    words = " ".join(f"word{n}" for n in range(60))
    rows = "\n".join(f"| Pilot{n} | 555{n:04} |" for n in range(80))
    texts = {
        "docs/invoice_ada.love@books.org.md": f"Account of the library {iban} {words} "
        f"and of the harbour {iban} {words}",
        "docs/tel 030 901820.md": f"# Pilots\n\n| name | phone |\n|---|---|\n{rows}",
    }
    for cut in range(2, 12):  # wherever the passages are cut
        text = texts["docs/invoice_ada.love@books.org.md"].replace(words, words[: -7 * cut])
        made = index(
            Texts({**texts, "docs/invoice_ada.love@books.org.md": text}), tmp_path / "index",
            IndexConfig(characters=100),
        )  # fmt: skip
        with Index.open(made.path) as opened:
            screen = Screen(masks_private=True, around=surroundings(opened))
            ours = opened.search("account library harbour pilot66 phone", 50)
            shown = json.dumps([
                # (The digits of a score are nobody's number.)
                [{**each.to_json(), "score": 0}, each.passage.title,
                 *map(asdict, each.passage.places)]
                for each in screen.found(ours)
            ])  # fmt: skip
            assert not re.search(r"DE89|3704|0044|0532|0130|555\d|ada\.love|901820", shown), shown
            assert "Pilot66" in shown
    for name in texts:
        assert unmasked_name(masked_name(name), ["docs/x.md", *texts]) == name
        assert masked_name(name).endswith(".md")
    assert masked_name("docs/report_2023-05-01.pdf") == "docs/report_2023-05-01.pdf"

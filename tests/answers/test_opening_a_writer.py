"""What answers from an index on disk: opened with a model or without, measured, served, chatted."""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from test_writer import Scripted, stating

import linnet
from linnet.answers import opening
from linnet.answers.opening import Strength, has_documents, measure_writer, read_strengths
from linnet.answers.writer import ModelWriter
from linnet.cli.chat import _Documents
from linnet.errors import DamagedError, DataError
from linnet.generate import GenerateConfig
from linnet.retrieval.indexing import make_index
from linnet.serve import ServeConfig, Served, Server
from linnet.serve.sources import open_catalog

pytestmark = pytest.mark.usefixtures("reading_here")

FOUNDED = "The library was founded in 1891 by Anna Weiss."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index")
    (root / "docs").mkdir()
    for place in range(10):
        (root / "docs" / f"part{place}.txt").write_text(
            f"The reading room number {place} has {20 + place} chairs. It opens at nine.\n"
        )
    (root / "docs" / "history.txt").write_text(f"{FOUNDED} The building dates from 1964.\n")
    make_index(root / "docs", root / "notes")
    return root / "notes"


def test_an_index_is_opened_by_one_call(made: Path) -> None:
    assert has_documents(made)
    assert not has_documents(made / "corpus")
    plain = linnet.open_assistant(made)
    answer = plain.ask("When was the library founded?")
    assert (answer.answer, answer.written_by) == (FOUNDED, "passages")
    model: Any = Scripted(lambda _: stating((FOUNDED, FOUNDED)))
    answer = linnet.open_assistant(made, model=model).ask("When was the library founded?")
    assert (answer.answer, answer.written_by) == (FOUNDED, "model")
    with pytest.raises(linnet.LinnetError, match="expected a"):
        linnet.open_assistant(made / "corpus")


def test_documents_are_served_by_their_directory(made: Path) -> None:
    catalog = open_catalog(str(made), ServeConfig())
    try:
        (served,) = catalog.models.values()
        assert served.name == "notes"
        assert served.searching.ask("When was the library founded?").answer == FOUNDED
        assert served.reranker is None
        server = Server(catalog, ServeConfig(port=0, log="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert server.ready.wait(20)
        try:
            for filters, count in (
                ({"sources": ["history*"]}, 1), ({"sources": ["*.pdf"]}, 0), ({}, 1),
                ({"kinds": ["text"], "languages": ["xx"]}, 0),
            ):  # fmt: skip
                body = {"query": "founded", "filters": filters}
                request = urllib.request.Request(
                    f"{server.url}/v1/search", json.dumps(body).encode(),
                    {"content-type": "application/json"},
                )  # fmt: skip
                with urllib.request.urlopen(request, timeout=20) as response:
                    assert len(json.load(response)["data"]) == count, filters
        finally:
            server.stop()
            thread.join(20)
        with pytest.raises(linnet.LinnetError, match="no adapters"):
            open_catalog(str(made), ServeConfig(), adapters={"a": "b"})
    finally:
        catalog.close()


def test_a_model_answers_from_documents_beside_it(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = Scripted(lambda _: stating((FOUNDED, "It is old.")))
    monkeypatch.setattr(
        "linnet.serve.sources._open",
        lambda name, *_: [Served(name, answering=model)],
    )
    monkeypatch.setattr(opening, "identity_of", lambda *_: "scripted")
    catalog = open_catalog("tiny", ServeConfig(), docs=str(made))
    try:
        assert list(catalog.models) == ["tiny", "notes"]
        answer = catalog.models["notes"].searching.ask("When was the library founded?")
        assert answer.written_by == "model"
        assert answer.steps[-1].text.startswith("tiny: 1 statements, 1 replaced")
    finally:
        catalog.close()
    with pytest.raises(linnet.LinnetError, match="both named 'notes'"):
        open_catalog("tiny", ServeConfig(), name="notes", docs=str(made))


def test_chat_shows_what_is_cited(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = _Documents(made, None, GenerateConfig())
    session.answer("When was the library founded?")
    session.answer("What is a wombat?")
    out = capsys.readouterr().out
    assert out.startswith(f"{FOUNDED}\n[1] docs/history.txt: {FOUNDED}\n")
    assert "I don't know" in out
    assert session.command("new", "")
    assert session.messages == []


def test_a_model_is_measured_beside_the_passages(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linnet.answers.cases import Case, Span

    texts = [f"The reading room number {n} has {20 + n} chairs." for n in range(10)]
    cases = [
        Case(
            str(n), f"How many chairs does reading room number {n} have?", "answerable",
            ((Span(f"docs/part{n}.txt", 0, len(texts[n])),),), ((str(20 + n),),),
            kind_made="question",
        )
        for n in range(10)
    ]  # fmt: skip
    monkeypatch.setattr(opening, "read_cases", lambda place: cases)

    def asked(prompt: str) -> int:
        return int(prompt.rpartition("number ")[2][0])

    def wrong(prompt: str) -> str:
        other = next(n for n in range(10) if n != asked(prompt) and texts[n] in prompt)
        return stating((texts[other], texts[other]))

    def right_if_it_thinks(prompt: str) -> str:
        if '"thoughts"' not in prompt:
            return wrong(prompt)
        return stating((texts[asked(prompt)], texts[asked(prompt)]))

    weak = measure_writer(made, ModelWriter(Scripted(wrong), identity="weak"))
    assert weak.questions == 10
    assert weak.passages >= 8
    assert weak.is_weak
    good = measure_writer(made, ModelWriter(Scripted(right_if_it_thinks), identity="good"))
    assert (good.model, good.reasoned, good.reasons, good.is_weak) == (
        weak.model, 10, True, False,
    )  # fmt: skip
    assert read_strengths(made) == {"weak": weak, "good": good}
    monkeypatch.setattr(opening, "identity_of", lambda model, name="": model)
    writer = opening.writer_of(Scripted(wrong), made, model="weak", name="small")
    assert writer.weakness == (
        f"small was right on {weak.model} of 10 questions about these documents, the passages "
        f"themselves on {weak.passages}: these answer"
    )
    assert opening.writer_of(Scripted(wrong), made, model="good", name="good").reasoning
    assert not opening.writer_of(Scripted(wrong), made, model="new", name="new").weakness
    (made / opening.WRITERS).write_text(json.dumps({"a": {"questions": "many"}}))
    with pytest.raises(DamagedError, match="delete it"):
        read_strengths(made)
    (made / opening.WRITERS).unlink()
    monkeypatch.setattr(opening, "read_cases", lambda place: cases[:3])
    with pytest.raises(DataError, match="at least 8 questions"):
        measure_writer(made, ModelWriter(Scripted(wrong)))


def test_strengths() -> None:
    assert Strength(20, 9, 9, 3).is_weak is False
    assert Strength(20, 9, 8, 8).is_weak is True
    assert Strength(20, 9, 8, 9).reasons is True

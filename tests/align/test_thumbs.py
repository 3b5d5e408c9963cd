"""Thumbs, from an answer that a server gave to a step of training."""

import contextlib
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_align
from test_align import Listening, base, no_pictures, settings  # noqa: F401 (fixtures)

from linnet.align import thumbs
from linnet.align.align import align
from linnet.align.encoding import OTHER_PROMPT, UnitsReport, encode_units
from linnet.answers import Assistant
from linnet.answers.feedback import Feedback, GivenAnswers
from linnet.answers.workspace import Workspace
from linnet.answers.writer import ModelWriter
from linnet.errors import DataError
from linnet.finetune.config import ExamplesConfig
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation
from linnet.respond.pieces import Finish, Text
from linnet.respond.responder import Abilities, Batches
from linnet.retrieval import Passage, PassagesInMemory, Place
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.server import Server
from running_here import running_here

HOURS = "Opening hours\nThe library opens at nine.\nIt closes at six on Fridays.\n"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class Scripted:
    """States one sentence."""

    abilities = Abilities("scripted", 4096)

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        said = "The library opens at nine."
        yield [Text(json.dumps({"statements": [{"quote": said, "statement": said}]}))]
        yield [Finish("stop")]


@contextlib.contextmanager
def asking(served: Served, **config: Any) -> Iterator[Any]:
    """A server; what it is asked gives the body of its answer and the id that it is judged by."""
    server = Server(Catalog([served]), ServeConfig(port=0, log="off", **config))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def ask(path: str, **body: Any) -> tuple[Any, str]:
        request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer), answer.headers["x-request-id"]

    try:
        assert server.ready.wait(20)
        yield ask
        if server.service.log is not None:
            assert server.service.log.flush()
    finally:
        server.stop()
        thread.join(20)


def put(ask: Any, *texts: str, model: str = "own", system: str = "") -> tuple[Any, str]:
    messages = [{"role": "system", "content": system}] * bool(system)
    messages += [{"role": "user", "content": text} for text in texts]
    return ask(
        "/v1/chat/completions", model=model, messages=messages, max_tokens=12, temperature=1,
        top_p=1, seed=len(texts[0]),
    )  # fmt: skip


def judged(file: Path) -> tuple[list[Any], Counter[str]]:
    left: Counter[str] = Counter()
    return list(thumbs.judged_thumbs(file, lambda reason: left.update([reason]))), left


def paired(file: Path) -> tuple[list[Any], Counter[str]]:
    left: Counter[str] = Counter()
    return list(thumbs.pairs_of_thumbs(file, lambda reason: left.update([reason]))), left


def said(answer: str, **more: Any) -> str:
    row = {"answer": answer, "question": "Which?", "good": True, "prompt": "P: Which?", "text": "A"}
    return json.dumps({**row, **more})


# --- from a served answer to a step of training --------------------------------------------------


def test_thumbs_on_answers_from_documents_are_trained(
    base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    passages = [Passage(HOURS, (Place("hours.txt", 0, len(HOURS)),), "Hours", language="en")]
    index = tmp_path / "library"
    for writer in (None, ModelWriter(Scripted())):
        assistant = Assistant(PassagesInMemory(passages), writer=writer)
        workspace = Workspace.of([tmp_path], index)
        with asking(Served("notes", assistant=assistant, workspace=workspace)) as ask:
            for question, good in (("When does the library open?", True),
                                   ("At what time does the library open?", False),
                                   ("Zxqv wombat?", False)):  # fmt: skip
                body, _ = put(ask, question, model="notes")
                name = body["choices"][0]["message"]["linnet"][-1]["id"]
                ask("/v1/documents/feedback", answer=name, question="", good=good, citations=[])
    found, left = judged(index / "feedback.jsonl")
    assert [each.desirable for each in found] == [True, False] * 2
    assert left == {thumbs.REFUSED: 2}
    extract, written = found[0].row, found[2].row
    assert extract.prompt == f"{HOURS.strip()}\n\nWhen does the library open?"
    assert extract.completion == "The library opens at nine."
    assert "you answer questions from passages" in written.system.lower()
    assert written.prompt.startswith("Passages:\n\n[1] Hours\n")
    assert "Question: When does the library open?" in written.prompt
    (entry,) = json.loads(written.completion)["statements"]
    assert entry == {"quote": "The library opens at nine.",
                     "statement": "The library opens at nine."}  # fmt: skip
    heard = Listening()
    made = align(
        base / "model", index, tmp_path / "out",
        settings(method="kto", steps=2, context=128, held_out=0), progress=heard,
    )  # fmt: skip
    assert made.stats["rows"]["train"] + made.stats["rows"]["dropped"].get("longer than the "
        "context", 0) == 4  # fmt: skip
    assert f"2 of 6 rows left out: {thumbs.REFUSED}" in heard.warnings


def test_thumbs_on_what_a_model_said_are_trained(
    base: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (base / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "chat_template.jinja").write_text(TEMPLATE)
    log = tmp_path / "calls.sqlite"
    engine = TorchEngine(load_checkpoint(model))
    with asking(Served("own", engine), monitor=log, monitor_contents=True) as ask:
        for number in range(6):
            _, name = put(ask, f"What is {number} and 2?")
            ask("/v1/linnet/feedback", id=name, good=number % 2 == 0)
        put(ask, "And 3?")
        for texts, system in ((("What is 1?", "And 2?"), ""), (("Hi",), "Be brief.")):
            _, name = put(ask, *texts, system=system)
            ask("/v1/linnet/feedback", id=name, good=False)
    run = running_here(monkeypatch, capfdbinary)
    rows = tmp_path / "calls.jsonl"
    done = run("monitor", "export", log, "--contents", "--format", "jsonl")
    rows.write_bytes(done.stdout)
    done = run("align", model, log, "--out", tmp_path / "x", "--method", "kto")
    assert done.returncode == 1
    assert b"linnet monitor export" in done.stderr
    done = run(
        "align", model, rows, "--out", tmp_path / "out", "--method", "kto", "--steps", 2,
        "--general-tokens", 0, "--held-out", 0, "--threads", 1, "--dtype", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stats = json.loads((tmp_path / "out" / "manifest.json").read_text())["stats"]["rows"]
    unkept = stats["dropped"].pop(thumbs.UNKEPT, 0)  # a random model may say nothing
    assert stats["train"] + unkept == 6
    assert stats["dropped"] == {thumbs.UNRATED: 1, OTHER_PROMPT: 2}
    # What is trained is what was asked, token for token.
    tokenizer = load_checkpoint(model).tokenizer
    (unit, *_) = encode_units(judged(rows)[0], tokenizer, ExamplesConfig())
    (own,) = unit.completions
    asked = tokenizer.decode(own.tokens[: own.start].tolist())
    assert asked == "user: What is 0 and 2?\nassistant: "


# --- what is used, and what is not ---------------------------------------------------------------


def test_the_last_verdict_of_each_counts_and_the_rest_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    lines = [
        said("1"), said("1", good=False), said("1", by="ada"), '{"answer": "torn',
        said("2", refused=True), said("3", text=""), said("4", prompt=""),
    ]  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    found, left = judged(file)
    assert [(each.source, each.desirable) for each in found] == [
        (f"{file}:2", False), (f"{file}:3", True)
    ]  # fmt: skip
    assert left == {thumbs.CHANGED: 1, thumbs.DAMAGED: 1, thumbs.REFUSED: 1, thumbs.UNKEPT: 2}
    file.write_text(file.read_text() + '{"prompt": "a", "completion": "b", "label": true}\n')
    with pytest.raises(DataError, match=r":8: expected a verdict"):
        judged(file)


def test_calls_of_a_log(tmp_path: Path) -> None:
    call = {"number": 1, "question": "Which?", "answer": "A", "good": True, "prompt": 4,
            "state": "answered"}  # fmt: skip
    changes: list[dict[str, Any]] = [
        {}, {"good": None}, {"question": None}, {"state": "refused"}, {"prompt": 0},
        {"answer": "A [5 more characters were not kept]"},
    ]  # fmt: skip
    file = tmp_path / "calls.jsonl"
    rows = [call | change | {"number": number} for number, change in enumerate(changes, 1)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert thumbs.is_thumbs(file)
    (found,), left = judged(file)
    assert (found.row.prompt, found.row.completion, found.prompt_tokens) == ("Which?", "A", 4)
    assert left == {
        thumbs.UNRATED: 1, thumbs.UNKEPT: 2, thumbs.REFUSED: 1, thumbs.CUT_SHORT: 1
    }  # fmt: skip


def test_good_and_bad_answers_to_one_prompt_are_pairs(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    verdicts = [
        ("1", True, "P", "A"), ("2", False, "P", "B"), ("3", False, "P", "C"),
        ("4", True, "Q", "A"), ("5", True, "R", "D"), ("6", False, "R", "D"),
    ]  # fmt: skip
    file.write_text("\n".join(said(a, good=g, prompt=p, text=t) for a, g, p, t in verdicts))
    found, left = paired(file)
    assert [(each.chosen.completion, each.rejected.completion) for each in found] == [
        ("A", "B"), ("A", "C")
    ]  # fmt: skip
    assert left == {thumbs.UNPAIRED: 3}  # one of which they disagree on what is the same


def test_rows_that_are_no_thumbs(tmp_path: Path) -> None:
    for name, row in (("a.jsonl", test_align.rows("judged")[0]), ("b.csv", {})):
        (tmp_path / name).write_text(json.dumps(row))
        assert not thumbs.is_thumbs(tmp_path / name)


def test_the_texts_of_the_oldest_answers_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.answers.feedback.MOST_TEXT", 25)
    given = GivenAnswers(most=3)
    for name in "abcd":
        given.add(Feedback(name, "?", False, prompt="0123456789", text="A"))
    kept = [given.judged(name, "", good=True) for name in "bcd"]
    assert [each.text for each in kept if each is not None] == ["", "A", "A"]


def test_another_prompt_than_the_one_asked_is_counted(base: Path, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "calls.jsonl"
    call = {"question": "Which?", "answer": "A", "good": True, "state": "answered"}
    tokenizer = load_checkpoint(base / "model").tokenizer
    count = len(tokenizer.start) + len(tokenizer.encode("Which?"))
    rows = [call | {"number": n, "prompt": count + n} for n in range(2)]
    file.write_text("\n".join(map(json.dumps, rows)))
    report = UnitsReport()
    units = encode_units(judged(file)[0], tokenizer, ExamplesConfig(template="none"), report=report)
    assert (len(units), report.dropped) == (1, {OTHER_PROMPT: 1})

"""Answers from documents on the page: citations, their sources, "I don't know", the documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opened_page import Opened
from page_server import CHAT_MODEL, DOCUMENTS_MODEL, Answer, document, failing

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")
TEXT = "🐦 The wren weighs 9 g. It *nests* in moss."
WREN, NEST = "notes/birds.md", "mail/nest.eml"


def place(kind: str, source: str, start: int, end: int, text: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "source": source, "start": start, "end": end, "text": text, **more}


STEPS = (
    {"type": "status", "state": "search", "text": "2 passages for 'wren weight'"},
    {"type": "status", "state": "rerank", "text": "2 passages compared"},
    place("passage", WREN, 10, 60, "The wren weighs 9 g.", title="Birds"),
    place("passage", NEST, 100, 150, "It nests in moss.", page=2),
)
FOUND = Answer(
    (TEXT,),
    before=STEPS,
    after=(
        {"type": "claim", "text": "w", "answer_start": 0, "answer_end": 22, "support": "supported"},
        place("citation", WREN, 10, 30, "The wren weighs 9 g.", title="Birds", answer_end=22),
        place("citation", NEST, 100, 117, "It nests in moss.", page=2, answer_end=43),
        place("citation", WREN, 10, 30, "The wren weighs 9 g.", title="Birds", answer_end=43),
        {"type": "claim", "text": "n", "answer_end": 43, "support": "unsupported"},
        {"type": "outcome", "id": "a1", "refused": False, "probability": 0.93, "in_scope": 0.99},
    ),
)  # fmt: skip
UNKNOWN = Answer(
    (),
    before=STEPS,
    refusal="I don't know: the documents do not seem to answer this.",
    after=({"type": "outcome", "id": "a2", "refused": True, "probability": 0.1, "in_scope": 0.1},),
)
TABLE: dict[str, Any] = {
    "kind": "table", "level": 0, "where": "rows 1 to 400", "parts": [], "has_header": True,
    "gap": True,
    "rows": [
        {"cells": [[["bird", False]], [["weight", False]]], "where": "row 1", "cited": False},
        {"cells": [[["wren", False]], [["9 g", True]]], "where": "row 222", "cited": True},
    ],
}  # fmt: skip


def block(kind: str, *parts: tuple[str, bool], where: str = "") -> dict[str, Any]:
    shown: list[list[Any]] = [list(part) for part in parts]
    return {"kind": kind, "level": 1, "where": where, "parts": shown, "rows": [], "gap": False}


def source(name: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    usual = {"headings": [], "where": "", "page": None, "before": False, "after": True,
             "is_gone": False}  # fmt: skip
    return {"source": name, "blocks": list(blocks), **usual, **more}


@pytest.fixture
def asked(opened: Opened) -> Opened:
    """The page of a server that answers from documents, before the first question."""
    return with_documents(opened)


def with_documents(opened: Opened) -> Opened:
    opened.server.models = [DOCUMENTS_MODEL, CHAT_MODEL]
    long = block("paragraph", ("Much else. " * 300, False))
    opened.server.documents.sources = {
        WREN: source(WREN, block("heading", ("Birds", False)), long, TABLE, long,
                     headings=["Birds", "Small ones"], where="row 222"),
        NEST: source(NEST, block("message", ("From: Ada\nSubject: Nests", False)),
                     block("paragraph", ("Dear Bo, ", False), ("It nests in moss.", True)),
                     is_gone=True),
    }  # fmt: skip
    opened.open()
    opened.page.wait_for_selector("#documents:not([hidden])")
    return opened


def test_numbers_in_the_answer_open_what_they_cite(asked: Opened) -> None:
    page = asked.page
    asked.server.script.append(FOUND)
    asked.say("How heavy is a wren?")
    # Offsets count characters, of which a bird is one; what is taken from documents is no markup.
    assert page.inner_text(".plain") == "🐦 The wren weighs 9 g.1 It *nests* in moss.21"
    assert page.locator(".doubt").count() == 1
    labels = page.eval_on_selector_all(".cite", "all => all.map(node => node.ariaLabel)")
    assert labels == ["Source 1: Birds", "Source 2: nest.eml, page 2", "Source 1: Birds"]
    assert "Very likely right (93 %)" in page.inner_text(".evidence")
    assert page.locator(".sources li").count() == 2
    page.click(".cite")
    page.wait_for_selector("#source-body mark")
    assert page.inner_text("#source-body mark") == "9 g"
    assert page.inner_text("#source-path") == "notes › Birds › Small ones › row 222"
    assert page.inner_text("#source-body thead").strip() == "1\tbird\tweight"
    assert page.is_visible("#source-body mark")
    box = page.locator("#source-body mark").bounding_box()
    assert 0 < box["y"] < 700  # scrolled to
    assert page.evaluate("document.activeElement.id") == "source-title"
    assert page.inner_text("#source-count") == "Source 1 of 2"
    page.keyboard.press("Alt+ArrowRight")
    page.wait_for_selector("#source-body .source-mail")
    assert page.inner_text("#source-body mark") == "It nests in moss."
    assert "Subject: Nests" in page.inner_text(".source-mail")
    assert "not where it was read" in page.inner_text(".source-note")
    page.keyboard.press("Escape")
    assert page.is_hidden("#source")
    assert page.evaluate("document.activeElement.className") == "cite"


def test_what_cannot_be_opened_any_more_shows_what_was_cited(asked: Opened) -> None:
    page = asked.page
    asked.server.documents.sources = {}
    asked.server.script.append(FOUND)
    asked.say("How heavy is a wren?")
    page.click(".source-entry")
    page.wait_for_selector("#source-body mark")
    assert "not among the documents any more" in page.inner_text("#source-body")
    assert page.inner_text("#source-body mark") == "The wren weighs 9 g."


def test_it_says_plainly_that_it_does_not_know(asked: Opened) -> None:
    page = asked.page
    asked.server.script += [UNKNOWN, FOUND]
    asked.say("Who was king?")
    assert page.inner_text(".unknown-title") == "I don’t know"
    said = page.inner_text(".unknown")
    assert "The documents do not seem to answer this." in said
    assert "do not seem to be about this" in said
    assert page.locator(".unknown .source-entry").count() == 2
    assert page.inner_text("#announcer").startswith("Finished. I don't know")
    page.click(".steps summary")
    assert page.inner_text(".steps li:first-child") == "2 passages for 'wren weight'"
    page.click(".unknown .source-entry")
    page.wait_for_selector("#source-body mark")
    assert page.inner_text("#source-count") == "Passage 1 of 2"
    asked.say("And now?")
    assert asked.server.messages() == [
        ("user", "Who was king?"),
        ("assistant", "I don't know: the documents do not seem to answer this."),
        ("user", "And now?"),
    ]


def test_thumbs_are_kept_with_what_was_cited(asked: Opened) -> None:
    page = asked.page
    asked.server.script.append(FOUND)
    asked.say("How heavy is a wren?")
    page.click("[aria-label='Good answer']")
    page.wait_for_selector("[aria-label='Good answer'][aria-pressed=true]")
    page.click("[aria-label='Bad answer']")
    page.wait_for_selector("[aria-label='Bad answer'][aria-pressed=true]")
    said = [body for method, path, body in asked.server.documents.said if path == "/feedback"]
    assert [each["good"] for each in said] == [True, False]
    assert said[0]["question"] == "How heavy is a wren?"
    assert (said[0]["answer"], said[0]["probability"]) == ("a1", 0.93)
    assert said[0]["citations"][1] == {"source": NEST, "start": 100, "end": 117}
    page.reload()  # all of it is kept with the conversation
    page.wait_for_selector("[aria-label='Bad answer'][aria-pressed=true]")
    assert page.locator(".cite").count() == 3


def test_documents_are_added_and_removed(asked: Opened, tmp_path: Path) -> None:
    page, documents = asked.page, asked.server.documents
    page.click("#documents")
    page.wait_for_selector(".document")
    (tmp_path / "heron.txt").write_text("The heron stands.")
    (tmp_path / "long.txt").write_text("x" * 1_000_001)
    documents.taken.add("heron.txt")
    page.set_input_files(
        ".library input[type=file]", [tmp_path / "heron.txt", tmp_path / "long.txt"]
    )
    page.click("text=Keep both")
    page.wait_for_selector("[data-name='added/heron.txt']")
    assert "Being read" in page.inner_text("[data-name='added/heron.txt']")
    assert "at most 1.0 MB" in page.inner_text(".arriving .failed")
    page.click("[aria-label='Dismiss long.txt']")
    assert [(m, p, b) for m, p, b in documents.said if m == "PUT"] == [
        ("PUT", "/files/heron.txt", "The heron stands.")
    ] * 2
    page.click("[aria-label='Remove owl.txt']")
    page.wait_for_selector("text=its file is deleted")
    page.click("dialog.narrow >> text=Cancel")
    assert page.locator("[data-name='added/owl.txt']").count() == 1
    page.click("[aria-label='Remove owl.txt']")
    page.click("dialog.narrow >> .danger")
    page.wait_for_selector("[data-name='added/owl.txt']", state="detached")
    page.fill(".library input[type=search]", "heron")
    page.wait_for_selector("[data-name='notes/birds.md']", state="detached")


def test_files_may_be_dropped_anywhere(asked: Opened) -> None:
    page = asked.page
    page.evaluate(
        """() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["The owl hunts."], "night.md"));
          for (const type of ["dragenter", "dragover", "drop"]) {
            const options = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent(type, options));
          }
        }"""
    )
    page.wait_for_selector("[data-name='added/night.md']")
    assert page.is_hidden("#drop")


def test_progress_and_problems_are_told(asked: Opened) -> None:
    page, status = asked.page, asked.server.documents.status
    step = {"name": "documents", "title": "Reading the documents", "state": "running", "text": "",
            "done": 120, "total": 431, "unit": "files", "seconds": 0}  # fmt: skip
    status.update(working=True, answers=False, steps=[step])
    asked.open()
    page.wait_for_selector("text=You can ask as soon as the documents are read")
    assert "(120 of 431 files)" in page.inner_text("#small")
    asked.server.script.append(failing(503, "They are being read.", "not_ready", Retry_After="1"))
    asked.ask("Now?")
    page.wait_for_selector("text=They are being read.")
    status.update(working=False, answers=True, problem="The folder notes is not there")
    page.wait_for_selector("#small >> text=The folder notes is not there")
    asked.server.documents.listed.append(
        document("notes/scan.pdf", state="unreadable", documents=0, reason="needs OCR")
    )
    page.click("#documents")
    page.wait_for_selector(".document.unreadable")
    assert "Could not be read: needs OCR" in page.inner_text(".document.unreadable")


def test_a_guest_sees_no_list(opened: Opened) -> None:
    opened.server.documents.status.update(can_list=False, can_change=False)
    opened.server.models = [DOCUMENTS_MODEL]
    opened.open()
    opened.page.wait_for_selector("text=Answers come from the documents")
    assert opened.page.is_hidden("#documents")
    opened.page.dispatch_event("body", "dragenter")
    assert opened.page.is_hidden("#drop")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_enough(asked: Opened, scheme: str) -> None:
    page = asked.page
    page.emulate_media(color_scheme=scheme)
    asked.server.script += [FOUND, UNKNOWN]
    asked.say("How heavy is a wren?")
    asked.say("Who was king?")
    page.click(".cite")
    page.wait_for_selector("#source-body mark")
    assert page.evaluate(CONTRAST) == []
    page.click("#documents")
    page.wait_for_selector(".document")
    assert page.evaluate(CONTRAST) == []


def test_on_a_phone(phone: Opened) -> None:
    page = with_documents(phone).page
    phone.server.script.append(FOUND)
    page.fill("#message", "How heavy is a wren?")
    page.tap("#send")
    phone.finished()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.tap(".cite")
    page.wait_for_selector("#source-body mark")
    box = page.locator("#source").bounding_box()
    assert (box["x"], box["width"]) == (0, 360)
    assert page.evaluate("document.querySelector('#main').inert")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.tap("#source-close")
    assert not page.evaluate("document.querySelector('#main').inert")
    page.tap("#documents")
    page.wait_for_selector(".document")
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input:not(.unseen)")]
          .filter((node) => node.checkVisibility({ visibilityProperty: true }) && node.offsetParent)
          .map((node) => [node.id || node.className, node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
    )
    assert small == []

"""What can be done with messages: files with them, going on, editing, deleting, two models."""

from __future__ import annotations

import threading
from typing import Any

from opened_page import Opened
from page_server import CHAT_MODEL, Answer

ROBIN = {"id": "robin", "linnet": {"chat": True, "context": 200}}


def attach(opened: Opened, *files: tuple[str, str]) -> None:
    given: list[Any] = [
        {"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name, text in files
    ]
    opened.page.set_input_files("#attach-input", given)
    for name, _ in files:
        opened.page.wait_for_selector(f"#attached .attached:not(:has(.spinner)) >> text={name}")


def test_files_go_with_a_message(opened: Opened) -> None:
    page = opened.page
    attach(opened, ("a.pdf", "A linnet sings."), ("b.png", "x"), ("c.txt", "It flies."))
    assert opened.server.attached["a.pdf"] == b"A linnet sings."
    shown = page.eval_on_selector_all("#attached li", "all => all.map(li => li.innerText)")
    assert shown == [
        "a.pdf\n15 characters · 1 part left out",
        "b.png\nb.png cannot be read: no text",
        "c.txt\n9 characters",
    ]
    page.click("#attached button >> text=a.pdf")
    assert "Left out: page 3: a picture." in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.click("[aria-label='Remove c.txt']")
    page.wait_for_selector("#gauge >> text=tokens with this")
    opened.say("What does it do?")
    sent = "--- a.pdf ---\nA linnet sings.\n--- end of a.pdf ---\n\nWhat does it do?"
    assert opened.server.messages() == [("user", sent)]
    assert page.inner_text("#attached") == ""
    assert page.inner_text(".user .attached-name") == "a.pdf"
    page.hover(".user")
    page.click(".user [aria-label^='Edit']")
    page.fill(".editor textarea", "And?")
    page.click(".editor >> text=Send")
    opened.finished()
    assert opened.server.messages()[0][1].endswith("--- end of a.pdf ---\n\nAnd?")
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.inner_text(".user .attached-name") == "a.pdf"


def test_files_that_are_too_long_are_told_of_and_shortened(opened: Opened) -> None:
    page = opened.page
    attach(opened, ("short.txt", "Stays whole."), ("long.txt", "word " * 200))
    page.wait_for_selector("#fit:not([hidden])")
    assert "tokens; wren reads 200 at once" in page.inner_text("#fit")
    page.fill("#message", "Go")
    assert page.is_disabled("#send")
    page.keyboard.press("Enter")
    assert opened.server.asked == []
    page.click("text=Shorten to fit")
    page.wait_for_selector("#fit", state="hidden")
    assert page.inner_text("#attached li >> nth=0") == "short.txt\n12 characters"
    assert "first " in page.inner_text("#attached li >> nth=1")
    opened.until("!document.querySelector('#send').disabled")
    opened.say("Go")
    content = opened.server.messages()[0][1]
    assert "Stays whole." in content
    assert 100 < len(content) <= 200


def test_an_answer_that_was_cut_is_gone_on_with(opened: Opened) -> None:
    page = opened.page
    opened.server.script += [
        Answer(("Once ", "upon"), finish="length"),
        Answer((" a", " time"), finish="stop"),
    ]
    opened.say("Tell me")
    page.click("text=Continue >> nth=-1")
    opened.finished()
    assert opened.server.messages() == [("user", "Tell me"), ("assistant", "Once upon")]
    assert opened.server.asked[-1]["continue_final_message"] is True
    assert opened.texts() == ["Tell me", "Once upon a time"]
    opened.until("document.querySelector('.facts')?.innerText.startsWith('4 tokens')")
    assert page.locator(".foot >> text=Continue").count() == 0


def test_answers_and_questions_are_edited_and_deleted(opened: Opened) -> None:
    page = opened.page
    opened.say("One")
    opened.say("Two")

    def edit(place: str, text: str, button: str) -> None:
        page.hover(place)
        page.click(f"{place} >> [aria-label^='Edit']")
        page.fill(".editor textarea", text)
        page.click(f".editor-foot button:text-is('{button}')")

    edit(".assistant >> nth=0", "No.", "Save")
    edit(".user >> nth=0", "First", "Save")
    assert opened.texts() == ["First", "No.", "Two", "Yes."]
    assert "edited" in page.inner_text(".facts >> nth=0")
    assert len(opened.server.asked) == 2
    edit(".assistant >> nth=1", "Maybe.", "Save as a new version")
    assert opened.texts()[3] == "Maybe."
    assert page.inner_text(".page") == "2 / 2"
    page.hover(".assistant >> nth=0")
    page.click(".assistant >> nth=0 >> [aria-label='Delete this message']")
    assert opened.texts() == ["First", "Two", "Maybe."]
    page.click(".toast >> text=Undo")
    assert opened.texts() == ["First", "No.", "Two", "Maybe."]
    page.click(".assistant.last [aria-label='Delete this message']")
    assert opened.texts() == ["First", "No.", "Two", "Yes."]
    opened.say("Three")
    assert opened.server.messages() == [
        ("user", "First"), ("assistant", "No."), ("user", "Two"), ("assistant", "Yes."),
        ("user", "Three"),
    ]  # fmt: skip
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert opened.texts() == ["First", "No.", "Two", "Yes.", "Three", "Yes."]


def test_two_models_answer_and_one_is_gone_on_with(opened: Opened) -> None:
    page, more = opened.page, threading.Event()
    opened.server.models = [CHAT_MODEL, ROBIN]
    opened.open()
    page.click("#compare")
    assert page.get_attribute("#compare", "aria-pressed") == "true"
    opened.server.script += [Answer(("A", " end"), hold=more), Answer(("B", " end"), hold=more)]
    opened.ask("Which?")
    opened.until("document.querySelectorAll('.beside .markdown p').length === 2")
    more.set()
    opened.finished()
    assert sorted(asked["model"] for asked in opened.server.asked) == ["robin", "wren"]
    answers = page.locator(".beside .markdown").all_inner_texts()
    assert sorted(answers) == ["A end", "B end"]
    left, right = (page.locator(".beside article").nth(k).bounding_box() for k in (0, 1))
    assert left
    assert right
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    chosen = page.locator(".beside .markdown").nth(1).inner_text()
    page.click(".beside >> text=Go on with this >> nth=1")
    assert opened.texts() == ["Which?", chosen]
    page.click("#compare")
    opened.say("More")
    assert opened.server.messages()[1] == ("assistant", chosen)
    assert len(opened.server.asked) == 3
    page.click(".assistant >> nth=0 >> [aria-label='Previous version']")
    assert opened.texts()[1] != chosen


def test_two_answers_are_below_each_other_on_a_phone(phone: Opened) -> None:
    page = phone.page
    phone.server.models = [CHAT_MODEL, ROBIN]
    phone.open()
    page.tap("#compare")
    page.fill("#message", "Which?")
    page.tap("#send")
    phone.finished()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    top, bottom = (page.locator(".beside article").nth(k).bounding_box() for k in (0, 1))
    assert top
    assert bottom
    assert top["y"] + top["height"] <= bottom["y"]

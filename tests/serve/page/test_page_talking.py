"""Conversations in the page: asking, stopping, asking again, going back, going on with a text."""

from __future__ import annotations

import threading

from opened_page import Opened
from page_server import BASE_MODEL, Answer

ANNOUNCED = "document.querySelector('#announcer').textContent"


def test_an_answer_is_shown_while_it_comes(opened: Opened) -> None:
    page, more = opened.page, threading.Event()
    pieces = ("The **linnet** ", "is ", "a ", "bird.")
    opened.server.script.append(Answer(pieces, hold=more))
    opened.ask("What is a linnet?")
    page.wait_for_selector("#thread strong")
    assert opened.texts() == ["What is a linnet?", "The linnet"]
    assert page.input_value("#message") == ""
    assert page.get_attribute(".message.assistant", "aria-busy") == "true"
    assert page.evaluate(ANNOUNCED) == ""
    page.wait_for_timeout(100)
    more.set()
    opened.finished()
    assert opened.texts()[1] == "The linnet is a bird."
    assert page.get_attribute(".message.assistant", "aria-busy") == "false"
    assert page.evaluate(ANNOUNCED) == "Finished. The linnet is a bird."
    facts = page.inner_text(".facts")
    written, speed, wait = facts.split(" · ")
    assert written == "4 tokens"
    assert 1 < float(speed.removesuffix(" tokens/s")) < 30  # three in a little more than 0.1 s
    assert wait.startswith("first after ")
    assert page.get_attribute(".facts", "title") == "Prompt: 20 tokens, 8 of them known already"
    assert page.inner_text("#gauge") == "24 of 200 tokens"
    assert opened.server.asked[-1] == {
        "model": "wren",
        "messages": [{"role": "user", "content": "What is a linnet?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_keys_of_the_message_box(opened: Opened) -> None:
    page = opened.page
    assert page.evaluate("document.activeElement.id") == "message"
    assert page.is_disabled("#send")
    page.keyboard.type("  one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.dispatch_event(  # an input method's Enter takes a character, it does not send
        "#message", "keydown", {"key": "Enter", "isComposing": True}
    )
    assert opened.server.asked == []
    page.keyboard.press("Enter")
    opened.finished()
    assert opened.server.messages() == [("user", "one\ntwo")]
    assert page.evaluate("document.activeElement.id") == "message"
    page.keyboard.press("Enter")  # nothing to send
    assert len(opened.server.asked) == 1
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.value") == "one\ntwo"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel") == "Edit and send again"


def test_stopping_keeps_what_came_and_ends_the_request(opened: Opened) -> None:
    opened.server.script.append(Answer(("Once ", "upon"), hold=threading.Event()))
    opened.ask("Tell me")
    opened.page.wait_for_selector("#thread .assistant p")
    opened.page.keyboard.press("Escape")
    opened.finished()
    assert opened.server.left.wait(2)
    assert opened.texts() == ["Tell me", "Once"]
    assert opened.page.inner_text(".facts").endswith("stopped")
    opened.say("And?")
    assert opened.server.messages() == [
        ("user", "Tell me"),
        ("assistant", "Once "),
        ("user", "And?"),
    ]


def test_answering_again_keeps_the_first_answer(opened: Opened) -> None:
    page = opened.page
    opened.server.script += [Answer(("First",)), Answer(("Second",))]
    opened.say("Go")
    page.click("[aria-label='Answer again']")
    opened.finished()
    assert opened.texts() == ["Go", "Second"]
    assert opened.server.messages() == [("user", "Go")]
    assert page.inner_text(".page") == "2 / 2"
    page.click("[aria-label='Previous version']")
    assert opened.texts() == ["Go", "First"]
    opened.say("More")
    assert opened.server.messages() == [("user", "Go"), ("assistant", "First"), ("user", "More")]
    page.click(".assistant [aria-label='Next version']")
    assert opened.texts() == ["Go", "Second"]


def test_a_question_is_edited_and_its_old_version_kept(opened: Opened) -> None:
    page = opened.page
    opened.say("One")
    opened.say("Two")
    page.hover(".user >> nth=0")
    page.click(".user >> nth=0 >> [aria-label='Edit and send again']")
    page.fill(".editor textarea", "Another")
    page.click(".editor .main-button")
    opened.finished()
    assert opened.server.messages() == [("user", "Another")]
    assert opened.texts() == ["Another", "Yes."]
    page.hover(".user >> nth=0")
    page.click(".user [aria-label='Previous version']")
    assert opened.texts() == ["One", "Yes.", "Two", "Yes."]


def test_sending_an_edited_question_ends_what_is_written(opened: Opened) -> None:
    page = opened.page
    opened.server.script.append(Answer(("Once ", "upon"), hold=threading.Event()))
    opened.ask("Tell me")
    page.wait_for_selector("#thread .assistant p")
    page.hover(".user")
    page.click(".user [aria-label='Edit and send again']")
    page.fill(".editor textarea", "Show me")
    page.press(".editor textarea", "Control+Enter")
    page.wait_for_selector("text=Yes.")
    assert opened.server.left.wait(2)
    assert opened.texts() == ["Show me", "Yes."]


def test_another_conversation_can_be_opened_while_one_is_answered(opened: Opened) -> None:
    page, more = opened.page, threading.Event()
    opened.server.script.append(Answer(("Slow", " end"), hold=more))
    opened.ask("Long")
    page.wait_for_selector("#thread .assistant p")
    page.keyboard.press("Control+Shift+O")
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.locator(".spinner").count() == 1
    opened.say("Short")
    assert opened.texts() == ["Short", "Yes."]
    more.set()
    page.wait_for_selector(".spinner", state="detached")
    page.click(".entry >> text=Long")
    assert opened.texts() == ["Long", "Slow end"]
    page.go_back()
    page.wait_for_selector(".user >> text=Short")


def test_thoughts_are_folded_away_and_not_sent_back(opened: Opened) -> None:
    opened.server.script.append(Answer(("42",), thoughts=("Let me ", "see.")))
    opened.server.script.append(Answer(("<think>Hm", "m</think>\n\n", "43")))
    opened.say("Compute")
    opened.say("And now?")
    assert opened.texts() == ["Compute", "Thoughts\n\n42", "And now?", "Thoughts\n\n43"]
    assert opened.server.messages()[1] == ("assistant", "42")
    opened.page.click("summary >> nth=1")
    assert opened.page.inner_text(".thought-text >> nth=1") == "Hmm"
    opened.say("Then?")
    assert opened.server.messages()[3] == ("assistant", "43")


def test_it_follows_the_answer_unless_one_reads_above(opened: Opened) -> None:
    page, more = opened.page, threading.Event()
    lines = "\n\n".join(f"line {k}" for k in range(100))
    opened.server.script.append(Answer((lines, "\n\nthe end"), hold=more))
    opened.ask("Much")
    page.wait_for_selector("text=line 99")
    from_end = (
        "(s => s.scrollHeight - s.scrollTop - s.clientHeight)(document.querySelector('#scroller'))"
    )
    opened.until(f"{from_end} < 2")
    page.hover("#scroller")
    page.mouse.wheel(0, -1000)
    page.wait_for_selector("#to-end:not([hidden])")
    more.set()
    opened.finished()
    assert page.evaluate(from_end) > 500
    page.click("#to-end")
    opened.until(f"{from_end} < 2")


def test_a_base_model_continues_a_text(opened: Opened) -> None:
    opened.server.models = [BASE_MODEL]
    opened.open()
    page = opened.page
    page.fill("#paper", "Once upon a time")
    opened.server.script += [Answer((" there", " was")), Answer((" a bird",)), Answer((" a fox",))]
    page.press("#paper", "Control+Enter")
    opened.finished()
    assert page.input_value("#paper") == "Once upon a time there was"
    assert opened.server.paths[-1] == "/v1/completions"
    assert opened.server.asked[-1]["prompt"] == "Once upon a time"
    page.click("#send")
    opened.finished()
    page.click("text=Try again")
    opened.finished()
    assert opened.server.asked[-1]["prompt"] == "Once upon a time there was"
    assert page.input_value("#paper") == "Once upon a time there was a fox"
    marked = "all => all.map(s => [s.className, s.textContent])"
    assert page.eval_on_selector_all(".mirror span", marked) == [
        ["you", "Once upon a time"], ["model", " there was"], ["model", " a fox"],
    ]  # fmt: skip
    page.click("text=Take back")
    page.press("#paper", "ArrowLeft")
    page.keyboard.type("X")  # within what the model wrote
    assert page.eval_on_selector_all(".mirror span", marked) == [
        ["you", "Once upon a time"], ["model", " there wa"], ["you", "X"], ["model", "s"],
    ]  # fmt: skip
    assert "tokens/s" not in page.inner_text("#gauge")  # too few for a speed
    page.wait_for_timeout(600)  # it is kept a moment after the last key
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.input_value("#paper") == "Once upon a time there waXs"

"""What goes wrong is said kindly in the page, and nothing that was written is lost."""

from __future__ import annotations

import threading

import pytest
from opened_page import Opened
from page_server import Answer, failing

FULL = "This model's maximum context length is 200 tokens."


def notice(opened: Opened) -> str:
    opened.page.wait_for_selector("#notice:not([hidden])")
    text: str = opened.page.inner_text(".notice-title")
    return text


def test_a_key_is_asked_for_and_kept_for_the_tab_only(opened: Opened) -> None:
    page = opened.page
    opened.server.key = "sesame-sesame"
    opened.ask("Hello")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog:has-text('does not take this key')")
    page.fill("#key", "sesame-sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Yes.")
    assert opened.texts() == ["Hello", "Yes."]
    assert opened.server.keys[-1] == "Bearer sesame-sesame"
    page.reload()
    page.wait_for_selector("[data-ready]")
    opened.say("Again")
    kept = "JSON.stringify([{...localStorage}, location.href, document.cookie])"
    assert "sesame" not in page.evaluate(kept)
    page.click("#settings-top")
    page.click("text=Forget the server's key")
    page.wait_for_selector("#key")
    page.keyboard.press("Escape")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_busy_server_is_asked_again_when_it_says(opened: Opened) -> None:
    opened.server.script.append(failing(429, "Too many requests.", Retry_After="4"))
    opened.ask("Hello")
    assert notice(opened) == "The server has too much to do right now"
    button = opened.page.locator("#notice .main-button")
    assert button.inner_text() in {f"Try again in {left} s" for left in (1, 2, 3, 4)}
    assert button.is_disabled()
    button.click()  # waits until it can be clicked
    opened.finished()
    assert opened.texts() == ["Hello", "Yes."]
    assert opened.page.is_hidden("#notice")


def test_a_full_context_offers_to_leave_out_the_oldest(opened: Opened) -> None:
    for text in ("One", "Two", "Three"):
        opened.say(text)
    opened.server.script += [failing(400, FULL, "context_length_exceeded")] * 2
    opened.ask("Four")
    assert notice(opened) == "This is more than the model can read at once"
    assert FULL in opened.page.inner_text("#notice")
    opened.page.click("text=Leave out the oldest and try again")
    opened.page.wait_for_selector(".message >> nth=7 >> text=Yes.")
    # One turn was not enough, so two more went.
    assert opened.server.messages() == [("user", "Four")]
    assert opened.page.locator(".left-out").count() == 6
    opened.say("Five")
    assert [text for _, text in opened.server.messages()] == ["Four", "Yes.", "Five"]
    opened.page.click("text=Let it read it again")
    opened.say("Six")
    assert len(opened.server.messages()) == 11


def test_a_long_text_goes_on_from_its_end(opened: Opened) -> None:
    page = opened.page
    page.click("text=Continue a text")
    text = " ".join(f"word{k}" for k in range(40))
    page.fill("#paper", text)
    full = failing(400, FULL, "context_length_exceeded")
    opened.server.script += [full, full, Answer((" and so",)), full, Answer((" on",))]
    page.press("#paper", "Control+Enter")
    assert notice(opened) == "This is more than the model can read at once"
    page.click("text=Go on from its end")
    opened.until("document.querySelector('#paper').value.endsWith('and so')")
    opened.finished()
    first, half, quarter = [asked["prompt"] for asked in opened.server.asked]
    assert first == text
    for shorter, longer in ((half, first), (quarter, half)):
        assert longer.endswith(shorter)
        assert shorter.startswith(" word")
        assert 0.3 < len(shorter) / len(longer) <= 0.5
    assert page.inner_text("#gauge").endswith("reads the end only")
    page.click("#send")  # it was agreed to once: not asked again
    opened.until("document.querySelector('#paper').value.endsWith('on')")
    assert page.input_value("#paper") == text + " and so on"
    assert (quarter + " and so").endswith(opened.server.asked[-1]["prompt"])


def test_a_question_that_is_too_long_by_itself(opened: Opened) -> None:
    opened.server.script.append(failing(400, FULL, "context_length_exceeded"))
    opened.ask("Long")
    assert "Shorten it" in (notice(opened) and opened.page.inner_text("#notice"))
    assert opened.page.locator("text=Leave out").count() == 0
    assert opened.texts() == ["Long"]


@pytest.mark.slow  # the page looks again every few seconds
def test_a_server_that_goes_and_comes_back(opened: Opened) -> None:
    page, server = opened.page, opened.server
    server.stop()
    opened.ask("Hello")
    assert notice(opened) == "The server does not answer"
    assert page.inner_text("#connection") == "Not connected"
    server.start(server.port)
    page.wait_for_selector("text=The server is back.")
    assert page.inner_text("#connection") == ""
    page.click("#notice >> text=Try again")
    page.wait_for_selector("text=Yes.")
    assert opened.texts() == ["Hello", "Yes."]


def test_an_answer_that_breaks_off_is_kept(opened: Opened) -> None:
    opened.server.script.append(Answer(("Half of ", "it"), cut=True))
    opened.ask("Hello")
    assert notice(opened) == "The answer broke off"
    assert opened.texts() == ["Hello", "Half of it"]
    opened.page.click("text=Answer again >> nth=-1")
    opened.page.wait_for_selector("text=Yes.")
    assert opened.page.inner_text(".page") == "2 / 2"


def test_a_refusal_is_shown_in_the_servers_words(opened: Opened) -> None:
    opened.server.script.append(failing(400, "'top_p' must be <b>at most</b> 1. Got 7"))
    opened.ask("Hello")
    assert notice(opened) == "The server refused this"
    assert "'top_p' must be <b>at most</b> 1. Got 7" in opened.page.inner_text("#notice")
    opened.server.script.append(failing(500, ""))
    opened.page.click("#notice >> text=Try again")
    opened.page.wait_for_selector("text=The server answered with status 500.")


def test_a_model_without_a_chat_template_is_given_a_text(opened: Opened) -> None:
    opened.server.script.append(failing(400, "wren has no chat template", "no_chat_template"))
    opened.ask("A bird is")
    assert notice(opened) == "This model does not hold conversations"
    opened.page.click("text=Begin a text")
    assert opened.page.input_value("#paper") == "A bird is"


def test_an_error_within_a_stream(opened: Opened) -> None:
    hold = threading.Event()
    fault = {"message": "The engine was restarted.", "code": "engine_error"}
    opened.server.script.append(Answer(("Some", " more"), hold=hold, fault=fault))
    opened.ask("Hello")
    hold.set()
    assert notice(opened) == "Something went wrong on the server"
    assert opened.texts()[1] == "Some more"


def test_an_answer_of_nothing_is_said_to_be_one(opened: Opened) -> None:
    opened.server.script.append(Answer(()))
    opened.say("Hello")
    content = "getComputedStyle(document.querySelector('.assistant .markdown'), '::after').content"
    assert opened.page.evaluate(content) == '"The model answered with nothing."'

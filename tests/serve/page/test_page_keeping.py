"""What the page keeps in the browser: conversations, settings, appearance; files of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opened_page import PATIENCE, Opened, downloaded
from page_server import Answer

TITLES = "all => all.map(entry => entry.innerText)"


def titles(opened: Opened) -> list[str]:
    found: list[str] = opened.page.eval_on_selector_all(".entry-title", TITLES)
    return found


def test_conversations_are_there_again_after_a_reload(opened: Opened) -> None:
    page = opened.page
    opened.say("First **question**")
    page.click("#new")
    opened.say("Second question")
    opened.page.reload()
    page.wait_for_selector("[data-ready]")
    assert opened.texts() == ["Second question", "Yes."]
    assert titles(opened) == ["Second question", "First **question**"]
    page.fill("#find", "FIRST")
    assert titles(opened) == ["First **question**"]
    page.press("#find", "ArrowDown")
    page.keyboard.press("Enter")
    assert opened.texts()[0] == "First **question**"
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.id") == "find"


def test_renaming_deleting_and_bringing_back(opened: Opened) -> None:
    page = opened.page
    opened.say("A question")
    page.click(".entry-menu")
    page.keyboard.press("Enter")  # the menu's first
    page.keyboard.type("Birds")
    page.keyboard.press("Enter")
    assert titles(opened) == ["Birds"]
    assert page.title() == "Birds · Linnet"
    opened.say("More")
    assert titles(opened) == ["Birds"]
    page.focus(".entry a")
    page.keyboard.press("Delete")
    page.wait_for_selector("#welcome:not([hidden])")
    assert titles(opened) == []
    page.click(".toast >> text=Undo")
    assert titles(opened) == ["Birds"]
    assert opened.texts() == ["A question", "Yes.", "More", "Yes."]


def test_a_conversation_deleted_while_it_is_answered_stays_deleted(opened: Opened) -> None:
    opened.server.script.append(Answer(("Once ", "upon"), hold=threading.Event()))
    opened.ask("Tell me")
    opened.page.wait_for_selector("#thread .assistant p")
    opened.page.focus(".entry a")
    opened.page.keyboard.press("Delete")
    assert opened.server.left.wait(2)
    opened.page.wait_for_timeout(100)
    assert titles(opened) == []
    opened.page.reload()
    opened.page.wait_for_selector("[data-ready]")
    assert titles(opened) == []


def test_files_of_conversations(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    opened.server.script += [Answer(("First",)), Answer(("Second",))]
    opened.say("A/question?")
    page.click("[aria-label='Answer again']")
    opened.finished()
    page.click(".entry-menu")
    markdown = downloaded(opened, lambda: page.click(".menu >> text=Export"))
    assert markdown == "# A/question?\n\n## You\n\nA/question?\n\n## wren\n\nSecond\n"
    page.click("#show-settings")
    exported = downloaded(opened, lambda: page.click("text=Export all"))
    page.click("text=Delete all")
    page.click("dialog .danger >> text=Delete all")
    page.wait_for_selector("#welcome:not([hidden])")
    assert titles(opened) == []
    (tmp_path / "all.json").write_text(exported, "utf-8")
    give(opened, tmp_path / "all.json")
    page.wait_for_selector("text=1 conversation imported.")
    page.click(".entry")
    assert opened.texts() == ["A/question?", "Second"]
    page.click("[aria-label='Previous version']")
    assert opened.texts() == ["A/question?", "First"]


def give(opened: Opened, file: Path) -> None:
    opened.page.click("#show-settings")
    opened.page.set_input_files("#kept-file", file)


def file_of(*conversations: object) -> str:
    return json.dumps({"format": "linnet-conversations", "conversations": conversations})


def test_files_that_are_no_conversations_are_refused_kindly(opened: Opened, tmp_path: Path) -> None:
    text = {"id": "a" * 24, "role": "user", "parent": "root", "text": "<b>kept</b>", "x": 1}
    circle = {"id": "b" * 24, "role": "user", "parent": "c" * 24, "text": "gone"}
    other = {"id": "c" * 24, "role": "user", "parent": "b" * 24, "text": "gone"}
    good: dict[str, Any] = {
        "id": "../../x", "mode": "chat", "title": ["no"], "settings": {"system": 5, "seed": "x"},
        "nodes": {"1": text, "2": circle, "3": other, "4": None, "5": {"id": "__proto__"}},
        "chosen": {"root": "b" * 24}, "pieces": "none", "named": "yes",
    }  # fmt: skip
    for name, raw, said in (
        ("broken.json", "{", "broken.json is no JSON."),
        ("other.json", "[1]", "other.json has no conversations that this page exported."),
        ("none.json", file_of(None, 3, {"mode": "chat"}), "0 conversations imported."),
        ("good.json", file_of(good), "1 conversation imported."),
    ):
        (tmp_path / name).write_text(raw, "utf-8")
        give(opened, tmp_path / name)
        opened.page.wait_for_selector(f"text={said}")
    opened.page.click(".entry")
    assert opened.texts() == ["<b>kept</b>"]
    opened.say("And?")
    assert opened.server.messages() == [("user", "<b>kept</b>\n\nAnd?")]


def test_settings_are_sent_when_set_and_only_then(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Control+,")
    page.fill("#set-system", "Be brief.")
    page.fill("#set-temperature", "0.3")
    page.fill("#set-min_p", "0.1")
    page.fill("#set-top_p", "7")  # out of range: not taken
    page.fill("#set-max_tokens", "50")
    page.fill("#set-seed", "5")
    page.fill("#set-stop", "END\n\nSTOP")
    page.keyboard.press("Escape")
    opened.say("Hello")
    asked = opened.server.asked[-1]
    assert opened.server.messages() == [("system", "Be brief."), ("user", "Hello")]
    settings = {
        k: asked[k] for k in asked if k not in ("model", "messages", "stream", "stream_options")
    }
    assert settings == {
        "temperature": 0.3, "min_p": 0.1, "max_tokens": 50, "seed": 5, "stop": ["END", "STOP"],
    }  # fmt: skip
    page.click("#new")  # what comes later begins with the same
    page.click("#settings-top")
    assert page.input_value("#set-temperature") == "0.3"
    page.click("[aria-label='Leave Temperature to the model']")
    page.fill("#set-stop", "")
    page.keyboard.press("Escape")
    opened.say("Hello")
    assert "temperature" not in opened.server.asked[-1]
    assert "stop" not in opened.server.asked[-1]
    page.click(".entry >> nth=1")  # the first one has kept its own
    opened.say("Again")
    assert opened.server.asked[-1]["temperature"] == 0.3


def test_what_a_setting_cannot_be_is_said_and_not_sent(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Control+,")
    for name, wrong, said in (
        ("top_k", "1.5", "It must be a whole number from 0: not taken over."),
        ("repetition_penalty", "0", "It must be a number from 0.01 to 100: not taken over."),
        ("frequency_penalty", "3", "It must be a number from -2 to 2: not taken over."),
        ("temperature", "5", "It must be from 0 to 2: not taken over."),
    ):
        page.fill(f"#set-{name}", wrong)
        assert page.inner_text(f"#set-{name}-help") == said
        assert page.get_attribute(f"#set-{name}", "aria-invalid") == "true"
        page.fill(f"#set-{name}", "")
    page.fill("#set-top_k", "40")
    page.fill("#set-presence_penalty", "0.5")
    page.fill("#set-schema", "[1]")
    assert page.inner_text("#set-schema-help").startswith("It must be an object")
    page.keyboard.press("Escape")
    opened.ask("Hello")
    page.wait_for_selector("text=The JSON schema is not right yet.")
    assert page.evaluate("document.activeElement.id") == "set-schema"
    assert opened.server.asked == []
    page.fill("#set-schema", '{"type": "object"}')
    page.keyboard.press("Escape")
    assert page.input_value("#message") == "Hello"
    page.press("#message", "Enter")
    opened.finished()
    asked = opened.server.asked[-1]
    assert (asked["top_k"], asked["presence_penalty"]) == (40, 0.5)
    schema = {"name": "answer", "schema": {"type": "object"}}
    assert asked["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_presets_are_kept_used_and_taken_elsewhere(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    page.keyboard.press("Control+,")
    page.fill("#set-system", "Be brief.")
    page.fill("#set-top_k", "5")
    page.click("text=Save these")
    page.fill("#preset-name", "Short")
    page.fill("#preset-prompt", "Explain: ")
    page.keyboard.press("Tab")
    page.click("dialog.narrow button:text-is('Save')")
    exported = downloaded(opened, lambda: page.click(".presets >> text=Export"))
    page.click(".presets >> text=Delete")
    assert page.is_disabled("#preset")
    page.fill("#set-system", "")
    page.fill("#set-top_k", "")
    (tmp_path / "presets.json").write_text(exported, "utf-8")
    page.set_input_files("#preset-file", tmp_path / "presets.json")
    page.wait_for_selector("text=1 preset imported.")
    page.click(".presets >> text=Use")
    page.wait_for_selector("text=The preset “Short” is used.")
    assert page.input_value("#message") == "Explain: "
    opened.say("Explain: birds")
    assert opened.server.messages()[0] == ("system", "Be brief.")
    assert opened.server.asked[-1]["top_k"] == 5
    page.keyboard.press("Control+,")
    (tmp_path / "other.json").write_text('{"format": "linnet-presets", "presets": 1}', "utf-8")
    page.set_input_files("#preset-file", tmp_path / "other.json")
    page.wait_for_selector("text=other.json has no presets that this page exported.")


def test_the_server_keeps_conversations_where_it_does(opened: Opened) -> None:
    page, kept = opened.page, opened.server.conversations
    opened.say("In the browser")
    kept.stored = "file"
    opened.open()
    assert "kept on this server, until 30 days after" in page.inner_text("#welcome")
    assert titles(opened) == []
    page.click("#show-settings")
    page.click("text=Copy the 1 of this browser to the server")
    page.wait_for_selector("text=1 conversation of this browser copied to the server.")
    assert titles(opened) == ["In the browser"]
    assert kept.texts("conv_1") == ["In the browser", "Yes."]
    opened.server.script += [Answer(("First",)), Answer(("Second",))]
    opened.say("On the server")
    page.click("[aria-label='Answer again']")
    opened.finished()
    opened.until("document.querySelector('.page')?.innerText === '2 / 2'")
    wait_for(lambda: len(kept.kept) == 2)
    name = list(kept.kept)[1]
    wait_for(lambda: kept.texts(name) == ["On the server", "First", "Second"])
    page.reload()
    page.wait_for_selector("[data-ready]")
    page.wait_for_selector(".assistant >> text=Second")
    assert opened.texts() == ["On the server", "Second"]
    page.click("[aria-label='Previous version']")
    assert opened.texts() == ["On the server", "First"]
    kept.kept["other"] = {"id": "other", "created_at": 2000, "metadata": {"title": "A program's"}}
    kept.items["other"] = []
    kept.add(
        "other", [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hullo"}]
    )
    opened.open()
    page.fill("#find", "hullo")
    opened.until("document.querySelectorAll('.entry-title').length === 1")
    page.click(".entry")
    page.wait_for_selector("#thread >> text=Hullo")
    opened.say("On")
    assert opened.server.messages() == [("user", "Hi"), ("assistant", "Hullo"), ("user", "On")]
    wait_for(lambda: kept.texts("other") == ["Hi", "Hullo", "On", "Yes."])
    away = {"id": "e" * 24, "parent": "root", "role": "user", "at": 1}
    kept.add("other", [{"role": "user", "content": "Elsewhere", "linnet": {"node": away}}])
    page.fill("#find", "elsewhere")  # it is seen to have changed, though not what
    opened.until("document.querySelectorAll('.entry-title').length === 1")
    opened.say("Last")
    wait_for(lambda: kept.texts("other")[-2:] == ["Last", "Yes."])
    wait_for(lambda: len(kept.texts("other")) == len(set(map(str, kept.items["other"]))) == 7)
    assert "Elsewhere" in kept.texts("other")
    page.fill("#find", "")
    page.focus(".entry.current a")
    page.keyboard.press("Delete")
    wait_for(lambda: "other" not in kept.kept)
    page.click(".toast >> text=Undo")
    wait_for(lambda: any(kept.texts(each)[:3] == ["Hi", "Hullo", "On"] for each in kept.kept))
    page.click("#show-settings")
    exported = json.loads(downloaded(opened, lambda: page.click("text=Export all")))
    assert len(exported["conversations"]) == 3
    page.click("text=Delete all")
    page.click("dialog .danger >> text=Delete all")
    wait_for(lambda: kept.kept == {})
    kept.stored = "memory"
    opened.open()
    assert titles(opened) == ["In the browser"]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_model_is_chosen_by_name_and_remembered(opened: Opened) -> None:
    vectors = {"id": "owl", "linnet": {"chat": False, "embeddings": True}}
    opened.server.models = [{"id": "wren"}, {"id": "robin <b>"}, vectors]
    opened.open()
    assert opened.page.locator("#model option").count() == 2
    opened.page.select_option("#model", "robin <b>")
    opened.open()
    assert opened.page.input_value("#model") == "robin <b>"
    opened.say("Hello")
    assert opened.server.asked[-1]["model"] == "robin <b>"
    assert opened.page.inner_text(".who") == "robin <b>"


def test_dark_and_light(opened: Opened) -> None:
    page = opened.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    page.click("[aria-label='Light appearance']")
    assert page.evaluate(background) == light
    opened.open(wait=False)  # before any script that could come too late
    assert page.evaluate(background) == light
    page.wait_for_selector("[data-ready]")
    page.click("#settings-top")
    page.click("text=As the system")
    assert page.evaluate(background) == dark


def test_a_browser_that_keeps_nothing(forgetful: Opened) -> None:
    assert "This browser keeps nothing" in forgetful.page.inner_text("#welcome")
    forgetful.say("Hello")
    assert forgetful.texts() == ["Hello", "Yes."]
    assert titles(forgetful) == ["Hello"]

"""The page for everyone: keyboard, screen reader, phone, contrast, calm."""

from __future__ import annotations

from pathlib import Path

import pytest
from opened_page import Opened
from page_server import Answer, failing

RICH = """\
# Title\n\nSome *text* with `code` and [a link](https://a.example).\n
- [x] done\n- item\n\n> quoted\n
| a | b |\n|---|---|\n| 1 | 2 |\n
```python\ndef f():  # why\n    return "a" + 1\n```\n"""

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_enough(opened: Opened, scheme: str) -> None:
    page = opened.page
    page.emulate_media(color_scheme=scheme)
    opened.server.script += [Answer((RICH,), thoughts=("Hm",)), failing(400, "Too high", "x")]
    assert page.evaluate(CONTRAST) == []
    opened.say("Hello")
    page.click("summary")
    opened.ask("Again")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Control+,")
    assert page.evaluate(CONTRAST) == []


def test_everything_that_can_be_used_has_a_name(opened: Opened) -> None:
    opened.server.script.append(Answer((RICH,)))
    opened.say("Hello")
    opened.page.keyboard.press("Control+,")
    unnamed = opened.page.evaluate(
        """() => "button,a[href],input,select,textarea,[tabindex='0']".split(",")
          .flatMap((kind) => [...document.querySelectorAll(kind)])
          .filter((node) => !(node.ariaLabel || node.labels?.length || node.innerText?.trim()
            || node.textContent.trim() || node.getAttribute("aria-hidden")))
          .map((node) => node.outerHTML.slice(0, 100))"""
    )
    assert unnamed == []


def test_with_the_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    opened.say("Hello")
    focused = "document.activeElement.ariaLabel ?? document.activeElement.innerText.trim()"
    page.focus("#new")
    for _ in range(3):  # the brand's button, the link to skip
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.id") == "skip":
            break
    assert page.evaluate(focused) == "Skip to the message box"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "message"
    page.keyboard.press("Control+/")
    page.wait_for_selector("dialog >> text=New conversation")
    for _ in range(4):  # the focus stays within
        page.keyboard.press("Tab")
        assert page.evaluate("Boolean(document.activeElement.closest('dialog, body'))")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "message"
    page.keyboard.press("Control+b")
    assert page.is_hidden("#sidebar")
    assert page.evaluate(focused) == "Show conversations"
    page.keyboard.press("Control+k")
    assert page.is_visible("#sidebar")
    assert page.evaluate("document.activeElement.id") == "find"
    page.click(".entry-menu")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "Delete"
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "More for Hello"


def test_on_a_phone(phone: Opened) -> None:
    page = phone.page
    phone.server.script.append(
        Answer(("long" * 200 + "\n\n```\n" + "code " * 100 + "\n```\n" + RICH,))
    )
    page.fill("#message", "x" * 300)
    page.press("#message", "Enter")  # the keyboard on the screen has no Shift+Enter
    assert phone.server.asked == []
    page.tap("#send")
    phone.finished()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") <= 360
    page.tap("#show-sidebar")
    assert page.get_attribute("#show-sidebar", "aria-expanded") == "true"
    assert page.evaluate("document.querySelector('#main').inert")
    page.tap("#new")
    page.wait_for_selector("#welcome:not([hidden])")
    assert not page.evaluate("document.querySelector('#main').inert")
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input")]
          .filter((node) => node.checkVisibility({ visibilityProperty: true }) && node.offsetParent)
          .map((node) => [node.id || node.className, node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
    )
    assert small == []


def test_nothing_moves_for_those_who_asked(opened: Opened) -> None:
    opened.page.emulate_media(reduced_motion="reduce")
    opened.page.keyboard.press("Control+,")
    moving = (
        "document.getAnimations().filter(a => a.effect.getComputedTiming().duration > 0).length"
    )
    assert opened.page.evaluate(moving) == 0

"""Who wrote an answer, and asking a larger model for once, on the page of a server that routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opened_page import Opened, new_window
from test_serve_routing import Routed, routing_server

POLICY = '[[policy.patterns]]\nname = "CASE"\nmatches = "A-[0-9]+"'


@pytest.fixture(scope="module")
def routing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    with routing_server(tmp_path_factory.mktemp("page"), policy=POLICY) as found:
        yield found


@pytest.fixture
def served(chromium: Any, routing: Routed) -> Iterator[Opened]:
    window = new_window(chromium)
    made = Opened(window, SimpleNamespace(url=routing.near.url + "/"))  # type: ignore[arg-type]
    yield made
    made.leave()
    window.context.close()


def last(served: Opened, part: str = "") -> Any:
    return served.page.locator(f"#thread .message.last {part}")


def test_it_says_who_wrote_an_answer_and_asks_another_once(served: Opened, routing: Routed) -> None:
    page = served.page
    labels = page.eval_on_selector_all("#model option", "all => all.map(o => o.innerText)")
    assert labels == ["tiny", "auto · chooses", "cloud · outside this network"]
    assert page.input_value("#model") == "auto"
    served.say("an easy one")
    assert last(served, ".who").inner_text() == "tiny"
    assert last(served, ".wrote summary").inner_text() == "tiny, on this machine"

    # What would leave is shown first, and nothing leaves without a word.
    before = len(routing.cloud.requests)
    page.click("text=Ask a larger model")
    page.wait_for_selector(".prospect")
    assert page.inner_text(".leaving pre") == "an easy one"
    assert "at most 0.00" in page.inner_text(".prospect .help")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert len(routing.cloud.requests) == before
    page.click("text=Ask a larger model")
    page.click("text=Send it to cloud")
    # Only when the dialog has closed, which the browser tells the page later, is it asked.
    page.wait_for_selector(".message.last .page:text-is('2 / 2')")
    served.finished()
    assert served.texts()[-1].startswith("the cloud says so")
    assert last(served, ".who").inner_text() == "cloud"
    summary = last(served, ".wrote summary").inner_text()
    assert summary.startswith("cloud, outside this network · 0.00")
    assert summary.endswith(" EUR")
    assert served.page.locator("text=Ask a larger model").count() == 0
    last(served, ".wrote summary").click()
    assert "Cloud was asked for." in last(served, ".wrote").inner_text()
    last(served, "[aria-label='Bad answer']").click()
    page.wait_for_selector(".message.last [aria-label='Bad answer'][aria-pressed=true]")
    assert routing.entries()[0].good is False
    # It was for once: the next question is routed as ever; and it is there after a reload.
    served.say("another easy one")
    assert last(served, ".wrote summary").inner_text() == "tiny, on this machine"
    page.reload()
    page.wait_for_selector("[data-ready]")
    page.wait_for_selector(".message.last .wrote summary")
    assert last(served, ".wrote summary").inner_text() == "tiny, on this machine"


def test_it_says_what_stays_here(served: Opened, routing: Routed) -> None:
    page = served.page
    before = len(routing.cloud.requests)
    served.say("a hard one about A-17")
    summary = last(served, ".wrote summary").inner_text()
    assert summary == "tiny, on this machine · what you asked stays here"
    last(served, ".wrote summary").click()
    assert "[patterns CASE]" in last(served, ".wrote").inner_text()
    page.click("text=Ask a larger model")
    page.wait_for_selector(".prospect")
    assert "Nothing of this may go there" in page.inner_text(".prospect")
    assert page.locator(".prospect button").count() == 0
    page.keyboard.press("Escape")
    assert len(routing.cloud.requests) == before
    # A long name does not lie over the buttons of a phone.
    page.set_viewport_size({"width": 360, "height": 640})
    page.select_option("#model", "cloud")
    name, button = page.locator("#model").bounding_box(), page.locator("#compare").bounding_box()
    assert name["x"] + name["width"] <= button["x"]


def test_a_budget_that_is_spent_is_said(chromium: Any, tmp_path: Path) -> None:
    with routing_server(tmp_path, budget="day = 0") as routing:
        window = new_window(chromium)
        served = Opened(window, SimpleNamespace(url=routing.near.url + "/"))  # type: ignore[arg-type]
        served.say("a hard one")
        summary = last(served, ".wrote summary").inner_text()
        assert summary == "tiny, on this machine · the budget does not allow more"
        served.leave()
        window.context.close()

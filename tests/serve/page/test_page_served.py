"""The page as Linnet's own server sends it, with what that server answers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opened_page import Opened, new_window
from page_server import FakeServer
from scripted import ScriptedEngine, serving

KEY = "a-key-for-the-tests"


def answer(prompt: str, request: Any) -> str:
    return "**Yes**, <b>it</b> is.\n\n```py\nx = 1\n```"


@pytest.fixture
def served(chromium: Any) -> Iterator[Opened]:
    pytest.importorskip("uvicorn")
    window = new_window(chromium)
    engine = ScriptedEngine(answer, context=150)
    with serving(engine, api_key=KEY) as running:
        server: Any = SimpleNamespace(url=running.url + "/", engine=engine)
        window.add_init_script(f"sessionStorage.setItem('linnet-key', '{KEY}')")
        made = Opened(window, server)
        yield made
        made.leave()
        window.context.close()


def test_it_talks_to_the_server_that_sends_it(served: Opened) -> None:
    page = served.page
    options = page.eval_on_selector_all("#model option", "all => all.map(o => o.value)")
    assert options == ["tiny", "loud"]
    served.say("Is it?")
    assert served.texts()[1].startswith("Yes, <b>it</b> is.")
    assert page.locator("#thread strong").inner_text() == "Yes"
    assert " tokens · " in page.inner_text(".facts")
    assert "of 150 tokens" in page.inner_text("#gauge")
    page.keyboard.press("Control+,")
    for name, value in (("temperature", "0.5"), ("min_p", "0.1"), ("seed", "7"), ("stop", "py")):
        page.fill(f"#set-{name}", value)
    page.keyboard.press("Escape")
    page.select_option("#model", "loud")
    served.say("Truly?")
    assert served.texts()[3].startswith("YES")
    asked = served.server.engine.requests[-1]  # type: ignore[attr-defined]
    assert asked.adapter == "loud"
    assert (asked.sampling.temperature, asked.sampling.min_p) == (0.5, 0.1)
    assert (asked.sampling.seed, asked.sampling.stop) == (7, ("py",))


def test_it_reads_files_and_counts_what_they_are(served: Opened) -> None:
    page = served.page
    html = b"<h1>Birds</h1><p>The linnet is a finch.</p>" + b"<p>It sings.</p>" * 20
    files: list[Any] = [{"name": "birds.html", "mimeType": "text/html", "buffer": html}]
    page.set_input_files("#attach-input", files)
    page.wait_for_selector("#fit:not([hidden])", timeout=60_000)
    assert "tiny reads 150 at once" in page.inner_text("#fit")
    page.click("text=Shorten to fit")
    page.wait_for_selector("#fit", state="hidden")
    served.say("What?")
    prompt = served.server.engine.requests[-1].prompt  # type: ignore[attr-defined]
    asked = "".join(map(chr, prompt))
    assert "--- birds.html ---\nBirds\n\nThe linnet is a finch." in asked
    assert 75 < len(asked) < 150


def test_it_opens_without_its_server_and_is_never_a_stale_one(
    chromium: Any, fake: FakeServer
) -> None:
    opened = Opened(new_window(chromium, service_workers="allow"), fake)
    page = opened.page
    opened.say("Hello")
    opened.until("navigator.serviceWorker.controller !== null")
    page.reload()  # now through the worker
    page.wait_for_selector("[data-ready]")
    kept = page.evaluate(
        """async () => (await (await caches.open("linnet-page")).keys())
          .map(({ url }) => new URL(url).pathname)"""
    )
    assert {"/", "/app.js", "/base.css"} <= set(kept)
    assert not [path for path in kept if path.startswith(("/v1", "/health"))]
    fake.stop()
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.inner_text("#connection") == "Not connected"
    assert opened.texts() == ["Hello", "Yes."]
    fake.updated["index.html"] = b"<!doctype html><title>Updated</title>"
    fake.start(fake.port)
    page.reload()
    assert page.title() == "Updated"
    opened.leave()
    page.context.close()


def test_what_the_server_refuses_is_understood(served: Opened) -> None:
    page = served.page
    served.say("Short")
    served.ask("Long " * 25)
    page.click("text=Leave out the oldest and try again")
    page.wait_for_selector(".left-out-line")
    served.finished()
    assert len(served.texts()) == 4
    page.click("#new")
    served.server.engine.chat = False  # type: ignore[attr-defined]
    served.ask("Once upon a time")
    page.click("text=Begin a text")
    page.press("#paper", "Control+Enter")
    served.finished()
    assert page.input_value("#paper").startswith("Once upon a time**Yes**")
    page.click("#new")
    served.server.engine.chat = True  # type: ignore[attr-defined]
    served.ask("broken")
    page.wait_for_selector("text=Something went wrong on the server")
    assert "secret" not in page.inner_text("#notice")

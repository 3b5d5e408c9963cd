"""The page for reviewing examples, in a browser, and who else may reach it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from linnet.examples.decisions import decisions_file
from linnet.examples.review import Filter, Review
from linnet.serve.review import open_review

CONTRAST = Path(__file__).parents[1] / "serve" / "page" / "contrast.js"


@dataclass
class Open:
    """A review that is being served."""

    review: Review
    address: str

    @property
    def key(self) -> str:
        return urlsplit(self.address).fragment

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        headers = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def ask(self, path: str, **body: Any) -> tuple[int, Any]:
        body = {"sitting": "me", **body}
        return self.post(f"/review/{path}", body, Authorization=f"Bearer {self.key}")


@pytest.fixture
def served(place: Path) -> Iterator[Open]:
    review = Review(place)
    server, address = open_review(review, reviewer="Anna")
    thread = threading.Thread(target=server.run)
    thread.start()
    server.ready.wait(30)
    yield Open(review, address)
    server.stop()
    thread.join(30)


def test_only_who_has_the_address_gets_in(served: Open) -> None:
    body = {"sitting": "x"}
    key = f"Bearer {served.key}"
    assert served.post("/review/next", body)[0] == 401
    assert served.post("/review/next", body, Authorization="Bearer guessed-it")[0] == 401
    for headers in ({"Origin": "http://evil.example"}, {"Host": "rebound.example"}):
        status, answer = served.post("/review/next", body, Authorization=key, **headers)
        assert status == 403, answer
    assert served.post("/review/next", body, Authorization=key)[0] == 200
    assert served.post("/v1/models", body, Authorization=key)[0] == 404  # nothing else is served


def test_what_the_page_asks(served: Open) -> None:
    _, first = served.ask("next", filter={"kind": "question"})
    example = first["example"]
    marks = [segment["text"] for segment in first["example"]["surroundings"] if segment["mark"]]
    assert marks == [example["quote"]]
    assert first["precision"]["share"] is None
    status, second = served.ask("decide", id=example["id"], verdict="accepted")
    assert (status, second["precision"]["decided"]) == (200, 1)
    assert second["example"]["id"] != example["id"]
    status, undone = served.ask("undo")
    assert (undone["example"]["id"], undone["can_undo"]) == (example["id"], False)
    for body, message in (
        ({"id": "nobody", "verdict": "accepted"}, "no example"),
        ({"id": example["id"], "verdict": "perhaps"}, "verdict"),
        ({"verdict": "accepted"}, "id"),
        ({"id": example["id"], "verdict": "mended", "quote": "nowhere"}, "word for word"),
        ({"id": example["id"], "verdict": "accepted", "filter": {"kind": "riddle"}}, "kind"),
    ):
        status, answer = served.ask("decide", **body)
        assert status == 400
        assert message in answer["error"]["message"]
    lines = decisions_file(Path(served.review.decisions.file.parent / "examples")).read_text()
    assert [json.loads(line)["reviewer"] for line in lines.splitlines()] == ["Anna", "Anna"]


@pytest.fixture
def page(chromium: Any, served: Open) -> Iterator[Any]:
    """The page; the test fails if a script of it does, or if it asks anything of others."""
    window = chromium.new_context(viewport={"width": 360, "height": 700})
    found, errors = window.new_page(), []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("request", lambda request: elsewhere(request.url))

    def elsewhere(url: str) -> None:
        if urlsplit(url).netloc != urlsplit(served.address).netloc:
            errors.append(url)

    found.goto(served.address)
    found.wait_for_selector(".question")
    found.locator(".question").click()  # a browser drops keys until it has painted the page
    yield found
    window.close()
    assert errors == []


def test_by_keyboard(page: Any, served: Open) -> None:
    def decided(count: int) -> None:
        page.wait_for_selector(f"#figures strong:text-is('{count}')")

    assert served.key not in page.url
    page.select_option("select[name=kind]", "question")
    page.wait_for_selector(".kind:text-is('Question')")
    assert page.inner_text("mark").startswith("grows to")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("main").focus()
    page.keyboard.press("a")
    decided(1)
    page.keyboard.press("r")
    decided(2)
    page.keyboard.press("u")
    decided(1)
    shown = page.inner_text(".question")
    page.keyboard.press("s")
    page.wait_for_selector(f".question:not(:text-is('{shown}'))")
    page.keyboard.press("m")
    page.fill("#mended-quote", "grows to the sky")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "word for word" in page.inner_text("#trouble")
    assert page.input_value("#mended-quote") == "grows to the sky"  # what was typed is not lost
    page.fill("#mended-quote", "grows to")
    page.fill("#mended-answer", "a great height")
    page.keyboard.press("Control+Enter")
    decided(2)
    assert "50.0 %" in page.inner_text("#figures")
    verdicts = [decision.verdict for decision in served.review.decisions.latest.values()]
    assert verdicts == ["accepted", "mended"]
    page.reload()  # the key is the tab's own
    page.wait_for_selector(".question")
    decided(2)


def test_everyone_can_read_it(page: Any, served: Open) -> None:
    contrast = CONTRAST.read_text("utf-8")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(contrast) == []
    page.keyboard.press("m")
    assert page.evaluate("document.activeElement.labels[0].innerText") == "Question"
    assert page.evaluate(contrast) == []
    page.keyboard.press("Escape")
    me = served.review.sitting("me")
    while example := served.review.following(me, Filter()):
        served.review.decide(me, example.id, "accepted")
    page.reload()
    page.wait_for_selector(".done")
    assert "All decided" in page.inner_text("main")


def test_a_server_that_is_gone_is_said(page: Any, served: Open) -> None:
    page.route("**/review/**", lambda route: route.abort())
    page.keyboard.press("a")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "nothing was decided" in page.inner_text("#trouble")

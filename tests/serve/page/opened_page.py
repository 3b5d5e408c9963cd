"""A page that a test has opened in the browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from page_server import FakeServer

PATIENCE = 15_000  # milliseconds; a busy machine is slow


def new_window(chromium: Any, **options: Any) -> Any:
    """A page in a browser's window of its own, which knows nothing of others."""
    usual: dict[str, Any] = {
        "viewport": {"width": 1200, "height": 800},
        "locale": "en-GB",
        "service_workers": "block",
    }
    context = chromium.new_context(**usual | options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


class Opened:
    """The chat page of a server, with what it must not have done."""

    def __init__(self, page: Any, server: FakeServer) -> None:
        self.page = page
        self.server = server
        self.wrong: list[str] = []
        self._listeners = {
            "pageerror": lambda error: self.wrong.append(f"error: {error}"),
            "console": self._said,
            "request": self._requested,
        }
        for name, listener in self._listeners.items():
            page.on(name, listener)
        self.open()

    def _said(self, message: Any) -> None:
        # What the server refuses on purpose is reported as well; that is no fault of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.wrong.append(f"asked {request.url}")

    def open(self, wait: bool = True) -> None:
        self.page.goto(self.server.url)
        if wait:
            self.page.wait_for_selector("[data-ready]")

    def ask(self, text: str) -> None:
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def finished(self) -> None:
        """Wait until nothing is being written."""
        self.page.wait_for_selector("#stop", state="hidden")

    def say(self, text: str) -> None:
        self.ask(text)
        self.finished()

    def until(self, condition: str) -> None:
        """Wait for an expression. (What Playwright has for it runs in the page: forbidden.)"""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def texts(self) -> list[str]:
        """Of the messages shown, the person's and the model's."""
        return self.page.eval_on_selector_all(
            "#thread .message .body", "bodies => bodies.map(body => body.innerText.trim())"
        )

    def leave(self) -> None:
        """Go elsewhere, so that the window can be used for another server."""
        for name, listener in self._listeners.items():
            self.page.remove_listener(name, listener)
        self.page.goto(f"{self.server.url}linnet.svg")  # of the same process, unlike about:blank
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        assert self.wrong == []


def downloaded(opened: Opened, act: Any) -> str:
    """The text of the file that an action hands out."""
    with opened.page.expect_download() as download:
        act()
    return Path(download.value.path()).read_text("utf-8")

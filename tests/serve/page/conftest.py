"""Windows and servers for tests of the chat page.

Whatever a test does, it fails if the page raised an error, broke its own
security policy, or asked anything of another place than its server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opened_page import Opened, new_window
from page_server import FakeServer


@pytest.fixture(scope="package")
def window(chromium: Any) -> Any:
    """One window for all tests: their servers differ, so that nothing kept is seen by the next."""
    return new_window(chromium)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def opened(window: Any, fake: FakeServer) -> Iterator[Opened]:
    made = Opened(window, fake)
    yield made
    made.leave()


@pytest.fixture
def phone(chromium: Any, fake: FakeServer) -> Iterator[Opened]:
    size = {"width": 360, "height": 640}
    page = new_window(chromium, viewport=size, has_touch=True, is_mobile=True)
    made = Opened(page, fake)
    yield made
    made.leave()
    page.context.close()


@pytest.fixture
def forgetful(chromium: Any, fake: FakeServer) -> Iterator[Opened]:
    """In a browser that keeps nothing."""
    page = new_window(chromium)
    page.add_init_script(
        "Object.defineProperty(window, 'indexedDB', { get() { throw new Error('no'); } });"
        "Storage.prototype.setItem = () => { throw new Error('full'); };"
    )
    made = Opened(page, fake)
    yield made
    made.leave()
    page.context.close()

"""The chat page's files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint, Handler
from linnet.serve.page import HEADERS, START, PageFile, page_files

if TYPE_CHECKING:
    from linnet.serve.service import Service

_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


async def answer(service: Service, call: Call, *, file: PageFile) -> None:
    """GET; 304 where the browser has the file already."""
    own = {name for name, _ in _HEADERS}
    call.always = [(name, value) for name, value in call.always if name not in own]
    headers = [*_HEADERS, (b"etag", file.tag.encode())]
    kind = file.media_type.encode()
    if call.header(b"if-none-match") == file.tag:
        await call.begin(304, kind, headers)
        await call.send(b"", more=False)
    else:
        await call.answer(200, file.body, content_type=kind, headers=headers)


async def answer_start(
    service: Service, call: Call, *, file: PageFile, otherwise: bytes | None
) -> None:
    """GET / for browsers; ``otherwise``: what others get, as programs look there who answers."""
    if otherwise is None:
        await answer(service, call, file=file)
        return
    call.always.append((b"vary", b"accept"))
    if "text/html" in (call.header(b"accept") or ""):
        await answer(service, call, file=file)
    else:
        await call.answer(200, otherwise, content_type=b"text/plain; charset=utf-8")


def page_endpoints(
    pages: Mapping[str, PageFile], *, folder: str = "/", otherwise: bytes | None = None
) -> tuple[Endpoint, ...]:
    """The files of a page, and the one that stands for their folder. ``otherwise``: what is there
    for who asks for no page.
    """
    found = [
        _endpoint(f"{folder}{name}", partial(answer, file=file)) for name, file in pages.items()
    ]
    start = partial(answer_start, file=pages[START], otherwise=otherwise)
    return (*found, _endpoint(folder, start))


def _endpoint(path: str, handler: Handler) -> Endpoint:
    return Endpoint("GET", path, handler, "A file of the page.", is_open=True, is_described=False)


PAGE = page_endpoints(page_files(), otherwise=b"Ollama is running")

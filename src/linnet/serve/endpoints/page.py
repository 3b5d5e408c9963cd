"""The chat page's files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
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


def page_endpoints(pages: Mapping[str, PageFile]) -> tuple[Endpoint, ...]:
    """The files of a page, and the one that stands for their folder."""
    found = [_endpoint(f"/{name}", file) for name, file in pages.items()]
    return (*found, *(_endpoint("/", file) for name, file in pages.items() if name == START))


def _endpoint(path: str, file: PageFile) -> Endpoint:
    return Endpoint(
        "GET", path, partial(answer, file=file), "A file of the page.", is_open=True,
        is_described=False,
    )  # fmt: skip


PAGE = page_endpoints(page_files())

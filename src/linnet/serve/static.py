"""The chat page's files as endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.serve.asgi import Call
from linnet.serve.limits import Account
from linnet.serve.page import HEADERS, START, PageFile, page_files

_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


@dataclass(frozen=True)
class Static:
    """The endpoint of one file."""

    file: PageFile

    async def answer(self, call: Call, account: Account | None) -> None:
        """GET; 304 where the browser has the file already."""
        own = {name for name, _ in _HEADERS}
        call.always = [(name, value) for name, value in call.always if name not in own]
        headers = [*_HEADERS, (b"etag", self.file.tag.encode())]
        kind = self.file.media_type.encode()
        if call.header(b"if-none-match") == self.file.tag:
            await call.begin(304, kind, headers)
            await call.send(b"", more=False)
        else:
            await call.answer(200, self.file.body, content_type=kind, headers=headers)


def static_files() -> dict[str, Static]:
    """The endpoints by path; ``/`` is the page itself."""
    files = page_files()
    found = {f"/{name}": Static(file) for name, file in files.items()}
    return {"/": Static(files[START]), **found} if START in files else found

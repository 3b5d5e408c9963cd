"""The chat page: static files, which talk to the server's own OpenAI-compatible interface.

No build step, no framework, and nothing is loaded from anywhere else: the files
are sent as they lie here, under one folder of the server (``/`` of Linnet's),
beside which ``v1/`` is. ``katex/`` is KaTeX 0.19.1 (MIT), of whose files only those
that a browser needs are kept. What a model wrote is never made into markup. That
holds twice: the scripts only build nodes (``markdown.js``), and ``HEADERS``
has the browser refuse anything else (Content Security Policy, level 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "img-src 'self' data:; font-src 'self'; manifest-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types linnet-worker"
        ),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # Asked for again each time and answered with 304: after an update no two versions mix.
        "Cache-Control": "no-cache",
    }
)
"""What every file of the page is sent with."""

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

START = "index.html"
"""The file that stands for the folder itself."""


@dataclass(frozen=True)
class PageFile:
    """One file as it is sent."""

    body: bytes
    media_type: str
    tag: str
    """For ``ETag``, in quotes."""


@cache
def page_files(package: str = __name__) -> Mapping[str, PageFile]:
    """Every file of a page by its name, which is its path below the folder.

    ``package``: that in which they lie; otherwise those of the chat page.
    """
    return MappingProxyType(dict(_below(files(package), "")))


def _below(folder: Traversable, above: str) -> Iterator[tuple[str, PageFile]]:
    for file in folder.iterdir():
        media_type = _MEDIA_TYPES.get("." + file.name.rpartition(".")[2])
        if file.is_dir():
            yield from _below(file, f"{above}{file.name}/")
        elif media_type is not None:
            body = file.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            yield above + file.name, PageFile(body, media_type, tag)

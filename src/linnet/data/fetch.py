"""One page or file from the web, because the user named it. No crawling.

What was fetched is kept and used again, so that a corpus can be made again
without the network and from the same bytes; ``refresh`` asks the server anew.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from linnet.data import kinds
from linnet.data.sources.folder import make_cache_folder
from linnet.errors import DataError
from linnet.output import move, remove
from linnet.version import __version__

if TYPE_CHECKING:
    from email.message import Message

_MOST_BYTES = 500_000_000
_ANSWER_SECONDS, _WHOLE_SECONDS = 30.0, 900.0
_CHUNK = 1 << 18
_OFFICE = "application/vnd.openxmlformats-officedocument."
# Where the server is more to be believed than the name: a page may end in .php.
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "application/rtf": ".rtf",
    "application/epub+zip": ".epub",
    "application/zip": ".zip",
    "application/vnd.oasis.opendocument.text": ".odt",
    f"{_OFFICE}wordprocessingml.document": ".docx",
    f"{_OFFICE}presentationml.presentation": ".pptx",
    f"{_OFFICE}spreadsheetml.sheet": ".xlsx",
    "text/csv": ".csv",
    "text/markdown": ".md",
}
_GENERAL = {"text/plain": ".txt", "text/xml": ".xml", "application/xml": ".xml"}


def fetch(
    url: str,
    cache: Path,
    *,
    refresh: bool = False,
    limit: int = _MOST_BYTES,
    timeout: float = _ANSWER_SECONDS,
    deadline: float = _WHOLE_SECONDS,
) -> Path:
    """The file at ``url``, as a file below ``cache`` whose name tells its kind.

    ``limit``: bytes, unpacked. ``timeout``: seconds the server may be silent;
    ``deadline``: seconds for the whole. Raises DataError, which names what went wrong.
    """
    address = _checked(url)
    place = cache / hashlib.sha256(address.encode()).hexdigest()[:24]
    if not refresh and (kept := _content(place)):
        return kept
    try:
        make_cache_folder(cache)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
            file = Path(scratch) / "body"
            with (
                _open(address, timeout) as response,
                file.open("wb") as target,
            ):
                headers = response.headers
                final = response.url
                _copy(response, target, url, limit, time.monotonic() + deadline)
            whole = Path(scratch) / "whole"
            whole.mkdir()
            name = _file_name(final, headers)
            _transcode(file, headers)
            file.replace(whole / name)
            remove(place)
            move(whole, place)
    except urllib.error.HTTPError as error:
        reason = str(error.reason).partition("\n")[0][:200]
        raise DataError(f"{url}: the server answered {error.code} {reason}") from None
    except TimeoutError:
        raise DataError(f"{url}: no answer within {timeout:g} seconds") from None
    except (http.client.HTTPException, ValueError, zlib.error) as error:
        raise DataError(f"{url}: cannot be fetched ({error or type(error).__name__})") from None
    except OSError as error:  # URLError too
        raise DataError(f"{url}: cannot be fetched ({_reason(error)})") from None
    return place / name


def named(url: str) -> tuple[str, str]:
    """The host, and what is fetched from it: ``("example.org", "docs/page?id=3")``."""
    parts = urllib.parse.urlsplit(_checked(url))
    host = parts.netloc.rpartition("@")[2]
    path = urllib.parse.unquote(parts.path, errors="replace").removeprefix("/")
    path += "index" if path.endswith("/") or not path else ""
    return host, kinds.printable(f"{path}?{parts.query}" if parts.query else path)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, a few, and to the web only."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _checked(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str, timeout: float) -> http.client.HTTPResponse:
    opener = urllib.request.OpenerDirector()  # build_opener would add file, data and ftp
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    headers = {"User-Agent": f"linnet/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers=headers)
    response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return response


def _checked(url: str) -> str:
    """The URL without its fragment and with what is not ASCII encoded."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urldefrag(url).url)
        host = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:  # UnicodeError too
        raise DataError(f"{url}: not a valid URL ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise DataError(f"{url}: only http and https can be fetched")
    if not host:
        raise DataError(f"{url}: not a valid URL (it names no host)")
    if parts.username or parts.password:
        raise DataError(f"{host}: a URL with a password in it is not fetched; save the file")
    host = f"[{host}]" if ":" in host else host
    path, query = (
        urllib.parse.quote(part, safe="%/:;,@!$&'()*+=~?[]", errors="surrogateescape")
        for part in (parts.path or "/", parts.query)
    )
    return urllib.parse.urlunsplit((parts.scheme, host + port, path, query, ""))


def _content(place: Path) -> Path | None:
    """What was fetched before; a link there is none of ours."""
    try:
        found = None if place.is_symlink() else next(place.iterdir(), None)
    except OSError:
        return None
    return found if found and not found.is_symlink() and found.is_file() else None


def _copy(
    response: http.client.HTTPResponse, target: IO[bytes], url: str, limit: int, end: float
) -> None:
    too_large = f"{url}: larger than {limit:,} bytes; save it as a file to read it all the same"
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise DataError(too_large)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise DataError(f"{url}: the server packed it as '{encoding}', which was not asked for")
    packed = "gzip" in encoding
    body = gzip.GzipFile(fileobj=response) if packed else response
    size = 0
    try:
        while chunk := body.read1(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise DataError(too_large)
            if time.monotonic() > end:
                raise DataError(f"{url}: took too long; it sent {size:,} bytes")
            target.write(chunk)
    except EOFError:
        raise DataError(f"{url}: the connection broke off") from None
    if length.isdecimal() and not packed and size < int(length):
        raise DataError(f"{url}: the connection broke off after {size:,} of {length} bytes")


def _file_name(url: str, headers: Message) -> str:
    """A name that is safe here, with the suffix of what the server says that it is."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    name = re.sub(r"[^\w.-]+", "_", last).strip("._")[-100:] or "index"
    kind = headers.get_content_type()
    suffix = _SUFFIXES.get(kind, "")
    if not suffix and not kinds.kind_of(name) and not kinds.refusal(name):
        suffix = _GENERAL.get(kind, "")
    if suffix and kinds.kind_of(name) != kinds.kind_of(f"x{suffix}"):
        name += suffix
    return name


def _transcode(file: Path, headers: Message) -> None:
    """Turn text into UTF-8 with a mark: the file keeps no note of what the server said of it."""
    charset = headers.get_content_charset("utf-8")
    if headers.get_content_maintype() != "text" or charset.replace("-", "") in ("utf8", "usascii"):
        return
    try:
        text = file.read_bytes().decode(charset)
    except (LookupError, UnicodeError):
        return  # what the server says is not true
    file.write_bytes(text.encode("utf-8-sig"))


def _reason(error: OSError) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return str(getattr(cause, "strerror", None) or cause)

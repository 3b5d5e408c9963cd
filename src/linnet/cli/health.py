"""``linnet health``: whether a server works, for what starts it again."""

from __future__ import annotations

import http.client
from typing import Annotated
from urllib.parse import urlsplit

import typer

from linnet.cli.terminal import err
from linnet.errors import ConfigError, LinnetError

SECONDS = 5.0

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def health(
    url: Annotated[str, typer.Argument(help="Where the server listens.")] = "http://127.0.0.1:8080",
) -> None:
    """Ask a server whether it works: status 0 where it does, 1 otherwise. Needs no key.

    Example: linnet health http://127.0.0.1:8080
    """
    connection, path = _connection(url)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (http.client.InvalidURL, UnicodeError):
        raise _no_address(url) from None
    except (OSError, http.client.HTTPException) as error:
        raise LinnetError(f"{url} does not answer ({error})") from None
    finally:
        connection.close()
    if status != 200:
        raise LinnetError(f"{url} is not ready: expected status 200. Got {status}")
    err.print("ok")


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """To the server at an address, and the path that tells. Raises ConfigError."""
    try:
        place = urlsplit(url)
        host, port = place.hostname, place.port
        if place.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError
        is_secure = place.scheme == "https"
        kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        return kind(host, port, timeout=SECONDS), f"{place.path.rstrip('/')}/health"
    except (ValueError, http.client.InvalidURL):
        raise _no_address(url) from None


def _no_address(url: str) -> ConfigError:
    return ConfigError(f"expected an address such as http://127.0.0.1:8080. Got '{url}'")

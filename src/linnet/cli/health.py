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
    place = urlsplit(url)
    try:
        port = place.port
    except ValueError:
        port = 0
    if place.scheme not in ("http", "https") or not place.hostname or port == 0:
        raise ConfigError(f"expected an address such as http://127.0.0.1:8080. Got '{url}'")
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname, port, timeout=SECONDS)
    try:
        connection.request("GET", f"{place.path.rstrip('/')}/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise LinnetError(f"{url} does not answer ({error})") from None
    finally:
        connection.close()
    if status != 200:
        raise LinnetError(f"{url} is not ready: expected status 200. Got {status}")
    err.print("ok")

"""Where a model is reached, how far away that is, and the key for it."""

from __future__ import annotations

import ipaddress
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from linnet.errors import ConfigError
from linnet.respond.pieces import Place

ENDPOINT = "/chat/completions"


@dataclass(frozen=True)
class Address:
    """Where a model is reached, such as ``https://api.example.com/v1``."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    place: Place

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ConfigError for anything but an address of HTTP."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(
                f"{url}: expected an address such as http://host/v1 ({error})"
            ) from None
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ConfigError(f"expected an address such as http://127.0.0.1:8080/v1. Got '{url}'")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"{host}: an address holds no key; it is read from the environment or a file"
            )
        written = host + parts.path
        if not (written.isascii() and written.isprintable() and " " not in written):
            raise ConfigError(f"expected an address such as http://127.0.0.1:8080/v1. Got {url!r}")
        usual = 443 if parts.scheme == "https" else 80
        path = parts.path.rstrip("/").removesuffix(ENDPOINT)  # people copy all of it
        return cls(url, parts.scheme, host, port or usual, path, place_of(host))

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.host}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether it is a number that is not of this machine or its network. What a name stands
        for is known only when it is connected to (:func:`is_within`)."""
        return not is_within(self.host, "network")


def sent_away(url: str, what: str) -> str | None:
    """What to say before anything is sent to an address that no policy is about; None where that is
    of this machine."""
    address = Address.parse(url)
    if address.place == "here":
        return None
    where = "in this network" if address.place == "network" else "outside this network"
    return (
        f"{address.name} is {where}: {what} are sent there as they are. No policy is about this: "
        "one of routing.toml is about the models that are named there"
    )


def place_of(host: str) -> Place:
    """Where a host is. A name that says nothing of this is elsewhere, whatever it resolves to."""
    if host == "localhost":
        return "here"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "network" if host.endswith((".local", ".lan", ".internal")) else "elsewhere"
    if address.is_loopback:
        return "here"
    return "network" if address.is_private else "elsewhere"


def is_within(number: str, place: Place) -> bool:
    """Whether what a number stands for is no farther away than a place; no number is."""
    try:
        address = ipaddress.ip_address(number.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return place == "elsewhere" or address.is_loopback or (
        place == "network" and not address.is_global
    )  # fmt: skip


def read_key(*, variable: str | None = None, file: Path | None = None) -> str | None:
    """The key for an address: of an environment variable, or of a file that only its owner reads.

    Raises ConfigError where it is not there, or others may read the file.
    """
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ConfigError(f"the environment variable {variable} must hold a key. It is empty")
        return _checked(key, variable)
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            if sys.platform != "win32" and stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError(
                    f"{file}: others may read this key; make it yours alone with chmod 600"
                )
            return _checked(opened.read(4096).decode("utf-8").strip(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected a file with a key ({error})") from None


def _checked(key: str, where: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where}: expected a key of printable characters without spaces")
    return key

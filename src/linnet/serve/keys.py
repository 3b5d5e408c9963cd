"""API keys: made at random, kept as hashes, compared in constant time.

The file holds no key, only SHA-256 of it: keys have 256 random bits, so that a
slow hash would gain nothing. It is readable by its owner alone. A running server
notices changes, so a key that is revoked stops working within a second.

    {"format": 1, "keys": [{"name": "laptop", "hash": "...", "made": "2026-01-31",
                            "requests_per_minute": 60, ...}]}
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from linnet.config import Config, from_mapping, option, read_json, to_mapping
from linnet.errors import ConfigError
from linnet.output import lock, move

if TYPE_CHECKING:
    from linnet.serve.settings import ServeConfig

FORMAT = 1
PREFIX = "linnet-"
KEY_VARIABLE = "LINNET_API_KEY"
REFRESH_SECONDS = 1.0
"""How often a running server looks whether the file has changed, where it is asked."""


@dataclass(frozen=True)
class KeyLimits(Config):
    """What one key may use; 0 is no limit."""

    requests_per_minute: int = option(0, "Requests a minute; 0: no limit.", least=0)
    tokens_per_minute: int = option(0, "Tokens a minute, read and written; 0: no limit.", least=0)
    concurrent: int = option(0, "Requests at a time; 0: no limit.", least=0)
    documents: bool = option(
        False, "List the documents, add some and remove some; not with --collections."
    )
    tools: bool = option(
        False, "Have models call the tools of the server's owner (linnet serve --mcp)."
    )
    remote: bool = option(False, "Use models beyond this machine (linnet serve --routing).")
    monitoring: bool = option(
        False, "See the figures of all answers, whoever asked (the page at /dashboard)."
    )
    collections: tuple[str, ...] = option(
        (), "Collections of documents that it sees, such as a,b; otherwise all."
    )
    private_data: Literal["auto", "mask", "names", "keep"] = option(
        "auto",
        "Private data in answers from documents: auto masks it unless the server answers this "
        "machine alone; names masks names of people as well.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [name.strip() for given in self.collections for name in given.split(",")]
        if not all(named):
            raise ConfigError(
                f"collections must be names, such as a,b. Got {','.join(self.collections)!r}"
            )
        object.__setattr__(self, "collections", tuple(dict.fromkeys(named)))


@dataclass(frozen=True)
class Key:
    """A key as it is known here."""

    name: str
    hash: str
    made: str = ""
    limits: KeyLimits = KeyLimits()


def default_file() -> Path:
    """Where keys are kept: in the user's directory for settings."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "linnet" / "keys.json"


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(file: Path) -> list[Key]:
    """The keys in a file; none where there is no file. Raises ConfigError for a damaged one."""
    try:
        raw = read_json(file)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected API keys as JSON, but: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ConfigError(f"{file}: expected API keys, of format {FORMAT}. Got something else")
    if not isinstance(raw.get("keys"), list):
        raise ConfigError(f"{file}: expected a list of keys. Got {type(raw.get('keys')).__name__}")
    return [_read_key(entry, file) for entry in raw["keys"]]


def add_key(file: Path, name: str, limits: KeyLimits | None = None) -> str:
    """Make a key and keep its hash; the key itself is given back, and known nowhere else.

    Raises ConfigError for a name that is taken.
    """
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise ConfigError(f"a key's name must have 1 to 64 printable characters. Got {name!r}")
    made = PREFIX + secrets.token_urlsafe(32)
    with lock(file):
        keys = read_keys(file)
        if any(key.name == name for key in keys):
            raise ConfigError(
                f"{file}: there is a key named '{name}'; revoke it, or choose another"
            )
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        _write(file, [*keys, Key(name, hashed(made), today, limits or KeyLimits())])
    return made


def revoke_key(file: Path, name: str) -> None:
    """Make a key worthless. Raises ConfigError for a name that none has."""
    with lock(file):
        keys = read_keys(file)
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise ConfigError(f"{file}: there is no key named '{name}'; there are: {known}")
        _write(file, kept)


class KeyRing:
    """The keys that a running server accepts.

    Where there was a key once, one is needed from then on: making the first closes the
    door, and revoking the last does not open it.
    """

    def __init__(
        self,
        file: Path | None,
        given: Sequence[str] = (),
        *,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """``given``: keys of the command line. ``refresh_seconds``: how often it looks whether the
        file has changed. Raises ConfigError for a damaged file.
        """
        self._file = file
        self._refresh_seconds = refresh_seconds
        owner = KeyLimits(documents=True, tools=True, remote=True, monitoring=True)
        self._given = [
            Key(f"given-{place}", hashed(key), limits=owner) for place, key in enumerate(given)
        ]
        self._stamp = self._seen()
        self._looked = time.monotonic()
        self._kept = read_keys(file) if file else []
        self._required = bool(self._given or self._kept)

    def __len__(self) -> int:
        return len(self._given) + len(self._kept)

    @property
    def names(self) -> list[str]:
        """Of the keys."""
        self._refresh()
        return [key.name for key in (*self._given, *self._kept)]

    @property
    def required(self) -> bool:
        """Whether a key is needed."""
        self._refresh()
        return self._required

    def find(self, presented: str) -> Key | None:
        """The key that was presented, if it is one of ours.

        As long for any other, so that time tells nothing.
        """
        self._refresh()
        hash_, found = hashed(presented), None
        for key in (*self._given, *self._kept):
            if hmac.compare_digest(key.hash, hash_):
                found = key
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < self._refresh_seconds:
            return
        self._looked = now
        stamp = self._seen()
        if stamp == self._stamp:
            return
        try:
            self._kept = read_keys(self._file)
        except ConfigError:  # half written by hand: those of before count until it is whole
            return
        self._stamp = stamp
        self._required = self._required or bool(self._kept)

    def _seen(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file) if self._file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def key_ring(config: ServeConfig) -> KeyRing:
    """The keys that the settings name. Raises ConfigError where none guards an open address."""
    if config.without_keys:
        return _no_keys(config)
    file = config.keys or default_file()
    if config.keys is not None and not config.keys.exists():
        raise ConfigError(f"{file}: there are no keys; make one with 'linnet keys add NAME'")
    given = [key for key in (config.api_key, _key_of_environment(config)) if key]
    ring = KeyRing(file, list(dict.fromkeys(given)))
    if not ring.required and not config.is_local:
        raise ConfigError(
            f"at {config.host} others can reach the server, so it needs a key: make one with "
            "'linnet keys add NAME', or say --without-keys to answer anyone"
        )
    return ring


def _key_of_environment(config: ServeConfig) -> str | None:
    """The key in the variable, by the rules of the one in the settings."""
    key = os.environ.get(KEY_VARIABLE) or None
    try:
        return dataclasses.replace(config, api_key=key).api_key
    except ConfigError as error:
        raise ConfigError(f"{KEY_VARIABLE}: {error}") from None


def _no_keys(config: ServeConfig) -> KeyRing:
    """A ring of none, whatever the user's own file or the environment hold."""
    for flag, given in (("--keys", config.keys), ("--api-key", config.api_key)):
        if given is not None:
            raise ConfigError(
                f"{flag} asks for a key and --without-keys for none; give one of the two"
            )
    return KeyRing(None)


def _read_key(entry: Any, file: Path) -> Key:
    where = f"{file}: a key"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be an object. Got {type(entry).__name__}")
    own = {name: entry[name] for name in ("name", "hash", "made") if name in entry}
    limits = {name: value for name, value in entry.items() if name not in own}
    key = from_mapping(Key, own, where=where)
    if len(key.hash) != 64 or not key.hash.isascii():
        raise ConfigError(f"{where} must have a SHA-256 as hash. Got {len(key.hash)} characters")
    return Key(key.name, key.hash, key.made, from_mapping(KeyLimits, limits, where=where))


def _write(file: Path, keys: Sequence[Key]) -> None:
    """Whole or not at all, and never readable by others."""
    entries = [
        {"name": key.name, "hash": key.hash, "made": key.made, **to_mapping(key.limits)}
        for key in keys
    ]
    text = json.dumps({"format": FORMAT, "keys": entries}, indent=2, ensure_ascii=False) + "\n"
    neighbour = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        move(neighbour, file)
    finally:
        neighbour.unlink(missing_ok=True)

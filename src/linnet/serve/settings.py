"""How a server is to behave, as settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.config import option
from linnet.errors import ConfigError
from linnet.generate.engines import EngineConfig

FOREVER = "forever"


@dataclass(frozen=True)
class ServeConfig(EngineConfig):
    """Where and how to answer."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all of this machine.")
    port: int = option(8080, "Port to listen on; 0 for any that is free.", least=0, most=65535)
    api_key: str | None = option(
        None, "A key that clients must send; the variable LINNET_API_KEY hides it from others."
    )
    keys: Path | None = option(
        None,
        "File with the keys that clients may use; otherwise those of 'linnet keys'.",
        group="Access",
    )
    without_keys: bool = option(
        False,
        "Answer anyone who reaches the address, also where it is not this machine's alone.",
        group="Access",
    )
    allow_host: tuple[str, ...] = option(
        (),
        "Name by which browsers may reach the server; may be given several times.",
        group="Access",
    )
    cors: tuple[str, ...] = option(
        (),
        "Origin whose pages may use the server, such as https://my.site; several times.",
        group="Access",
    )
    max_requests: int = option(
        128, "Texts written or waiting at once; more are refused.", group="Limits", least=1
    )
    max_tokens: int = option(
        0,
        "The longest answer in tokens; 0: as the context allows (in one of up to 2,048 tokens "
        "half of what is left, where the client names no length).",
        group="Limits",
        least=0,
    )
    max_body: int = option(8_000_000, "The largest request in bytes.", group="Limits", least=1024)
    conversations: Path | None = option(
        None,
        "SQLite file to keep responses and conversations in; otherwise they are in memory.",
        group="Records",
    )
    keep_days: float = option(
        30.0,
        "Days after its last use that a response or conversation is deleted; 0: never.",
        group="Records",
        least=0,
        most=36_500,
    )
    routing: Path | None = option(
        None,
        "TOML file of models beyond this machine, and of what may go to them at what price; 'auto' "
        "chooses. For keys with --remote and, without keys, for this machine.",
        group="Models",
    )
    monitor: Path | None = option(
        None, "SQLite file for a line of counts about each answer.", group="Records"
    )
    monitor_contents: bool = option(
        False, "Keep questions and answers there, too.", group="Records"
    )
    monitor_days: float = option(
        90.0, "Days that its lines are kept; 0: for ever.", group="Records", least=0, most=36_500
    )
    mcp: Path | None = option(
        None,
        "JSON file of MCP servers (mcpServers) whose tools the models may call, for keys with "
        "--tools and, without keys, for this machine.",
        group="Access",
    )
    unsafe_classifier: Path | None = option(
        None,
        "A sequence classification with a label such as safe, for questions to documents and the "
        "answers.",
        group="Access",
    )
    keep_alive: str = option(
        FOREVER,
        "How long a model stays open after it was last used, such as 5m; forever: until another "
        "needs its memory.",
        group="Models",
    )
    model_memory: str = option(
        "",
        "Memory that models may take together, such as 8GB; otherwise four fifths of what is free "
        "at the start. Those that were not used for longest are closed first.",
        group="Models",
    )
    pin: tuple[str, ...] = option(
        (), "Name of a model to open at the start and to keep open; several times.", group="Models"
    )
    grace: float = option(
        30.0,
        "Seconds that running requests have to finish when stopped.",
        group="Limits",
        least=0,
        most=3600,
    )
    log: Literal["requests", "errors", "off"] = option(
        "requests", "What to write to standard error, as lines of JSON.", group="Records"
    )
    log_prompts: bool = option(
        False, "Log what people ask and what the model answers, too.", group="Records"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, works, expected in (
            ("api_key", self.api_key is None or len(self.api_key) >= 8, "of 8 characters or more"),
            ("cors", all(_is_origin(o) for o in self.cors), "origins such as https://my.site"),
        ):
            if not works:
                got = "a shorter one" if name == "api_key" else repr(getattr(self, name))
                raise ConfigError(f"{name} must be {expected}. Got {got}")
        if self.monitor_contents and self.monitor is None:
            raise ConfigError("--monitor-contents needs a file to keep them in: --monitor FILE")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _is_origin(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return bool(separator and scheme in ("http", "https") and rest and "/" not in rest)

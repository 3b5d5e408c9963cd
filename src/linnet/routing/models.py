"""Models beyond this machine: where they are, what they can do, and what they ask.

:func:`open_models` is the only place where they are opened, so that each is behind the policy,
the budgets, retries and a circuit breaker whichever way it is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from linnet.config import Config, option
from linnet.errors import ConfigError
from linnet.respond.context import Ledger
from linnet.respond.pieces import Place
from linnet.respond.prices import FREE, Price
from linnet.respond.remote import RemoteResponder
from linnet.respond.responder import Responder
from linnet.respond.transport import Address, read_key

if TYPE_CHECKING:
    from linnet.routing.settings import Routing

Wrap: TypeAlias = Callable[[Responder], Responder]
"""Puts something in front of a model, such as the policy: ``abilities`` of what it is given say
the model's name in ``routing.toml`` and where it runs."""


@dataclass(frozen=True)
class ModelConfig(Config):
    """One model at an OpenAI-compatible address."""

    address: str = option("", "Where it is, such as https://api.example.com/v1.")
    model: str = option("", "Its name there.")
    key_variable: str | None = option(None, "The environment variable that holds its key.")
    key_file: Path | None = option(None, "A file of its owner alone that holds its key.")
    place: Place | None = option(
        None, "Where it runs: here, network or elsewhere; otherwise as its address says."
    )
    context: int = option(0, "The most tokens that it takes; 0: not known.", least=0)
    longest: int = option(0, "The most tokens of one answer; 0: not known.", least=0)
    tools: bool = option(True, "Whether it can call tools.")
    constraints: bool = option(True, "Whether it can be held to a JSON Schema.")
    logprobs: bool = option(True, "Whether it gives log-probabilities.")
    limit_name: Literal["max_tokens", "max_completion_tokens"] = option(
        "max_tokens",
        "What the limit of an answer is called there; the other one is tried where it is refused.",
        choices=("max_tokens", "max_completion_tokens"),
    )
    input: float | None = option(None, "The price of a million tokens read.", least=0)
    output: float | None = option(None, "The price of a million tokens written.", least=0)
    cached: float | None = option(
        None, "The price of a million tokens read again; otherwise as others.", least=0
    )
    connect_seconds: float = option(10.0, "Until there is a connection.", above=0)
    first_seconds: float = option(120.0, "Until the first byte of an answer.", above=0)
    silence_seconds: float = option(60.0, "Between two pieces of an answer.", above=0)
    answer_seconds: float = option(600.0, "For an answer from its beginning to its end.", above=0)
    retries: int = option(2, "Further attempts where one fails.", least=0, most=10)
    parallel: int = option(16, "Calls at once at most; others wait.", least=1)
    failures: int = option(5, "Failures in a row after which it is left alone.", least=1)
    pause_seconds: float = option(
        30.0, "How long it is left alone, until one call tries it again.", above=0
    )
    shortest: int = option(
        32, "Tokens that the budget must leave for an answer, or it is not begun.", least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("address", "model"):
            if not getattr(self, name):
                raise ConfigError(f"a model beyond this machine needs its {name}")
        Address.parse(self.address)
        if self.key_variable is not None and self.key_file is not None:
            raise ConfigError("a key has one place: either key_variable or key_file")
        if (self.input is None) != (self.output is None):
            given, missing = ("input", "output") if self.output is None else ("output", "input")
            raise ConfigError(
                f"a price needs both: {given} is given, but not {missing}; 0 where it is free"
            )
        if self.cached is not None and self.input is None:
            raise ConfigError("a price needs input and output before cached")

    @property
    def priced(self) -> bool:
        """Whether it is known what it asks; 0 is a price, too."""
        return self.input is not None

    @property
    def price(self) -> Price:
        """What it asks; nothing where no price is known."""
        if self.input is None or self.output is None:
            return FREE
        return Price.per_million(self.input, self.output, cached=self.cached)


def open_models(
    routing: Routing, *, policy: Wrap | None = None, ledger: Ledger | None = None
) -> dict[str, Responder]:
    """The models of ``routing.toml`` by their names there, in the order in which they are tried.

    ``policy`` wraps each of them (``PolicyResponder``). Each call that bills is charged to
    ``ledger``, by the key of its context: a :class:`Context` needs no budget for this.
    Raises ConfigError for a key that is missing.
    """
    return {
        name: _open(name, config, policy=policy, ledger=ledger)
        for name, config in routing.models.items()
    }


def prices(models: Mapping[str, ModelConfig]) -> dict[str, Price | None]:
    """What each asks; None where that is not known."""
    return {name: config.price if config.priced else None for name, config in models.items()}


def _open(
    name: str, config: ModelConfig, *, policy: Wrap | None, ledger: Ledger | None
) -> Responder:
    key = read_key(variable=config.key_variable, file=config.key_file)
    remote: Responder = RemoteResponder(
        config.address, config.model, key=key, context=config.context, place=config.place,
        first_seconds=config.first_seconds, silence_seconds=config.silence_seconds,
    )  # fmt: skip
    return policy(remote) if policy is not None else remote

"""Models beyond this machine: where they are, what they can do, and what they ask.

:func:`open_models` is the only place where those of ``routing.toml`` are opened, so that each is
behind the policy, the budgets, retries and a circuit breaker whichever way it is reached.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from linnet.config import Config, option
from linnet.errors import ConfigError
from linnet.respond.address import Address, read_key
from linnet.respond.context import Ledger
from linnet.respond.pieces import Place
from linnet.respond.prices import FREE, Price
from linnet.respond.remote import RemoteResponder
from linnet.respond.responder import Abilities, Responder
from linnet.respond.transport import Timeouts
from linnet.routing.policy import Policy, PolicyResponder
from linnet.routing.resilience import CallLimit, CircuitBreaker, Health, ResilientResponder

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
    bills_unread: bool = option(
        False, "Whether an answer that is stopped is billed to its end, as by Amazon Bedrock."
    )
    connect_seconds: float = option(Timeouts.connect, "Until there is a connection.", above=0)
    first_seconds: float = option(Timeouts.first, "Until the first byte of an answer.", above=0)
    silence_seconds: float = option(Timeouts.silence, "Between two pieces of an answer.", above=0)
    answer_seconds: float = option(
        Timeouts.answer, "For an answer from its beginning to its end.", above=0
    )
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

    def within(self, base: Path) -> ModelConfig:
        """The same with the file of its key found from a directory."""
        if self.key_file is None:
            return self
        return dataclasses.replace(self, key_file=base / self.key_file.expanduser())

    @property
    def timeouts(self) -> Timeouts:
        """All of them."""
        return Timeouts(
            self.connect_seconds, self.first_seconds, self.silence_seconds, self.answer_seconds
        )

    @property
    def runs(self) -> Place:
        """Where, as its owner says, or its address."""
        return self.place or Address.parse(self.address).place

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


class Models(dict[str, Responder]):
    """By their names, in the order in which they are tried."""

    def __init__(self) -> None:
        super().__init__()
        self.breakers: dict[str, CircuitBreaker] = {}

    def health(self) -> dict[str, Health]:
        """How each does."""
        return {name: breaker.health for name, breaker in self.breakers.items()}


def open_models(
    routing: Routing, *, policy: Wrap | None = None, ledger: Ledger | None = None
) -> Models:
    """The models of ``routing.toml`` by their names there.

    ``policy`` wraps each of them; None: a ``PolicyResponder`` of what the file says. Each call
    that bills is charged to ``ledger``, by the key of its context, which needs no budget for this.
    Raises ConfigError for a key that is missing.
    """
    wrap = policy or functools.partial(PolicyResponder, policy=Policy(routing.policy))
    models = Models()
    for name, config in routing.models.items():
        breaker = CircuitBreaker(failures=config.failures, pause=config.pause_seconds)
        resilient: Responder = ResilientResponder(
            _remote(name, config, ledger), retries=config.retries, breaker=breaker,
            limit=CallLimit(config.parallel),
        )  # fmt: skip
        models.breakers[name] = breaker
        models[name] = wrap(resilient)
    return models


def _remote(name: str, config: ModelConfig, ledger: Ledger | None) -> RemoteResponder:
    key = read_key(variable=config.key_variable, file=config.key_file)
    abilities = Abilities(
        name, config.context, config.runs,
        tools=config.tools, constraints=config.constraints, logprobs=config.logprobs,
    )  # fmt: skip
    return RemoteResponder(
        config.address, config.model, key=key, abilities=abilities, timeouts=config.timeouts,
        price=config.price, ledger=ledger, longest=config.longest, shortest=config.shortest,
        limit_name=config.limit_name, bills_unread=config.bills_unread,
    )  # fmt: skip

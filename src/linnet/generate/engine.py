"""What generates text, whatever computes it: the engine interface.

Command line, evaluation and server all talk to an :class:`Engine`. A
:class:`Request` carries everything about one text, so that new wishes become
new fields of it and never change a method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from linnet.generate.sampling import Sampling

FinishReason = Literal["stop", "length"]
"""``stop``: at an end-of-text token or a stop string. ``length``: at ``max_tokens``, or where the
context is full."""


@dataclass(frozen=True)
class Request:
    """One text to continue.

    ``prompt``: text, before which the engine puts what the tokenizer begins
    every text with; or token ids, which are used as they are.
    """

    prompt: str | tuple[int, ...]
    sampling: Sampling = Sampling()
    logprobs: bool = False
    """Whether to give each token's log-probability."""
    adapter: str | None = None
    """The adapter to compute with, by its name in the engine; ``"base"``: none; None: the engine's
    usual one."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a continuation as it comes; all texts joined are the completion's.

    A chunk may have no text: its token may end within a character, or within
    what may become a stop string. The last one has a ``finish_reason``.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Completion:
    """A continuation, without the prompt."""

    text: str
    """Without the stop string that ended it."""
    tokens: tuple[int, ...]
    """All that were chosen (those of the stop string too), less the final end-of-text token."""
    finish_reason: FinishReason
    prompt_tokens: int
    logprobs: tuple[float, ...] | None = None
    """Of each of the tokens, in nats, as the model gave them: before temperature and filters."""


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text: the log-probability in nats of each token."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Engine(Protocol):
    """Generates and scores texts with one model."""

    @property
    def context(self) -> int:
        """The most tokens that prompt and continuation may have together."""

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete every request, in order.

        Raises ModelError for a prompt that leaves no room in the context.
        """

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Complete one request, piece by piece. Closing the iterator stops the work."""

    def score(self, texts: Sequence[str]) -> list[Score]:
        """The log-probability of every token of each text, given those before it."""

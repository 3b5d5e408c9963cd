"""What generates text, whatever computes it: the engine interface.

Command line, evaluation and server all talk to an :class:`Engine`. A
:class:`Request` carries everything about one text, so that new wishes become
new fields of it and never change a method. The same request means the same on
every engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.generate.sampling import Sampling

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint
    from linnet.generate.tokenization import EngineTokenizer
    from linnet.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]
"""``stop``: at an end-of-text token, a stop string, or the end of what a constraint allows.
``length``: at ``max_tokens``, or where the context is full."""

TopLogprobs: TypeAlias = tuple[tuple[int, float], ...]
"""The likeliest tokens at one place with their log-probabilities, likeliest first."""


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
    top_logprobs: int = 0
    """With ``logprobs``: how many of the likeliest tokens at each place to give as well."""
    constraint: Constraint | None = None
    """What the text must be: a JSON document, a match of an expression, ..."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end this text beside those that end every one."""
    skip_special_tokens: bool = True
    """Whether special tokens have no text; otherwise their names."""
    include_stop: bool = False
    """Whether what ended the text, a stop string or a token's text, is part of it."""

    def __post_init__(self) -> None:
        free = self.sampling.ignore_eos or self.sampling.min_tokens
        if free and self.constraint is not None:
            raise ConfigError(
                "ignore_eos and min_tokens cannot be had with a constraint, which says itself "
                "where a text may end"
            )


def require_known_tokens(
    prompt: Sequence[int], vocab_size: int, request: Request | None = None
) -> None:
    """Raise ModelError or ConfigError for a token that the vocabulary does not have."""
    unknown = [token for token in prompt if not 0 <= token < vocab_size]
    if unknown:
        raise ModelError(
            f"prompt tokens must be below {vocab_size}, the vocabulary. Got {unknown[0]}"
        )
    if request is None:
        return
    for name, tokens in (
        ("logit_bias", [token for token, _ in request.sampling.logit_bias]),
        ("stop_token_ids", request.stop_ids),
    ):
        for token in tokens:
            if not 0 <= token < vocab_size:
                raise ConfigError(
                    f"{name} must name tokens below {vocab_size}, the vocabulary. Got {token}"
                )


@dataclass(frozen=True)
class Start:
    """What is known of a request once its first token is there."""

    prompt_tokens: int
    cached_tokens: int
    """Those of the prompt whose keys and values were at hand already."""
    queue_seconds: float
    """Time it waited before it was computed."""


class ChosenToken(NamedTuple):
    """A token that was chosen, with what is told of it."""

    token: int
    logprob: float | None = None
    top: TopLogprobs | None = None
    rank: int | None = None
    """1 for the likeliest; only told of a prompt's tokens."""


@dataclass(frozen=True)
class Beam:
    """A text that beam search found."""

    text: str
    tokens: tuple[int, ...]
    score: float
    """Its log-probability in nats over its length to the power of ``length_penalty``."""
    finish_reason: FinishReason
    logprobs: tuple[float, ...]
    """Of each of its tokens, as the model gave them."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a continuation as it comes; all texts joined are the completion's.

    A chunk may have no text: its token may end within a character. It may have several tokens, or
    none, where they may become a stop string. The first one has a ``start``, the last one a
    ``finish_reason``.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[TopLogprobs, ...] | None = None
    start: Start | None = None
    beams: tuple[Beam, ...] = ()
    """With ``Sampling.beams``, of which this is the only chunk: all texts found, best first."""
    stop: str | None = None
    """The stop string that ended it, where one did."""
    ending: ChosenToken | None = None
    """The token that ended it, where one did; it is not among ``tokens``."""
    dropped: int = 0
    """Tokens of the stop string, which are not among ``tokens`` either."""


@dataclass(frozen=True)
class Completion:
    """A continuation, without the prompt."""

    text: str
    """Without the stop string that ended it."""
    tokens: tuple[int, ...]
    """Those of the text: without a final end-of-text token, and without those that lie within the
    stop string that ended it."""
    finish_reason: FinishReason
    prompt_tokens: int
    logprobs: tuple[float, ...] | None = None
    """Of each of the tokens, in nats, as the model gave them: before temperature and filters."""
    top_logprobs: tuple[TopLogprobs, ...] | None = None
    """At each of the tokens."""
    beams: tuple[Beam, ...] = ()
    """With ``Sampling.beams``: all texts that were found, best first; the first is this one."""
    ending: ChosenToken | None = None
    """The token that ended it, where one did; it is not among ``tokens``."""


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text: the log-probability in nats of each token."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Continuation:
    """Tokens whose likelihood is asked for, after those of ``prompt``, of which there is one."""

    prompt: tuple[int, ...]
    tokens: Sequence[int]


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a continuation."""

    nats: float
    """Its surprise: minus the log-probability of all its tokens."""
    tokens: int
    greedy: bool
    """Whether each of its tokens was the likeliest."""


Deliver: TypeAlias = Callable[[Chunk | LinnetError], None]
"""Takes the pieces of one completion as they come; an error is the last of them."""


class Engine(ABC):
    """Generates and scores texts with one model. Its methods may be called from several threads.

    What an engine can do is declared by its ``EngineKind`` (``linnet.generate.engine_kind``).
    """

    tokenization: EngineTokenizer
    """What turns text into tokens and back."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes now; 0 where that is not known."""
        return 0

    @property
    @abstractmethod
    def context(self) -> int:
        """The most tokens that prompt and continuation may have together."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """The number format that it computes in; empty where only a file says so."""

    @property
    @abstractmethod
    def adapters(self) -> Sequence[str]:
        """The names that a request may choose its adapter by."""

    @property
    def advice(self) -> str | None:
        """One line on how to compute faster on this machine, where there is a way."""
        return None

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises ModelError for a GGUF file, whose own is not one."""
        return self.tokenization.tokenizer

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text, without what begins every text.

        ``special``: names of special tokens in it stand for these tokens.
        """
        return self.tokenization.encode(text, special=special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return self.tokenization.decode(tokens)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special one."""
        return self.tokenization.token_bytes(token)

    def spelling(self, token: int) -> bytes:
        """As :meth:`token_bytes`; of a special one its name."""
        return self.token_bytes(token) or self.tokenization.special_name(token).encode()

    def prompt_tokens(self, text: str, *, special: bool = False, start: bool = True) -> list[int]:
        """The tokens of a prompt that is text; see :meth:`tokenize`.

        ``start``: whether what begins every text stands before them.
        """
        return [
            *(self.tokenization.start if start else ()), *self.tokenize(text, special=special)
        ]  # fmt: skip

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> tuple[int, ...]:
        """A conversation up to the answer that is to come, by the model's chat template.

        ``add_generation_prompt``: whether an answer is begun. ``continue_final_message``: leave
        the last message open instead, so that the model goes on with it. ``variables``: more
        that the template is given. Text of the messages never becomes a special token.
        Raises ModelError where there is no template, DataError for messages that it refuses.
        """
        return self.tokenization.chat(
            messages,
            tools=tools,
            variables=variables,
            add_generation_prompt=add_generation_prompt and not continue_final_message,
            continue_final_message=continue_final_message,
        )

    @abstractmethod
    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """Complete one request; gives what cancels it, which may be called at any time.

        ``deliver`` is called from a thread of the engine and must return at once; after
        cancelling it may be called once more at most. Requests that are open at the same time
        are computed together. What is wrong with the request is raised here: ModelError for a
        prompt that leaves no room in the context and for an adapter that is not there,
        ConfigError for a constraint that cannot be followed.
        """

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Complete one request, piece by piece. Closing the iterator stops the work at once.

        Raises as :meth:`submit`, before the first piece is asked for.
        """
        pieces: SimpleQueue[Chunk | LinnetError] = SimpleQueue()
        return Pieces(pieces, self.submit(request, pieces.put), owner=self)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete every request, in order. Raises as :meth:`submit`."""
        chunks: list[list[Chunk]] = [[] for _ in requests]
        ended: SimpleQueue[LinnetError | None] = SimpleQueue()

        def deliver_to(own: list[Chunk]) -> Deliver:
            def deliver(what: Chunk | LinnetError) -> None:
                if isinstance(what, LinnetError):
                    ended.put(what)
                    return
                own.append(what)
                if what.finish_reason is not None:
                    ended.put(None)

            return deliver

        cancels: list[Callable[[], None]] = []
        try:
            with self.submitting_together():
                for request, own in zip(requests, chunks, strict=True):
                    cancels.append(self.submit(request, deliver_to(own)))
            for _ in requests:
                error = ended.get()
                if error is not None:
                    raise error
        except BaseException:
            for cancel in cancels:
                cancel()
            raise
        return [completion(request, own) for request, own in zip(requests, chunks, strict=True)]

    def submitting_together(self) -> AbstractContextManager[object]:
        """Around requests that are to be seen at once, and so be computed in the same batches each
        time; an engine that makes batches of whatever has come has nothing to do."""
        return nullcontext()

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[Score]:
        """The log-probability of every token of each text, as if it began a document.

        Raises ModelError for a text longer than the context.
        """

    @abstractmethod
    def likelihoods(self, continuations: Iterable[Continuation]) -> Iterator[Likelihood]:
        """How likely each is, in their order, by the weights that it computes with.

        Of any length; see ``linnet.generate.likelihood``. Reads ahead by a bounded number of
        tokens.
        """

    def score_prompt(
        self, prompt: Sequence[int], *, top: int = 0, adapter: str | None = None
    ) -> list[ChosenToken]:
        """The tokens of a prompt, each with what is told of it after those before it: of the first
        nothing is. ``top``: so many of the likeliest at each place; ``adapter``: see
        :class:`Request`.

        Raises ModelError for a prompt longer than the context, and for one of other tokens.
        """
        raise ConfigError(
            "this engine tells no log-probabilities of a prompt; open the model with --engine torch"
        )

    @abstractmethod
    def close(self) -> None:
        """Free what it holds; what is being written ends with an error."""


def completion(request: Request, chunks: Sequence[Chunk]) -> Completion:
    """The chunks of a finished text as one."""
    start, reason = chunks[0].start, chunks[-1].finish_reason
    assert start is not None
    assert reason is not None
    logprobs = tops = None
    if request.logprobs:
        logprobs = tuple(value for chunk in chunks for value in chunk.logprobs or ())
        if request.top_logprobs:
            tops = tuple(top for chunk in chunks for top in chunk.top_logprobs or ())
    return Completion(
        text="".join(chunk.text for chunk in chunks),
        tokens=tuple(token for chunk in chunks for token in chunk.tokens),
        finish_reason=reason,
        prompt_tokens=start.prompt_tokens,
        logprobs=logprobs,
        top_logprobs=tops,
        beams=chunks[-1].beams,
        ending=chunks[-1].ending,
    )


class Pieces(Iterator[Chunk]):
    """The pieces of one completion as they come. Closed, or forgotten, the work is cancelled."""

    def __init__(
        self,
        pieces: SimpleQueue[Chunk | LinnetError],
        cancel: Callable[[], None],
        *,
        owner: object = None,
    ) -> None:
        """``owner``: the engine, which would be closed if nobody held it."""
        self._pieces = pieces
        self._cancel = cancel
        self._owner = owner
        self._ended = False

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        piece = self._pieces.get()
        if isinstance(piece, LinnetError):
            self._ended = True
            raise piece
        self._ended = piece.finish_reason is not None
        return piece

    def close(self) -> None:
        """Stop the work."""
        if not self._ended:
            self._ended = True
            self._cancel()

    def __del__(self) -> None:
        self.close()

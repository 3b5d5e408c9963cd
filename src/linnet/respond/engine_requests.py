"""The texts that an engine is to write for one call: handed over together, paid for, cancelled."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from linnet.errors import LinnetError
from linnet.generate.engine import Engine, Request
from linnet.respond.context import Charge, Context, Settle
from linnet.respond.conversation import ContextFullError, ConversationError
from linnet.respond.inbox import Cancel, Inbox
from linnet.respond.reasoning import ReasoningReader
from linnet.respond.tool_calls import ToolReader

LARGEST_SEED = 1 << 63


@dataclass
class Requests:
    """The texts that an engine is to write for one call."""

    texts: tuple[Request, ...]
    choices: int = 1
    """So many of them share each prompt."""
    readers: list[ToolReader] = field(default_factory=list)
    """For each text what tells calls from words, where there may be calls."""
    part: str = "messages"
    """What the prompt is called in messages to people."""
    thoughts: list[ReasoningReader] = field(default_factory=list)
    """For each text what tells a thought from the answer, where that is wanted."""


def repeated(requests: Iterable[Request], count: int) -> tuple[Request, ...]:
    """Each request ``count`` times, with seeds of their own."""
    found = []
    for request in requests:
        if count > 1 and request.sampling.beams > 1:
            raise ConversationError(
                f"beams find one best text; ask for one answer (n). Got {count}", part="n"
            )
        seed = request.sampling.seed
        for place in range(count):
            own = None if seed is None else (seed + place) % LARGEST_SEED
            sampling = dataclasses.replace(request.sampling, seed=own)
            found.append(dataclasses.replace(request, sampling=sampling))
    return tuple(found)


class Work:
    """What an engine writes for one call; cancelled from any thread."""

    def __init__(self, engine: Engine, inbox: Inbox, context: Context) -> None:
        self._engine, self._inbox, self._context = engine, inbox, context
        self._lock = threading.Lock()
        self._cancels: list[Cancel] = []
        self._ended = False
        self._before = context.record.tokens.prompt + context.record.tokens.written
        self._settle: Settle | None = None

    def begin(self, prepare: Callable[[], Requests]) -> Requests:
        """Read what is wanted and hand it to the engine."""
        wanted = prepare()
        self._reserve(wanted)
        self._inbox.open = len(wanted.texts)
        for place, request in enumerate(wanted.texts):
            try:
                cancel = self._engine.submit(request, partial(self._inbox.put, place))
            except LinnetError as error:
                raise self._refused(error, request, wanted.part) from None
            except RecursionError:
                raise ConversationError("What the answer must be nests too deeply.") from None
            with self._lock:
                self._cancels.append(cancel)
                ended = self._ended
            if ended:
                cancel()
                break
        self._context.record.choices += len(wanted.texts)
        return wanted

    def cancel(self) -> None:
        """Stop all of it."""
        with self._lock:
            self._ended = True
            cancels, self._cancels = self._cancels, []
        for cancel in cancels:
            cancel()

    def end(self, *, complete: bool) -> None:
        """Nothing more is wanted; ``complete``: nothing more would come."""
        if not complete:
            self.cancel()
        if self._settle is not None:
            tokens = self._context.record.tokens
            self._settle(tokens.prompt + tokens.written - self._before, 0)

    def _reserve(self, wanted: Requests) -> None:
        if self._context.budget is None:
            return
        prompts = [request.prompt for request in wanted.texts[:: wanted.choices]]
        count = sum(
            len(self._engine.tokenize(prompt) if isinstance(prompt, str) else prompt)
            for prompt in prompts
        )
        longest = sum(request.sampling.max_tokens for request in wanted.texts)
        self._settle = self._context.reserve(Charge(count, longest))

    def _refused(self, error: LinnetError, request: Request, part: str) -> LinnetError:
        """What an engine refuses of a request; a prompt that is too long is told with counts."""
        engine = self._engine
        if isinstance(request.prompt, str):
            count = len(engine.tokenize(request.prompt)) + 1
            if count >= engine.context:
                return ContextFullError(count, engine.context, part=part)
        if "logit_bias" in str(error):
            error.part = "logit_bias"
        return error

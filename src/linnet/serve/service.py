"""What all endpoints share: models, keys and limits, metrics, threads, and what runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.errors import LinnetError
from linnet.respond.engine import EngineResponder
from linnet.serve.asgi import Call
from linnet.serve.catalog import AUTO
from linnet.serve.conversations import ConversationStore
from linnet.serve.errors import ApiError, refused, stopping
from linnet.serve.keys import key_ring
from linnet.serve.limits import Doorkeeper
from linnet.serve.metrics import Metrics, ModelMetrics
from linnet.serve.monitoring import Monitoring
from linnet.serve.openapi import describe
from linnet.serve.streaming import Generation, wait_for_model
from linnet.serve.uploads import Uploads

if TYPE_CHECKING:
    from linnet.monitor.entry import Entry
    from linnet.monitor.log import Log
    from linnet.respond.context import Context
    from linnet.respond.conversation import Conversation
    from linnet.respond.responder import Batches
    from linnet.respond.tool_servers import ToolServers
    from linnet.serve.catalog import Catalog, Served
    from linnet.serve.endpoint import Endpoint
    from linnet.serve.settings import ServeConfig
    from linnet.serve.shapes import Framing, Shape

T = TypeVar("T")

EVENT_SECONDS = 0.012
"""The shortest time between two events of a stream: shorter is not seen, and costs speed."""
EVENT_SECONDS_EACH = 0.002
"""So much longer for every stream beside it, as they share the processor."""
LONGEST_EVENT_SECONDS = 0.05

LARGE_BODY = 64_000
"""A body of more bytes is checked in a thread, so that it holds up nobody."""
BODIES = 4
"""So many of the largest bodies are held at once; smaller ones accordingly more."""
LEAST_BODIES = 16_000_000

_PROMPT_THREADS = 6
"""Threads that read prompts; their own, as a loop that ends would wait for its threads."""


class Service:
    """One server's work, whatever brings the calls."""

    def __init__(
        self, catalog: Catalog, config: ServeConfig, endpoints: Sequence[Endpoint]
    ) -> None:
        """Raises ConfigError where no key guards an open address, and where conversations cannot
        be kept."""
        self.catalog = catalog
        self.config = config
        self.endpoints = endpoints
        self.doorkeeper = Doorkeeper(
            key_ring(config),
            most=config.max_requests,
            body_bytes=max(LEAST_BODIES, BODIES * config.max_body),
        )
        self.metrics = Metrics()
        self.model_metrics = {name: ModelMetrics(self.metrics, name) for name in catalog.models}
        self.draining = False
        """Whether it is being stopped: nothing new is begun."""
        self.aborted = False
        """Whether what runs is to end, too."""
        self.running: dict[Generation, str] = {}
        """The answers that are being written, with the names of their models."""
        self.uploads = Uploads()
        """Documents that are arriving."""
        self.attachments = Uploads(most=2)
        """Files of messages that are being read."""
        self.embedding = asyncio.Lock()
        """Held by the one that computes vectors, which uses all cores."""
        self._checking = ThreadPoolExecutor(2, "linnet-checking")
        self.tokenizing = ThreadPoolExecutor(2, "linnet-tokenizing")
        self.storing = ThreadPoolExecutor(1, "linnet-storing")
        self.conversations = ConversationStore(config.conversations, keep_days=config.keep_days)
        self._prompts = ThreadPoolExecutor(_PROMPT_THREADS, "linnet-prompts")
        self._aborted = asyncio.Event()
        self.tool_servers = _tool_servers(config)
        self.log = _log(config)
        """Where a line about each answer goes; None: nowhere."""
        if self.log is not None and catalog.routing is not None:
            self.log.note_currency(catalog.routing.settings.currency)
        self.monitoring = Monitoring(self.log, catalog) if self.log is not None else None
        """What that log says."""
        catalog.pool.on_open = self._opened
        catalog.pool.on_close = self.metrics.closed
        self._opened([model for model in catalog.models.values() if model.summary is None], None)

    @cached_property
    def description(self) -> bytes:
        """The endpoints as OpenAPI."""
        return json.dumps(describe(self.endpoints)).encode()

    @property
    def busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self.doorkeeper.inside > 0 or self.doorkeeper.waiting > 0

    def abort(self) -> None:
        """End all that runs, each with an error."""
        self.aborted = True
        self._aborted.set()
        for generation in list(self.running):
            generation.stop(stopping())

    def close(self) -> None:
        """Wait for no thread any more."""
        for pool in (self._prompts, self._checking, self.tokenizing, self.storing):
            pool.shutdown(wait=False, cancel_futures=True)
        self.conversations.close()
        if self.tool_servers is not None:
            self.tool_servers.close()
        if self.log is not None:
            self.log.close()

    async def prepare(self, call: Call, work: Callable[[], T]) -> T:
        """What the work makes of the call's body: here, or in a thread where the body is large.

        Raises as :meth:`in_thread`.
        """
        if call.size > LARGE_BODY:
            return await self.in_thread(work, self._checking)
        try:
            return work()
        except LinnetError as error:
            raise refused(error) from None
        except RecursionError:
            raise _too_deep() from None

    async def in_thread(self, work: Callable[[], T], executor: Executor | None = None) -> T:
        """What the work gives, done in a thread; without ``executor`` in one of the loop's own.

        Raises ApiError (400) for what the library refuses: the request is at fault.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except LinnetError as error:
            raise refused(error) from None
        except RecursionError:
            raise _too_deep() from None

    def collections(
        self, call: Call, wanted: Sequence[str] | None = None
    ) -> tuple[str, ...] | None:
        """The collections of documents that a call may see, of those that it wants; None: all."""
        own = call.account.key.limits.collections if call.account is not None else ()
        if not own:
            return None if wanted is None else tuple(wanted)
        return own if wanted is None else tuple(name for name in wanted if name in own)

    async def use_model(
        self, call: Call, name: str, framing: Framing | None = None, *, watch: bool = True
    ) -> None:
        """Give a call the model of this name, open until the call ends, instead of any that it has;
        one that is not open is opened first.

        ``framing``: how a stream that waits for it shows that it lives. ``watch``: whether to
        notice meanwhile that the client leaves, which needs a body that was read. Raises ApiError,
        and ClientLeftError when nobody waits any more.
        """
        pool = self.catalog.pool
        lease = pool.lease(name)
        if lease is None:
            call.use(None)  # none is held while another is waited for
            call.facts["model"] = name
            if framing is not None and not call.body.get("stream", framing.by_default):
                framing = None
            with self.doorkeeper.waiting_for_model(call.account):
                lease = await wait_for_model(pool, call, name, framing, self._aborted, watch=watch)
        call.use(lease)

    def _opened(self, models: Sequence[Served], seconds: float | None) -> None:
        """Have models that were opened use this server's threads."""
        for served in models:
            if isinstance(served.responder, EngineResponder):
                served.responder.executor = self._prompts
            if self.tool_servers is not None:
                served.use_tools(self.tool_servers)
        if models and seconds is not None:
            self.metrics.load.labels(models[0].name).observe(seconds)

    @contextlib.contextmanager
    def within_limits(self, call: Call) -> Iterator[None]:
        """Count what a call does as one request. Raises ApiError (429) where a limit is reached."""
        self.doorkeeper.enter(1, call.account)
        try:
            yield
        finally:
            self.doorkeeper.leave(1, call.account, tokens=0)

    def masks_private(self, call: Call) -> bool:
        """Whether private data of documents is masked for whoever calls: by the key's policy, and
        otherwise unless the server answers its owner's machine alone."""
        policy = call.account.key.limits.private_data if call.account is not None else "auto"
        return policy != "keep" if policy != "auto" else not self.is_on_this_machine(call)

    def masks_names(self, call: Call) -> bool:
        """Whether names of people are masked as well for whoever calls: by the key's policy."""
        return call.account is not None and call.account.key.limits.private_data == "names"

    def may_call_tools(self, call: Call) -> bool:
        """Whether models may call tools of the server's owner for whoever calls."""
        if self.tool_servers is None:
            return False
        if call.account is not None:
            return call.account.key.limits.tools
        return self.is_on_this_machine(call)

    def may_leave(self, call: Call) -> bool:
        """Whether models beyond this machine may answer whoever calls, as far as the policy has
        it."""
        if call.account is not None:
            return call.account.key.limits.remote
        return self.is_on_this_machine(call)

    def may_monitor(self, call: Call) -> bool:
        """Whether the figures of everybody's answers are for whoever calls."""
        if call.account is not None:
            return call.account.key.limits.monitoring
        return self.is_on_this_machine(call)

    def is_on_this_machine(self, call: Call) -> bool:
        """Whether a call can only come from whoever sits here: not through a name that was allowed,
        which may be a proxy's, nor from a page of another site, though that may be allowed too."""
        here = self.config.is_local and not self.config.allow_host
        return here and call.header(b"origin") not in self.config.cors

    async def generate(
        self,
        call: Call,
        write: Callable[[Context], Batches],
        shape: Shape,
        *,
        texts: int,
        stream: bool | None = None,
        asked: Conversation | None = None,
    ) -> None:
        """Answer with what ``write`` gives, so many texts of it.

        ``stream``: whether as it comes; None: as the body's ``stream`` says, and otherwise whole.
        ``asked``: what is answered, for an owner who keeps questions.
        """
        stream = bool(call.body.get("stream")) if stream is None else stream
        route = (call.body.get("linnet") or {}).get("route")
        if route is not None and call.model.name != AUTO:
            raise ApiError(400, f"'route' is for the model '{AUTO}'.", param="linnet.route")
        generation = Generation(
            call, write, shape, self.model_metrics[call.model.name],
            choices=texts,
            collections=self.collections(call, call.body.get("collections")),
            masks_private=self.masks_private(call),
            masks_names=self.masks_names(call),
            server_tools=self.may_call_tools(call),
            remote=self.may_leave(call),
            route=route,
            keep_texts=self.config.log_prompts or self.config.monitor_contents,
        )  # fmt: skip
        self.doorkeeper.enter(texts, call.account)
        self.running[generation] = call.model.name
        others = len(self.running) - 1
        interval = min(EVENT_SECONDS + others * EVENT_SECONDS_EACH, LONGEST_EVENT_SECONDS)
        try:
            await generation.run(stream=stream, interval=interval)
        finally:
            del self.running[generation]
            generation.note(say_texts=self.config.log_prompts)
            entry = self._entry(call, generation, asked)
            call.in_log = True
            self.metrics.answers.count(entry, self.catalog.models)
            if self.log is not None:
                self.log.add(entry)
            tokens = call.record.tokens
            self.doorkeeper.leave(texts, call.account, tokens=tokens.prompt + tokens.written)

    def note_refused(self, call: Call, error: ApiError) -> None:
        """Add a line to the log of a call that was refused before an answer was begun. Of who has
        no key there is none: nobody would know whose it is."""
        if call.in_log or self.log is None:
            return
        from linnet.monitor.entry import entry_of

        call.in_log = True
        now = time.monotonic()
        model: Served | None = getattr(call, "model", None)  # it may be refused before it is known
        self.log.add(entry_of(
            call.record, at=time.time() - (now - call.arrived), seconds=now - call.arrived,
            key=call.account.key.name if call.account is not None else None,
            interface=call.path, asked=model.name if model is not None else "",
            state="held" if error.status in (403, 429) else "failed", code=error.code or error.kind,
        ))  # fmt: skip

    def judge(self, id: str, key: str | None, *, good: bool) -> None:
        """Note what whoever asked says of an answer."""
        self.metrics.answers.judged(good=good)
        if self.log is not None:
            self.log.judge(id, key, good=good)

    def _entry(self, call: Call, generation: Generation, asked: Conversation | None) -> Entry:
        """An answer's line in the log."""
        from linnet.monitor.entry import entry_of

        record, routing = call.record, self.catalog.routing
        question = answer = None
        if self.config.monitor_contents:
            question = _question(asked, call.body)
            answer = "\n\n".join(generation.written)
        now = time.monotonic()
        return entry_of(
            record,
            at=time.time() - (now - call.arrived),
            seconds=now - call.arrived,
            key=call.account.key.name if call.account is not None else None,
            interface=call.path,
            asked=call.model.name,
            place=record.facts.get("route", {}).get("place", call.model.place),
            would_cost=routing.would_cost(record.tokens) if routing is not None else None,
            state=generation.state,
            code=generation.code,
            question=question,
            answer=answer,
        )


def _question(asked: Conversation | None, body: Mapping[str, Any]) -> str:
    """What is asked last; or the prompt that is continued."""
    if asked is None:
        prompt = body.get("prompt") or body.get("input_prefix")
        return prompt if isinstance(prompt, str) else ""
    users = (message for message in reversed(asked.messages) if message.role == "user")
    return next((message.text for message in users), "")


def _log(config: ServeConfig) -> Log | None:
    """The log that the settings name. Raises ConfigError where it cannot be written."""
    if config.monitor is None:
        return None
    from linnet.monitor.log import Log

    return Log(
        config.monitor, keeps_contents=config.monitor_contents, keep_days=config.monitor_days
    )


def _tool_servers(config: ServeConfig) -> ToolServers | None:
    """The servers of tools that the settings name. Raises LinnetError where they cannot be used."""
    if config.mcp is None:
        return None
    from linnet.respond.tool_servers import ToolServers, read_tool_servers

    return ToolServers(read_tool_servers(config.mcp))


def _too_deep() -> ApiError:
    return ApiError(400, "The request nests too deeply.")


async def answer_json(call: Call, value: Any, status: int = 200) -> None:
    """Answer with a value as JSON."""
    await call.answer(status, json.dumps(value).encode())

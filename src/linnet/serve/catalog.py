"""The models that a server offers, by the names that requests choose them by."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from linnet.errors import ConfigError
from linnet.respond.engine import EngineResponder
from linnet.serve.errors import ApiError
from linnet.serve.pool import LoadedModel, ModelSource, Pool, PoolSettings, released
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.answers import Assistant
    from linnet.answers.upkeep import Upkeep
    from linnet.answers.workspace import Workspace
    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine
    from linnet.respond.conversation import NoConversationError
    from linnet.respond.pieces import Place
    from linnet.respond.responder import Responder
    from linnet.respond.tool_servers import ToolServers
    from linnet.routing.opening import OpenRouting

AUTO = "auto"
"""What is chosen for each call (``routing.settings.AUTO``, which costs more to import)."""
LATEST = ":latest"
"""What Ollama's clients add to a name that has no version."""


class Reranks(Protocol):
    """Tells how well texts answer a question."""

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """The probability that each of them does."""


@dataclass(frozen=True)
class Served:
    """One name: a model, a model with one of its adapters, an encoder, documents, or any
    responder."""

    name: str
    engine: Engine | None = None
    encoder: Encoder | None = None
    adapter: str | None = None
    """By its name in the engine; None: the engine's usual."""
    parent: str | None = None
    """The model that an adapter belongs to."""
    answering: Responder | None = None
    """What answers conversations instead of the engine alone: a model at an address, or a responder
    around others."""
    workspace: Workspace | None = None
    """The documents that it answers from, where they are of this machine."""
    upkeep: Upkeep | None = None
    """What keeps these current; without it nobody can add or remove any."""
    assistant: Assistant | None = None
    """What answers from documents, with the index that it searches."""
    reranking: Reranks | None = None
    """What tells how well texts answer a question; otherwise the index's own re-ranker."""
    summary: Summary | None = None
    """What its files say of it, while it is not open."""
    created: int = field(default_factory=lambda: int(time.time()))
    opened: int = field(default_factory=time.time_ns)
    """When, so exactly that a model which replaces it has another value."""
    _with_tools: Responder | None = field(default=None, init=False, repr=False, compare=False)

    @cached_property
    def responder(self) -> Responder | None:
        """What answers conversations; None for an encoder."""
        if self.assistant is not None and self.answering is None:
            from linnet.answers.responder import DocumentsResponder

            return DocumentsResponder(self.assistant, name=self.name)
        if self.answering is not None or self.engine is None:
            return self.answering
        return EngineResponder(self.engine, name=self.name, adapter=self.adapter)

    @property
    def refusal(self) -> NoConversationError | None:
        """Why it cannot converse though it writes text, where that is so."""
        return self.responder.refusal if isinstance(self.responder, EngineResponder) else None

    @property
    def is_chat(self) -> bool:
        """Whether it answers conversations."""
        if self.summary is not None:
            return self.summary.is_chat
        return self.responder is not None and self.refusal is None

    @property
    def makes_embeddings(self) -> bool:
        """Whether it is an encoder."""
        if self.summary is not None:
            return self.summary.makes_embeddings
        return self.encoder is not None

    @property
    def has_documents(self) -> bool:
        """Whether it answers from documents."""
        if self.summary is not None:
            return self.summary.documents is not None
        return self.workspace is not None or self.assistant is not None

    @property
    def place(self) -> Place:
        """Where it runs; of one that is chosen for each call, the farthest that it may be."""
        return self.responder.abilities.place if self.responder is not None else "here"

    @cached_property
    def fingerprint(self) -> str:
        """Changes where the same request may give another text."""
        what = f"{__version__} {self.name} {type(self.engine).__name__} {self.opened}"
        return f"fp_{hashlib.sha256(what.encode()).hexdigest()[:10]}"

    @property
    def reranker(self) -> Reranks | None:
        """What tells how well texts answer a question, if anything here does."""
        from linnet.retrieval import Index

        index = self.assistant.index if self.assistant is not None else None
        return self.reranking or (index.reranker if isinstance(index, Index) else None)

    @property
    def searching(self) -> Assistant:
        """What answers from documents. Raises ApiError where there are none."""
        if self.assistant is None:
            raise ApiError(400, f"The model '{self.name}' has no documents.", param="model")
        return self.assistant

    @property
    def conversing(self) -> Responder:
        """What answers its conversations. Raises ApiError for an encoder."""
        if self.responder is None:
            raise self._no_writer()
        return self._with_tools or self.responder

    def use_tools(self, servers: ToolServers) -> None:
        """Have what answers conversations call tools of these servers, where a call may."""
        if self.responder is not None:
            from linnet.respond.tool_rounds import ToolServersResponder

            object.__setattr__(self, "_with_tools", ToolServersResponder(self.responder, servers))

    @property
    def continuing(self) -> EngineResponder:
        """The model itself, for its engine. Raises ApiError where there is none."""
        if not isinstance(self.responder, EngineResponder):
            raise self._no_writer()
        return self.responder

    @property
    def context(self) -> int:
        """The most tokens that it takes; 0 where that is not known."""
        if self.summary is not None:
            return self.summary.context
        if self.encoder is not None:
            return self.encoder.max_tokens
        return self.engine.context if self.engine else self.conversing.abilities.context

    def _no_writer(self) -> ApiError:
        if self.encoder is not None:
            message = f"The model '{self.name}' makes embeddings and writes no text."
        else:
            message = f"The model '{self.name}' answers conversations only."
        return ApiError(400, message, param="model")

    def close(self) -> None:
        """Free what it holds."""
        if self.engine is not None and self.adapter is None:
            self.engine.close()
        if self.encoder is not None:
            self.encoder.close()
        if self.assistant is not None:
            from linnet.answers.responder import DocumentsResponder
            from linnet.routing.responder import RoutingResponder

            if isinstance(self.responder, DocumentsResponder | RoutingResponder):
                self.responder.close()


@dataclass(frozen=True)
class Summary:
    """What the files of a model say of it, which is known while it is not open."""

    is_chat: bool = False
    makes_embeddings: bool = False
    documents: int | None = None
    """Passages, where it answers from documents."""
    context: int = 0
    bytes: int = 0
    """Of memory, estimated."""


class Catalog:
    """All that are served; the first is the one that a request means which names none.

    A server of other endpoints has :meth:`none`. It belongs to one event loop: models are found,
    leased and kept from there.
    """

    def __init__(
        self,
        models: Sequence[Served] = (),
        *,
        sources: Sequence[ModelSource] = (),
        settings: PoolSettings | None = None,
        measure: Callable[[Sequence[Served]], int] | None = None,
        routing: OpenRouting | None = None,
    ) -> None:
        """``models``: open ones, by the sources that they were opened from; those of no source stay
        open. ``sources``: what is opened when it is used. ``routing``: where some of the models are
        chosen for each call, or run elsewhere; it ends with the catalog.

        Raises ConfigError for two of one name, and where there is none.
        """
        from linnet.serve.memory import memory_of

        self.routing = routing
        by_source = {
            source.name: [m for m in models if m.name in {d.name for d in source.described}]
            for source in sources
        }
        of_sources = {id(model) for found in by_source.values() for model in found}
        residents = [model for model in models if id(model) not in of_sources]
        names = [each.name for each in residents]
        names += [each.name for source in sources for each in source.described]
        if not names:
            raise ConfigError("expected at least one model to serve. Got none")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"each model and adapter needs a name of its own. Got '{twice}' twice"
            )
        resident = [ModelSource(m.name, [m], lambda: (), pinned=True) for m in residents]
        self.pool = Pool(
            [*resident, *sources],
            settings,
            opened={m.name: [m] for m in residents} | {k: v for k, v in by_source.items() if v},
            measure=measure or memory_of,
        )

    @classmethod
    def none(cls) -> Catalog:
        """Of a server whose endpoints use no model."""
        empty = cls.__new__(cls)
        empty.pool, empty.routing = Pool(), None
        return empty

    @property
    def models(self) -> dict[str, Served]:
        """All by name: open, or as their files describe them (``Served.summary``)."""
        return self.pool.models

    @property
    def first(self) -> Served:
        """The model that is meant where none is named."""
        return next(iter(self.models.values()))

    def find(self, name: str | None) -> Served:
        """The model of this name, which need not be open. Raises ApiError (404)."""
        return self.models[self.resolve(name)]

    def resolve(self, name: str | None) -> str:
        """The name of the model that a request means. Raises ApiError (404)."""
        if name is None:
            return self.first.name
        if name in self.pool:
            return name
        plain = name.removesuffix(LATEST)
        if plain not in self.pool:
            raise ApiError(
                404,
                f"The model '{name[:128]}' does not exist; there are: {', '.join(self.models)}.",
                param="model",
                code="model_not_found",
            )
        return plain

    @contextlib.asynccontextmanager
    async def lease(self, name: str | None) -> AsyncIterator[Served]:
        """The model of this name, open for as long as the lease lasts.

        One that is not open is opened first. A call holds one lease at a time: what several models
        do together is one model. Raises ApiError: 404; 503 where it cannot be opened now.
        """
        with released(await self.pool.wait(self.resolve(name))) as model:
            yield model

    def is_loaded(self, name: str) -> bool:
        """Whether a model can answer at once."""
        return self.pool.is_loaded(name)

    def loaded(self) -> list[LoadedModel]:
        """The models that are open, adapters and documents of one beside it."""
        return self.pool.loaded()

    def keep(self, name: str | None, seconds: float | None) -> None:
        """How long a model stays open from its last use on: 0 unloads it as soon as nobody uses it,
        a negative number keeps it until memory is needed; None: as the server has it. Raises
        ApiError (404).
        """
        self.pool.keep(self.resolve(name), seconds)

    def close(self) -> None:
        """Free what the models hold."""
        self.pool.close()
        if self.routing is not None:
            self.routing.close()

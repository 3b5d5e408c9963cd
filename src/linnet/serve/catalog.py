"""The models that a server offers, by the names that requests choose them by."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from linnet.errors import ConfigError
from linnet.progress import SILENT, Progress
from linnet.respond.engine import EngineResponder
from linnet.serve.errors import ApiError
from linnet.serve.settings import ServeConfig
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.answers import Assistant
    from linnet.answers.upkeep import Upkeep
    from linnet.answers.workspace import Workspace
    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine
    from linnet.respond.conversation import NoConversationError
    from linnet.respond.responder import Responder

_NAME = re.compile(r"[A-Za-z0-9][\w./:@-]{0,127}", re.ASCII)


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
    created: int = field(default_factory=lambda: int(time.time()))

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
        return self.responder is not None and self.refusal is None

    @cached_property
    def fingerprint(self) -> str:
        """Changes where the same request may give another text."""
        what = f"{__version__} {self.name} {type(self.engine).__name__} {self.created}"
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
        return self.responder

    @property
    def continuing(self) -> EngineResponder:
        """The model itself, for its engine. Raises ApiError where there is none."""
        if not isinstance(self.responder, EngineResponder):
            raise self._no_writer()
        return self.responder

    @property
    def context(self) -> int:
        """The most tokens that it takes; 0 where that is not known."""
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

            if isinstance(self.responder, DocumentsResponder):
                self.responder.close()


@dataclass(frozen=True)
class LoadedModel:
    """A model that is open now."""

    name: str
    bytes: int
    """Of memory; 0 where that is not known."""
    expires_at: float | None
    """When it is unloaded unless it is used before, in seconds since 1970; None: it stays."""


class Catalog:
    """All that are served; the first is the one that a request means which names none.

    A server of other endpoints has :meth:`none`. It belongs to one event loop: models are found,
    leased and kept from there.
    """

    def __init__(self, models: Sequence[Served]) -> None:
        """Raises ConfigError for two of one name, and where there is none."""
        if not models:
            raise ConfigError("expected at least one model to serve. Got none")
        self.models = {model.name: model for model in models}
        if len(self.models) < len(models):
            names = [model.name for model in models]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"each model and adapter needs a name of its own. Got '{twice}' twice"
            )

    @classmethod
    def none(cls) -> Catalog:
        """Of a server whose endpoints use no model."""
        empty = cls.__new__(cls)
        empty.models = {}
        return empty

    @property
    def first(self) -> Served:
        """The model that is meant where none is named."""
        return next(iter(self.models.values()))

    def find(self, name: str | None) -> Served:
        """The model of this name. Raises ApiError (404)."""
        if name is None:
            return self.first
        name = name if name in self.models else name.removesuffix(":latest")
        if name not in self.models:
            raise ApiError(
                404,
                f"The model '{name[:128]}' does not exist; there are: {', '.join(self.models)}.",
                param="model",
                code="model_not_found",
            )
        return self.models[name]

    @contextlib.asynccontextmanager
    async def lease(self, name: str | None) -> AsyncIterator[Served]:
        """The model of this name, open for as long as the lease lasts.

        One that is not open is opened first. A call holds one lease at a time: what several models
        do together is one model. Raises ApiError: 404; 503 where it cannot be opened now.
        """
        yield self.find(name)

    def loaded(self) -> list[LoadedModel]:
        """The models that are open, adapters and documents of one beside it."""
        return [LoadedModel(name, 0, None) for name in self.models]

    def keep(self, name: str | None, seconds: float | None) -> None:
        """How long a model stays open from its last use on: 0 unloads it as soon as nobody uses it,
        a negative number keeps it until memory is needed; None: as the server has it. Raises
        ApiError (404).
        """
        self.find(name)

    def close(self) -> None:
        """Free what the models hold."""
        for model in self.models.values():
            model.close()


def open_catalog(
    source: str,
    config: ServeConfig,
    *,
    name: str | None = None,
    models: Mapping[str, str] | None = None,
    adapters: Mapping[str, str] | None = None,
    docs: str | None = None,
    progress: Progress = SILENT,
) -> Catalog:
    """Open the model at ``source``, or the documents there, and others.

    ``name``: what the first is called; otherwise as its directory. ``models``: more, by name.
    ``adapters``: of the first, by name, or of another as ``MODEL+NAME``. ``docs``: an index that
    the first model answers from, under the index's name. Raises LinnetError where one cannot be
    opened.
    """
    every = {name or name_of(source): source, **(models or {})}
    own = _by_model(adapters or {}, every)
    docs_name = name_of(docs) if docs is not None else ""
    for known in (
        *every,
        *([docs_name] if docs_name else ()),
        *(each for found in own.values() for each in found),
    ):
        if not _NAME.fullmatch(known):
            raise ConfigError(
                f"a model's name must begin with a letter or digit and consist of these and "
                f"./:@_-. Got '{known}': choose one with --name or NAME=DIRECTORY"
            )
    if name_of(source) in (models or {}) and name is None:
        raise ConfigError(f"two models are named '{name_of(source)}'; choose another name for one")
    opened: list[Served] = []
    try:
        for called, place in every.items():
            with progress.task(f"opening {called}"):
                opened += _open(called, place, config, own[called], progress)
        if docs is not None:
            if docs_name in every:
                raise ConfigError(
                    f"the documents and a model are both named '{docs_name}'; choose another for "
                    "the model with --name"
                )
            with progress.task(f"opening {docs_name}"):
                opened.append(_documents(docs_name, docs, config, opened[0], source, progress))
        for model in opened:  # found out now, not while the first request waits
            if (refusal := model.refusal) is not None and not refusal.is_without_template:
                progress.warn(f"{model.name} cannot converse: {refusal}")
        return Catalog(opened)
    except BaseException:
        for model in opened:
            model.close()
        raise


def _by_model(adapters: Mapping[str, str], models: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The adapters of each model, by name."""
    found: dict[str, dict[str, str]] = {model: {} for model in models}
    first = next(iter(models))
    for given, place in adapters.items():
        model, named, name = given.rpartition("+")
        model = model if named else first
        if model not in found:
            raise ConfigError(
                f"--adapter {given}: there is no model '{model}' to adapt; there are: "
                f"{', '.join(models)}"
            )
        if name in found[model]:
            raise ConfigError(f"--adapter: two of '{model}' are named '{name}'")
        found[model][name] = place
    return found


def name_of(source: str) -> str:
    """What a model is called that nobody named: its directory, or the project around it."""
    from linnet.hub.source import parse

    path = Path(source).expanduser().resolve()
    if path.suffix == ".gguf":
        return path.stem
    on_hub = parse(source)
    if on_hub is not None:
        return on_hub.name
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def _open(
    name: str,
    source: str,
    config: ServeConfig,
    adapters: Mapping[str, str],
    progress: Progress,
) -> list[Served]:
    from linnet.answers.opening import has_documents
    from linnet.respond import LanguageModel, open_model

    if has_documents(source):
        if adapters:
            raise ConfigError(f"{source} holds documents, which have no adapters")
        return [_documents(name, source, config, None, "", progress)]
    opened = open_model(source, config, adapters=dict(adapters), progress=progress)
    if not isinstance(opened, LanguageModel):
        return [Served(name, encoder=opened)]
    engine = opened.engine
    more = [Served(each, engine, adapter=each, parent=name) for each in adapters]
    return [Served(name, engine), *more]


def _documents(
    name: str,
    place: str,
    config: ServeConfig,
    model: Served | None,
    source: str,
    progress: Progress,
) -> Served:
    """The documents of an index, answered from by a model or by the passages themselves."""
    from linnet.answers.guards import guards_of
    from linnet.answers.opening import open_assistant, writer_of
    from linnet.answers.workspace import Workspace

    if model is not None and model.responder is None:
        raise ConfigError(f"--docs needs a model that writes. Got an encoder, '{model.name}'")
    writer = None
    if model is not None:
        writer = writer_of(model.conversing, place, model=source, name=model.name)
        if writer.weakness:
            progress.warn(writer.weakness)
    assistant = open_assistant(place, model=writer, guards=guards_of(config.unsafe_classifier))
    return Served(name, assistant=assistant, workspace=Workspace(place))

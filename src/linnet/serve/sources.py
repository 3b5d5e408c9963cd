"""Models to serve, from directories and files: what they are, and how they are opened.

What is wrong with a model is found when the server starts, by its settings, its tokenizer and the
headers of its files; its weights are read when it is opened.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.config import parse_duration
from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.generate.engine_kind import model_directory
from linnet.generate.engines import is_encoder
from linnet.hub.source import parse
from linnet.model.lora_config import require_adapter_name
from linnet.output import human_bytes
from linnet.progress import SILENT, Progress
from linnet.respond.engine import refusal_of
from linnet.serve import memory
from linnet.serve.catalog import AUTO, Catalog, Served, Summary
from linnet.serve.errors import without_paths
from linnet.serve.logs import LOGGER
from linnet.serve.pool import ModelSource, PoolSettings
from linnet.serve.settings import FOREVER, ServeConfig

if TYPE_CHECKING:
    from linnet.routing.opening import OpenRouting

_NAME = re.compile(r"[A-Za-z0-9][\w./:@-]{0,127}", re.ASCII)


def open_catalog(
    source: str,
    config: ServeConfig,
    *,
    name: str | None = None,
    models: Mapping[str, str] | None = None,
    adapters: Mapping[str, str] | None = None,
    docs: str | None = None,
    directory: str | None = None,
    routing: OpenRouting | None = None,
    progress: Progress = SILENT,
) -> Catalog:
    """Open the model at ``source``, or the documents there, and have others opened when they are
    used; those that are pinned are opened now.

    ``name``: what the first is called; otherwise as its directory. ``models``: more, by name;
    ``directory``: more, each in a directory or file of its own. ``adapters``: of the first, by
    name, or of another as ``MODEL+NAME``. ``docs``: an index that the first model answers from,
    under the index's name. ``routing``: models beyond this machine, and what chooses between these
    and the first one, or the documents. Raises LinnetError where one cannot be opened, or could
    not be.
    """
    wanted = _wanted(source, config, name, models or {}, adapters or {}, docs, directory, progress)
    if routing is not None:
        _check_routed(routing, wanted.names)
    settings = PoolSettings(
        memory=memory.memory_limit(config.model_memory), keep_alive=keep_alive_of(config.keep_alive)
    )
    places = [
        _Place(
            called,
            place,
            config,
            wanted.adapters[called],
            wanted.docs if called == wanted.first else None,
            routing,
            is_routed=called == wanted.first,
        )
        for called, place in wanted.models.items()
    ]
    later = [place for place in places if place.name not in (wanted.first, *config.pin)]
    described = _described(later, wanted.beside, progress)
    is_kept = {wanted.first, *config.pin, *described}
    places = [place for place in places if place.name in is_kept]
    _require_space([_source(p, described[p.name]) for p in places if p.name in described], settings)
    opened: list[Served] = []
    try:
        for place in places:
            if place.name not in described:
                with progress.task(f"opening {place.name}"):
                    described[place.name] = place.open(progress)
                opened += described[place.name]
        sources = [
            _source(place, described[place.name], pinned=place.name in config.pin)
            for place in places
        ]
        _require_space(sources, settings)
        elsewhere = remote_models(routing) if routing is not None else []
        # Behind those of this machine, of which the first is meant where none is named.
        sources += [
            ModelSource(model.name, [model], lambda: (), pinned=True) for model in elsewhere
        ]
        return Catalog([*opened, *elsewhere], sources=sources, settings=settings, routing=routing)
    except BaseException:
        for model in opened:
            model.close()
        raise


@dataclass(frozen=True)
class _Wanted:
    """What is to be served, by name."""

    first: str
    models: Mapping[str, str]
    """Their places."""
    adapters: Mapping[str, Mapping[str, str]]
    """Of each model, by name."""
    docs: tuple[str, str] | None
    """Name and place of the documents that the first answers from."""
    beside: Collection[str]
    """Models of a whole directory, which are left out where they cannot be opened."""

    @property
    def names(self) -> list[str]:
        """Of models and documents."""
        return [*self.models, *([self.docs[0]] if self.docs else [])]


def _wanted(
    source: str,
    config: ServeConfig,
    name: str | None,
    models: Mapping[str, str],
    adapters: Mapping[str, str],
    docs: str | None,
    directory: str | None,
    progress: Progress,
) -> _Wanted:
    """Raises ConfigError for names that cannot be, or that two have."""
    first = name or name_of(source)
    every = {first: source, **models}
    own = _by_model(adapters, every)
    docs_name = name_of(docs) if docs is not None else ""
    named_docs = [docs_name] if docs is not None else []
    _check_names([*every, *named_docs, *(each for its in own.values() for each in its)])
    if name_of(source) in models and name is None:
        raise ConfigError(f"two models are named '{name_of(source)}'; choose another name for one")
    if docs_name and docs_name in every:
        raise ConfigError(
            f"the documents and a model are both named '{docs_name}'; choose another for "
            "the model with --name"
        )
    beside: set[str] = set()
    if directory is not None:
        for called, inside in models_in(directory, progress).items():
            if called not in every and Path(inside).resolve() != Path(source).resolve():
                every[called], own[called] = inside, {}
                beside.add(called)
    for pinned in config.pin:
        if pinned not in every:
            raise ConfigError(
                f"--pin {pinned}: there is no model of this name; there are: {', '.join(every)}"
            )
    return _Wanted(first, every, own, (docs_name, docs) if docs else None, beside)


def _described(
    places: Sequence[_Place], beside: Collection[str], progress: Progress
) -> dict[str, list[Served]]:
    """What the files of models say that are not opened yet, by name: what is wrong with one is said
    before others are opened, and one of a whole directory (``beside``) is left out instead.
    """
    found: dict[str, list[Served]] = {}
    for place in places:
        with progress.task(f"looking at {place.name}"):
            try:
                found[place.name] = place.summarize(progress)
            except LinnetError as error:
                if place.name not in beside:
                    raise
                progress.warn(f"{place.name}: left out, as it cannot be served: {error}")
    return found


def keep_alive_of(given: str) -> float:
    """``--keep-alive`` in seconds; ``forever`` keeps models until memory is needed."""
    return math.inf if given == FOREVER else parse_duration(given)


def _check_names(names: Sequence[str]) -> None:
    for known in names:
        if not _NAME.fullmatch(known):
            raise ConfigError(
                f"a model's name must begin with a letter or digit and consist of these and "
                f"./:@_-. Got '{known}': choose one with --name or NAME=DIRECTORY"
            )


def _require_space(sources: Sequence[ModelSource], settings: PoolSettings) -> None:
    """Raise ConfigError for a model that the memory would never hold."""
    pinned = sum(source.bytes for source in sources if source.pinned)
    for source in sources:
        needed = source.bytes if source.pinned else source.bytes + pinned
        if needed > settings.memory:
            beside = " with those that are pinned" if pinned and not source.pinned else ""
            raise ConfigError(
                f"{source.name} needs about {human_bytes(needed)}{beside}, but models may take "
                f"{human_bytes(settings.memory)}; raise --model-memory, or leave it out"
            )


def models_in(directory: str, progress: Progress = SILENT) -> dict[str, str]:
    """The models in a directory, by name: each a directory or a GGUF file of its own.

    What is none is left out, and said to be. Raises ConfigError where there is no such directory.
    """
    place = Path(directory).expanduser()
    if not place.is_dir():
        raise ConfigError(f"--models {directory}: expected a directory with models")
    found: dict[str, str] = {}
    left_out = []
    for each in sorted(place.iterdir()):
        if each.name.startswith("."):
            continue
        if not (each.suffix == ".gguf" or _is_model(each)):
            left_out.append(each.name)
        elif not _NAME.fullmatch(name := name_of(str(each))) or name in found:
            left_out.append(f"{each.name} (no name for a model, or one that is taken)")
        else:
            found[name] = str(each)
    if left_out:
        some = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        progress.warn(f"{directory}: left out, as they are no models: {some}")
    return found


def _is_model(place: Path) -> bool:
    from linnet.answers.opening import has_documents

    if not place.is_dir():
        return False
    inner = model_directory(place)
    signs = ("config.json", "adapter_config.json", "modules.json")
    return any((inner / sign).is_file() for sign in signs) or has_documents(place)


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
    path = Path(source).expanduser().resolve()
    if path.suffix == ".gguf":
        return path.stem
    on_hub = parse(source)
    if on_hub is not None:
        return on_hub.name
    return path.parent.name if path.name == "model" and path.parent.name else path.name


@dataclass(frozen=True)
class _Place:
    """A model, with its adapters and the documents that it answers from, as it is named to us."""

    name: str
    source: str
    config: ServeConfig
    adapters: Mapping[str, str]
    docs: tuple[str, str] | None
    """Name and directory of documents."""
    routing: OpenRouting | None = None
    """Models beyond this machine, and what may not go there."""
    is_routed: bool = False
    """Whether, for each call, it is chosen between this and these."""
    seen: dict[Hashable, int] = field(default_factory=dict)
    """When each version was opened first, which is when it counts as created."""

    def open(self, progress: Progress) -> list[Served]:
        """Open all of it. Raises LinnetError."""
        created = self.seen.setdefault(self.version(), int(time.time()))
        found = [
            dataclasses.replace(model, created=created)
            for model in _open(self.name, self.source, self.config, self.adapters, progress)
        ]
        try:
            if self.docs is not None:
                name, place = self.docs
                found.append(_documents(name, place, self.config, found[0], self.source, progress))
            if self.routing is not None:
                self._route(self.routing, found, progress)
            for model in found:  # found out now, not while the first request waits
                if (refusal := model.refusal) is not None and not refusal.is_without_template:
                    progress.warn(f"{model.name} cannot converse: {refusal}")
        except BaseException:
            found[0].close()
            raise
        return found

    def _route(self, routing: OpenRouting, found: list[Served], progress: Progress) -> None:
        """Keep here what may not leave, and add what chooses who answers."""
        documents = next((model for model in found if model.assistant is not None), None)
        if documents is not None and documents.assistant is not None:
            routing.protect(documents.assistant)
        if self.is_routed:
            place = self.docs[1] if self.docs is not None else self.source
            found.append(routed(routing, documents or found[0], place))
            for pattern in routing.policy.protected.unmatched():
                progress.warn(f"{routing.file}: no document falls under '{pattern}'")

    def reopen(self) -> list[Served]:
        """Open it once more, while the server runs."""
        return self.open(_Logged(self.name))

    def version(self) -> Hashable:
        """Another value once its files were replaced; None while they are not there."""
        place = Path(self.source).expanduser()
        if parse(self.source) is not None and not place.exists():
            return "hub"  # what was downloaded does not change
        if place.is_dir():
            place = model_directory(place)
        return memory.version_of(place, *map(Path, self.adapters.values()))

    def summarize(self, progress: Progress) -> list[Served]:
        """What its files say of it. Raises LinnetError for what could not be opened."""
        summary = _summary(self.source, self.config, self.adapters, self.name, progress)
        of_adapter = dataclasses.replace(summary, bytes=0)
        for name, directory in self.adapters.items():
            require_adapter_name(name)
            if not (Path(directory) / "adapter_config.json").is_file():
                raise ModelError(f"{directory}: expected an adapter's directory")
        return [
            Served(self.name, summary=summary),
            *(Served(each, summary=of_adapter, parent=self.name) for each in self.adapters),
        ]


def open_routing(config: ServeConfig) -> OpenRouting | None:
    """What the settings name of models beyond this machine. Raises ConfigError."""
    if config.routing is None:
        return None
    from linnet.routing.opening import OpenRouting

    return OpenRouting.open(config.routing)


def routed(routing: OpenRouting, served: Served, place: str) -> Served:
    """What answers each call with this model or documents, or with a model elsewhere.

    ``place``: the directory that it was opened from. Raises ConfigError for what cannot converse.
    """
    if not served.is_chat or served.responder is None:
        raise ConfigError(
            f"--routing chooses who answers conversations, and '{served.name}' does not hold any"
        )
    documents = place if served.has_documents else None
    return Served(
        AUTO, answering=routing.auto(served.responder, place=documents), parent=served.name,
        assistant=served.assistant, workspace=served.workspace, upkeep=served.upkeep,
    )  # fmt: skip


def remote_models(routing: OpenRouting) -> list[Served]:
    """Those beyond this machine, by the names that requests choose them by."""
    return [Served(name, answering=routing.named(name)) for name in routing.remote]


def _check_routed(routing: OpenRouting, names: Collection[str]) -> None:
    """Raise ConfigError for two models of one name."""
    for name in (AUTO, *routing.remote):
        if name in names:
            raise ConfigError(
                f"{routing.file} has a model '{name}', and so is one here called; choose another "
                "name with --name or NAME=DIRECTORY"
            )


def _source(place: _Place, models: Sequence[Served], *, pinned: bool = False) -> ModelSource:
    """``models``: as they are open, or described."""
    described = [
        Served(m.name, parent=m.parent, summary=m.summary or summary_of(m), created=m.created)
        for m in models
    ]
    size = sum(each.summary.bytes for each in described if each.summary is not None)
    return ModelSource(
        place.name, described, place.reopen, bytes=size, version=place.version, pinned=pinned
    )


def summary_of(served: Served) -> Summary:
    """What is known of an open model."""
    return Summary(
        is_chat=served.is_chat,
        makes_embeddings=served.encoder is not None,
        documents=len(served.assistant.index) if served.assistant is not None else None,
        context=served.context,
        bytes=memory.memory_of([served]) if served.parent is None else 0,
    )


def _summary(
    source: str,
    config: ServeConfig,
    adapters: Mapping[str, str],
    name: str,
    progress: Progress,
) -> Summary:
    """What the files of a model say. Raises LinnetError for what could not be opened."""
    from linnet import hub
    from linnet.answers.opening import has_documents
    from linnet.model.config_file import read_config_file
    from linnet.model.families import family

    if has_documents(source):
        from linnet.retrieval import Index

        if adapters:
            raise ConfigError(f"{source} holds documents, which have no adapters")
        with Index.open(source) as index:
            size = memory.index_memory(index.path)
            return Summary(is_chat=True, documents=len(index), bytes=size)
    place = Path(source).expanduser()
    if place.suffix == ".gguf" or place.is_file():
        return _file_summary(place, config, adapters, name)
    path = hub.find(model_directory(place) if place.exists() else source, progress=progress).path
    base = path
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        from linnet.model.adapter import adapter_base

        base = hub.find(adapter_base(path), progress=progress).path
    encoder = is_encoder(path)
    if encoder and (base / "modules.json").is_file():
        from linnet.generate.pooling import read_recipe

        base, _ = read_recipe(base)
    if encoder and adapters:
        raise ConfigError(f"{source}: an encoder is served without adapters")
    values = read_config_file(base)
    shape = family(values.get("model_type")).read(values)
    context = min(config.context or shape.context, shape.context)
    size = memory.checkpoint_memory(base, shape, config)
    if encoder:
        return Summary(makes_embeddings=True, context=context, bytes=size)
    from linnet.generate.tokenization import CheckpointTokenizer
    from linnet.tokenizer import load

    tokenizer = CheckpointTokenizer(load(path if _has_tokenizer(path) else base))

    def prompt(messages: Sequence[Mapping[str, str]]) -> object:
        return tokenizer.chat(
            messages, tools=(), variables={}, add_generation_prompt=True,
            continue_final_message=False,
        )  # fmt: skip

    return Summary(is_chat=_converses(prompt, name, progress), context=context, bytes=size)


def _file_summary(
    file: Path, config: ServeConfig, adapters: Mapping[str, str], name: str
) -> Summary:
    from linnet.generate.engines import engine_of_file
    from linnet.generate.llama_cpp.tokenization import GgufTokenizer
    from linnet.gguf.metadata import read_metadata

    engine_of_file(file, config, adapters=adapters)
    metadata = read_metadata(file)
    template = GgufTokenizer(metadata).chat_template
    is_chat = template is not None and _converses(
        lambda messages: template.render(list(messages), add_generation_prompt=True), name, SILENT
    )
    return Summary(
        is_chat=is_chat,
        context=min(config.context or metadata.context, metadata.context),
        bytes=memory.file_memory(metadata, config),
    )


def _converses(
    prompt: Callable[[Sequence[Mapping[str, str]]], object], name: str, progress: Progress
) -> bool:
    refusal = refusal_of(prompt, name)
    if refusal is not None and not refusal.is_without_template:
        progress.warn(f"{name} cannot converse: {refusal}")
    return refusal is None


def _has_tokenizer(path: Path) -> bool:
    return any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


class _Logged(Progress):
    """What opening a model warns of goes to the log."""

    def __init__(self, name: str) -> None:
        self._name = name

    def warn(self, text: str) -> None:
        """See :class:`Progress`."""
        facts = {"model": self._name, "warning": without_paths(text)}
        LOGGER.warning("opening a model", extra={"facts": facts})


def _open(
    name: str,
    source: str,
    config: ServeConfig,
    adapters: Mapping[str, str],
    progress: Progress,
) -> list[Served]:
    """A model and its adapters, or documents that the passages themselves answer from."""
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

"""``linnet serve``: a model behind OpenAI's interface, with a page to chat."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import err, terminal_progress
from linnet.config import replace
from linnet.errors import ConfigError
from linnet.output import human_bytes
from linnet.serve.catalog import AUTO
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    from linnet.routing.opening import OpenRouting
    from linnet.serve.catalog import Served
    from linnet.serve.server import Server

_THREAD_SECONDS = 1.0

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(ServeConfig)
def serve(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model, project or adapter directory, a .gguf file, a hub name; or the "
            "documents of 'linnet index'.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What the model is called; otherwise as its directory.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="NAME=DIRECTORY: one more model; several times.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=DIRECTORY: an adapter of the first model; MODEL+NAME=DIRECTORY: of another; "
            "several times.",
            rich_help_panel="Models",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="More models: each directory and .gguf file in this one, by name.",
            rich_help_panel="Models",
        ),
    ] = None,
    docs: Annotated[
        str | None,
        typer.Option(metavar="INDEX", help="Documents that the model answers from, by their name."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Answer over HTTP: interfaces of OpenAI, Anthropic and Ollama for programs, a page for people.

    Example: linnet serve notes-model --port 8080
    """
    config = replace(ServeConfig(), settings)
    more, adapters = _named(model, "--model"), _named(adapter, "--adapter")
    from linnet.serve.server import Server, bind, require_server

    require_server()
    from linnet.serve.conversations import ConversationStore
    from linnet.serve.keys import key_ring
    from linnet.serve.logs import log_to_stderr
    from linnet.serve.sources import open_catalog, open_routing

    key_ring(config)  # what is wrong with keys, file and port is said before models are opened
    if config.conversations is not None:
        ConversationStore(config.conversations, keep_days=config.keep_days).close()
    listener = bind(config)
    try:
        catalog = open_catalog(
            source, config, name=name, models=more, adapters=adapters, docs=docs,
            directory=models, routing=open_routing(config), progress=terminal_progress(),
        )  # fmt: skip
        server = Server(catalog, config, listener=listener)
    except BaseException:
        listener.close()
        raise
    log_to_stderr(config.log)
    _greet(server)
    server.run()
    if server.hurried or _works_on():
        sys.stderr.flush()
        os._exit(0)


def _works_on() -> bool:
    """Whether a thread still reads a prompt or is in native code; Python would wait for it."""
    until = time.monotonic() + _THREAD_SECONDS
    main = threading.main_thread()
    for thread in threading.enumerate():
        if thread is not main and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                return True
    return False


def _named(given: list[str] | None, flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, directory = text.partition("=")
        if not (separator and name and directory):
            raise ConfigError(f"{flag} must be NAME=DIRECTORY. Got '{text}'")
        if name in found:
            raise ConfigError(f"{flag}: two are named '{name}'; choose another name for one")
        found[name] = directory
    return found


def _greet(server: Server) -> None:
    routing = server.catalog.routing
    for served in server.catalog.models.values():
        if routing is not None and served.name in (AUTO, *routing.remote):
            err.print(f"{served.name}: {_about_routed(routing, served)}", markup=False)
            continue
        if served.summary is not None:
            size = human_bytes(served.summary.bytes) if served.parent is None else ""
            about = f" (about {size} of memory)" if size else ""
            err.print(f"{served.name}: opened when it is used{about}", markup=False)
            continue
        if served.assistant is not None:
            count = len(served.assistant.index)
            by = getattr(served.assistant.writer, "name", "the passages themselves")
            err.print(
                f"{served.name}: {count:,} passages of documents, answered by {by}", markup=False
            )
            continue
        what = served.engine or served.encoder
        assert what is not None
        kind = type(what).__name__ + (f" in {what.precision}" if what.precision else "")
        err.print(f"{served.name}: {kind}, {served.context:,} tokens of context", markup=False)
        if what.advice:
            err.print(what.advice, markup=False)
    if server.config.monitor is not None:
        with_contents = ", with questions and answers" if server.config.monitor_contents else ""
        err.print(
            f"a line about each answer is kept in {server.config.monitor}{with_contents}",
            markup=False,
        )
    if server.config.conversations is not None:
        err.print(f"conversations are kept in {server.config.conversations}", markup=False)
    ring, routing = server.service.doorkeeper.ring, server.service.catalog.routing
    if routing is not None:
        restricted = [name for name in routing.settings.policy.keys if name not in ring.names]
        for unknown, subject in (
            (routing.settings.budget.unknown_keys(ring.names), "a budget"),
            (restricted, "a rule of the policy"),
        ):
            if unknown:
                err.print(
                    f"{routing.file}: there is {subject} for keys that are not there yet: "
                    f"{', '.join(unknown)}; 'linnet keys add' makes them",
                    markup=False,
                )
    keys = len(ring)
    guarded = f"{keys} key{'s' if keys > 1 else ''}" if keys else "no key needed"
    err.print(f"{server.url} ({guarded}); Ctrl-C stops", markup=False)


def _about_routed(routing: OpenRouting, served: Served) -> str:
    """What is chosen for each call, or where a model elsewhere is and what it asks."""
    if served.name == AUTO:
        return f"{served.parent}, or one of {', '.join(routing.remote)}, by what is asked"
    config = routing.settings.models[served.name]
    price = "no price is given"
    if config.priced:
        price = f"{config.input:g} and {config.output:g} {routing.settings.currency} a million"
    return f"{config.model} at {config.address} ({served.place}; {price})"

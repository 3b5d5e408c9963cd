"""Answering over HTTP, as OpenAI's clients expect it.

In reading order: ``settings``, ``server`` (listening and stopping), ``app`` (what every request
goes through: ``origin``, ``keys``, ``limits``, ``validation``), ``endpoint`` and ``endpoints`` (one
declaration each, of which ``openapi`` is made), ``service`` (what they share), ``streaming`` and
``shapes`` (from a responder's pieces to the client), ``catalog``, ``pool`` and ``sources`` (models
by name, in memory, from files), ``conversations`` (what is kept, in
``kept_items``, until it goes by ``retention``), ``metrics``, ``logs``.

    from linnet.serve import ServeConfig, Server, open_catalog
    Server(open_catalog("notes-model", ServeConfig()), ServeConfig()).run()
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    from linnet.serve.catalog import Catalog, Served
    from linnet.serve.server import Server
    from linnet.serve.sources import open_catalog

__all__ = ["Catalog", "ServeConfig", "Served", "Server", "open_catalog"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Catalog": ("linnet.serve.catalog", "Catalog"),
        "Served": ("linnet.serve.catalog", "Served"),
        "Server": ("linnet.serve.server", "Server"),
        "open_catalog": ("linnet.serve.sources", "open_catalog"),
    },
)

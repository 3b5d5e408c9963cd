"""Answering over HTTP, as OpenAI's clients expect it.

In reading order: ``settings``, ``running`` (listening and stopping), ``app`` (the paths),
``gate`` (who may come in), ``service`` (the endpoints), ``asking`` (from a body to requests of the
engine), ``generation`` and ``delivery`` (from the engine to the client), ``rendering`` (the
shapes of answers), ``tools``, ``keys`` and ``limits``, ``metrics``, ``openapi``.

    from linnet.serve import ServeConfig, Server, open_catalog
    Server(open_catalog("notes-model", ServeConfig()), ServeConfig()).run()
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    from linnet.serve.catalog import Catalog, Served, open_catalog
    from linnet.serve.running import Server

__all__ = ["Catalog", "ServeConfig", "Served", "Server", "open_catalog"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Catalog": ("linnet.serve.catalog", "Catalog"),
        "Served": ("linnet.serve.catalog", "Served"),
        "Server": ("linnet.serve.running", "Server"),
        "open_catalog": ("linnet.serve.catalog", "open_catalog"),
    },
)

"""The application: every path with its endpoint."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from linnet.errors import ConfigError
from linnet.serve.gate import Gate, Route
from linnet.serve.keys import KeyRing, default_file
from linnet.serve.limits import Doorkeeper
from linnet.serve.openapi import describe
from linnet.serve.service import Service
from linnet.serve.static import static_files

if TYPE_CHECKING:
    from linnet.serve.catalog import Catalog
    from linnet.serve.settings import ServeConfig

BODIES = 4
"""So many of the largest bodies are held at once; smaller ones accordingly more."""
LEAST_BODIES = 16_000_000
KEY_VARIABLE = "LINNET_API_KEY"


def key_ring(config: ServeConfig) -> KeyRing:
    """The keys that the settings name. Raises ConfigError where none guards an open address."""
    if config.without_keys:
        return _no_keys(config)
    file = config.keys or default_file()
    if config.keys is not None and not config.keys.exists():
        raise ConfigError(f"{file}: there are no keys; make one with 'linnet keys add NAME'")
    given = [key for key in (config.api_key, _key_of_environment(config)) if key]
    ring = KeyRing(file, list(dict.fromkeys(given)))
    if not ring.required and not config.is_local:
        raise ConfigError(
            f"at {config.host} others can reach the server, so it needs a key: make one with "
            "'linnet keys add NAME', or say --without-keys to answer anyone"
        )
    return ring


def _key_of_environment(config: ServeConfig) -> str | None:
    """The key in the variable, by the rules of the one in the settings."""
    key = os.environ.get(KEY_VARIABLE) or None
    try:
        return dataclasses.replace(config, api_key=key).api_key
    except ConfigError as error:
        raise ConfigError(f"{KEY_VARIABLE}: {error}") from None


def _no_keys(config: ServeConfig) -> KeyRing:
    """A ring of none, whatever the user's own file or the environment hold."""
    for flag, given in (("--keys", config.keys), ("--api-key", config.api_key)):
        if given is not None:
            raise ConfigError(
                f"{flag} asks for a key and --without-keys for none; give one of the two"
            )
    return KeyRing(None)


def make_service(catalog: Catalog, config: ServeConfig) -> Service:
    """What answers, with its keys and limits."""
    doorkeeper = Doorkeeper(
        key_ring(config),
        most=config.max_requests,
        body_bytes=max(LEAST_BODIES, BODIES * config.max_body),
    )
    return Service(catalog, config, doorkeeper)


def make_app(service: Service) -> Gate:
    """The ASGI application of a service."""
    routes = {
        "/v1/chat/completions": Route("POST", service.chat),
        "/v1/completions": Route("POST", service.completion),
        "/v1/embeddings": Route("POST", service.embeddings),
        "/v1/models": Route("GET", service.models),
        "/tokenize": Route("POST", service.tokenize),
        "/detokenize": Route("POST", service.detokenize),
        "/metrics": Route("GET", service.figures),
        "/health": Route("GET", service.health, is_open=True),
        "/openapi.json": Route("GET", describe, is_open=True),
    }
    page = {path: Route("GET", file.answer, is_open=True) for path, file in static_files().items()}
    return Gate(service, {**page, **routes}, {"/v1/models/": Route("GET", service.model)})

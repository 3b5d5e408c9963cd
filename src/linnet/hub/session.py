"""Talking to the hub: quietly, without telemetry, and with errors of one line.

Through ``huggingface_hub``, which finds the user's token and the address
(``HF_ENDPOINT``) itself. Nothing here is imported until the hub is used.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json
from linnet.errors import LinnetError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from huggingface_hub import HfApi

DEFAULT_ENDPOINT = "https://huggingface.co"
LOGIN = "log in with 'hf auth login'"
_NETWORK_PACKAGES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


LARGEST_ANSWER = 64 << 20  # bytes of JSON; a repository of 100,000 files takes a third
_LARGEST_REFUSAL = 1 << 16
_JSON_SECONDS = 120.0
_SILENT_SECONDS = 30.0


class UnreachableError(ModelError):
    """The hub does not answer."""


def endpoint() -> str:
    """The hub's address."""
    return os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")


def is_offline() -> bool:
    """Whether the user forbids the network (``HF_HUB_OFFLINE=1``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def require_library(purpose: str) -> None:
    """Raise MissingExtraError unless huggingface_hub is installed."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise MissingExtraError("huggingface_hub", purpose) from None


def cache_directory() -> Path:
    """Where the hub's tools keep what they downloaded: shared with them."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)).expanduser()


def api() -> HfApi:
    """The hub's interface; the token is the user's, as huggingface_hub finds it."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint())


@contextmanager
def streamed(url: str, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A response of the hub whose body is still to come; raises what huggingface_hub raises.

    The user's token goes to the hub alone: both httpx and requests leave it out where a redirect
    leads to another host.
    """
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    session: Any = get_session()
    sent = {**build_hf_headers(), "Accept-Encoding": "identity", **(headers or {})}
    if callable(getattr(session, "stream", None)):  # httpx, which huggingface_hub has from 1.0
        opened = session.stream(
            "GET", url, headers=sent, follow_redirects=True, timeout=_SILENT_SECONDS
        )
    else:
        opened = session.get(url, headers=sent, stream=True, timeout=_SILENT_SECONDS)
    with opened as response:
        if response.status_code >= 400:
            # What the hub says of it is looked at, but not without end.
            said = b""
            for chunk in chunks(response, _LARGEST_REFUSAL):
                said += chunk
                if len(said) >= _LARGEST_REFUSAL:
                    break
            response._content, response._content_consumed = said[:_LARGEST_REFUSAL], True
            hf_raise_for_status(response)
        yield response


def chunks(response: Any, size: int) -> Iterator[bytes]:
    """The body as it comes."""
    if hasattr(response, "iter_bytes"):
        yield from response.iter_bytes(size)
    else:
        yield from response.iter_content(size)


def get_json(url: str) -> Any:
    """A JSON answer of bounded length. Raises ModelError for a longer one, or none."""
    body, end = bytearray(), time.monotonic() + _JSON_SECONDS
    with streamed(url) as response:
        for chunk in chunks(response, 1 << 16):
            body += chunk
            if len(body) > LARGEST_ANSWER or time.monotonic() > end:
                raise ModelError(
                    f"{url}: the hub's answer does not end: expected at most {LARGEST_ANSWER:,} "
                    f"bytes in {_JSON_SECONDS:.0f} seconds. Got {len(body):,} so far"
                )
    try:
        return parse_json(body.decode("utf-8"))
    except ValueError as error:
        raise ModelError(f"{url}: expected JSON of the hub, but {error}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, huggingface_hub draws no bars, logs no advice and sends no telemetry."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    bars, level = not are_progress_bars_disabled(), logging.get_verbosity()
    telemetry = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity(ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


@contextmanager
def hub_errors_named(name: str) -> Iterator[None]:
    """Calls about the repository ``name``: what goes wrong becomes one line that says what to do.

    Raises UnreachableError without a connection, ModelError for what the hub refuses.
    """
    try:
        with quiet():
            yield
    except LinnetError:
        raise
    except Exception as error:
        told = _told(name, error)
        if told is None:
            raise
        raise told from None


def broke_off(error: Exception) -> bool:
    """Whether this is the network's fault."""
    return type(error).__module__.partition(".")[0] in _NETWORK_PACKAGES


def _told(name: str, error: Exception) -> ModelError | None:
    from huggingface_hub import errors

    address = f"{endpoint()}/{name}"
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{name}: its owner gives it only to those who agree to conditions; "
            f"accept them at {address}, then {LOGIN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"{name}: there is no such repository on the hub, or it is private; "
            f"check the name at {address}, or {LOGIN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(f"{name}: there is no such revision; see {address}/tree/main")
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{name}: {reason}")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ModelError(
            f"{name}: the hub does not allow it with the token used here; "
            f"{LOGIN}, with a token that has the right to ({status})"
        )
    if status is not None and status < 500:
        return ModelError(f"{name}: the hub refuses ({reason})")
    if status is not None or broke_off(error):
        return UnreachableError(
            f"{name}: the hub at {endpoint()} does not answer ({type(error).__name__}); check the "
            "connection and run the same command again: it goes on where it was"
        )
    if isinstance(error, errors.EntryNotFoundError | errors.OfflineModeIsEnabled):
        return ModelError(f"{name}: {reason}")
    return None

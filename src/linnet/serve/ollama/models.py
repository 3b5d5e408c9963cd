"""Models as Ollama's clients see them described."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError
from linnet.respond.engine import EngineResponder
from linnet.serve.catalog import LATEST

if TYPE_CHECKING:
    from linnet.serve.catalog import Served
    from linnet.serve.pool import LoadedModel

_FAMILY = "linnet"
"""What stands for an architecture: it only names the fields under it."""
_YEAR_NEVER = "2318-01-01T00:00:00Z"
"""When a model is unloaded that stays, as Ollama has it: in a few hundred years."""


def tag(model: Served, *, size: int = 0) -> dict[str, Any]:
    """A model as ``/api/tags`` lists it. ``size``: its bytes, where they are known."""
    name = tagged(model.name)
    return {
        "name": name,
        "model": name,
        "modified_at": _time(model.created),
        "size": size,
        "digest": hashlib.sha256(f"{model.name} {model.created}".encode()).hexdigest(),
        "details": details(model),
    }


def loaded(model: Served, state: LoadedModel) -> dict[str, Any]:
    """A model that is open, as ``/api/ps`` lists it."""
    expires = _YEAR_NEVER if state.expires_at is None else _time(state.expires_at)
    entry = tag(model, size=state.bytes)
    del entry["modified_at"]
    return {**entry, "expires_at": expires, "size_vram": 0, "context_length": model.context}


def shown(model: Served) -> dict[str, Any]:
    """A model as ``/api/show`` describes it."""
    about: dict[str, Any] = {"general.architecture": _FAMILY}
    if model.context:
        about[f"{_FAMILY}.context_length"] = model.context
    if model.encoder is not None:
        about[f"{_FAMILY}.embedding_length"] = model.encoder.width
    return {
        "modelfile": f"FROM {model.name}\n",
        "parameters": f"num_ctx    {model.context}" if model.context else "",
        "template": _template(model),
        "license": "",
        "details": details(model),
        "model_info": about,
        "capabilities": capabilities(model),
        "modified_at": _time(model.created),
    }


def details(model: Served) -> dict[str, Any]:
    """What is known of a model in a few words."""
    precision = model.engine.precision if model.engine is not None else ""
    return {
        "parent_model": model.parent or "",
        "format": "gguf" if precision.startswith("q") else "",
        "family": _FAMILY,
        "families": [_FAMILY],
        "parameter_size": "",
        "quantization_level": precision.upper(),
    }


def capabilities(model: Served) -> list[str]:
    """What it can do, by Ollama's names."""
    if model.makes_embeddings:
        return ["embedding"]
    found = ["completion"]
    responder = model.responder
    if responder is not None and model.is_chat and model.assistant is None:
        found += ["tools"] if responder.abilities.tools else []
    if isinstance(responder, EngineResponder):
        found += ["thinking"] if _thinks(responder) else []
        found += ["insert"] if responder.infill is not None else []
    return found


def tagged(name: str) -> str:
    """A name with a version."""
    return name if ":" in name else name + LATEST


def _thinks(responder: EngineResponder) -> bool:
    """Whether its template lets one choose whether it thinks."""
    asked: list[Mapping[str, Any]] = [{"role": "user", "content": "a"}]
    try:
        prompts = [
            responder.engine.chat_prompt(asked, enable_thinking=think) for think in (True, False)
        ]
    except LinnetError:
        return False
    return prompts[0] != prompts[1]


def _template(model: Served) -> str:
    """How prompts are written, as far as it can be said in Ollama's own notation: some clients look
    for ``.Suffix`` in it.
    """
    responder = model.responder
    if not isinstance(responder, EngineResponder):
        return ""
    if responder.infill is None:
        return "{{ .Prompt }}"
    marks = responder.infill.format
    before, after = f"{marks.prefix}{{{{ .Prompt }}}}", f"{marks.suffix}{{{{ .Suffix }}}}"
    filled = f"{before}{after}{marks.middle}" if marks.middle else after + before
    return f"{{{{ if .Suffix }}}}{filled}{{{{ else }}}}{{{{ .Prompt }}}}{{{{ end }}}}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

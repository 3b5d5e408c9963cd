"""Whether a model was taught to converse, or only continues text.

A chat template alone does not say so: every model built here from scratch has one,
ready for fine-tuning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.config import parse_json
from linnet.errors import LinnetError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path


def converses(directory: Path) -> bool:
    """Whether the model in ``directory`` answers in turns, by its chat template.

    Of a model that Linnet did not make its template tells.
    """
    if not has_template(directory):
        return False
    try:
        manifest = artifact.read(directory).manifest
    except LinnetError:
        return True
    return taught(manifest.inputs, manifest.config)


def taught(inputs: Container[str], config: Mapping[str, Any]) -> bool:
    """Whether what was made from ``inputs`` with these settings saw its template in training."""
    return ("base" in inputs or "adapter" in inputs) and config.get("template") != "none"


def has_template(directory: Path) -> bool:
    """Whether there is a chat template beside the model."""
    if (directory / "chat_template.jinja").is_file():
        return True
    try:
        text = (directory / "tokenizer_config.json").read_text(encoding="utf-8")
        return bool(parse_json(text).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False

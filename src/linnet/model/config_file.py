"""The JSON files of a model directory: its configuration and its generation settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linnet.config import read_json
from linnet.errors import ModelError

CONFIG = "config.json"
GENERATION = "generation_config.json"
LIMIT = 1 << 20  # bytes; these are a few kilobytes


def read_config_file(path: Path) -> dict[str, Any]:
    """The ``config.json`` of a model directory. Raises ModelError when there is none to read."""
    if not path.exists():
        raise ModelError(f"{path}: expected a model directory, but it does not exist")
    if not (path / CONFIG).is_file():
        raise ModelError(f"{path}: expected a model directory, but it has no {CONFIG}")
    return read_object(path / CONFIG)


def read_generation_file(path: Path) -> dict[str, Any]:
    """The ``generation_config.json`` of a model directory; empty where there is none."""
    file = path / GENERATION
    return read_object(file) if file.is_file() else {}


def read_object(file: Path, *, limit: int = LIMIT) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelError for anything else."""
    try:
        values = read_json(file, limit=limit)
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object")
    return values

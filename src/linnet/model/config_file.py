"""The JSON files of a model directory: its configuration and its generation settings.

They come from strangers: only regular files are opened, size is bounded before they are read
and depth before anyone walks through them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linnet.config import read_json
from linnet.errors import ModelError, typed

CONFIG = "config.json"
GENERATION = "generation_config.json"
LIMIT = 1 << 20  # bytes; these are a few kilobytes
DEPTH = 64  # objects and arrays within one another


def read_config_file(path: Path) -> dict[str, Any]:
    """The ``config.json`` of a model directory. Raises ModelError when there is none to read."""
    if not path.exists():
        raise ModelError(f"{path}: expected a model directory, but it does not exist")
    if path.suffix == ".gguf" and path.is_file():
        raise ModelError(
            f"{path}: expected a model directory. Got a GGUF file; make one of it first: "
            f"linnet import {typed(str(path))} --out DIR"
        )
    if not is_regular(path / CONFIG):
        raise ModelError(f"{path}: expected a model directory, but it has no {CONFIG}")
    return read_object(path / CONFIG)


def read_generation_file(path: Path) -> dict[str, Any]:
    """The ``generation_config.json`` of a model directory; empty where there is none."""
    file = path / GENERATION
    return read_object(file) if is_regular(file) else {}


def is_regular(file: Path) -> bool:
    """Whether there is a file. Raises ModelError for what only looks like one: a pipe, a device.

    Opening such a thing can wait forever, or never end.
    """
    if file.is_file():
        return True
    if file.exists():
        raise ModelError(f"{file} must be a regular file, and is not")
    return False


def read_object(file: Path, *, limit: int = LIMIT) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelError for anything else."""
    if not is_regular(file):
        raise ModelError(f"{file} does not exist")
    size = file.stat().st_size
    if size > limit:
        raise ModelError(f"{file} is {size} bytes, too large for a configuration")
    try:
        values = read_json(file, limit=limit)
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {str(error)[:200]}") from None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object")
    if _is_deep(values):
        raise ModelError(f"{file} is damaged: it nests too deeply")
    return values


def _is_deep(values: dict[str, Any]) -> bool:
    level: list[Any] = [values]
    for _ in range(DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True

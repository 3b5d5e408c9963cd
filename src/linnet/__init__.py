"""Linnet: a folder of documents becomes a small language model you run yourself.

The names below are loaded when first used, so ``import linnet`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.generate import load as load

_HOMES: dict[str, str] = {
    "load": "linnet.generate",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'linnet' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = ["__version__"]

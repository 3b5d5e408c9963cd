"""Names that a package offers but loads only when they are used.

So that reading the settings of a stage, for ``--help`` say, does not load torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy(
    package: str, homes: Mapping[str, tuple[str, str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A module's ``__getattr__`` and ``__dir__`` (PEP 562).

    ``homes`` maps a name to its module and name there. Type checkers and editors read the same
    names from imports under ``TYPE_CHECKING``.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module, attribute = homes[name]
        return getattr(importlib.import_module(module), attribute)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return find, names

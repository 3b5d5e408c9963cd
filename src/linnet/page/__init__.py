"""Pages for people: one self-contained file each, no script, nothing loaded from anywhere.

Light and dark by the reader's setting, narrow and wide. What documents are
called, and what a model wrote, is not to be trusted: everything is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from linnet.output import human_bytes

if TYPE_CHECKING:
    from jinja2 import Environment


@cache  # with the templates that it has compiled
def environment(*packages: str) -> Environment:
    """Templates of these packages, with the style they share and filters for figures."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in (__name__, *packages)]),
        autoescape=lambda name: name is None or not name.endswith(".css"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    found.filters.update(size=human_bytes, duration=duration, visible=visible, count=count)
    return found


def duration(seconds: float) -> str:
    """``312.4`` as ``5 min 12 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def visible(text: str) -> str:
    """Control characters as their pictures: they would vanish from the page or break it."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 0x20 and c not in "\n\t" else c for c in text)


def count(number: int) -> str:
    """``12345`` as ``12,345``."""
    return f"{number:,}"

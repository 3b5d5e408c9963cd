"""Guard rails on the way in and out."""

from __future__ import annotations

from functools import cache

from linnet.data.config import DataConfig
from linnet.data.privacy import Scrubbed, Scrubber


@cache
def _scrubber() -> Scrubber:
    return Scrubber.of(DataConfig(privacy="mask"))


def mask_private(text: str) -> Scrubbed:
    """A text with personal data and secrets in it masked."""
    return _scrubber().scrub(text, "prose")

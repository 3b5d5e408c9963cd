"""Uploading to the hub. (Being written.)"""

from __future__ import annotations


class Upload:
    """What would be uploaded."""


def plan_upload() -> None:
    """To come."""


def push() -> None:
    """To come."""

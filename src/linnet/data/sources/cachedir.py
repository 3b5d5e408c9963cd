"""Folders whose content can be had again, marked as such for all programs (bford.info/cachedir)."""

from __future__ import annotations

from pathlib import Path

NAME = "CACHEDIR.TAG"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


def make(folder: Path) -> None:
    """Make a folder with the mark. Backup programs pass over it, and so does a scan."""
    folder.mkdir(parents=True, exist_ok=True)
    tag = folder / NAME
    if not tag.exists():
        tag.write_bytes(SIGNATURE + b"\n# What linnet fetched. See https://bford.info/cachedir/\n")

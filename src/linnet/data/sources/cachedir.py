"""Folders whose content can be had again, marked as such for all programs (bford.info/cachedir)."""

from __future__ import annotations

from pathlib import Path

from linnet.output import create_file, make_inner_directory

NAME = "CACHEDIR.TAG"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


def make(folder: Path) -> None:
    """Make a folder with the mark. Backup programs pass over it, and so does a scan."""
    make_inner_directory(folder)
    tag = folder / NAME
    if not tag.exists():
        with create_file(tag) as file:
            file.write(SIGNATURE + b"\n# What linnet fetched. See https://bford.info/cachedir/\n")

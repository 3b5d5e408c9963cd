"""The patterns that git keeps in a folder: ``.gitignore`` and ``.git/info/exclude``.

Those of a folder hold for all below it, those further down come first
(gitignore(5)). As with git, the folders between the top of the repository and
the one that is read count too, and a link named ``.gitignore`` does not.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from linnet.data.sources.patterns import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FILES = (".gitignore", ".git/info/exclude")  # in the order of their weight
_MOST_BYTES = 1 << 16

Scope = tuple[int, Patterns]
"""Patterns, and how many characters of the path lie above the folder they are from."""


def is_left_out(scopes: Iterable[Scope], path: str, folder: bool) -> bool:
    """Whether ``path``, relative to the outermost scope's folder, is to be passed over. The first
    scope that has a rule for it decides."""
    for above, patterns in scopes:
        decided = patterns.decide(path[above:], folder=folder)
        if decided is not None:
            return decided
    return False


def outer_scopes(root: str) -> tuple[str, tuple[Scope, ...]]:
    """The way from the top of the git repository that ``root`` lies in down to it, and the
    patterns of the folders on the way; ("", ()) outside of a repository."""
    place = os.path.realpath(root)
    above = place
    while not os.path.lexists(os.path.join(above, ".git")):
        if above == os.path.dirname(above):
            return "", ()
        above = os.path.dirname(above)
    scopes: list[Scope] = []
    lead = ""
    for name in os.path.relpath(place, above).split(os.sep):
        if name == ".":
            break
        scopes = [*read_scopes(os.path.join(above, lead), len(lead)), *scopes]
        lead += f"{name}/"
    return lead, tuple(scopes)


def read_scopes(folder: str, above: int) -> Iterator[Scope]:
    """The patterns that a folder's ``.gitignore`` and repository hold. Raises OSError when they
    cannot be read: then what they leave out must not be read either."""
    for relative in _FILES:
        path = os.path.join(folder, relative)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if len(content) > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"its {relative} is too large")
        lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n")
        yield above, Patterns(lines)

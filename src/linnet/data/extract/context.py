"""What a reader of files is given: the settings, its allowance, and a way to read what lies inside.

Documents come from strangers. A file may expand to no more than
``max_expanded_bytes``, whatever is packed in it and however deep, and members
are nested no deeper than ``max_nesting``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING

from linnet.data import kinds
from linnet.data.document import Dropped, Extracted, UnreadableError

if TYPE_CHECKING:
    from linnet.data.config import DataConfig

_CHUNK = 1 << 20


class Allowance:
    """Bytes that reading one file may still bring forth, its members included."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def spend(self, count: int) -> None:
        """Raise UnreadableError when the file has expanded to more than it may."""
        self.left -= count
        if self.left < 0:
            raise UnreadableError("expands to more than max_expanded_bytes", f"{self.limit:,}")


@dataclass(frozen=True)
class Context:
    """What a reader works with.

    ``group`` names the file below its source: documents that are known by their
    place take it as their group. ``scratch`` is a directory for temporary files.
    ``changes`` collects what decoding mends in this file, until a document takes it along.
    """

    config: DataConfig
    group: str
    scratch: Path
    allowance: Allowance
    depth: int = 0
    changes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_file(cls, config: DataConfig, group: str, scratch: Path) -> Context:
        """The context of a file that was found in a source."""
        return cls(config, group, scratch, Allowance(config.max_expanded_bytes))

    def nested(self, name: str, source: IO[bytes]) -> Iterator[Extracted | Dropped]:
        """What is in a member of this file (of an archive, a mail), read as a file of its own.

        A member that cannot be read is Dropped with the reason, so that it costs
        nothing but itself; only a spent allowance ends the whole file.
        """
        from linnet.data.extract import extract

        name = kinds.printable(name)
        if self.depth >= self.config.max_nesting:
            yield Dropped("nested deeper than max_nesting", name)
            return
        if reason := kinds.refusal(os.path.basename(name)):
            yield Dropped(reason, name)
            return
        inner = dataclasses.replace(self, group=f"{self.group}/{name}", depth=self.depth + 1)
        try:
            with self._unpacked(name, source) as path:
                for found in extract(path, kind=kinds.kind_of(name), context=inner):
                    yield dataclasses.replace(found, part=_join(name, found.part))
        except UnreadableError as error:
            if self.allowance.left < 0:
                raise
            yield Dropped(error.reason, name)

    @contextlib.contextmanager
    def _unpacked(self, name: str, source: IO[bytes]) -> Iterator[Path]:
        """The member as a file in ``scratch``, under a name of our own with its suffix."""
        suffix = re.sub(r"[^\w.]", "", "".join(PurePath(name).suffixes[-2:])[-12:])
        handle, place = tempfile.mkstemp(suffix=suffix, dir=self.scratch)
        try:
            with os.fdopen(handle, "wb") as file:
                while chunk := source.read(_CHUNK):
                    self.allowance.spend(len(chunk))
                    file.write(chunk)
            yield Path(place)
        finally:
            os.unlink(place)


def _join(name: str, part: str) -> str:
    return f"{name}/{part}" if part else name

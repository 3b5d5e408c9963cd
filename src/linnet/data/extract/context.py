"""A file to what its reader finds in it, and what a reader is given: settings, its allowance, and
a way to read what lies inside.

Documents come from strangers. A file may expand to no more than
``max_expanded_bytes``, whatever is packed in it and however deep, and members
are nested no deeper than ``max_nesting``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, TypeAlias

from linnet.data import kinds
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.sniff import sniff

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
        name = kinds.printable(name)
        if self.depth >= self.config.max_nesting:
            yield Dropped("nested deeper than max_nesting", name)
            return
        if reason := kinds.refusal(os.path.basename(name), images=self.config.ocr == "tesseract"):
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


Reader: TypeAlias = Callable[[Path, Context], Iterator[Extracted | Dropped]]


def extract(path: Path, *, kind: str | None, context: Context) -> Iterator[Extracted | Dropped]:
    """What is in a file, as its reader found it. ``kind`` None: its first bytes tell.

    Raises UnreadableError when the file yields nothing: it is binary, too
    large, damaged or encrypted. A file that is not what its name says (a page
    saved as .xls) is read as what it is.
    """
    kind = kind or sniff(path)
    found = _reader(kind)(path, context)
    try:
        first = next(found, None)
    except UnreadableError as error:
        found = _reader(_actual_kind(path, kind, error))(path, context)
        try:
            first = next(found, None)
        except UnreadableError:
            raise error from None
    if first is not None:
        for each in itertools.chain([first], found):
            if context.changes and isinstance(each, Extracted):
                changes = dict(context.changes + Counter(each.changes))
                context.changes.clear()
                yield dataclasses.replace(each, changes=changes)
            else:
                yield each


def _actual_kind(path: Path, kind: str, error: UnreadableError) -> str:
    """What a file is that its reader calls damaged. Raises the error if it is nothing else."""
    actual = sniff(path) if error.reason.startswith(("damaged ", "binary file")) else kind
    # A package that lacks what makes it a document is damaged, and no archive of texts.
    if actual in (kind, "archive"):
        raise error
    return actual


def _reader(kind: str) -> Reader:
    module, _, function = kinds.KINDS[kind].reader.partition(":")
    try:
        found: Reader = getattr(importlib.import_module(f"{__package__}.{module}"), function)
    except ModuleNotFoundError as error:
        raise UnreadableError(f"{kind} needs a package that is not installed", str(error)) from None
    return found

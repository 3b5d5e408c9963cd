"""One file to its documents, as a stream: the reader of its kind, then cleaning.

A reader is a function ``(path, context) -> Iterator[Extracted | Dropped]`` in a
module of this package; ``linnet.data.kinds`` says which reads what. It yields
text as it stands in the file (paragraphs parted by a blank line, table rows as
``a | b``), raises UnreadableError when the file yields nothing, and leaves
normalising, repairing and judging to what comes after it.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections import Counter
from typing import TYPE_CHECKING

from linnet.data import kinds
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract.context import Context
from linnet.data.extract.sniff import sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from linnet.data.document import Dropped

    Reader = Callable[[Path, Context], Iterator[Extracted | Dropped]]

FORMAT = 3  # raised when the same file comes to yield other documents

__all__ = ["FORMAT", "Context", "extract"]


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
        found: Reader = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    except ModuleNotFoundError as error:
        raise UnreadableError(f"{kind} needs a package that is not installed", str(error)) from None
    return found

"""One file to its documents, as a stream: the reader of its kind, then cleaning.

A reader is a function ``(path, context) -> Iterator[Extracted | Dropped]`` in a
module of this package; ``linnet.data.kinds`` says which reads what. It yields
text as it stands in the file (paragraphs parted by a blank line, table rows as
``a | b``), raises UnreadableError when the file yields nothing, and leaves
normalising, repairing and judging to what comes after it.
"""

from __future__ import annotations

from linnet.data.extract.context import Context, extract

FORMAT = 5  # raised when the same file comes to yield other documents, blocks or places

__all__ = ["FORMAT", "Context", "extract"]

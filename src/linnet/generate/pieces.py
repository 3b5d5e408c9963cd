"""The pieces of one completion, from the thread of an engine to whoever asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue

from linnet.errors import LinnetError
from linnet.generate.engine import Chunk


class Pieces(Iterator[Chunk]):
    """The pieces as they come. Closed, or forgotten, the work is cancelled."""

    def __init__(
        self,
        pieces: SimpleQueue[Chunk | LinnetError],
        cancel: Callable[[], None],
        *,
        owner: object = None,
    ) -> None:
        """``owner``: the engine, which would be closed if nobody held it."""
        self._pieces = pieces
        self._cancel = cancel
        self._owner = owner
        self._ended = False

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        piece = self._pieces.get()
        if isinstance(piece, LinnetError):
            self._ended = True
            raise piece
        self._ended = piece.finish_reason is not None
        return piece

    def close(self) -> None:
        """Stop the work."""
        if not self._ended:
            self._ended = True
            self._cancel()

    def __del__(self) -> None:
        self.close()

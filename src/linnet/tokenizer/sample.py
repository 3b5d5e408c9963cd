"""A fair sample of a corpus, in one pass and bounded memory.

Documents are cut into pieces, each piece is ranked by the hash of its text, and
the lowest ranks that fit are kept (a bottom-k sketch; Cohen, 1997). The
sample is thus spread evenly over the corpus, the same whatever the order of the
documents, and changes little when a few of them do.
"""

from __future__ import annotations

import hashlib
import heapq
from typing import TYPE_CHECKING

from linnet.tokenizer.cutting import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Small enough that one huge document cannot crowd out the others.
PIECE_CHARACTERS = 1 << 14


def sample(
    texts: Iterable[str], limit: int, *, on_read: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Pieces of the texts, at most ``limit`` bytes in all (but at least one), by rank.

    ``on_read`` is told the size of each text in bytes as it passes.
    """
    kept: list[tuple[int, str]] = []  # a heap with the worst rank on top
    size = 0
    for text in texts:
        text_bytes = 0
        for piece in cut(text, PIECE_CHARACTERS):
            encoded = piece.encode("utf-8", "replace")
            text_bytes += len(encoded)
            rank = int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")
            heapq.heappush(kept, (-rank, piece))
            size += len(encoded)
            while size > limit and len(kept) > 1:
                _, dropped = heapq.heappop(kept)
                size -= len(dropped.encode("utf-8", "replace"))
        on_read(text_bytes)
    return [piece for _, piece in sorted(kept, reverse=True)]

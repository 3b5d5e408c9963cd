"""The longest passage that a text shares, letter for letter, with the training text.

Every passage found is real: rolling hashes of 64 bits only propose where to
look, and every proposal is compared symbol by symbol. Memory is bounded: the
training text streams past in blocks of some million characters, a passage never
crosses two documents, and blocks of one long document overlap by the length of
the longest text.

A passage of length L contains one of length L - 1, so for each text it is
enough to ask of each block whether it has a passage longer than the best so
far; only when it has, a binary search finds how long.

The hash of the window from i to i + L is ``(S[i+L] - S[i]) * r**-i`` with the
prefix sums ``S[i] = c[0] + c[1] r + ... + c[i-1] r**(i-1)`` modulo 2**64. An
odd ``r`` has an inverse there, so all windows of a block take two vector
operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    Symbols: TypeAlias = npt.NDArray[np.uint32]
    Hashes: TypeAlias = npt.NDArray[np.uint64]

BLOCK_CHARACTERS = 1 << 20
RADIX = 0x9E3779B97F4A7C15  # odd, and its bits look random
INVERSE = pow(RADIX, -1, 1 << 64)
BOUNDARY = 0x110000  # beyond the last code point: matches no character


@dataclass(frozen=True)
class Overlap:
    """The longest shared passage of one text."""

    characters: int
    words: int
    text: str


def longest_overlaps(
    texts: Sequence[str], training: Iterable[str], *, block: int = BLOCK_CHARACTERS
) -> list[Overlap]:
    """For each text, the longest passage that occurs in one of the training documents."""
    searches = [_Search(text) for text in texts]
    reach = max((len(text) for text in texts), default=0)
    for symbols in _blocks(training, block, reach):
        hashed = _Hashed(symbols)
        for search in searches:
            search.see(hashed)
    return [search.overlap() for search in searches]


class _Hashed:
    """Symbols with the prefix sums that give the hash of any window."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        powers = _powers(RADIX, len(symbols))
        self.sums = np.zeros(len(symbols) + 1, dtype=np.uint64)
        # Zero is no symbol's value, so that leading zeros cannot hide.
        np.cumsum((symbols.astype(np.uint64) + np.uint64(1)) * powers, out=self.sums[1:])
        self.inverses = _powers(INVERSE, len(symbols))

    def windows(self, length: int) -> Hashes:
        """The hash of every window of that length, by where it starts."""
        if length > len(self.symbols):
            return np.empty(0, dtype=np.uint64)
        count = len(self.symbols) - length + 1
        hashes: Hashes = (self.sums[length:] - self.sums[:count]) * self.inverses[:count]
        return hashes


class _Search:
    """One text and the longest passage of it found so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.own = _Hashed(_symbols(text))
        self.start = 0
        self.length = 0

    def see(self, block: _Hashed) -> None:
        """Look for a passage longer than the best one."""
        step = 1
        while self._find(block, self.length + step):
            step *= 2
        # A passage of ``length + step`` is not there: halve down to the exact length.
        while step > 1:
            step //= 2
            self._find(block, self.length + step)

    def overlap(self) -> Overlap:
        passage = self.text[self.start : self.start + self.length]
        return Overlap(self.length, len(passage.split()), passage)

    def _find(self, block: _Hashed, length: int) -> bool:
        """Whether the block has a passage of that length; if so, it is the best one."""
        own = self.own.windows(length)
        if len(own) == 0:
            return False
        theirs = block.windows(length)
        # The top bits are the well-mixed ones: most windows go by them alone.
        familiar = np.zeros(1 << 16, dtype=bool)
        familiar[own >> np.uint64(48)] = True
        places = np.flatnonzero(familiar[theirs >> np.uint64(48)])
        order = np.argsort(own)
        near = np.searchsorted(own, theirs[places], sorter=order)
        near = np.minimum(near, len(own) - 1)
        agree = own[order[near]] == theirs[places]
        for place, start in zip(places[agree], order[near[agree]], strict=True):
            mine = self.own.symbols[start : start + length]
            if np.array_equal(mine, block.symbols[place : place + length]):
                self.start, self.length = int(start), length
                return True
        return False


def _blocks(documents: Iterable[str], block: int, reach: int) -> Iterator[Symbols]:
    """Documents joined by a boundary, in pieces of about ``block`` symbols."""
    pieces: list[Symbols] = []
    held = 0
    boundary = np.array([BOUNDARY], dtype=np.uint32)
    for text in documents:
        # Pieces of a long document overlap, so that no passage is cut.
        for start in range(0, max(len(text), 1), block):
            piece = _symbols(text[start : start + block + reach])
            pieces += [piece, boundary]
            held += len(piece)
            if held >= block:
                yield np.concatenate(pieces)
                pieces, held = [], 0
    if pieces:
        yield np.concatenate(pieces)


def _symbols(text: str) -> Symbols:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4").astype(
        np.uint32
    )


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)

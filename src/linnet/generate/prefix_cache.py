"""Keys and values of texts read before, for texts that begin alike.

They are kept in pages of a few tokens, each under the page before it and its own tokens, so that
texts with the same beginning share its pages, and a page is found only for exactly the tokens that
it was computed from. What was used longest ago goes first when memory is full; a page is
always used with all that come before it, so that no page outlives those it follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count

from torch import Tensor

PAGE = 32
"""Tokens of a page: what is shared beyond the last whole one is computed again."""

Key = tuple[Hashable, tuple[int, ...]]


@dataclass(frozen=True)
class _Page:
    number: int
    kept: Tensor  # (L, PAGE, 2, G, K)


class PrefixCache:
    """Pages of keys and values under a limit of memory. For one thread.

    ``kind``, in its methods, is what else the values depend on: the adapter, say.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes; 0 keeps nothing."""
        self.limit = limit
        self.bytes = 0
        self._pages: OrderedDict[Key, _Page] = OrderedDict()
        self._numbers = count()

    def find(self, tokens: Sequence[int], kind: Hashable) -> list[Tensor]:
        """The pages that ``tokens`` begin with, in order; never all of a text."""
        found: list[tuple[Key, _Page]] = []
        before = kind
        for start in range(0, len(tokens) - PAGE, PAGE):
            key = (before, tuple(tokens[start : start + PAGE]))
            page = self._pages.get(key)
            if page is None:
                break
            found.append((key, page))
            before = page.number
        self._use([key for key, _ in found])
        return [page.kept for _, page in found]

    def keep(self, tokens: Sequence[int], kind: Hashable, kept: Tensor) -> None:
        """Keep copies of the keys and values ``(L, S, 2, G, K)`` of the first S tokens."""
        keys: list[Key] = []
        before = kind
        for start in range(0, kept.shape[1] - PAGE + 1, PAGE):
            key = (before, tuple(tokens[start : start + PAGE]))
            page = self._pages.get(key)
            if page is None:
                if (len(keys) + 1) * self._size(kept) > self.limit:
                    break
                page = _Page(next(self._numbers), kept[:, start : start + PAGE].clone())
                self._pages[key] = page
                self.bytes += page.kept.nbytes
            keys.append(key)
            before = page.number
        self._use(keys)
        while self.bytes > self.limit:
            _, oldest = self._pages.popitem(last=False)
            self.bytes -= oldest.kept.nbytes

    def clear(self) -> None:
        """Keep nothing."""
        self._pages.clear()
        self.bytes = 0

    def _size(self, kept: Tensor) -> int:
        return kept.nbytes // max(1, kept.shape[1]) * PAGE

    def _use(self, keys: list[Key]) -> None:
        """Mark pages as used now, the later ones of a text as a little longer ago."""
        for key in reversed(keys):
            self._pages.move_to_end(key)

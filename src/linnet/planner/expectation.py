"""What a model will come to, said before it is trained.

Stated as bits per byte relative to what a 5-gram model of bytes achieves on the
same held-out documents: how hard a text is differs far more between corpora
than the ratio does. The constants are fitted to runs in docs/experiments.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

SPREAD = (0.85, 1.2)

if TYPE_CHECKING:
    from linnet.planner.measuring import CorpusFacts


def expected_bits(corpus: CorpusFacts, tokens: int) -> float | None:
    """Bits per byte to expect after training on so many tokens."""
    if corpus.ngram_bits_per_byte is None:
        return None
    return round(corpus.ngram_bits_per_byte * expected_ratio(tokens), 3)


def expected_ratio(tokens: int) -> float:
    """Bits per byte relative to the 5-gram: the curve of simple stories, raised to the middle of
    the other corpora tried, which lie from ``SPREAD[0]`` to ``SPREAD[1]`` times it."""
    return 1.17 * (0.46 + 0.21 * math.sqrt(1e6 / max(tokens, 10_000)))

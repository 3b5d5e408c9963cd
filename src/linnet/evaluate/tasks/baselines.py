"""What simple methods make of the same text, in the same bits per byte.

A score means little alone. Three yardsticks, from crude to respectable, each
given the same sample of the training text:

* ``unigram``: how often each byte occurs.
* ``ngram``: a byte 5-gram that backs off to shorter contexts by Witten and
  Bell's rule (1991, their method C), where a context that was followed by
  ``t`` different bytes in ``n`` occurrences leaves ``t / (n + t)`` of its
  probability to the next shorter one.
* ``xz``: the bytes that the held-out text adds to the compressed training text.

As the model has to predict where a document ends, so do they: bytes are
followed by one end symbol per document, and it is also what stands before a
document's first byte.
"""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from linnet.evaluate.task import Answer, Example, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Counts: TypeAlias = npt.NDArray[np.int64]

BaselineName = Literal["unigram", "ngram", "xz"]
BASELINE_NAMES: dict[str, str] = {
    "unigram": "byte frequencies",
    "ngram": "5-gram of bytes",
    "xz": "xz compression",
}
"""What to call them to people."""

END = 256
SYMBOLS = 257
ORDER = 5
XZ_DICTIONARY = 64 << 20


class ByteNgram:
    """Interpolated Witten-Bell over bytes and the end of a document.

    For each context length it holds the sorted grams with their counts, and
    the sorted contexts with how often they occurred and how many different
    symbols followed. A gram is one number: its symbols are the digits, in base
    257, the oldest first, so that the context is ``gram // 257`` and dropping
    the oldest symbol is a remainder.
    """

    def __init__(self, documents: Sequence[str], *, order: int = ORDER) -> None:
        if not 1 <= order <= 7:
            raise ValueError(f"order must be 1 to 7, so that a gram fits 64 bits. Got {order}")
        self.order = order
        self._levels: list[_Level] = []
        grams = [_grams(text, order) for text in documents]
        everything = np.concatenate([np.empty(0, np.int64), *grams])
        unique, counts = np.unique(everything, return_counts=True)
        for length in range(order, 0, -1):
            # The shorter grams are sums over the longer ones.
            shorter, where = np.unique(unique % SYMBOLS**length, return_inverse=True)
            unique, counts = shorter, _grouped_sum(where, counts, len(shorter))
            self._levels.insert(0, _Level(unique, counts))

    def probabilities(self, grams: Counts) -> npt.NDArray[np.float64]:
        """The probability of each gram's last symbol after those before it."""
        found = np.full(len(grams), 1 / SYMBOLS)
        for length, level in enumerate(self._levels, start=1):
            found = level.refine(grams % SYMBOLS**length, found)
        return found

    def bits(self, text: str) -> float:
        """The cost of a document and its end."""
        return float(-np.log2(self.probabilities(_grams(text, self.order))).sum())


class _Level:
    """The counts for one context length."""

    def __init__(self, grams: Counts, counts: Counts) -> None:
        self.grams, self.counts = grams, counts
        self.contexts, where = np.unique(grams // SYMBOLS, return_inverse=True)
        self.followed = _grouped_sum(where, counts, len(self.contexts))
        self.different = np.bincount(where, minlength=len(self.contexts))

    def refine(self, grams: Counts, shorter: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Mix what was seen after these contexts into the shorter contexts' estimate."""
        counts = _look_up(self.grams, self.counts, grams)
        followed = _look_up(self.contexts, self.followed, grams // SYMBOLS)
        different = _look_up(self.contexts, self.different, grams // SYMBOLS)
        total = followed + different
        mixed = (counts + different * shorter) / np.maximum(total, 1)
        return np.where(total > 0, mixed, shorter)


def ngram_bits(training: Sequence[str], held_out: Sequence[str], *, order: int) -> float:
    """The cost of the documents by a model of this order."""
    model = ByteNgram(training, order=order)
    return float(sum(model.bits(text) for text in held_out))


def xz_extra_bytes(training: Sequence[str], held_out: Sequence[str]) -> int:
    """How many bytes longer the compressed training text gets by the held-out text."""
    before = _joined(training)
    return _xz_size(before + _joined(held_out)) - _xz_size(before)


def _grams(text: str, order: int) -> Counts:
    """One gram per byte of the text and one for its end."""
    data = np.frombuffer(text.encode("utf-8", errors="replace"), dtype=np.uint8)
    symbols = np.full(len(data) + order, END, dtype=np.int64)
    symbols[order - 1 : -1] = data
    grams = np.zeros(len(data) + 1, dtype=np.int64)
    for offset in range(order):
        grams = grams * SYMBOLS + symbols[offset : offset + len(grams)]
    return grams


def _grouped_sum(groups: Counts, values: Counts, size: int) -> Counts:
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, groups, values)
    return sums


def _look_up(keys: Counts, values: Counts, wanted: Counts) -> Counts:
    """``values`` of the sorted ``keys``; zero where there is none."""
    if len(keys) == 0:
        return np.zeros_like(wanted)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _joined(documents: Sequence[str]) -> bytes:
    # No text holds this byte in UTF-8, so it marks the end of a document.
    return b"".join(text.encode("utf-8", errors="replace") + b"\xff" for text in documents)


def _xz_size(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": XZ_DICTIONARY}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


BASELINES: dict[BaselineName, Callable[[Sequence[str], Sequence[str]], float]] = {
    "unigram": lambda training, held_out: ngram_bits(training, held_out, order=1),
    "ngram": lambda training, held_out: ngram_bits(training, held_out, order=ORDER),
    "xz": lambda training, held_out: 8.0 * xz_extra_bytes(training, held_out),
}
"""Bits that each spends on the held-out documents, learnt from the training text.

Divided by the bytes of the held-out text that is bits per byte. Memory is some tens of bytes per
byte of training text, so give a bounded sample.
"""


class Baselines(Task):
    """Bits per byte of the held-out text by methods that learnt from the training text."""

    name = "baselines"
    needs = ("text",)
    sampled = False
    about = "baselines"

    def examples(self) -> Iterator[Example]:
        """A method each, where there is text to learn from."""
        if self.run.training is None or not self.run.config.baseline_bytes:
            return
        sample = self.run.training_sample
        self.facts = {
            "training_documents": len(sample.items),
            "training_bytes": sum(len(text.encode()) for text in sample.items),
            "of_documents": sample.of_items,
            "of_bytes": sample.of_size,
        }
        for name, bits in BASELINES.items():
            yield Example(name, bits)

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """What the method spends on each byte."""
        held_out = self.run.held_out
        texts = [document.text for document in held_out.documents]
        bits = example.data(self.run.training_sample.items, texts)
        return {"bits_per_byte": bits / held_out.text_bytes}

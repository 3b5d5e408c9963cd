"""Runs of words as 64-bit numbers, by which near duplicates and shared passages are told.

A word is a stretch of letters, marks and digits, lower-cased; punctuation and
layout do not count. Chinese, Japanese, Thai and their like are written without
blanks: there every character is a token of its own, and as a word has about two
characters in the first two and four in the others, it counts as half or a quarter
of one. So a run of five words holds about as much in every script, and one
threshold fits all.

Tokens and runs are hashed as polynomials modulo 2^64 (Karp and Rabin, 1987),
whose prefix sums give the hash of any stretch by one subtraction, then mixed.
Nothing depends on the process, the machine or the library: hashes can be stored.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Hashes: TypeAlias = npt.NDArray[np.uint64]

RUN = 5  # words of a shingle
BANDS, ROWS = 18, 7  # of MinHash: a pair of similarity s shares a band with 1 - (1 - s^7)^18

WORD = 4  # the weight of a word
_HALF, _QUARTER = 2, 1
_UNSPACED = (
    (_HALF, 0x2E80, 0x312F),  # radicals, kana, bopomofo
    (_HALF, 0x31A0, 0x31FF),
    (_HALF, 0x3400, 0x9FFF),  # Han
    (_HALF, 0xF900, 0xFAFF),
    (_HALF, 0xFF66, 0xFF9F),
    (_HALF, 0x20000, 0x3FFFF),
    (_QUARTER, 0x0E00, 0x0EFF),  # Thai, Lao
    (_QUARTER, 0x1000, 0x109F),  # Burmese
    (_QUARTER, 0x1780, 0x17FF),  # Khmer
)
_WRITTEN = "LMN"  # first letters of the categories letter, mark, number
_LAST_CATEGORIZED = 0x1FFFF  # what comes after is Han, or not for writing

_BLOCK = 1 << 16  # characters or tokens that are hashed at a time
_CHUNK = 1 << 10  # runs that meet all permutations at a time, so as to stay in cache
_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64


class Tokens(NamedTuple):
    """A text as tokens: ``hashes`` (n,) and ``weights`` (n,), in quarters of a word."""

    hashes: Hashes
    weights: npt.NDArray[np.uint8]


def tokens(text: str) -> Tokens:
    """The tokens of a text. Takes up to 9 bytes for each, beside a block at a time."""
    found = [_block_tokens(block) for block in _blocks(text)]
    return Tokens(
        np.concatenate([block.hashes for block in found]),
        np.concatenate([block.weights for block in found]),
    )


def runs(found: Tokens, weight: int) -> Iterator[Hashes]:
    """The hashes of all runs of ``weight`` quarters of a word, in order, a block at a time.

    A run starts at every token and ends with the one that makes it heavy enough.
    """
    count = len(found.hashes)
    for start in range(0, count, _BLOCK):
        # A run has at most ``weight`` tokens: as many more complete the last ones here.
        part = slice(start, start + _BLOCK + weight)
        weights = np.concatenate([[0], np.cumsum(found.weights[part], dtype=np.int64)])
        starts = np.arange(min(_BLOCK, len(weights) - 1))
        ends = np.searchsorted(weights, weights[starts] + weight)
        whole = int(np.searchsorted(ends, len(weights)))  # the runs that do not pass the end
        yield _stretches(found.hashes[part], starts[:whole], ends[:whole])


def shingles(text: str) -> Hashes:
    """The sorted distinct hashes of the text's runs of five words.

    A text of fewer words has one: the hash of the text itself, blanks apart. So has
    one without blanks, such as a formula, where punctuation tells more than letters.
    """
    return distinct(_shingle_blocks(text))


def distinct(blocks: Iterable[Hashes]) -> Hashes:
    """The sorted different hashes. (``np.unique`` hashes them first, which takes ten times as
    long for the few thousand that a document has.)"""
    found = np.sort(np.concatenate([np.empty(0, np.uint64), *blocks]))
    first = np.ones(len(found), np.bool_)
    np.not_equal(found[1:], found[:-1], out=first[1:])
    return found[first]


def jaccard(first: Hashes, second: Hashes) -> float:
    """The share of common elements in two sorted arrays of distinct ones; 0 if both are empty."""
    if len(first) > len(second):
        first, second = second, first
    common = int(np.count_nonzero(contained(first, second)))
    return common / max(len(first) + len(second) - common, 1)


def contained(values: Hashes, among: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the values are in the sorted array ``among``; fastest when they are sorted too."""
    if not len(among):
        return np.zeros(len(values), np.bool_)
    places = np.searchsorted(among, values)
    places[places == len(among)] = 0  # any place will do: it is compared
    return np.asarray(among[places] == values)


def bands(text: str) -> bytes:
    """The MinHash signature (Broder, 1997) of the shingles: a little-endian uint64 per band.

    Two texts share the value of a band if the least of their shingles under each of
    its permutations is the same. Memory does not grow with the number of shingles.
    """
    factors, terms = _permutations()
    least = np.full((BANDS * ROWS, 1), np.iinfo(np.uint32).max, np.uint32)
    for block in _shingle_blocks(text):
        values = (block >> np.uint64(32)).astype(np.uint32)
        for start in range(0, len(values), _CHUNK):
            permuted = factors * values[start : start + _CHUNK]
            permuted += terms
            np.minimum(least, permuted.min(axis=1, keepdims=True), out=least)
    return band_hashes(least.reshape(BANDS, ROWS)).astype("<u8").tobytes()


def band_hashes(least: npt.NDArray[np.uint32]) -> Hashes:
    """One hash per row of an array."""
    hashes = np.zeros(len(least), np.uint64)
    for column in least.T:
        hashes = mix(hashes * np.uint64(_BASE) + column)
    return hashes


def mix(values: Hashes) -> Hashes:
    """Each value with all its bits spread over all: the finalizer of SplitMix64 (Steele, 2014)."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _shingle_blocks(text: str) -> Iterable[Hashes]:
    """The hashes of the runs of five words as they come, repeated ones included."""
    found = tokens(text)
    spaced = len(found.weights) == 0 or found.weights.min() == WORD
    if (spaced and len(text.split(maxsplit=RUN - 1)) < RUN) or found.weights.sum() < RUN * WORD:
        whole = " ".join(text.split()).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(whole, digest_size=8).digest()
        return [np.frombuffer(digest, "<u8").astype(np.uint64)]
    return runs(found, RUN * WORD)


def _blocks(text: str) -> Iterator[str]:
    """The text in parts, cut at blanks where there are any."""
    start = 0
    while start < len(text) - _BLOCK:
        end = start + _BLOCK
        cut = max(text.rfind(" ", start, end), text.rfind("\n", start, end)) + 1
        yield text[start : cut or end]
        start = cut or end
    yield text[start:]


def _block_tokens(block: str) -> Tokens:
    lower = block.lower()[: 2 * _BLOCK]  # a few characters become two when lower-cased
    codes = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), "<u4")
    weights = _weights()[codes]
    word = np.zeros(len(codes) + 2, np.bool_)  # with a separator at either end
    np.equal(weights, WORD, out=word[1:-1])
    alone = (weights == _HALF) | (weights == _QUARTER)
    starts = np.flatnonzero((word[1:-1] & ~word[:-2]) | alone)
    ends = np.flatnonzero((word[1:-1] & ~word[2:]) | alone) + 1
    return Tokens(_stretches(codes, starts, ends), weights[starts])


def _stretches(
    values: npt.NDArray[np.unsignedinteger],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> Hashes:
    """The hashes of ``values[start:end]`` for each start and end."""
    powers, inverses = _powers()
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return mix((sums[ends] - sums[starts]) * inverses[starts])


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """The powers of the base, and their inverses, modulo 2^64."""
    inverse = pow(_BASE, -1, 1 << 64)
    factors = np.full((2, 2 * _BLOCK), [[_BASE], [inverse]], np.uint64)
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1, dtype=np.uint64)
    return powers, inverses


@functools.cache
def _permutations() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Factors and terms of the linear permutations of 32-bit numbers, each (126, 1)."""
    drawn = mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64) * np.uint64(_BASE))[:, None]
    factors = (drawn >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    return factors, (drawn & np.uint64(0xFFFFFFFF)).astype(np.uint32)


@functools.cache
def _weights() -> npt.NDArray[np.uint8]:
    """What a character weighs by its code: 0 for what separates words."""
    weights = np.zeros(0x110000, np.uint8)
    for code in range(_LAST_CATEGORIZED + 1):
        if unicodedata.category(chr(code))[0] in _WRITTEN:
            weights[code] = WORD
    weights[0x20000:0x40000] = WORD
    for weight, first, last in _UNSPACED:
        part = weights[first : last + 1]
        part[part > 0] = weight
    return weights

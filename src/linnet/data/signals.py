"""What can be counted in a text and tells whether it is worth training on.

Numbers only; what they mean is judged in ``linnet.data.quality``. The definitions
are those of Gopher (Rae et al. 2021, table A1), C4 (Raffel et al. 2020) and
FineWeb (Penedo et al. 2024), with words as what stands between blanks.

A signal that means nothing for a text is left out: word lengths in Chinese,
which puts no blanks between words, English stop words in French.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from linnet.data.kinds import Family

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_MOST = 4_000_000  # characters that are looked at: what is longer is judged by its beginning
_BITS = np.arange(7)
_LETTER, _DIGIT, _VISIBLE, _HEX, _UNSPACED, _SYLLABIC, _UNPUNCTUATED = (
    1 << bit for bit in range(7)
)
# Scripts without blanks between words: Thai, Lao, Myanmar, Khmer, kana, Chinese characters.
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
# What is a character is more or less than a letter: the scripts of India, Ethiopic, Hangul.
_SYLLABIC_RANGES = ((0x0900, 0x0DFF), (0x1200, 0x139F), (0xAC00, 0xD7AF))
_UNPUNCTUATED_RANGES = ((0x0E00, 0x0EFF),)  # no sign for the end of a sentence: Thai, Lao
_PREVAILS = 0.3  # share of the letters that makes a script the text's
_UNSPACED_WORD = 2  # characters

_STOP_WORDS = {"en": ("the", "be", "to", "of", "and", "that", "have", "with")}  # Gopher
_BULLETS = ("•", "-", "*", "‣", "▪", "◦", "–")
_ELLIPSES = ("...", "…")
_ENDS = tuple(".!?\"'”’»…。！？．」』”）؟۔।॥။។։፧።‽⁇")  # of a sentence, in many scripts
_SHORT_LINE = 30  # characters (FineWeb)
_TOP_N_GRAMS, _REPEATED_N_GRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)

_ENCODED_LENGTH = 60  # base64 is written in lines of 64 or 76 characters
_ENCODED = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/=_-]{60,}+")
_HEX_WORD = re.compile(r"(?:0x)?(?=[a-fA-F]*[0-9])[0-9a-fA-F]{2,}[:,;h]*")
_LEAST_MIXED = 0.04
_HAS_LETTER = re.compile(r"[^\W\d_]")


def signals(text: str, family: Family, language: str = "") -> dict[str, float]:
    """What the rules of a family look at, rounded to 4 digits. Shares are of 1.

    ``language``: the ISO 639-1 code, if known; the signals that depend on it are left
    out otherwise.
    """
    if family == "symbols":
        return {}
    text = text[:_MOST]
    characters = _Characters.of(text)
    words = text.split()
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    found = {"encoded": _encoded(words, characters)}
    if family in ("prose", "mail"):
        found |= _prose(words, lines, characters)
    elif family == "code":
        found["letters"] = characters.share(_LETTER)
        found["line_length"] = len(text) / max(len(lines), 1)
    elif family == "table":
        telling = characters.count(_LETTER) + characters.count(_DIGIT)
        found["row_characters"] = telling / max(len(lines), 1)
    elif family == "web":
        found |= _web(text, words, lines, characters, language)
    return {name: round(value, 4) for name, value in found.items()}


@dataclass(frozen=True)
class _Characters:
    """How many characters of a text have each of the flags."""

    totals: list[int]

    @classmethod
    def of(cls, text: str) -> _Characters:
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        codes, counts = np.unique(points, return_counts=True)
        flags = np.fromiter(map(_flags, codes.tolist()), dtype=np.int64, count=len(codes))
        return cls((counts @ (flags[:, None] >> _BITS & 1)).tolist())

    def count(self, flag: int) -> int:
        return self.totals[flag.bit_length() - 1]

    @property
    def visible(self) -> int:
        return self.count(_VISIBLE)

    def share(self, flag: int) -> float:
        """Of the characters that are no blanks."""
        return self.count(flag) / max(self.visible, 1)

    def prevails(self, flag: int) -> bool:
        return self.count(flag) > _PREVAILS * self.count(_LETTER)


@functools.lru_cache(maxsize=1 << 16)
def _flags(code: int) -> int:
    character = chr(code)
    category = unicodedata.category(character)
    flags = _LETTER * (category[0] in "LM") | _DIGIT * (category[0] == "N")
    flags |= _VISIBLE * (not character.isspace())
    flags |= _HEX * (character in "0123456789abcdefABCDEF")
    if flags & _LETTER:
        for flag, ranges in (
            (_UNSPACED, _UNSPACED_RANGES),
            (_SYLLABIC, _SYLLABIC_RANGES),
            (_UNPUNCTUATED, _UNPUNCTUATED_RANGES),
        ):
            flags |= flag * any(first <= code <= last for first, last in ranges)
    return flags


def _prose(words: list[str], lines: list[str], characters: _Characters) -> dict[str, float]:
    found = {"letters": characters.share(_LETTER), "top_line": _top_line(lines)}
    if not characters.prevails(_UNSPACED):
        found["word_length"] = _word_length(words, characters)
    return found


def _web(
    text: str, words: list[str], lines: list[str], characters: _Characters, language: str
) -> dict[str, float]:
    number = max(len(words), 1)
    unspaced = characters.prevails(_UNSPACED)
    if unspaced:
        number = max(number, characters.count(_UNSPACED) // _UNSPACED_WORD)
    vocabulary: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    ids = np.fromiter(map(vocabulary.__getitem__, words), dtype=np.int64, count=len(words))
    found: dict[str, float] = {
        "words": number if words else 0,
        "hashes": text.count("#") / number,
        "curly_brackets": text.count("{") / number,
        "ellipses": sum(map(text.count, _ELLIPSES)) / number,
        "words_with_letter": _words_with_letter(list(vocabulary), ids),
    }
    found |= _lines(text, lines, unspaced)
    found |= _duplicates("line", lines, len(text))
    found |= _duplicates("paragraph", text.strip("\n").split("\n\n"), len(text))
    if not characters.prevails(_UNPUNCTUATED):
        found["sentence_lines"] = _share(lines, lambda line: line.endswith(_ENDS))
    if not unspaced:
        lengths = np.fromiter(map(len, vocabulary), dtype=np.int64, count=len(vocabulary))[ids]
        found |= _n_grams(ids, lengths, len(text))
        if not characters.prevails(_SYLLABIC):
            found["word_length"] = _word_length(words, characters)
    if language in _STOP_WORDS:
        found["stop_words"] = sum(word in vocabulary for word in _STOP_WORDS[language])
    return found


def _lines(text: str, lines: list[str], unspaced: bool) -> dict[str, float]:
    short = _SHORT_LINE // _UNSPACED_WORD if unspaced else _SHORT_LINE
    lower = text.lower()
    return {
        "bullet_lines": _share(lines, lambda line: line.lstrip().startswith(_BULLETS)),
        "ellipsis_lines": _share(lines, lambda line: line.rstrip().endswith(_ELLIPSES)),
        "short_lines": _share(lines, lambda line: len(line) <= short),
        "javascript_lines": _share(lines, lambda line: "javascript" in line.lower())
        if "javascript" in lower
        else 0.0,
        "lorem_ipsum": lower.count("lorem ipsum"),
    }


def _share(lines: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, lines)) / max(len(lines), 1)


def _word_length(words: list[str], characters: _Characters) -> float:
    return characters.visible / max(len(words), 1)


def _words_with_letter(vocabulary: list[str], ids: Numbers) -> float:
    """The share of words with at least one letter."""
    if not vocabulary:
        return 0.0
    plain = enumerate(map(str.isalpha, vocabulary))
    others = [number for number, only_letters in plain if not only_letters]
    without = [number for number in others if not _HAS_LETTER.search(vocabulary[number])]
    return 1 - int(np.bincount(ids)[without].sum()) / len(ids)


def _top_line(lines: list[str]) -> float:
    """The share of a text that repeats of its most repeated line make up."""
    repeats = ((count - 1) * len(line) for line, count in Counter(lines).items())
    return max(repeats, default=0) / max(sum(map(len, lines)), 1)


def _duplicates(name: str, parts: list[str], characters: int) -> dict[str, float]:
    """The share of lines or paragraphs that stood before, and of the text they are.

    Those without a letter do not count: ``}`` or ``$`` on a line of its own is no repetition.
    """
    parts = list(filter(_HAS_LETTER.search, parts))
    unique = set(parts)
    repeated = sum(map(len, parts)) - sum(map(len, unique))
    return {
        f"duplicate_{name}s": 1 - len(unique) / max(len(parts), 1),
        f"duplicate_{name}_characters": repeated / max(characters, 1),
    }


def _n_grams(ids: Numbers, lengths: Numbers, characters: int) -> dict[str, float]:
    """The share of the text that the most frequent run of 2, 3 and 4 words makes up, and
    that lies within runs of 5 to 10 words that stood before.

    ids: (N,) a number for each word, the same for equal words; lengths: (N,) in characters.

    A run of n words can only be repeated where the run of its first n - 1 is, so each
    round looks at the places that the one before it left, soon few. The pair (which run
    of n - 1, which word next) names a run without any hashing.
    """
    found = dict.fromkeys([f"top_{n}_gram" for n in _TOP_N_GRAMS], 0.0)
    found |= dict.fromkeys([f"duplicate_{n}_grams" for n in _REPEATED_N_GRAMS], 0.0)
    size, longest = len(ids), _REPEATED_N_GRAMS[-1]
    following = np.concatenate((ids, np.arange(size, size + longest)))  # runs over the end differ
    ends = np.concatenate(([0], lengths.cumsum()))  # (N + 1,) characters before each word
    places, runs = np.arange(size), ids  # where a run begins; the number of its first n - 1 words
    for n in range(2, longest + 1):
        keys = runs * (size + longest) + following[places + n - 1]
        order = keys.argsort(kind="stable")  # equal runs side by side, earlier ones first
        keys, places = keys[order], places[order]
        same = np.zeros(len(keys) + 1, dtype=bool)  # as the one before
        np.equal(keys[1:], keys[:-1], out=same[1:-1])
        if not same.any():
            break
        again, repeated = same[:-1], same[:-1] | same[1:]
        runs = np.cumsum(~again)
        if n in _TOP_N_GRAMS:
            counts = np.bincount(runs)
            most = int(counts.max())
            first = places[(counts == most)[runs]].min()
            length = int(ends[first + n] - ends[first]) + n - 1
            found[f"top_{n}_gram"] = length * most / characters
        else:
            begin = np.sort(places[again])
            end = np.minimum(begin + n, np.append(begin[1:], size))  # overlaps count once
            found[f"duplicate_{n}_grams"] = int((ends[end] - ends[begin]).sum()) / characters
        places, runs = places[repeated], runs[repeated]
    return found


def _encoded(words: list[str], characters: _Characters) -> float:
    """The share of a text that is base64 or hexadecimal: long runs, or groups of a dump.

    Both mix letters and digits, which rulers, sequences of amino acids and columns of
    numbers do not.
    """
    runs = [run for word in words if len(word) >= _ENCODED_LENGTH for run in _ENCODED.findall(word)]
    length = _length_if_mixed("".join(runs))
    if characters.share(_HEX) > 0.5:
        groups = filter(_HEX_WORD.fullmatch, (w for w in words if len(w) < _ENCODED_LENGTH))
        length += _length_if_mixed("".join(groups))
    return length / max(characters.visible, 1)


def _length_if_mixed(text: str) -> int:
    letters, digits = (sum(map(kind, text)) for kind in (str.isalpha, str.isdigit))
    return len(text) if min(letters, digits) > _LEAST_MIXED * len(text) else 0

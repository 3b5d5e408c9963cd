"""Names in a claim: capitalised words, acronyms, codes and identifiers.

A word at the beginning of a sentence may have its capital from there, German nouns have theirs
anyway, and so have all words of a title: of these only what looks like a code is a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from linnet.grounding.passage import Passage, Sentence
from linnet.grounding.tokens import Token

Names: TypeAlias = list[Token]

_OPENING = frozenset(":\"“„«‘'([—–•;")
_ORDINARY = frozenset(("i", "ok", "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "no", "nr"))
_TITLE = 0.7  # share of the words with a capital, from which on they say nothing
_ROMAN = frozenset("IVXLCDM")
_SHORTEST_STEM = 4


def names_of(sentence: Sentence) -> Names:
    """The words of a sentence that are names, or parts of them."""
    words = [token for token in sentence.counted if token.value is None and token.key]
    capitals = sum(token.text[0].isupper() for token in words[1:])
    german = sentence.language is not None and sentence.language.nouns_capitalised
    plain = german or (len(words) > 3 and capitals >= _TITLE * (len(words) - 1))
    shouted = sum(token.text.isupper() for token in words if len(token.text) > 1) > len(words) / 2
    return [token for token, first in _placed(sentence) if _is_name(token, first, plain, shouted)]


def _placed(sentence: Sentence) -> Iterator[tuple[Token, bool]]:
    """Words, and whether each begins something."""
    first = True
    for token in sentence.tokens:
        if token.mark:
            first = first or token.text in _OPENING
            continue
        if token.value is None and token.key:
            yield token, first
        first = False


def _is_name(token: Token, first: bool, plain: bool, shouted: bool) -> bool:
    text = token.text
    if len(text) < 2 or token.key in _ORDINARY or not (text[0].isalnum() or text[0] == "_"):
        return False
    if is_code(text) and not (shouted and text.isalpha()):
        return True
    return not plain and not first and text[0].isupper()


def is_code(text: str) -> bool:
    """Whether a word looks like a code, acronym or identifier, wherever it stands."""
    if any(letter.isdigit() for letter in text) or "_" in text:
        return True
    inner = sum(letter.isupper() for letter in text[1:])
    return inner > 0 and "-" not in text and "." not in text and "'" not in text


def stands(token: Token, passages: list[Passage]) -> bool | None:
    """Whether a name occurs in the passages; None where another form of it may."""
    key = token.key
    forms = [key, key.removesuffix("'s"), key.removesuffix("'"), key.replace(".", "")]
    if any(form in passage.words for form in forms for passage in passages):
        return True
    parts = [part for part in key.split("-") if part]
    if len(parts) > 1 and all(any(part in p.words for p in passages) for part in parts):
        return True
    if token.text.isupper() and set(token.text) <= _ROMAN:
        return None  # it may be a number there
    if any(mark.isdigit() for mark in key):
        return None if _joined(key, passages) else False
    if token.text[:-1].isupper() and len(token.text) <= 10:
        letters = [letter for letter in key.removesuffix("s") if letter.isalpha()]
        if any(_spelt_out(letters, passage) for passage in passages):
            return None
    head = key[: max(_SHORTEST_STEM, len(key) - 3)]
    for passage in passages:
        for word in passage.words:
            if word.startswith(head) or (len(word) >= _SHORTEST_STEM and key.startswith(word)):
                return None  # "German" for "Germany"
    return False


def _spelt_out(letters: list[str], passage: Passage) -> bool:
    """Whether words stand in a row whose beginnings, or whose letters in order, are these."""
    if len(letters) < 2:
        return False
    words = [token.key for sentence in passage.sentences for token in sentence.counted]
    for place, word in enumerate(words):
        if word[:1] == letters[0] and _fits(letters, words[place : place + len(letters) + 3]):
            return True
    return False


def _fits(letters: list[str], words: list[str]) -> bool:
    """Whether the letters are found in order, each word giving its first before another comes."""
    place = 0
    for word in words:
        if not word or place == len(letters):
            break
        if word[0] != letters[place]:
            if len(word) <= 3:  # "of", "and"
                continue
            return False
        place += 1
        rest = word[1:]
        while place < len(letters) and letters[place] in rest and (
            word is words[-1] or not _next_begins(words, word, letters[place])
        ):  # fmt: skip
            rest = rest[rest.index(letters[place]) + 1 :]
            place += 1
    return place == len(letters)


def _next_begins(words: list[str], word: str, letter: str) -> bool:
    after = words[words.index(word) + 1 :]
    return bool(after) and after[0][:1] == letter


def _joined(key: str, passages: list[Passage]) -> bool:
    """Whether a code is there with a blank or a hyphen in another place: ``SARS CoV 2``."""
    plain = "".join(mark for mark in key if mark.isalnum())
    return any(
        plain in "".join(mark for mark in passage.flat if mark.isalnum()) for passage in passages
    )

"""What a vocabulary is made of, and how it cuts a text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.tokenizer.tokenizer import Tokenizer

# In the order in which they are shown.
KINDS = (
    "special",
    "single byte",
    "part of a character",
    "white space",
    "word",
    "word part",
    "digits",
    "signs",
    "mixed",
    "unused",
)


@dataclass(frozen=True)
class Piece:
    """One or more tokens and the text they stand for.

    Several only where one alone is not a whole character.
    """

    tokens: tuple[int, ...]
    text: str


def kind_of(tokenizer: Tokenizer, token: int) -> str:
    """Which of ``KINDS`` a token is. A ``word`` begins with a space, a ``word part`` does not."""
    if token in tokenizer.special_ids:
        return "special"
    data = tokenizer.token_bytes(token)
    if len(data) < 2:
        return "single byte" if data else "unused"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "part of a character"
    core = text.removeprefix(" ")
    if not text.strip():
        return "white space"
    if core.isalpha():
        return "word part" if core == text else "word"
    if core.isnumeric():
        return "digits"
    return "mixed" if any(character.isalnum() for character in core) else "signs"


def count_kinds(tokenizer: Tokenizer) -> dict[str, int]:
    """How many tokens there are of each kind, empty kinds left out."""
    counts = Counter(kind_of(tokenizer, token) for token in range(tokenizer.vocab_size))
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def longest_tokens(tokenizer: Tokenizer, count: int) -> list[int]:
    """The tokens that stand for most bytes, longest first."""
    ids = range(tokenizer.vocab_size)
    return sorted(ids, key=lambda token: (-len(tokenizer.token_bytes(token)), token))[:count]


def cut_into_pieces(tokenizer: Tokenizer, ids: list[int]) -> list[Piece]:
    """The text of each token; joined, they are what ``decode`` gives."""
    stream = tokenizer.stream()
    pieces: list[Piece] = []
    waiting: list[int] = []
    for token in ids:
        waiting.append(token)
        text = stream.push(token)
        if text:
            pieces.append(Piece(tuple(waiting), text))
            waiting = []
    rest = stream.finish()
    if waiting:
        pieces.append(Piece(tuple(waiting), rest))
    return pieces

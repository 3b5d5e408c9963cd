"""Chunks of a long text, cut where a tokenizer would have cut it anyway.

Encoding needs some hundred bytes of memory per token for as long as it lasts,
so a text is encoded in chunks. Every pre-tokenizer in use (GPT-2's, Qwen2's,
Llama 3's, SentencePiece's) ends a word where white space follows a letter or a
digit, and none looks back across that point: cut there, the chunks give the
very ids of the whole. Only where no such point is found in half a chunk (some
ten thousand characters without a space) is the cut made anywhere; the text still decodes
to itself, but a token that would have spanned the cut becomes two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK_CHARACTERS = 1 << 16

# Text handed to the library at once. Its threads share it; results take about 50 times as much.
BATCH_CHARACTERS = 1 << 20

_SURROGATE = re.compile("[\ud800-\udfff]")

# Greedy, so that it finds the last such place. Letters and digits are [^\W_].
_LAST_WORD_END = re.compile(r".*[^\W_](?=[ \t\r\n])", re.DOTALL)


def chunks(text: str, limit: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """The text in chunks of at most ``limit`` characters."""
    start = 0
    while len(text) - start > limit:
        # One character past the limit, for the look-ahead.
        found = _LAST_WORD_END.match(text, start + limit // 2, start + limit + 1)
        end = found.end() if found else start + limit
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def batches(texts: Iterable[str]) -> Iterator[list[tuple[str, bool]]]:
    """The chunks of all texts in bounded batches; the flag marks the first chunk of a text."""
    batch: list[tuple[str, bool]] = []
    characters = 0
    for text in texts:
        for number, chunk in enumerate(chunks(well_formed(text))):
            batch.append((chunk, number == 0))
            characters += len(chunk)
            if characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def well_formed(text: str) -> str:
    """The text with lone surrogates (which UTF-8 cannot write) as U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)

"""Whether what is asked fits into a model's context, and how much of it an answer may take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from linnet.respond.conversation import ContextFullError

SMALL_CONTEXT = 2048
"""In up to so many tokens, an answer of no stated length leaves space for the next message."""
PIECE = 16_384
"""Characters that are tokenized at once, to see whether a prompt can fit."""
_SURELY_FITS = 2
"""A token for every so few characters is more than any text has, but for odd ones."""
_CUT_TOKENS = 4
"""So many tokens fewer the whole may have than its pieces, at each cut."""


def require_fitting(
    texts: Iterable[str], context: int, count: Callable[[str], int], *, part: str
) -> None:
    """Raise ContextFullError where the texts together surely have more tokens than ``context``.

    The texts are tokenized in pieces, and no further than the context goes: so refusing what is
    far too long costs as much as accepting the longest that fits. ``count``: the tokens of a text.
    """
    texts = list(texts)
    if sum(map(len, texts)) < _SURELY_FITS * context:
        return
    found = 0
    for text in texts:
        for begin in range(0, len(text), PIECE):
            found += max(0, count(text[begin : begin + PIECE]) - _CUT_TOKENS)
            if found >= context:
                raise ContextFullError(found, context, part=part, at_least=True)


def texts_of(
    messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Everything of a conversation that its template may write out."""
    for message in messages:
        for name in ("content", "reasoning_content"):
            value = message.get(name)
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (part["text"] for part in value)
        if message.get("tool_calls"):
            yield json.dumps(message["tool_calls"], ensure_ascii=False)
    for tool in tools:
        yield json.dumps(tool, ensure_ascii=False)


def usual_answer(prompt: int, context: int) -> int:
    """The longest answer where nobody names one.

    A model trained from scratch may never end one, and its context holds little: half of what
    the prompt leaves, so that the conversation can go on.
    """
    left = context - prompt
    return left if context > SMALL_CONTEXT else max(1, left // 2)

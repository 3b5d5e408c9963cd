"""Whether a prompt can fit at all, found out before the whole of it is rendered and tokenized.

The texts of a request are tokenized in pieces, and no further than the context goes: so
refusing one that is far too long costs as much as accepting the longest that fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from linnet.serve.errors import context_full

PIECE = 16_384
"""Characters that are tokenized at once."""
_SURELY_FITS = 2
"""A token for every so few characters is more than any text has, but for odd ones."""
_CUT_TOKENS = 4
"""So many tokens fewer the whole may have than its pieces, at each cut."""


def require_fitting(
    texts: Iterable[str], context: int, count: Callable[[str], int], *, param: str
) -> None:
    """Raise ApiError (400) where the texts together surely have more tokens than ``context``.

    ``count``: the number of tokens of a text.
    """
    texts = list(texts)
    if sum(map(len, texts)) < _SURELY_FITS * context:
        return
    found = 0
    for text in texts:
        for start in range(0, len(text), PIECE):
            found += max(0, count(text[start : start + PIECE]) - _CUT_TOKENS)
            if found >= context:
                raise context_full(found, context, param=param, at_least=True)


def texts_of_chat(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Everything of a conversation that its template may write out."""
    for message in messages:
        for name in ("content", "reasoning_content"):
            value = message.get(name)
            if isinstance(value, str):
                yield value
        if message.get("tool_calls"):
            yield json.dumps(message["tool_calls"], ensure_ascii=False)
    for tool in tools:
        yield json.dumps(tool, ensure_ascii=False)

"""Turns tokens into text as they come, never showing half a character."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes one token at a time.

    A character of several bytes may be spread over several tokens; it is
    given out with the token that completes it. What all calls give, joined, is
    the text that ``Tokenizer.decode`` gives for the whole. Special tokens give
    nothing.

    ``after``: tokens that came before and whose text is not wanted again, such
    as the prompt. They matter: a prompt may end within a character, and some
    tokenizers drop the space before the first word of a text only.
    """

    def __init__(self, tokenizer: Tokenizer, *, after: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop_space = tokenizer.strips_leading_space
        for token in after:
            self.push(token)

    def push(self, token: int) -> str:
        """The text that this token completes, possibly none."""
        text = self._decoder.decode(self._tokenizer.token_bytes(token))
        if text and self._drop_space:
            self._drop_space = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)

"""Text and tokens, as every engine needs them: by Linnet's own tokenizer, or by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import tokenizers

from linnet.tokenizer.tokenizer import StreamDecoder

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer


_TAIL = 16  # tokens of a prompt that tell how the text after it begins


class Decoder(Protocol):
    """Turns tokens into text as they come."""

    by_tokens: bool
    """Whether tokens are enough; else it must hear the text that llama.cpp makes of them."""

    def push(self, token: int) -> str:
        """The text that this token completes, possibly none."""

    def finish(self) -> str:
        """What is left at the end."""

    def hear(self, text: str) -> None:
        """What llama.cpp made of the tokens that come next."""

    def complete(self, tokens: Sequence[int], written: int) -> Sequence[int]:
        """The tokens with those before them that were kept back; ``written``: so many in all."""


class EngineTokenizer(Protocol):
    """Text to tokens and back."""

    @property
    def beginning(self) -> int:
        """The token from which a text is written where there is no prompt."""

    @property
    def start(self) -> tuple[int, ...]:
        """What stands before every text."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Linnet's own. Raises ModelError where it is a file's."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text; ``special``: names of special tokens in it stand for these."""

    def continuation(self, text: str) -> list[int]:
        """The tokens of a text that goes on after another: no space is put before it."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special one."""

    def special_name(self, token: int) -> str:
        """The name of a special token; empty for others."""

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> tuple[int, ...]:
        """A conversation up to the answer that is to come."""

    def decoder(self, prompt: Sequence[int]) -> Decoder:
        """A decoder for what follows the prompt."""


class CheckpointDecoder(StreamDecoder):
    """Linnet's own."""

    by_tokens = True

    def hear(self, text: str) -> None:
        """Not needed."""

    def complete(self, tokens: Sequence[int], written: int) -> Sequence[int]:
        """No token is kept back."""
        return tokens


class CheckpointTokenizer:
    """Linnet's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._naming: tokenizers.Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """Linnet's own."""
        return self._tokenizer

    @property
    def beginning(self) -> int:
        """The token from which a text is written where there is no prompt."""
        return self._tokenizer.beginning

    @property
    def start(self) -> tuple[int, ...]:
        """What stands before every text."""
        return self._tokenizer.start

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text; ``special``: names of special tokens in it stand for these."""
        if not special:
            return self.tokenizer.encode(text)
        if self._naming is None:
            self._naming = tokenizers.Tokenizer.from_str(self.tokenizer.to_json())
        # A batch, as only that lets other threads run meanwhile.
        (encoded,) = self._naming.encode_batch_fast([text], add_special_tokens=False)
        found: list[int] = encoded.ids
        return found

    def continuation(self, text: str) -> list[int]:
        """The tokens of a text that goes on after another: no space is put before it."""
        found: list[int] = self.tokenizer.encode_continuation(text).tolist()
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return self.tokenizer.decode(tokens)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special one."""
        return self.tokenizer.token_bytes(token)

    def special_name(self, token: int) -> str:
        """The name of a special token; empty for others."""
        return self.tokenizer.special_name(token)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> tuple[int, ...]:
        """A conversation up to the answer that is to come; see ``linnet.tokenizer.chat``."""
        encoded = self.tokenizer.encode_chat(
            messages,
            tools=list(tools) or None,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            variables=variables,
        )
        return tuple(encoded.ids)

    def decoder(self, prompt: Sequence[int]) -> CheckpointDecoder:
        """A decoder for what follows the prompt."""
        tail = prompt[-_TAIL:]
        if not any(map(self.tokenizer.token_bytes, tail)):
            tail = prompt  # whether any text came before decides on the first space
        return CheckpointDecoder(self.tokenizer, after=tail)

"""Text and tokens by the tokenizer in a GGUF file.

It is run by llama.cpp itself; its chat template is run by Linnet's sandbox, and what people
wrote never becomes a special token, as with every model. llama.cpp keeps back tokens that end
within a character; they are found again by their bytes, as far as these are characters in the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from linnet.errors import ModelError
from linnet.gguf.metadata import Metadata
from linnet.gguf.vocabulary import CONTROL, USER_DEFINED
from linnet.tokenizer.chat import TOKEN_NAMES, ChatTemplate
from linnet.tokenizer.chat_encoding import Conversation, Markers, find_end_of_turn

if TYPE_CHECKING:
    from linnet.llama_cpp.process import LlamaCppProcess
    from linnet.tokenizer import Tokenizer


_LONGEST_GAP = 12  # tokens kept back that are looked for: more never make one character


class GgufTokenizer:
    """The tokenizer of a GGUF file, as llama.cpp runs it."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.process: Any = None
        self.special_ids = frozenset(
            token for token, kind in enumerate(metadata.types) if kind == CONTROL
        )
        self.end_of_text = metadata.stop_ids[0] if metadata.stop_ids else 0
        self.beginning = metadata.token_of("bos", self.end_of_text)
        self.unknown: int | None = None

    @cached_property
    def start(self) -> tuple[int, ...]:
        """What llama.cpp puts before every text."""
        plain, whole = (self._cut("a", around=around) for around in (False, True))
        return tuple(whole[: whole.index(plain[0])]) if plain else ()

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text; ``special``: names of special tokens in it stand for these."""
        return self._cut(text, special=special)

    def continuation(self, text: str) -> list[int]:
        """The tokens of a text that goes on after another: no space is put before it."""
        if not self.metadata.puts_space_first:
            return self.encode(text)
        return self.encode(f"\n{text}")[len(self.encode("\n")) :]

    @property
    def tokenizer(self) -> Tokenizer:
        """There is none of Linnet's."""
        raise ModelError(
            f"{self.metadata.file}: a GGUF file has a tokenizer of its own, which llama.cpp runs; "
            "give the model's directory"
        )

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special one."""
        return self.metadata.token_bytes_of(token)

    def special_name(self, token: int) -> str:
        """The name of a special token; empty for others."""
        return self.metadata.tokens[token] if token in self.special_ids else ""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        found = b"".join(map(self.metadata.token_bytes_of, tokens))
        text = found.decode("utf-8", "replace")
        return text.removeprefix(" ") if self.metadata.puts_space_first else text

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> tuple[int, ...]:
        """A conversation up to the answer that is to come, by the file's template."""
        template = self.chat_template
        if template is None:
            raise ModelError(f"{self.metadata.file}: the file has no chat template")
        given = Conversation(messages, list(tools) or None, None, variables, continue_final_message)
        encoded = given.encode(
            self,  # type: ignore[arg-type]
            template,
            add_generation_prompt=add_generation_prompt,
        )
        return tuple(encoded.ids)

    def decoder(self, prompt: Sequence[int]) -> GgufDecoder:
        """A decoder for what follows the prompt."""
        has_text = any(map(self.metadata.token_bytes_of, prompt))
        return GgufDecoder(self, drop_space=self.metadata.puts_space_first and not has_text)

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How conversations are written, or None for a file without chats."""
        templates = self.metadata.templates
        names = {key: self.metadata.named_token(_ROLES.get(key, key)) for key in TOKEN_NAMES}
        tokens = {key: name for key, name in names.items() if name is not None}
        if not templates:
            return None
        return ChatTemplate(templates, tokens, origin=str(self.metadata.file))

    @cached_property
    def marked_backend(self) -> MarkedText:
        """What encodes rendered conversations."""
        source = "".join(self.metadata.templates.values())
        named: dict[int, dict[str, int]] = {CONTROL: {}, USER_DEFINED: {}}
        for token, kind in enumerate(self.metadata.types):
            if kind in named and self.metadata.tokens[token].strip():
                named[kind][self.metadata.tokens[token]] = token
        ordinary = {name: token for name, token in named[USER_DEFINED].items() if name in source}
        markers = Markers(frozenset(named[CONTROL]), frozenset(ordinary))
        return MarkedText(self, markers, {**named[CONTROL], **ordinary})

    @cached_property
    def end_of_turn_name(self) -> str | None:
        """The marker that the template writes after an answer, if one."""
        template = self.chat_template
        return find_end_of_turn(template, self.marked_backend.markers) if template else None

    @property
    def end_of_turn(self) -> int | None:
        """Its token."""
        return self.marked_backend.ids.get(self.end_of_turn_name or "")

    @cached_property
    def by_bytes(self) -> dict[bytes, int]:
        """Tokens by the bytes that they stand for."""
        tokens = range(len(self.metadata.tokens) - 1, -1, -1)
        return {self.metadata.token_bytes_of(token): token for token in tokens}

    def _cut(self, text: str, *, special: bool = False, around: bool = False) -> list[int]:
        process: LlamaCppProcess = self.process()
        asked = {"content": text, "parse_special": special, "add_special": around}
        found: list[int] = process.ask("/tokenize", asked)["tokens"]
        return found


_ROLES = {
    "bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "sep_token": "seperator",
    "pad_token": "padding", "cls_token": "cls", "mask_token": "mask",
}  # fmt: skip


@dataclass(frozen=True)
class MarkedText:
    """Encodes rendered conversations, in which markers begin with ``sign``."""

    tokenizer: GgufTokenizer
    markers: Markers
    ids: Mapping[str, int]
    sign: str = "\U000f0000"

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and places that nobody needs here."""
        rests = {name[1:]: token for name, token in self.ids.items()}
        longest_first = sorted(map(re.escape, rests), key=len, reverse=True)
        pattern = f"{re.escape(self.sign)}({'|'.join(longest_first) or '(?!)'})"
        found: list[int] = []
        for place, piece in enumerate(re.split(pattern, text)):
            if place % 2:
                found.append(rests[piece])
            elif piece:
                found += self.tokenizer.encode(piece)
        return found, [(0, 0)] * len(found)


class GgufDecoder:
    """Passes on the text that llama.cpp makes of its tokens."""

    by_tokens = False

    def __init__(self, tokenizer: GgufTokenizer, *, drop_space: bool) -> None:
        """``drop_space``: of the first word, where the vocabulary puts one before a text."""
        self._tokenizer = tokenizer
        self._drop_space = drop_space
        self._heard = ""
        self._written = 0

    def push(self, token: int) -> str:
        """What was heard."""
        heard, self._heard = self._heard, ""
        if heard and self._drop_space:
            self._drop_space = False
            return heard.removeprefix(" ")
        return heard

    def finish(self) -> str:
        """Nothing: what llama.cpp keeps back in the end it never says."""
        return ""

    def hear(self, text: str) -> None:
        """What llama.cpp made of the tokens that come next."""
        self._heard += text

    def complete(self, tokens: Sequence[int], written: int) -> Sequence[int]:
        """The tokens with those before them that were kept back."""
        gap = written - self._written - len(tokens)
        self._written = max(written, self._written)
        if not tokens or not 0 < gap <= _LONGEST_GAP:
            return tokens
        last = self._tokenizer.metadata.token_bytes_of(tokens[0])
        whole = self._heard.encode("utf-8", "replace")
        before = self._spelt(whole.removesuffix(last), gap) if whole.endswith(last) else None
        return [*(before or [tokens[0]] * gap), *tokens]

    def _spelt(self, text: bytes, count: int) -> list[int] | None:
        """``count`` tokens that stand for these bytes together."""
        if count == 0:
            return None if text else []
        for size in range(len(text) - count + 1, 0, -1):
            token = self._tokenizer.by_bytes.get(text[:size])
            rest = self._spelt(text[size:], count - 1) if token is not None else None
            if token is not None and rest is not None:
                return [token, *rest]
        return None

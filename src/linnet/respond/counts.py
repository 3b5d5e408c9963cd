"""The tokens of an answer that somebody else counts, and bills.

What they say is held against what was sent and what came: no tokenizer of theirs is here, but a
text has a fewest and a most tokens. Counts between these are believed. Where one is missing or
cannot be, the larger of theirs and a cautious estimate is billed, and the difference is said.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linnet.respond.conversation import Conversation
from linnet.respond.pieces import Failure, Piece, Reasoning, Refusal, Text, ToolCall, ToolResult

MOST_TOKENS = 1_000_000_000
TEMPLATE_TOKENS = 512
"""What a chat template may add of its own, such as how tools are called."""
MESSAGE_TOKENS = 8
"""What it adds to a message."""
_FEW_BYTES = 2
"""For a token of a text that has many: few texts of people or programs have more."""
_MANY_BYTES = 16
"""For a token of a text that has few, without spaces."""
_EVENT_BYTES = 4
"""For a token, where each comes in an event of its own; events of fewer may be parts of tokens."""


def most_prompt_tokens(body: bytes) -> int:
    """No prompt that is made of this body has more tokens, whatever the tokenizer.

    A token is a byte at least, of the text as it is or as SentencePiece may normalize it first.
    What JSON needs beside the texts is more than what templates put around each message.
    """
    size = len(body)
    if not body.isascii():
        normal = unicodedata.normalize("NFKC", body.decode("utf-8", "replace"))
        size = max(size, len(normal.encode("utf-8", "replace")))
    return size + TEMPLATE_TOKENS


@dataclass
class Counts:
    """Theirs and ours, of one attempt."""

    prompt_bytes: int
    """Of the texts that were sent, and of tools."""
    prompt_dense: int
    """Of the texts, without spaces."""
    messages: int
    most_prompt: int = MOST_TOKENS
    limit: int | None = None
    """The tokens that may be written, all choices together; None: it was not said."""
    told_prompt: int = 0
    told_cached: int = 0
    told_written: int = 0
    told_hidden: int = 0
    """Of those written, the ones that are not shown: reasoning."""
    events: int = 0
    """Those with text."""
    received: int = 0
    """Bytes of texts, reasoning and calls that came."""
    dense: int = 0
    """Of these, without spaces."""
    unread: bool = False
    """Whether more is written, and billed, than came."""

    @classmethod
    def of(cls, conversation: Conversation) -> Counts:
        """Before anything came."""
        texts = [
            part.arguments if isinstance(part, ToolCall) else part.text
            for message in conversation.messages
            for part in message.parts
            if isinstance(part, Text | Reasoning | Refusal | ToolCall | ToolResult)
        ]
        size = sum(map(_bytes, texts))
        size += sum(_bytes(json.dumps(tool.as_json())) for tool in conversation.tools)
        return cls(size, sum(map(_dense, texts)), len(texts))

    def told(self, usage: Mapping[str, Any]) -> None:
        """What the other side says; it may say anything, and again with every event."""
        self.told_prompt = max(self.told_prompt, _count(usage.get("prompt_tokens")))
        self.told_written = max(self.told_written, _count(usage.get("completion_tokens")))
        cached = _inner(usage, "prompt_tokens_details", "cached_tokens")
        self.told_cached = max(self.told_cached, cached)
        hidden = _inner(usage, "completion_tokens_details", "reasoning_tokens")
        self.told_hidden = max(self.told_hidden, hidden)

    def came(self, *texts: str) -> None:
        """Texts of one event."""
        self.events += any(texts)
        for text in filter(None, texts):
            self.received += _bytes(text)
            self.dense += _dense(text)

    @property
    def prompt(self) -> int:
        """What is billed as read."""
        if self.told_prompt >= self.least_prompt:
            return self.told_prompt
        likely = -(-self.prompt_bytes // _FEW_BYTES) + MESSAGE_TOKENS * self.messages
        return max(self.told_prompt, min(likely, self.most_prompt))

    @property
    def cached(self) -> int:
        """Of these, what is billed as read again."""
        return min(self.told_cached, self.told_prompt)

    @property
    def written(self) -> int:
        """What is billed as written."""
        if self.unread and self.limit is not None:
            return max(self.told_written, self.least_written, self.limit)
        if self.told_written >= self.least_written:
            return self.told_written
        likely = max(self.events, -(-self.received // _FEW_BYTES))
        if self.limit is not None:
            likely = min(likely, self.limit)
        return max(self.told_written, self.least_written, likely)

    @property
    def least_written(self) -> int:
        """What came has at least so many tokens."""
        spelt = -(-self.dense // _MANY_BYTES)
        return max(spelt, min(self.events, self.received // _EVENT_BYTES))

    @property
    def beyond(self) -> bool:
        """Whether more is written, or billed, than may be."""
        return self.limit is not None and max(self.told_written, self.least_written) > self.limit

    @property
    def least_prompt(self) -> int:
        """What was sent has at least so many tokens."""
        return max(1, self.prompt_dense // _MANY_BYTES)

    def doubts(self, name: str) -> list[Piece]:
        """What cannot be as the other side says; no word of what is merely missing."""
        said, came = f"{name} says that", f"the {self.received:,} bytes that came"
        found = []
        if 0 < self.told_prompt < self.least_prompt:
            found.append(
                f"{said} {self.told_prompt:,} tokens were read, but the texts have at least "
                f"{self.least_prompt:,}; {self.prompt:,} are counted"
            )
        if self.told_prompt > self.most_prompt:
            found.append(
                f"{said} {self.told_prompt:,} tokens were read, but what was sent has at most "
                f"{self.most_prompt:,}; theirs are counted"
            )
        if 0 < self.told_written < self.least_written:
            found.append(
                f"{said} {self.told_written:,} tokens were written, but {came} have at least "
                f"{self.least_written:,}; {self.written:,} are counted"
            )
        if self.limit is not None and self.told_written > self.limit:
            found.append(
                f"{said} {self.told_written:,} tokens were written, but at most {self.limit:,} "
                "were allowed; theirs are counted"
            )
        if self.told_cached > self.told_prompt:
            found.append(f"{said} more tokens were read again than were read at all")
        return [Failure(text, code="usage") for text in found]

    def as_json(self) -> dict[str, Any]:
        """Both, where they differ."""
        theirs = {"prompt": self.told_prompt, "written": self.told_written}
        ours = {"prompt": self.prompt, "written": self.written}
        return {} if theirs == ours else {"told": theirs, "counted": ours}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _dense(text: str) -> int:
    """Without spaces, long runs of which are one token."""
    return _bytes("".join(text.split()))


def _inner(usage: Mapping[str, Any], part: str, name: str) -> int:
    details = usage.get(part)
    return _count(details.get(name)) if isinstance(details, Mapping) else 0


def _count(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(0, value), MOST_TOKENS)

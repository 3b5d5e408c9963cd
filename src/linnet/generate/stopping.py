"""Stop strings: text before which a continuation ends, wherever its tokens are cut.

A token is given out once its first character is: one that lies within a stop string is not, and one
that begins before it is, whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from linnet.generate.engine import Chunk

if TYPE_CHECKING:
    from linnet.generate.engine import ChosenToken, FinishReason, Request, Start
    from linnet.generate.tokenization import Decoder


class StopStrings:
    """Lets text through up to the first stop string.

    Text that may turn out to be the beginning of a stop string is held back
    until that is known. Of several stop strings the one that is complete first
    counts, so the result does not depend on how the text was cut into tokens.
    """

    def __init__(self, strings: Sequence[str], *, include: bool = False) -> None:
        """``include``: whether the one that is found is let through as well."""
        self.strings = tuple(strings)
        self.include = include
        self.longest = max(map(len, self.strings), default=0)
        self.held = ""
        self.found: str | None = None
        """The one that is there."""

    def push(self, text: str) -> str:
        """Take more text; give what is certainly no part of a stop string."""
        if not self.strings:
            return text
        self.held += text
        matches = [
            (start + len(string), start, string)
            for string in self.strings
            if (start := self.held.find(string)) >= 0
        ]
        if matches:
            end, start, self.found = min(matches)
            return self._release(end if self.include else start, keep=False)
        return self._release(len(self.held) - self._possible_beginning())

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        return self._release(len(self.held))

    def _possible_beginning(self) -> int:
        """How many of the last characters held could begin a stop string."""
        for size in range(min(self.longest - 1, len(self.held)), 0, -1):
            ending = self.held[-size:]
            if any(string.startswith(ending) for string in self.strings):
                return size
        return 0

    def _release(self, size: int, *, keep: bool = True) -> str:
        released = self.held[:size]
        self.held = self.held[size:] if keep else ""
        return released


class Output:
    """Text and tokens of one continuation on their way out; both held back by stop strings."""

    def __init__(self, request: Request, decoder: Decoder, spell: Callable[[int], str]) -> None:
        """``spell``: the name of a special token; empty for others."""
        self.text = ""
        self.tokens: list[ChosenToken] = []
        """What is to be given out next."""
        self.dropped = 0
        """Tokens of the stop string that was found."""
        self._request = request
        self._decoder = decoder
        self._spell = None if request.skip_special_tokens else spell
        self._stops = StopStrings(request.sampling.stop, include=request.include_stop)
        self._free = request.sampling.min_tokens
        self._held: deque[tuple[int, ChosenToken]] = deque()
        """Tokens with the place at which their text begins."""
        self._decoded = self._shown = 0

    @property
    def found(self) -> str | None:
        """The stop string that is there."""
        return self._stops.found

    def push(self, chosen: ChosenToken) -> None:
        """Take the next token."""
        text = self._decode(chosen.token)
        if not self._stops.strings or self._free > 0:
            self._free -= 1
            self.text += text
            self.tokens.append(chosen)
            return
        self._held.append((self._decoded, chosen))
        self._decoded += len(text)
        self._show(self._stops.push(text))

    def end(self, token: int | None = None) -> None:
        """Nothing more comes; ``token``: what ended the text, if a token did."""
        text = self._decode(token) if token is not None and self._stops.include else ""
        text += self._decoder.finish()
        self._show(self._stops.push(text) + ("" if self.found else self._stops.finish()))
        if self.found is None:
            self.tokens += [chosen for _, chosen in self._held]
            self._held.clear()

    def chunk(
        self,
        finish_reason: FinishReason | None,
        start: Start | None,
        *,
        ending: ChosenToken | None = None,
    ) -> Chunk:
        """What is to be given out, which is then gone from here."""
        text, tokens = self.text, self.tokens
        self.text, self.tokens = "", []
        told = top = None
        if self._request.logprobs:
            told = tuple([each.logprob or 0.0 for each in tokens])
            if self._request.top_logprobs:
                top = tuple([each.top or () for each in tokens])
        return Chunk(
            text,
            tuple([each.token for each in tokens]),
            finish_reason,
            told,
            top,
            start,
            stop=self.found,
            ending=ending,
            dropped=self.dropped,
        )

    def _decode(self, token: int) -> str:
        text = self._decoder.push(token)
        return text + self._spell(token) if self._spell is not None else text

    def _show(self, text: str) -> None:
        self.text += text
        self._shown += len(text)
        held = self._held
        while held and held[0][0] < self._shown:
            self.tokens.append(held.popleft()[1])
        if self.found is not None:
            self.dropped = len(held)
            held.clear()

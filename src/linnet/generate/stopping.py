"""Stop strings: text before which a continuation ends, wherever its tokens are cut."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first stop string.

    Text that may turn out to be the beginning of a stop string is held back
    until that is known. Of several stop strings the one that is complete first
    counts, so the result does not depend on how the text was cut into tokens.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
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
            _, start, self.found = min(matches)
            return self._release(start, keep=False)
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

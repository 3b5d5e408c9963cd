"""A thought told from the answer after it: models write both in one text, ``<think>...</think>``
first. White space around the thought belongs to neither.
"""

from __future__ import annotations

from linnet.respond.tool_calls import overlap

OPENING, CLOSING = "<think>", "</think>"


class ReasoningReader:
    """Takes an answer as it comes."""

    def __init__(self, *, within: bool = False) -> None:
        """``within``: whether the prompt has begun the thought."""
        self._within = within
        self._undecided = not within
        self._after = False
        """Whether only white space came since the thought."""
        self._begun = False
        """Whether any of the thought came."""
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """Take more text; give more of the thought, and more of the answer."""
        self._held += text
        if self._undecided:
            begun = self._held.lstrip()
            if begun.startswith(OPENING):
                self._within, self._held = True, begun.removeprefix(OPENING)
            elif OPENING.startswith(begun):
                return "", ""  # it may become one
            self._undecided = False
        thought = self._thought() if self._within else ""
        return thought, "" if self._within else self._words()

    def finish(self) -> tuple[str, str]:
        """What was held, now that no more text comes."""
        held, self._held = self._held, ""
        return (held.rstrip(), "") if self._within else ("", "" if self._after else held)

    def _thought(self) -> str:
        """What is certainly of the thought."""
        found, closing, rest = self._held.partition(CLOSING)
        if closing:
            self._within, self._after, self._held = False, True, rest
            found = found.rstrip()
        else:
            kept = overlap(found, CLOSING)
            whole = found[: len(found) - kept].rstrip()  # space before the end is not told
            self._held = found[len(whole) :]
            found = whole
        if not self._begun:
            found = found.lstrip()
            self._begun = bool(found)
            if not self._begun and self._within:
                self._held = self._held.lstrip()
        return found

    def _words(self) -> str:
        words, self._held = self._held, ""
        if self._after:
            words = words.lstrip()
            self._after = not words
        return words

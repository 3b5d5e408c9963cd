"""Reads an answer as it comes: what of it is text, and what are calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linnet.respond.pieces import ToolCall, new_id
from linnet.respond.tools import CLOSING, OPENING, compact, load, parsed

if TYPE_CHECKING:
    from linnet.respond.tools import ToolFormat


class ToolReader:
    """Tells an answer's words from its calls, as it comes."""

    def __init__(
        self, format_: ToolFormat, names: Sequence[str], *, demanded: bool, several: bool = True
    ) -> None:
        """``demanded``: the answer is the JSON of a call, by a constraint. ``several``: whether
        calls after the first are told; otherwise they are left out.
        """
        self.called = False
        self._format = format_
        self._names = frozenset(names)
        self._several = several
        self._held = ""
        self._whole = demanded
        """Whether all is kept until the end, as it may be one call."""
        self._undecided = not demanded and format_.kind != "tags"
        self._began = False
        self._blank = ""
        """White space that is an answer's only if words follow it."""

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Take more text; give words that are no part of a call, and calls that are complete."""
        self._held += text
        if self._undecided and (begun := self._held.lstrip()):
            self._undecided = False
            self._whole = begun[0] in "{["
            if not self._whole:
                words, self._held = self._held, ""
                return words, []
        if self._whole or self._undecided:
            return "", []
        if self._format.kind != "tags":
            words, self._held = self._held, ""
            return words, []
        return self._between_tags()

    def finish(self) -> tuple[str, list[ToolCall]]:
        """What was held, now that no more text comes."""
        rest, self._held = self._held, ""
        if self._whole or rest.startswith(OPENING):
            calls = self._read(rest if self._whole else rest.removeprefix(OPENING))
            return (rest, []) if calls is None else ("", calls)
        return self._words(rest), []

    def _between_tags(self) -> tuple[str, list[ToolCall]]:
        words = ""
        calls: list[ToolCall] = []
        while True:
            before, opening, after = self._held.partition(OPENING)
            if not opening:
                kept = _beginning(self._held, OPENING)
                words += self._words(self._held[: len(self._held) - kept])
                self._held = self._held[len(self._held) - kept :]
                return words, calls
            inside, closing, after = after.partition(CLOSING)
            words += self._words(before)
            if not closing:
                self._held = self._held[len(before) :]
                return words, calls
            found = self._read(inside)
            if found is None:
                words += f"{OPENING}{inside}{CLOSING}"
            else:
                calls += found
            self._held = after

    def _words(self, text: str) -> str:
        """White space around calls is no answer."""
        if not text.strip() and (self.called or not self._began):
            self._blank += text
            return ""
        self._began = True
        text, self._blank = self._blank + text, ""
        return text

    def _read(self, text: str) -> list[ToolCall] | None:
        """The calls to tell of a piece of JSON; None if it is something else."""
        try:
            calls = self._calls(load(text))
        except (ValueError, RecursionError):
            return None
        if not calls:
            return None
        if not self._several:
            calls = [] if self.called else calls[:1]
        self.called = True
        self._blank = ""
        return calls

    def _calls(self, value: Any) -> list[ToolCall]:
        """A model may write any JSON at all: what names no tool of ours is no call."""
        calls = []
        for entry in value if isinstance(value, list) else [value]:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or name not in self._names:
                return []
            arguments = parsed(entry.get("arguments", entry.get("parameters")))
            written = "{}" if arguments is None else compact(arguments)
            calls.append(ToolCall(new_id("call_"), name, written))
        return calls


def _beginning(text: str, marker: str) -> int:
    """How many of the last characters could begin the marker."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-size:]):
            return size
    return 0

"""Reading a model's answer as it comes: which of it are words, and which are calls of tools."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from typing import Any

from linnet.respond.conversation import INPUT
from linnet.respond.pieces import ToolCall, ToolCallDelta, new_id
from linnet.respond.tools import CLOSING, MOST_CALLS, OPENING, ToolFormat, compact, load, parsed

_HEAD = re.compile(
    r'\s*[\[,]?\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*'
    r"(?=\{)"
)
_TEXT_HEAD = re.compile(rf'\{{\s*"{INPUT}"\s*:\s*"')
_TEXT_END = re.compile(r'"\s*\}|\\(?:u[0-9a-fA-F]{0,3})?')
_NESTING = re.compile(r'["\\{}\[\]]')
_UNIT = re.compile(r'[^"\\]+|\\(?:u[0-9a-fA-F]{4}|[^u])')
_REST = re.compile(r"[\s,\]}]*")


class ToolReader:
    """Tells an answer's words from its calls, as it comes."""

    def __init__(
        self,
        format_: ToolFormat,
        names: Collection[str],
        *,
        demanded: bool,
        several: bool = True,
        custom: Collection[str] = (),
        streams: bool = False,
    ) -> None:
        """``demanded``: the answer is calls, by a constraint, and begins within the first.
        ``several``: whether calls after the first are told; otherwise they are left out.
        ``custom``: those of the names that take a text. ``streams``: whether arguments are told
        as they come; what was begun is then a call, whatever follows.
        """
        self.called = False
        self._format = format_
        self._names = frozenset(names)
        self._custom = frozenset(custom)
        self._several = several
        self._streams = streams
        self._held = ""
        self._inside = demanded and format_.kind == "tags"
        """Whether what is held stands within a tag."""
        self._opening = "" if self._inside else OPENING
        self._whole = demanded and format_.kind != "tags"
        """Whether all is kept until the end, as it may be one call."""
        self._undecided = not demanded and format_.kind != "tags"
        self._began = False
        self._blank = ""
        """White space that is an answer's only if words follow it."""
        self._arguments = self._watched()

    def push(self, text: str) -> tuple[str, list[ToolCall | ToolCallDelta]]:
        """Take more text; give words that are no part of a call, and what there is of calls."""
        self._held += text
        if self._undecided and (begun := self._held.lstrip()):
            self._undecided = False
            self._whole = begun[0] in "{["
        if self._undecided:
            return "", []
        if self._whole:
            return "", self._told(self._held)
        if self._format.kind != "tags":
            words, self._held = self._held, ""
            return words, []
        return self._between_tags()

    def finish(self) -> tuple[str, list[ToolCall | ToolCallDelta]]:
        """What was held, now that no more text comes."""
        rest, self._held = self._held, ""
        if self._whole or self._inside:
            opening = self._opening if self._inside else ""
            return self._ended(rest, opening, "")
        return self._prose(rest), []

    def _between_tags(self) -> tuple[str, list[ToolCall | ToolCallDelta]]:
        words = ""
        found: list[ToolCall | ToolCallDelta] = []
        while True:
            if not self._inside:
                before, opening, after = self._held.partition(OPENING)
                if not opening:
                    end = len(before) - overlap(before, OPENING)
                    words += self._prose(before[:end])
                    self._held = before[end:]
                    return words, found
                words += self._prose(before)
                self._held, self._inside = after, True
                self._arguments = self._watched()
            inside, closing, after = self._held.partition(CLOSING)
            if not closing:
                end = len(inside) - overlap(inside, CLOSING)
                return words, [*found, *self._told(inside[:end])]
            more, calls = self._ended(inside, self._opening, CLOSING)
            words += more
            found += calls
            self._held, self._inside, self._opening = after, False, OPENING

    def _prose(self, text: str) -> str:
        """White space around calls is no answer."""
        if not text.strip() and (self.called or not self._began):
            self._blank += text
            return ""
        self._began = True
        text, self._blank = self._blank + text, ""
        return text

    def _watched(self) -> ArgumentsReader:
        several = self._several
        return ArgumentsReader(self._names, self._custom, most=MOST_CALLS if several else 1)

    def _told(self, text: str) -> list[ToolCall | ToolCallDelta]:
        """What is new of calls that are not complete."""
        if not self._streams or (self.called and not self._several and not self._arguments.ids):
            return []
        found = self._arguments.read(text)
        self.called = self.called or bool(found)
        return found

    def _ended(
        self, text: str, opening: str, closing: str
    ) -> tuple[str, list[ToolCall | ToolCallDelta]]:
        """The words and calls of a piece of JSON that is complete, or cut."""
        told = self._told(text)
        calls = self._read(text)
        reader, self._arguments = self._arguments, self._watched()
        if reader.ids:
            told += reader.finish(text)
            self._blank = ""
            if calls is not None:
                return "", told + calls[len(reader.ids) :]
            rest = text[reader.place :]
            return "" if _REST.fullmatch(rest) else rest + closing, told
        if calls is None:
            self._blank, blank = "", self._blank
            self._began = True
            return blank + opening + text + closing, told
        return "", [*told, *calls]

    def _read(self, text: str) -> list[ToolCall] | None:
        """The calls to tell of a piece of JSON; None if it is something else."""
        try:
            calls = self._calls(load(text))
        except (ValueError, RecursionError):
            return None
        if not calls:
            return None
        raw = ArgumentsReader(self._names, self._custom, most=len(calls))
        written = [piece for piece in raw.read(text) if isinstance(piece, ToolCall)]
        if [call.name for call in written] == [call.name for call in calls]:
            calls = written  # as the model wrote them
        if not self._several:
            calls = [] if self.called and not self._arguments.ids else calls[:1]
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
            if name in self._custom:
                calls.append(ToolCall(new_id("call_"), name, _text_of(arguments), custom=True))
                continue
            written = "{}" if arguments is None else compact(arguments)
            calls.append(ToolCall(new_id("call_"), name, written))
        return calls


class ArgumentsReader:
    """The arguments of calls in JSON that is still being written, as they are written."""

    def __init__(self, names: Collection[str], custom: Collection[str], *, most: int) -> None:
        """``custom``: those of the names that take a text; ``most``: calls that are read."""
        self.ids: list[str] = []
        """Of the calls that were begun."""
        self.place = 0
        """How far the text was read."""
        self._names, self._custom, self._most = names, custom, most
        self._name = ""
        self._start = self._scanned = 0
        self._depth = 0  # within the call; 0: none is open
        self._quoted = self._escaped = self._told = self._given_up = False
        self._text: list[str] = []  # of the call that is open, as far as it was told

    def read(self, text: str) -> list[ToolCall | ToolCallDelta]:
        """What is new; ``text`` is all so far."""
        found: list[ToolCall | ToolCallDelta] = []
        while not self._given_up:
            if not self._depth:
                head = None if len(self.ids) >= self._most else _HEAD.match(text, self.place)
                if head is None:
                    break
                try:
                    self._name = json.loads(head[1])
                except ValueError:
                    self._name = ""
                if self._name not in self._names:
                    self._given_up = True
                    break
                self.ids.append(new_id("call_"))
                self._depth, self._told, self._text = 1, False, []
                self._start = self.place = self._scanned = head.end()
                found.append(self._delta(""))
            end = self._scan(text)
            if not self._told:
                found += self._more(text, len(text) if end is None else end)
                if end is not None:
                    self._told = True
                    found += self._remaining(text, end)
                    found.append(self._call(text[self._start : end]))
                    self._scan(text)
            if self._depth:
                break
        return found

    def finish(self, text: str) -> list[ToolCall | ToolCallDelta]:
        """The rest of a call that was cut, or is no JSON; ``text`` is all there is."""
        if not self._depth or self._told:
            return []
        self._told = True
        found = self._more(text, len(text))
        found += self._remaining(text, len(text))
        self.place = len(text)
        return [*found, self._call(text[self._start :])]

    def _scan(self, text: str) -> int | None:
        """Go on to the end of the arguments, or of the call; None: the text ends before."""
        while self._depth:
            if self._escaped:
                if self._scanned >= len(text):
                    return None
                self._scanned += 1
                self._escaped = False
            mark = _NESTING.search(text, self._scanned)
            if mark is None:
                self._scanned = len(text)
                return None
            self._scanned = mark.end()
            sign = mark[0]
            if sign == "\\":
                self._escaped = self._quoted
            elif sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if sign in "{[" else -1
                if self._depth == 1 and not self._told:
                    return self._scanned
                if not self._depth:
                    self.place = self._scanned
        return None

    def _more(self, text: str, end: int) -> list[ToolCall | ToolCallDelta]:
        """Arguments up to there that were not told."""
        if self._name in self._custom:
            more = self._decoded(text, end)
        else:
            more, self.place = text[self.place : end], end
        if not more:
            return []
        self._text.append(more)
        return [self._delta(more)]

    def _decoded(self, text: str, end: int) -> str:
        """Of a text in JSON, what is complete."""
        if self.place == self._start:
            head = _TEXT_HEAD.match(text, self._start)
            if head is None:
                return ""
            self.place = head.end()
        found = []
        while unit := _UNIT.match(text, self.place, end):
            last = unit[0]
            if last[:2] == "\\u" and last[2:4].lower() in _FIRST_HALVES:
                other = _UNIT.match(text, unit.end(), end)
                if other is None and len(text) < unit.end() + 6:
                    break  # the other half of a character may follow
                if other is not None and other[0][:2] == "\\u":
                    last += other[0]
            found.append(last)
            self.place += len(last)
        return _from_json("".join(found))

    def _remaining(self, text: str, end: int) -> list[ToolCall | ToolCallDelta]:
        """What else a model wrote for a text where it wrote no JSON."""
        rest = text[self.place : end]
        if not self._text or not rest or _TEXT_END.fullmatch(rest):
            return []
        with contextlib.suppress(ValueError, RecursionError):
            load(text[self._start : end])
            return []
        self._text.append(rest)
        return [self._delta(rest)]

    def _delta(self, arguments: str) -> ToolCallDelta:
        custom = self._name in self._custom
        return ToolCallDelta(self.ids[-1], self._name, arguments, custom=custom)

    def _call(self, arguments: str) -> ToolCall:
        """The call with what was told of it, or where that is nothing with these arguments."""
        custom = self._name in self._custom
        told = "".join(self._text)
        if custom and not told:
            told = _text_of(parsed(arguments))
        return ToolCall(self.ids[-1], self._name, told, custom=custom)


_FIRST_HALVES = frozenset(f"d{digit}" for digit in "89ab")


def _from_json(inner: str) -> str:
    """A JSON string without its quotes; what is none stays as it is."""
    try:
        found = json.loads(f'"{inner}"', strict=False)
    except ValueError:
        return inner
    return str(found).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text_of(arguments: Any) -> str:
    """What a custom tool is given."""
    if isinstance(arguments, dict) and isinstance(arguments.get(INPUT), str):
        return str(arguments[INPUT])
    return arguments if isinstance(arguments, str) else compact(arguments)


def overlap(text: str, marker: str) -> int:
    """How many of the last characters could begin the marker."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-size:]):
            return size
    return 0

"""Private values as placeholders on their way out, and as themselves in the answer.

Each value has one placeholder in a conversation, ``[EMAIL_1]``, whose number occurs nowhere in it
yet. A model may change how one is written (case, blanks, a missing bracket, Markdown's
backslashes): it is known all the same. One that nobody gave out stays as it is, and is counted. In
an address that a program may open by itself none is put back: a model could otherwise send a value
to whoever it likes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from linnet.config import parse_json
from linnet.data.privacy.span import Span, without_overlaps
from linnet.respond.pieces import (
    Batch,
    Decision,
    Finish,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
)

_PLACEHOLDER = re.compile(
    r"(?P<open>\\?\[[ \t]?)?(?<![A-Za-z0-9])"
    r"(?P<kind>[A-Za-z][A-Za-z0-9]{0,30}(?:\\?_[A-Za-z0-9]{1,30}){0,4}?)"
    r"[ \t]?\\?[_ \-][ \t]?(?P<number>[0-9]{1,6})(?![0-9A-Za-z])(?P<close>[ \t]?\\?\])?"
)
"""However a model may write one; without brackets only in capitals, as it was given."""
_BEGINNING = re.compile(
    r"(?:\\|\\?\[[ \t]?[A-Za-z0-9_\\ \-]{0,80}|(?<![A-Za-z0-9])[A-Z][A-Z0-9_\\ \-]{0,80})\Z"
)
"""What may be the beginning of one, at the end of a text."""
LONGEST = 100
"""Characters of a placeholder, as a model may write it."""
_ADDRESS = re.compile(
    r"//|\]\(|\bwww\.|\w\.[a-z]{2,24}(?::\d{1,5})?[/?#]|\b(?:src|href|data|javascript|url)\s*[=:(]",
    re.IGNORECASE,
)
"""Also one without a scheme, which programs make a link of."""
_CARRIED = 2_000  # characters of an address that are looked at

Spans: TypeAlias = Callable[[str], Iterable[Span]]


@dataclass
class Masking:
    """The placeholders of one conversation, given out as values are found."""

    taken: frozenset[tuple[str, int]] = frozenset()
    """Kinds and numbers that occur in the conversation by themselves."""
    values: dict[tuple[str, int], str] = field(default_factory=dict)
    _placeholders: dict[tuple[str, str], str] = field(default_factory=dict)
    _next: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Masking:
        """For a conversation of these texts."""
        found = {
            (_kind(match), int(match["number"]))
            for text in texts
            for match in _PLACEHOLDER.finditer(text)
        }
        return cls(frozenset(found))

    def placeholder(self, kind: str, value: str) -> str:
        """The one of a value; the same for the same value."""
        known = self._placeholders.get((kind, value))
        if known is None:
            number = self._next[kind] + 1
            while (kind, number) in self.taken:
                number += 1
            self._next[kind] = number
            known = self._placeholders[kind, value] = f"[{kind}_{number}]"
            self.values[kind, number] = value
        return known

    def mask(self, text: str, spans: Iterable[Span]) -> str:
        """A text with placeholders in the place of what was found."""
        parts, at = [], 0
        for span in without_overlaps(spans):
            parts += [text[at : span.start],
                      self.placeholder(span.kind, text[span.start : span.end])]  # fmt: skip
            at = span.end
        return "".join((*parts, text[at:])) if parts else text

    def mask_json(self, text: str, spans: Spans) -> str:
        """Arguments or a schema in JSON, with what its strings hold masked; another text as one."""
        try:
            value = parse_json(text)
        except ValueError:
            return self.mask(text, spans(text))
        masked = mapped(value, lambda own: self.mask(own, spans(own)))
        return text if masked == value else json.dumps(masked, ensure_ascii=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many values of each kind have a placeholder."""
        return dict(sorted(Counter(kind for kind, _ in self.values).items()))


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its strings changed, keys and whole numbers of many digits too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): mapped(own, change) for key, own in value.items()}
    if isinstance(value, list):
        return [mapped(own, change) for own in value]
    if isinstance(value, int) and not isinstance(value, bool):
        changed = change(str(value))
        return value if changed == str(value) else changed
    return value


def _kind(match: re.Match[str]) -> str:
    return match["kind"].replace("\\", "").upper()


class Unmasking:
    """Puts values back into one answer, piece by piece."""

    def __init__(self, masking: Masking) -> None:
        self._values = masking.values
        self._names = frozenset(_name(kind) for kind, _ in masking.values)
        self._streams: dict[tuple[int, type[Piece]], _Stream] = {}
        self.unknown = 0
        """Placeholders of the answer that nobody gave out."""
        self.withheld = 0
        """That stay, as they are in an address."""
        self._told = False

    def __call__(self, batch: Batch) -> Batch:
        """A batch with the values in their places. Text that may be the beginning of a placeholder
        comes with the next batch."""
        found: list[Piece] = []
        for piece in batch:
            match piece:
                case Text() | Reasoning() | Refusal():
                    found += self._flush(piece.choice, but=type(piece))
                    stream = self._streams.setdefault((piece.choice, type(piece)), _Stream())
                    text = stream.push(piece, self._names, self._restored)
                    if text or (isinstance(piece, Text) and (piece.scores or piece.tokens)):
                        found.append(replace(piece, text=text))
                case ToolCallDelta():
                    pass  # the whole call follows, in which the values are
                case ToolCall():
                    found += self._flush(piece.choice)
                    found.append(replace(piece, arguments=self._arguments(piece)))
                case Finish():
                    found += self._flush(piece.choice)
                    found += self._decisions()
                    found.append(piece)
                case _:
                    found.append(piece)
        return found

    def _flush(self, choice: int, *, but: type[Piece] | None = None) -> list[Piece]:
        """What was held back of a choice; of all kinds of text but one."""
        found: list[Piece] = []
        for (own, kind), stream in self._streams.items():
            if own == choice and kind is not but and (rest := stream.end(self._restored)):
                assert stream.last is not None
                last = stream.last
                if isinstance(last, Text):
                    last = replace(last, tokens=(), scores=())
                found.append(replace(last, text=rest))
        return found

    def _decisions(self) -> list[Piece]:
        """What became of placeholders that were not put back; told once."""
        if self._told or not (self.unknown or self.withheld):
            return []
        self._told = True
        said = [f"{self.unknown} that were not given out"] * bool(self.unknown)
        said += [f"{self.withheld} in addresses"] * bool(self.withheld)
        return [Decision("policy", "placeholders left", ", ".join(said))]

    def _arguments(self, call: ToolCall) -> str:
        """Those of a call. In JSON the values are put into its strings, whatever they hold."""

        def put(text: str) -> str:
            return self._restored(text, "")

        if call.custom:
            return put(call.arguments)
        try:
            value = parse_json(call.arguments)
        except ValueError:
            return put(call.arguments)
        restored = mapped(value, put)
        return call.arguments if restored == value else json.dumps(restored, ensure_ascii=False)

    def _restored(self, text: str, before: str) -> str:
        """A text with values. ``before``: what stands before it in its line."""
        line = before + text

        def value(match: re.Match[str]) -> str:
            bare = match["open"] is None or match["close"] is None
            own = self._values.get((_kind(match), int(match["number"])))
            if bare and not (own is not None and match["kind"].isupper()):
                return match[0]
            if own is None:
                self.unknown += _kind(match) in {kind for kind, _ in self._values}
                return match[0]
            if _in_address(line[: match.start()]):
                self.withheld += 1
                return match[0]
            # A bracket without its partner may belong to the text around.
            lead = match["open"] or "" if match["close"] is None else ""
            trail = match["close"] or "" if match["open"] is None else ""
            return f"{lead}{own}{trail}"

        parts, at = [], len(before)
        for match in _PLACEHOLDER.finditer(line, max(0, len(before) - 1)):
            if match.start() >= at:
                parts += [line[at : match.start()], value(match)]
                at = match.end()
        return "".join((*parts, line[at:]))


@dataclass
class _Stream:
    """The text of one choice and kind, as far as it was not given yet."""

    held: str = ""
    line: str = ""
    """What was given of the current line, as the model wrote it."""
    last: Text | Reasoning | Refusal | None = None

    def push(
        self,
        piece: Text | Reasoning | Refusal,
        names: frozenset[str],
        restored: Callable[[str, str], str],
    ) -> str:
        """More text; gives what can be given of it."""
        self.last = piece
        text = self.held + piece.text
        cut = _cut(text, names)
        self.held = text[cut:]
        return self._give(text[:cut], restored)

    def end(self, restored: Callable[[str, str], str]) -> str:
        """All that is left."""
        text, self.held = self.held, ""
        return self._give(text, restored)

    def _give(self, text: str, restored: Callable[[str, str], str]) -> str:
        if not text:
            return ""
        given = restored(text, self.line)
        self.line = (self.line + text).rpartition("\n")[2][-_CARRIED:]
        return given


def _cut(text: str, names: frozenset[str]) -> int:
    """Up to where a text can be given: what follows may turn out to be a placeholder.

    ``names``: of the kinds that there are.
    """
    match = _BEGINNING.search(text, max(0, len(text) - LONGEST))
    if match is None:
        return len(text)
    begun = _name(match[0])
    may_be = begun.rstrip("0123456789") in names or any(name.startswith(begun) for name in names)
    return match.start() if may_be else len(text)


def _name(text: str) -> str:
    """A placeholder, or the beginning of one, by its letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", text).upper()


def _in_address(before: str) -> bool:
    """Whether what follows is part of an address, by what stands before it in its line."""
    line = before[-_CARRIED:].rpartition("\n")[2]
    if line.rfind("](<") > line.rfind(">"):
        return True
    run = re.split(r"\s", line)[-1]
    return _ADDRESS.search(run) is not None


def merged(spans: Sequence[Span]) -> list[Span]:
    """Spans as they are masked: those that overlap as one, of the first's kind."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if found and span.start < found[-1].end:
            first = found[-1]
            found[-1] = Span(first.start, max(first.end, span.end), first.kind)
        else:
            found.append(span)
    return found

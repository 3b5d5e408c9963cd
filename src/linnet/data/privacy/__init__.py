"""Personal data and secrets: found, counted, and masked or replaced by stand-ins.

Found are e-mail addresses, telephone numbers, postal addresses, IP addresses,
payment cards, IBANs, keys, tokens and passwords, and what the settings name;
names of people (``names``) only where they are asked for, since a list and the
words around cannot be sure, and stories are full of them. What is found is never
logged and never part of an error.

This is the one place for detectors: what masks answers (``answers.privacy``) and
what may leave the machine (``routing.policy``) ask it.

Which kinds are looked for depends on the family: in source code numbers that
look like telephone numbers are constants, and what looks like a street is not
one.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.data.positions import Edit, Edited, Positions
from linnet.data.privacy.emails import emails
from linnet.data.privacy.names import NAME, called_in, names_of_people
from linnet.data.privacy.numbers import addresses_of_machines, cards, ibans
from linnet.data.privacy.phones import phones
from linnet.data.privacy.pseudonyms import (
    Pseudonyms,
    canonical,
    is_pseudonym,
    is_reserved,
    masked_spans,
)
from linnet.data.privacy.secrets import assigned, secrets
from linnet.data.privacy.span import Span, without_overlaps
from linnet.data.privacy.street_addresses import addresses
from linnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linnet.data.config import DataConfig
    from linnet.data.kinds import Family

__all__ = [
    "NAME", "Scrubbed", "Scrubber", "Span", "called_in", "canonical", "is_reserved", "masked_spans",
]  # fmt: skip

_DETECTORS = (secrets, assigned, emails)
_OF_NUMBERS = (addresses_of_machines, cards, ibans, phones, addresses)
_DIGIT = re.compile(r"[0-9]")
# Letters, digits and the signs of addresses and numbers that are as wide as an ideograph.
_NARROW = {
    code: code - 0xFEE0
    for first, last in ("０９", "ＡＺ", "ａｚ", "＠＠", "．．", "＿＿", "＋＋", "－－", "（）")
    for code in range(ord(first), ord(last) + 1)
} | {ord("﹫"): ord("@")}
# Scripts without blanks between words: their letters may touch a number and end it.
_TOUCHING = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_MOST_PASSES = 8
_PATTERN = re.compile(r"([A-Z][A-Z0-9_]{0,30})=(.+)", re.DOTALL)
# A repetition without end inside another: such patterns may take for ever on a hostile line.
_NESTED = re.compile(
    r"(?<!\\)\((?:[^()\\]|\\.)*(?:[+*]|\{\d*,\})(?:[^()\\]|\\.)*\)(?:[+*]|\{\d*,\})"
)


@dataclass(frozen=True)
class Scrubbed:
    """A text without personal data, and how often each kind was found in it. ``positions``
    leads from the text as it was to this one."""

    text: str
    counts: dict[str, int]
    positions: Positions = field(default_factory=Positions, compare=False)


class Scrubber:
    """Finds personal data and does with it what the settings say."""

    def __init__(
        self,
        mode: str,
        key: str,
        patterns: tuple[str, ...],
        allow: tuple[str, ...],
        *,
        names: bool = False,
    ) -> None:
        """``names``: whether names of people are looked for."""
        self._mode = mode
        self._names = names
        self._pseudonyms = Pseudonyms(key)
        self._patterns = tuple(map(_user_pattern, patterns))
        self._allowed = frozenset(value.strip().casefold() for value in allow)

    @classmethod
    def of(cls, config: DataConfig) -> Scrubber:
        """The scrubber of these settings. Raises ConfigError for a pattern that cannot work."""
        return _scrubber(
            config.privacy, config.privacy_key, config.privacy_patterns, config.privacy_allow,
            config.privacy_names,
        )  # fmt: skip

    def scrub(self, text: str, family: Family, called: frozenset[str] = frozenset()) -> Scrubbed:
        """The text with what was found masked, replaced or left, as the settings say.

        Scrubbing what comes out finds nothing more (patterns of the user aside),
        except under "keep": what a mask uncovers, such as a number that stood against a
        key, is looked for in turn. ``called``: as for :meth:`find`.
        """
        counts: Counter[str] = Counter()
        edited = Edited(text)
        for _ in range(1 if self._mode == "keep" else _MOST_PASSES):
            if not edited.apply(list(self._edits(edited.text, family, counts, called))):
                break
        return Scrubbed(edited.text, dict(sorted(counts.items())), edited.positions)

    def find(self, text: str, family: Family, called: frozenset[str] = frozenset()) -> list[Span]:
        """What is found in a text, from left to right. ``called``: by which words people may be
        called in it, as other texts name them in full (``names.called_in``)."""
        return list(without_overlaps(self._found(text, family, called)))

    def _edits(
        self, text: str, family: Family, counts: Counter[str], called: frozenset[str]
    ) -> Iterator[Edit]:
        for span in self.find(text, family, called):
            counts[span.kind] += 1
            found = text[span.start : span.end]
            instead = self._instead(span.kind, found)
            if instead != found:
                yield span.start, span.end, instead

    def _found(self, text: str, family: Family, called: frozenset[str]) -> Iterator[Span]:
        plain = text if text.isascii() else text.translate(_NARROW)
        for detector in _DETECTORS:
            yield from self._not_allowed(detector(plain, family), text)
        if self._names:
            yield from self._not_allowed(names_of_people(plain, family, called), text)
        if _DIGIT.search(plain):
            numbers = plain if text.isascii() else _TOUCHING.sub("、", plain)
            for detector in _OF_NUMBERS:
                yield from self._not_allowed(detector(numbers, family), text)
        for name, pattern in self._patterns:
            for match in pattern.finditer(text):
                if match.end() > match.start() and match[0].casefold() not in self._allowed:
                    yield Span(match.start(), match.end(), name)

    def _not_allowed(self, spans: Iterable[Span], text: str) -> Iterator[Span]:
        for span in spans:
            if not self._is_allowed(span.kind, text[span.start : span.end]):
                yield span

    def _is_allowed(self, kind: str, value: str) -> bool:
        value = value.translate(_NARROW)
        if self._mode == "pseudonym" and is_pseudonym(kind, value):
            return True
        if not self._allowed:
            return False
        value = value.casefold()
        domain = "@" + value.rpartition("@")[2] if kind == "EMAIL" else value
        return value in self._allowed or domain in self._allowed

    def _instead(self, kind: str, value: str) -> str:
        if self._mode == "keep":
            return value
        value = value.translate(_NARROW)
        return self._pseudonyms.of(kind, value) if self._mode == "pseudonym" else f"<{kind}>"


@functools.lru_cache(maxsize=8)
def _scrubber(
    mode: str, key: str, patterns: tuple[str, ...], allow: tuple[str, ...], names: bool
) -> Scrubber:
    return Scrubber(mode, key, patterns, allow, names=names)


def _user_pattern(entry: str) -> tuple[str, re.Pattern[str]]:
    parts = _PATTERN.fullmatch(entry)
    if parts is None:
        raise ConfigError(
            f"privacy_patterns are NAME=REGEX with a name in capitals, such as CASE. Got '{entry}'"
        )
    try:
        pattern = re.compile(parts[2])
    except re.error as error:
        raise ConfigError(
            f"privacy_patterns: {parts[1]} is no regular expression: {error}"
        ) from None
    if pattern.match(""):
        raise ConfigError(f"privacy_patterns: {parts[1]} must not match an empty text")
    if _NESTED.search(parts[2]):
        raise ConfigError(
            f"privacy_patterns: {parts[1]} repeats a repetition, as in (a+)+, which may never end. "
            "Give the inner or outer one an upper bound, such as {1,9}"
        )
    return parts[1], pattern

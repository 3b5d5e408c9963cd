"""How much work a grammar makes for llama.cpp, found out before llama.cpp sees it.

llama.cpp holds every way in which the text so far can be read as a stack of what has to come,
and for each token that it rejects goes through all of them, and all ways on from there. So
a short grammar that can be read in many ways takes it minutes for one token. Here its
algorithm is followed on texts that are read in as many ways as possible: greedily, from the
beginning of each rule, and within a bound on the work itself. That finds ambiguity wherever
a few characters show it. What it does not find is left to the ``watchdog``.

Reference: ``llama_grammar_advance_stack`` in ``src/llama-grammar.cpp`` of
https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from linnet.errors import ConfigError
from linnet.generate.constraints.patterns import (
    Characters,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Repeated,
    Rule,
    Sequenced,
    Substring,
    Text,
)

MOST_ELEMENTS = 200_000
"""Elements of a grammar when llama.cpp has written out its repetitions."""
LONGEST = 500_000
"""Characters of a text as far as its length is bounded: llguidance counts them."""
MOST_STACKS = 2_000
"""Ways on at one place of a text."""
MOST_PATHS = 20_000
"""Ways to read the characters of one token."""
MOST_LASTING = 64
"""Ways to read a text of some length, which only grow in number."""

_TOKEN = 6  # characters
_LENGTH = 100  # characters after which ambiguity is called lasting
_EXPANSIONS = 20_000  # from one stack to all that can come next
_WORK = 20_000  # expansions after which longer texts and other rules are looked at no more
_RANGES = 8  # of a class, whose ends are looked at
_WORK_ON_RULES = 25_000  # with those on each rule alone
_SHARE_OF_SCHEMA = 4  # so much less for rules of our own making, which are seldom ambiguous
_CANDIDATES = 8  # characters looked at at each place
_TRIED = 2  # and of these, those that fit most ways, read


def require_bounded(rules: Mapping[str, Pattern], *, root: str, kind: str) -> None:
    """Raise ConfigError for rules that would make too much work. ``kind``: what they were."""
    require_small(rules, kind=kind)
    reader = _Reader(rules, kind)
    share = _SHARE_OF_SCHEMA if kind in ("json_schema", "set of tools") else 1
    reader.follow(rules[root], allowed=_WORK // share)
    for name, pattern in rules.items():
        if name != root and reader.work < _WORK_ON_RULES // share:
            reader.follow(pattern, allowed=_WORK_ON_RULES // share)


def require_small(rules: Mapping[str, Pattern], *, kind: str) -> None:
    """Raise ConfigError for rules that are long when their repetitions are written out."""
    if sum(map(_elements, rules.values())) > MOST_ELEMENTS:
        raise ConfigError(
            f"a {kind} must have at most {MOST_ELEMENTS:,} parts when its repetitions are written "
            "out one by one; repeat less within what is repeated"
        )


def require_short(rules: Mapping[str, Pattern], *, kind: str) -> None:
    """Raise ConfigError for rules that count further than llguidance does."""
    if any(_length(pattern) > LONGEST for pattern in rules.values()):
        raise ConfigError(
            f"a {kind} must repeat what it repeats at most {LONGEST:,} times in all. Got more; "
            "repeat less within what is repeated"
        )


def _length(pattern: Pattern) -> int:
    """How long a text may be, what has no bound and other rules counted once."""
    match pattern:
        case Text(value):
            return len(value)
        case Characters() | Rule():
            return 1
        case Sequenced(parts):
            return sum(map(_length, parts))
        case Either(choices):
            return max(map(_length, choices), default=0)
        case Repeated(part, least, most):
            return max(least, most or 0, 1) * _length(part)
        case Lexeme(part):
            return _length(part)
        case Matching() | Substring():  # has so many states at most
            return 1


def _elements(pattern: Pattern) -> int:
    """Elements of a pattern as llama.cpp has it, up to a little more than may be."""
    match pattern:
        case Text(value):
            return 1 + len(value)
        case Characters(ranges):
            return 1 + len(ranges)
        case Rule():
            return 1
        case Sequenced(parts) | Either(parts):
            return 1 + min(MOST_ELEMENTS, sum(_elements(part) for part in parts))
        case Repeated(part, least, most):
            times = max(least, most or 0, 1)
            once = 1 + _elements(part)
            if isinstance(part, Sequenced | Either | Repeated):  # written as a rule of its own
                return min(MOST_ELEMENTS + 1, once + 3 * times)
            return min(MOST_ELEMENTS + 1, times * (1 + once))
    raise TypeError("a grammar is measured when it is written out")


class _Stack:
    """What has to come first, and what after it (None: nothing more). One object for each."""

    __slots__ = ("pattern", "rest")

    def __init__(self, pattern: Pattern, rest: _Stack | None) -> None:
        self.pattern = pattern
        self.rest = rest


Ways: TypeAlias = "Counter[_Stack]"
"""Stacks that begin with a character, with the number of ways that lead to each."""


class _Reader:
    """Follows rules as llama.cpp does."""

    def __init__(self, rules: Mapping[str, Pattern], kind: str) -> None:
        self.rules = rules
        self.kind = kind
        self.work = 0
        self._stacks: dict[tuple[int, int], _Stack] = {}
        self._repeated: dict[tuple[int, int, int | None], Repeated] = {}
        self._texts: dict[str, Text] = {}
        self._ways: dict[_Stack, Ways] = {}

    def follow(self, pattern: Pattern, *, allowed: int) -> None:
        """Read the text that can be read in the most ways. Raises ConfigError for too many.

        ``allowed``: how much work may have been done when a longer text is looked at no more.
        """
        start = paths = self._expanded(self._stack(pattern, None))
        if len(start) > MOST_STACKS:
            raise self._refusal()
        for _ in range(_TOKEN):
            paths = self._step(paths, most=MOST_PATHS)
        stacks = start
        for _ in range(_LENGTH):
            before = stacks
            stacks = Counter(dict.fromkeys(self._step(stacks, most=MOST_PATHS), 1))
            if not stacks or stacks == before:
                return
            if self.work > allowed:
                if len(stacks) > MOST_STACKS // 2:
                    raise self._refusal()
                return
        if len(stacks) > MOST_LASTING:
            raise self._refusal()

    def _step(self, stacks: Ways, *, most: int) -> Ways:
        """All ways on after the character that leaves the most of them, at most so many."""
        best: Ways = Counter()
        best_total = 0
        for code in _likeliest(stacks):
            found: Ways = Counter()
            total = 0
            for stack, count in stacks.items():
                if _begins_with(stack.pattern, code):
                    for one, own in self._after_character(stack).items():
                        found[one] += own * count
                        total += own * count
                    if total > most:
                        raise self._refusal()
            self.work += len(stacks) // 8 + len(found)
            if total > best_total:
                best, best_total = found, total
        return best

    def _after_character(self, stack: _Stack) -> Ways:
        pattern = stack.pattern
        if isinstance(pattern, Text) and len(pattern.value) > 1:
            rest = self._texts.setdefault(pattern.value[1:], Text(pattern.value[1:]))
            return Counter({self._stack(rest, stack.rest): 1})
        return self._expanded(stack.rest)

    def _expanded(self, stack: _Stack | None) -> Ways:
        """All ways to the next character."""
        if stack is None:
            return Counter()
        if stack in self._ways:
            return self._ways[stack]
        found: Ways = Counter()
        todo = [stack]
        steps = 0
        while todo:
            steps += 1
            if steps > _EXPANSIONS:
                raise self._refusal()
            one = todo.pop()
            if isinstance(one.pattern, Characters) or (
                isinstance(one.pattern, Text) and one.pattern.value
            ):
                found[one] += 1
            else:
                todo += [way for way in self._opened(one) if way is not None]
        self.work += steps
        self._ways[stack] = found
        return found

    def _opened(self, stack: _Stack) -> list[_Stack | None]:
        """What a stack means whose first pattern is made of others."""
        rest = stack.rest
        match stack.pattern:
            case Rule(name):
                return [self._stack(self.rules[name], rest)]
            case Sequenced(parts):
                for part in reversed(parts):
                    rest = self._stack(part, rest)
                return [rest]
            case Either(choices):
                return [self._stack(choice, rest) for choice in choices]
            case Repeated(part, least, most):
                if most == 0:
                    return [rest]
                more = self._stack(part, self._stack(self._once_less(part, least, most), rest))
                return [more] if least else [rest, more]
        return [rest]  # an empty text

    def _once_less(self, part: Pattern, least: int, most: int | None) -> Repeated:
        left = (max(0, least - 1), None if most is None else most - 1)
        key = (id(part), *left)
        if key not in self._repeated:
            self._repeated[key] = Repeated(part, *left)
        return self._repeated[key]

    def _stack(self, pattern: Pattern, rest: _Stack | None) -> _Stack:
        key = (id(pattern), id(rest))
        if key not in self._stacks:
            self._stacks[key] = _Stack(pattern, rest)
        return self._stacks[key]

    def _refusal(self) -> ConfigError:
        return ConfigError(
            f"a {self.kind} must be readable in few ways: the same text fits this one in too many, "
            "which would take llama.cpp minutes; have less in it that is optional or repeated "
            "beside its like, and no rule that begins with itself"
        )


def _likeliest(stacks: Ways) -> list[int]:
    """Characters that fit the most ways, those that are tried."""
    found: Counter[int] = Counter()
    for stack, count in stacks.items():
        match stack.pattern:
            case Text(value):
                found[ord(value[0])] += count
            case Characters(ranges):
                for first, last in ranges[:_RANGES]:
                    found[first] += count
                    found[last] += count
    likely = [code for code, _ in found.most_common(_CANDIDATES)]
    fitting = {
        code: sum(n for stack, n in stacks.items() if _begins_with(stack.pattern, code))
        for code in likely
    }
    return sorted(likely, key=lambda code: -fitting[code])[:_TRIED]


def _begins_with(pattern: Pattern, code: int) -> bool:
    if isinstance(pattern, Text):
        return ord(pattern.value[0]) == code
    assert isinstance(pattern, Characters)
    place = bisect_right(pattern.ranges, code, key=lambda part: part[0])
    return place > 0 and code <= pattern.ranges[place - 1][1]

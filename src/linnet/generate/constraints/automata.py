"""Finite automata: what several regular patterns allow together, and what one does not.

llama.cpp's grammars know neither "and" nor "not", so a :class:`~.patterns.Matching` is written
out for it as the states of a deterministic automaton, a rule each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, pairwise

from linnet.errors import ConfigError
from linnet.generate.constraints.gbnf import MOST_REPEATS
from linnet.generate.constraints.patterns import (
    Characters,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Ranges,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Substring,
    Text,
    merged,
)

MOST_STATES = 2_000
"""Of one automaton."""
MOST_NODES = 30_000
"""Of what it is made from, when repetitions are written out."""
_MOST_MEMBERS = 1_000_000
"""Of all states together: sets of nodes, which a text that is full of repetition makes large."""


class Automaton:
    """A nondeterministic automaton; a set of its states tells where a text stands."""

    def __init__(self, pattern: Pattern) -> None:
        """Raises ConfigError for a pattern that is too large."""
        self.moves: list[list[tuple[Ranges, int]]] = []
        self._free: list[list[int]] = []
        first, self._last = self._node(), self._node()
        self._build(pattern, first, self._last)
        self.start = self.closed([first])

    def accepts(self, states: frozenset[int]) -> bool:
        """Whether a text may end here."""
        return self._last in states

    def matches(self, text: str) -> bool:
        """Whether a whole text is allowed."""
        states = self.start
        for code in map(ord, text):
            states = self.closed(
                target
                for state in states
                for ranges, target in self.moves[state]
                if any(first <= code <= last for first, last in ranges)
            )
            if not states:
                return False
        return self.accepts(states)

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        """States with all that are reached from them without a character."""
        todo = list(states)
        found = set(todo)
        while todo:
            for state in self._free[todo.pop()]:
                if state not in found:
                    found.add(state)
                    todo.append(state)
        return frozenset(found)

    def _node(self) -> int:
        if len(self.moves) >= MOST_NODES:
            raise ConfigError(
                "a pattern that holds together with another must have at most "
                f"{MOST_NODES:,} parts when its repetitions are written out"
            )
        self.moves.append([])
        self._free.append([])
        return len(self.moves) - 1

    def _build(self, pattern: Pattern, start: int, end: int) -> None:
        match pattern:
            case Text(value):
                for character in value:
                    after = self._node()
                    self.moves[start].append((_one(character), after))
                    start = after
                self._free[start].append(end)
            case Characters(ranges):
                self.moves[start].append((ranges, end))
            case Rule(name):
                raise TypeError(f"a regular pattern refers to the rule {name}")
            case Lexeme(part):
                self._build(part, start, end)
            case Sequenced(parts):
                for part in parts:
                    after = self._node()
                    self._build(part, start, after)
                    start = after
                self._free[start].append(end)
            case Either(choices):
                for choice in choices:
                    self._build(choice, start, end)
            case Repeated(part, least, most):
                self._build_repeated(part, least, most, start, end)
            case Substring(pieces):
                self._build_substring(pieces, start, end)
            case Matching():
                raise ConfigError("a pattern must not hold together with others twice")

    def _build_substring(self, pieces: tuple[str, ...], start: int, end: int) -> None:
        """A chain of all pieces, which a text may join before and leave behind each of them."""
        self._free[start].append(end)
        here = self._node()
        for piece in pieces:
            self._free[start].append(here)
            for character in piece:
                after = self._node()
                self.moves[here].append((_one(character), after))
                here = after
            self._free[here].append(end)

    def _build_repeated(
        self, part: Pattern, least: int, most: int | None, start: int, end: int
    ) -> None:
        for _ in range(least):
            after = self._node()
            self._build(part, start, after)
            start = after
        if most is None:
            loop = self._node()
            self._free[start].append(loop)
            self._build(part, loop, loop)
            start = loop
        else:
            for _ in range(most - least):
                after = self._node()
                self._free[start].append(end)
                self._build(part, start, after)
                start = after
        self._free[start].append(end)


class _Alphabet:
    """Sets of characters that all of some automata treat alike: few, whatever Unicode has."""

    def __init__(self, automata: Sequence[Automaton]) -> None:
        labels = dict.fromkeys(
            ranges for one in automata for moves in one.moves for ranges, _ in moves
        )
        begun: dict[int, list[int]] = {}
        for number, ranges in enumerate(labels):
            for first, last in ranges:
                begun.setdefault(first, []).append(number)
                begun.setdefault(last + 1, []).append(~number)
        now: set[int] = set()
        sets: dict[frozenset[int], list[tuple[int, int]]] = {}
        for first, following in pairwise(sorted(begun)):
            for number in begun[first]:
                now.symmetric_difference_update((number if number >= 0 else ~number,))
            if now:
                sets.setdefault(frozenset(now), []).append((first, following - 1))
        self.ranges = [merged(ranges) for ranges in sets.values()]
        self._known: dict[tuple[Automaton, frozenset[int]], dict[int, frozenset[int]]] = {}
        self._sets_of: dict[Ranges, list[int]] = {label: [] for label in labels}
        names = list(labels)
        for number, own in enumerate(sets):
            for label in own:
                self._sets_of[names[label]].append(number)

    def after(self, automaton: Automaton, states: frozenset[int]) -> dict[int, frozenset[int]]:
        """Where each set of characters leads from these states, if anywhere."""
        known = self._known.get((automaton, states))
        if known is None:
            found: dict[int, set[int]] = {}
            for state in states:
                for label, target in automaton.moves[state]:
                    for number in self._sets_of[label]:
                        found.setdefault(number, set()).add(target)
            known = {number: automaton.closed(targets) for number, targets in found.items()}
            self._known[automaton, states] = known
        return known


State = tuple[frozenset[int], ...]
_NOWHERE: frozenset[int] = frozenset()


class _Together:
    """The deterministic automaton of a :class:`Matching`."""

    def __init__(self, matching: Matching) -> None:
        self.every = [Automaton(pattern) for pattern in matching.every]
        self.all = [*self.every, *map(Automaton, matching.none)]
        alphabet = _Alphabet(self.all)
        start = tuple(automaton.start for automaton in self.all)
        places: dict[State, int] = {start: 0}
        self.after: list[dict[int, Ranges]] = []
        states = [start]
        passages = sum(map(_characters_of_passages, (*matching.every, *matching.none)))
        most, members = MOST_STATES + 3 * passages, 0
        for state in states:  # grows on the way
            targets: dict[int, list[tuple[int, int]]] = {}
            members += sum(map(len, state))
            for number, target in self._moves(alphabet, state):
                if target not in places:
                    if len(states) >= most or members > _MOST_MEMBERS:
                        raise ConfigError(
                            "patterns and lengths that hold together must need at most "
                            f"{most:,} states; loosen one of them"
                        )
                    places[target] = len(states)
                    states.append(target)
                targets.setdefault(places[target], []).extend(alphabet.ranges[number])
            self.after.append({target: merged(ranges) for target, ranges in targets.items()})
        self.accepting = [self._accepts(state) for state in states]

    def rules(self, prefix: str) -> Rules | None:
        """Its states as rules, ``prefix-0`` first; None where it allows no text."""
        alive = {place for place, accepts in enumerate(self.accepting) if accepts}
        before: dict[int, set[int]] = {}
        for place, targets in enumerate(self.after):
            for target in targets:
                before.setdefault(target, set()).add(place)
        todo = list(alive)
        while todo:
            for place in before.get(todo.pop(), ()):
                if place not in alive:
                    alive.add(place)
                    todo.append(place)
        if 0 not in alive:
            return None
        after = [
            {target: ranges for target, ranges in targets.items() if target in alive}
            for targets in self.after
        ]
        comers = Counter(target for place in alive for target in after[place])
        passed = {  # each stands in the one rule that leads to it
            place for place in alive
            if place and comers[place] == len(after[place]) == 1 and not self.accepting[place]
        }  # fmt: skip
        found: Rules = {}
        for place in sorted(alive - passed):
            choices: list[Pattern] = [Text("")] if self.accepting[place] else []
            for target, ranges in after[place].items():
                parts = [ranges]
                while target in passed:
                    ((target, ranges),) = after[target].items()
                    parts.append(ranges)
                choices.append(Sequenced((*_joined(parts), Rule(f"{prefix}-{target}"))))
            found[f"{prefix}-{place}"] = choices[0] if len(choices) == 1 else Either(tuple(choices))
        return found

    def _accepts(self, state: State) -> bool:
        count = len(self.every)
        each = [automaton.accepts(own) for automaton, own in zip(self.all, state, strict=True)]
        return all(each[:count]) and not any(each[count:])

    def _moves(self, alphabet: _Alphabet, state: State) -> Iterator[tuple[int, State]]:
        """Sets of characters with where they lead; what any of ``every`` rejects is out."""
        each = [alphabet.after(one, own) for one, own in zip(self.all, state, strict=True)]
        for number in each[0]:
            target = tuple(after.get(number, _NOWHERE) for after in each)
            if all(target[: len(self.every)]):
                yield number, target


def _one(character: str) -> Ranges:
    return ((ord(character), ord(character)),)


def _joined(parts: list[Ranges]) -> Iterator[Pattern]:
    """Sets of characters one after the other, those of one character as a text."""
    for is_text, group in groupby(parts, lambda part: len(part) == 1 and part[0][0] == part[0][1]):
        if is_text:
            yield Text("".join(chr(part[0][0]) for part in group))
        else:
            yield from map(Characters, group)


def _characters_of_passages(pattern: Pattern) -> int:
    match pattern:
        case Substring(pieces):
            return sum(map(len, pieces))
        case Either(parts) | Sequenced(parts):
            return sum(map(_characters_of_passages, parts))
    return 0


@lru_cache(maxsize=256)
def _together(matching: Matching) -> _Together:
    return _Together(matching)


def forget() -> None:
    """Keep no automaton any longer: some are large."""
    _together.cache_clear()


def is_possible(matching: Matching) -> bool:
    """Whether any text is allowed. Raises ConfigError where that takes too long to tell."""
    return any(_together(matching).accepting)  # only what is reached has a state


def written_out(rules: Rules) -> Rules:
    """The same grammar without :class:`Lexeme` and :class:`Matching`."""
    found: Rules = {}
    made: dict[Matching, Pattern] = {}
    many: dict[Pattern, str] = {}

    def plain(pattern: Pattern) -> Pattern:
        match pattern:
            case Lexeme(part):
                return plain(part)
            case Sequenced(parts):
                return Sequenced(tuple(map(plain, parts)))
            case Either(choices):
                return Either(tuple(map(plain, choices)))
            case Repeated(part, least, most):
                return repeated(plain(part), least, most)
            case Substring():
                return plain(Matching((pattern,)))
            case Matching():
                if pattern not in made:
                    name = f"together-{len(made)}"
                    states = _together(pattern).rules(name)
                    if states is None:
                        raise ConfigError("a constraint must allow a text. Got one that has none")
                    found.update(states)
                    made[pattern] = Rule(f"{name}-0")
                return made[pattern]
        return pattern

    def repeated(part: Pattern, least: int, most: int | None) -> Pattern:
        """So many times, never more than llama.cpp counts at once."""
        if max(least, most or 0) <= MOST_REPEATS:
            return Repeated(part, least, most)
        if part not in many:
            name = many[part] = f"many-{len(many)}"
            found[name] = Repeated(part, MOST_REPEATS, MOST_REPEATS)
            found[f"{name}-less"] = Repeated(part, 0, MOST_REPEATS - 1)
        name = many[part]
        whole, less = Rule(name), Rule(f"{name}-less")
        count, rest = divmod(least, MOST_REPEATS)
        first = Sequenced((Repeated(whole, count, count), Repeated(part, rest, rest)))
        if most is None:
            return Sequenced((first, Repeated(part, 0, None)))
        count, rest = divmod(most - least, MOST_REPEATS)
        end: Pattern = Repeated(part, 0, rest)
        for place in range(count):
            own = f"{name}-{rest}-{place}"
            found[own] = Either((less, Sequenced((whole, end))))
            end = Rule(own)
        return Sequenced((first, end))

    for name, pattern in rules.items():
        found[name] = plain(pattern)
    return found

"""Reviewing examples: which comes next, what surrounds its quote, and how many were right.

Examples come in an order that is random by seed, so that those decided so far are a fair sample
of all, and the share that was accepted as it is estimates the precision of all. The interval is
Wilson's (https://doi.org/10.1080/01621459.1927.10502953), which holds near 0 and 1 too.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from linnet.errors import DataError
from linnet.examples.decisions import Decision, Decisions, Verdict, decisions_file
from linnet.examples.record import Example, examples_file, read_examples
from linnet.examples.texts import SourceTexts, corpus_of, find_quote, quotes_of

AROUND = 400
"""Characters that are shown before and after a quote, at most; lines are not cut."""
_HELD_SECONDS = 600.0
"""For so long what one reviewer looks at is not given to another."""
_MOST_SITTINGS = 64
_NORMAL = 1.959963984540054

Mark = Literal["", "quote", "passage"]


@dataclass(frozen=True)
class Filter:
    """Which examples to review; empty: all."""

    kind: str = ""
    generator: str = ""
    split: str = ""

    def admits(self, example: Example) -> bool:
        """Whether it is one of these."""
        return (
            self.kind in ("", example.kind)
            and self.generator in ("", example.generator)
            and self.split in ("", example.split)
        )


@dataclass(frozen=True)
class Precision:
    """What was decided so far, and the share accepted as it is, with a 95 % interval."""

    total: int
    accepted: int
    mended: int
    rejected: int

    @property
    def decided(self) -> int:
        return self.accepted + self.mended + self.rejected

    @property
    def share(self) -> float | None:
        """Accepted of decided; None where nothing was."""
        return self.accepted / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """In which the share of all lies, at 95 % confidence."""
        return wilson(self.accepted, self.decided)


def wilson(successes: int, trials: int, *, z: float = _NORMAL) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, z * z / trials
    middle = share + square / 2
    half = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    return (0.0 if not successes else low), (1.0 if successes == trials else high)


@dataclass(frozen=True)
class Segment:
    """A stretch of the text around a quote."""

    text: str
    mark: Mark = ""


@dataclass
class Sitting:
    """One reviewer at work: what was skipped, decided and is being looked at."""

    reviewer: str = ""
    skipped: set[str] = field(default_factory=set)
    done: list[tuple[str, Decision | None]] = field(default_factory=list)
    """The ids decided, with what was decided about them before."""
    current: str | None = None
    since: float = 0.0


class Review:
    """The examples at a place, and the decisions about them. Safe to call from several threads."""

    def __init__(
        self,
        place: Path | str,
        *,
        seed: int = 0,
        corpus: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``corpus``: where the texts are, if not where the examples say that they are.

        Raises DataError where there are no examples, or a line of them or of the decisions is
        damaged.
        """
        examples = list(read_examples(place, decided=False))
        if not examples:
            raise DataError(f"{place}: expected examples to review. The file has none")
        self.examples = {example.id: example for example in examples}
        if len(self.examples) < len(examples):
            twice = Counter(example.id for example in examples).most_common(1)[0][0]
            raise DataError(f"{place}: expected ids that differ. Got {twice} twice")
        self.decisions = Decisions(decisions_file(examples_file(place)))
        self.texts = SourceTexts(corpus or corpus_of(place))
        self._order = sorted(self.examples, key=lambda id_: _shuffled(id_, seed))
        self._sittings: OrderedDict[str, Sitting] = OrderedDict()
        self._clock = clock
        self._lock = threading.RLock()

    @property
    def strayed(self) -> int:
        """Decisions about examples that are not there: kept, as these may be made again."""
        return len(self.decisions.latest.keys() - self.examples.keys())

    def choices(self) -> dict[str, list[str]]:
        """The kinds, generators and splits that there are."""
        every = self.examples.values()
        return {
            name: sorted({getattr(example, name) for example in every} - {""})
            for name in ("kind", "generator", "split")
        }

    def sitting(self, name: str, reviewer: str = "") -> Sitting:
        """A reviewer at work, by a name of the client's own; of many, the latest are kept."""
        with self._lock:
            sitting = self._sittings.setdefault(name, Sitting())
            sitting.reviewer = reviewer or sitting.reviewer
            self._sittings.move_to_end(name)
            if len(self._sittings) > _MOST_SITTINGS:
                self._sittings.popitem(last=False)
            return sitting

    def following(self, sitting: Sitting, chosen: Filter) -> Example | None:
        """The example to look at next; None where all were decided.

        What others look at comes last, and what was skipped once everything else is done.
        """
        with self._lock:
            self.decisions.refresh()
            now = self._clock()
            held = {
                other.current
                for other in self._sittings.values()
                if other is not sitting and now - other.since < _HELD_SECONDS
            }
            left = [
                id_
                for id_ in self._order
                if id_ not in self.decisions.latest and chosen.admits(self.examples[id_])
            ]
            for avoided in (sitting.skipped | held, sitting.skipped, held, set[str]()):
                found = next((id_ for id_ in left if id_ not in avoided), None)
                if found is not None:
                    if found in sitting.skipped:
                        sitting.skipped.clear()  # the round begins again
                    return self._shown(sitting, found)
            sitting.current = None
            return None

    def skip(self, sitting: Sitting, identity: str) -> None:
        """Look at this one later."""
        with self._lock:
            sitting.skipped.add(self._example(identity).id)

    def decide(
        self,
        sitting: Sitting,
        identity: str,
        verdict: Verdict,
        *,
        question: str | None = None,
        answer: str | None = None,
        quote: str | None = None,
        note: str = "",
    ) -> Decision:
        """Write a decision down. Raises DataError for a mended quote that is not in the text."""
        with self._lock:
            example = self._example(identity)
            decision = Decision(example.id, verdict, note=note, reviewer=sitting.reviewer)
            if verdict == "mended":
                decision = self._mended(example, decision, question, answer, quote)
            self.decisions.refresh()
            before = self.decisions.latest.get(example.id)
            made = self.decisions.add(decision)
            sitting.done.append((example.id, before))
            return made

    def undo(self, sitting: Sitting) -> Example | None:
        """Take back the reviewer's last decision, and show its example; None: there is none."""
        with self._lock:
            if not sitting.done:
                return None
            identity, before = sitting.done.pop()
            self.decisions.add(before or Decision(identity, "open", reviewer=sitting.reviewer))
            sitting.skipped.discard(identity)
            return self._shown(sitting, identity)

    def precision(self, chosen: Filter) -> Precision:
        """What was decided about these examples so far."""
        with self._lock:
            self.decisions.refresh()
            ids = [id_ for id_, example in self.examples.items() if chosen.admits(example)]
            latest = self.decisions.latest
            counts = Counter(latest[id_].verdict for id_ in ids if id_ in latest)
        return Precision(len(ids), counts["accepted"], counts["mended"], counts["rejected"])

    def as_decided(self, example: Example) -> Example:
        """The example with what was mended in it."""
        decision = self.decisions.latest.get(example.id)
        return (decision.applied(example) if decision else example) or example

    def surroundings(self, example: Example) -> list[Segment]:
        """The text around its quotes, or around the passage of one without; empty: it is not known.

        Where the text itself is not there any more, the quotes alone.
        """
        quotes = quotes_of(example)
        text = self.texts.of(example)
        if text is None:
            return [Segment(quote.text, "quote") for quote in quotes]
        marks: list[tuple[int, int, Mark]] = [(quote.start, quote.end, "quote") for quote in quotes]
        if not marks and example.passage is not None:
            marks = [(*example.passage, "passage")]
        if not marks:
            return []
        first, last = marks[0][0], max(end for _, end, _ in marks)
        if example.passage is not None:
            first, last = min(first, example.passage[0]), max(last, example.passage[1])
        return list(_segments(text, marks, _begin(text, first), _end(text, last)))

    def _example(self, identity: str) -> Example:
        try:
            return self.examples[identity]
        except KeyError:
            raise DataError(f"there is no example '{identity[:80]}' here (any more)") from None

    def _shown(self, sitting: Sitting, identity: str) -> Example:
        sitting.current, sitting.since = identity, self._clock()
        return self.examples[identity]

    def _mended(
        self,
        example: Example,
        decision: Decision,
        question: str | None,
        answer: str | None,
        quote: str | None,
    ) -> Decision:
        """The decision with what differs from the example. Raises DataError where nothing does."""
        changes: dict[str, Any] = {}
        for name, given in (("question", question), ("answer", answer)):
            if given is not None and (given := given.strip()) != getattr(example, name):
                if not given:
                    raise DataError(f"the {name} is empty; write one, or reject the example")
                changes[name] = given
        if quote is not None and quote.strip() != (example.quote or "").strip():
            changes |= self._mended_quote(example, quote)
        if not changes:
            raise DataError("expected a change of question, answer or quote. Got none; accept it")
        return replace(decision, **changes)

    def _mended_quote(self, example: Example, quote: str) -> Mapping[str, Any]:
        if example.quote is None or example.start is None:
            raise DataError(f"an example of kind {example.kind} has no quote to mend")
        text = self.texts.of(example)
        begin = 0
        if text is None:  # then a part of what it quotes can be told to be verbatim
            text, begin = example.quote, example.start
        found = find_quote(text, quote, near=example.start - begin)
        if found is None:
            raise DataError(
                f"the quote must stand in {example.source} word for word. This does not: "
                f"'{' '.join(quote.split())[:80]}'"
            )
        return {"quote": found.text, "shift": found.start + begin - example.start}


def _shuffled(identity: str, seed: int) -> bytes:
    """A place in an order that is random by seed, and the same when others come or go."""
    return hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=16).digest()


def _segments(
    text: str, marks: Iterable[tuple[int, int, Mark]], begin: int, end: int
) -> Iterable[Segment]:
    at = begin
    if begin:
        yield Segment("… ")
    for first, last, mark in sorted(marks):
        if first > at:
            yield Segment(text[at:first])
        if last > at:
            yield Segment(text[max(at, first) : last], mark)
        at = max(at, last)
    if end > at:
        yield Segment(text[at:end])
    if end < len(text):
        yield Segment(" …")


def _begin(text: str, first: int) -> int:
    """Where to begin to show a text: at the start of a line, or of a word, not far before."""
    least = max(0, first - AROUND)
    if least == 0:
        return 0
    line = text.find("\n", least, first)
    if line >= 0:
        return line + 1
    word = text.find(" ", least, first)
    return word + 1 if word >= 0 else least


def _end(text: str, last: int) -> int:
    most = last + AROUND
    if most >= len(text):
        return len(text)
    line = text.rfind("\n", last, most)
    if line >= 0:
        return line
    word = text.rfind(" ", last, most)
    return word if word >= 0 else most

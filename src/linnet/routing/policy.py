"""What may leave this machine, decided before anything is written out for sending.

Without a word of the owner nothing leaves. What they allow is narrowed, in this order:

* by how far a conversation may go at all, and who asks (``farthest``, ``keys``);
* by where its parts come from: documents by their sources, memory, earlier turns, tools and their
  results, files, the owner's own instructions. Earlier turns and memory are left out, what the
  question itself rests on holds it back;
* by what it says, in every reading (``readings``): text of documents that stay, wherever it came
  from (``protected``), the owner's patterns, private data (``linnet.data.privacy``). What an owner
  wants masked is masked (``masking``), and what comes of it is checked again.

Reasons name the rule and the place, and nothing of what was said.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import regex

from linnet.answers.privacy import private_spans
from linnet.config import Config, option
from linnet.data.privacy import NAME, called_in
from linnet.data.privacy.span import Span
from linnet.errors import ConfigError, ContradictionError
from linnet.respond.address import Address
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import Batch, Decision, Place
from linnet.respond.responder import Abilities, Batches, Responder
from linnet.retrieval import Searchable
from linnet.routing.contents import (
    UNFIT,
    Finding,
    Leaf,
    Trimmed,
    current_turn,
    in_a_row,
    joined,
    leaves,
    masked,
    message_leaves,
    paired,
)
from linnet.routing.fingerprints import LETTERS, SHORTEST, Compared, Fingerprints, Hit, fingerprints
from linnet.routing.masking import Masking, Unmasking, merged
from linnet.routing.protected import FARNESS, DocumentRule, DocumentRules, Protected, covers
from linnet.routing.readings import Reading, Readings, readings, skeleton

if TYPE_CHECKING:
    from linnet.routing.models import ModelConfig
    from linnet.routing.router import Rule

SUBJECT = "policy"
"""What decisions are about that say what was left out or masked."""
_REMEMBERED = 12  # letters in a row that are text of what is remembered: it is short
_PATTERN_SECONDS = 0.05
_MOST_PASSES = 4
_LONG = 20_000  # characters from which on a thread checks a conversation

Then: TypeAlias = Literal["hold", "mask", "send"]


@dataclass(frozen=True)
class Pattern(Config):
    """What the owner knows by its look: names of projects, numbers of cases."""

    matches: str = option("", "A regular expression.")
    name: str = option("PATTERN", "What it is called, in capitals; placeholders have this name.")
    then: Literal["hold", "mask"] = option(
        "hold", "What becomes of a question that has it: hold it back, or mask it.",
        choices=("hold", "mask"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Z][A-Z0-9]{0,30}(?:_[A-Z0-9]{1,30}){0,4}", self.name):
            raise ConfigError(f"a pattern has a name in capitals, such as CASE. Got '{self.name}'")
        try:
            compiled = regex.compile(self.matches)
        except regex.error as error:
            raise ConfigError(f"pattern {self.name} is no regular expression: {error}") from None
        if compiled.match(""):
            raise ConfigError(f"pattern {self.name} must not match an empty text")


@dataclass(frozen=True)
class PolicyConfig(Config):
    """What the owner allows; without a word of theirs nothing leaves."""

    farthest: Place = option(
        "here", "Where conversations may go at most: here, network or elsewhere."
    )
    keys: dict[str, Place] = field(default_factory=dict)
    """How far conversations of a key may go, by its name; nearer than ``farthest``."""
    documents: tuple[DocumentRule, ...] = ()
    """How far documents may go; those that no rule is about stay here."""
    local_only: tuple[str, ...] = option(
        (), "Documents of which nothing may leave, as patterns of their sources, such as hr/**."
    )
    letters: int = option(
        LETTERS, "Letters and digits in a row that are text of a document.", least=12, most=200
    )
    history: Literal["none", "questions", "all"] = option(
        "questions", "What of earlier turns may go: none of it, the questions alone, or all.",
        choices=("none", "questions", "all"),
    )  # fmt: skip
    memory: bool = option(False, "Whether what is remembered of a person may go.")
    instructions: bool = option(True, "Whether the owner's own instructions to the model may go.")
    tools: Literal["none", "definitions", "results"] = option(
        "definitions", "What of tools may go: nothing, what they are, or what they gave as well.",
        choices=("none", "definitions", "results"),
    )  # fmt: skip
    files: bool = option(False, "Whether files that are attached to a question may go.")
    private: Then = option(
        "hold", "What becomes of private data that is found: hold the question back, mask, send.",
        choices=("hold", "mask", "send"),
    )  # fmt: skip
    names: Then = option(
        "send", "What becomes of names of people that are found: as of private data.",
        choices=("hold", "mask", "send"),
    )  # fmt: skip
    allow: tuple[str, ...] = option((), "Private values that may go, such as your own address.")
    patterns: tuple[Pattern, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_farthest()
        self._check_documents()
        self._check_patterns()

    def _check_farthest(self) -> None:
        """Nothing goes farther than conversations may go at all."""
        asked: list[tuple[str, str, Place]] = [
            (f"key '{key}' may go", f"policy.keys.{key}", place) for key, place in self.keys.items()
        ]
        asked += [
            ("documents may go", f"policy.documents.{number}.farthest", rule.farthest)
            for number, rule in enumerate(self.documents)
        ]
        for what, setting, place in asked:
            if FARNESS[place] > FARNESS[self.farthest]:
                raise ContradictionError(
                    f"{what} to '{place}', but farthest is '{self.farthest}': change one of them",
                    setting, "policy.farthest",
                )  # fmt: skip

    def _check_documents(self) -> None:
        """No rule says what another one takes back."""
        for number, rule in enumerate(self.documents):
            own = f"policy.documents.{number}.sources"
            for source in rule.sources:
                for pattern in self.local_only:
                    if rule.farthest != "here" and covers(pattern, source):
                        raise ContradictionError(
                            f"documents '{source}' may go to '{rule.farthest}', but local_only "
                            f"'{pattern}' keeps them here: remove one of them",
                            own, "policy.local_only",
                        )  # fmt: skip
            for before, other in enumerate(self.documents[:number]):
                if rule.says_otherwise(other):
                    raise ContradictionError(
                        f"the same documents may go to '{other.farthest}' and to "
                        f"'{rule.farthest}': remove one of the rules",
                        f"policy.documents.{before}", f"policy.documents.{number}",
                    )  # fmt: skip

    def _check_patterns(self) -> None:
        for number, pattern in enumerate(self.patterns):
            for before, other in enumerate(self.patterns[:number]):
                if pattern.matches == other.matches and pattern.then != other.then:
                    raise ContradictionError(
                        f"the same pattern is to {other.then} and to {pattern.then}: remove one",
                        f"policy.patterns.{before}", f"policy.patterns.{number}",
                    )  # fmt: skip

    @property
    def rules(self) -> DocumentRules:
        """What is said of documents."""
        return DocumentRules(self.documents, self.local_only, self.letters)


@dataclass(frozen=True)
class Verdict:
    """Whether a conversation may go somewhere. ``reasons``: why not, each in a line that names
    the rule and nothing of what was said."""

    allowed: bool
    reasons: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All of them in a line."""
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class Explanation:
    """What the policy says of a conversation, for people."""

    place: Place
    verdict: Verdict
    findings: tuple[Finding, ...]
    decisions: tuple[Decision, ...]
    """What would be left out or masked."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """Values that have placeholders, by their kinds."""


class PolicyError(ConversationError):
    """A conversation may not go to a model."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        self.reasons = tuple(dict.fromkeys(map(str, findings)))
        super().__init__(
            f"the policy keeps this here: {'; '.join(self.reasons)}", part="messages", code="policy"
        )


@dataclass(frozen=True)
class Outgoing:
    """A conversation as it may leave."""

    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    """What was left out of it, and what was masked."""
    restore: Callable[[Batch], Batch] = list
    """Gives batches of the answer with what was masked in its place again. Of one answer, in
    order; what may be the beginning of a placeholder is held back until more of it is there."""
    masked: Mapping[str, int] = field(default_factory=dict)


def check_policy(
    policy: PolicyConfig, models: Mapping[str, ModelConfig], rules: Sequence[Rule]
) -> None:
    """Raise ContradictionError where rules send questions to models that the policy lets none go
    to, or a model is said to be where its address is not."""
    for name, model in models.items():
        by_address = Address.parse(model.address).place
        if model.place == "here" and by_address == "elsewhere":
            raise ContradictionError(
                f"models.{name} is said to run here, but its address is elsewhere: give it as "
                "http://127.0.0.1, or place = 'network'",
                f"models.{name}.place", f"models.{name}.address",
            )  # fmt: skip
        if model.place == "network" and Address.parse(model.address).is_public:
            raise ContradictionError(
                f"models.{name} is said to run in this network, but its address is a public one: "
                "leave place out, or give the address that it has in the network",
                f"models.{name}.place", f"models.{name}.address",
            )  # fmt: skip
    for number, rule in enumerate(rules):
        if rule.model not in models:
            continue
        place = models[rule.model].runs
        if FARNESS[place] > FARNESS[policy.farthest]:
            raise ContradictionError(
                f"a rule sends questions to '{rule.model}', which runs {_RUNS[place]}, but the "
                f"policy's farthest is '{policy.farthest}': change one of them",
                f"rules.{number}.model", "policy.farthest",
            )  # fmt: skip
        if rule.tools and policy.tools == "none" and place != "here":
            raise ContradictionError(
                f"a rule sends questions with tools to '{rule.model}', but the policy's tools is "
                "'none': change one of them",
                f"rules.{number}.tools", "policy.tools",
            )  # fmt: skip


_RUNS: Mapping[Place, str] = {"here": "here", "network": "in the network", "elsewhere": "elsewhere"}


class Policy:
    """Decides what may leave; may be asked by several threads at once."""

    def __init__(self, config: PolicyConfig, *, keep: Path | None = None) -> None:
        """``keep``: a directory in which fingerprints of documents are kept, so that they are not
        made again whenever it is opened."""
        self.config = config
        self.protected = Protected(config.rules, keep=keep)
        self._known = _Known()
        self._patterns = [_Compiled(pattern) for pattern in config.patterns]
        self._allowed = frozenset(value.strip().casefold() for value in config.allow)

    def protect(self, index: Searchable) -> None:
        """Know the documents of an index: those that may not go somewhere are recognised in
        whatever is to go there. Reads them, unless that was done; an index that changes is
        followed. Until it is called documents go by their names alone."""
        if self.config.farthest != "here":
            self.protected.add(index)

    def check(
        self, conversation: Conversation, context: Context, place: Place, *, model: str = ""
    ) -> Verdict:
        """Whether a conversation may go to a model that runs at this place, as it is or masked."""
        try:
            self.outgoing(conversation, context, place, model=model)
        except PolicyError as error:
            return Verdict(False, error.reasons)
        return Verdict(True)

    def explain(
        self, conversation: Conversation, context: Context, place: Place, *, model: str = ""
    ) -> Explanation:
        """The same with all that was found, left out and masked."""
        try:
            found = self.outgoing(conversation, context, place, model=model)
        except PolicyError as error:
            return Explanation(place, Verdict(False, error.reasons), error.findings, ())
        return Explanation(place, Verdict(True), (), found.decisions, found.masked)

    def outgoing(
        self, conversation: Conversation, context: Context, place: Place, *, model: str = ""
    ) -> Outgoing:
        """The conversation as it may go there. Raises PolicyError where it may not."""
        if place == "here":
            return Outgoing(conversation)
        farthest = self.config.keys.get(context.key or "", self.config.farthest)
        if FARNESS[place] > min(FARNESS[farthest], FARNESS[self.config.farthest]):
            rule = f"keys.{context.key}" if context.key in self.config.keys else "farthest"
            to = f" to '{model}'" if model else ""
            what = f"conversations go no farther than '{farthest}'{to}"
            raise PolicyError([Finding(rule, what)])
        trimmed = Trimmed(self.config, self.protected, conversation, place)
        if trimmed.findings:
            raise PolicyError(trimmed.findings)
        masking = Masking()
        asked = trimmed.conversation
        called = self._called(conversation)
        if self._masks:
            masking = Masking.of(leaf.text for leaf in leaves(asked))
            asked = self._masked(asked, masking, called)
        asked = self._checked(asked, trimmed, place, called)
        decisions = []
        if trimmed.left_out:
            said = ", ".join(f"{what}: {count}" for what, count in trimmed.left_out.items())
            decisions.append(Decision(SUBJECT, "left out", said))
        counts = masking.counts
        if counts:
            said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            decisions.append(Decision(SUBJECT, "masked", said))
        restore = Unmasking(masking) if counts else list
        return Outgoing(asked, tuple(decisions), restore, counts)

    def close(self) -> None:
        """Have no more need of the indexes."""
        self.protected.close()

    @property
    def _masks(self) -> bool:
        return "mask" in (self.config.private, self.config.names) or any(
            pattern.then == "mask" for pattern in self.config.patterns
        )

    def _called(self, conversation: Conversation) -> frozenset[str]:
        """By which words people may be called whom a text of the conversation names in full, be it
        one that stays here."""
        if self.config.names == "send":
            return frozenset()
        return frozenset().union(*(
            self._known.get(_Read(leaf), ("called",), lambda read: called_in(read.text))
            for leaf in leaves(conversation)
        ))  # fmt: skip

    def _masked(
        self, asked: Conversation, masking: Masking, called: frozenset[str]
    ) -> Conversation:
        """The conversation with placeholders. What a mask uncovers is masked in turn: without its
        neighbours a word may read as a name."""
        for _ in range(_MOST_PASSES):
            spans = partial(self._masked_spans, called=called)
            before, asked = asked, masked(asked, masking, spans)
            if asked == before:
                break
        return asked

    # -- what it says ----------------------------------------------------------------------

    def _checked(
        self, asked: Conversation, trimmed: Trimmed, place: Place, called: frozenset[str]
    ) -> Conversation:
        """The conversation without earlier messages that may not leave. Raises PolicyError where
        the rest may not."""
        remembered = fingerprints(trimmed.withheld, letters=_REMEMBERED)
        current = current_turn(asked.messages)
        kept = []
        for number, message in enumerate(asked.messages):
            if number >= current or message.role == "system":
                kept.append(message)
                continue
            own = list(message_leaves(message, number))
            if self._findings(own, place, remembered, called):
                trimmed.left_out[UNFIT] += 1
            else:
                kept.append(message)
        asked = asked.replace(messages=tuple(paired(kept, current_turn(kept))))
        found = self._findings(list(leaves(asked)), place, remembered, called, first_only=False)
        if found:
            raise PolicyError(found)
        return asked.replace(messages=tuple(joined(asked.messages)))

    def _findings(
        self,
        given: Sequence[Leaf],
        place: Place,
        remembered: Fingerprints,
        called: frozenset[str],
        *,
        first_only: bool = True,
    ) -> list[Finding]:
        """What keeps these texts here, each by itself and read in a row."""
        read = [_Read(leaf) for leaf in (*given, *in_a_row(given))]
        found = [
            Finding("farthest", "more encoded text than can be read", each.where)
            for each in read if not self._known.get(each, ("complete",), _Read.is_complete)
        ]  # fmt: skip
        if (self.config.private, self.config.names) != ("send", "send"):
            for each in read[: len(given)]:
                private = self._known.get(
                    each, ("private", called), partial(self._private, called=called)
                )
                if private is not None:
                    found.append(Finding("private", private[0], each.where, private[1]))
        if found and first_only:
            return found
        found += self._by_pattern(read)
        if found and first_only:
            return found
        compared: list[tuple[str, str, tuple[Hashable, ...], _Find]] = []
        if version := self.protected.version():
            compared.append(("documents", "text of a document that stays", (place, version),
                             lambda texts: self.protected.find(texts, place)))  # fmt: skip
        if remembered.bytes:
            what = "text of what is remembered"
            compared.append(("memory", what, (remembered.digest,), remembered.find))
        for rule, what, key, find in compared:
            for each in read:
                how = self._known.get(each, (rule, *key), partial(_Read.found_by, find=find))
                if how is not None:
                    found.append(Finding(rule, what, each.where, how))
        return _distinct(found)

    def _private(self, read: _Read, called: frozenset[str]) -> tuple[str, str] | None:
        """Private data that is not to be sent, as it stands or encoded; and in which reading."""
        for reading in read.readings:
            if not reading.how.endswith(_TURNED):
                kinds = {span.kind for span in self._private_spans(reading.text, called)}
                if kinds:
                    return f"private data ({', '.join(sorted(kinds))})", reading.how
        return None

    def _private_spans(self, text: str, called: frozenset[str]) -> list[Span]:
        """What is not to be sent as it stands."""
        return [
            Span(start, end, kind)
            for start, end, kind in private_spans(
                text, names=self.config.names != "send", called=called
            )
            if self._then(kind) != "send" and text[start:end].casefold() not in self._allowed
        ]

    def _then(self, kind: str) -> Then:
        """What becomes of private data of a kind: names of people have a rule of their own."""
        return self.config.names if kind == NAME else self.config.private

    def _by_pattern(self, read: Sequence[_Read]) -> Iterator[Finding]:
        for number, pattern in enumerate(self._patterns):
            what = f"what pattern {pattern.name} matches"
            for each in read:
                try:
                    how = self._known.get(each, ("pattern", number), pattern.found_in)
                except _TooLongError as error:
                    what, how = f"what pattern {pattern.name} takes too long for", error.how
                if how is not None:
                    yield Finding(f"patterns {pattern.name}", what, each.where, how)
                    break

    def _masked_spans(self, text: str, called: frozenset[str]) -> list[Span]:
        """What of a text is to be masked; nothing where a pattern takes too long, as then the text
        is held back. It may take less the next time."""
        try:
            return self._known.get(
                _Read(Leaf(text, "", "")), ("spans", called), partial(self._spans, called=called)
            )
        except _TooLongError:
            return []

    def _spans(self, read: _Read, called: frozenset[str]) -> list[Span]:
        text = read.text
        spans: list[Span] = []
        for pattern in self._patterns:
            if pattern.then == "mask":
                spans += pattern.spans(text)
        if "mask" in (self.config.private, self.config.names):
            found = self._private_spans(text, called)
            spans += (span for span in found if self._then(span.kind) == "mask")
        return merged(spans)


class PolicyResponder:
    """Asks a model what the policy lets it see, and puts back into its answer what was masked."""

    def __init__(self, inner: Responder, policy: Policy) -> None:
        self.inner, self.policy = inner, policy

    @property
    def abilities(self) -> Abilities:
        """Those of the model."""
        return self.inner.abilities

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`. Raises PolicyError where the conversation may not go there."""
        place, name = self.abilities.place, self.abilities.name
        if sum(len(leaf.text) for leaf in leaves(conversation)) < _LONG:
            outgoing = self.policy.outgoing(conversation, context, place, model=name)
        else:
            outgoing = await asyncio.to_thread(
                self.policy.outgoing, conversation, context, place, model=name
            )
        if outgoing.decisions:
            yield list(outgoing.decisions)
        batches = self.inner.respond(outgoing.conversation, context)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                if restored := outgoing.restore(batch):
                    yield restored

    def close(self) -> None:
        """Free what the model holds."""
        if (close := getattr(self.inner, "close", None)) is not None:
            close()


class _Compiled:
    """A pattern of the owner, which has so long to match and no longer."""

    def __init__(self, pattern: Pattern) -> None:
        self.name, self.then = pattern.name, pattern.then
        self._pattern = regex.compile(pattern.matches)
        plain = re.sub(r"\(\?i\)|\\b|\A\(\?:|\)\Z", "", pattern.matches)
        literal = re.fullmatch(r"[^\\.^$*+?{}\[\]()]+", plain)
        words = map(skeleton, plain.split("|")) if literal else ()
        self._words = tuple(word for word in words if len(word) >= SHORTEST)

    def found_in(self, read: _Read) -> str | None:
        """In which reading of a text it stands first; plain words also with anything between their
        letters.

        Raises _TooLongError.
        """
        for number, reading in enumerate(read.readings):
            try:
                if self._pattern.search(reading.text, timeout=_PATTERN_SECONDS):
                    return reading.how
            except TimeoutError:
                raise _TooLongError(reading.how) from None
            if self._words:
                own = read.skeletons[number]
                if any(word in own for word in self._words):
                    return reading.how
        return None

    def spans(self, text: str) -> list[Span]:
        """Where it stands. Raises _TooLongError."""
        try:
            return [
                Span(match.start(), match.end(), self.name)
                for match in self._pattern.finditer(text, timeout=_PATTERN_SECONDS)
                if match.end() > match.start()
            ]
        except TimeoutError:
            raise _TooLongError("") from None


class _TooLongError(Exception):
    """A pattern has taken too long; ``how``: in which reading."""

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(how)


class _Read:
    """A text that would be sent; its readings are made where they are needed."""

    def __init__(self, leaf: Leaf) -> None:
        self.text, self.where = leaf.text, leaf.where

    @cached_property
    def digest(self) -> bytes:
        """What it is known by."""
        return hashlib.blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=20).digest()

    @cached_property
    def _all(self) -> Readings:
        return readings(self.text)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Itself first."""
        return self._all.found

    def is_complete(self) -> bool:
        """Whether all that looks encoded was decoded."""
        return self._all.complete

    @cached_property
    def skeletons(self) -> list[str]:
        """Those of its readings."""
        return [skeleton(reading.text) for reading in self.readings]

    @cached_property
    def _compared(self) -> Compared:
        return Compared(self.skeletons)

    def found_by(self, find: _Find) -> str | None:
        """In which of its readings something is found first."""
        hit = min((hit.text for hit in find(self._compared)), default=None)
        return None if hit is None else self.readings[hit].how


_Find: TypeAlias = Callable[[Compared], Iterator[Hit]]
_Found = TypeVar("_Found")


class _Known:
    """What was found in texts that were read before, by their hashes. A conversation is sent anew
    with each of its turns: only what is new of it is read then, and all of it in a row."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Hashable, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, read: _Read, kind: tuple[Hashable, ...], find: Callable[[_Read], _Found]
    ) -> _Found:
        """What is found in a text; an error is not kept."""
        key = (read.digest, *kind)
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                known: _Found = self._found[key]
                return known
        found = find(read)
        with self._lock:
            self._found[key] = found
            if len(self._found) > _MOST_KNOWN:
                self._found.popitem(last=False)
        return found


_MOST_KNOWN = 1 << 15

_TURNED = ("ROT13", "Atbash", "backwards", "other order")
"""How readings end that only turn a text around: private data is not looked for in them."""


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """One of each kind and place; the same in several readings is one."""
    known: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        known.setdefault((finding.rule, finding.what, finding.where), finding)
    return list(known.values())

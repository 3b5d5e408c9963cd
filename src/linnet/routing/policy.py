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
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import regex

from linnet.answers.privacy import private_spans
from linnet.config import Config, option, parse_json
from linnet.data.privacy.span import Span
from linnet.errors import ConfigError
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation, ConversationError, Message, Part, Tool
from linnet.respond.pieces import (
    DOCUMENT,
    LOCAL_ONLY,
    MEMORY,
    Batch,
    Citation,
    Decision,
    Passage,
    Place,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from linnet.respond.responder import Abilities, Batches, Responder
from linnet.routing.masking import Masking, Unmasking, mapped, merged
from linnet.routing.protected import (
    FARNESS,
    LETTERS,
    SHORTEST,
    DocumentRule,
    DocumentRules,
    Fingerprints,
    Protected,
    fingerprints,
    units,
)
from linnet.routing.readings import Reading, readings, skeleton

SUBJECT = "policy"
"""What decisions are about that say what was left out or masked."""
_REMEMBERED = 12  # letters in a row that are text of what is remembered: it is short
_PATTERN_SECONDS = 0.05
_LONG = 20_000  # characters from which on a thread checks a conversation
_ENDS = 400  # characters of a text's ends that are read together with those beside it
_LABEL = re.compile(r"\A\s*(?:[^\n:]{0,40}:|\W*\w{0,12}\W{0,3}\d{1,4}\W{1,3})\s*")
_FILE = re.compile(r"^--- (?P<name>.{1,300}) ---$.*?^--- end of (?P=name) ---$", re.M | re.S)

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
    allow: tuple[str, ...] = option((), "Private values that may go, such as your own address.")
    patterns: tuple[Pattern, ...] = ()

    @property
    def rules(self) -> DocumentRules:
        """What is said of documents."""
        return DocumentRules(self.documents, self.local_only, self.letters)


@dataclass(frozen=True)
class Finding:
    """Something that keeps a conversation here, or a part of it."""

    rule: str
    """Which rule, as it is called in ``[policy]``."""
    what: str
    """What it found, in words, and nothing of what was said."""
    where: str = ""
    """In which part of the conversation."""
    how: str = ""
    """In which reading, where it was disguised."""

    def __str__(self) -> str:
        where = f" in {self.where}" if self.where else ""
        how = f" ({self.how})" if self.how else ""
        return f"{self.what}{where}{how} [{self.rule}]"


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


@dataclass(frozen=True)
class _Leaf:
    """A text of a conversation that would be sent."""

    text: str
    where: str
    group: str
    """``user``, ``assistant``, ``tool``, ...: those of one group are also read in a row."""


class Policy:
    """Decides what may leave; may be asked by several threads at once."""

    def __init__(self, config: PolicyConfig, protected: Protected | None = None) -> None:
        """``protected``: the documents of an index; without it documents go by their names."""
        self.config = config
        self.protected = protected or Protected(config.rules)
        self._patterns = [_Compiled(pattern) for pattern in config.patterns]
        self._allowed = frozenset(value.strip().casefold() for value in config.allow)

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
        trimmed = _Trimmed(self, conversation, place)
        masking = Masking()
        asked = trimmed.conversation
        if self._masks:
            masking = Masking.of(leaf.text for leaf in _leaves(asked))
            asked = _masked(asked, masking, self._spans)
        asked = self._checked(asked, trimmed, place)
        decisions = trimmed.decisions()
        counts = masking.counts
        if counts:
            said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            decisions.append(Decision(SUBJECT, "masked", said))
        restore = Unmasking(masking) if counts else list
        return Outgoing(asked, tuple(decisions), restore, counts)

    @property
    def _masks(self) -> bool:
        return self.config.private == "mask" or any(
            pattern.then == "mask" for pattern in self.config.patterns
        )

    # -- what it says ----------------------------------------------------------------------

    def _checked(self, asked: Conversation, trimmed: _Trimmed, place: Place) -> Conversation:
        """The conversation without earlier messages that may not leave. Raises PolicyError where
        the rest may not."""
        remembered = fingerprints(trimmed.withheld, letters=_REMEMBERED)
        current = _current(asked.messages)
        kept = []
        for number, message in enumerate(asked.messages):
            if number >= current or message.role == "system":
                kept.append(message)
                continue
            own = list(_message_leaves(message, number))
            if self._findings(own, place, remembered):
                trimmed.left_out["earlier messages that may not leave"] += 1
            else:
                kept.append(message)
        paired = _paired(kept, _current(kept))
        asked = asked.replace(messages=tuple(_joined(paired)))
        found = self._findings(list(_leaves(asked)), place, remembered, first_only=False)
        if found:
            raise PolicyError(found)
        return asked

    def _findings(
        self,
        leaves: Sequence[_Leaf],
        place: Place,
        remembered: Fingerprints,
        *,
        first_only: bool = True,
    ) -> list[Finding]:
        """What keeps these texts here, each by itself and read in a row."""
        texts: list[Reading] = []
        where: list[str] = []
        found: list[Finding] = []
        for leaf in (*leaves, *_in_a_row(leaves)):
            own = readings(leaf.text)
            if not own.complete:
                found.append(Finding("farthest", "more encoded text than can be read", leaf.where))
            texts += own.found
            where += [leaf.where] * len(own.found)
        for leaf in leaves:
            found += self._private(leaf)
        if found and first_only:
            return found
        found += self._by_pattern(texts, where)
        if found and first_only:
            return found
        values = [units(reading.text) for reading in texts]
        hits = {hit.text for hit in self.protected.find(values, place)}
        for number in sorted(hits):
            what = "text of a document that stays"
            found.append(Finding("documents", what, where[number], texts[number].how))
        for number in sorted({hit.text for hit in remembered.find(values)}):
            what = "text of what is remembered"
            found.append(Finding("memory", what, where[number], texts[number].how))
        return _distinct(found)

    def _private(self, leaf: _Leaf) -> Iterator[Finding]:
        """Private data that is not to be sent, as it stands or encoded."""
        if self.config.private == "send":
            return
        for reading in readings(leaf.text).found:
            if reading.how.endswith(_TURNED):
                continue
            kinds = Counter(span.kind for span in self._private_spans(reading.text))
            if kinds:
                said = ", ".join(sorted(kinds))
                yield Finding("private", f"private data ({said})", leaf.where, reading.how)
                return

    def _private_spans(self, text: str) -> list[Span]:
        return [
            Span(start, end, kind)
            for start, end, kind in private_spans(text)
            if text[start:end].casefold() not in self._allowed
        ]

    def _by_pattern(self, texts: Sequence[Reading], where: Sequence[str]) -> Iterator[Finding]:
        for pattern in self._patterns:
            for reading, place in zip(texts, where, strict=True):
                try:
                    hit = pattern.finds(reading.text)
                except TimeoutError:
                    what = f"what pattern {pattern.name} takes too long for"
                    yield Finding(f"patterns {pattern.name}", what, place, reading.how)
                    break
                if hit:
                    what = f"what pattern {pattern.name} matches"
                    yield Finding(f"patterns {pattern.name}", what, place, reading.how)
                    break

    def _spans(self, text: str) -> list[Span]:
        """What of a text is to be masked."""
        spans: list[Span] = []
        for pattern in self._patterns:
            if pattern.then == "mask":
                spans += pattern.spans(text)
        if self.config.private == "mask":
            spans += self._private_spans(text)
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
        if sum(len(leaf.text) for leaf in _leaves(conversation)) < _LONG:
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

    def finds(self, text: str) -> bool:
        """Whether it stands in a text; plain words also with anything between their letters.

        Raises TimeoutError.
        """
        if self._pattern.search(text, timeout=_PATTERN_SECONDS):
            return True
        if not self._words:
            return False
        own = skeleton(text)
        return any(word in own for word in self._words)

    def spans(self, text: str) -> list[Span]:
        """Where it stands; nothing where that takes too long, as then the text is held back."""
        with contextlib.suppress(TimeoutError):
            return [
                Span(match.start(), match.end(), self.name)
                for match in self._pattern.finditer(text, timeout=_PATTERN_SECONDS)
                if match.end() > match.start()
            ]
        return []


_TURNED = ("ROT13", "Atbash", "backwards", "other order")
"""How readings end that only turn a text around: private data is not looked for in them."""


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """One of each kind and place; the same in several readings is one."""
    known: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        known.setdefault((finding.rule, finding.what, finding.where), finding)
    return list(known.values())


# By where it comes from.


class _Trimmed:
    """A conversation without what its origin keeps here."""

    def __init__(self, policy: Policy, conversation: Conversation, place: Place) -> None:
        """Raises PolicyError where that is part of the question itself."""
        self._config, self._protected, self._place = policy.config, policy.protected, place
        self.left_out: Counter[str] = Counter()
        self.withheld: list[str] = []
        """Texts that must not turn up anywhere else either."""
        self._findings: list[Finding] = []
        messages: list[Message] = []
        current = _current(conversation.messages)
        for number, message in enumerate(conversation.messages):
            kept = self._kept(message, number, earlier=number < current)
            if kept is not None:
                messages.append(kept)
        if conversation.offered and self._config.tools == "none":
            self._findings.append(Finding("tools", "tools", "the conversation"))
        if self._findings:
            raise PolicyError(self._findings)
        self.conversation = conversation.replace(messages=tuple(messages))

    def decisions(self) -> list[Decision]:
        """What was left out, in words."""
        said = [f"{what}: {count}" for what, count in self.left_out.items()]
        return [Decision(SUBJECT, "left out", ", ".join(said))] if said else []

    def _kept(self, message: Message, number: int, *, earlier: bool) -> Message | None:
        """What of a message may go, by where it comes from; None: nothing."""
        config = self._config
        kind = message.origin.kind if message.origin else None
        if message.role == "system":
            if kind == "owner" and not config.instructions:
                return self._without(message, "the owner's instructions")
        elif earlier and config.history == "none":
            return self._without(message, "earlier messages")
        elif earlier and config.history == "questions" and message.role != "user":
            return self._without(message, "earlier answers")
        if message.extra:
            self.left_out["other values of messages"] += len(message.extra)
            message = dataclasses.replace(message, extra={})
        parts: list[Part] = []
        for part in message.parts:
            origin = part.origin or message.origin
            tags = part.tags | message.tags
            remembered = (origin is not None and origin.kind == "memory") or MEMORY in tags
            if remembered and not config.memory:
                self.withheld.extend(_part_texts(part))
                self.left_out["memories"] += 1
                continue
            finding = self._held(message, part, tags, f"message {number + 1} ({message.role})")
            if finding is None:
                parts.append(part)
            elif earlier:
                return self._without(message, "earlier messages that may not leave")
            else:
                self._findings.append(finding)
        if not parts and message.parts:
            return None
        return dataclasses.replace(message, parts=tuple(parts))

    def _held(
        self, message: Message, part: Part, tags: frozenset[str], where: str
    ) -> Finding | None:
        """Why a part may not go by where it comes from."""
        config = self._config
        if LOCAL_ONLY in tags:
            return Finding("tags", "what is marked as local only", where)
        sources = {tag.removeprefix(DOCUMENT) for tag in tags if tag.startswith(DOCUMENT)}
        if isinstance(part, Passage | Citation):
            sources.add(part.source)
        for each in (part.origin, message.origin):
            if each is not None and each.kind == "document" and each.name:
                sources.add(each.name)
        for source in sorted(sources):
            farthest, rule = self._protected.farthest(source)
            if FARNESS[farthest] < FARNESS[self._place]:
                return Finding(rule, "passages of a document that stays", where)
        tool = isinstance(part, ToolResult) or message.role == "tool"
        tool = tool or (part.origin is not None and part.origin.kind == "tool")
        if tool and config.tools != "results":
            return Finding("tools", "the result of a tool", where)
        if not config.files and any(_FILE.search(text) for text in _part_texts(part)):
            return Finding("files", "an attached file", where)
        return None

    def _without(self, message: Message, what: str) -> None:
        self.left_out[what] += 1


def _current(messages: Sequence[Message]) -> int:
    """Where the turn begins that is to be answered: with the last message of the user."""
    users = [number for number, message in enumerate(messages) if message.role == "user"]
    return users[-1] if users else 0


def _paired(messages: Sequence[Message], current: int) -> Iterator[Message]:
    """Messages of which earlier ones have no call without its result, and no result without its
    call, since one of the two may have been left out."""
    earlier = messages[:current]
    calls = {call.id for message in earlier for call in message.calls}
    results = {
        part.call_id for message in earlier for part in message.parts
        if isinstance(part, ToolResult)
    }  # fmt: skip
    for message in earlier:
        parts = tuple(
            part for part in message.parts
            if not (isinstance(part, ToolCall) and part.id not in results)
            and not (isinstance(part, ToolResult) and part.call_id not in calls)
        )  # fmt: skip
        if parts or not message.parts:
            yield dataclasses.replace(message, parts=parts)
    yield from messages[current:]


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Messages of one person in a row as one, since templates expect turns."""
    before: Message | None = None
    for message in messages:
        if before is not None and before.role == message.role == "user":
            text = "\n\n".join(filter(None, (before.text, message.text)))
            parts = (*before.parts, *message.parts)
            tags = frozenset(tag for part in parts for tag in part.tags)
            before = dataclasses.replace(message, parts=(Text(text, tags=tags),))
            continue
        if before is not None:
            yield before
        before = message
    if before is not None:
        yield before


# The texts of a conversation.


def _leaves(conversation: Conversation) -> Iterator[_Leaf]:
    """Every text that would be sent."""
    for number, message in enumerate(conversation.messages):
        yield from _message_leaves(message, number)
    for tool in conversation.tools:
        for text in _tool_texts(tool):
            yield _Leaf(text, "the tools", "tools")
    for text in conversation.sampling.stop:
        yield _Leaf(text, "stop strings", "stop")
    if conversation.constraint is not None:
        for text in _json_texts(conversation.constraint.value):
            yield _Leaf(text, "the form of the answer", "constraint")


def _message_leaves(message: Message, number: int) -> Iterator[_Leaf]:
    where = f"message {number + 1} ({message.role})"
    if message.name:
        yield _Leaf(message.name, f"the name of {where}", "name")
    for key, value in message.extra.items():
        for text in (key, *_strings(value)):
            yield _Leaf(text, where, "extra")
    for part in message.parts:
        for text in _part_texts(part):
            yield _Leaf(text, where, "call" if isinstance(part, ToolCall) else message.role)


def _part_texts(part: Part) -> Iterator[str]:
    match part:
        case ToolCall():
            yield part.id
            yield part.name
            yield from (part.arguments,) if part.custom else _json_texts(part.arguments)
        case ToolResult():
            yield part.call_id
            yield part.text
        case Text() | Reasoning() | Refusal():
            yield part.text


def _tool_texts(tool: Tool) -> Iterator[str]:
    yield tool.name
    for text in (tool.description, tool.regex):
        if text:
            yield text
    if tool.parameters is not None:
        yield from _strings(tool.parameters)


def _json_texts(text: str) -> Iterator[str]:
    """The strings of a JSON text; another text as it is."""
    try:
        value = parse_json(text)
    except ValueError:
        yield text
        return
    yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield str(key)
            yield from _strings(own)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from _strings(own)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _in_a_row(leaves: Sequence[_Leaf]) -> Iterator[_Leaf]:
    """Texts read one after the other, as something may be divided among them: all, those of each
    group; forwards and backwards; with and without what each begins with ("Part 2:")."""
    if len(leaves) < 2:
        return
    groups = {leaf.group: [one for one in leaves if one.group == leaf.group] for leaf in leaves}
    rows = [list(leaves), *groups.values()]
    texts: dict[str, None] = {}
    for row in rows:
        own = [_ends(leaf.text) for leaf in row if leaf.text]
        if len(own) < 2:
            continue
        bare = [_LABEL.sub("", text) for text in own]
        for each in (own, bare, own[::-1], bare[::-1]):
            texts["".join(each)] = None
    for text in texts:
        yield _Leaf(text, "several texts together", "")


def _ends(text: str) -> str:
    """What of a text may go on in the one beside it."""
    if len(text) <= 2 * _ENDS:
        return text
    return f"{text[:_ENDS]}\n{text[-_ENDS:]}"


def _masked(
    conversation: Conversation, masking: Masking, spans: Callable[[str], list[Span]]
) -> Conversation:
    """A conversation with everything masked that is to be."""

    def plain(text: str) -> str:
        return masking.mask(text, spans(text))

    def part(own: Part) -> Part:
        match own:
            case ToolCall() if not own.custom:
                return dataclasses.replace(own, arguments=masking.mask_json(own.arguments, spans))
            case ToolCall():
                return dataclasses.replace(own, arguments=plain(own.arguments))
            case Text() | Reasoning() | Refusal() | ToolResult():
                return dataclasses.replace(own, text=plain(own.text))
        return own

    messages = tuple(
        dataclasses.replace(
            message, parts=tuple(map(part, message.parts)),
            name=plain(message.name) if message.name else message.name,
        )
        for message in conversation.messages
    )  # fmt: skip
    tools = tuple(
        dataclasses.replace(
            tool, description=plain(tool.description) if tool.description else tool.description,
            parameters=None if tool.parameters is None else mapped(dict(tool.parameters), plain),
        )
        for tool in conversation.tools
    )  # fmt: skip
    constraint = conversation.constraint
    if constraint is not None and constraint.kind == "json_schema":
        value = masking.mask_json(constraint.value, spans)
        constraint = dataclasses.replace(constraint, value=value)
    sampling = conversation.sampling
    stop = tuple(map(plain, sampling.stop))
    if stop != sampling.stop:
        sampling = dataclasses.replace(sampling, stop=stop)
    return conversation.replace(
        messages=messages, tools=tools, constraint=constraint, sampling=sampling
    )

"""What a conversation would send: by where its parts come from, and text by text."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json
from linnet.data.privacy.span import Span
from linnet.respond.conversation import Conversation, Message, Part, Tool
from linnet.respond.pieces import (
    DOCUMENT,
    LOCAL_ONLY,
    MEMORY,
    Citation,
    Passage,
    Place,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from linnet.routing.masking import Masking, mapped
from linnet.routing.protected import FARNESS, Protected
from linnet.routing.readings import LABEL

if TYPE_CHECKING:
    from linnet.routing.policy import PolicyConfig

UNFIT = "earlier messages that may not leave"
_ENDS = 400  # characters of a text's ends that are read together with those beside it
_FILE = re.compile(r"^--- (end of )?(.{1,300}) ---$", re.MULTILINE)
"""The lines around a file in a message, as the page writes them."""


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
class Leaf:
    """A text of a conversation that would be sent."""

    text: str
    where: str
    group: str
    """``user``, ``assistant``, ``tool``, ...: those of one group are also read in a row."""


# By where it comes from.


class Trimmed:
    """A conversation without what its origin keeps here."""

    def __init__(
        self, config: PolicyConfig, protected: Protected, conversation: Conversation, place: Place
    ) -> None:
        self._config, self._protected, self._place = config, protected, place
        self.left_out: Counter[str] = Counter()
        self.withheld: list[str] = []
        """Texts that must not turn up anywhere else either."""
        self.findings: list[Finding] = []
        """What keeps the question itself here."""
        messages: list[Message] = []
        current = current_turn(conversation.messages)
        for number, message in enumerate(conversation.messages):
            kept = self._kept(message, number, earlier=number < current)
            if kept is not None:
                messages.append(kept)
        if conversation.offered and self._config.tools == "none":
            self.findings.append(Finding("tools", "tools", "the conversation"))
        self.conversation = conversation.replace(messages=tuple(messages))

    def _kept(self, message: Message, number: int, *, earlier: bool) -> Message | None:
        """What of a message may go, by where it comes from; None: nothing."""
        config = self._config
        kind = message.origin.kind if message.origin else None
        left_out = None
        if message.role == "system":
            if kind == "owner" and not config.instructions:
                left_out = "the owner's instructions"
        elif earlier and config.history == "none":
            left_out = "earlier messages"
        elif earlier and config.history == "questions" and message.role != "user":
            left_out = "earlier answers"
        if left_out is not None:
            self.left_out[left_out] += 1
            return None
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
                self.left_out[UNFIT] += 1
                return None
            else:
                self.findings.append(finding)
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
        if not config.files and any(_has_file(text) for text in _part_texts(part)):
            return Finding("files", "an attached file", where)
        return None


def _has_file(text: str) -> bool:
    """Whether a text has a file in it."""
    found = {(bool(end), name) for end, name in _FILE.findall(text)} if "--- end of" in text else ()
    return any(end and (False, name) in found for end, name in found)


def current_turn(messages: Sequence[Message]) -> int:
    """Where the turn begins that is to be answered: with the last message of the user."""
    users = [number for number, message in enumerate(messages) if message.role == "user"]
    return users[-1] if users else 0


def paired(messages: Sequence[Message], current: int) -> Iterator[Message]:
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


def joined(messages: Iterable[Message]) -> Iterator[Message]:
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


def leaves(conversation: Conversation) -> Iterator[Leaf]:
    """Every text that would be sent."""
    for number, message in enumerate(conversation.messages):
        yield from message_leaves(message, number)
    for tool in conversation.tools:
        yield from _tool_leaves(tool)
    if (demanded := conversation.demanded_name) is not None:
        yield Leaf(demanded, "the tools", "tool name")
    for text in conversation.sampling.stop:
        yield Leaf(text, "stop strings", "stop")
    if conversation.constraint is not None:
        yield from _json_leaves(conversation.constraint.value, "the form of the answer", "form")


def message_leaves(message: Message, number: int) -> Iterator[Leaf]:
    """Those of one message."""
    where = f"message {number + 1} ({message.role})"
    if message.name:
        yield Leaf(message.name, f"the name of {where}", "name")
    yield from _value_leaves(dict(message.extra), where, "extra")
    for part in message.parts:
        match part:
            case ToolCall():
                yield Leaf(part.id, where, "call")
                yield Leaf(part.name, where, "call name")
                if part.custom:
                    yield Leaf(part.arguments, where, "arguments")
                else:
                    yield from _json_leaves(part.arguments, where, "arguments")
            case _:
                for text in _part_texts(part):
                    yield Leaf(text, where, message.role)


def _part_texts(part: Part) -> Iterator[str]:
    """The texts of a part, for whom it does not matter which is what."""
    match part:
        case ToolCall():
            yield part.name
            yield part.arguments
        case ToolResult():
            yield part.call_id
            yield part.text
        case Text() | Reasoning() | Refusal():
            yield part.text


def _tool_leaves(tool: Tool) -> Iterator[Leaf]:
    where = "the tools"
    yield Leaf(tool.name, where, "tool name")
    if tool.description:
        yield Leaf(tool.description, where, "tool")
    if tool.regex:
        yield Leaf(tool.regex, where, "tool")
    if tool.parameters is not None:
        yield from _value_leaves(dict(tool.parameters), where, "schema")


def _json_leaves(text: str, where: str, group: str) -> Iterator[Leaf]:
    """The strings of a JSON text; another text as it is."""
    try:
        value = parse_json(text)
    except ValueError:
        yield Leaf(text, where, group)
        return
    yield from _value_leaves(value, where, group)


def _value_leaves(value: Any, where: str, group: str) -> Iterator[Leaf]:
    """The strings of a JSON value. Keys are a group of their own: something may be divided among
    values whose keys stand between them."""
    if isinstance(value, str):
        yield Leaf(value, where, group)
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield Leaf(str(key), where, f"{group} keys")
            yield from _value_leaves(own, where, group)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from _value_leaves(own, where, group)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield Leaf(str(value), where, group)


def in_a_row(found: Sequence[Leaf]) -> Iterator[Leaf]:
    """Texts read one after the other, as something may be divided among them: all, those of each
    group; forwards and backwards; with and without what each begins with ("Part 2:")."""
    if len(found) < 2:
        return
    groups: dict[str, list[Leaf]] = {}
    for leaf in found:
        groups.setdefault(leaf.group, []).append(leaf)
    rows = [list(found), *groups.values()]
    texts: dict[str, None] = {}
    for row in rows:
        own = [_ends(leaf.text) for leaf in row if leaf.text]
        if len(own) < 2:
            continue
        bare = [LABEL.sub("", text) for text in own]
        for each in (own, bare, own[::-1], bare[::-1]):
            texts["".join(each)] = None
    for text in texts:
        yield Leaf(text, "several texts together", "")


def _ends(text: str) -> str:
    """What of a text may go on in the one beside it."""
    if len(text) <= 2 * _ENDS:
        return text
    return f"{text[:_ENDS]}\n{text[-_ENDS:]}"


def masked(
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

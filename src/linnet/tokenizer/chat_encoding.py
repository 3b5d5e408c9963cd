"""Makes tokens of a conversation: markers that nobody can forge, and what is to be trained.

**Markers.** A rendered conversation is one text in which the template's markers
(``<|im_end|>``) and what people wrote stand side by side. A marker is taken as a special token
only if its first and last character come from the template. To know that, the conversation
is rendered once more with those characters replaced, in everything that came with it, by others
that occur nowhere; what is then still a marker is the template's. So:

* no string in a message, tool, document or variable becomes a special token, alone or
  together with what stands beside it, whatever the template does to it;
* an added token that is not special but that the template writes too (``<think>``,
  ``<tool_call>``) becomes one only from the template or from an assistant's message;
* where no marker is forged, the tokens are those of ``transformers``.

What a model knows as a marker without having a token for it (Llama 2's ``[INST]``, Zephyr's
``<|user|>``) is text like any other, and cannot be guarded.

**Trained.** Where the template says ``{% generation %}``, that is what the assistant wrote.
Elsewhere it is what the template adds to the prompt for an answer (``add_generation_prompt``) when
the answer is there, as long as the whole conversation shows the same at that place. Either way the
token that ends the turn is part of it, and nothing after it is.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import tokenizers

from linnet.errors import DataError, LinnetError, ModelError
from linnet.tokenizer.chat import EncodedChat, plain_data, readable_messages, text_parts
from linnet.tokenizer.chunking import well_formed
from linnet.tokenizer.definition import faults_named

if TYPE_CHECKING:
    from linnet.tokenizer.chat import ChatTemplate, Message
    from linnet.tokenizer.tokenizer import Tokenizer

ASSISTANT = "assistant"

# Supplementary private use: a plane without characters, in which unused ones are found.
_PRIVATE = range(0xF0000, 0xFFFFE)

# Conversations that show how a turn ends; not every template takes every one of them.
_PROBE = "Linnet"
_PROBES = (
    [{"role": "user", "content": "a"}, {"role": ASSISTANT, "content": _PROBE}],
    [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "a"},
        {"role": ASSISTANT, "content": _PROBE},
    ],
)

Span = tuple[int, int]


@dataclass(frozen=True)
class Markers:
    """The tokens that a template's markers become."""

    special: frozenset[str]
    ordinary: frozenset[str]  # added, not special, and written by the template

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Any marker; of several at one place the longest, as the tokenizers library has it."""
        longest_first = sorted(self.special | self.ordinary, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def edges(self) -> frozenset[str]:
        """The characters by which a marker is told from text: those at its ends."""
        ends = {marker[place] for marker in self.special | self.ordinary for place in (0, -1)}
        return frozenset(end for end in ends if not end.isspace())


def markers_of(tokenizer: Tokenizer, template: ChatTemplate | None) -> Markers:
    """The markers of a tokenizer: its special tokens, and the added ones its template writes."""
    source = "".join(template.templates.values()) if template else ""
    added = {name: token in tokenizer.special_ids for token, name in tokenizer.added.items()}
    special = frozenset(name for name, is_special in added.items() if is_special and name.strip())
    ordinary = {name for name in added if name not in special and name.strip() and name in source}
    return Markers(special, frozenset(ordinary))


class MarkedBackend:
    """A tokenizer for rendered conversations, in which only the template's markers are tokens.

    Its special tokens are spelt with a first character that no text has, and so are the markers
    in the text that it is given.
    """

    def __init__(self, backend: tokenizers.Tokenizer, markers: Markers) -> None:
        self.markers = markers
        names = markers.special | markers.ordinary
        raw = json.loads(backend.to_str())
        self.sign = next(_unused(json.dumps(raw["added_tokens"], ensure_ascii=False)))
        raw.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        renamed = {name: self.sign + name[1:] for name in names}
        try:
            self._backend = tokenizers.Tokenizer.from_str(json.dumps(_respelt(raw, renamed)))
        except Exception:  # a merge makes one of them: leave the model as it is
            self._backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
        self._ids: dict[int, int] = {}
        for token, entry in sorted(backend.get_added_tokens_decoder().items()):
            name = renamed.get(entry.content, entry.content)
            added = tokenizers.AddedToken(
                name,
                single_word=entry.single_word,
                lstrip=entry.lstrip,
                rstrip=entry.rstrip,
                normalized=entry.normalized,
                special=entry.special,
            )
            if entry.special:
                self._backend.add_special_tokens([added])
            else:
                self._backend.add_tokens([added])
            self._ids[self._backend.token_to_id(name) or 0] = token
        self._backend.encode_special_tokens = False

    def encode(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids of a text whose markers begin with ``sign``, and the characters each stands for."""
        with faults_named("tokenizer.json"):
            encoded = self._backend.encode(well_formed(text), add_special_tokens=False)
        return [self._ids.get(token, token) for token in encoded.ids], encoded.offsets


@dataclass(frozen=True)
class Conversation:
    """All that a template renders."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None
    documents: Sequence[Mapping[str, Any]] | None
    variables: Mapping[str, Any]
    open_end: bool = False
    """Whether the last message is to go on (``continue_final_message`` in transformers)."""

    def render(self, template: ChatTemplate, **options: Any) -> str:
        """The text, by :meth:`ChatTemplate.render`."""
        messages, sign = self.messages, ""
        if self.open_end:
            sign = next(_unused(json.dumps(plain_data(self.messages), ensure_ascii=False)))
            # The space shows whether the template takes white space off.
            messages = _ending_with(self.messages, f"{sign} ")
        text = template.render(
            messages,
            tools=self.tools,
            documents=self.documents,
            variables=self.variables,
            **options,
        )
        if not self.open_end:
            return text
        before, found, after = text.rpartition(sign)
        if not found:
            raise DataError(
                "the chat template leaves out the end of the last message, which therefore "
                "cannot be continued"
            )
        return before if after.startswith(" ") else before.rstrip()

    def first(self, count: int) -> Conversation:
        """The same with only the first messages."""
        is_open = self.open_end and count == len(self.messages)
        return replace(self, messages=self.messages[:count], open_end=is_open)

    def encode(
        self, tokenizer: Tokenizer, template: ChatTemplate, *, add_generation_prompt: bool
    ) -> EncodedChat:
        """The tokens; see the module."""
        if self.open_end and add_generation_prompt:
            raise DataError(
                "expected either continue_final_message or add_generation_prompt. Got both"
            )
        backend = tokenizer.marked_backend
        markers = backend.markers
        shown, hidden = self._guarded(template, markers, add_generation_prompt)
        back = str.maketrans({sign: character for character, sign in hidden.items()})
        text = shown.render(template, add_generation_prompt=add_generation_prompt)
        spans = shown.spans(template, text, markers, tokenizer.end_of_turn_name)
        real = [match.span() for match in markers.pattern.finditer(text)]
        text = text.translate(back)
        pieces, done = [], 0
        for start, end in real:
            pieces += [text[done:start], backend.sign, text[start + 1 : end]]
            done = end
        ids, offsets = backend.encode("".join([*pieces, text[done:]]))
        unknown = tokenizer.unknown
        made = sum(token in tokenizer.special_ids and token != unknown for token in ids)
        if made > len(real):
            raise DataError(
                "expected text, but a special token's name in it cannot be written as plain text "
                "with this tokenizer; remove it"
            )
        trained = _covered(ids, offsets, spans.values(), tokenizer.special_ids)
        if tokenizer.end_of_turn is not None:
            for place in range(1, len(ids)):
                if ids[place] == tokenizer.end_of_turn and trained[place - 1]:
                    trained[place] = True
        return EncodedChat(ids, trained, text, tuple(spans))

    def spans(
        self, template: ChatTemplate, text: str, markers: Markers, end_of_turn: str | None
    ) -> dict[int, Span]:
        """Where in ``text`` is what the assistant wrote, by message."""
        turns = [n for n, message in enumerate(self.messages) if message.get("role") == ASSISTANT]
        if template.has_generation(tools=bool(self.tools)):
            found = self._enclosed(template, text)
            if len(found) == len(turns):
                return dict(zip(turns, found, strict=True))
            return dict(enumerate(found))
        spans = {}
        for turn in turns:
            span = self._added(turn, template, text, markers)
            if span is not None:
                spans[turn] = _to_end_of_turn(text, span, markers, end_of_turn)
        return spans

    def _enclosed(self, template: ChatTemplate, text: str) -> list[Span]:
        free = _unused(text)
        marks = next(free), next(free)
        marked = self.render(template, marks=marks)
        spans, starts = [], []
        for before, match in enumerate(re.finditer("|".join(marks), marked)):
            if match[0] == marks[0]:
                starts.append(match.start() - before)
            elif starts:
                spans.append((starts.pop(), match.start() - before))
        return spans

    def _added(self, turn: int, template: ChatTemplate, text: str, markers: Markers) -> Span | None:
        """What the template adds for one answer, or None where that is not in ``text``."""
        try:
            before = self.first(turn).render(template, add_generation_prompt=True)
            after = self.first(turn + 1).render(template)
        except LinnetError:
            return None
        if not text.startswith(before):
            return None
        if text.startswith(after):
            return len(before), len(after)
        end = len(os.path.commonprefix((text, after)))  # noqa: RUF071 (of characters)
        for whole in (text, after):
            for match in markers.pattern.finditer(whole):
                if match.start() < end < match.end():
                    end = match.start()
        # What a conversation ends with (Phi 3 closes it with its end of text) may be missing.
        if end < len(before) or markers.pattern.sub("", after[end:]).strip():
            return None
        return len(before), end

    def _guarded(
        self, template: ChatTemplate, markers: Markers, add_generation_prompt: bool
    ) -> tuple[Conversation, dict[str, str]]:
        """This conversation with the edges of markers replaced, and what they were replaced by."""
        everything = [self.messages, self.tools, self.documents, self.variables]
        plain = json.dumps(plain_data(everything), ensure_ascii=False)
        if not any(edge in plain for edge in markers.edges):
            return self, {}
        free = _unused(plain, *template.templates.values())
        hidden = dict(zip(sorted(markers.edges), free, strict=False))
        table = str.maketrans(hidden)

        def hide(text: str, *, keep: bool = False) -> str:
            if not keep or not markers.ordinary:
                return text.translate(table)
            parts = re.split(f"({'|'.join(map(re.escape, markers.ordinary))})", text)
            return "".join(
                part if number % 2 else part.translate(table) for number, part in enumerate(parts)
            )

        messages = [
            _mapped(message, partial(hide, keep=message.get("role") == ASSISTANT))
            for message in readable_messages(self.messages)
        ]
        guarded = Conversation(
            messages,
            _mapped(plain_data(self.tools), hide),
            _mapped(plain_data(self.documents), hide),
            _mapped(plain_data(self.variables), hide),
            self.open_end,
        )
        options = {"add_generation_prompt": add_generation_prompt}
        back = str.maketrans({sign: edge for edge, sign in hidden.items()})
        ours, theirs = guarded.render(template, **options), self.render(template, **options)
        forged = markers.pattern.findall(ours) != markers.pattern.findall(theirs)
        if not forged and ours.translate(back) != theirs:
            return self, {}  # the template looks at these characters, and no one means harm
        return guarded, hidden


def _ending_with(messages: Sequence[Message], ending: str) -> list[Message]:
    """The same messages with some text put after the last one's. Raises DataError without one."""
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list) and content:
        last = text_parts(content[-1:], "the last message")[0]
        longer: Any = [*content[:-1], {**last, "text": last["text"] + ending}]
    elif isinstance(content, str):
        longer = content + ending
    else:
        raise DataError("expected a last message with content to continue. Got none")
    return [*messages[:-1], {**messages[-1], "content": longer}]


def find_end_of_turn(template: ChatTemplate, markers: Markers) -> str | None:
    """The marker that follows an assistant's message, as the template writes it, if one does."""
    for probe in _PROBES:
        try:
            text = template.render(probe)
        except LinnetError:
            continue
        _, found, rest = text.rpartition(_PROBE)
        marker = markers.pattern.match(rest.lstrip()) if found else None
        if marker:
            return marker[0]
    return None


def _to_end_of_turn(text: str, span: Span, markers: Markers, end_of_turn: str | None) -> Span:
    """The span up to the end of its turn, without what the template writes after it."""
    start, end = span
    found = [match.span() for match in markers.pattern.finditer(text, start, end)]
    tail = start + len(text[start:end].rstrip())
    closing = tail
    for first, last in reversed(found):
        if last != tail:
            break
        if text[first:last] == end_of_turn:
            closing = last
        tail = start + len(text[start:first].rstrip())
    return start, closing


def _covered(
    ids: list[int], offsets: list[Span], spans: Iterator[Span] | Any, special: frozenset[int]
) -> list[bool]:
    """Which tokens stand for characters in one of the spans."""
    inside = [False] * len(ids)
    for start, end in spans:
        for place, (first, last) in enumerate(offsets):
            overlaps = first < end and max(last, first + 1) > start
            # Some markers take in the white space after them.
            if overlaps and not (first < start and ids[place] in special):
                inside[place] = True
    return inside


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_mapped(key, change): _mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(entry, change) for entry in value]
    return value


def _unused(*texts: str) -> Iterator[str]:
    """Characters that are in none of the texts."""
    used = {character for text in texts for character in text if ord(character) in _PRIVATE}
    return (chr(code) for code in _PRIVATE if chr(code) not in used)


def _respelt(raw: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A tokenizer as JSON whose vocabulary has new names for some pieces."""
    model = dict(raw["model"])
    unknown = model.get("unk_token")
    names = {name: new for name, new in renamed.items() if name != unknown}
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): token for piece, token in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    return {**raw, "model": model}


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> EncodedChat:
    """A conversation as tokens, with those that are the assistant's.

    The template's own markers become special tokens; the same strings in what people wrote are
    encoded as plain text. ``continue_final_message``: leave the last message open, so that the
    model goes on with it. See the module for what is guaranteed.
    Raises ModelError when the tokenizer has no chat template, and what
    :meth:`ChatTemplate.render` raises.
    """
    template = tokenizer.chat_template
    if template is None:
        raise ModelError(
            "the tokenizer has no chat template; add chat_template.jinja beside it, or give it "
            "one with linnet.tokenizer.with_chat"
        )
    given = Conversation(messages, tools, documents, variables or {}, continue_final_message)
    return given.encode(tokenizer, template, add_generation_prompt=add_generation_prompt)

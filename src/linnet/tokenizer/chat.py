"""Conversations as text and as tokens: the chat templates that come with models.

A template is a Jinja program in a tokenizer's files. :class:`ChatTemplate` renders it as
``transformers`` does (``PreTrainedTokenizerBase.apply_chat_template``), but within limits
(:mod:`linnet.tokenizer.template_sandbox`); :func:`encode_chat` makes tokens of it and says which of
them a model is to be trained on (:mod:`linnet.tokenizer.chat_encoding`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import DataError, LinnetError, ModelError

if TYPE_CHECKING:
    pass

Message = Mapping[str, Any]

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_JSON = "chat_template.json"  # what processors of pictures and sound write
MORE_TEMPLATES = "additional_chat_templates"
_LARGEST_FILE = 1 << 20  # bytes
DEFAULT, TOOL_USE = "default", "tool_use"

# The names that templates know special tokens by.
TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)

PART_SEPARATOR = "\n"
"""Between the parts of a message that a template takes as one text, as in vLLM and llama.cpp."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_MEDIA = re.compile(r"image|audio|video|file")
# What templates are tried with. Nine characters of an id are what Mistral's demand.
_PROBES = ("Linnet", "Finch")
_PROBE_ASKED = {"role": "user", "content": "a"}
_PROBE_FUNCTION = {"name": _PROBES[0], "arguments": {"bird": _PROBES[1]}}
_PROBE_CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "linnet012", "type": "function", "function": _PROBE_FUNCTION}],
}
_PROBE_SCHEMA = {"type": "object", "properties": {"bird": {"type": "string"}}}
_PROBE_TOOL = {
    "type": "function",
    "function": {"name": _PROBES[0], "description": "a", "parameters": _PROBE_SCHEMA},
}
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class _EndlessError(ModelError):
    """A template that does too much."""


@dataclass(frozen=True)
class EncodedChat:
    """A conversation as tokens.

    ``trained``: for each token, whether it is the assistant's own: what it wrote, to and with the
    token that ends its turn. ``turns``: the messages (by place) whose tokens these are. An
    assistant's message is missing there when the template shows it differently later on than at
    the time it was written, such as a thought that it leaves out: then the model would learn
    to say what it never says.
    """

    ids: list[int]
    trained: list[bool]
    text: str
    turns: tuple[int, ...]


@dataclass(frozen=True)
class ChatTemplate:
    """How a model expects conversations to be written.

    ``templates``: by name; ``default``, and some have another for when there are tools,
    ``tool_use``. ``tokens``: what templates find as ``bos_token`` and so on. ``origin``: the file,
    for messages.
    """

    templates: Mapping[str, str]
    tokens: Mapping[str, str] = field(default_factory=dict)
    origin: str = "tokenizer_config.json"

    def source(self, *, tools: bool = False) -> str:
        """The Jinja text for conversations with or without tools."""
        for name in (TOOL_USE,) * tools + (DEFAULT,):
            if name in self.templates:
                return self.templates[name]
        known = ", ".join(sorted(self.templates))
        raise ModelError(f"{self.origin}: expected a chat template named {DEFAULT}. Got {known}")

    def has_generation(self, *, tools: bool = False) -> bool:
        """Whether the template itself says what the assistant wrote."""
        return _GENERATION.search(self.source(tools=tools)) is not None

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
        marks: tuple[str, str] = ("", ""),
    ) -> str:
        """The conversation as text.

        ``tools``: JSON schemas, as the template documents. ``add_generation_prompt``: end with
        what comes before an answer. ``variables``: what else the template looks at, such as
        ``enable_thinking``. ``marks``: put around what ``{% generation %}`` encloses.
        Raises DataError when the template refuses the conversation, ModelError when the
        template is at fault: it does not compile, fails, does what is forbidden or too much.
        """
        content = {
            **self.tokens,
            **plain_data(variables or {}),
            "messages": self._accepted(readable_messages(messages)),
            "tools": None if tools is None else plain_data(list(tools)),
            "documents": None if documents is None else plain_data(list(documents)),
            "add_generation_prompt": add_generation_prompt,
        }
        return self._rendered(content, marks=marks)

    def _rendered(self, content: Mapping[str, Any], *, marks: tuple[str, str] = ("", "")) -> str:
        if DEFAULT not in self.templates:
            self.source()  # raises
        return self._run(self.source(tools=bool(content["tools"])), content, marks)

    def _accepted(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages with content in a shape that this template takes.

        Text in parts goes to templates that read parts and is joined for others; where calls of
        tools stand alone, their content is whichever of "", null and nothing the template expects.
        """
        found = []
        for place, message in enumerate(messages):
            content = message.get("content")
            if isinstance(content, list):
                parts = text_parts(content, f"message {place}")
                in_parts = message.get("role") in self._roles_in_parts
                message = {**message, "content": parts if in_parts else joined_text(parts)}
            if message.get("tool_calls"):
                shown, taken = self._calls
                if not shown and taken:
                    raise DataError(
                        f"message {place} calls tools, which the chat template leaves out "
                        f"({self.origin}); use a template that writes tool_calls"
                    )
                if not message.get("content"):
                    message = self._beside_calls(message)
            found.append(message)
        return found

    def _beside_calls(self, message: dict[str, Any]) -> dict[str, Any]:
        given = () if "content" not in message else (message["content"],)
        _, kinds = self._calls
        if given in kinds or not kinds:
            return message
        rest = {key: value for key, value in message.items() if key != "content"}
        return {**rest, "content": kinds[0][0]} if kinds[0] else rest

    @cached_property
    def _roles_in_parts(self) -> frozenset[str]:
        """The roles of which the template writes parts of text one after another."""
        parts = [{"type": "text", "text": text} for text in _PROBES]
        around: dict[str, tuple[list[Any], list[Any]]] = {
            "system": ([], [_PROBE_ASKED]),
            "user": ([], []),
            "assistant": ([_PROBE_ASKED], []),
            "tool": ([_PROBE_ASKED, _PROBE_CALL], []),
        }
        found = set()
        for role, (before, after) in around.items():
            message = {"role": role, "content": parts}
            text = self._probed([*before, message, *after])
            if re.search(r"\s*".join(_PROBES), text):
                found.add(role)
        return frozenset(found)

    @cached_property
    def _calls(self) -> tuple[bool, list[tuple[()] | tuple[Any]]]:
        """Whether calls are written, and what content may be beside them: (), (None,) or ("",).

        Templates of one publisher test for null, those of another join texts.
        """
        bare = {key: value for key, value in _PROBE_CALL.items() if key != "content"}
        kinds: list[tuple[()] | tuple[Any]] = [("",), (None,), ()]
        usual = self._probed([_PROBE_ASKED, _PROBE_CALL | {"content": "a"}]).count("None")
        taken: list[tuple[()] | tuple[Any]] = []
        shown: list[tuple[()] | tuple[Any]] = []
        for kind in kinds:
            message = {**bare, "content": kind[0]} if kind else bare
            text = self._probed([_PROBE_ASKED, message])
            if text and text.count("None") <= usual:
                (shown if _PROBES[1] in text else taken).append(kind)
        return bool(shown), shown or taken

    def _probed(self, messages: list[dict[str, Any]]) -> str:
        """A conversation as the template writes it, with a tool; nothing where it fails.

        Raises _EndlessError for one that had to be stopped: asking again would take as long.
        """
        empty = dict.fromkeys(TOKEN_NAMES, "")
        content = {**empty, **self.tokens, "documents": None, "add_generation_prompt": False}
        try:
            return self._rendered({**content, "messages": messages, "tools": [_PROBE_TOOL]})
        except _EndlessError:
            raise
        except LinnetError:
            return ""

    def _run(self, source: str, content: Mapping[str, Any], marks: tuple[str, str]) -> str:
        """Render in a process that is ended when it takes too long."""
        from linnet.tokenizer import confined, template_limits

        if len(source) > template_limits.LONGEST_TEMPLATE:
            raise ModelError(
                f"{self.origin}: expected a chat template of at most "
                f"{template_limits.LONGEST_TEMPLATE:,} characters. Got {len(source):,}"
            )
        service, request = "linnet.tokenizer.template_sandbox", (source, content, marks)
        try:
            outcome, text = confined.call(service, request, seconds=template_limits.SECONDS)
        except confined.EndedError as error:
            outcome, text = "stopped", str(error)
        if outcome == "done":
            return str(text)
        if outcome == "refused":
            raise DataError(f"{self.origin}: the chat template refuses this conversation: {text}")
        if outcome == "stopped":
            raise _EndlessError(f"{self.origin}: the chat template is stopped: {text}")
        reasons = {
            "uncompiled": f"does not compile{text}",
            "failed": f"cannot render this conversation ({text}); correct it, or the messages",
        }
        raise ModelError(f"{self.origin}: the chat template {reasons[outcome]}")


def read_templates(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The templates beside a tokenizer by name: none, one, or several.

    ``config``: what ``tokenizer_config.json`` says. Files come before it, as in transformers.
    """
    found = named_templates(config.get("chat_template"), str(directory))
    processor = directory / TEMPLATE_JSON
    if processor.is_file() and not found:
        from linnet.tokenizer.definition import read_settings

        found = named_templates(read_settings(processor).get("chat_template"), str(processor))
    file, more = directory / TEMPLATE_FILE, directory / MORE_TEMPLATES
    from_files = {DEFAULT: _read(file)} if file.is_file() else {}
    if more.is_dir():
        from_files.update({each.stem: _read(each) for each in sorted(more.glob("*.jinja"))})
    return from_files or found


def named_templates(value: Any, origin: str) -> dict[str, str]:
    """What ``chat_template`` in a JSON file says: a text, or a list of named ones."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    try:
        return {str(entry["name"]): _text(entry["template"]) for entry in value}
    except (TypeError, KeyError):
        raise ModelError(
            f"{origin}: expected chat_template to be a text or a list of objects with name and "
            f"template. Got {str(value)[:60]!r}"
        ) from None


def inline_templates(templates: Mapping[str, str]) -> str | list[dict[str, str]]:
    """What ``tokenizer_config.json`` says of these templates."""
    if set(templates) == {DEFAULT}:
        return templates[DEFAULT]
    return [{"name": name, "template": text} for name, text in templates.items()]


def readable_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates see them.

    Keys without a value are left out, but for the content beside calls of tools, which templates
    test for null. Reasoning is found under all the names it has.
    Raises DataError when there is none, or one that is not a mapping.
    """
    if not messages:
        raise DataError("expected a conversation with at least one message. Got none")
    readable = []
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise DataError(
                f"expected message {place} to have role and content. Got {type(message).__name__}"
            )
        plain = plain_data(message)
        calls = plain.get("tool_calls")
        plain = {
            key: value
            for key, value in plain.items()
            if value is not None or (key == "content" and calls)
        }
        reasoning = next((plain[key] for key in _REASONING if plain.get(key) is not None), None)
        if reasoning is not None:
            plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
        readable.append(plain)
    return readable


def text_parts(parts: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """The parts of a message, each ``{"type": "text", "text": ...}``.

    Raises DataError for a part that is no text, such as a picture.
    """
    found = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("refusal" if kind == "refusal" else "text") if kind in _TEXT_PARTS else None
        if not isinstance(part, Mapping) or not isinstance(text, str):
            why = ", which a model of text cannot read" if _MEDIA.search(str(kind)) else ""
            raise DataError(f"{where}: expected parts of text. Got one of type '{kind!s:.40}'{why}")
        found.append({"type": "text", "text": text})
    return found


def joined_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Text, or the parts of a text as one. Raises DataError for a part that is none."""
    if isinstance(content, str):
        return content
    return PART_SEPARATOR.join(part["text"] for part in text_parts(content, "a message"))


DEEPEST = 64
"""Levels that what a template is given may have within each other."""


def plain_data(value: Any, *, depth: int = 0) -> Any:
    """A copy made of nothing but what JSON knows, so that a template finds no methods.

    Raises DataError for what is nested deeper than anyone means.
    """
    if depth > DEEPEST:
        raise DataError(f"expected data that nests at most {DEEPEST} levels deep. Got more")
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    below = depth + 1
    if isinstance(value, Mapping):
        return {
            plain_data(key, depth=below): plain_data(entry, depth=below)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        entries = [plain_data(entry, depth=below) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return f"<{type(value).__name__}>"


def _read(file: Path) -> str:
    size = file.stat().st_size
    if size > _LARGEST_FILE:
        raise ModelError(f"{file}: expected a chat template, but it has {size:,} bytes")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: expected a chat template in UTF-8 ({error})") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value

"""The forms a row of training data may have, told by its columns.

* ``messages``: turns of ``role`` (system, user, assistant, tool) and ``content``,
  with ``tool_calls`` and a column ``tools`` as transformers' chat templates read
  them; an assistant's ``weight`` of 0, or ``loss`` or ``train`` that is false, keeps
  a turn from being trained. ShareGPT's ``conversations`` (``from``, ``value``) is
  read as this.
* ``prompt`` and ``completion``: texts, or lists of messages, of which the
  completion's alone are trained. Alpaca's ``instruction``, ``input``, ``output``,
  ``system`` and ``history`` are read as this, and ``question``/``answer`` and
  ``query``/``response`` as well.
* ``text``.

A row may have other columns, which are left alone.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

from linnet.errors import DataError
from linnet.tokenizer.chat import joined_text, text_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Message: TypeAlias = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
TRAIN_FLAGS = ("weight", "loss", "train", "training")
"""What a turn is said to be trained by: OpenAI's name, ms-swift's and axolotl's."""
CONVERSATIONS = ("messages", "conversations")
PROMPTS = ("prompt", "instruction", "question", "query")
COMPLETIONS = ("completion", "output", "answer", "response")
_GIVEN = ("input", "context")
_SYSTEM = ("system", "system_prompt")
COLUMNS = (*CONVERSATIONS, *PROMPTS, *COMPLETIONS, "text", "input", "system", "history", "tools")
_EXPECTED = "messages, prompt with completion, or text"
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_BLANK_LINE = "\n\n"

_SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


class RowError(Exception):
    """A row is of no form. The message does not say where it stands."""


@dataclass(frozen=True)
class ChatRow:
    """A conversation that ends with the assistant."""

    source: str
    messages: tuple[Message, ...]
    trained_turns: tuple[bool, ...]
    """For each of the assistant's messages, whether it is trained."""
    tools: tuple[Any, ...] | None = None
    unheeded_flags: int = 0
    """Turns of others than the assistant that are said to be trained."""

    @property
    def assistant_turns(self) -> list[int]:
        """The places of the assistant's messages."""
        return [n for n, message in enumerate(self.messages) if message["role"] == "assistant"]

    @property
    def starts(self) -> list[int]:
        """Where a shorter conversation may begin: at what the user says later on."""
        asked = [n for n, message in enumerate(self.messages) if message["role"] == "user"]
        return [n for n in asked[1:] if self.messages[n - 1]["role"] != "user"]

    def trains(self, start: int, end: int | None = None) -> bool:
        """Whether a turn among these messages is trained."""
        turns = zip(self.assistant_turns, self.trained_turns, strict=True)
        return any(t and start <= n < (end or len(self.messages)) for n, t in turns)

    def since(self, start: int) -> ChatRow:
        """The same from a message on, after the system's messages that it begins with."""
        system = list(takewhile(lambda m: m["role"] == "system", self.messages))
        left = sum(n >= start for n in self.assistant_turns)
        return replace(
            self,
            messages=(*system, *self.messages[start:]),
            trained_turns=self.trained_turns[len(self.trained_turns) - left :],
        )

    def before(self, end: int) -> ChatRow:
        """The same up to the last trained turn before a message."""
        turns = zip(self.assistant_turns, self.trained_turns, strict=True)
        last = max(n for n, is_trained in turns if is_trained and n < end)
        count = sum(n <= last for n in self.assistant_turns)
        return replace(
            self, messages=self.messages[: last + 1], trained_turns=self.trained_turns[:count]
        )

    @property
    def key(self) -> str:
        """What is asked first: rows alike in this stay together."""
        return next((joined_text(m["content"]) for m in self.messages if m["role"] == "user"), "")


@dataclass(frozen=True)
class PromptRow:
    """What is asked and what is answered."""

    source: str
    prompt: str
    completion: str
    between: str = ""
    """What stands between the two where they are plain text."""
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    """Earlier questions and answers."""

    @property
    def key(self) -> str:
        """What is asked first."""
        return self.history[0][0] if self.history else self.prompt

    def as_chat(self) -> ChatRow:
        """The same as a conversation; earlier answers are trained as well."""
        turns = [*self.history, (self.prompt, self.completion)]
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for asked, answered in turns:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answered})
        return ChatRow(self.source, tuple(messages), (True,) * len(turns))

    def as_text(self) -> str:
        """All that comes before the completion, as plain text."""
        earlier = [part for turn in self.history for part in turn]
        before = [part for part in (self.system, *earlier) if part]
        return _BLANK_LINE.join([*before, self.prompt]) + self.between


@dataclass(frozen=True)
class TextRow:
    """A text to learn as it is."""

    source: str
    text: str

    @property
    def key(self) -> str:
        """The text itself."""
        return self.text


Row: TypeAlias = ChatRow | PromptRow | TextRow


def form_of(row: Row) -> str:
    """The name of a row's form."""
    return {ChatRow: "messages", PromptRow: "prompt", TextRow: "text"}[type(row)]


def parse_row(value: Any, *, source: str, columns: Mapping[str, str]) -> Row:
    """Check a row as it was read. ``columns``: names in the file and what they are here.

    Raises RowError.
    """
    if not isinstance(value, Mapping):
        raise RowError(f"expected an object with {_EXPECTED}. Got {_kind(value)}")
    # A column that is null or an empty cell is not there, but for what must not be empty.
    row = {str(name): cell for name, cell in value.items() if cell is not None}
    for theirs, ours in columns.items():
        if theirs not in row:
            raise RowError(f"it has no column '{theirs}'{_near(theirs, row)}")
        row[ours] = row.pop(theirs)
    _refuse_pictures(row)
    if name := _first(row, CONVERSATIONS):
        return _chat(_turns(row[name], name), row, source)
    asked, answered = _first(row, PROMPTS), _first(row, COMPLETIONS)
    if asked and answered:
        if isinstance(row[asked], list) or isinstance(row[answered], list):
            before, after = _turns(row[asked], asked), _turns(row[answered], answered)
            return _chat(after, row, source, before=before)
        return _prompt(row, asked, answered, source)
    if "text" in row:
        return TextRow(source, _text(row["text"], "text"))
    if asked:
        raise RowError(f"it has '{asked}' but no 'completion'{_near('completion', row)}")
    if answered:
        raise RowError(f"it has '{answered}' but no 'prompt'{_near('prompt', row)}")
    near = [close for name in row for close in difflib.get_close_matches(name, COLUMNS, n=1)]
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise RowError(f"expected {_EXPECTED}. Got {_some(row) or 'nothing'}{hint}")


def _refuse_pictures(row: Mapping[str, Any]) -> None:
    """Raise RowError for a row whose text points to a picture or sound in another column."""
    for name in MEDIA:
        if row.get(name) and f"<{name.rstrip('s')}>" in json.dumps(row, default=str):
            raise RowError(
                f"it has '{name}', and text that stands for them; a model of text cannot be "
                "trained on them: leave such rows out"
            )


def _some(names: Mapping[str, Any]) -> str:
    some = ", ".join(repr(name[:40]) for name in islice(names, 8))
    return some if len(names) <= 8 else f"{some} and {len(names) - 8} more"


def _prompt(row: Mapping[str, Any], asked: str, answered: str, source: str) -> PromptRow:
    prompt = _text(row[asked], asked)
    if name := _first(row, _GIVEN):
        given = _text(row[name], name)
        prompt = _BLANK_LINE.join(part for part in (prompt, given) if part.strip())
    completion = _text(row[answered], answered)
    if not completion.strip():
        raise RowError(f"the completion ('{answered}') is empty")
    system = _first(row, _SYSTEM)
    return PromptRow(
        source,
        prompt,
        completion,
        "" if (asked, answered) == ("prompt", "completion") else _BLANK_LINE,
        _text(row[system], system) if system else "",
        tuple(_history(_parsed(row.get("history") or [], "history"))),
    )


def _history(turns: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(turns, list):
        raise RowError(f"'history' must be a list of pairs. Got {_kind(turns)}")
    for turn in turns:
        if not isinstance(turn, list) or len(turn) != 2:
            raise RowError(f"'history' must be pairs of prompt and completion. Got {turn!r:.80}")
        if not _text(turn[1], "history").strip():
            raise RowError("a completion in 'history' is empty")
        yield _text(turn[0], "history"), turn[1]


def _chat(
    messages: Sequence[Message],
    row: Mapping[str, Any],
    source: str,
    *,
    before: Sequence[Message] = (),
) -> ChatRow:
    trained, unheeded = [], 0
    for place, message in enumerate([*before, *messages]):
        flag = _train_flag(message)
        if message["role"] != "assistant":
            unheeded += flag is True and place >= len(before)
        else:
            trained.append(flag is not False and place >= len(before))
    every = [*before, *messages]
    system = _first(row, _SYSTEM)
    if system and (text := _text(row[system], system)) and every[0]["role"] != "system":
        every.insert(0, {"role": "system", "content": text})
    if not any(message["role"] == "assistant" for message in messages):
        raise RowError("no turn of the assistant, so there is nothing to train")
    if not any(trained):
        raise RowError(
            "every turn of the assistant has weight 0 (or loss or train that is false), so there "
            "is nothing to train"
        )
    # What follows the last trained turn, nothing is ever predicted from.
    while every[-1]["role"] != "assistant" or not trained[-1]:
        if every.pop()["role"] == "assistant":
            trained.pop()
    tools = _parsed(row.get("tools"), "tools") if row.get("tools") else None
    if tools is not None and not isinstance(tools, list):
        raise RowError(f"'tools' must be a list. Got {_kind(tools)}")
    tools = tuple(tools) if tools else None
    return ChatRow(source, tuple(every), tuple(trained), tools, unheeded)


def _turns(value: Any, column: str) -> list[Message]:
    turns = _parsed(value, column)
    if not isinstance(turns, list):
        raise RowError(f"'{column}' must be a list of messages. Got {_kind(turns)}")
    if not turns:
        raise RowError(f"'{column}' is empty")
    return [_message(turn, number) for number, turn in enumerate(turns, 1)]


def _message(turn: Any, number: int) -> Message:
    where = f"message {number}"
    if not isinstance(turn, Mapping):
        raise RowError(f"{where} must be an object with role and content. Got {_kind(turn)}")
    message = {str(name): value for name, value in turn.items() if value is not None}
    if "role" not in message and "from" in message:
        message = _from_sharegpt(message, where)
    elif "role" not in message:
        raise RowError(f"{where} has no 'role'{_near('role', message)}")
    role = message["role"]
    if role not in ROLES:
        raise RowError(_unknown_role(where, role, ROLES))
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = [_call(call, where) for call in _listed(calls, where)]
    if "content" not in message and not calls:
        raise RowError(f"{where} ({role}) has no 'content'{_near('content', message)}")
    message["content"] = _content(message.get("content", ""), where)
    if role == "assistant" and not joined_text(message["content"]).strip() and not calls:
        raise RowError(f"{where}: the assistant's turn is empty")
    return message


def _from_sharegpt(message: Message, where: str) -> Message:
    if message["from"] not in _SHAREGPT:
        raise RowError(_unknown_role(where, message["from"], tuple(_SHAREGPT)))
    if "value" not in message:
        raise RowError(f"{where} has no 'value'{_near('value', message)}")
    rest = {k: v for k, v in message.items() if k not in ("from", "value")}
    if message["from"] != "function_call":
        return {"role": _SHAREGPT[message["from"]], "content": message["value"], **rest}
    calls = _parsed(message["value"], f"{where}: function_call")
    calls = calls if isinstance(calls, list) else [calls]
    return {"role": "assistant", "content": "", "tool_calls": calls, **rest}


def _call(call: Any, where: str) -> dict[str, Any]:
    """A tool call as templates read it: with arguments as values, not as text."""
    if isinstance(call, Mapping) and "function" not in call:
        call = {"type": "function", "function": call}
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError(f"{where}: a tool call must have a function with a name. Got {call!r:.80}")
    arguments = _parsed(function.get("arguments", {}), f"{where}: arguments")
    if not isinstance(arguments, Mapping):
        raise RowError(f"{where}: a call's arguments must be an object. Got {_kind(arguments)}")
    # Parquet gives every call the arguments of all others, as null.
    given = {name: value for name, value in arguments.items() if value is not None}
    return {**call, "function": {**function, "arguments": given}}


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    """Text, or parts of text, which the chat template joins in training as in serving."""
    if not isinstance(content, list):
        return _text(content, f"{where}: content")
    try:
        return text_parts(content, where)
    except DataError as error:
        raise RowError(str(error)) from None


def _train_flag(message: Message) -> bool | None:
    """Whether a message says that it is to be trained, taking that off it; None for no word."""
    found = {name: message.pop(name) for name in TRAIN_FLAGS if name in message}
    for name, value in found.items():
        if value not in (0, 1):
            raise RowError(f"a message's {name} must be 0, 1, true or false. Got {value!r:.40}")
    if len({bool(value) for value in found.values()}) > 1:
        said = " and ".join(f"{name} {value!r}" for name, value in found.items())
        raise RowError(f"a message has {said}, which contradict each other")
    return next((bool(value) for value in found.values()), None)


def _listed(value: Any, where: str) -> list[Any]:
    parsed = _parsed(value, f"{where}: tool_calls")
    if not isinstance(parsed, list):
        raise RowError(f"{where}: 'tool_calls' must be a list. Got {_kind(parsed)}")
    return parsed


def _parsed(value: Any, name: str) -> Any:
    """The value, or what it says as JSON where it is text, as in cells of CSV and Parquet."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError(f"'{name}' must be JSON. Got {value!r:.80}") from None


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"'{name}' must be text. Got {_kind(value)}")
    return value


def _first(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _near(name: str, row: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(row), n=1)
    return f"; is it '{near[0]}'?" if near else ""


def _unknown_role(where: str, role: Any, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(role).lower(), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
    return f"{where} has the unknown role {role!r:.40}{hint}"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)

"""Tools: shown as templates expect, and called through the server."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import ScriptedEngine, serving

from linnet.generate.engine import Request
from linnet.respond import ConversationError, Tool, tool_servers
from linnet.respond.tool_servers import ServerTool
from linnet.respond.tools import ToolFormat, call_schema, find_format, tools_in_messages
from linnet.serve.keys import KeyLimits, add_key
from linnet.tokenizer import ChatTemplate

# What published templates do with tools: how they list them, and how they write calls.
HERMES = """{%- if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools> <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LLAMA = """{%- for tool in tools or [] %}{{ tool | tojson(indent=4) }}
{% endfor %}
{%- for message in messages %}<|{{ message.role }}|>
{%- if message.tool_calls %}{"name": "{{ message.tool_calls[0].function.name }}", \
"parameters": {{ message.tool_calls[0].function.arguments | tojson }}}
{%- else %}{{ message.content }}{% endif %}
{% endfor %}"""
MISTRAL = """{%- if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for message in messages %}
{%- if message.tool_calls %}[TOOL_CALLS][{% for call in message.tool_calls %}{"name": \
"{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": \
"{{ call.id }}"}{% endfor %}]{% else %}[INST]{{ message.content }}[/INST]{% endif %}
{%- endfor %}"""
PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"

REFUSING = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "$defs": {"city": {"type": "string"}},
        },
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
ASKED: list[Any] = [{"role": "user", "content": "Is it raining in Ulm?"}]
CALL = '{"name": "weather", "arguments": {"city": "Ulm"}}'


class Templated(ScriptedEngine):
    """Renders with a real template."""

    def __init__(self, template: str, text: str = "") -> None:
        super().__init__(lambda prompt, request: text)
        self.template = ChatTemplate({"default": template})

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        **variables: Any,
    ) -> tuple[int, ...]:
        text = self.template.render(
            messages, tools=list(tools) or None, add_generation_prompt=True, variables=variables
        )
        return tuple(map(ord, text))


@pytest.mark.parametrize(
    ("template", "kind", "native"),
    [
        (HERMES, "tags", True),
        (LLAMA, "object", True),
        (MISTRAL, "list", True),
        (PLAIN, "tags", False),
    ],
)
def test_how_a_model_writes_calls_is_seen_from_its_template(
    template: str, kind: Any, native: bool
) -> None:
    assert find_format(Templated(template)) == ToolFormat(kind, native)


def test_an_object_with_a_name_of_its_own_through_the_server() -> None:
    text = '{"name": {"first": "Ada"}, "age": 3}'
    with serving(Templated(LLAMA, text)) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        whole = client.chat.completions.create(
            model="tiny", messages=ASKED, tools=[WEATHER]  # type: ignore[list-item, call-overload]
        )  # fmt: skip
        assert whole.choices[0].message.content == text
        assert whole.choices[0].finish_reason == "stop"


def test_tools_through_the_server() -> None:
    text = f"I look.\n<tool_call>\n{CALL}\n</tool_call>"
    engine = Templated(HERMES, text)
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        tools: list[Any] = [WEATHER, TIME]
        whole = client.chat.completions.create(model="tiny", messages=ASKED, tools=tools)
        message = whole.choices[0].message
        assert whole.choices[0].finish_reason == "tool_calls"
        assert message.content == "I look."
        assert message.tool_calls is not None
        call: Any = message.tool_calls[0]
        assert (call.type, call.function.name) == ("function", "weather")
        assert json.loads(call.function.arguments) == {"city": "Ulm"}
        prompt = engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]
        assert '"name": "weather"' in prompt
        # The answer of the tool goes back, with the call as the model wrote it.
        client.chat.completions.create(
            model="tiny",
            tools=tools,
            messages=[
                *ASKED,
                message.model_dump(),  # type: ignore[list-item]
                {"role": "tool", "tool_call_id": call.id, "content": "dry"},
            ],
        )
        prompt = engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]
        assert f"<tool_call>\n{CALL}\n</tool_call>" in prompt
        names, pieces, arguments, content, ends = [], [], "", "", []
        for chunk in client.chat.completions.create(
            model="tiny", messages=ASKED, tools=tools, stream=True
        ):
            choice = chunk.choices[0]
            content += choice.delta.content or ""
            ends.append(choice.finish_reason)
            for piece in choice.delta.tool_calls or ():
                first = not names  # later ones have the characters alone
                assert (piece.index, piece.type) == (0, "function" if first else None)
                assert bool(piece.id) == first
                assert piece.function is not None
                pieces.append(piece.function.arguments)
                names += [piece.function.name] * (piece.function.name is not None)
                arguments += piece.function.arguments or ""
        assert (names, json.loads(arguments), content) == (
            ["weather"],
            {"city": "Ulm"},
            "I look.\n",
        )
        assert ends[-1] == "tool_calls"
        assert len(pieces) > 1  # the name, and then arguments
        assert arguments == call.function.arguments
        none = client.chat.completions.create(
            model="tiny", messages=ASKED, tools=tools, tool_choice="none"
        )
        assert none.choices[0].message.content == text
        assert '"name": "weather"' not in engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]


def test_a_call_can_be_demanded() -> None:
    engine = Templated(HERMES, CALL)
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        named: Any = {"type": "function", "function": {"name": "weather"}}
        for choice in ("required", named):
            whole = client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[WEATHER, TIME], tool_choice=choice  # type: ignore[list-item]
            )  # fmt: skip
            assert whole.choices[0].message.content is None
            assert whole.choices[0].message.tool_calls is not None
            request: Request = engine.requests[-1]
            assert engine.detokenize(request.prompt).endswith("<tool_call>\n")  # type: ignore[arg-type]
            assert request.constraint is not None
            asked = json.loads(request.constraint.value)
            assert (asked["entered"], asked["otherwise"]) == (True, None)
            assert (asked["most"] > 1) == (choice == "required")
            schema = asked["calls"]
            first = schema["anyOf"][0] if choice == "required" else schema
            assert first["properties"]["name"] == {"const": "weather"}
            city = first["properties"]["arguments"]["properties"]["city"]
            assert city == {"$ref": "#/$defs/t0_city"}
            assert schema["$defs"] == {"t0_city": {"type": "string"}}
        with pytest.raises(openai.BadRequestError, match="none of the tools"):
            client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[TIME], tool_choice=named  # type: ignore[list-item]
            )  # fmt: skip


PYTHON_CALL = '{"name": "python", "arguments": {"input": %s}}'
PYTHON = {"type": "custom", "custom": {"name": "python", "description": "Runs"}}
FORM: Any = {
    "type": "json_schema", "json_schema": {"name": "dry", "schema": {"type": "boolean"}}
}  # fmt: skip


@pytest.mark.parametrize("template", [HERMES, LLAMA, MISTRAL])
def test_tools_and_a_form_are_had_together(template: str) -> None:
    """Calls, or text of the form; with 'required' only those, with 'none' only this."""
    engine = Templated(template, "true")
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)

        def ask(text: str, **more: Any) -> tuple[Any, Any]:
            engine.answer = lambda prompt, request: text
            answer = client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[WEATHER], response_format=FORM, **more
            )
            constraint = engine.requests[-1].constraint
            assert constraint is not None
            return answer.choices[0], (constraint.kind, json.loads(constraint.value))

        choice, (kind, asked) = ask("true")
        assert (choice.message.content, choice.message.tool_calls, kind) == ("true", None, "tools")
        assert json.loads(asked["otherwise"]["value"]) == {"type": "boolean"}
        assert (asked["entered"], "opening" in asked) == (False, template == HERMES)
        called = {HERMES: f"<tool_call>{CALL}</tool_call>", MISTRAL: f"[{CALL}]"}.get(
            template, CALL
        )
        choice, _ = ask(called)
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        _, (kind, asked) = ask("true", tool_choice="required")
        assert (kind, asked["otherwise"]) == ("tools", None)
        _, (kind, _) = ask("true", tool_choice="none")
        assert kind == "json_schema"


def test_some_tools_are_allowed_and_some_take_text() -> None:
    engine = Templated(HERMES, f"<tool_call>{CALL}</tool_call>")
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        tools: list[Any] = [WEATHER, TIME, PYTHON]
        named: Any = [{"type": "function", "function": {"name": "weather"}},
                      {"type": "custom", "custom": {"name": "python"}}]  # fmt: skip

        def ask(**more: Any) -> Any:
            return client.chat.completions.create(
                model="tiny", messages=ASKED, **{"tools": tools, **more}
            )

        for mode in ("auto", "required"):
            allowed = {"mode": mode, "tools": named}
            ask(tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
            request = engine.requests[-1]
            shown = engine.detokenize(request.prompt)  # type: ignore[arg-type]
            assert all(f'"name": "{name}"' in shown for name in ("weather", "time", "python"))
            asked = json.loads(request.constraint.value)  # type: ignore[union-attr]
            names = [one["properties"]["name"]["const"] for one in asked["calls"]["anyOf"]]
            assert (names, asked["otherwise"]) == (
                ["weather", "python"], "text" if mode == "auto" else None,
            )  # fmt: skip
        other = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "x"}}]}
        with pytest.raises(openai.BadRequestError, match="none of the tools"):
            ask(tool_choice={"type": "allowed_tools", "allowed_tools": other})
        ask()
        assert engine.requests[-1].constraint is None
        # A custom tool: shown as a function of one text, its call is that text.
        engine.answer = lambda *_: "<tool_call>" + PYTHON_CALL % '"a\\nb"' + "</tool_call>"
        (call,) = ask().choices[0].message.tool_calls
        assert (call.type, call.custom.name, call.custom.input) == ("custom", "python", "a\nb")
        pieces = [
            piece
            for chunk in ask(stream=True)
            for piece in chunk.choices[0].delta.model_dump()["tool_calls"] or ()
        ]
        assert "".join(piece["custom"]["input"] for piece in pieces) == "a\nb"
        assert [bool(piece.get("id")) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
        told = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
        back = {"role": "tool", "tool_call_id": call.id, "content": "done"}
        client.chat.completions.create(
            model="tiny",
            tools=tools,
            messages=[*ASKED, told, back],  # type: ignore[list-item]
        )
        prompt = engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]
        assert PYTHON_CALL % '"a\\nb"' in prompt
        grammar = {"syntax": "regex", "definition": "[a-z]+"}
        one = {"name": "sed", "format": {"type": "grammar", "grammar": grammar}}
        ask(tools=[{"type": "custom", "custom": one}])
        asked = json.loads(engine.requests[-1].constraint.value)  # type: ignore[union-attr]
        text = asked["calls"]["properties"]["arguments"]["properties"]["input"]
        assert (text["pattern"], asked["otherwise"]) == ("^(?:[a-z]+)$", "text")
        grammar["syntax"] = "lark"
        with pytest.raises(openai.BadRequestError, match="Lark is not read here"):
            ask(tools=[{"type": "custom", "custom": one}])


class Clock:
    """Stands for the servers of a file: one tool, which tells the time."""

    def __init__(self, servers: Any) -> None:
        self.closed = False

    async def tools(self) -> Any:
        return [ServerTool(Tool("clock"), "made", "clock")], []

    async def call(self, tool: ServerTool, arguments: str) -> str:
        return "noon"

    def close(self) -> None:
        self.closed = True


def test_tools_of_the_owner_are_for_keys_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_servers, "ToolServers", Clock)
    mcp = tmp_path / "mcp.json"
    mcp.write_text('{"mcpServers": {"made": {"command": "x"}}}')
    keys = tmp_path / "keys.json"
    made = {
        name: add_key(keys, name, KeyLimits(tools=name == "may")) for name in ("may", "may not")
    }
    call = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    engine = Templated(HERMES)
    engine.answer = lambda prompt, request: "It is noon." if "noon" in prompt else call
    for settings, key, allowed in (
        ({"keys": keys}, made["may"], True), ({"keys": keys}, made["may not"], False),
        ({"without_keys": True}, "x", True),
        ({"without_keys": True, "allow_host": ("a.example",)}, "x", False),
    ):  # fmt: skip
        with serving(engine, mcp=mcp, **settings) as running:
            client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)
            answer = client.chat.completions.create(model="tiny", messages=ASKED)
            assert answer.choices[0].message.content == ("It is noon." if allowed else call)
            assert answer.choices[0].finish_reason == "stop"
            chunks = client.chat.completions.create(model="tiny", messages=ASKED, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert text == ("It is noon." if allowed else call)
            posted = urllib.request.Request(
                f"{running.url}/v1/chat/completions",
                json.dumps({"messages": ASKED}).encode(),
                {"X-Api-Key": key, "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(posted) as found:
                (choice,) = json.load(found)["choices"]
            assert choice["message"]["content"] == ("It is noon." if allowed else call)
            servers: Any = running.server.service.tool_servers
        assert servers.closed


def test_functions_as_they_were_before_tools() -> None:
    engine = Templated(HERMES, f"<tool_call>{CALL}</tool_call>" * 2)
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)

        def ask(**more: Any) -> Any:
            return client.chat.completions.create(
                model="tiny",
                **{"functions": [WEATHER["function"]], "messages": ASKED, **more},
            )  # fmt: skip

        choice = ask().choices[0]
        called = choice.message.function_call
        assert (called.name, called.arguments) == ("weather", '{"city": "Ulm"}')
        assert (choice.finish_reason, choice.message.tool_calls) == ("function_call", None)
        streamed = [chunk.choices[0] for chunk in ask(stream=True)]
        deltas = [c.delta.function_call for c in streamed if c.delta.function_call]
        assert [delta.name for delta in deltas if delta.name] == ["weather"]
        assert "".join(delta.arguments for delta in deltas) == '{"city": "Ulm"}'
        assert streamed[-1].finish_reason == "function_call"
        ask(function_call={"name": "weather"})
        assert json.loads(engine.requests[-1].constraint.value)["most"] == 1  # type: ignore[union-attr]
        result = {"role": "function", "name": "weather", "content": "dry"}
        ask(messages=[*ASKED, choice.message.model_dump(exclude_none=True), result])
        prompt = engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]
        assert f"<tool_call>\n{CALL}\n</tool_call>" in prompt
        assert "dry" in prompt
        for wrong in ({"tools": [WEATHER]}, {"functions": [], "function_call": {"name": "a"}}):
            with pytest.raises(openai.BadRequestError):
                ask(**wrong)


def test_a_model_without_tools_is_tools_in_messages() -> None:
    history = [
        *ASKED,
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "time", "arguments": '{"zone": "CET"}'}}],
        },
        {"role": "tool", "content": "noon"},
        {"role": "tool", "content": "late"},
    ]
    told = tools_in_messages(history, [WEATHER])
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert '"description": "The weather"' in told[0]["content"]
    written = '<tool_call>\n{"name": "time", "arguments": {"zone": "CET"}}\n</tool_call>'
    assert told[2]["content"] == written
    assert told[3]["content"] == (
        "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nlate\n</tool_response>"
    )
    engine = Templated(PLAIN, f"<tool_call>{CALL}</tool_call>")
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x")
        whole = client.chat.completions.create(
            model="tiny", messages=ASKED, tools=[WEATHER]  # type: ignore[list-item]
        )  # fmt: skip
        assert whole.choices[0].message.tool_calls
    assert "<tools>" in engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]


def test_a_template_that_refuses_system_messages_is_told_by_the_user() -> None:
    assert find_format(Templated(PLAIN)).system
    assert not find_format(Templated(REFUSING)).system
    silent = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert not find_format(Templated(silent)).system
    told = tools_in_messages(ASKED, [WEATHER], system=False)
    assert [message["role"] for message in told] == ["user"]
    assert told[0]["content"].startswith("You may call functions")
    assert told[0]["content"].endswith("\n\nIs it raining in Ulm?")
    Templated(REFUSING).chat_prompt(told)
    assert "tools" not in ASKED[0]["content"]  # what was given stays as it was


@pytest.mark.parametrize("depth", [100, 250, 350, 440])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_parameters_that_nest_deeply(depth: int, choice: str) -> None:
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"properties": {"a": nested}}
    tool: Any = {"type": "function", "function": {"name": "a", "parameters": nested}}
    with serving(Templated(HERMES)) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        try:
            client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[tool], tool_choice=choice  # type: ignore[call-overload]
            )  # fmt: skip
        except openai.BadRequestError as error:
            assert "nests" in error.message or "context length" in error.message  # noqa: PT017


def test_references_beyond_a_tool_are_refused() -> None:
    reaching = {"function": {"name": "a", "parameters": {"$ref": "http://elsewhere/schema"}}}
    with pytest.raises(ConversationError, match=r"their own \$defs only"):
        call_schema(ToolFormat("tags", native=True), [reaching], name=None, several=True)


def test_one_call_and_a_model_told_by_the_user_through_the_server() -> None:
    twice = Templated(HERMES, f"<tool_call>{CALL}</tool_call>" * 2)
    with serving(twice) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        for several, count in ((True, 2), (False, 1)):
            answer = client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[WEATHER], parallel_tool_calls=several
            )  # type: ignore[call-overload]
            assert len(answer.choices[0].message.tool_calls) == count
    refusing = Templated(REFUSING, f"<tool_call>{CALL}</tool_call>")
    with serving(refusing) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        answer = client.chat.completions.create(model="tiny", messages=ASKED, tools=[WEATHER])  # type: ignore[list-item]
        assert answer.choices[0].finish_reason == "tool_calls"
        asked = refusing.detokenize(refusing.requests[-1].prompt)  # type: ignore[arg-type]
        assert asked.startswith("<user>")
        assert '"weather"' in asked

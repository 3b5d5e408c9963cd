"""Calls of tools: written as templates expect, read as models write them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import openai
import pytest
from scripted import ScriptedEngine, serving

from linnet.generate.engine import Request
from linnet.serve.errors import ApiError
from linnet.serve.tools import ToolFormat, ToolReader, call_schema, find_format, told_in_words
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


UNKNOWN = '<tool_call>{"name": "unknown"}</tool_call>'
ANSWERS = [
    ("tags", "Let me see.\n<tool_call>\n" + CALL + "\n</tool_call>", "Let me see.\n", 1),
    ("tags", f"<tool_call>{CALL}</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", "", 2),
    ("tags", f"<tool_call>{CALL}", "", 1),  # the end of turn came before the closing tag
    ("tags", "1 < 2 and <tool", "1 < 2 and <tool", 0),
    ("tags", "<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", 0),
    ("tags", UNKNOWN, UNKNOWN, 0),
    ("object", '{"name": "weather", "parameters": {"city": "Ulm"}}', "", 1),
    ("object", '{"name": "weather", "parameters"', '{"name": "weather", "parameters"', 0),
    ("object", "No, {it} is not.", "No, {it} is not.", 0),
    ("list", f"[{CALL}, {CALL}]", "", 2),
    ("list", "Dry.", "Dry.", 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "words", "count"), ANSWERS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_however_they_are_cut(
    kind: Any, text: str, words: str, count: int, size: int
) -> None:
    reader = ToolReader(ToolFormat(kind, native=True), ["weather"], demanded=False)
    told, calls = "", []
    for start in range(0, len(text), size):
        more, found = reader.push(text[start : start + size])
        told, calls = told + more, calls + found
    more, found = reader.finish()
    told, calls = told + more, calls + found
    assert told == words
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "Ulm"})
    ] * count
    assert len({call.id for call in calls}) == count


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
        names, arguments, content, ends = [], "", "", []
        for chunk in client.chat.completions.create(
            model="tiny", messages=ASKED, tools=tools, stream=True
        ):
            choice = chunk.choices[0]
            content += choice.delta.content or ""
            ends.append(choice.finish_reason)
            for piece in choice.delta.tool_calls or ():
                assert (piece.index, piece.type) == (0, "function")
                assert piece.id
                assert piece.function is not None
                names.append(piece.function.name)
                arguments += piece.function.arguments or ""
        assert (names, json.loads(arguments), content) == (
            ["weather"],
            {"city": "Ulm"},
            "I look.\n",
        )
        assert ends[-1] == "tool_calls"
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
            schema = json.loads(request.constraint.value)
            first = schema["anyOf"][0] if choice == "required" else schema
            assert first["properties"]["name"] == {"const": "weather"}
            city = first["properties"]["arguments"]["properties"]["city"]
            assert city == {"$ref": "#/$defs/t0_city"}
            assert schema["$defs"] == {"t0_city": {"type": "string"}}
        with pytest.raises(openai.BadRequestError, match="none of the tools"):
            client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[TIME], tool_choice=named  # type: ignore[list-item]
            )  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="cannot be had together"):
            client.chat.completions.create(
                model="tiny", messages=ASKED, tools=[TIME],  # type: ignore[list-item]
                response_format={"type": "json_object"},
            )  # fmt: skip


def test_a_model_without_tools_is_told_in_words() -> None:
    history = [
        *ASKED,
        {"role": "assistant", "tool_calls": [{"function": {"name": "time", "arguments": "{}"}}]},
        {"role": "tool", "content": "noon"},
    ]
    told = told_in_words(history, [WEATHER])
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert '"description": "The weather"' in told[0]["content"]
    assert told[2]["content"].startswith("<tool_call>\n{")
    assert told[3]["content"] == "<tool_response>\nnoon\n</tool_response>"
    engine = Templated(PLAIN, f"<tool_call>{CALL}</tool_call>")
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x")
        whole = client.chat.completions.create(
            model="tiny", messages=ASKED, tools=[WEATHER]  # type: ignore[list-item]
        )  # fmt: skip
        assert whole.choices[0].message.tool_calls
    assert "<tools>" in engine.detokenize(engine.requests[-1].prompt)  # type: ignore[arg-type]


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
            assert "nests" in error.message  # noqa: PT017


def test_references_beyond_a_tool_are_refused() -> None:
    reaching = {"function": {"name": "a", "parameters": {"$ref": "http://elsewhere/schema"}}}
    with pytest.raises(ApiError, match=r"their own \$defs only"):
        call_schema(ToolFormat("tags", native=True), [reaching], name=None, several=True)

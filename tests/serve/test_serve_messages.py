"""Anthropic's official client, unmodified, with every answer validated strictly."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter
from scripted import Running, ScriptedEngine, serving
from test_serve_openai import post
from test_serve_responders import Cited, served

from linnet.generate.engine import Request
from linnet.respond import EngineResponder
from linnet.serve import Served

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKWARDS = "olleh >resu<"
WEATHER: dict[str, Any] = {
    "name": "weather", "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'


def client_of(url: str, **settings: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=url, max_retries=0, _strict_response_validation=True,
        **{"api_key": "unused", **settings},
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> anthropic.Anthropic:
    return client_of(tiny_server.url)


@pytest.fixture(scope="module")
def shown() -> Iterator[tuple[anthropic.Anthropic, ScriptedEngine]]:
    """An engine that answers with what it was shown, or as it is told in the last line."""

    def answer(prompt: str, request: Request) -> str:
        return CALL if prompt.endswith("weather?") else prompt

    engine = ScriptedEngine(answer)
    with serving(engine) as running:
        yield client_of(running.url), engine


def test_a_message(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="tiny", max_tokens=100, messages=HELLO)
    TypeAdapter(Message).validate_python(answer.model_dump(), strict=True)
    assert [block.model_dump(exclude_none=True) for block in answer.content] == [
        {"type": "text", "text": BACKWARDS}
    ]
    assert (answer.stop_reason, answer.stop_sequence, answer.model) == ("end_turn", None, "tiny")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (len("<user> hello") - 2, 2)
    assert usage.output_tokens == len(BACKWARDS)


def test_a_stream(client: anthropic.Anthropic, tiny_server: Running) -> None:
    slow: list[Any] = [{"role": "user", "content": "slow"}]
    with client.messages.stream(model="tiny", max_tokens=100, messages=slow) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert final.content[0].model_dump()["text"] == "wols >resu<"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", len("wols >resu<"))
    assert final.usage.input_tokens == len("<user> slow") - 2
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    # The wire itself: every event is of the declared types, blocks are opened and closed in order.
    body = {"model": "tiny", "max_tokens": 100, "messages": slow, "stream": True}
    wire = post(f"{tiny_server.url}/v1/messages", body).removesuffix("\n\n").split("\n\n")
    found = []
    for event in wire:
        name, data = event.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        TypeAdapter(RawMessageStreamEvent).validate_json(json.dumps(value))
        found.append(value)
    kinds = [value["type"] for value in found]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert found[0]["message"]["usage"]["input_tokens"] == len("<user> slow") - 2
    assert found[0]["message"]["stop_reason"] is None


def test_tools(shown: Any) -> None:
    client, engine = shown
    asked: dict[str, Any] = {
        "model": "tiny", "max_tokens": 2000, "tools": [WEATHER],
        "messages": [{"role": "user", "content": "weather?"}],
    }  # fmt: skip
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        names = [event.type for event in stream]
        streamed = stream.get_final_message()
    for answer in (whole, streamed):
        (block,) = answer.content
        assert (block.type, block.name, block.input) == ("tool_use", "weather", {"city": "Ulm"})
        assert answer.stop_reason == "tool_use"
    assert "input_json" in names
    # What comes back is shown to the model: the call, its result, and the text behind it.
    result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "rain"}
    failed = {**result, "content": [{"type": "text", "text": "no key"}], "is_error": True}
    results = [result, failed, {"type": "text", "text": "So?"}]
    messages = [
        *asked["messages"],
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": results},
    ]
    client.messages.create(**{**asked, "messages": messages})
    told = engine.detokenize(engine.requests[-1].prompt)
    for part in (CALL, "<tool_response>\nrain\n</tool_response>",
                 "<tool_response>\nError: no key\n</tool_response>", "<user> So?"):  # fmt: skip
        assert part in told
    assert told.index("rain") < told.index("no key") < told.index("So?")


@pytest.mark.parametrize(
    ("choice", "constrained"),
    [({"type": "auto"}, False), ({"type": "any"}, True), ({"type": "none"}, False),
     ({"type": "tool", "name": "weather"}, True),
     ({"type": "any", "disable_parallel_tool_use": True}, True)],
)  # fmt: skip
def test_tool_choice(shown: Any, choice: Any, constrained: bool) -> None:
    client, engine = shown
    client.messages.create(
        model="tiny", max_tokens=5, messages=HELLO, tools=[WEATHER], tool_choice=choice
    )
    request = engine.requests[-1]
    assert (request.constraint is not None) == constrained
    prompt = engine.detokenize(request.prompt)
    assert ("weather" in prompt) == (choice["type"] != "none")


def test_what_a_model_is_shown(shown: Any) -> None:
    client, _ = shown
    answer = client.messages.create(
        model="tiny", max_tokens=2000,
        system=[{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "brief."}],
        thinking={"type": "disabled"},
        messages=[
            {"role": "user", "content": "one"},
            {"role": "user", "content": [
                {"type": "text", "text": "two"},
                {"type": "document", "title": "Birds", "context": "Notes", "source": {
                    "type": "text", "media_type": "text/plain", "data": "A wren."}},
                {"type": "document", "source": {"type": "content", "content": "An owl."}},
                {"type": "search_result", "title": "T", "source": "s", "content": [
                    {"type": "text", "text": "found"}]},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "yes"}]},
            {"role": "system", "content": "Now."},
            {"role": "user", "content": "three"},
        ],
    )  # fmt: skip
    assert answer.content[0].text == (
        '{"enable_thinking": false}\n<system> Be\nbrief.\n<user> one\ntwo\nBirds\nNotes\nA wren.\n'
        "An owl.\nT\ns\nfound\n<assistant> yes\n<system> Now.\n<user> three"
    )


def test_a_thought_is_a_block_of_its_own() -> None:
    engine = ScriptedEngine(lambda prompt, request: "<think>\nslow, I say\n</think>\n\nYes.")
    with serving(engine) as running:
        client = client_of(running.url)
        asked: dict[str, Any] = {"model": "tiny", "max_tokens": 99, "messages": HELLO}
        whole = client.messages.create(**asked, thinking={"type": "adaptive"})
        with client.messages.stream(**asked) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_message()
        for answer in (whole, streamed):
            assert [block.type for block in answer.content] == ["thinking", "text"]
            thinking, text = answer.content
            assert (thinking.thinking, text.text) == ("slow, I say", "Yes.")  # type: ignore[union-attr]
        assert {"thinking", "text"} <= set(kinds)


def test_a_last_turn_of_the_assistant_is_gone_on_with(shown: Any) -> None:
    client, _ = shown
    messages = [*HELLO, {"role": "assistant", "content": "The"}]
    told = client.messages.create(model="tiny", max_tokens=2000, messages=messages).content[0].text
    assert '"continue_final_message": true' in told


def test_a_form(shown: Any) -> None:
    client, engine = shown
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    client.messages.create(
        model="tiny", max_tokens=5, messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
    )  # fmt: skip
    constraint = engine.requests[-1].constraint
    assert (constraint.kind, json.loads(constraint.value)) == ("json_schema", schema)


def test_settings_arrive(shown: Any) -> None:
    client, engine = shown
    client.messages.create(
        model="tiny", max_tokens=7, messages=HELLO, stop_sequences=["X", "Y"],
        extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 4},
        metadata={"user_id": "u"}, service_tier="auto",
    )  # fmt: skip
    sampling = engine.requests[-1].sampling
    assert (sampling.max_tokens, sampling.stop, sampling.seed) == (7, ("X", "Y"), 4)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 3)
    assert sampling.min_p == 0.1


def test_why_it_ended() -> None:
    class Stopping(ScriptedEngine):
        """Ends at the stop string that it was given, or where its context is full."""

        def _write(self, prompt: str, request: Request) -> Any:
            from linnet.generate.engine import Chunk, Start

            stop = request.sampling.stop
            yield Chunk("ab", (1, 2), start=Start(3, 0, 0.0))
            yield Chunk("", (), "stop" if stop else "length", stop=stop[0] if stop else None)

    with serving(Stopping()) as running:
        client = client_of(running.url)
        asked: dict[str, Any] = {"model": "tiny", "messages": HELLO}
        ended = client.messages.create(**asked, max_tokens=9, stop_sequences=["END"])
        assert (ended.stop_reason, ended.stop_sequence) == ("stop_sequence", "END")
        with client.messages.stream(**asked, max_tokens=9, stop_sequences=["END"]) as stream:
            ended = stream.get_final_message()  # type: ignore[assignment]
        assert (ended.stop_reason, ended.stop_sequence) == ("stop_sequence", "END")
        full = client.messages.create(**asked, max_tokens=9)
        assert full.stop_reason == "model_context_window_exceeded"
        assert client.messages.create(**asked, max_tokens=2).stop_reason == "max_tokens"


def test_counted_tokens(client: anthropic.Anthropic) -> None:
    system = "Be brief."
    counted = client.messages.count_tokens(
        model="tiny", messages=HELLO, system=system, tools=[WEATHER]
    )
    answer = client.messages.create(
        model="tiny", max_tokens=3, messages=HELLO, system=system, tools=[WEATHER]
    )
    usage = answer.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_citations_and_refusals() -> None:
    inner = EngineResponder(ScriptedEngine())
    with served(Served("cited", answering=Cited(inner))) as (running, _):
        client = client_of(running.url)
        asked: dict[str, Any] = {"model": "cited", "max_tokens": 50, "messages": HELLO}
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        for answer in (whole, streamed):
            (block,) = answer.content
            assert block.type == "text"
            assert block.text == BACKWARDS
            (cited,) = block.citations or ()
            assert cited.type == "char_location"
            assert (cited.cited_text, cited.document_title, cited.document_index) == (
                "hello", "a.txt", 0,
            )  # fmt: skip
        own = whole.model_dump()["linnet"]
        assert [piece["type"] for piece in own] == ["decision", "passage", "citation"]
        asked["messages"] = [{"role": "user", "content": "secret"}]
        refused = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        for answer in (refused, streamed):
            assert answer.stop_reason == "refusal"
            assert answer.content[0].model_dump()["text"] == "No."
            assert answer.stop_details is not None
            assert answer.stop_details.explanation == "No."


def test_models(client: anthropic.Anthropic) -> None:
    found = list(client.models.list())
    assert [model.id for model in found] == ["tiny", "loud"]
    assert [model.id for model in client.models.list(limit=1)] == ["tiny", "loud"]  # two pages
    TypeAdapter(ModelInfo).validate_python(found[0].model_dump(), strict=True)
    assert client.models.list(before_id="loud").data[0].id == "tiny"
    assert client.models.retrieve("loud").max_input_tokens == 4000
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(after_id="none")


IMAGE = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/a.png"}}
PDF = {"type": "document", "source": {"type": "url", "url": "http://127.0.0.1:1/a.pdf"}}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, anthropic.BadRequestError,
         r"'messages\[0\].content\[0\]' is of type 'image': images are not read here"),
        ({"messages": [{"role": "user", "content": [PDF]}]}, anthropic.BadRequestError,
         "documents are read as text only, and nothing is fetched"),
        ({"messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]},
         anthropic.BadRequestError, "must be one of"),
        ({"messages": [{"role": "user", "content": [
            {"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
         anthropic.BadRequestError, "only the assistant's have that"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
         anthropic.BadRequestError, 'must be one of null, "custom". Got "web_search_20250305"'),
        ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError, "only allowed with 'tools'"),
        ({"model": "none"}, anthropic.NotFoundError, "The model 'none' does not exist"),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, anthropic.BadRequestError,
         "prompt is too long: .* 4000 tokens"),
        ({"extra_body": {"mcp_servers": []}}, anthropic.BadRequestError,
         "Unrecognized request argument supplied: mcp_servers"),
    ],
)  # fmt: skip
def test_refused_by_name(
    client: anthropic.Anthropic, changes: Any, kind: type[Exception], words: str
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 5, "messages": HELLO, **changes}
    with pytest.raises(kind, match=words) as raised:
        client.messages.create(**asked)
    assert raised.value.body["type"] == "error"  # type: ignore[attr-defined]


def test_errors_are_of_the_clients_own_kinds() -> None:
    with serving(api_key="a-long-key", max_requests=1) as running:
        asked: dict[str, Any] = {"model": "tiny", "max_tokens": 5}
        with pytest.raises(anthropic.AuthenticationError) as wrong:
            client_of(running.url).messages.create(**asked, messages=HELLO)
        assert wrong.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
        client = client_of(running.url, api_key="a-long-key")  # as x-api-key
        assert client.messages.create(**asked, messages=HELLO).content
        held: list[Any] = [{"role": "user", "content": "held"}]
        with client.messages.create(**asked, messages=held, stream=True) as stream:
            next(iter(stream))
            with pytest.raises(anthropic.RateLimitError, match="The server is busy"):
                client.messages.create(**asked, messages=HELLO)
        broken: list[Any] = [{"role": "user", "content": "broken"}]
    with serving() as running:
        client = client_of(running.url)
        with (
            pytest.raises(anthropic.APIStatusError, match="the engine died") as died,
            client.messages.stream(**asked, messages=broken) as stream,
        ):
            list(stream)
        assert died.value.body["error"]["type"] in ("overloaded_error", "api_error")  # type: ignore[index]
        assert "/secret" not in str(died.value)

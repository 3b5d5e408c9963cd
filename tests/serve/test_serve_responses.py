"""``/v1/responses`` with the official client: every answer and event is validated strictly by its
models, and the order of events by a state machine."""

import contextlib
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from scripted import Running, ScriptedEngine, serving
from test_serve_openai import post

from linnet.errors import ModelError
from linnet.respond import Batches, Citation, Context, Conversation, Finish, Passage, Refusal, Text
from linnet.respond.pieces import (
    UNANSWERED,
    Piece,
    Reasoning,
    Status,
    TokenScore,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from linnet.respond.responder import Abilities
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.conversations import ConversationStore
from linnet.serve.keys import KeyLimits, add_key


@functools.cache
def any_event() -> TypeAdapter[Any]:
    """What reads an event of any kind; it takes a second to make."""
    return TypeAdapter(ResponseStreamEvent)


UNKNOWN = {("Response", "store"), ("Response", "linnet"), ("ResponseCustomToolCall", "status")}
"""What the client's models have no field for: OpenAI's own answers have the first and the last."""
CITED = Citation("a.txt", 0, 5, "hello", title="A", answer_start=0, answer_end=2)
SCORES = (TokenScore(b"a", -0.5, ((b"a", -0.5), (b"b", float("-inf")))),)
SCRIPTS: dict[str, list[list[Piece]]] = {
    "text": [[Status("writing"), Text("Hel")], [Text("lo.")], [Usage(3, 1, 2), Finish("stop")]],
    "nothing": [[Finish("stop")]],
    "cut": [[Text("Hel")], [Finish("length")]],
    "scores": [[Text("a", (1,), SCORES)], [Finish("stop")]],
    "thought": [[Reasoning("Hm, ")], [Reasoning("well."), Text("Yes.")], [Finish("stop")]],
    "refused": [[Refusal("No.", "policy")], [Finish("refusal")]],
    "unanswered": [[Refusal("I don't know.", UNANSWERED)], [Finish("refusal")]],
    "cited": [
        [Passage("a.txt", 0, 5, "hello"), Text("Hi.")], [CITED, Text(" Ho.")],
        [CITED, Finish("stop")],
    ],
    "call": [[ToolCall("call_1", "f", '{"a": 1}')], [Finish("tool_calls")]],
    "calls": [
        [Text("So:"), ToolCallDelta("call_1", "f", "")], [ToolCallDelta("call_1", "f", '{"a"')],
        [ToolCallDelta("call_1", "f", ": 1}"), ToolCall("call_1", "f", '{"a": 1}')],
        [ToolCall("call_2", "f", "{}"), Finish("tool_calls")],
    ],
    "cut call": [
        [ToolCallDelta("call_1", "f", '{"a"'), ToolCall("call_1", "f", '{"a"')], [Finish("length")],
    ],
    "custom": [[ToolCall("call_1", "c", "a text", custom=True)], [Finish("tool_calls")]],
}  # fmt: skip


class Scripted:
    """Answers with the pieces that the last message names; ``broken`` fails after two words."""

    abilities = Abilities("scripted", 0)

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        named = asked.messages[-1].text
        context.record.choices += 1
        context.record.tokens.prompt, context.record.tokens.written = 3, 2
        if named == "broken":
            yield [Text("one"), Text(" two")]
            raise ModelError("/secret/model.gguf: it died")
        for batch in SCRIPTS[named]:
            yield batch


@contextlib.contextmanager
def served(*models: Served, **settings: Any) -> Iterator[tuple[Running, Any]]:
    running = Running(Catalog(models), ServeConfig(port=0, log="off", **settings))
    try:
        yield running, client_of(running)
    finally:
        running.stop()


def client_of(running: Running, key: str = "unused") -> Any:
    return openai.OpenAI(
        base_url=f"{running.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True
    )


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Running, Any]]:
    with served(Served("scripted", answering=Scripted())) as found:
        yield found


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> Any:
    return client_of(tiny_server)


def telling(**settings: Any) -> Any:
    """A server whose model says what it was asked, in its template."""
    return serving(ScriptedEngine(lambda prompt, request: prompt), **settings)


def unknown_in(value: Any) -> set[tuple[str, str]]:
    """Every field that the client's models do not know."""
    if isinstance(value, list):
        return set().union(*map(unknown_in, value))
    if not isinstance(value, BaseModel):
        return set()
    found = {(type(value).__name__, name) for name in value.model_extra or ()}
    return found.union(*(unknown_in(getattr(value, name)) for name in type(value).model_fields))


def events_of(url: str, body: Any) -> list[dict[str, Any]]:
    """The events of a stream, each valid, and named as its data is."""
    found = []
    for event in post(f"{url}/v1/responses", {**body, "stream": True}).split("\n\n")[:-1]:
        name, data = event.split("\n")
        value = json.loads(data.removeprefix("data: "))
        parsed = any_event().validate_json(data.removeprefix("data: "), strict=True)
        assert name == f"event: {value['type']}" == f"event: {parsed.type}"
        assert unknown_in(parsed) <= UNKNOWN
        found.append(value)
    return found


def followed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The response that a stream ends with. Fails where its events come in another order than
    OpenAI's, or do not add up to it."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    breaks_off = events[-2]["type"] == "error"
    coming = iter(events[: -2 if breaks_off else -1])
    for name in ("created", "in_progress"):
        event = next(coming)
        assert event["type"] == f"response.{name}"
        assert event["response"]["status"] == "in_progress"
        assert event["response"]["output"] == []
    items: list[Any] = []
    for event in coming:
        assert event["type"] == "response.output_item.added"
        assert event["output_index"] == len(items)
        assert event["item"]["status"] == "in_progress"
        items.append(_item(event["item"], len(items), coming))
    response: dict[str, Any] = events[-1]["response"]
    assert events[-1]["type"] == f"response.{response['status']}"
    assert breaks_off == (response["status"] == "failed")
    assert breaks_off or response["output"] == items
    return response


def _item(item: dict[str, Any], place: int, coming: Iterator[dict[str, Any]]) -> Any:
    """The item as it is done; its parts and deltas came before."""
    where = {"item_id": item["id"], "output_index": place}
    names = {
        "function_call": "function_call_arguments",
        "custom_tool_call": "custom_tool_call_input",
    }
    text = ""
    states: list[str] = []
    parts: list[Any] = []
    for event in coming:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.done":
            assert event["output_index"] == place
            done = event["item"]
            if item["type"] == "file_search_call":
                assert states == ["in_progress", "searching", "completed"]
            elif item["type"] in names:
                assert done.get("arguments", done.get("input")) == text
            else:
                assert parts == [*done.get("summary", []), *done["content"]]
            return done
        assert {name: event[name] for name in where} == where
        if item["type"] == "file_search_call":
            states.append(kind.removeprefix("file_search_call."))
            continue
        if item["type"] in names:
            assert kind.startswith(names[item["type"]])
            text += event.get("delta", "")
            assert kind.endswith("delta") or event.get("arguments", event.get("input")) == text
            continue
        assert kind in ("content_part.added", "reasoning_summary_part.added")
        parts.append(_part(event, where, len(parts), coming))
    return None  # cut by an error


def _part(
    added: dict[str, Any], where: Any, place: int, coming: Iterator[dict[str, Any]]
) -> dict[str, Any] | None:
    index = "summary_index" if "summary_index" in added else "content_index"
    kind = {"summary_text": "reasoning_summary_text"}.get(
        added["part"]["type"], added["part"]["type"]
    )
    text = ""
    notes: list[Any] = []
    logprobs: list[Any] = []
    for event in coming:
        assert {name: event[name] for name in where} == where
        assert event[index] == place
        match event["type"].removeprefix("response."):
            case name if name == f"{kind}.delta":
                text += event["delta"]
                logprobs += event.get("logprobs", [])
            case "output_text.annotation.added":
                assert event["annotation_index"] == len(notes)
                notes.append(event["annotation"])
            case name if name == f"{kind}.done":
                assert event["refusal" if kind == "refusal" else "text"] == text
                assert event.get("logprobs", []) == logprobs
                done = next(coming)
                assert done["type"].endswith("_part.done")
                part: dict[str, Any] = done["part"]
                assert part.get("text", part.get("refusal")) == text
                assert part.get("annotations", []) == notes
                assert [without_bytes(score) for score in part.get("logprobs", [])] == logprobs
                return part
            case name:
                raise AssertionError(f"{name} within {kind}")
    return None


def without_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_bytes(v) for name, v in value.items() if name != "bytes"}
    return [without_bytes(entry) for entry in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Without ids and times."""
    if isinstance(value, dict):
        return {
            k: plain(v) for k, v in value.items() if k not in ("id", "created_at", "completed_at")
        }
    return [plain(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stream_adds_up_to_the_whole(scripted: Any, name: str) -> None:
    running, client = scripted
    whole = json.loads(post(f"{running.url}/v1/responses", {"input": name}))
    parsed = Response.model_validate_json(json.dumps(whole), strict=True)
    assert unknown_in(parsed) <= UNKNOWN
    streamed = followed(events_of(running.url, {"input": name}))
    assert plain(streamed) == plain(whole)
    assert client.responses.retrieve(whole["id"]).model_dump() == parsed.model_dump()
    assert client.responses.retrieve(streamed["id"]).output
    cut = name.startswith("cut")
    assert whole["status"] == ("incomplete" if cut else "completed")
    assert whole["incomplete_details"] == ({"reason": "max_output_tokens"} if cut else None)
    assert whole["usage"]["total_tokens"] == 5
    if cut:
        return
    with client.responses.stream(model="scripted", input=name) as stream:
        final = stream.get_final_response()  # as the client's own helper puts it together
    assert final.output_text == parsed.output_text
    assert [item.type for item in final.output] == [item.type for item in parsed.output]


def test_what_answers_consist_of(scripted: Any) -> None:
    running, _ = scripted

    def output(name: str, **more: Any) -> Any:
        return plain(followed(events_of(running.url, {"input": name, **more})))

    assert [part["type"] for part in output("unanswered")["output"][0]["content"]] == [
        "output_text", "refusal",
    ]  # fmt: skip
    assert output("refused")["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
    cited = output("cited")
    (text,) = cited["output"][0]["content"]
    assert text["text"] == "Hi. Ho."
    assert text["annotations"][0] == {
        "type": "url_citation", "start_index": 0, "end_index": 2, "title": "A",
        "url": "/v1/documents/source?model=scripted&source=a.txt&start=0&end=5",
    }  # fmt: skip
    assert [piece["type"] for piece in cited["linnet"]] == ["passage", "citation", "citation"]
    thought, said = output("thought")["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm, well."}]
    assert said["content"][0]["text"] == "Yes."
    (thought, _) = output("thought", reasoning={"summary": "auto"})["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm, well."}]
    text, first, second = output("calls")["output"]
    assert [text["content"][0]["text"], first["arguments"], second["arguments"]] == [
        "So:", '{"a": 1}', "{}",
    ]  # fmt: skip
    assert output("cut call")["output"][0]["status"] == "incomplete"
    assert output("custom")["output"][0]["input"] == "a text"
    scored = output("scores")["output"][0]["content"][0]["logprobs"]
    assert scored == [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "b", "logprob": -9999.0, "bytes": [98]},
        ]},
    ]  # fmt: skip


def test_a_search_is_answered_from_the_documents(scripted: Any) -> None:
    asked = {"input": "cited", "tools": [{"type": "file_search", "vector_store_ids": ["docs"]}]}
    models = [
        Served("other", answering=Scripted()),
        Served("docs", answering=Scripted(), assistant=object()),  # type: ignore[arg-type]
    ]
    with served(*models) as (running, _):
        told = followed(events_of(running.url, {**asked, "include": ["file_search_call.results"]}))
        search, message = told["output"]
        assert search["queries"] == ["cited"]
        assert [found["text"] for found in search["results"]] == ["hello"]
        assert "model=docs&source=a.txt" in message["content"][0]["annotations"][0]["url"]
        untold = json.loads(post(f"{running.url}/v1/responses", asked))
        Response.model_validate_json(json.dumps(untold), strict=True)
        assert untold["output"][0]["results"] is None
        client = client_of(running)
        for body, words in (
            ({"tools": [{"type": "file_search", "vector_store_ids": ["birds"]}]}, "birds"),
            ({"tools": [*asked["tools"], {"type": "function", "name": "f"}]}, "together"),
        ):
            with pytest.raises(openai.APIStatusError, match=words):
                client.post("/responses", body={**asked, **body}, cast_to=object)
        none = client.post("/responses", body={**asked, "tool_choice": "none"}, cast_to=Response)
        assert [item.type for item in none.output] == ["message"]
    _, client = scripted
    with pytest.raises(openai.NotFoundError, match="No documents"):
        client.post("/responses", body=asked, cast_to=object)


def test_an_answer_that_breaks_off(scripted: Any) -> None:
    running, client = scripted
    events = events_of(running.url, {"input": "broken"})
    response = followed(events)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert response["error"]["code"] == "server_error"
    assert "/secret" not in json.dumps(events)
    kept = client.responses.retrieve(response["id"])
    assert kept.status == "failed"
    assert kept.output_text == "one two"
    talk = client.conversations.create()
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="scripted", input="broken", conversation=talk.id)
    asked = {"input": "broken", "conversation": talk.id}
    assert followed(events_of(running.url, asked))["status"] == "failed"
    assert client.conversations.items.list(talk.id).data == []  # so that it can be asked again


def test_what_an_answer_follows() -> None:
    with telling() as running:
        client = client_of(running)
        first = client.responses.create(model="tiny", input="one", instructions="Be brief.")
        assert first.output_text == "<system> Be brief.\n<user> one"
        second = client.responses.create(
            model="tiny", previous_response_id=first.id, instructions="Be kind.",
            input=[{"role": "developer", "content": "Now."}, {"role": "user", "content": "two"}],
        )  # fmt: skip
        # Instructions hold for one answer; what was said stays.
        told = f"<user> one\n<assistant> {first.output_text}\n<system> Now.\n<user> two"
        assert second.output_text == f"<system> Be kind.\n{told}"
        third = client.responses.create(
            model="tiny", previous_response_id=second.id, input="three", store=False
        )
        assert third.output_text.startswith(told)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(third.id)
        given = list(client.responses.input_items.list(second.id, limit=1, order="asc"))
        assert [item.role for item in given] == ["developer", "user"]
        client.responses.delete(first.id)
        for name, why in ((second.id, "was deleted"), (first.id, "not found")):
            with pytest.raises(openai.BadRequestError, match=why) as raised:
                client.responses.create(model="tiny", previous_response_id=name, input="four")
            assert raised.value.code == "previous_response_not_found"


def test_items_of_every_kind_become_messages() -> None:
    with telling() as running:
        client = client_of(running)
        kept = client.responses.create(model="tiny", input="kept")
        given: Any = [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "input_text", "text": "d"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "u"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"role": "assistant", "content": [
                {"type": "output_text", "text": "a", "annotations": []},
                {"type": "refusal", "refusal": "a"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'},
            {"type": "custom_tool_call", "call_id": "c2", "name": "c", "input": "text"},
            {"type": "function_call_output", "call_id": "c1", "output": "r1"},
            {"type": "custom_tool_call_output", "call_id": "c2",
             "output": [{"type": "input_text", "text": "r2"}]},
            {"type": "item_reference", "id": kept.output[0].id},
            {"role": "user", "content": "end"},
        ]  # fmt: skip
        answer = client.responses.create(model="tiny", instructions="i", input=given)
        kinds = [item.type for item in client.responses.input_items.list(answer.id, order="asc")]
        assert kinds == [
            "message", "message", "message", "reasoning", "message", "function_call",
            "custom_tool_call", "function_call_output", "custom_tool_call_output", "message",
            "message",
        ]  # fmt: skip
        lines = answer.output_text.splitlines()
        assert lines[:6] == ["<system> i", "", "s", "", "d", "<user> u"]
        assert lines[6].startswith("<assistant> a")  # with its reasoning and calls: one turn
        assert sum(line.startswith("<assistant>") for line in lines) == 2
        assert "r1" in answer.output_text
        assert "r2" in answer.output_text
        assert lines[-1] == "<user> end"
        with pytest.raises(openai.NotFoundError, match="'msg_gone' not found"):
            client.responses.create(
                model="tiny", input=[{"type": "item_reference", "id": "msg_gone"}]
            )
        again: Any = [{"type": None, "id": kept.output[0].id}, {"role": "user", "content": "b"}]
        assert client.responses.create(model="tiny", input=again).output_text == (
            f"<assistant> {kept.output_text}\n<user> b"
        )


def test_a_conversation_grows_by_its_responses() -> None:
    with telling() as running:
        client = client_of(running)
        talk = client.conversations.create(items=[{"role": "user", "content": "before"}])
        first = client.responses.create(model="tiny", conversation=talk.id, input="one")
        assert first.conversation is not None
        assert first.conversation.id == talk.id
        assert first.output_text == "<user> before\n<user> one"
        second = client.responses.create(
            model="tiny", conversation={"id": talk.id}, input="two", store=False
        )
        assert second.output_text.endswith(f"<assistant> {first.output_text}\n<user> two")
        texts = [
            item.content[0].text
            for item in client.conversations.items.list(talk.id, order="asc", limit=2)
        ]
        assert texts == ["before", "one", first.output_text, "two", second.output_text]
        # Another answer may follow a response of it: with what was before, without what came later.
        aside = client.responses.create(model="tiny", previous_response_id=first.id, input="aside")
        assert aside.output_text == (
            f"<user> before\n<user> one\n<assistant> {first.output_text}\n<user> aside"
        )
        repeated: Any = [first.output[0].model_dump(exclude_none=True)]
        for refused in (
            {"conversation": talk.id, "previous_response_id": first.id, "input": "x"},
            {"conversation": talk.id, "input": repeated},
        ):
            with pytest.raises(openai.BadRequestError):
                client.responses.create(model="tiny", **refused)
        client.conversations.delete(talk.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model="tiny", conversation=talk.id, input="x")


REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"background": True}, "background", "background"),
    ({"tools": [{"type": "web_search"}]}, "web_search", "tools[0].type"),
    ({"tools": [{"type": "mcp", "server_label": "a"}]}, "mcp", "tools[0].type"),
    ({"tool_choice": "required"}, "with 'tools'", "tool_choice"),
    ({"prompt": {"id": "p"}}, "null", "prompt"),
    ({"input": [{"type": "computer_call"}]}, "computer_call", "input[0].type"),
    ({"input": [{"type": ["a"]}]}, "item_reference", "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input_image", "input[0].content[0].type",
    ),
    (
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
        "encrypted", "input[0].encrypted_content",
    ),
    ({"input": "a" * 5000}, "your input resulted in", "input"),
    ({"text": {"format": {"type": "choice"}}}, "choice", "text.format.type"),
    ({"stream_options": {"include_obfuscation": False}}, "stream", "stream_options"),
    ({"max_tokens": 3}, "max_tokens", "max_tokens"),
    ({"truncation": "middle"}, "auto", "truncation"),
    ({"include": ["birds"]}, "birds", "include[0]"),
    (
        {"tools": [{"type": "custom", "name": "c",
                    "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}]},
        "Lark", "tools",
    ),
    (
        {"tools": [{"type": "function", "name": "f"}],
         "tool_choice": {"type": "allowed_tools", "mode": "auto",
                         "tools": [{"type": "function", "name": "g"}]}},
        "'g'", "tool_choice",
    ),
    ({"collections": ["a"]}, "no documents", "collections"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words", "param"), REFUSED)
def test_what_is_not_understood_is_refused_by_name(
    client: Any, body: dict[str, Any], words: str, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/responses", body={"model": "tiny", "input": "a", **body}, cast_to=object)
    assert raised.value.param == param
    assert words in raised.value.message


def test_the_rest_of_the_interface(client: Any) -> None:
    made = client.responses.create(
        model="tiny", input="hello", metadata={"a": "b"}, user="u", temperature=0.5, top_p=0.9,
        max_output_tokens=3, service_tier="auto", include=["message.output_text.logprobs"],
        top_logprobs=1, parallel_tool_calls=False, truncation="auto",
    )  # fmt: skip
    assert (made.output_text, made.status) == ("oll", "incomplete")
    assert (made.metadata, made.user, made.temperature, made.top_p) == ({"a": "b"}, "u", 0.5, 0.9)
    assert made.output[0].status == "incomplete"
    assert len(made.output[0].content[0].logprobs) == 3
    assert client.responses.input_tokens.count(model="tiny", input="hello").input_tokens == 12
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(made.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.retrieve(made.id, stream=True)
    assert client.responses.delete(made.id) is None
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(made.id)


def test_tools_and_forms_reach_the_model() -> None:
    seen: list[Any] = []

    def answer(prompt: str, request: Any) -> str:
        seen.append((prompt, request.constraint))
        if "city" in prompt:
            return '{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
        return '{"a": 1}'

    with serving(ScriptedEngine(answer)) as running:
        client = client_of(running)
        tool: Any = {
            "type": "function", "name": "weather", "description": "d", "strict": True,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }  # fmt: skip
        for choice in ("required", {"type": "function", "name": "weather"}):
            called = client.responses.create(
                model="tiny",
                input="a",
                tools=[tool],
                tool_choice=choice,
            )
            (call,) = called.output
            assert call.type == "function_call"
            assert json.loads(call.arguments) == {"city": "Rome"}
            assert "city" in str(seen[-1][1])
        assert called.tools[0].name == "weather"

        class Counted(BaseModel):
            a: int

        parsed = client.responses.parse(model="tiny", input="a", text_format=Counted)
        assert parsed.output_parsed == Counted(a=1)
        assert '"integer"' in str(seen[-1][1])


def test_truncation_leaves_out_the_oldest() -> None:
    with serving(ScriptedEngine(lambda prompt, request: prompt, context=400)) as running:
        client = client_of(running)
        given: Any = [
            {"role": "system", "content": "Stay."},
            *({"role": "user", "content": f"{n} " + "a" * 60} for n in range(8)),
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "result"},
            {"role": "user", "content": "last"},
        ]
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            client.responses.create(model="tiny", input=given)
        answer: Any = client.responses.create(
            model="tiny", input=given, truncation="auto", max_output_tokens=60
        )
        (told,) = answer.linnet
        assert told["subject"] == "truncation"
        left = int(told["reason"].split()[1])
        with telling() as far:
            kept = client_of(far).responses.create(
                model="tiny", input=[given[0], *given[1 + left :]]
            )
        assert kept.output_text[:60] == answer.output_text  # as if the oldest had never been said
        assert len(kept.output_text) + 60 <= 400
        with telling() as far:
            more = client_of(far).responses.create(model="tiny", input=[given[0], *given[left:]])
        assert len(more.output_text) + 60 > 400  # no more than had to go


def test_a_key_finds_its_own_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    ada, bob = (add_key(keys, name, KeyLimits()) for name in ("ada", "bob"))
    with telling(keys=keys) as running:
        mine, other = client_of(running, ada), client_of(running, bob)
        made = mine.responses.create(model="tiny", input="secret")
        talk = mine.conversations.create(items=[{"role": "user", "content": "secret"}])
        (item,) = mine.conversations.items.list(talk.id)
        assert item.id is not None
        for name, absent in ((made.id, "resp_x"), (talk.id, "conv_x")):
            errors = []
            for each in (name, absent):
                attempts: list[Any] = [
                    lambda each=each: other.responses.retrieve(each),
                    lambda each=each: other.responses.delete(each),
                    lambda each=each: other.responses.input_items.list(each),
                    lambda each=each: other.conversations.retrieve(each),
                    lambda each=each: other.conversations.update(each, metadata={}),
                    lambda each=each: other.conversations.delete(each),
                    lambda each=each: other.conversations.items.list(each),
                    lambda each=each: other.conversations.items.create(
                        each, items=[{"role": "user", "content": "x"}]
                    ),
                    lambda each=each: other.conversations.items.delete(
                        item.id, conversation_id=each
                    ),
                    lambda each=each: other.conversations.items.retrieve(
                        item.id, conversation_id=each
                    ),
                    lambda each=each: other.responses.create(
                        model="tiny", input="x", conversation=each
                    ),
                    lambda each=each: other.responses.create(
                        model="tiny", input="x", previous_response_id=each
                    ),
                ]
                for attempt in attempts:
                    with pytest.raises(openai.APIStatusError) as raised:
                        attempt()
                    errors.append(
                        (raised.value.status_code, raised.value.message.replace(each, ""))
                    )
            half = len(errors) // 2
            assert errors[:half] == errors[half:]  # as if there were none
        with pytest.raises(openai.NotFoundError):
            other.responses.create(model="tiny", input=[{"type": "item_reference", "id": item.id}])
        assert other.get("/conversations?query=secret", cast_to=object)["data"] == []
        assert other.get("/conversations/export", cast_to=str) == ""
        assert other.delete("/conversations", cast_to=object)["conversations"] == 0
        assert mine.responses.retrieve(made.id).output_text == "<user> secret"
        exported = mine.get("/conversations/export", cast_to=str).splitlines()
        assert [json.loads(line)["id"] for line in exported] == [talk.id, made.id]
        gone: Any = mine.delete("/conversations", cast_to=object)
        assert (gone["conversations"], gone["responses"]) == (1, 1)
        assert mine.get("/conversations/export", cast_to=str) == ""


def test_an_answer_is_given_though_it_cannot_be_kept(tmp_path: Path) -> None:
    with telling() as running:
        service, client = running.server.service, client_of(running)
        service.conversations = ConversationStore(tmp_path / "full", most_bytes=120_000)
        talk = client.conversations.create()
        body: dict[str, Any] = {"input": "a" * 1500, "conversation": talk.id}
        for _ in range(40):
            made: Any = client.responses.create(model="tiny", input="a" * 1500)
            if not made.store:
                break
        assert "full" in made.linnet[-1]["text"]
        assert made.linnet[-1]["code"] == "not_stored"
        assert made.status == "completed"
        assert made.output_text == "<user> " + "a" * 1500
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
        streamed = followed(events_of(running.url, body))
        assert streamed["linnet"][-1]["code"] == "not_stored"
        assert streamed["output"][0]["content"][0]["text"] == made.output_text
        with pytest.raises(openai.InternalServerError) as raised:
            client.conversations.create(items=[{"role": "user", "content": "a" * 300_000}])
        assert raised.value.code == "store_error"


def test_events_are_few_words_apart(scripted: Any) -> None:
    """The fast path of a delta gives what JSON would."""
    running, _ = scripted
    text = post(f"{running.url}/v1/responses", {"input": "text", "stream": True})
    lines = [line for line in text.splitlines() if "output_text.delta" in line]
    names, datas = lines[::2], lines[1::2]
    assert set(names) == {"event: response.output_text.delta"}
    deltas = [json.loads(data.removeprefix("data: ")) for data in datas]
    assert list(itertools.chain(*(delta["delta"] for delta in deltas))) == list("Hello.")

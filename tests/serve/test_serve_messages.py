"""Anthropic's official client, unmodified, with every answer validated strictly."""

from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from pydantic import TypeAdapter
from scripted import Running

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKWARDS = "olleh >resu<"
WEATHER: dict[str, Any] = {
    "name": "weather", "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'


def client_of(running: Running, **settings: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=running.url, max_retries=0, _strict_response_validation=True,
        **{"api_key": "unused", **settings},
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> anthropic.Anthropic:
    return client_of(tiny_server)


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


def test_a_stream(client: anthropic.Anthropic) -> None:
    slow: list[Any] = [{"role": "user", "content": "slow"}]
    with client.messages.stream(model="tiny", max_tokens=100, messages=slow) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert (
        final.content[0].model_dump(exclude_none=True)
        == {
            "type": "text",
            "text": "wols >resu<",
            "parsed_output": None,
        }
        or final.content[0].text == "wols >resu<"
    )  # type: ignore[union-attr]
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", len("wols >resu<"))
    assert final.usage.input_tokens == len("<user> slow") - 2
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert kinds.count("content_block_delta") > 3

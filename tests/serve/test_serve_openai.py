"""The official client, with every answer validated strictly, gets what OpenAI would send."""

import json
import urllib.request
from typing import Any

import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from scripted import Running, ScriptedEngine, serving

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKWARDS = "olleh >resu<"


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{tiny_server.url}/v1", api_key="unused", max_retries=0,
        _strict_response_validation=True,
    )  # fmt: skip


def post(url: str, body: Any) -> Any:
    """As it is sent, without the client's indulgence."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def test_a_chat_in_one(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=HELLO)
    ChatCompletion.model_validate(answer.model_dump(), strict=True)
    assert answer.choices[0].message.content == BACKWARDS
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.model == "tiny"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(BACKWARDS)
    assert answer.usage.prompt_tokens == len("<user> hello")
    assert answer.usage.total_tokens == len(BACKWARDS) + len("<user> hello")
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


def test_a_chat_as_a_stream(client: openai.OpenAI) -> None:
    slow: list[Any] = [{"role": "user", "content": "slow"}]  # so that there are several events
    stream = client.chat.completions.create(
        model="tiny", messages=slow, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert len(chunks) > 5
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True)
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    *body, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == len("wols >resu<")
    assert all(chunk.usage is None for chunk in body)
    deltas = [chunk.choices[0].delta for chunk in body]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.content or "" for delta in deltas) == "wols >resu<"
    reasons = [chunk.choices[0].finish_reason for chunk in body]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]


def test_the_wire_of_a_stream(tiny_server: Running) -> None:
    """Null where the specification says null, and no usage unless it was asked for."""
    sent = post(
        f"{tiny_server.url}/v1/chat/completions",
        {"messages": HELLO, "stream": True},
    )
    events = sent.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    parsed = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    for event in parsed:
        assert "usage" not in event
        assert event["object"] == "chat.completion.chunk"
        assert set(event["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}
        assert event["choices"][0]["logprobs"] is None
    assert "role" not in parsed[1]["choices"][0]["delta"]
    with_usage = post(
        f"{tiny_server.url}/v1/chat/completions",
        {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
    ).split("\n\n")
    values = [json.loads(event.removeprefix("data: ")) for event in with_usage[:-2]]
    assert [value["usage"] for value in values[:-1]] == [None] * (len(values) - 1)


def test_several_answers_have_seeds_of_their_own() -> None:
    engine = ScriptedEngine(lambda prompt, request: f"seed {request.sampling.seed}")
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        whole = client.chat.completions.create(model="tiny", messages=HELLO, n=3, seed=7)
        assert [c.message.content for c in whole.choices] == ["seed 7", "seed 8", "seed 9"]
        assert [c.index for c in whole.choices] == [0, 1, 2]
        assert whole.usage is not None
        assert whole.usage.prompt_tokens == len("<user> hello")
        texts: dict[int, str] = {}
        ends: dict[int, int] = {}
        roles: dict[int, int] = {}
        for chunk in client.chat.completions.create(
            model="tiny", messages=HELLO, n=3, seed=-1, stream=True
        ):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                ends[choice.index] = ends.get(choice.index, 0) + bool(choice.finish_reason)
                roles[choice.index] = roles.get(choice.index, 0) + bool(choice.delta.role)
        assert texts == {0: f"seed {2**63 - 1}", 1: "seed 0", 2: "seed 1"}
        assert ends == roles == {0: 1, 1: 1, 2: 1}


def test_probabilities_of_a_chat(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"model": "tiny", "logprobs": True, "top_logprobs": 2}
    messages: list[Any] = [{"role": "user", "content": "é"}]
    whole = client.chat.completions.create(messages=messages, **settings)
    assert whole.choices[0].logprobs is not None
    told = whole.choices[0].logprobs.content
    assert told is not None
    assert told[0].token == "é"
    assert told[0].bytes == list("é".encode())
    assert [top.logprob for top in told[0].top_logprobs] == [-0.5, -9999.0]
    streamed: list[Any] = []
    for chunk in client.chat.completions.create(messages=messages, stream=True, **settings):
        logprobs = chunk.choices[0].logprobs
        streamed += (logprobs.content or []) if logprobs else []
    assert [entry.token for entry in streamed] == [entry.token for entry in told]


def test_completions(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="tiny", prompt=["abc", "def"], max_tokens=2, echo=True)
    Completion.model_validate(whole.model_dump(), strict=True)
    assert [choice.text for choice in whole.choices] == ["abccb", "deffe"]
    assert [choice.finish_reason for choice in whole.choices] == ["length", "length"]
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == 6
    by_tokens = client.completions.create(model="tiny", prompt=[97, 98])
    assert by_tokens.choices[0].text == "ba"
    told = client.completions.create(model="tiny", prompt="abc", logprobs=1).choices[0].logprobs
    assert told is not None
    assert told.tokens == ["c", "b", "a"]
    assert told.text_offset == [0, 1, 2]
    assert told.token_logprobs == [-0.5, -0.5, -0.5]
    assert told.top_logprobs == [{"c": -0.5}, {"b": -0.5}, {"a": -0.5}]
    stream = client.completions.create(
        model="tiny", prompt="abc", stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "cba"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 6


def test_models_and_adapters_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "loud"]
    assert client.models.retrieve("loud").id == "loud"
    loud = client.chat.completions.create(model="loud", messages=HELLO)
    assert loud.choices[0].message.content == BACKWARDS.upper()
    assert loud.model == "loud"
    with pytest.raises(openai.NotFoundError) as found:
        client.chat.completions.create(model="other", messages=HELLO)
    assert found.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"temperature": 3}, "temperature", "at most 2. Got 3"),
        ({"temperature": "hot"}, "temperature", "must be a number or null"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 1.5}, "n", "must be an integer"),
        ({"messages": []}, "messages", "at least 1 entry. Got 0"),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "Missing required"),
        ({"messages": [{"role": "king", "content": "a"}]}, "messages[0].role", "must be one of"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "a string"),
        ({"stop": [""]}, "stop[0]", "at least 1 character. Got 0"),
        ({"stream_options": {}}, "stream_options", "only allowed when"),
        ({"top_logprobs": 2}, "top_logprobs", "needs 'logprobs'"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "ids of tokens"),
        ({"response_format": {"type": "poem"}}, "response_format.type", "must be one of"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing"),
        ({"tool_choice": "required"}, "tool_choice", "only allowed with 'tools'"),
        ({"modalities": ["audio"]}, "modalities[0]", "must be"),
        ({"temprature": 1}, "temprature", "Did you mean 'temperature'?"),
        ({"chat_template_kwargs": {"messages": 1}}, "chat_template_kwargs", "cannot be given"),
        ({"messages": [{"role": "user", "content": "refuse"}]}, "messages", "template refuses"),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
            "cannot both be true",
        ),
    ],
)
def test_what_is_wrong_is_said(
    client: openai.OpenAI, changes: dict[str, Any], param: str, words: str
) -> None:
    body = {"model": "tiny", "messages": HELLO, **changes}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body=body, cast_to=object)
    error = raised.value
    assert error.param == param
    assert words in error.message
    assert "/secret" not in error.message
    assert error.type == "invalid_request_error"


@pytest.mark.parametrize("chat", [True, False])
def test_a_full_context_is_told_with_counts(client: openai.OpenAI, chat: bool) -> None:
    messages = [{"role": "user", "content": "a" * 5000}]
    path = "/chat/completions" if chat else "/completions"
    body = {"messages": messages} if chat else {"prompt": "a" * 5000}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post(path, body=body, cast_to=object)
    assert raised.value.code == "context_length_exceeded"
    assert "maximum context length is 4000 tokens" in raised.value.message
    assert "500" in raised.value.message
    assert "/secret" not in raised.value.message


def test_an_engine_that_fails(client: openai.OpenAI) -> None:
    broken: list[Any] = [{"role": "user", "content": "broken"}]
    with pytest.raises(openai.InternalServerError, match="engine died") as whole:
        client.chat.completions.create(model="tiny", messages=broken)
    assert whole.value.status_code == 503
    assert "/secret" not in str(whole.value)
    slow: list[Any] = [{"role": "user", "content": "slow and broken"}]
    with pytest.raises(openai.APIError, match="engine died"):  # after the stream has begun
        list(client.chat.completions.create(model="tiny", messages=slow, stream=True))
    unfit: list[Any] = [{"role": "user", "content": "unfit"}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="cannot be followed"):
            client.chat.completions.create(model="tiny", messages=unfit, stream=stream)
    bug: list[Any] = [{"role": "user", "content": "bug"}]
    with pytest.raises(openai.InternalServerError) as unforeseen:
        client.chat.completions.create(model="tiny", messages=bug)
    assert "implementation" not in str(unforeseen.value)
    assert client.chat.completions.create(model="tiny", messages=HELLO).choices  # it goes on


@pytest.mark.parametrize("context", [256, 2048, 8192])
def test_an_endless_answer_leaves_space_for_the_next_message(context: int) -> None:
    engine = ScriptedEngine(context=context)
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x")
        client.chat.completions.create(model="tiny", messages=HELLO)
        client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=context)
    usual, wanted = (request.sampling.max_tokens for request in engine.requests)
    left = context - len(engine.requests[0].prompt)
    assert usual == (left // 2 if context <= 2048 else left)
    assert wanted == context


def test_sampling_reaches_the_engine() -> None:
    engine = ScriptedEngine()
    with serving(engine, max_tokens=50) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x")
        client.chat.completions.create(
            model="tiny", messages=HELLO, temperature=0.25, top_p=0, stop=["END", "!"], seed=5,
            frequency_penalty=0.5, presence_penalty=-0.5, logit_bias={"97": 5},
            max_completion_tokens=300, user="someone", store=False,
            extra_body={"top_k": 7, "min_p": 0.125, "repetition_penalty": 1.5, "typical_p": 0.5},
        )  # fmt: skip
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.seed, sampling.max_tokens) == (0.25, 5, 50)
    assert 0 < sampling.top_p < 1e-6
    assert sampling.stop == ("END", "!")
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.5, -0.5)
    assert sampling.logit_bias == ((97, 5.0),)
    assert (sampling.top_k, sampling.min_p) == (7, 0.125)
    assert (sampling.repetition_penalty, sampling.typical_p) == (1.5, 0.5)


@pytest.mark.parametrize(
    ("wanted", "kind", "value"),
    [
        ({"type": "json_object"}, "json_schema", '{"type": "object"}'),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}},
            "json_schema", '{"type": "array"}',
        ),
        ({"type": "regex", "regex": "[ab]+"}, "regex", "[ab]+"),
        ({"type": "choice", "choice": ["yes", "no"]}, "choice", '["yes", "no"]'),
        ({"type": "grammar", "grammar": 'root ::= "a"'}, "grammar", 'root ::= "a"'),
    ],
)  # fmt: skip
def test_constraints_reach_the_engine(wanted: Any, kind: str, value: str) -> None:
    engine = ScriptedEngine()
    with serving(engine) as running:
        for path, asked in (
            ("chat/completions", {"messages": HELLO}),
            ("completions", {"prompt": "a"}),
        ):
            post(f"{running.url}/v1/{path}", {**asked, "response_format": wanted})
    for request in engine.requests:
        assert request.constraint is not None
        assert (request.constraint.kind, request.constraint.value) == (kind, value)


@pytest.mark.parametrize(
    ("more", "given"),
    [
        ({}, None),
        ({"continue_final_message": True}, {"continue_final_message": True}),
        (
            {"continue_final_message": True, "add_generation_prompt": False},
            {"continue_final_message": True},
        ),
        ({"add_generation_prompt": False}, {"add_generation_prompt": False}),
        ({"add_generation_prompt": True}, None),
    ],
)
def test_the_last_message_may_go_on(
    tiny_server: Running, more: dict[str, Any], given: dict[str, Any] | None
) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Good mor"}]
    body = {"messages": messages, **more}
    told = json.loads(post(f"{tiny_server.url}/tokenize", body))
    prompt = "".join(map(chr, told["tokens"]))
    assert prompt.endswith("<assistant> Good mor")
    assert prompt.startswith("<user>" if given is None else json.dumps(given))
    answer = json.loads(post(f"{tiny_server.url}/v1/chat/completions", body))
    assert answer["usage"]["prompt_tokens"] == len(prompt)


def test_content_may_come_in_parts(client: openai.OpenAI) -> None:
    parts: list[Any] = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "developer", "content": "x"}, {"role": "user", "content": parts}],
    )
    assert answer.choices[0].message.content == "dc"
    with pytest.raises(openai.BadRequestError, match="must be one of"):
        client.chat.completions.create(
            model="tiny",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}],
                }
            ],
        )


def test_a_model_without_template(client: openai.OpenAI) -> None:
    with serving(ScriptedEngine(chat=False)) as running:
        own = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x")
        with pytest.raises(openai.BadRequestError, match="use /v1/completions"):
            own.chat.completions.create(model="tiny", messages=HELLO)
        assert own.completions.create(model="tiny", prompt="ab").choices[0].text == "ba"


def test_tokens_there_and_back(tiny_server: Running) -> None:
    found = json.loads(post(f"{tiny_server.url}/tokenize", {"content": "abc"}))
    assert found == {"tokens": [97, 98, 99], "count": 3, "max_model_len": 4000}
    back = json.loads(post(f"{tiny_server.url}/detokenize", {"tokens": found["tokens"]}))
    assert back["content"] == "abc"
    chat = json.loads(post(f"{tiny_server.url}/tokenize", {"messages": HELLO}))
    assert chat["count"] == len("<user> hello")

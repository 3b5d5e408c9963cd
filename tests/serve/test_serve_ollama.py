"""Ollama's official client, unmodified, and what other clients of its interface send."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import ollama
import pytest
from scripted import Running, ScriptedEngine, serving
from test_serve_responders import Cited, served

from linnet.generate.engine import Request
from linnet.respond import EngineResponder
from linnet.serve import Served
from linnet.serve.errors import ApiError
from linnet.serve.ollama.reading import keep_seconds

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKWARDS = "olleh >resu<"
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """An exchange as it is on the wire: status, headers and body."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, sent)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> ollama.Client:
    return ollama.Client(tiny_server.url)


@pytest.fixture(scope="module")
def shown() -> Iterator[tuple[ollama.Client, ScriptedEngine]]:
    """An engine that answers with what it was shown, or as it is told in the last line."""

    def answer(prompt: str, request: Request) -> str:
        return CALL if prompt.endswith("add?") else prompt

    engine = ScriptedEngine(answer)
    with serving(engine) as running:
        yield ollama.Client(running.url), engine


def test_a_chat(client: ollama.Client) -> None:
    answer = client.chat("tiny:latest", HELLO)
    assert (answer.message.role, answer.message.content) == ("assistant", BACKWARDS)
    assert (answer.model, answer.done, answer.done_reason) == ("tiny:latest", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (len("<user> hello"), len(BACKWARDS))
    times = (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    assert all(isinstance(each, int) and each >= 0 for each in times)
    assert sum(each or 0 for each in times) <= (answer.total_duration or 0) + 3
    assert (answer.total_duration or 0) < 20e9  # of nanoseconds


def test_a_stream(client: ollama.Client, tiny_server: Running) -> None:
    slow = [{"role": "user", "content": "slow"}]
    parts = list(client.chat("tiny", slow, stream=True))
    assert len(parts) > 3
    assert "".join(part.message.content or "" for part in parts) == "wols >resu<"
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("stop", len("wols >resu<"))
    # A stream is what is usual, and every line is an object.
    body = {"model": "tiny", "messages": HELLO}
    status, headers, raw = ask(tiny_server.url, "POST", "/api/chat", body)
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in raw.decode().removesuffix("\n").split("\n")]
    assert "".join(line["message"]["content"] for line in lines) == BACKWARDS
    assert set(lines[0]) == {"model", "created_at", "message", "done"}


def test_a_form_that_curl_sends(tiny_server: Running) -> None:
    """``curl -d`` calls JSON a form."""
    body = {"model": "tiny", "prompt": "hello", "stream": False}
    status, headers, raw = ask(
        tiny_server.url, "POST", "/api/generate", body,
        Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(raw)["response"] == BACKWARDS


def test_tools(shown: Any) -> None:
    client, engine = shown

    def add(a: int, b: int) -> int:
        """Add.

        Args:
            a: one
            b: another
        """
        return a + b

    messages: list[Any] = [{"role": "user", "content": "add?"}]
    whole = client.chat("tiny", messages, tools=[add])
    streamed = [
        part for part in client.chat("tiny", messages, tools=[add], stream=True)
        if part.message.tool_calls
    ]  # fmt: skip
    for answer in (whole, *streamed):
        (call,) = answer.message.tool_calls
        assert (call.function.name, call.function.arguments) == ("add", {"a": 1, "b": 2})
        assert not answer.message.content
    assert len(streamed) == 1
    body = {
        "model": "tiny", "messages": messages, "stream": False, "tool_choice": "required",
        "max_output_tokens": 77, "temperature": 0.25,
        "tools": [{"type": "function", "function": {"name": "add"}}],
    }  # fmt: skip
    url = str(client._client.base_url)
    assert ask(url, "POST", "/api/chat", body)[0] == 200  # as Ollama's provider for the AI SDK
    asked = engine.requests[-1]
    assert asked.constraint is not None
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (77, 0.25)
    # The answer of the tool finds its call by its name.
    messages += [whole.message, {"role": "tool", "tool_name": "add", "content": "3"}]
    client.chat("tiny", messages, tools=[add])
    told = engine.detokenize(engine.requests[-1].prompt)
    assert CALL in told
    assert "<tool_response>\n3\n</tool_response>" in told


def test_a_thought() -> None:
    engine = ScriptedEngine(lambda prompt, request: "<think>\nI say\n</think>\n\nYes.")
    with serving(engine) as running:
        client = ollama.Client(running.url)
        message = client.chat("tiny", HELLO, think="low").message
        assert (message.thinking, message.content) == ("I say", "Yes.")
        parts = list(client.generate("tiny", "hello", stream=True))
        assert "".join(part.thinking or "" for part in parts) == "I say"
        assert "".join(part.response or "" for part in parts) == "Yes."


def test_options_arrive(shown: Any) -> None:
    client, engine = shown
    client.chat(
        "tiny", HELLO, think=True,
        options={
            "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8,
            "repeat_penalty": 1.2, "repeat_last_n": -1, "presence_penalty": 0.3,
            "frequency_penalty": 0.4, "seed": 4, "stop": ["X"], "num_predict": 7, "num_ctx": 2048,
            "num_gpu": 1, "num_thread": 4, "mirostat": 0, "tfs_z": 1.0,
        },
    )  # fmt: skip
    sampling = engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 3, 0.9)
    assert (sampling.min_p, sampling.typical_p, sampling.repetition_penalty) == (0.1, 0.8, 1.2)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.3, 0.4)
    assert (sampling.seed, sampling.stop, sampling.max_tokens) == (4, ("X",), 7)
    assert '{"enable_thinking": true}' in engine.detokenize(engine.requests[-1].prompt)
    for options, most in (
        ({"num_predict": -1}, 4000), ({"num_predict": -2, "num_ctx": 100}, 100),
        ({"num_ctx": 8000}, 4000), ({}, 4000), ({"seed": -1}, 4000),
    ):  # fmt: skip
        client.chat("tiny", HELLO, options=options)
        sampling = engine.requests[-1].sampling
        assert (sampling.max_tokens, sampling.seed) == (
            most - (most == 4000) * len("<user> hello"), None,
        )  # fmt: skip
    for given, found in (("json", {"type": "object"}), ({"type": "array"}, {"type": "array"})):
        client.chat("tiny", HELLO, format=given)
        assert json.loads(engine.requests[-1].constraint.value) == found


@pytest.mark.parametrize(
    ("options", "words"),
    [({"mirostat": 2}, "mirostat"), ({"tfs_z": 0.5}, "tfs_z"), ({"no_such": 1}, "no_such"),
     ({"repeat_penalty": 1.1, "repeat_last_n": 64}, "repeat_last_n"),
     ({"temperature": -1}, "options.temperature")],
)  # fmt: skip
def test_options_refused_by_name(client: ollama.Client, options: Any, words: str) -> None:
    with pytest.raises(ollama.ResponseError, match=words) as raised:
        client.chat("tiny", HELLO, options=options)
    assert raised.value.status_code == 400
    assert set(json.loads(json.dumps({"error": raised.value.error}))) == {"error"}


def test_a_prompt(shown: Any) -> None:
    client, engine = shown
    answer = client.generate("tiny", "hello", system="Be brief.")
    assert answer.response == "<system> Be brief.\n<user> hello"
    # What was told as context goes before the next prompt, as it was.
    assert answer.context == [*map(ord, answer.response)] * 2
    after = client.generate("tiny", "more", context=answer.context)
    assert list(engine.requests[-1].prompt) == [*answer.context, *map(ord, "<user> more")]
    assert after.context[: len(answer.context)] == answer.context
    raw = client.generate("tiny", "as it is", raw=True)
    assert engine.requests[-1].prompt == (0x110000, *map(ord, "as it is"))
    assert raw.context is None
    parts = list(client.generate("tiny", "hello", stream=True, logprobs=True, top_logprobs=1))
    assert "".join(part.response or "" for part in parts) == "<user> hello"
    told = [each for part in parts for each in part.logprobs or ()]
    assert "".join(each.token for each in told) == "<user> hello"
    assert told[0].top_logprobs[0].logprob == -0.5


def test_nothing_asked_loads_the_model(client: ollama.Client, tiny_server: Running) -> None:
    assert client.generate("tiny").done_reason == "load"
    assert client.chat("tiny", []).done_reason == "load"
    catalog = tiny_server.server.service.catalog
    kept: list[Any] = []
    keep = catalog.keep
    catalog.keep = lambda name, seconds: kept.append((name, seconds))  # type: ignore[method-assign]
    try:
        assert client.generate("tiny", keep_alive=0).done_reason == "unload"
        client.generate("tiny", "hello", keep_alive="1h30m")
    finally:
        catalog.keep = keep  # type: ignore[method-assign]
    assert kept == [("tiny", 0.0), ("tiny", 5400.0)]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, None), ("", None), (0, 0), (-1, -1), (300, 300), ("5m", 300), ("-1m", -60), ("-1", -1),
     ("1h30m5.5s", 5405.5), ("250ms", 0.25), ("9999999h", -1), (1e300, -1)],
)  # fmt: skip
def test_how_long_a_model_stays(given: Any, seconds: float | None) -> None:
    assert keep_seconds(given) == seconds


def test_durations_that_are_none() -> None:
    for given in ("soon", "5 m", "m", "5mm", "nan", "-inf", "1e999", "9" * 400 + "h"):
        with pytest.raises(ApiError, match="'keep_alive' must be seconds"):
            keep_seconds(given)


def test_models(client: ollama.Client, tiny_server: Running) -> None:
    found = client.list().models
    assert [model.model for model in found] == ["tiny:latest", "loud:latest"]
    assert all(len(model.digest or "") == 64 for model in found)
    shown = client.show("tiny:latest")
    assert {"completion", "tools"} <= set(shown.capabilities or ())
    assert shown.parameters == "num_ctx    4000"
    architecture = (shown.modelinfo or {})["general.architecture"]
    assert (shown.modelinfo or {})[f"{architecture}.context_length"] == 4000
    assert json.loads(ask(tiny_server.url, "POST", "/api/show", {"name": "tiny"})[2])["details"]
    running = client.ps().models
    assert [model.name for model in running] == ["tiny:latest", "loud:latest"]
    version = json.loads(ask(tiny_server.url, "GET", "/api/version")[2])["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)  # what some clients demand


def test_what_changes_models_is_refused_by_name(
    client: ollama.Client, tiny_server: Running
) -> None:
    assert client.pull("tiny").status == "success"  # it is there
    with pytest.raises(ollama.ResponseError, match=r"'none' does not exist.*whoever runs"):
        client.pull("none")
    for act, path in (
        (lambda: client.push("tiny"), "/api/push"), (lambda: client.delete("tiny"), "/api/delete"),
        (lambda: client.copy("tiny", "b"), "/api/copy"),
        (lambda: client.create("b", from_="tiny"), "/api/create"),
    ):  # fmt: skip
        with pytest.raises(ollama.ResponseError, match=f"{path} is not here") as raised:
            act()
        assert raised.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="does not exist") as raised:
        client.chat("none", HELLO)
    assert raised.value.status_code == 404
    for path, more in (
        ("/api/generate", {"prompt": "a", "images": ["aGk="]}),
        ("/api/chat", {"messages": [{**HELLO[0], "images": ["aGk="]}]}),
    ):
        status, _, raw = ask(tiny_server.url, "POST", path, {"model": "tiny", **more})
        assert (status, "images are not read here" in json.loads(raw)["error"]) == (400, True)
    status, _, raw = ask(
        tiny_server.url, "POST", "/api/generate", {"model": "tiny", "prompt": "a", "template": "b"}
    )
    assert (status, "templates are the models' own" in json.loads(raw)["error"]) == (400, True)


def test_probes_and_the_page_share_a_place(tiny_server: Running) -> None:
    status, headers, body = ask(tiny_server.url, "GET", "/", Accept="application/json")
    assert (status, body) == (200, b"Ollama is running")
    assert headers["content-type"].startswith("text/plain")
    assert ask(tiny_server.url, "GET", "/", Accept="*/*")[2] == b"Ollama is running"
    status, headers, body = ask(tiny_server.url, "HEAD", "/")
    assert (status, headers["content-length"], body) == (200, "17", b"")
    status, headers, body = ask(tiny_server.url, "GET", "/", Accept="text/html,*/*;q=0.8")
    assert headers["content-type"].startswith("text/html")
    assert headers["vary"] == "accept"


def test_a_stream_that_breaks(client: ollama.Client) -> None:
    broken = [{"role": "user", "content": "broken"}]
    with pytest.raises(ollama.ResponseError, match="engine died") as raised:
        list(client.chat("tiny", broken, stream=True))
    assert "/secret" not in raised.value.error


def test_pieces_that_the_interface_has_no_place_for() -> None:
    inner = EngineResponder(ScriptedEngine())
    with served(Served("cited", answering=Cited(inner))) as (running, _):
        client = ollama.Client(running.url)
        assert client.generate("cited", "hello").response == BACKWARDS  # without tokens, no context
        assert (
            client.chat("cited", [{"role": "user", "content": "secret"}]).message.content == "No."
        )
        body = {"model": "cited", "messages": HELLO, "stream": False}
        own = json.loads(ask(running.url, "POST", "/api/chat", body)[2])["linnet"]
        assert [piece["type"] for piece in own] == ["decision", "passage", "citation"]
        with pytest.raises(ollama.ResponseError, match="'context' is tokens"):
            client.generate("cited", "hello", context=[1])
        with pytest.raises(ollama.ResponseError, match="answers conversations only"):
            client.generate("cited", "hello", raw=True)


class Encoder:
    """Vectors that say how many tokens a text has, of at most six."""

    width, max_tokens = 3, 6

    class tokenizer:
        start, finish = (1,), (2,)

        @staticmethod
        def encode(text: str) -> list[int]:
            return [3] * len(text)

        @staticmethod
        def encode_arrays(texts: list[str]) -> list[list[int]]:
            return [[3] * len(text) for text in texts]

    class recipe:
        lowercase = False

        @staticmethod
        def prompt(name: str | None) -> str:
            return ""

    def embed(self, texts: list[str], *, prompt: str | None = None) -> Any:
        return np.array([[min(len(text) + 2, 6), 1, 2] for text in texts], dtype=np.float32)

    def close(self) -> None:
        pass


def test_embeddings() -> None:
    with served(Served("vectors", encoder=Encoder())) as (running, _):  # type: ignore[arg-type]
        client = ollama.Client(running.url)
        found = client.embed("vectors", ["a", "bcd"])
        assert [list(row) for row in found.embeddings] == [[3, 1, 2], [5, 1, 2]]
        assert found.prompt_eval_count == 3 + 5
        assert [list(row) for row in client.embed("vectors", "x" * 20).embeddings] == [[6, 1, 2]]
        with pytest.raises(ollama.ResponseError, match="maximum context length is 6"):
            client.embed("vectors", "x" * 20, truncate=False)
        with pytest.raises(ollama.ResponseError, match="'dimensions' must be 3"):
            client.embed("vectors", "x", dimensions=2)
        assert list(client.embeddings("vectors", "a").embedding) == [3, 1, 2]
        assert client.embed("vectors", []).embeddings == []
        assert client.show("vectors").capabilities == ["embedding"]
    with serving() as running, pytest.raises(ollama.ResponseError, match="makes no embeddings"):
        ollama.Client(running.url).embed("tiny", "a")

"""A model at an address: what is sent, what is read, and what strangers may answer."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet import respond
from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond import (
    Context,
    Decision,
    RemoteResponder,
    TokenBudget,
    conversation,
    remote,
    transport,
)
from linnet.respond.counts import MOST_TOKENS
from linnet.respond.transport import Address, RemoteError, Timeouts, read_key

PATIENCE = 20.0
ASKED = conversation([{"role": "user", "content": "Is it raining?"}])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Stranger:
    """Answers every connection with the same bytes, in pieces; then it closes, or waits."""

    def __init__(self, *pieces: bytes, waits: bool = False) -> None:
        self.pieces, self.waits = pieces, waits
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.asked, self.left = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            reader = connection.makefile("rb")
            first = reader.readline().decode().strip()
            headers = {}
            while line := reader.readline().decode().strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = json.loads(reader.read(int(headers["content-length"])))
            self.requests.append((first, headers, body))
            self.asked.set()
            # Who leaves early may do so before all is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in self.pieces:
                    connection.sendall(piece)
                if not self.waits:
                    return
                connection.settimeout(PATIENCE)
                connection.recv(1)
            self.left.set()


@contextlib.contextmanager
def stranger(*pieces: bytes, **settings: Any) -> Iterator[Stranger]:
    made = Stranger(*pieces, **settings)
    try:
        yield made
    finally:
        made.listener.close()


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, /, **values: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": values, "finish_reason": finish}]}


def call(place: int, **function: Any) -> dict[str, Any]:
    return {"index": place, "id": f"c{place}", "type": "function", "function": function}


GOOD = (
    b": hello\n\n"
    + event(delta(role="assistant", content=""))
    + event(delta(reasoning_content="Hm."))
    + event(delta(content="I lo"))
    + event(delta(content="ok é."))
    + event(delta(tool_calls=[call(0, name="weather", arguments='{"city"')]))
    + event(delta(tool_calls=[{"index": 0, "function": {"arguments": ': "Ulm"}'}}]))
    + event(delta("tool_calls"))
    + event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 30,
                                      "prompt_tokens_details": {"cached_tokens": 4}}})
    + b"data: [DONE]\n\n"
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stream_however_it_is_cut(size: int, end: str) -> None:
    sent = HEAD + GOOD.replace(b"\n", end.encode())
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    context = Context()
    with stranger(*pieces) as server:
        (answer,) = respond.run(RemoteResponder(server.url, "m"), ASKED, context)
    assert (answer.text, answer.reasoning) == ("I look é.", "Hm.")
    (made,) = answer.tool_calls
    assert (made.id, made.name, json.loads(made.arguments)) == ("c0", "weather", {"city": "Ulm"})
    assert answer.finish_reason == "tool_calls"
    tokens = context.record.tokens
    assert (tokens.prompt, tokens.cached, tokens.written) == (9, 4, 30)
    assert context.record.model == "m"
    assert made.origin == respond.Origin("model", "m", "here")


def test_what_is_sent() -> None:
    asked = conversation(
        [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
         {"role": "assistant", "content": "", "tool_calls": [call(0, name="f", arguments="{}")]},
         {"role": "tool", "content": "T", "tool_call_id": "c0"}],
        [{"function": {"name": "f", "parameters": {"type": "object"}}}],
        tool_choice="tool:f",
        sampling=Sampling(max_tokens=7, temperature=0.5, stop=("x",), seed=3, top_k=5),
        choices=1,
        logprobs=True,
        top_logprobs=2,
    )  # fmt: skip
    with stranger(HEAD + GOOD) as server:
        far = RemoteResponder(f"{server.url}/", "m", key="sk-1234")
        (answer,) = respond.run(far, asked)
        ((first, headers, body),) = server.requests
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-1234"
    assert body == {
        "model": "m", "stream": True, "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "S"}, {"role": "user", "content": "U"},
            {"role": "assistant", "content": None,
             "tool_calls": [{"id": "c0", "type": "function",
                             "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "T", "tool_call_id": "c0"},
        ],
        "tools": [{"type": "function",
                   "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0.5, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
        "max_tokens": 7, "stop": ["x"], "seed": 3, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    told = [piece for piece in answer.pieces if isinstance(piece, Decision)]
    assert [piece.outcome for piece in told] == ["left out top_k"]
    schema = Constraint("json_schema", '{"type": "object"}')
    with stranger(HEAD + GOOD) as server:
        respond.run(RemoteResponder(server.url, "m"), ASKED.replace(constraint=schema))
        ((_, headers, body),) = server.requests
    assert "authorization" not in headers
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    for changes in (
        {"constraint": Constraint("regex", "a+")},
        {"sampling": Sampling(logit_bias=((1, 1.0),))},
        {"continue_final_message": True},
    ):
        with pytest.raises(ConfigError) as raised:
            respond.run(RemoteResponder("http://127.0.0.1:9/v1", "m"), ASKED.replace(**changes))
        assert raised.value.part is not None


def test_an_answer_that_does_not_stream() -> None:
    body = json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "No."},
                      "finish_reason": "stop", "logprobs": {"content": [
                          {"token": "No", "logprob": -1, "bytes": 10**12, "top_logprobs": [3]}]}}],
         "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    ).encode()  # fmt: skip
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with stranger(head.encode(), body[:9], body[9:], waits=True) as server:
        (answer,) = respond.run(RemoteResponder(server.url, "m"), ASKED)
    assert (answer.text, answer.prompt_tokens) == ("No.", 3)
    assert [score.spelling for score in answer.scores] == [b"No"]


def refusal(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "expected an answer by HTTP"),
        (HEAD, "broke off"),
        (HEAD + event(delta(content="a")), "broke off"),
        (HEAD + event(delta(content="a")) + b"data: [DONE]\n\n", "broke off"),
        (HEAD + b"data: {nonsense\n\n", "expected JSON"),
        (HEAD + b"data: [1]\n\n", "expected a JSON object. Got list"),
        (HEAD + b"data: " + b"[" * 100_000 + b"\n\n", "nests too deeply"),
        (HEAD + b"data: \xff\n\n", "expected JSON"),
        (HEAD + b"data: " + b"a" * 3000, "an event has at most"),
        (HEAD + b"data: a\n" * 3000, "an event has at most"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "head"),
        (HEAD + event({"error": {"message": "too\nbusy"}}), "too busy"),
        (HEAD + event({"choices": [{"index": 7, "delta": {}}]}), "a choice that nobody asked for"),
        (HEAD + event({"choices": ["a"]}), "a choice that nobody asked for"),
        (HEAD + event(delta(tool_calls=[call(10**9, name="f")])), "at most 128 calls"),
        (refusal("401 No", b'{"error": {"message": "Incorrect key\\u001b[2J"}}'),
         r"status 401: Incorrect key \[2J$"),
        (refusal("500 No", b"<html>" + b"a" * 100_000), "status 500$"),
        (refusal("302 Found\r\nLocation: http://127.0.0.1:1/", b""),
         "status 302: redirects are not followed"),
        (HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"zz\r\n", "HTTP"),
    ],
)  # fmt: skip
def test_what_strangers_answer(sent: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        transport, "EVENT_BYTES", 2000 if b"aaa" in sent or b"a\nd" in sent else 10**6
    )
    with stranger(sent) as server:
        far = RemoteResponder(server.url, "m", key="sk-1234")
        with pytest.raises(RemoteError, match=words) as raised:
            respond.run(far, ASKED)
    assert "sk-1234" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_whole_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ANSWER_BYTES", 50_000)
    with (
        stranger(HEAD + event(delta(content="a")) * 2000) as server,
        pytest.raises(RemoteError, match="an answer has at most 50,000 bytes"),
    ):
        respond.run(RemoteResponder(server.url, "m"), ASKED)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": -5, "completion_tokens": "many"}, (14, 2)),
        ({"prompt_tokens": True, "completion_tokens": 0}, (14, 2)),  # two events had text
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, (MOST_TOKENS, 3)),
        ([1], (14, 2)),
    ],
)
def test_counts_may_be_lies(usage: Any, counts: tuple[int, int]) -> None:
    sent = HEAD + event(delta(content="a")) + event(delta("stop", content="b"))
    sent += event({"model": "other", "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    context = Context()
    with stranger(sent) as server:
        respond.run(RemoteResponder(server.url, "m"), ASKED, context)
    assert (context.record.tokens.prompt, context.record.tokens.written) == counts
    assert context.record.facts["remote_models"] == ["m", "other"]


def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with stranger(waits=True) as server:
        far = RemoteResponder(server.url, "m", timeouts=Timeouts(first=0.1))
        with pytest.raises(RemoteError, match="nothing came for 0 seconds"):
            respond.run(far, ASKED)
    with stranger(HEAD + event(delta(content="a")), waits=True) as server:
        far = RemoteResponder(server.url, "m", timeouts=Timeouts(silence=0.1))
        with pytest.raises(RemoteError, match="nothing came"):
            respond.run(far, ASKED)
    monkeypatch.setattr(remote, "COUNTS_SECONDS", 0.1)
    with stranger(HEAD + event(delta("stop", content="a")), waits=True) as server:
        assert respond.run(RemoteResponder(server.url, "m"), ASKED)[0].text == "a"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match="cannot be reached"):
        respond.run(RemoteResponder(f"http://127.0.0.1:{port}", "m"), ASKED)


def test_cancelling_closes_the_connection() -> None:
    context = Context()
    with stranger(HEAD + event(delta(content="a")), waits=True) as server:

        async def read() -> None:
            with context.running():
                async for _ in RemoteResponder(server.url, "m").respond(ASKED, context):
                    pass

        async def main() -> None:
            work = asyncio.create_task(read())
            await asyncio.to_thread(server.asked.wait, PATIENCE)
            await asyncio.to_thread(context.cancel)
            with pytest.raises(respond.CancelledCallError):
                await asyncio.wait_for(work, PATIENCE)
            assert await asyncio.to_thread(server.left.wait, PATIENCE)

        asyncio.run(main())


def test_a_budget_is_reserved_before_anything_is_sent() -> None:
    with stranger(HEAD + GOOD) as server:
        far = RemoteResponder(server.url, "m")
        with pytest.raises(ConfigError, match="budget"):
            respond.run(far, ASKED, Context(budget=TokenBudget(100)))
        assert server.requests == []
        budget = TokenBudget(2000)
        respond.run(far, ASKED.replace(fill_context=True), Context(budget=budget))
        assert budget.left == 2000 - 9 - 30
        assert server.requests[0][2]["max_tokens"] == Sampling().max_tokens


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://localhost:8080/v1", "here"),
        ("http://127.0.0.1", "here"),
        ("http://[::1]:80/v1", "here"),
        ("http://192.168.1.5:8000/v1", "network"),
        ("http://box.local/v1", "network"),
        ("https://api.example.com/v1", "elsewhere"),
        ("http://8.8.8.8/v1", "elsewhere"),
        ("http://127.0.0.1.example.com/v1", "elsewhere"),
    ],
)
def test_where_an_address_is(url: str, place: str) -> None:
    assert RemoteResponder(url, "m").abilities.place == place


@pytest.mark.parametrize(
    "url",
    ["", "api.example.com", "ftp://a/b", "http://", "http://a:port/", "http://user:key@a/v1",
     "http://a/v1?key=b", "http://a b/", "http://a\r\nX: y/", "http://ä.de/v1", "file:///etc"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError):
        Address.parse(url)


def test_keys_are_read_where_nobody_else_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", " sk-1 ")
    assert read_key(variable="FAR_KEY") == "sk-1"
    assert read_key() is None
    with pytest.raises(ConfigError, match="It is empty"):
        read_key(variable="NO_SUCH_KEY")
    file = tmp_path / "key"
    with pytest.raises(ConfigError, match="expected a file with a key"):
        read_key(file=file)
    file.write_text("sk-2\n")
    file.chmod(0o600)
    assert read_key(file=file) == "sk-2"
    if sys.platform != "win32":
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            read_key(file=file)
        file.chmod(0o600)
    for wrong in ("", "a b", "ключ"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ConfigError, match="printable characters"):
            read_key(file=file)
    with pytest.raises(ConfigError, match="unencrypted"):
        RemoteResponder("http://api.example.com/v1", "m", key="sk-1")
    assert "sk-1" not in repr(vars(RemoteResponder("https://api.example.com/v1", "m")))
    assert os.environ["FAR_KEY"]

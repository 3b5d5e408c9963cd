"""What one request may cost the others."""

import dataclasses
import http.client
import json
import random
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from scripted import Running, ScriptedEngine, serving

from linnet.generate.pooling import EmbeddingRecipe
from linnet.respond.fitting import PIECE, require_fitting
from linnet.serve import Catalog, ServeConfig, Served, protocol, validation
from linnet.serve import app as app_module
from linnet.serve.endpoints.completions import BODY as COMPLETION
from linnet.serve.endpoints.embeddings import BATCH_TEXTS, BATCH_TOKENS, batches, count_tokens
from linnet.serve.endpoints.tokens import DETOKENIZE, DETOKENIZE_BODY, TOKENIZE
from linnet.serve.errors import ApiError
from linnet.serve.keys import KeyLimits, add_key, default_file
from linnet.serve.schemas import MOST_TOKENS, TOKEN, TOKENS
from linnet.serve.service import LARGE_BODY
from linnet.serve.validation import check

PATIENCE = 20.0
"""Seconds, for machines that have much else to do."""


def post(running: Running, path: str, body: Any, key: str = "") -> tuple[int, Any]:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def refused(schema: Any, value: Any) -> str | None:
    try:
        check(schema, value)
    except ApiError as error:
        return error.message
    return None


def test_lists_of_tokens_are_checked_as_each_token_is() -> None:
    chosen = random.Random(1)
    odd = [True, 1.0, 1.5, -1, 2**31, 10**400, "1", None, [1], {}]
    for _ in range(300):
        tokens: list[Any] = [chosen.randrange(2**31) for _ in range(chosen.randrange(1, 6))]
        if chosen.random() < 0.7:
            tokens[chosen.randrange(len(tokens))] = chosen.choice(odd)
        right = all(refused(TOKEN, token) is None for token in tokens)
        assert (refused(TOKENS, tokens) is None) == right, tokens


def test_long_lists_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []

    def counted(schema: Any, value: Any, path: str = "") -> None:
        checks.append(path)
        assert len(checks) < 100, "each token is looked at"
        check(schema, value, path)

    monkeypatch.setattr(validation, "check", counted)
    check(COMPLETION, {"prompt": [7] * MOST_TOKENS})
    check(COMPLETION, {"prompt": [[7] * 5000] * 10})
    for body, schema in (({"tokens": [7] * (MOST_TOKENS + 1)}, DETOKENIZE_BODY),
                         ({"prompt": ["x"] * (MOST_TOKENS + 1)}, COMPLETION)):  # fmt: skip
        checks.clear()
        with pytest.raises(ApiError, match=r"at most \d+ entries"):
            check(schema, body)


def test_large_bodies_are_checked_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def noted(schema: Any, value: Any) -> None:
        threads.append(threading.current_thread().name)
        check(schema, value)

    monkeypatch.setattr(app_module, "check", noted)
    with serving() as running:
        for size in (10, LARGE_BODY):
            assert post(running, "/tokenize", {"content": "a" * size})[0] == 200
            assert post(running, "/tokenize", {"content": 1, "more": "a" * size})[0] == 400
        loop = running.thread.name
    assert threads[:2] == [loop] * 2
    assert all(name.startswith("linnet-checking") for name in threads[2:])
    assert len(threads) == 4


def test_turning_words_is_within_the_limits() -> None:
    few = add_key(default_file(), "few", KeyLimits(requests_per_minute=2))
    with serving() as running:
        told = [
            post(running, "/tokenize", {"content": "ab"}, few),
            post(running, "/detokenize", {"tokens": [97]}, few),
            post(running, "/tokenize", {"content": "ab"}, few),
            post(running, "/detokenize", {"tokens": [97]}, few),
        ]
        assert [status for status, _ in told] == [200, 200, 429, 429]
        assert told[0][1]["tokens"] == [97, 98]
        assert told[1][1]["content"] == "a"
        assert not running.server.service.busy


def test_a_text_that_is_too_long_to_be_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as running:
        for endpoint in (TOKENIZE, DETOKENIZE):
            smaller = dataclasses.replace(endpoint, largest_body=2000)
            methods = running.server._app._router.find(endpoint.path)[0]
            monkeypatch.setitem(methods, "POST", smaller)  # type: ignore[arg-type]
        assert post(running, "/tokenize", {"content": "a" * 2000})[0] == 413
        assert post(running, "/detokenize", {"tokens": [97] * 1000})[0] == 413
        assert post(running, "/tokenize", {"content": "a" * 1500})[1]["count"] == 1500


class SlowEncoder:
    """Takes a while for each piece, and counts them."""

    width = 2
    max_tokens = 100
    recipe = EmbeddingRecipe()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[list[str]] = []

    class tokenizer:
        start = (1,)
        finish = ()

        @staticmethod
        def encode_arrays(texts: list[str]) -> list[Any]:
            return [np.zeros(len(text), dtype=np.uint32) for text in texts]

    def close(self) -> None:
        pass

    def embed(self, texts: list[str], *, prompt: str | None = None) -> Any:
        self.calls.append(texts)
        time.sleep(self.seconds)
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


def embedding(encoder: SlowEncoder, **settings: Any) -> Running:
    models = Catalog([Served("slow", encoder=encoder)])  # type: ignore[arg-type]
    return Running(models, ServeConfig(port=0, log="off", **settings))


def wait_for(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def test_pieces_hold_every_text_once() -> None:
    chosen = random.Random(2)
    counts = [chosen.choice((1, 20, 300, BATCH_TOKENS * 2)) for _ in range(500)]
    found = batches(counts)
    assert sorted(place for piece in found for place in piece) == list(range(500))
    for piece in found:
        assert len(piece) <= BATCH_TEXTS
        assert len(piece) == 1 or sum(counts[place] for place in piece) <= BATCH_TOKENS


def test_vectors_keep_the_order_of_their_texts() -> None:
    encoder = SlowEncoder()
    running = embedding(encoder)
    texts = [chr(97 + place % 26) * (1 + place * 7 % 90) for place in range(200)]
    status, body = post(running, "/v1/embeddings", {"input": texts})
    running.stop()
    assert status == 200
    assert [entry["index"] for entry in body["data"]] == list(range(200))
    assert [entry["embedding"] for entry in body["data"]] == [[len(t), ord(t[0])] for t in texts]
    assert body["usage"]["prompt_tokens"] == sum(len(text) + 1 for text in texts)
    assert len(encoder.calls) > 3


def test_vectors_for_nobody_are_not_computed() -> None:
    encoder = SlowEncoder(0.2)
    running = embedding(encoder)
    place = urlsplit(running.url)
    body = json.dumps({"input": ["a"] * 2048})
    client = socket.create_connection((place.hostname or "", place.port or 0))
    client.sendall(
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    wait_for(lambda: encoder.calls)
    client.close()
    wait_for(lambda: not running.server.service.busy)
    running.stop()
    assert len(encoder.calls) < 2048 / BATCH_TEXTS


def test_vectors_are_not_computed_for_ever_by_a_server_that_stops() -> None:
    encoder = SlowEncoder(0.2)
    running = embedding(encoder, grace=0.1)
    told: list[Any] = []
    texts = {"input": ["a"] * 2048}
    asking = threading.Thread(target=lambda: told.append(post(running, "/v1/embeddings", texts)))
    asking.start()
    wait_for(lambda: encoder.calls)
    running.stop()
    asking.join(PATIENCE)
    assert told[0][0] == 503
    assert told[0][1]["error"]["code"] == "stopping"
    assert len(encoder.calls) < 2048 / BATCH_TEXTS


LONG = "word " * 1_400_000
"""Seven million characters."""


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}, "messages"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a" * 3000}] * 2000},
            "messages",
        ),
        ("/v1/completions", {"prompt": LONG}, "prompt"),
        ("/v1/completions", {"prompt": ["a", LONG]}, "prompt"),
    ],
)
def test_what_cannot_fit_is_not_tokenized(path: str, body: Any, param: str) -> None:
    engine = ScriptedEngine(context=256)
    with serving(engine) as running:
        counted: list[int] = []
        plain = engine.tokenize

        def tokenize(text: str, *, special: bool = False) -> list[int]:
            counted.append(len(text))
            return plain(text, special=special)

        engine.tokenize = tokenize  # type: ignore[method-assign]
        status, answer = post(running, path, body)
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert answer["error"]["param"] == param
        assert sum(counted) <= 2 * PIECE


def test_embeddings_that_cannot_fit_are_not_tokenized() -> None:
    counted: list[int] = []

    class Words:
        start = finish = (1,)

        def encode(self, text: str) -> list[int]:
            counted.append(len(text))
            return [1] * (len(text) // 4)

    class Encoder:
        tokenizer = Words()
        max_tokens = 512
        recipe = EmbeddingRecipe()

    with pytest.raises(ApiError, match="maximum context length is 512"):
        count_tokens(Encoder(), ["a", LONG], None)  # type: ignore[arg-type]
    assert sum(counted) <= 2 * PIECE


def test_a_text_of_no_tokens_may_be_long() -> None:
    require_fitting([" " * 100_000], 256, lambda text: len(text.split()), part="prompt")
    require_fitting(["a" * 500], 256, lambda text: 1000, part="prompt")  # it is counted exactly


def test_large_bodies_have_memory_for_some_at_once() -> None:
    with serving(max_body=8_000_000) as running:
        bodies = running.server.service.doorkeeper.bodies
        whole = bodies.left
        assert whole == 32_000_000
        bodies.take(whole - 1000)
        small = {"messages": [{"role": "user", "content": "hello"}]}
        assert post(running, "/v1/chat/completions", small)[0] == 200
        large = {"messages": [{"role": "user", "content": "hello" * 300}]}
        status, answer = post(running, "/v1/chat/completions", large)
        assert (status, answer["error"]["code"]) == (503, "busy")
        bodies.give_back(whole - 1000)
        assert post(running, "/v1/chat/completions", large)[0] == 200
        until = time.monotonic() + PATIENCE
        while bodies.left != whole:  # given back when the request is over
            assert time.monotonic() < until
            time.sleep(0.01)


def answer_to(running: Running, sent: bytes, *, pieces: int = 1) -> bytes:
    """What comes back, until the connection is closed."""
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as made:
        try:
            for start in range(0, len(sent), max(1, len(sent) // pieces)):
                made.sendall(sent[start : start + max(1, len(sent) // pieces)])
            found = b""
            while data := made.recv(65536):
                found += data
        except (ConnectionResetError, BrokenPipeError):
            return b""
    return found


CHUNKED = b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nhost: localhost\r\na: " + b"a" * 300_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 60_000 + b"\r\n",
        CHUNKED + b"0\r\n" + b"a: b\r\n" * 60_000,
        CHUNKED + b"1;" + b"a" * 300_000,
    ],
    ids=["header", "path", "headers", "trailers", "chunk"],
)
def test_heads_have_a_size(head: bytes) -> None:
    with serving() as running:
        answer = answer_to(running, head, pieces=8)
        assert not answer or b" 431 " in answer or b" 400 " in answer or b" 401 " in answer
        assert len(running.server.service.running) == 0
        assert b"200 OK" in answer_to(
            running, b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nhost: loc"])
def test_heads_have_a_deadline(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with serving() as running:
        assert b" 408 " in answer_to(running, begun)
        whole = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
        both = answer_to(running, whole + begun[:10]) if begun else b"200 OK 408"
        assert b"200 OK" in both  # it is there for the next request on a connection, too

"""A model at an address: what is sent, what is read, and what strangers may answer."""

import asyncio
import dataclasses
import json
import os
import random
import socket
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import ByteLevelBPETokenizer

from linnet import respond
from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond import (
    Answer,
    BudgetExceededError,
    Charge,
    Context,
    ContextFullError,
    ConversationError,
    Decision,
    Failure,
    Price,
    RemoteResponder,
    TokenBudget,
    conversation,
    remote,
    transport,
)
from linnet.respond.address import Address, is_within, read_key, sent_away
from linnet.respond.context import Settle
from linnet.respond.conversation import Tool
from linnet.respond.counts import MOST_TOKENS, Counts, most_prompt_tokens
from linnet.respond.deltas import Deltas
from linnet.respond.dialect import Dialect
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities
from linnet.respond.transport import EventParser, Timeouts
from strangers import (
    DONE,
    HEAD,
    PATIENCE,
    answer,
    call,
    delta,
    event,
    refusal,
    stranger,
    usage,
)

ASKED = conversation([{"role": "user", "content": "Is it raining?"}])
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
        {"tools": (Tool("f"),), "tool_choice": "tool:g"},
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
        ({"prompt_tokens": -5, "completion_tokens": "many"}, (15, 2)),
        ({"prompt_tokens": True, "completion_tokens": 0}, (15, 2)),  # two events had text
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, (MOST_TOKENS, 3)),
        ([1], (15, 2)),
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


HTML = b"<!DOCTYPE html><title>Log in</title>"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
LATE = "429 Slow\r\nRetry-After: "


@pytest.mark.parametrize(
    ("sent", "code", "repeatable", "words"),
    [
        (refusal("503 Busy"), "refused", True, "status 503$"),
        (refusal("400 Bad"), "refused", False, "status 400$"),
        (refusal("404 No"), "refused", False, "status 404$"),
        (refusal("404 No", b'{"detail": "no such path"}'), "refused", False, "no such path$"),
        (refusal("422 No", b'{"detail": [{"loc": ["body", "x"], "msg": "Extra"}]}'),
         "refused", False, "status 422: x: Extra$"),
        (refusal("429 No", b'[{"error": {"message": "later"}}]'), "refused", True, "429: later$"),
        (refusal("429 No", b'{"error": {"code": "insufficient_quota", "message": "pay"}}'),
         "refused", False, "429: pay$"),
        (refusal("500 No\r\nx-should-retry: false"), "refused", False, "status 500$"),
        (refusal("400 No\r\nx-should-retry: true"), "refused", True, "status 400$"),
        (refusal("401 No", b'{"error": "no sk-1234 here"}'), "refused", False,
         r"no \[key\] here$"),
        (refusal("308 Moved\r\nLocation: https://b/"), "refused", False,
         r"redirects are not followed; give the address itself \(https://b/\)$"),
        (refusal("204 None"), "refused", False, "status 204$"),
        (b"", "broken_off", True, "closed without an answer"),
        (HEAD + event(delta(content="a")), "broken_off", True, "before its end"),
        (HEAD + event({"choices": []}) + DONE, "broken_off", True, "no choices"),
        (HEAD + event({"choices": None}) + DONE, "broken_off", True, "no choices"),
        (JSON + b'{"choices": []}', "broken_off", True, "no choices"),
        (JSON + HTML, "malformed", False, "expected JSON or events. Got application/json"),
        (JSON.replace(b"application/json", b"text/html") + HTML, "malformed", False,
         "Got text/html: is this the address"),
        (JSON + b"nonsense", "malformed", False, "expected JSON"),
        (JSON.replace(b"200 OK", b"200 OK\r\nContent-Encoding: gzip") + b"\x1f\x8b", "malformed",
         False, r"compressed \(gzip\)"),
        (JSON + b'{"error": {"message": "overloaded", "code": 529}}', "failed", True,
         "overloaded$"),
        (JSON + b'{"error": {"message": "no money", "code": 402}}', "failed", False, "no money$"),
        (HEAD + event(delta(content="a")) + event({"error": "it broke"}), "failed", True,
         "it broke$"),
        (HEAD + b'event: error\ndata: {"message": "too long"}\n\n', "failed", True, "too long$"),
        (HEAD + event(delta("error", content="a")), "failed", True, "tells of an error"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol", False, "it speaks SSH$"),
        (b"220 mail.example.com ESMTP\r\n", "protocol", False, "it speaks SMTP or FTP$"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "protocol", False, "TLS: write https://$"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), "protocol", False,
         "HTTP/2 only$"),
        (HTML, "protocol", False, "HTML without HTTP$"),
        (b"\x00", "protocol", False, "expected an answer by HTTP"),
    ],
)  # fmt: skip
def test_kinds_of_failure(sent: bytes, code: str, repeatable: bool, words: str) -> None:
    with stranger(sent) as server:
        far = RemoteResponder(server.url, "m", key="sk-1234")
        with pytest.raises(RemoteError, match=words) as raised:
            respond.run(far, ASKED)
    assert (raised.value.code, raised.value.repeatable) == (code, repeatable)
    assert "\x1b" not in str(raised.value)
    assert "sk-1234" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("inf", None), ("nan", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("1\r\nretry-after-ms: 250", 0.25),
     ("9" * 400, None)],
)  # fmt: skip
def test_when_it_may_be_asked_again(header: str, seconds: float | None) -> None:
    with stranger(refusal(LATE + header)) as server, pytest.raises(RemoteError) as raised:
        respond.run(RemoteResponder(server.url, "m"), ASKED)
    assert raised.value.retry_after == seconds


def test_tls_where_there_is_none(tmp_path: Path) -> None:
    with stranger(refusal("400 Bad"), hears=False) as server:
        far = RemoteResponder(server.url.replace("http:", "https:"), "m")
        with pytest.raises(RemoteError, match="it speaks no TLS") as raised:
            respond.run(far, ASKED)
    assert raised.value.code == "protocol"


def calls_of(*given: Any) -> list[Any]:
    return [event(delta(tool_calls=[each])) for each in given]


@pytest.mark.parametrize(
    ("events", "text", "calls", "finish"),
    [
        ([event(delta(content=None)), event(delta(content="a")), event(delta("stop"))],
         "a", [], "stop"),
        ([event({"choices": [{"index": 0, "delta": None}]}), event(delta("stop", content="a"))],
         "a", [], "stop"),
        ([event({"choices": [{"index": None, "delta": {"content": "a"}}]}),
          event({"choices": [{"delta": {}, "finish_reason": "eos"}]})], "a", [], "stop"),
        ([event(delta("length", content="a")), event(delta("stop"))], "a", [], "length"),
        ([event(delta("MAX_TOKENS", content="a"))], "a", [], "length"),
        ([event(delta("", content="a")), event(delta("stop", content="b")),
          event(delta(content="c"))], "abc", [], "stop"),
        ([event(delta(content=[{"type": "text", "text": "a"}, {"type": "thinking"}, 3])),
          event(delta("stop"))], "a", [], "stop"),
        (["\ufeff".encode() + event(delta("stop", content="a"))], "a", [], "stop"),
        ([b"\r\n\r\n" + event(delta("stop", content="a"))], "a", [], "stop"),
        ([b"retry: 3\n: ping\nid: 7\nevent: chunk\n" + event(delta("stop", content="a"))],
         "a", [], "stop"),
        ([b"data: : PROCESSING\n\n" + event(delta("stop", content="a"))], "a", [], "stop"),
        ([b"data:\n\n" + event(delta("stop", content="a"))], "a", [], "stop"),
        ([event({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}],
                 "error": None})], "a", [], "stop"),
        # Calls: "stop" behind them; all at one place; without a place; arguments as an object.
        ([*calls_of(call(0, name="f", arguments="{}")), event(delta("stop"))],
         "", [("f", "{}")], "tool_calls"),
        ([*calls_of(call(0, name="f", arguments="{}"),
                    {**call(0, name="g", arguments="{}"), "id": "c9"}), event(delta("stop"))],
         "", [("f", "{}"), ("g", "{}")], "tool_calls"),
        ([*calls_of({"function": {"name": "f", "arguments": '{"a"'}},
                    {"function": {"arguments": ": 1}"}},
                    {"function": {"name": "f", "arguments": "{}"}}), event(delta("tool_calls"))],
         "", [("f", '{"a": 1}'), ("f", "{}")], "tool_calls"),
        ([*calls_of(call(0, name="f", arguments={"a": 1}), None), event(delta("tool_calls"))],
         "", [("f", '{"a": 1}')], "tool_calls"),
    ],
)  # fmt: skip
def test_what_is_forgiven(
    events: list[bytes], text: str, calls: list[tuple[str, str]], finish: str
) -> None:
    with stranger(HEAD + b"".join(events) + DONE) as server:
        (given,) = respond.run(RemoteResponder(server.url, "m"), ASKED)
    assert given.text == text
    assert [(made.name, made.arguments) for made in given.tool_calls] == calls
    assert given.finish_reason == finish
    assert sum(isinstance(piece, respond.Finish) for piece in given.pieces) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"text/plain", answer("a")[len(HEAD) :]),
        (b"application/json; charset=utf-8", answer("a")[len(HEAD) :]),
        (b"text/event-stream", json.dumps(
            {"choices": [{"message": {"content": "a"}}]}, indent=1).encode()),
        (b"x", b'\n{"choices": [{"message": {"content": "a"}, "finish_reason": null}]}\n'),
    ],
)  # fmt: skip
def test_what_an_answer_calls_itself_does_not_matter(kind: bytes, body: bytes) -> None:
    head = HEAD.replace(b"text/event-stream", kind)
    for pieces in ((head + body,), (head, body[:1], body[1:2], body[2:])):
        with stranger(*pieces) as server:
            (given,) = respond.run(RemoteResponder(server.url, "m"), ASKED)
        assert (given.text, given.finish_reason) == ("a", "stop")


class Books:
    """A ledger that knows what was reserved and settled."""

    def __init__(self, left: int = 10**18) -> None:
        self.left = left
        self.charges: list[Charge] = []
        self.settled: list[tuple[int, int]] = []
        self.keys: list[str | None] = []

    def budget(self, key: str | None) -> "Books":
        self.keys.append(key)
        return self

    def reserve(self, charge: Charge) -> Settle:
        if charge.cost > self.left:
            left = self.left - charge.price.prompt * charge.prompt
            raise BudgetExceededError("no more", writable=max(0, left // charge.price.written))
        self.charges.append(charge)
        return lambda tokens, cost: self.settled.append((tokens, cost))


PRICE = Price(prompt=10, cached=1, written=100)
LONG = conversation([{"role": "user", "content": "Is it raining in Ulm? " * 100}])
"""2,200 bytes, 1,700 without spaces: some 600 tokens."""


@pytest.mark.parametrize(
    ("sent", "used", "cost", "told"),
    [
        (answer("It ", "is."), 9 + 5, 90 + 500, []),
        # In the last event with a choice; with every event; before the text.
        (HEAD + event({**delta("stop", content="It is."), **usage(9, 5, x=3), "choices": [
            {"delta": {"content": "It is."}, "finish_reason": "stop"}]}) + DONE, 14, 590, []),
        (HEAD + event({**delta(content="It"), "usage": {"prompt_tokens": 9,
                                                        "completion_tokens": 1}})
         + event({**delta("stop", content=" is."), "usage": {"prompt_tokens": 9,
                                                             "completion_tokens": 5}}) + DONE,
         14, 590, []),
        (HEAD + event(usage(9.0, 5.0)) + event(delta("stop", content="It is.")) + DONE,
         14, 590, []),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 5, prompt_tokens_details={"cached_tokens": 4})) + DONE,
         14, 5 * 10 + 4 + 500, []),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 500, completion_tokens_details={"reasoning_tokens": 495})),
         509, 90 + 50_000, ["at most 256 were allowed; theirs are counted"]),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 5, prompt_tokens_details={"cached_tokens": 400})) + DONE,
         14, 9 + 500, ["read again than were read"]),
        # Missing: some more than likely.
        (answer("It ", "is.", counts=None), 15 + 3, 150 + 300, []),
        (HEAD + event(delta("stop", content="It is raining again. " * 4)) + DONE,
         15 + 42, 150 + 4200, []),
        (answer("It ", "is.", counts=(0, 0)), 18, 450, []),
        # Lies.
        (answer(*["It is. "] * 90, counts=(9, 3)), 9 + 256, 90 + 25_600,
         ["3 tokens were written, but the 630 bytes that came have at least 90; 256 are"]),
        (answer(*["It is. "] * 9, counts=(9, 3)), 9 + 32, 90 + 3200, ["have at least 9; 32 are"]),
        (answer("It ", "is.", counts=(90_000, 5)), 90_005, 900_000 + 500,
         ["90,000 tokens were read, but what was sent has at most"]),
        (answer("It ", "is.", counts=(9, 10**30)), 9 + MOST_TOKENS, 90 + 10**11,
         ["at most 256 were allowed"]),
    ],
)  # fmt: skip
def test_what_is_billed(sent: bytes, used: int, cost: int, told: list[str]) -> None:
    books, context = Books(), Context(key="anna")
    with stranger(sent) as server:
        far = RemoteResponder(server.url, "m", price=PRICE, ledger=books)
        (given,) = respond.run(far, ASKED, context)
        size = len(json.dumps(server.requests[0][2], ensure_ascii=False))
    assert books.settled == [(used, cost)]
    assert context.record.cost == cost
    tokens = context.record.tokens
    assert tokens.prompt + tokens.written == used
    assert tokens.cached <= tokens.prompt
    (charge,) = books.charges
    assert (charge.model, charge.written, books.keys) == ("m", 256, ["anna"])
    assert size < charge.prompt < size + 1000
    failures = [piece for piece in given.pieces if isinstance(piece, Failure)]
    assert len(failures) == len(told)
    for failure, words in zip(failures, told, strict=True):
        assert words in failure.text
        assert failure.code == "usage"


def test_both_counts_are_kept_where_they_differ() -> None:
    for counts, kept in (
        ((9, 5), None),
        ((9, 1), [{"told": {"prompt": 9, "written": 1}, "counted": {"prompt": 9, "written": 70}}]),
        (None, [{"told": {"prompt": 0, "written": 0}, "counted": {"prompt": 15, "written": 70}}]),
    ):
        context = Context()
        texts = ["It is. "] * (2 if kept is None else 20)
        with stranger(answer(*texts, counts=counts)) as server:
            respond.run(RemoteResponder(server.url, "m"), ASKED, context)
        assert context.record.facts.get("counts") == kept


@pytest.mark.parametrize(
    ("sent", "asked", "used"),
    [
        (refusal("503 Busy"), ASKED, 0),
        (refusal("400 Bad"), ASKED, 0),
        (refusal("302 Found"), ASKED, 0),
        (JSON + b'{"error": {"message": "overloaded", "code": 529}}', ASKED, 0),
        (b"", ASKED, 15),  # it may have been computed
        (HEAD, ASKED, 15),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ASKED, 15),
        (HEAD + b"".join(event(delta(content="It is. ")) for _ in range(9)), ASKED, 15 + 32),
        (HEAD + event(delta(content="It is. ")) + event(usage(20, 7)), ASKED, 27),
        (HEAD + event(delta(content="It ")) + b"data: {nonsense\n\n", ASKED, 15 + 2),
        (HEAD + event(delta(content="It ")) + event({"error": "it broke"}), ASKED, 15 + 2),
        (HEAD, LONG, 1100 + 8),
        (HEAD + event(usage(3, 0)), LONG, 1100 + 8),  # no prompt that long has 3
        (HEAD + event(usage(500, 0)), LONG, 500),
    ],
)  # fmt: skip
def test_an_answer_that_fails_is_billed_for_what_came(
    sent: bytes, asked: respond.Conversation, used: int
) -> None:
    books, context = Books(), Context()
    with stranger(sent) as server, pytest.raises(RemoteError):
        respond.run(RemoteResponder(server.url, "m", ledger=books), asked, context)
    assert [tokens for tokens, _ in books.settled] == [used]
    assert context.record.tokens.prompt + context.record.tokens.written == used


def test_nothing_is_billed_where_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    books = Books()
    with pytest.raises(RemoteError) as raised:
        respond.run(RemoteResponder(f"http://127.0.0.1:{port}", "m", ledger=books), ASKED)
    assert (raised.value.code, raised.value.repeatable) == ("unreachable", True)
    assert books.settled == [(0, 0)]


def test_whoever_leaves_pays_for_what_came() -> None:
    books, context = Books(), Context()
    with stranger(HEAD + event(delta(content="It is. ")) * 5, waits=True) as server:
        far = RemoteResponder(server.url, "m", ledger=books)
        for piece in respond.stream(far, ASKED, context):
            if isinstance(piece, respond.Text):
                break
        assert books.settled[0][0] in range(15 + 4, 15 + 19)
        far = RemoteResponder(server.url, "m", ledger=books, bills_unread=True)
        next(pieces := respond.stream(far, ASKED))
        pieces.close()
        assert books.settled[1] == (15 + 256, 0)


SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"


def tokenizers_of_others() -> Iterator[Callable[[str], list[str]]]:
    """GPT-2's and Llama's: of a text its tokens, each as it is written."""
    folder = SHARED / "tokenizers"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    gpt2 = ByteLevelBPETokenizer(
        str(folder / "gpt2" / "vocab.json"), str(folder / "gpt2" / "merges.txt")
    )
    yield lambda text: [text[start:end] for start, end in gpt2.encode(text).offsets]
    llama = SentencePieceProcessor(model_file=str(folder / "llama" / "tokenizer.model"))
    yield lambda text: [piece.replace("▁", " ") for piece in llama.encode(text, out_type=str)]


def test_no_honest_count_is_doubted() -> None:
    """Of documents of all kinds, however their tokens are put into events."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    files = [*(SHARED / "documents").glob("*.*"), SHARED / "tinystories" / "val.txt"]
    texts = [
        text
        for file in files
        if file.suffix in (".txt", ".md", ".json", ".html", ".csv", ".rst", ".org", ".xml")
        and "\0" not in (text := file.read_bytes()[:1000].decode("utf-8", "ignore"))
    ]
    estimated = real = 0
    for tokens in tokenizers_of_others():
        for text in filter(None, texts):
            pieces = tokens(text)
            asked = conversation([{"role": "user", "content": text}])
            counts = Counts.of(asked)
            counts.most_prompt = most_prompt_tokens(text.encode())
            estimated, real = estimated + counts.prompt, real + len(pieces)
            for size in (1, 3, 1000):
                counts = dataclasses.replace(counts, events=0, received=0, dense=0)
                for start in range(0, len(pieces), size):
                    counts.came("".join(pieces[start : start + size]))
                counts.told({"prompt_tokens": len(pieces), "completion_tokens": len(pieces)})
                assert counts.doubts("far") == []
    assert real < estimated < 2 * real  # where no count is told


@pytest.mark.parametrize("text", ["raining", "regnet ß ", "下雨 ", "ﷺ ", "\U0001f327", "\x00"])
def test_no_prompt_has_more_tokens_than_are_reserved(text: str) -> None:
    asked = conversation([{"role": "user", "content": text * 50}] * 20)
    body = Dialect("m", "a", Abilities("m", 0), limit="max_tokens").form(asked, 5).body
    for form in ("NFC", "NFKC"):  # bytes are the most that any tokenizer makes of a text
        texts = [unicodedata.normalize(form, message.text) for message in asked.messages]
        assert sum(len(text.encode()) + 16 for text in texts) < most_prompt_tokens(body)


def test_an_answer_is_cut_to_what_the_budget_has() -> None:
    with stranger(answer("It is.", counts=(9, 50), finish="length")) as server:
        books = Books(left=20_000)
        far = RemoteResponder(server.url, "m", price=PRICE, ledger=books)
        (given,) = respond.run(far, ASKED)
        longest = server.requests[0][2]["max_tokens"]
        assert 32 <= longest < 256
        assert books.charges[0].cost <= 20_000
        assert given.finish_reason == "length"
        (told,) = [piece for piece in given.pieces if isinstance(piece, Decision)]
        assert (told.subject, told.outcome) == ("budget", f"at most {longest} tokens of an answer")
        for left, asked in ((9000, ASKED), (0, ASKED), (9000, ASKED.replace(choices=3))):
            with pytest.raises(BudgetExceededError):
                respond.run(
                    RemoteResponder(server.url, "m", price=PRICE, ledger=Books(left)), asked
                )
        few = ASKED.replace(sampling=Sampling(max_tokens=3))
        respond.run(RemoteResponder(server.url, "m", price=PRICE, ledger=Books(10_000)), few)
        assert len(server.requests) == 2
        # Both the budget of the call and the ledger must have it; what one has is given back.
        budget = TokenBudget(5000)
        with pytest.raises(BudgetExceededError):
            respond.run(
                RemoteResponder(server.url, "m", price=PRICE, ledger=Books(0)), ASKED,
                Context(budget=budget),
            )  # fmt: skip
        assert budget.left == 5000


@pytest.mark.parametrize(
    "sent",
    [
        [event(delta(content="It is. "))] * 5000,
        [event(delta(reasoning_content="Hm. Hm. "))] * 5000,
        [event(delta(content="It is. " * 100))] * 50,
        [event(delta(content="It is. ")), event(usage(9, 21)), event(delta(content="b"))],
        calls_of(*[call(0, name="f", arguments="It is. ")] * 5000),
    ],
)
def test_who_writes_on_beyond_the_limit_is_cut_off(sent: list[bytes]) -> None:
    books, context = Books(), Context(interval=0)
    asked = ASKED.replace(sampling=Sampling(max_tokens=10), choices=2)
    with stranger(HEAD, *sent, waits=True) as server:
        far = RemoteResponder(server.url, "m", ledger=books)
        given = Answer()
        for piece in respond.stream(far, asked, context):
            if piece.choice == 0:
                given.add(piece)
        assert server.left.wait(PATIENCE)
    assert given.finish_reason == "length"
    assert [piece.code for piece in given.pieces if isinstance(piece, Failure)][:1] == [
        "beyond_limit"
    ]
    assert len(given.text) <= 700
    ((used, _),) = books.settled
    assert used > 9 + 20


@pytest.mark.parametrize(
    ("given", "score"),
    [(-0.5, -0.5), (-1, -1.0), (0, 0.0), (float("nan"), -9999.0), (float("-inf"), -9999.0),
     (10**400, -9999.0), ("-1", -9999.0), (None, -9999.0), (1e-6, 1e-6)],
)  # fmt: skip
def test_log_probabilities_are_numbers(given: Any, score: float) -> None:
    scored = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop", "logprobs": {
        "content": [{"token": "a", "logprob": given, "top_logprobs": [None]}]}}]}  # fmt: skip
    with stranger(HEAD + event(scored) + DONE) as server:
        (given_out,) = respond.run(RemoteResponder(server.url, "m"), ASKED)
    assert [each.logprob for each in given_out.scores] == [score]


ODD = (None, True, -1, 0, 7, 10**30, 1e300, float("nan"), "", "stop", "\ud800", [], [None], {},
       [[]], {"index": 0}, "length", "\x1b[2J")  # fmt: skip


def altered(value: Any, draw: random.Random) -> Any:
    """The same JSON with something in it that should not be there."""
    if draw.random() < 0.06:
        return draw.choice(ODD)
    if isinstance(value, dict):
        return {key: altered(inner, draw) for key, inner in value.items() if draw.random() > 0.03}
    return [altered(inner, draw) for inner in value] if isinstance(value, list) else value


def test_whatever_strangers_write_is_read_or_refused() -> None:
    draw = random.Random(5)
    scored = {"content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [
        {"token": "b", "logprob": -2, "bytes": None}]}]}  # fmt: skip
    events = [
        delta(role="assistant", content=""), delta(reasoning_content="Hm.", refusal="No."),
        {"model": "m", "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": scored}]},
        delta(content=[{"type": "text", "text": "a"}]), delta(content="b"),
        delta(tool_calls=[call(0, name="f", arguments='{"a"')]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}},
                          {**call(1), "custom": {"name": "g", "input": "a"}}]),
        delta("tool_calls"),
        usage(9, 30, prompt_tokens_details={"cached_tokens": 4}),
    ]  # fmt: skip
    ends = Counter[str]()
    for _ in range(400):
        sent = b"".join(event(altered(each, draw)) for each in events) + DONE
        if draw.random() < 0.2:
            place = draw.randrange(len(sent))
            sent = sent[:place] + draw.randbytes(2) + sent[place + draw.randrange(9) :]
        parser, counts = EventParser("a"), Counts(100, 80, 2, limit=256)
        deltas = Deltas(1, respond.Origin("model", "m"), "a", counts, streams=draw.random() < 0.5)
        given = Answer()
        try:
            for found in parser.push(sent):
                for piece in deltas.read(found):
                    given.add(piece)
            for piece in [*counts.doubts("a"), *deltas.finish()]:
                given.add(piece)
        except RemoteError as error:
            ends[error.code if str(error).isprintable() else "unprintable"] += 1
            continue
        ends["read"] += 1
        assert sum(isinstance(piece, respond.Finish) for piece in given.pieces) == 1
        assert counts.cached <= counts.prompt
        assert counts.written >= counts.least_written
        shown = [piece.as_json() for piece in given.pieces]
        json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()
    assert ends.keys() == {"read", "broken_off", "malformed"}
    assert ends["read"] > 50


def test_an_answer_with_many_small_pieces_is_put_together() -> None:
    deltas = Deltas(1, respond.Origin("model", "m"), "a", Counts(0, 0, 0), streams=True)
    began = call(0, name="f", arguments="")
    deltas.read(delta(tool_calls=[began]))
    for number in range(2000):
        piece = {"index": 0, "function": {"arguments": "a"}}
        deltas.read({**delta(tool_calls=[piece]), "model": f"m{number}"})
    assert deltas.models == ["m", *(f"m{number}" for number in range(7))]
    deltas.read(delta("stop"))
    (made, *_) = deltas.finish()
    assert isinstance(made, respond.ToolCall)
    assert made.arguments == "a" * 2000


def test_an_address_that_changes_its_model() -> None:
    first, second = answer("a"), answer("a").replace(b'"m"', b'"n"')
    both = HEAD + event(delta(content="a")) + second[len(HEAD) :]
    with stranger(answers=[first, first, second, second, both, first]) as server:
        far = RemoteResponder(server.url, "m")
        told = []
        for _ in range(6):
            context = Context()
            (given,) = respond.run(far, ASKED, context)
            told.append(
                ([piece.outcome.partition(" ")[2] for piece in given.pieces
                  if isinstance(piece, Decision)], context.record.facts.get("remote_models"))
            )  # fmt: skip
    assert told == [
        ([], None), ([], None), (["answers with n"], ["m", "n"]), ([], ["m", "n"]),
        (["answers with m and n"], ["m", "n"]), (["answers with m"], None),
    ]  # fmt: skip


def refuses(**error: Any) -> bytes:
    return refusal("400 Bad Request", json.dumps({"error": error}).encode())


NEWER = refuses(
    message="Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
    param="max_tokens", code="unsupported_parameter",
)  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "gone", "there", "told"),
    [
        (NEWER, "max_tokens", "max_completion_tokens", []),
        (refuses(message="Unsupported value: 'temperature' does not support 0.8 with this model.",
                 param="temperature"), "temperature", "max_tokens", ["left out temperature"]),
        (refuses(message="Unrecognized request argument supplied: stream_options"),
         "stream_options", "stream", []),
        (refuses(message="property 'frequency_penalty' is unsupported"), "frequency_penalty",
         "temperature", []),
        (refuses(message="`temperature` and `top_p` cannot both be specified for this model."),
         "top_p", "temperature", []),
        (refusal("422 No", json.dumps({"detail": [
            {"type": "extra_forbidden", "loc": ["body", "stream_options"],
             "msg": "Extra inputs are not permitted"}]}).encode()), "stream_options", "stream", []),
        (refusal("422 No", json.dumps({"object": "error", "message": {"detail": [
            {"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"],
             "msg": "Extra inputs are not permitted", "input": True}]},
            "type": "invalid_request_error", "param": None, "code": None}).encode()),
         "stream_options", "stream", []),
        (refuses(message="Unsupported value: 'stream' does not support true with this model.",
                 param="stream", code="unsupported_value"), "stream", "max_tokens", []),
    ],
)  # fmt: skip
def test_parameters_that_are_refused_are_learned(
    refused: bytes, gone: str, there: str, told: list[str]
) -> None:
    books = Books()
    with stranger(answers=[refused, answer("a")]) as server:
        far = RemoteResponder(server.url, "m", ledger=books)
        for _ in range(2):
            (given,) = respond.run(far, ASKED)
            assert [piece.outcome for piece in given.pieces if isinstance(piece, Decision)] == told
        bodies = [body for _, _, body in server.requests]
    assert [gone in body for body in bodies] == [True, False, False]
    assert all(there in body for body in bodies[1:])
    assert books.settled == [(0, 0), (14, 0), (14, 0)]


def test_calls_at_once_learn_together() -> None:
    dialect = Dialect("m", "a", Abilities("m", 0), limit="max_tokens")
    sent, sampling = dialect.form(ASKED, 5), Sampling()
    for said in (
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "Unsupported parameter: 'top_p'",
    ):
        error = RemoteError(said, status=400)
        assert [dialect.learn(error, sent, sampling) for _ in range(3)] == [True] * 3
        now = dialect.form(ASKED, 5)
        assert not dialect.learn(error, now, sampling)
    assert sent.names - now.names == {"max_tokens", "top_p"}
    assert now.names - sent.names == {"max_completion_tokens"}


@pytest.mark.parametrize(
    "refused",
    [
        refuses(message="temperature must be at most 1", param="temperature"),
        refuses(message="max_tokens is too large: 256. This model supports at most 16.",
                param="max_tokens"),
        refuses(message="Unsupported parameter: 'messages'", param="messages"),
        refuses(message="Unsupported parameter: 'stop' is not supported", param="stop"),
        refuses(message="The model does not exist", code="model_not_found"),
        refusal("401 No", b'{"error": {"message": "Unknown temperature"}}'),
    ],
)  # fmt: skip
def test_what_an_answer_cannot_do_without_is_refused(refused: bytes) -> None:
    with stranger(answers=[refused, answer("a")]) as server:
        with pytest.raises(RemoteError, match="status 4"):
            respond.run(RemoteResponder(server.url, "m"), ASKED)
        assert len(server.requests) == 1
    with stranger(NEWER) as server:  # it refuses the other one, too: nothing is sent without limit
        with pytest.raises(RemoteError):
            respond.run(RemoteResponder(server.url, "m"), ASKED)
        limits = [body.keys() & {"max_tokens", "max_completion_tokens"}
                  for _, _, body in server.requests]  # fmt: skip
    assert limits == [{"max_tokens"}, {"max_completion_tokens"}]


@pytest.mark.parametrize(
    "refused",
    [
        refuses(message="too much", code="context_length_exceeded"),
        refuses(message="This model's maximum context length is 8192 tokens. However, ..."),
        refuses(message="prompt is too long: 210000 tokens > 200000 maximum"),
        refuses(message="the request exceeds the available context size"),
        refuses(message="The input token count (9) exceeds the maximum of 8"),
    ],
)
def test_a_conversation_that_is_too_long_is_the_askers_fault(refused: bytes) -> None:
    with stranger(refused) as server:
        with pytest.raises(ConversationError, match="is too long for the model") as raised:
            respond.run(RemoteResponder(server.url, "m"), ASKED)
        assert (raised.value.code, raised.value.part) == ("context_length_exceeded", "messages")
        small = RemoteResponder(server.url, "m", abilities=Abilities("m", 100))
        with pytest.raises(ContextFullError, match="at least 106 tokens"):
            respond.run(small, LONG)
        assert len(server.requests) == 1


def test_what_a_model_cannot_do_is_not_sent() -> None:
    can = Abilities("far", 0, "here", tools=False, constraints=False, logprobs=False)
    with stranger(answer("a")) as server:
        far = RemoteResponder(
            server.url, "m", abilities=can, longest=9, limit_name="max_completion_tokens"
        )
        for part, changes in (
            ("tools", {"tools": (respond.Tool("f"),)}),
            ("response_format", {"constraint": Constraint("json_schema", "{}")}),
            ("logprobs", {"logprobs": True}),
        ):
            with pytest.raises(ConfigError, match=r"'far' at 127\.0\.0\.1") as raised:
                respond.run(far, ASKED.replace(**changes))
            assert raised.value.part == part
        assert server.requests == []
        context = Context()
        respond.run(far, ASKED.replace(fill_context=True), context)
        assert server.requests[0][2]["max_completion_tokens"] == 9
    assert context.record.model == "far"


def test_a_drip_has_an_end() -> None:
    with stranger(HEAD + b": still here\n\n" * 50, waits=True) as server:
        far = RemoteResponder(server.url, "m", timeouts=Timeouts(answer=0.2))
        with pytest.raises(RemoteError, match="did not end within 0 seconds") as raised:
            respond.run(far, ASKED)
    assert raised.value.code == "timeout"


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
    ("number", "here", "network"),
    [
        ("127.0.0.1", True, True), ("::1", True, True), ("::ffff:127.0.0.1", True, True),
        ("192.168.1.5", False, True), ("10.0.0.1", False, True), ("100.64.0.1", False, True),
        ("fe80::1%eth0", False, True), ("fd00::1", False, True), ("8.8.8.8", False, False),
        ("::ffff:8.8.8.8", False, False), ("2606:4700::1", False, False),
        ("box.lan", True, True),
    ],
)  # fmt: skip
def test_how_far_a_number_is(number: str, here: bool, network: bool) -> None:
    assert (is_within(number, "here"), is_within(number, "network")) == (here, network)
    assert is_within(number, "elsewhere")


def test_nothing_is_sent_where_a_name_turns_out_to_be_of_another_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "is_within", lambda number, place: place == "elsewhere")
    sent: list[bytes] = []
    write = asyncio.StreamWriter.write
    monkeypatch.setattr(
        asyncio.StreamWriter, "write", lambda own, data: sent.append(data) or write(own, data)
    )
    with stranger(answer("yes"), hears=False) as server:
        far = RemoteResponder(server.url, "m", abilities=Abilities("m", 0, "network"))
        with pytest.raises(RemoteError, match="nothing was sent"):
            respond.run(far, ASKED)
        assert sent == []
        far = RemoteResponder(server.url, "m", abilities=Abilities("m", 0, "elsewhere"))
        respond.run(far, ASKED)
        assert sent


def test_what_is_said_before_something_is_sent_that_no_policy_is_about() -> None:
    said = sent_away("https://api.example.com/v1", "passages")
    assert said is not None
    assert said.startswith("api.example.com:443 is outside this network: passages are sent there")
    assert "is in this network" in (sent_away("http://box.lan/v1", "passages") or "")
    assert sent_away("http://127.0.0.1:8080/v1", "passages") is None


@pytest.mark.parametrize(
    "sent",
    [refusal("400 Bad", b'{"error": {"message": "Rex is not json"}}'),
     HEAD + event({"error": {"message": "Rex is not json"}}),
     JSON + b'{"error": {"message": "Rex is not json"}}'],
)  # fmt: skip
def test_what_is_logged_of_an_error_has_no_words_of_another_server(sent: bytes) -> None:
    with stranger(sent) as server, pytest.raises(RemoteError, match="Rex is not json") as raised:
        respond.run(RemoteResponder(server.url, "m"), ASKED)
    assert raised.value.unquoted.startswith("127.0.0.1")
    assert "Rex" not in raised.value.unquoted


def test_people_copy_all_of_an_address() -> None:
    assert (
        Address.parse("https://a/v1/chat/completions/").path == Address.parse("https://a/v1").path
    )
    with stranger(refusal("404 No")) as server, pytest.raises(RemoteError, match="end with /v1"):
        respond.run(RemoteResponder(server.url.removesuffix("/v1"), "m"), ASKED)


@pytest.mark.parametrize(
    "url",
    ["", "api.example.com", "ftp://a/b", "http://", "http://a:port/", "http://user:key@a/v1",
     "http://a/v1?key=b", "http://a b/", "http://a\r\nX: y/", "http://ä.de/v1", "http://a/ä", "file:///etc"],
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

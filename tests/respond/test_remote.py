"""A model at an address: what is sent, what is read, and what strangers may answer."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from remote_asked import ASKED, GOOD, calls_of

from linnet import respond
from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond import Answer, Context, Decision, RemoteResponder, conversation
from linnet.respond.conversation import Tool
from linnet.respond.counts import Counts
from linnet.respond.deltas import Deltas
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities
from linnet.respond.transport import EventParser
from strangers import DONE, HEAD, PATIENCE, answer, call, delta, event, stranger, usage


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

"""What a model at an address refuses is learned, and not sent again."""

import json
from typing import Any

import pytest
from remote_asked import ASKED, LONG, Books

from linnet import respond
from linnet.generate.sampling import Sampling
from linnet.respond import ContextFullError, ConversationError, Decision, RemoteResponder
from linnet.respond.dialect import Dialect
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities
from strangers import answer, refusal, stranger


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

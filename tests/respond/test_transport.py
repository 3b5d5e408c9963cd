"""Connections to strangers: whatever comes back, or does not, ends in one line."""

import asyncio
import socket
from pathlib import Path

import pytest
from remote_asked import ASKED, JSON

from linnet import respond
from linnet.respond import RemoteResponder, remote, transport
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities
from linnet.respond.transport import Timeouts
from strangers import DONE, HEAD, answer, call, delta, event, refusal, stranger


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


HTML = b"<!DOCTYPE html><title>Log in</title>"
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


def test_a_drip_has_an_end() -> None:
    with stranger(HEAD + b": still here\n\n" * 50, waits=True) as server:
        far = RemoteResponder(server.url, "m", timeouts=Timeouts(answer=0.2))
        with pytest.raises(RemoteError, match="did not end within 0 seconds") as raised:
            respond.run(far, ASKED)
    assert raised.value.code == "timeout"


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

"""Who may come in, what they may cost, and what they never get to see."""

import contextlib
import http.client
import json
import logging
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from scripted import Running, ScriptedEngine, serving

from linnet.errors import ConfigError
from linnet.serve import ServeConfig
from linnet.serve.errors import ApiError, without_paths
from linnet.serve.keys import (
    KeyLimits,
    KeyRing,
    add_key,
    default_file,
    key_ring,
    read_keys,
    revoke_key,
)
from linnet.serve.limits import Bucket, Doorkeeper

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def ask(
    running: Running,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    body: Any = CHAT,
    **headers: str,
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body, as they are."""
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    if data is not None and method == "POST":
        sent.setdefault("Content-Type", "application/json")
    connection.request(method, path, data if method == "POST" else None, sent)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    connection.close()
    return found


def error(body: str) -> Any:
    found = json.loads(body)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def test_a_key_is_asked_for_once_there_is_one() -> None:
    key = add_key(default_file(), "mine")
    with serving() as running:
        status, headers, body = ask(running)
        assert (status, error(body)["code"]) == (401, "invalid_api_key")
        assert headers["www-authenticate"] == "Bearer"
        assert ask(running, Authorization="Bearer wrong")[0] == 401
        assert ask(running, Authorization=f"Bearer {key}")[0] == 200
        assert ask(running, Authorization=f"Basic {key}")[0] == 401
        for path in ("/v1/models", "/metrics"):
            assert ask(running, "GET", path)[0] == 401
        for path in ("/health", "/openapi.json"):
            assert ask(running, "GET", path)[0] == 200
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="bad", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        revoke_key(default_file(), "mine")
        until = time.monotonic() + 20
        while ask(running, Authorization=f"Bearer {key}")[0] == 200:
            assert time.monotonic() < until, "a revoked key still works"
            time.sleep(0.1)
        assert ask(running)[0] == 401  # the last key's end does not open the door


def test_the_first_key_closes_the_door_of_a_running_server() -> None:
    with serving() as running:
        assert ask(running)[0] == 200
        key = add_key(default_file(), "mine")
        until = time.monotonic() + 20
        while ask(running)[0] == 200:  # nobody presents a key
            assert time.monotonic() < until, "a new key is not noticed"
            time.sleep(0.1)
        assert ask(running)[0] == 401
        assert ask(running, Authorization=f"Bearer {key}")[0] == 200


def test_keys_given_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_API_KEY", "from-the-environment")
    with serving(api_key="given-by-option") as running:
        for key in ("from-the-environment", "given-by-option"):
            assert ask(running, Authorization=f"Bearer {key}")[0] == 200
        assert ask(running)[0] == 401


def test_a_key_of_the_environment_follows_the_rules_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LINNET_API_KEY", "short")
    with pytest.raises(ConfigError, match=r"LINNET_API_KEY.* 8 characters") as raised:
        key_ring(ServeConfig())
    assert "Got short" not in str(raised.value)
    monkeypatch.setenv("LINNET_API_KEY", "")
    assert not key_ring(ServeConfig()).required


def test_other_machines_are_not_let_in_without_keys() -> None:
    with pytest.raises(ConfigError, match=r"at 0\.0\.0\.0 others can reach .* 'linnet keys add"):
        key_ring(ServeConfig(host="0.0.0.0"))
    assert not key_ring(ServeConfig(host="0.0.0.0", without_keys=True)).required
    key_ring(ServeConfig(host="0.0.0.0", api_key="long enough"))
    with pytest.raises(ConfigError, match="there are no keys; make one"):
        key_ring(ServeConfig(keys=Path("absent.json")))


def test_without_keys_nobody_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    add_key(default_file(), "mine")
    monkeypatch.setenv("LINNET_API_KEY", "from-the-environment")
    with serving(without_keys=True) as running:
        assert ask(running)[0] == 200
        assert ask(running, Authorization="Bearer of-another-server")[0] == 200
    for given in ({"api_key": "long enough"}, {"keys": default_file()}):
        with pytest.raises(ConfigError, match="give one of the two"):
            key_ring(ServeConfig(without_keys=True, **given))


def test_the_file_of_keys_tells_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "keys.json"
    key = add_key(file, "mine", KeyLimits(concurrent=2))
    assert key not in file.read_text("utf-8")
    assert len(key) > 40
    assert file.stat().st_mode & 0o077 == 0
    assert [(k.name, k.limits.concurrent) for k in read_keys(file)] == [("mine", 2)]
    assert add_key(file, "other") != key
    with pytest.raises(ConfigError, match="'mine'"):
        add_key(file, "mine")
    with pytest.raises(ConfigError, match="no key named 'x'; there are: mine, other"):
        revoke_key(file, "x")
    for damage in ("[]", "{", '{"format": 1, "keys": 3}', '{"format": 1, "keys": [{"name": 1}]}'):
        file.write_text(damage)
        with pytest.raises(ConfigError, match=r"expected|missing"):
            read_keys(file)


def test_a_key_may_be_limited() -> None:
    few = add_key(default_file(), "few", KeyLimits(requests_per_minute=2))
    short = add_key(default_file(), "short", KeyLimits(tokens_per_minute=20))
    one = add_key(default_file(), "one", KeyLimits(concurrent=1))
    engine = ScriptedEngine()
    with serving(engine) as running:
        assert [ask(running, Authorization=f"Bearer {few}")[0] for _ in range(3)] == [200, 200, 429]
        status, headers, body = ask(running, Authorization=f"Bearer {few}")
        assert (status, error(body)["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(headers["retry-after"]) <= 31
        assert [ask(running, Authorization=f"Bearer {short}")[0] for _ in range(2)] == [200, 429]
        place = urlsplit(running.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        slow = {"messages": [{"role": "user", "content": "held, please"}], "stream": True}
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(slow),
            {"Authorization": f"Bearer {one}", "Content-Type": "application/json"},
        )  # fmt: skip
        answer = connection.getresponse()
        assert ask(running, Authorization=f"Bearer {one}")[0] == 429
        engine.gate.set()
        answer.read()
        assert ask(running, Authorization=f"Bearer {one}")[0] == 200


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    bucket = Bucket(60, lambda: now[0])
    bucket.take(60)
    assert bucket.wait(1) == pytest.approx(1)
    now[0] = 0.5
    assert bucket.wait(1) == pytest.approx(0.5)
    now[0] = 1000
    assert bucket.wait(60) == 0
    bucket.take(90)  # what was used is owed
    assert bucket.wait(1) == pytest.approx(31)


def test_limits_that_change_while_a_key_is_used() -> None:
    file = default_file()

    def limit(concurrent: int) -> None:
        entries = json.loads(file.read_text("utf-8"))
        entries["keys"][0]["concurrent"] = concurrent
        file.write_text(json.dumps(entries), "utf-8")

    key = add_key(file, "mine", KeyLimits(concurrent=20, tokens_per_minute=10))
    doorkeeper = Doorkeeper(KeyRing(file, refresh_seconds=0), most=9)
    before = doorkeeper.account(key)
    for _ in range(2):
        doorkeeper.enter(1, before)
    limit(1)
    after = doorkeeper.account(key)
    with pytest.raises(ApiError, match="1 requests at a time"):
        doorkeeper.enter(1, after)
    doorkeeper.leave(1, before, tokens=15)
    with pytest.raises(ApiError, match="1 requests at a time"):
        doorkeeper.enter(1, after)
    doorkeeper.leave(1, before, tokens=0)
    limit(300)
    with pytest.raises(ApiError, match="10 tokens a minute"):  # what is owed stays
        doorkeeper.enter(1, doorkeeper.account(key))


def test_a_full_house() -> None:
    engine = ScriptedEngine()
    with serving(engine, max_requests=2) as running:
        assert ask(running, body={**CHAT, "n": 2})[0] == 200
        status, _, body = ask(running, body={**CHAT, "n": 3})
        assert (status, error(body)["param"]) == (400, "n")
        place = urlsplit(running.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        slow = {"messages": [{"role": "user", "content": "held"}], "stream": True, "n": 2}
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(slow), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        status, headers, body = ask(running)
        assert (status, error(body)["code"]) == (429, "queue_full")
        assert headers["retry-after"] == "1"
        engine.gate.set()
        answer.read()
        assert ask(running)[0] == 200


def test_pages_of_other_sites_are_refused() -> None:
    with serving(cors=("https://good.site",), allow_host=("name.local",)) as running:
        own = running.url.removeprefix("http://")
        assert ask(running, Origin=running.url)[0] == 200
        for origin in ("https://evil.site", "null", f"https://{own}.evil.site", "http://[x"):
            status, headers, body = ask(running, Origin=origin)
            assert (status, error(body)["code"]) == (403, "origin_not_allowed")
            assert "access-control-allow-origin" not in headers
        status, headers, _ = ask(running, Origin="https://good.site")
        assert headers["access-control-allow-origin"] == "https://good.site"
        preflight = ask(running, "OPTIONS", Origin="https://good.site")
        assert preflight[0] == 204
        assert "POST" in preflight[1]["access-control-allow-methods"]
        # A foreign name that was made to resolve to this machine:
        status, _, body = ask(running, Host="evil.site")
        assert (status, error(body)["code"]) == (403, "host_not_allowed")
        for name in ("localhost:99", "127.0.0.1", "[::1]:80", "name.local"):
            assert ask(running, Host=name)[0] == 200
        assert ask(running, Host="evil.site", Origin="http://evil.site")[0] == 403


def test_the_names_given_are_origins_too() -> None:
    """Behind a proxy that does not hand on the Host."""
    with serving(allow_host=("My.Name",), api_key="long enough") as running:
        key = {"Authorization": "Bearer long enough"}
        for origin in ("https://my.name", "http://my.name:8443"):
            status, headers, _ = ask(running, Origin=origin, **key)
            assert status == 200
            assert "access-control-allow-origin" not in headers
            assert ask(running, Origin=origin)[0] == 401
        for origin in (
            "https://evil.site", "https://my.name.evil.site", "https://my.name@evil.site",
            "https://evil.site@my.name", "file://my.name", "my.name", "https://", "null",
            "http://localhost:1", "http://127.0.0.1:1", "http://[my.name",
        ):  # fmt: skip
            assert ask(running, Origin=origin, **key)[0] == 403


def test_a_page_that_is_allowed_may_send_the_headers_it_asks_for() -> None:
    with serving(cors=("https://good.site",)) as running:

        def allowed(asked: str, origin: str = "https://good.site") -> list[str]:
            status, headers, _ = ask(
                running, "OPTIONS", Origin=origin, Access_Control_Request_Headers=asked
            )
            assert status == 204
            return headers["access-control-allow-headers"].split(", ")

        usual = ["authorization", "x-api-key", "content-type", "x-request-id"]
        own = "authorization,content-type,openai-organization,x-stainless-lang"
        assert allowed(own) == own.split(",")
        assert allowed("x-a, b c, , x-\u00e9, x;y, " + "x" * 65) == ["x-a"]
        assert allowed("") == usual
        assert allowed("b c") == usual
        assert allowed(",".join(["x-stainless-lang"] * 1000)) == usual
        assert allowed(own, running.url) == usual  # no page of another site
        assert ask(running, "OPTIONS", Origin="https://evil.site",
                   Access_Control_Request_Headers=own)[0] == 403  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"messages": NaN}', 400),
        (b'{"temperature": 1e999, "messages": [{"role": "user", "content": "a"}]}', 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"n": ' + b"1" * 5000 + b"}", 400),
        (b'{"n": ' + b"1" * 400 + b', "messages": [{"role": "user", "content": "a"}]}', 400),
        (b'{"top_p": -1' + b"0" * 400 + b', "messages": [{"role": "user", "content": "a"}]}', 400),
        (b"[" * 50_000, 400),
        (b'{"messages": ' + b'[{"a":' * 20_000 + b"1" + b"}]" * 20_000 + b"}", 400),
        (b'{"prompt": "' + b"a" * 70_000 + b'"}', 413),
    ],
)
def test_bodies_that_are_none(body: bytes, status: int) -> None:
    with serving(max_body=50_000 if status == 413 else 8_000_000) as running:
        found, _, answer = ask(running, body=body)
        assert found == status
        error(answer)
        assert ask(running)[0] == 200


def test_a_body_of_unsaid_length() -> None:
    with serving(max_body=5000) as running:
        place = urlsplit(running.url)
        for size, status in ((1000, 200), (50_000, 413)):
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
            body = json.dumps({"prompt": "a" * size}).encode()
            pieces = (body[start : start + 500] for start in range(0, len(body), 500))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    "POST", "/v1/completions", pieces, {"Content-Type": "application/json"},
                    encode_chunked=True,
                )  # fmt: skip
            assert connection.getresponse().status == status


def test_paths_and_methods(tiny_server: Running) -> None:
    assert ask(tiny_server, "GET", "/nothing")[0] == 404
    assert ask(tiny_server, "GET", "/../etc/passwd")[0] == 404
    status, headers, body = ask(tiny_server, "GET", "/v1/chat/completions")
    assert status == 405
    assert "POST" in headers["allow"]
    assert "takes POST" in error(body)["message"]
    assert ask(tiny_server, "DELETE", "/v1/models")[0] == 405
    status, _, body = ask(
        tiny_server, body=b"a=b", Content_Type="application/x-www-form-urlencoded"
    )
    assert (status, "Content-Type" in error(body)["message"]) == (415, True)
    assert ask(tiny_server, "HEAD", "/health")[0] == 200


def test_requests_have_ids(tiny_server: Running) -> None:
    _, headers, _ = ask(tiny_server)
    assert re.fullmatch(r"req_[0-9a-f]{24}", headers["x-request-id"])
    assert ask(tiny_server, X_Request_Id="my-own.1")[1]["x-request-id"] == "my-own.1"
    forged = ask(tiny_server, X_Request_Id="a b")[1]["x-request-id"]
    assert forged.startswith("req_")


def test_the_log_holds_no_prompts(caplog: pytest.LogCaptureFixture) -> None:
    key = add_key(default_file(), "mine")
    secret = {"messages": [{"role": "user", "content": "my secret"}]}
    with caplog.at_level(logging.INFO, "linnet.serve"):
        logging.getLogger("linnet.serve").propagate = True
        with serving() as running:
            ask(running, body=secret, Authorization=f"Bearer {key}")
        facts = [getattr(record, "facts", {}) for record in caplog.records]
        told = json.dumps(facts)
        assert "secret" not in told
        assert key not in told
        (line,) = [fact for fact in facts if fact.get("status") == 200]
        assert line["key"] == "mine"
        assert line["model"] == "tiny"
        assert line["written_tokens"] == len("terces ym >resu<")
        assert line["first_token_seconds"] >= 0
        caplog.clear()
        with serving(log_prompts=True) as running:
            ask(running, body=secret, Authorization=f"Bearer {key}")
        told = json.dumps([getattr(record, "facts", {}) for record in caplog.records])
        assert "my secret" in told
        assert "terces ym" in told


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "my secret"}, "messages"),
        ({"messages": [{"role": "my secret", "content": "a"}]}, "messages[0].role"),
        ({**CHAT, "my secret": 1}, None),
        ({**CHAT, "stream_options": {"my secret": {}}, "stop": 3}, "stop"),
        ({**CHAT, "logit_bias": {"my secret": 1}}, "logit_bias"),
        ({**CHAT, "logit_bias": {"my secret": "a"}}, "logit_bias"),
        ({**CHAT, "chat_template_kwargs": {"my secret": 1}}, "chat_template_kwargs"),
        ({**CHAT, "model": "my secret"}, "model"),
        ({**CHAT, "temperature": "my secret"}, "temperature"),
    ],
)
def test_the_log_of_an_error_quotes_nobody(
    body: Any, param: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "linnet.serve"):
        logging.getLogger("linnet.serve").propagate = True
        with serving() as running:
            status, _, answer = ask(running, body=body)
    facts = [getattr(record, "facts", {}) for record in caplog.records]
    (line,) = [fact for fact in facts if fact.get("status") == status]
    assert status in (400, 404)
    assert "secret" not in json.dumps(facts)
    assert line["error"] == "invalid_request_error"
    assert line.get("param") == param
    assert line.get("code") == error(answer)["code"]


def test_the_log_says_what_is_wrong_with_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "linnet.serve"):
        logging.getLogger("linnet.serve").propagate = True
        with serving(api_key="long enough") as running:
            ask(running)
    facts = [getattr(record, "facts", {}) for record in caplog.records]
    (line,) = [fact for fact in facts if fact.get("status") == 401]
    assert "didn't provide an API key" in line["error"]
    assert line["code"] == "invalid_api_key"


def test_metrics_count_what_happens() -> None:
    with serving(ScriptedEngine()) as running:
        ask(running)
        ask(running, body={**CHAT, "stream": True, "model": "loud"})
        ask(running, body={"messages": []})
        status, headers, text = ask(running, "GET", "/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    written = len("olleh >resu<")
    assert float(figures['linnet_written_tokens_total{model="tiny"}']) == written
    assert float(figures['linnet_written_tokens_total{model="loud"}']) == written
    assert float(figures['linnet_cached_tokens_total{model="tiny"}']) == 2
    path = 'linnet_requests_total{path="/v1/chat/completions",status='
    assert float(figures[path + '"200"}']) == 2
    assert float(figures[path + '"400"}']) == 1
    for name in ("time_to_first_token", "queue", "request"):
        assert float(figures[f'linnet_{name}_seconds_count{{model="tiny"}}']) == 1
    assert float(figures['linnet_inter_token_seconds_count{model="tiny"}']) == written - 1
    assert float(figures['linnet_running{model="tiny"}']) == 0


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/home/me/model/config.json: no", "config.json: no"),
        ("C:\\Users\\me\\a.json is bad", "a.json is bad"),
        ("see http://a.b/c/d", "see http://a.b/c/d"),
        ("use /v1/completions or 1/2", "use completions or 1/2"),
    ],
)
def test_no_answer_names_a_place_on_the_disk(message: str, shown: str) -> None:
    assert without_paths(message) == shown

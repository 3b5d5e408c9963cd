"""Listening, leaving, waiting and stopping."""

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from scripted import Running, ScriptedEngine, serving

from linnet.errors import ConfigError, EngineError
from linnet.generate.engine import Chunk
from linnet.serve import Catalog, ServeConfig, Served, Server, server
from linnet.serve import streaming as streaming_module
from linnet.serve.server import bind

PATIENCE = 20.0


def open_stream(running: Running, words: str, **more: Any) -> http.client.HTTPResponse:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    body = {"messages": [{"role": "user", "content": words}], "stream": True, **more}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    answer.connection = connection  # type: ignore[attr-defined]
    return answer


def leave(answer: Any) -> None:
    """As a browser that is closed."""
    answer.connection.sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    answer.connection.close()


def wait_until(condition: Any) -> None:
    """Long enough for machines that have much else to do."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE, "it took too long"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_cancelled(stream: bool) -> None:
    engine = ScriptedEngine(lambda prompt, request: "a" * 2000)
    with serving(engine) as running:
        if stream:
            answer: Any = open_stream(running, "slow")
            answer.read(200)
            leave(answer)
        else:
            place = urlsplit(running.url)
            client = socket.create_connection((place.hostname or "", place.port or 0))
            body = json.dumps({"messages": [{"role": "user", "content": "slow"}]})
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            wait_until(lambda: engine.running == 1)
            client.close()
        wait_until(lambda: engine.running == 0)
        wait_until(lambda: not running.server.service.busy)


def test_a_stream_says_that_it_lives_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_module, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(streaming_module, "KEEP_ALIVE_SECONDS", 0.05)
    engine = ScriptedEngine()
    with serving(engine) as running:
        answer = open_stream(running, "late")
        assert answer.read(22).decode() == ": waiting\n\n: waiting\n\n"
        engine.gate.set()
        text = answer.read().decode()
    assert text.endswith("data: [DONE]\n\n")
    assert "etal" in text.replace('"}', "")


def test_tokens_that_came_together_share_an_event() -> None:
    engine = ScriptedEngine(lambda prompt, request: "a" * 3000)
    with serving(engine) as running:
        text = open_stream(running, "quick").read().decode()
    events = [json.loads(e[6:]) for e in text.split("\n\n") if e.startswith("data: {")]
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == "a" * 3000
    assert len(events) < 1500  # a fraction of them, on a machine that is busy, too


def test_a_port_that_is_taken_and_addresses_that_are_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken"):
            bind(ServeConfig(port=port))
    with pytest.raises(ConfigError, match="expected an address of this machine"):
        bind(ServeConfig(host="no such host.invalid"))
    with pytest.raises(ConfigError, match=r"192\.0\.2\.7 is no address of this machine"):
        bind(ServeConfig(host="192.0.2.7"))
    with pytest.raises(ConfigError, match="port must be between"):
        ServeConfig(port=70000)


def test_a_port_that_another_has_is_told_from_one_for_administrators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows refuses both in the same way, and keeps no port for administrators."""
    refused = OSError(errno.EACCES, "forbidden by its access permissions")
    config = ServeConfig(port=8080)
    monkeypatch.delattr(socket, "SO_EXCLUSIVEADDRUSE", raising=False)
    assert "rights of an administrator" in server._refusal(config, refused)
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    assert "port 8080 of 127.0.0.1 is taken by another program" in server._refusal(config, refused)


def test_stopping_lets_those_inside_finish() -> None:
    engine = ScriptedEngine(lambda prompt, request: "abcdefghij")
    models = Catalog([Served("tiny", engine)])
    running = Running(models, ServeConfig(port=0, log="off"))
    answer: Any = open_stream(running, "held")
    answer.read(50)
    waiting = http.client.HTTPConnection("127.0.0.1", urlsplit(running.url).port or 0, timeout=20)
    waiting.request("GET", "/health")
    assert waiting.getresponse().read() == b'{"status": "ok"}'
    running.server.stop()
    wait_until(lambda: running.server.service.draining)
    waiting.request("POST", "/v1/completions", b"{}", {"Content-Type": "application/json"})
    refused = waiting.getresponse()
    assert refused.status == 503
    assert json.loads(refused.read())["error"]["code"] == "stopping"
    assert refused.headers["retry-after"]
    waiting.request("GET", "/health")
    assert waiting.getresponse().status == 503
    engine.gate.set()
    rest = answer.read().decode()
    assert "j" in rest
    assert rest.endswith("data: [DONE]\n\n")
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()
    assert engine.closed


def test_stopping_does_not_wait_for_ever() -> None:
    engine = ScriptedEngine(lambda prompt, request: "a" * 5000)
    running = Running(Catalog([Served("tiny", engine)]), ServeConfig(port=0, log="off", grace=0.2))
    answer: Any = open_stream(running, "slow")
    answer.read(50)
    started = time.monotonic()
    running.stop()
    assert time.monotonic() - started < 15  # where the text would take minutes
    rest = answer.read().decode()
    assert '"code": "stopping"' in rest  # a well-formed end
    wait_until(lambda: engine.running == 0)


class Reading(ScriptedEngine):
    """Takes as long as one likes to read a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()

    def chat_prompt(self, *given: Any, **more: Any) -> tuple[int, ...]:
        if "long" in given[0][0]["content"]:
            self.reads.set()
            self.gate.wait(PATIENCE)
        return super().chat_prompt(*given, **more)


def test_stopping_does_not_wait_for_prompts_that_are_read() -> None:
    engine = Reading()
    running = Running(Catalog([Served("tiny", engine)]), ServeConfig(port=0, log="off", grace=0.1))
    got: list[Any] = []

    def ask() -> None:
        answer = open_stream(running, "long")
        got.append((answer.status, json.loads(answer.read())))

    client = threading.Thread(target=ask)
    client.start()
    assert engine.reads.wait(PATIENCE)
    started = time.monotonic()
    running.stop()
    assert time.monotonic() - started < 15  # where reading takes longer
    client.join(PATIENCE)
    engine.gate.set()
    ((status, body),) = got
    assert (status, body["error"]["code"]) == (503, "stopping")
    wait_until(lambda: not engine.running)


def test_what_nobody_foresaw_ends_a_stream_in_order() -> None:
    class Odd(ScriptedEngine):
        def _write(self, prompt: str, request: Any) -> Any:
            yield from islice(super()._write(prompt, request), 3)
            yield Chunk(None, (7,))  # type: ignore[arg-type]

    with serving(Odd(lambda prompt, request: "abcdef" * 9)) as running:
        answer = open_stream(running, "slow")
        events = answer.read().decode()
        assert answer.status == 200
        assert '"server_error"' in events
        assert events.endswith("data: [DONE]\n\n")
        wait_until(lambda: not running.server.service.busy)


def test_an_engine_that_fails_while_it_reads_is_not_the_clients_fault() -> None:
    class Dead(ScriptedEngine):
        def chat_prompt(self, *given: Any, **more: Any) -> tuple[int, ...]:
            if "die" in given[0][0]["content"]:
                raise EngineError("llama.cpp gave no answer: 0.1 W slot: what others asked")
            return super().chat_prompt(*given, **more)

    with serving(Dead()) as running:
        answer = open_stream(running, "die")
        error = json.loads(answer.read())["error"]
        assert (answer.status, error["code"]) == (503, "engine_error")
        assert "slot" not in error["message"]
        place = urlsplit(running.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        connection.request("GET", "/metrics")
        figures = connection.getresponse().read().decode()
        assert 'linnet_failed_total{model="tiny"} 1.0' in figures


def test_a_reader_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_module, "STALL_SECONDS", 0.4)
    engine = ScriptedEngine(lambda prompt, request: "a" * 6000, context=10**6)
    with serving(engine) as running:
        # What the system takes in for a client is small, so that it is soon full.
        running.server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        body = {
            "messages": [{"role": "user", "content": "x"}], "stream": True, "logprobs": True,
            "top_logprobs": 2,
        }  # fmt: skip
        place = urlsplit(running.url)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((place.hostname or "", place.port or 0))
        sent = json.dumps(body)
        started = time.monotonic()
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\n"
            + f"Content-Length: {len(sent)}\r\n\r\n{sent}".encode()
        )
        wait_until(lambda: engine.requests)
        wait_until(lambda: not running.server.service.busy)
        assert time.monotonic() - started > 0.4
        client.close()


def test_many_at_once_with_some_who_leave() -> None:
    engine = ScriptedEngine(lambda prompt, request: "answer " * 20)
    with serving(engine) as running:
        failures: list[str] = []

        def talk(number: int) -> None:
            try:
                for turn in range(6):
                    if (number + turn) % 3 == 0:
                        answer: Any = open_stream(running, "slow")
                        answer.read(10)
                        leave(answer)
                    else:
                        text = open_stream(running, "quick").read().decode()
                        if not text.endswith("data: [DONE]\n\n"):
                            failures.append(text[-100:])
            except Exception as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        wait_until(lambda: engine.running == 0 and not running.server.service.busy)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_process_that_is_told_to_stop(tmp_path: Path) -> None:
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from scripted import ScriptedEngine
        from linnet.serve import Catalog, ServeConfig, Served, Server
        server = Server(Catalog([Served("tiny", ScriptedEngine())]), ServeConfig(port=0, log="off"))
        print(server.url, flush=True)
        server.run()
        print("ended in order", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ended in order\n"
    assert process.wait(PATIENCE) == 0


def test_names_must_differ() -> None:
    engine = ScriptedEngine()
    with pytest.raises(ConfigError, match="'a' twice"):
        Catalog([Served("a", engine), Served("a", engine)])
    with pytest.raises(ConfigError, match="at least one model"):
        Catalog([])


def test_an_address_is_given_back_when_the_server_cannot_start() -> None:
    config = ServeConfig(host="0.0.0.0", port=0)
    listener = bind(config)
    port = listener.getsockname()[1]
    with pytest.raises(ConfigError, match="needs a key"):
        Server(Catalog([Served("a", ScriptedEngine())]), config, listener=listener)
    bind(ServeConfig(port=port)).close()

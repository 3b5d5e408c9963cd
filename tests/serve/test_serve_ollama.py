"""Ollama's official client, unmodified, and what other clients of its interface send."""

from typing import Any

import ollama
import pytest
from scripted import Running

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
BACKWARDS = "olleh >resu<"


@pytest.fixture(scope="module")
def client(tiny_server: Running) -> ollama.Client:
    return ollama.Client(tiny_server.url)


def test_a_chat(client: ollama.Client) -> None:
    answer = client.chat("tiny:latest", HELLO)
    print(answer)
    assert answer.message.content == BACKWARDS
    for part in client.chat("tiny:latest", HELLO, stream=True):
        print(part)
    print(client.list())
    print(client.show("tiny"))
    print(client.ps())
    print(client.generate("tiny", "hello"))
    for name in ("pull", "push", "delete"):
        try:
            print(getattr(client, name)("none"))
        except ollama.ResponseError as e:
            print(e.status_code, e.error)

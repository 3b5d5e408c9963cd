"""``/infill`` and ``suffix`` over HTTP, with an engine that says what it was asked."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest
from scripted import Characters, Running, ScriptedEngine, serving
from test_serve_openai import post

MARKS = {"<fim_prefix>": 0x110001, "<fim_suffix>": 0x110002, "<fim_middle>": 0x110003,
         "<file_sep>": 0x110004}  # fmt: skip
START = Characters.start[0]
PROMPT = (START, 0x110001, *map(ord, "a = "), 0x110002, *map(ord, "\nb"), 0x110003)


class FillingEngine(ScriptedEngine):
    """Knows StarCoder's tokens."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return [MARKS[text]] if special and text in MARKS else super().tokenize(text)


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return FillingEngine(lambda prompt, request: "1 + 2 # more")


@pytest.fixture(scope="module")
def running(engine: ScriptedEngine) -> Iterator[Running]:
    with serving(engine) as found:
        yield found


def test_every_interface_asks_the_same(running: Running, engine: ScriptedEngine) -> None:
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
    whole = client.completions.create(model="tiny", prompt="a = ", suffix="\nb", max_tokens=5)
    assert whole.choices[0].text == "1 + 2"
    echoed = client.completions.create(
        model="tiny", prompt=["a = ", "c"], suffix="\nb", max_tokens=5, echo=True
    )
    assert [choice.text for choice in echoed.choices] == ["a = 1 + 2", "c1 + 2"]
    there = ollama.Client(running.url)
    answer = there.generate("tiny", "a = ", suffix="\nb", options={"num_predict": 5})
    assert (answer.response, answer.done_reason) == ("1 + 2", "length")
    body = {"input_prefix": "a ", "prompt": "= ", "input_suffix": "\nb", "n_predict": 5}
    found = json.loads(post(f"{running.url}/infill", body))
    assert (found["content"], found["stop_type"], found["tokens_predicted"]) == (
        "1 + 2",
        "limit",
        5,
    )
    asked = [request for request in engine.requests if len(request.prompt) == len(PROMPT)]
    assert len(asked) == 4
    for request in asked:
        assert request.prompt == PROMPT
        assert request.stop_ids == tuple(MARKS.values())
    assert "insert" in (there.show("tiny").capabilities or ())
    assert ".Suffix" in (there.show("tiny").template or "")  # by this Continue knows


def test_what_editors_send(running: Running, engine: ScriptedEngine) -> None:
    """As llama.vim and llama.vscode have it."""
    body: dict[str, Any] = {
        "id_slot": 0, "input_prefix": "a = ", "input_suffix": "\nb",
        "input_extra": [{"filename": "c.py", "text": "C = 3\n", "time": 1}], "prompt": "",
        "n_predict": 128, "n_indent": 0, "top_k": 40, "top_p": 0.9, "stream": False,
        "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000, "stop": [" #"],
        "response_fields": ["content", "timings/prompt_n", "truncated", "no/such"],
    }  # fmt: skip
    found = json.loads(post(f"{running.url}/infill", body))
    assert set(found) == {"content", "timings/prompt_n", "truncated"}
    prompt = engine.requests[-1].prompt
    assert prompt == (START, MARKS["<file_sep>"], *map(ord, "c.py\nC = 3\n"), *PROMPT[1:])
    streamed = post(f"{running.url}/infill", {**body, "stream": True, "response_fields": None})
    events = [json.loads(line[6:]) for line in streamed.split("\n\n") if line]
    assert "".join(event["content"] for event in events) == "1 + 2 # more"
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["timings"]["predicted_n"] == len("1 + 2 # more")


def test_refused_where_there_are_no_tokens(tiny_server: Running) -> None:
    client = openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="'suffix' needs a model that fills in") as e:
        client.completions.create(model="tiny", prompt="a", suffix="b")
    assert e.value.param == "suffix"
    with pytest.raises(ollama.ResponseError, match="'suffix' needs a model that fills in"):
        ollama.Client(tiny_server.url).generate("tiny", "a", suffix="b")
    with pytest.raises(openai.BadRequestError, match="'input_suffix' needs a model"):
        client.post("/infill".replace("/", "/../", 1), body={"input_prefix": "a"}, cast_to=object)

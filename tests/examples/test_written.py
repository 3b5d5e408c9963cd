"""Questions that a model writes: held to their form here, counted where nothing holds them."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.data import kept_texts
from linnet.errors import ConfigError, ModelError
from linnet.examples import Example, ExamplesConfig, make_examples, read_examples
from linnet.examples.generation import REJECTED_FILE
from linnet.examples.generators.model import requests
from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.progress import Progress
from linnet.respond import RemoteError
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer import train as train_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def config(model: Any, **settings: Any) -> ExamplesConfig:
    usual = {"generators": ("model",), "model": str(model), "question_share": 0.0,
             "largest_share": 1.0, "near_duplicates": 1.0, "model_name": "some"}  # fmt: skip
    return ExamplesConfig(**usual | settings)


def rejected(place: Path) -> list[tuple[str, str, dict[str, Any]]]:
    rows = map(json.loads, (place / REJECTED_FILE).read_text("utf-8").splitlines())
    return [(row["check"], row["reason"], row) for row in rows]


# -- a model of this machine --------------------------------------------------------------------


@pytest.fixture(scope="module")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model of random weights, which knows nothing of JSON."""
    folder = tmp_path_factory.mktemp("babbler")
    texts = ["The alder grows to 20 metres, and foresters tell that it outlives others. " * 9]
    train_tokenizer(texts, folder / "tokenizer", TokenizerConfig(vocab_size=300), inputs={})
    tokenizer = load_tokenizer(folder / "tokenizer")
    shape = ModelConfig(
        family="llama", vocab_size=tokenizer.vocab_size, context=4096, width=32, depth=1, heads=2,
        kv_heads=2, head_width=16, mlp_width=32, bos_id=tokenizer.end_of_text,
        eos_id=tokenizer.end_of_text, pad_id=1,
    )  # fmt: skip
    torch.manual_seed(1)
    (folder / "model").mkdir()
    save_checkpoint(Transformer(shape), folder / "model", tokenizer=folder / "tokenizer")
    settings = json.loads((folder / "model" / "tokenizer_config.json").read_text())
    settings["chat_template"] = CHATML
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder / "model"


def test_a_model_that_knows_nothing_writes_in_form(
    tmp_path: Path, trees: Path, babbler: Path
) -> None:
    settings = config(babbler, model_passages=3, retrieved=0, seed=3)
    first = make_examples(trees, tmp_path / "a", settings)
    rows = [example.to_json() for example in read_examples(tmp_path / "a")]
    rows += [row for _, _, row in rejected(tmp_path / "a")]
    assert 2 <= len(rows) <= 2 * 8
    assert "form" not in {check for check, *_ in rejected(tmp_path / "a")}
    texts = {kept.source: kept.text for kept in kept_texts(trees)}
    english = requests()["en"]
    for row in rows:
        assert row["generator"] == "model"
        assert texts[row["source"]][row["start"] : row["end"]] == row["quote"]
        openings = english.openings if row["kind"] == "question" else english.orders
        assert row["question"].split()[0] in openings
        assert row["question"][-1] == ("?" if row["kind"] == "question" else ".")
    assert {row["kind"] for row in rows} <= {"question", "instruction"}
    assert make_examples(trees, tmp_path / "b", settings).content == first.content


def test_a_model_without_chat_template_is_refused(
    tmp_path: Path, trees: Path, babbler: Path
) -> None:
    shutil.copytree(babbler, tmp_path / "plain")
    settings = json.loads((tmp_path / "plain" / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (tmp_path / "plain" / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"cannot be asked for questions.*no chat template"):
        make_examples(trees, tmp_path / "out", config(tmp_path / "plain"))


# -- a model at an address ----------------------------------------------------------------------


class Server:
    """Answers chat completions as ``answer`` says: a text, or a status."""

    def __init__(self, answer: Callable[[dict[str, Any], int], str | int]) -> None:
        self.bodies: list[dict[str, Any]] = []
        lock = threading.Lock()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    served.bodies.append(body)
                    found = answer(body, len(served.bodies))
                status = found if isinstance(found, int) else 200
                message = {"role": "assistant", "content": found}
                value: Any = {
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]
                }
                if status != 200:
                    value = {"error": {"message": "response_format is not supported"}}
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], str | int]) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


class Heard(Progress):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def asked(body: dict[str, Any]) -> tuple[str, str]:
    """Which kind is asked for, and about which tree."""
    last = body["messages"][-1]["content"]
    return ("question" if "Write a question" in last else "instruction"), last.split()[0]


def obedient(body: dict[str, Any], number: int) -> str:
    kind, tree = asked(body)
    (name,) = body["response_format"]["json_schema"]["schema"]["properties"]
    assert name == kind
    written = {"question": f"Which neighbours does the {tree} outlive in the valley?",
               "instruction": f"Describe what foresters tell of the {tree}."}  # fmt: skip
    return json.dumps({kind: written[kind]})


def test_an_address_is_held_to_the_schema(tmp_path: Path, trees: Path) -> None:
    with serving(obedient) as server:
        made = make_examples(trees, tmp_path / "out", config(server.url))
        assert make_examples(trees, tmp_path / "out", config(server.url)) == made  # asks nothing
        count = len(server.bodies)
    found = list(read_examples(tmp_path / "out"))
    assert count == 16
    assert {example.kind for example in found} == {"question", "instruction"}
    assert len({example.source for example in found}) == 8
    assert server.bodies[0]["model"] == "some"
    assert made.manifest.inputs["model"].content
    assert "127.0.0.1" not in json.dumps(made.manifest.config)


def prose(body: dict[str, Any], number: int) -> str | int:
    """A server that knows no schemas, and a model that talks."""
    if "response_format" in body:
        return 400
    kind, tree = asked(body)
    good = {kind: f"Describe how the {tree} fares in its valley."}
    if kind == "question":
        return f"Sure! Here is a question about {tree}: what is it?"
    return f"Of course:\n```json\n{json.dumps(good)}\n```\nAnything else?"


def test_what_an_address_writes_in_prose_is_counted(tmp_path: Path, trees: Path) -> None:
    heard = Heard()
    with serving(prose) as server:
        make_examples(trees, tmp_path / "out", config(server.url), progress=heard)
    (warning,) = (text for text in heard.warnings if "JSON Schema" in text)
    assert "response_format is not supported" in warning
    found: list[Example] = list(read_examples(tmp_path / "out"))
    assert {example.kind for example in found} == {"instruction"}
    texts = {kept.source: kept.text for kept in kept_texts(trees)}
    for example in found:
        assert texts[str(example.source)][example.start : example.end] == example.quote
    faults = [(reason, row["answer"]) for check, reason, row in rejected(tmp_path / "out")
              if check == "form"]  # fmt: skip
    assert len(faults) == 8
    assert {reason for reason, _ in faults} == {
        "what the model wrote has not the form that it was given"
    }
    assert all(answer.startswith("Sure!") for _, answer in faults)


def test_a_run_that_broke_off_asks_for_the_rest(tmp_path: Path, trees: Path) -> None:
    fails = True

    def breaking(body: dict[str, Any], number: int) -> str | int:
        return 503 if fails and number > 9 else obedient(body, number)

    with serving(breaking) as server:
        with pytest.raises(RemoteError, match="503"):
            make_examples(trees, tmp_path / "out", config(server.url))
        fails, before = False, len(server.bodies)
        make_examples(trees, tmp_path / "out", config(server.url))
        assert len(server.bodies) - before < 16
    with serving(obedient) as whole:
        make_examples(trees, tmp_path / "whole", config(whole.url))
    assert [e.id for e in read_examples(tmp_path / "out")] == [
        e.id for e in read_examples(tmp_path / "whole")
    ]


def test_wrong_settings(tmp_path: Path, trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for settings, error, message in (
        (config("", model_name=""), ConfigError, "needs a model: name one with --model"),
        (config("http://127.0.0.1:9/v1", model_name=""), ConfigError, "--model-name"),
        (config("http://127.0.0.1:9/v1"), RemoteError, "127.0.0.1:9: cannot be reached"),
        (config("http://127.0.0.1:9/v1", model_key="NO_SUCH_KEY"), ConfigError, "NO_SUCH_KEY"),
        (config(tmp_path), ModelError, "."),
    ):
        with pytest.raises(error, match=message) as caught:
            make_examples(trees, tmp_path / "out", settings)
        assert "\n" not in str(caught.value)


def test_without_being_named_no_model_is_asked(tmp_path: Path, trees: Path) -> None:
    make_examples(trees, tmp_path / "out", ExamplesConfig())
    assert {example.generator for example in read_examples(tmp_path / "out")} & {"model"} == set()
    examples = make_examples(trees, tmp_path / "out", ExamplesConfig())
    assert "model" not in examples.manifest.inputs

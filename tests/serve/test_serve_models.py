"""Real models behind the server, embeddings, the page, and the commands."""

import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from scripted import Running, ScriptedEngine, serving
from typer.testing import CliRunner

from linnet import load
from linnet.cli import app
from linnet.errors import ConfigError, ModelError, install_command
from linnet.generate import Request, Sampling
from linnet.generate.embedding import load_encoder
from linnet.generate.engines import EngineConfig, open_engine
from linnet.generate.pooling import EmbeddingRecipe
from linnet.progress import Progress
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.page import page_files
from linnet.serve.sources import name_of, open_catalog


class Words:
    """Enough of an encoder: a text's vector counts its letters."""

    width = 26
    max_tokens = 20
    recipe = EmbeddingRecipe()

    class tokenizer:
        start = (1,)
        finish = (2,)

        @staticmethod
        def encode_arrays(texts: list[str]) -> list[Any]:
            return [np.array([ord(c) for c in text], dtype=np.uint32) for text in texts]

        @staticmethod
        def encode(text: str) -> list[int]:
            return [ord(c) for c in text]

        @staticmethod
        def decode(ids: list[int]) -> str:
            return "".join(map(chr, ids))

    def embed(self, texts: list[str], *, prompt: str | None = None) -> Any:
        rows = [[text.count(chr(97 + place)) for place in range(26)] for text in texts]
        return np.array(rows, dtype=np.float32)

    def own_tokens(self, tokens: list[int]) -> list[int]:
        if any(token < ord("a") for token in tokens):
            raise ConfigError("expected letters")
        return tokens

    def close(self) -> None:
        pass


RUNNER = CliRunner()


@pytest.fixture(scope="module")
def encoder() -> Iterator[Running]:
    models = [Served("letters", encoder=Words()), Served("tiny", ScriptedEngine())]  # type: ignore[arg-type]
    running = Running(Catalog(models), ServeConfig(port=0, log="off"))
    yield running
    running.stop()


def test_embeddings(encoder: Running) -> None:
    client = openai.OpenAI(base_url=f"{encoder.url}/v1", api_key="x", max_retries=0)
    found = client.embeddings.create(model="letters", input=["abba", "zoo"])
    assert [entry.index for entry in found.data] == [0, 1]
    assert found.data[0].embedding[:3] == [2.0, 2.0, 0.0]  # the client asks for base64
    assert found.usage.prompt_tokens == 4 + 3 + 2 * 2
    plain = client.embeddings.create(model="letters", input="abba", encoding_format="float")
    assert plain.data[0].embedding == found.data[0].embedding
    with pytest.raises(openai.BadRequestError) as full:
        client.embeddings.create(model="letters", input=["a", "a" * 30])
    assert full.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="must be 26"):
        client.embeddings.create(model="letters", input="a", dimensions=7)
    with pytest.raises(openai.BadRequestError, match="no prompt 'query'"):
        client.embeddings.create(model="letters", input="a", extra_body={"prompt": "query"})
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="tiny", input="a")
    with pytest.raises(openai.BadRequestError, match="makes embeddings and writes no text"):
        client.completions.create(model="letters", prompt="a")
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="letters", input=[1, 2, 3])


def get(running: Running, path: str, **headers: str) -> http.client.HTTPResponse:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return connection.getresponse()


def test_the_page_is_served_under_a_strict_policy(tiny_server: Running) -> None:
    page = get(tiny_server, "/", Accept="text/html")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers.get_all("x-content-type-options") == ["nosniff"]
    assert page.read() == page_files()["index.html"].body
    for name, file in page_files().items():
        answer = get(tiny_server, f"/{name}")
        assert (answer.status, answer.read()) == (200, file.body)
    again = get(tiny_server, "/", Accept="text/html", If_None_Match=page.headers["etag"])
    assert (again.status, again.read()) == (304, b"")


def test_what_is_said_of_models(tiny_server: Running) -> None:
    told = json.loads(get(tiny_server, "/v1/models").read())["data"]
    assert told[0]["linnet"] == {
        "chat": True, "embeddings": False, "context": 4000, "adapter_of": None, "documents": None,
        "loaded": True, "place": "here",
    }  # fmt: skip
    assert told[1]["linnet"]["adapter_of"] == "tiny"


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, in a directory."""
    import torch

    from linnet.model import ModelConfig, Transformer, save_checkpoint
    from linnet.tokenizer import TokenizerConfig, load, train

    out = tmp_path_factory.mktemp("little")
    texts = ["the fox met a hen, naïve as ever; " * 9]
    train(texts, out / "t", TokenizerConfig(vocab_size=280), inputs={})
    config = ModelConfig(
        family="llama", vocab_size=load(out / "t").vocab_size, context=4096, width=32, depth=1,
        heads=2, kv_heads=2, head_width=16, mlp_width=32,
    )  # fmt: skip
    torch.manual_seed(3)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    (out / "model").mkdir()
    save_checkpoint(model, out / "model", tokenizer=out / "t")
    return out / "model"


@pytest.mark.parametrize("kind", ["torch", "llama.cpp"])
def test_a_model_of_ones_own(little: Path, kind: Any) -> None:
    """What comes over HTTP is what the model writes without it."""
    engine = open_engine(little, EngineConfig(engine=kind, precision="f32", threads=1))
    prompt = "the fox"
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        settings: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "logprobs": 3}
        whole = client.completions.create(model="tiny", prompt=prompt, **settings)
        stream = client.completions.create(model="tiny", prompt=prompt, stream=True, **settings)
        streamed = "".join(chunk.choices[0].text for chunk in stream)
    model = load(little, dtype="fp32")
    exact = model.generate(prompt, temperature=0, max_tokens=12, logprobs=True)
    assert whole.choices[0].text == streamed == exact.text
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.token_logprobs == pytest.approx(exact.logprobs, abs=1e-4)
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == exact.prompt_tokens


def test_one_seed_gives_one_text_wherever_the_model_is_opened(little: Path) -> None:
    """From Python, on the command line and over HTTP, by what each does by itself."""
    model, asked = load(little), {"max_tokens": 24, "seed": 7, "temperature": 1.9}
    text = model.generate("the fox", min_p=0, **asked).text
    assert text != model.generate("the fox", min_p=0, **asked | {"seed": 8}).text
    model.engine.close()
    said = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    said += ["--min-p=0", "--mode", "text"]
    assert RUNNER.invoke(app, ["generate", str(little), "the fox", *said]).stdout == text
    running = Running(open_catalog(str(little), ServeConfig()), ServeConfig(port=0, log="off"))
    try:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        answer = client.completions.create(
            model=little.parent.name, prompt="the fox", extra_body={"min_p": 0}, **asked
        )
        assert answer.choices[0].text == text
    finally:
        running.stop()


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes" / "model").mkdir(parents=True)
    assert name_of("some/where/notes") == "notes"
    assert name_of("notes/model") == "notes"
    assert name_of("a/small.Q8_0.gguf") == "small.Q8_0"
    with pytest.raises(ConfigError, match="name must begin"):
        open_catalog("a", ServeConfig(), name="two words")
    with pytest.raises(ConfigError, match="two models are named 'a'"):
        open_catalog("a", ServeConfig(), models={"a": "b"})
    with pytest.raises(ConfigError, match="there is no model 'c' to adapt; there are: a, b"):
        open_catalog("a", ServeConfig(), models={"b": "b"}, adapters={"c+legal": "d"})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("kind", ["torch", "llama.cpp"])
def test_adapters_of_several_models(little: Path, tmp_path: Path, kind: Any) -> None:
    """Each is offered beside its own model, and writes what merging it would."""
    import torch

    from linnet.model import load_model
    from linnet.model.adapter import save_adapter
    from linnet.model.lora import adapter_parameters, add_adapter
    from linnet.model.lora_config import LoRAConfig

    for seed, name in enumerate(("one", "two")):
        model = load_model(little)
        add_adapter(model, name, LoRAConfig(rank=2))
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name).values():
                parameter.normal_(std=0.5)
        (tmp_path / name).mkdir()
        save_adapter(model, name, tmp_path / name, base=little)
    catalog = open_catalog(
        str(little),
        ServeConfig(engine=kind, precision="f32", threads=1, pin=("second",)),
        name="first",
        models={"second": str(little)},
        adapters={"one": str(tmp_path / "one"), "second+two": str(tmp_path / "two")},
    )
    try:
        assert {name: model.parent for name, model in catalog.models.items()} == {
            "first": None, "one": "first", "second": None, "two": "second",
        }  # fmt: skip
        written = {}
        for name, model in catalog.models.items():
            sampling = Sampling(temperature=0, max_tokens=12)
            request = Request("the fox", sampling, adapter=model.adapter)
            written[name] = model.continuing.engine.generate([request])[0].tokens
        assert written["first"] == written["second"]
        for name in ("one", "two"):
            alone = load(tmp_path / name, engine="torch").generate(
                "the fox", temperature=0, max_tokens=12
            )
            assert written[name] == alone.tokens
            assert written[name] != written["first"]
    finally:
        catalog.close()


def test_what_is_wrong_with_a_model_is_found_at_the_start(little: Path, tmp_path: Path) -> None:
    """By settings and headers: its weights are not read, nor is the first model opened before."""
    for name in ("cut", "absent", "mute"):
        shutil.copytree(little, tmp_path / name)
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / "absent" / "model.safetensors").unlink()
    (tmp_path / "mute" / "chat_template.jinja").write_text("{{ messages | nothing }}")
    (tmp_path / "odd.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    (tmp_path / "empty").mkdir()
    config = ServeConfig(engine="torch", threads=1)
    opening = {
        "cut": "model.safetensors is damaged", "absent": "does not exist", "empty": "config.json",
    }  # fmt: skip
    for name, words in opening.items():
        with pytest.raises(ModelError, match=re.escape(words)):
            open_catalog("no model", config, name="first", models={"a": str(tmp_path / name)})
    odd = {"a": str(tmp_path / "odd.gguf")}
    for settings, words in (
        (config, "is computed by llama.cpp"),
        (ServeConfig(), "version 2 or 3"),
    ):
        with pytest.raises(ModelError, match=rf"odd\.gguf.*{words}"):
            open_catalog("no model", settings, name="first", models=odd)
    with pytest.raises(ModelError, match="expected an adapter's directory"):
        open_catalog(
            "no model", config, name="first", models={"a": str(little)},
            adapters={"a+b": str(tmp_path / "empty")},
        )  # fmt: skip
    small = ServeConfig(engine="torch", model_memory="10KB", keep_alive="5m")
    with pytest.raises(ConfigError, match=r"a needs about .* but models may take 10.0 KB"):
        open_catalog("no model", small, name="first", models={"a": str(little)})
    with pytest.raises(ConfigError, match="there is no model of this name"):
        open_catalog("no model", ServeConfig(pin=("b",)), name="a")
    for settings, words in (
        ({"keep_alive": "5"}, "needs a unit"), ({"model_memory": "much"}, "a size must look like"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            open_catalog("no model", ServeConfig(**settings), name="a")  # type: ignore[arg-type]
    said = Warnings()
    (tmp_path / "models").mkdir()
    for name in ("mute", "empty"):
        (tmp_path / name).rename(tmp_path / "models" / name)
    (tmp_path / "models" / "heard").mkdir()  # one that cannot be served keeps none away
    (tmp_path / "models" / "heard" / "config.json").write_text('{"model_type": "whisper"}')
    catalog = open_catalog(
        str(little), config, name="first", directory=str(tmp_path / "models"), progress=said
    )
    try:
        mute = catalog.models["mute"]
        assert list(catalog.models) == ["first", "mute"]
        assert mute.summary is not None
        assert (mute.is_chat, mute.context) == (False, 4096)
        measured = catalog.models["first"].engine.memory_bytes  # type: ignore[union-attr]
        assert measured <= mute.summary.bytes <= 3 * measured
        left_out, unserved, cannot = said.lines
        assert unserved.startswith("heard: left out, as it cannot be served: model type 'whisper'")
        assert "left out, as they are no models: empty" in left_out
        assert cannot.startswith("mute cannot converse: ")
    finally:
        catalog.close()


class Warnings(Progress):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def test_a_model_that_is_replaced_while_it_is_served(little: Path, tmp_path: Path) -> None:
    """Each answer is wholly one version's, and the new one comes without a pause."""
    import torch

    from linnet.model import load_model, save_checkpoint

    place, new = tmp_path / "served", tmp_path / "new"
    shutil.copytree(little, place)
    shutil.copytree(little, new)
    model = load_model(little)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.0)
    save_checkpoint(model, new, tokenizer=little)
    texts = [
        load(each, engine="torch").generate("the fox", temperature=0, max_tokens=8).text
        for each in (place, new)
    ]
    assert texts[0] != texts[1]
    catalog = open_catalog(str(place), ServeConfig(engine="torch", threads=1), name="m")
    catalog.pool.settings = dataclasses.replace(catalog.pool.settings, look=0.0)
    running = Running(catalog, ServeConfig(port=0, log="off"))
    try:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)

        def ask() -> tuple[str, str | None]:
            answer = client.completions.create(
                model="m", prompt="the fox", temperature=0, max_tokens=8
            )
            return answer.choices[0].text, answer.system_fingerprint

        old = ask()
        assert old == ask()
        place.rename(tmp_path / "old")
        assert ask() == old  # there is nothing at its place now
        new.rename(place)
        until = time.monotonic() + 60
        found = [ask()]
        while found[-1][0] != texts[1]:
            assert found[-1] == old
            assert time.monotonic() < until
            found.append(ask())
        assert found[-1][1] != old[1]
    finally:
        running.stop()


def test_native_code_that_crashes_takes_one_answer_with_it(little: Path) -> None:
    engine: Any = open_engine(little, EngineConfig(engine="llama.cpp", precision="f32", threads=1))
    ends = {str(token): -100 for token in engine.served.stop_ids}
    with serving(engine) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        stream = client.completions.create(
            model="tiny", prompt="the fox", max_tokens=4000, stream=True, logit_bias=ends
        )
        next(stream)
        os.kill(engine.dispatcher.process().id, signal.SIGKILL)
        with pytest.raises(openai.APIError, match=r"llama\.cpp ended in the middle of a text"):
            list(stream)
        assert client.completions.create(model="tiny", prompt="a", max_tokens=3).choices
        figures = get(running, "/metrics").read().decode()
        assert 'linnet_failed_total{model="tiny"} 1.0' in figures


@pytest.mark.parametrize("kind", ["torch", "llama.cpp"])
def test_an_encoder_of_ones_own(kind: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    path = tmp_path / "bert"
    path.mkdir()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "eats"]
    (path / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    config = transformers.BertConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    catalog = open_catalog(str(path), ServeConfig(engine=kind, threads=1))
    running = Running(catalog, ServeConfig(port=0, log="off"))
    try:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        texts = ["a cat eats", "dog"]
        found = client.embeddings.create(model="bert", input=texts)
        expected = load_encoder(path).embed(texts)
        vectors = np.array([entry.embedding for entry in found.data])
        np.testing.assert_allclose(vectors, expected, atol=1e-4)
        assert found.usage.prompt_tokens == 5 + 3
        with pytest.raises(openai.BadRequestError, match="maximum context length is 16"):
            client.embeddings.create(model="bert", input="cat " * 20)
    finally:
        running.stop()


def test_keys_from_the_command_line(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    made = RUNNER.invoke(app, ["keys", "add", "mine", "--keys", file, "--concurrent", "3"])
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert key.startswith("linnet-")
    shown = RUNNER.invoke(app, ["keys", "list", "--keys", file]).stdout
    assert "mine" in shown
    assert "3 at a time" in shown
    assert key not in shown
    assert RUNNER.invoke(app, ["keys", "revoke", "mine", "--keys", file]).exit_code == 0
    none = RUNNER.invoke(app, ["keys", "list", "--keys", file])
    assert none.stdout == ""
    assert f"no keys in {file}" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent", "--port", "70000"], "port must be between"),
        (["absent", "--host", "0.0.0.0"], "needs a key"),
        (["absent", "--model", "a"], "--model must be NAME=DIRECTORY"),
        (["absent", "--engine", "tensor"], "must be one of auto, llama.cpp, torch"),
        (["absent", "--api-key", "short"], "8 characters"),
    ],
)
def test_what_cannot_be_served_is_said_first(arguments: list[str], words: str) -> None:
    done = RUNNER.invoke(app, ["serve", "--port", "0", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["serve", str(tmp_path / "absent"), "--port", "0"])
    assert isinstance(done.exception, ModelError)


@pytest.mark.parametrize("package", ["uvicorn", "prometheus_client"])
def test_without_what_serving_needs(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; from linnet.cli import main; "
        "sys.argv = ['linnet', 'serve', 'absent', '--port', '0']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()  # no traceback
    published = package.replace("_", "-")
    assert line.endswith(
        f"linnet serve needs {published}, which is not installed: {install_command(published)}"
    )

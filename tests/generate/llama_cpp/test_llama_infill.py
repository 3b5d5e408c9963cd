"""Filling in the middle on both engines, with a tiny model whose vocabulary has the tokens."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MakeModel
from tokenizers import Tokenizer

import linnet
from linnet.generate import Request, Sampling
from linnet.generate.engine import Engine
from linnet.generate.engines import EngineConfig
from linnet.generate.llama_cpp import open_checkpoint
from linnet.respond import EngineResponder
from linnet.serve.endpoints.infill import requests
from linnet.serve.endpoints.ollama import _continued
from linnet.serve.ollama.reading import settings

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

NAMES = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>")
BEFORE, AFTER = "Once upon a", " and the hen"


@pytest.fixture(scope="module")
def model(
    make_model: MakeModel, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("infill") / "tokenizer"
    shutil.copytree(tokenizer_directory, directory)
    backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
    backend.add_special_tokens(list(NAMES))
    backend.save(str(directory / "tokenizer.json"))
    return make_model("llama", context=256, directory=directory)


@pytest.fixture(scope="module", params=["torch", "llama.cpp"])
def engine(request: pytest.FixtureRequest, model: Path) -> Iterator[Engine]:
    if request.param == "torch":
        opened: Any = linnet.load(model, engine="torch").engine
    else:
        opened = open_checkpoint(model, EngineConfig(precision="f32", threads=1, slots=2))
    yield opened
    opened.close()


def test_the_middle(engine: Engine, model: Path) -> None:
    responder = EngineResponder(engine)
    reference = Tokenizer.from_file(str(model / "tokenizer.json"))
    published = f"{NAMES[0]}{BEFORE}{NAMES[1]}{AFTER}{NAMES[2]}"
    prompt = (
        *engine.tokenization.start,
        *reference.encode(published, add_special_tokens=False).ids,
    )
    greedy = Sampling(temperature=0, max_tokens=12)
    wanted = engine.generate([Request(prompt, greedy)])[0].text
    assert wanted
    by_ollama = {
        "prompt": BEFORE, "suffix": AFTER, "options": {"temperature": 0, "num_predict": 12},
    }  # fmt: skip
    by_llama = {
        "input_prefix": BEFORE[:4], "prompt": BEFORE[4:], "input_suffix": AFTER,
        "temperature": 0, "n_predict": 12,
    }  # fmt: skip
    sampled = settings(by_ollama, longest=0, context=engine.context)
    for (found,) in (
        requests(by_llama, responder, longest=0).texts,
        _continued(by_ollama, responder, sampled).texts,
    ):
        assert found.prompt == prompt
        assert engine.generate([found])[0].text == wanted


def test_a_token_that_ends_the_middle(engine: Engine) -> None:
    """One that ends no other text ends this one."""
    (separator,) = engine.tokenize("<|file_sep|>", special=True)
    body = {
        "input_prefix": BEFORE, "input_suffix": AFTER, "n_predict": 9,
        "logit_bias": {str(separator): 100},
    }  # fmt: skip
    (request,) = requests(body, EngineResponder(engine), longest=0).texts
    ended = engine.generate([request])[0]
    assert (ended.text, ended.tokens, ended.finish_reason) == ("", (), "stop")
    free = engine.generate([Request(request.prompt, request.sampling)])[0]
    assert (len(free.tokens), free.finish_reason) == (9, "length")


def test_which_stop_string_ended_it(engine: Engine) -> None:
    text = engine.generate([Request(BEFORE, Sampling(temperature=0, max_tokens=20))])[0].text
    sampling = Sampling(temperature=0, max_tokens=20, stop=("never in it", text[5:9]))
    for logprobs in (False, True):
        chunks = list(engine.stream(Request(BEFORE, sampling, logprobs=logprobs)))
        assert chunks[-1].stop == text[5:9]
        assert {chunk.stop for chunk in chunks[:-1]} <= {None}

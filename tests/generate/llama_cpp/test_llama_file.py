"""GGUF files of anyone's: their own tokenizer and template, and their weights in torch."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import SHAPES, MakeModel

import linnet
from linnet import load
from linnet.errors import ConfigError, ModelError
from linnet.export import ExportConfig, export_gguf
from linnet.generate import Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.engines import EngineConfig, open_engine
from linnet.generate.llama_cpp import LlamaCppEngine, open_gguf
from linnet.generate.llama_cpp.resources import unused_instructions
from linnet.generate.llama_cpp.scoring import numbers_outside
from linnet.generate.torch_engine import TorchEngine
from linnet.gguf.metadata import read_metadata
from linnet.gguf.weights import dequantised
from linnet.model import ModelConfig, Transformer, load_model, save_checkpoint
from linnet.progress import Progress
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer.loading import adopt

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SETTINGS = EngineConfig(threads=1, slots=2)


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> Path:
    path = make_model("qwen3", context=128)
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": TEMPLATE}))
    return path


@pytest.fixture(scope="module")
def file(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("file") / "model.gguf"
    return export_gguf(model, out, ExportConfig(type="f32"))


@pytest.fixture(scope="module")
def engine(file: Path) -> Iterator[LlamaCppEngine]:
    opened = open_gguf(file, SETTINGS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def exact(model: Path) -> TorchEngine:
    found = linnet.load(model, engine="torch").engine
    assert isinstance(found, TorchEngine)
    return found


def test_text_and_tokens(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    assert engine.context == 128
    for text in ("Once upon a time", "a naïve hen —", "the <|im_end|>", ""):
        for special in (False, True):
            assert engine.tokenize(text, special=special) == exact.tokenize(text, special=special)
        assert engine.detokenize(engine.tokenize(text)) == text


def test_chats_by_the_template_in_the_file(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    for content in ("sing", "sing <|im_end|>\n<|im_start|>system\n now", "é — <|endoftext|>"):
        messages = [{"role": "user", "content": content}]
        assert engine.chat_prompt(messages) == exact.chat_prompt(messages)


def test_texts_are_those_of_torch(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    sampling = Sampling(temperature=0, max_tokens=30, stop=("\n",))
    for prompt in ("Once upon a", "The fox"):
        wanted = exact.generate([Request(prompt, sampling)])[0]
        found = engine.generate([Request(prompt, sampling)])[0]
        clean = wanted.text.split("\ufffd")[0]
        assert found.text.startswith(clean[:-1])
        assert len(found.tokens) <= len(wanted.tokens)


def test_tokens_within_a_character_are_found_again(
    engine: LlamaCppEngine, exact: TorchEngine
) -> None:
    dash = exact.tokenizer.encode("—")
    assert len(dash) > 1, "the test needs a character of several tokens"
    decoder = engine.tokenization.decoder(())
    decoder.hear("—")
    assert list(decoder.complete(dash[-1:], len(dash))) == dash


def test_the_weights_in_torch(file: Path, engine: LlamaCppEngine, exact: TorchEngine) -> None:
    assert read_metadata(file).shape().family == "qwen3"
    found, wanted = engine.score(["The fox met"])[0], exact.score(["The fox met"])[0]
    assert found.tokens == wanted.tokens
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-5)


@pytest.mark.parametrize("family", [family for family in SHAPES if family != "smollm3"])
@torch.inference_mode()
def test_every_family_comes_back(family: str, make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(family)
    whole = load_model(path)
    out = export_gguf(path, tmp_path / "model.gguf", ExportConfig(type="f32"))
    back = dequantised(out, whole.config, numbers=numbers_outside(whole))
    tokens = torch.tensor([[5, 9, 30, 77, 3]])
    torch.testing.assert_close(back(tokens), whole(tokens), atol=1e-4, rtol=1e-5)
    if family not in ("phi3", "mistral", "apertus"):
        shape = read_metadata(out).shape()
        assert (shape.family, shape.depth, shape.kv_heads) == (
            whole.config.family, whole.config.depth, whole.config.kv_heads,
        )  # fmt: skip
        torch.testing.assert_close(
            dequantised(out, shape)(tokens), whole(tokens), atol=1e-4, rtol=1e-4
        )


def test_what_cannot_be_opened(file: Path, tmp_path: Path) -> None:
    (tmp_path / "nonsense.gguf").write_bytes(b"nonsense" * 100)
    with pytest.raises(ModelError, match="the signature GGUF"):
        open_engine(tmp_path / "nonsense.gguf")
    with pytest.raises(ModelError, match="does not exist"):
        open_engine(tmp_path / "missing.gguf")
    with pytest.raises(ConfigError, match="precision of its own"):
        open_engine(file, EngineConfig(precision="q4_0"))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        open_engine(cut)


def test_one_way_to_open_them_all(model: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine must be one of auto, llama\.cpp, torch"):
        open_engine(model, EngineConfig(engine="onnx"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="precision must be one of"):
        open_engine(model, EngineConfig(engine="torch", precision="q4_0"))
    for kind in ("torch", "llama.cpp"):
        for name in ("base", "one.two"):
            with pytest.raises(ConfigError, match="an adapter's name must be letters"):
                open_engine(model, EngineConfig(engine=kind), adapters={name: model})  # type: ignore[arg-type]
    for settings in ({"device": "cuda"}, {"dtype": "bf16"}):
        with pytest.raises(ConfigError, match="device and dtype are for engine torch"):
            load(model, engine="llama.cpp", **settings)  # type: ignore[arg-type]
    assert isinstance(
        open_engine(model, EngineConfig(engine="torch", precision="f32")), TorchEngine
    )
    opened = open_engine(model, EngineConfig(threads=1, slots=1))
    assert isinstance(opened, LlamaCppEngine)
    opened.close()


AGAIN = """
import sys
from linnet.generate import Request, Sampling
from linnet.generate.engines import EngineConfig, open_engine
engine = open_engine(sys.argv[1], EngineConfig(threads=1, slots=1))
print(engine.generate([Request("The fox", Sampling(temperature=0, max_tokens=5))])[0].tokens)
assert "torch" not in sys.modules
print(engine.score(["The fox"])[0].tokens)
engine.close()
"""


def test_a_second_start_reads_no_weights(make_model: MakeModel) -> None:
    path = make_model("arcee")
    first = open_engine(path, EngineConfig(threads=1, slots=1))
    again = open_engine(path, EngineConfig(threads=1, slots=1))
    request = Request("The fox", Sampling(temperature=0, max_tokens=5))
    try:
        assert isinstance(first, LlamaCppEngine)
        assert isinstance(again, LlamaCppEngine)
        assert (again.resources, again.served.file) == (first.resources, first.served.file)
        wanted = first.generate([request])[0].tokens
        found = subprocess.run(
            [sys.executable, "-c", AGAIN, str(path)], capture_output=True, text=True, check=False
        )
        tokens = tuple(first.tokenize("The fox"))
        assert found.stdout.splitlines() == [str(wanted), str(tokens)], found.stderr
        again.close()
        first.served.file.unlink()
        again = open_engine(path, EngineConfig(threads=1, slots=1))
        assert again.generate([request])[0].tokens == wanted
    finally:
        first.close()
        again.close()


class Heard(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize("family", ["phi3", "mistral"])
def test_what_llama_cpp_computes_otherwise_is_torchs(family: str, make_model: MakeModel) -> None:
    heard = Heard()
    opened = open_engine(make_model(family), progress=heard)
    assert isinstance(opened, TorchEngine)
    assert "computing with torch" in heard.warnings[0]
    opened.close()


def test_a_sentencepiece_vocabulary(tmp_path: Path) -> None:
    """Trained by sentencepiece itself, with a space that is put before every text."""
    sentencepiece = pytest.importorskip("sentencepiece")
    text = "The fox met a naïve hen — friends at last. "
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text] * 20), model_prefix=str(tmp_path / "sp"), model_type="bpe",
        vocab_size=300, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    adopt(str(tmp_path / "sp.model"), tmp_path / "tokenizer")
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    model = Transformer(
        ModelConfig(
            family="llama",
            vocab_size=tokenizer.vocab_size,
            context=64,
            width=32,
            depth=1,
            heads=2,
            kv_heads=2,
            head_width=16,
            mlp_width=32,
            bos_id=1,
            eos_id=2,
        )
    )
    model.initialise(torch.Generator().manual_seed(0))
    (tmp_path / "model").mkdir()
    save_checkpoint(model, tmp_path / "model", tokenizer=tmp_path / "tokenizer")
    out = export_gguf(tmp_path / "model", tmp_path / "model.gguf", ExportConfig(type="f32"))
    exact = linnet.load(tmp_path / "model", engine="torch").engine
    for opened in (
        open_gguf(out, SETTINGS),
        open_engine(tmp_path / "model", EngineConfig(threads=1, slots=1)),
    ):
        for given in ("The fox", "a naïve hen — at last", " The", "\U0001f600"):
            assert opened.tokenize(given) == exact.tokenize(given), given
        request = Request("The fox", Sampling(temperature=0, max_tokens=8))
        found, wanted = opened.generate([request])[0], exact.generate([request])[0]
        assert found.prompt_tokens == wanted.prompt_tokens
        assert found.tokens == wanted.tokens
        assert found.text == wanted.text
        # From an empty prompt: by the token that begins texts, and no space before the first word.
        word = Sampling(temperature=0, max_tokens=3, logit_bias=((tokenizer.encode("met")[0], 99),))
        texts = [e.generate([Request("", word)])[0].text for e in (opened, exact)]
        assert texts == ["m m m"] * 2
        empty, begun, ended = (
            opened.generate([Request(prompt, Sampling(temperature=0, max_tokens=1), logprobs=True)])
            for prompt in ("", (1,), (2,))
        )
        assert empty[0].logprobs == begun[0].logprobs != ended[0].logprobs
        assert opened.detokenize(opened.tokenize("met")) == "met"
        constraint = Constraint("choice", '[" met", " naïve"]')
        bound = Request("The fox", Sampling(max_tokens=40, seed=1), constraint=constraint)
        assert opened.generate([bound])[0].text in (" met", " naïve")
        opened.close()


def test_what_a_processor_has_and_llama_cpp_does_not_use() -> None:
    told = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 1 | OPENMP = 1 | "
    assert unused_instructions(told, frozenset(("avx2", "avx512f", "avx512_vnni"))) == (
        "AVX512_VNNI",
    )
    assert unused_instructions(told, frozenset(("avx2",))) == ()

"""What is reported as written is a file that llama.cpp opens; the rest is refused with a reason."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, normalizers, trainers
from typer.testing import CliRunner

from linnet.cli.export import app
from linnet.errors import MissingExtraError, ModelError
from linnet.export import ExportConfig, LlamaCpp, export_gguf, export_ollama
from linnet.generate.engines import open_engine
from linnet.gguf.architectures import architecture
from linnet.model import ModelConfig, Transformer, families, save_checkpoint
from linnet.model.families.record import ALL_BIASES
from linnet.progress import Progress
from linnet.roundtrip import CheckConfig, check, require_same
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train.config import FAMILIES

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

F32 = ExportConfig(type="f32")
TEXT = "The small grey bird sat on the mat; and 12 saw one cat's house. " * 12
KINDS = ("bpe", "bytes", "chars")
GEMMA = {
    "norm": "rmsnorm_offset", "norm_place": "both", "activation": "geglu",
    "embedding_scale": 32**0.5, "attention_scale": 0.25, "tied": True,
}  # fmt: skip
SHAPES: Mapping[str, Mapping[str, Any]] = {
    **FAMILIES,
    "gemma2": {
        **GEMMA,
        "attention_softcap": 5.0,
        "logit_softcap": 7.0,
        "window": 64,
        "window_layers": (True, False),
    },
    "gemma3_text": {**GEMMA, "qk_norm": True},
}
BIASED = {"attention_bias": True, "output_bias": True}
VARIANTS: list[dict[str, Any]] = [{"tied": True}, {"tied": False}, BIASED, {"mlp_bias": True}]
REFUSED = {
    ("qwen3", "attention_bias"), ("arcee", "attention_bias"), ("gemma2", "attention_bias"),
    ("gemma3_text", "attention_bias"), ("qwen3", "mlp_bias"), ("arcee", "mlp_bias"),
    ("gemma2", "mlp_bias"), ("gemma3_text", "mlp_bias"), ("apertus", "mlp_bias"),
    ("qwen2", "mlp_bias"), ("phi3", "mlp_bias"), ("gemma2", "tied"),
}  # fmt: skip
"""What llama.cpp has no place for, by family and setting."""
NOT_PUBLISHED = {("phi3", "attention_bias"), ("qwen2", "attention_bias")}
"""Biases after attention, which transformers does not have there either."""

MakeModel = Callable[..., Path]


def shape(family: str, size: int = 300, **more: Any) -> ModelConfig:
    usual: dict[str, Any] = {
        "vocab_size": size, "context": 64, "width": 32, "depth": 2, "heads": 2, "kv_heads": 2,
        "head_width": 16, "mlp_width": 32, "bos_id": 0, "eos_id": 0,
    }  # fmt: skip
    return ModelConfig(family=family, **{**usual, **SHAPES[family], **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer directory of each kind that llama.cpp can have."""
    place = tmp_path_factory.mktemp("vocabularies")
    for kind in KINDS:
        config = TokenizerConfig(kind=kind, vocab_size=320)  # type: ignore[arg-type]
        train_tokenizer([TEXT], place / kind, config, inputs={})
    return place


@pytest.fixture
def make(vocabularies: Path, tmp_path: Path) -> MakeModel:
    def made(family: str, kind: str = "bpe", *, name: str = "model", **more: Any) -> Path:
        tokenizer = vocabularies / kind
        model = Transformer(shape(family, load(tokenizer).vocab_size, **more))
        model.initialise(torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        (tmp_path / name).mkdir()
        save_checkpoint(model, tmp_path / name, tokenizer=tokenizer)
        return tmp_path / name

    return made


def believe(monkeypatch: pytest.MonkeyPatch, family: str, **facts: Any) -> None:
    """Have the record say something else about llama.cpp."""
    record = families.FAMILIES[family]
    assert record.gguf is not None
    known = replace(record, gguf=replace(record.gguf, **facts))
    monkeypatch.setitem(families.FAMILIES, family, known)


class Heard(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize(
    ("family", "kind", "name", "more"),
    [
        ("llama", "bytes", "model", {}),
        ("apertus", "chars", "My-Phi-3-copy", {"tied": True}),
    ],
)
def test_what_the_format_allows_is_the_same_model_there(
    family: str, kind: str, name: str, more: dict[str, Any], make: MakeModel
) -> None:
    """No merges, no output layer of its own, a name that llama.cpp takes for Phi-3's."""
    path = make(family, kind, name=name, **more)
    require_same(check(path, CheckConfig(quantised="", max_tokens=3, prompts=("The cat's 12;",))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [family for family in SHAPES if family != "bert"])
def test_every_family_with_every_vocabulary(
    family: str, kind: str, make: MakeModel, tmp_path: Path
) -> None:
    path = make(family, kind)
    with LlamaCpp(export_gguf(path, tmp_path / "model.gguf", F32, open_once=False)) as llama:
        tokenizer = load(path)
        for text in ("The cat's 12; house.", "\u65e5\u672c \x00\n", "<|endoftext|>"):
            assert llama.tokens(text) == [*tokenizer.start, *tokenizer.encode(text)]
        assert llama.continuation(tokenizer.encode("The"), length=1).logprobs


@pytest.mark.parametrize("more", VARIANTS, ids=lambda more: ",".join(more))
@pytest.mark.parametrize("family", [family for family in SHAPES if family != "bert"])
def test_what_has_no_place_there_is_refused_before_it_is_written(
    family: str, more: dict[str, Any]
) -> None:
    config = replace(shape(family, output_bias=False, mlp_bias=False), **more)
    (setting, value), *_ = more.items()
    if (family, setting) in REFUSED | NOT_PUBLISHED and (setting != "tied" or not value):
        with pytest.raises(ModelError, match=r"which this model has .*cannot be exported"):
            architecture(config)
    else:
        architecture(config)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "setting"), sorted(REFUSED))
def test_llama_cpp_itself_refuses_them(
    family: str, setting: str, make: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it was written to does not stay; its own reason is said."""
    more = BIASED if setting == "attention_bias" else {setting: setting != "tied"}
    path = make(family, **more)
    believe(monkeypatch, family, biases=ALL_BIASES, output="either")
    with pytest.raises(ModelError, match="wrong number of tensors; expected"):
        export_gguf(path, tmp_path / "model.gguf", F32)
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_file_that_is_refused_does_not_stay_and_the_reason_is_said(
    make: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make("gemma2", tied=False)
    believe(monkeypatch, "gemma2", output="either")
    out = tmp_path / "out" / "model.gguf"
    done = CliRunner().invoke(app, ["gguf", str(path), "--out", str(out), "--type", "f32"])
    assert done.exit_code != 0
    assert str(done.exception) == (
        f"{out}: llama.cpp does not accept it: done_getting_tensors: wrong number of tensors; "
        "expected 25, got 24; the file was not kept"
    )
    assert not out.parent.exists()
    with pytest.raises(ModelError, match="wrong number of tensors"):
        export_ollama(path, tmp_path / "ollama", F32)
    assert not (tmp_path / "ollama").exists()
    out.parent.mkdir()
    out.write_text("an earlier one")
    with pytest.raises(ModelError, match="wrong number of tensors"):
        export_gguf(path, out, F32)
    assert out.read_text() == "an earlier one"
    found = {(c.where, c.what): c for c in check(path, CheckConfig(quantised="", max_tokens=1))}
    assert found["llama.cpp f32", "opens"].failed
    assert "expected 25, got 24" in found["llama.cpp f32", "opens"].told
    assert found["transformers", "greedy text"].same


def test_without_llama_cpp_it_is_said_that_nothing_was_opened(
    make: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: Any, **named: Any) -> None:
        raise MissingExtraError("xllamacpp", "running llama.cpp")

    monkeypatch.setattr("linnet.llama_cpp.client.LlamaCppProcess", missing)
    heard = Heard()
    out = export_gguf(make("llama"), tmp_path / "model.gguf", F32, progress=heard)
    assert out.is_file()
    (warning,) = heard.warnings
    assert warning.endswith("was not opened to see whether llama.cpp accepts it: xllamacpp is not "
                            "installed")  # fmt: skip


@pytest.mark.parametrize("others", [True, False])
def test_white_space_after_special_tokens_is_cut_as_the_tokenizer_does(
    others: bool, make: MakeModel, tmp_path: Path
) -> None:
    """llama.cpp goes by the model's name: Phi-3's tokens take in what follows, others do not."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=320, special_tokens=pieces, show_progress=False)
    )
    raw = json.loads(backend.to_str())
    raw["added_tokens"] = []
    backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
    keep = ("<unk>", "<s>", "<|endoftext|>")
    backend.add_special_tokens(
        [
            AddedToken(name, normalized=False, rstrip=name not in keep and not others)
            for name in (*keep, "</s>", "<|user|>", "<|end|>")
        ]
    )
    place = tmp_path / "tokenizer"
    place.mkdir()
    backend.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    model = Transformer(shape("phi3", backend.get_vocab_size()))
    model.initialise(torch.Generator().manual_seed(0))
    path = tmp_path / ("phi3-tuned" if others else "tuned")
    path.mkdir()
    save_checkpoint(model, path, tokenizer=place)
    with LlamaCpp(export_gguf(path, tmp_path / "model.gguf", F32, open_once=False)) as llama:
        for text in ("<|user|>\nHi<|end|>\n", "<s> a", "<|user|>  b"):
            expected = backend.encode(text, add_special_tokens=False).ids
            assert llama.tokens(text, special=True) == expected


def test_a_model_that_is_not_there_is_said_before_what_it_would_run_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.generate.engine_kind.find_spec", lambda name: None)
    heard = Heard()
    with pytest.raises(ModelError):
        open_engine(tmp_path / "absent", progress=heard)
    assert heard.warnings == []

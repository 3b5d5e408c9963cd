"""A GGUF file becomes the checkpoint that it was made from, for every family; or it is refused."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from test_gguf import CASES, GROUPED
from test_vocabulary import BERT_NAMES, CORPUS, LLAMA, SHARED, TEXTS, byte_level, saved, wordpiece
from tokenizers import normalizers, processors

from linnet import artifact, load_encoder
from linnet.errors import ModelError
from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.gguf import archive
from linnet.gguf.config import ImportConfig
from linnet.gguf.importing import import_gguf
from linnet.gguf.metadata import Metadata, llama3_scaling
from linnet.gguf.pretokenizers import TAGS
from linnet.gguf.tensors import TensorFile
from linnet.gguf.tokenizer import rebuilt
from linnet.gguf.vocabulary import read_definition, vocabulary
from linnet.model import load_model
from linnet.model.checkpoint import copy_tokenizer
from linnet.model.config import RopeScaling
from linnet.model.rope import stretch
from linnet.tokenizer import Tokenizer, load
from linnet.tokenizer.definition import GPT2_PATTERN, QWEN2_PATTERN
from linnet.tokenizer.sentencepiece import empty_proto, read_sentencepiece

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

TOKENS = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(3))
F32 = ExportConfig(type="f32")
# What transformers reads of a GGUF file right: it passes over Gemma's caps and scales, Qwen3's
# width of a head, and refuses GPT-2 without an output layer.
THEIRS = ("llama", "mistral", "qwen2", "phi3", "stablelm")
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
MESSAGES = [{"role": "user", "content": "Where is the <|endoftext|> bird?"}]


@torch.inference_mode()
def logits(path: Path) -> torch.Tensor:
    return load_model(path)(TOKENS)


@torch.inference_mode()
def their_logits(path: Path, **settings: Any) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(path, **settings).eval()
    return model(TOKENS).logits


@pytest.mark.parametrize("case", CASES)
def test_every_family_comes_back(case: str, published: Callable[..., Path], tmp_path: Path) -> None:
    path = published(*CASES[case])
    file = export_gguf(path, tmp_path / "model.gguf", F32, open_once=False)
    back = import_gguf(file, tmp_path / "back").path
    torch.testing.assert_close(logits(back), logits(path), atol=2e-4, rtol=2e-4)
    if case in THEIRS:
        theirs = their_logits(file.parent, gguf_file=file.name, dtype=torch.float32)
        torch.testing.assert_close(logits(back), theirs, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(their_logits(back), theirs, atol=1e-3, rtol=1e-3)
    ours, whole = load(back), load(path)
    assert [ours.encode(text) for text in TEXTS] == [whole.encode(text) for text in TEXTS]
    assert ours.stop_ids == whole.stop_ids


ENCODER = LLAMA | {"hidden_size": 64, "num_hidden_layers": 4}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", ENCODER),
    "roberta": ("bert", ENCODER | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "distilbert": (
        "distilbert",
        {"dim": 64, "n_layers": 3, "n_heads": 2, "hidden_dim": 96, "max_position_embeddings": 256},
    ),
    "modernbert": ("modernbert", ENCODER | {"local_attention": 16}),
}
"""The family that is read back, and settings. RoBERTa without its rows for padding is a BERT."""


@torch.inference_mode()
@pytest.mark.parametrize("family", ENCODERS)
def test_encoders_come_back(family: str, published: Callable[..., Path], tmp_path: Path) -> None:
    """Vectors of llama.cpp, and states after coming back, are transformers'."""
    pytest.importorskip("xllamacpp")
    read_as, values = ENCODERS[family]
    backend, names = wordpiece(lowercase=True), BERT_NAMES
    if family in ("roberta", "modernbert"):
        backend = byte_level((GPT2_PATTERN,), ignore_merges=False)
        backend.add_special_tokens(["<s>", "</s>"])
        ids = [(name, backend.token_to_id(name)) for name in ("</s>", "<s>")]
        backend.post_processor = processors.BertProcessing(*ids)
        backend.normalizer = normalizers.NFC() if family == "modernbert" else None
        names = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    tokenizer = saved(backend, tmp_path / "tokenizer", **names)
    name = {"roberta": "Roberta", "distilbert": "DistilBert", "modernbert": "ModernBert"}
    path = published(name.get(family, "Bert"), values, tokenizer=tokenizer, base=True)
    file = export_gguf(path, tmp_path / "model.gguf", F32)
    back = import_gguf(file, tmp_path / "back").path
    assert json.loads((back / "config.json").read_text())["model_type"] == read_as
    model = transformers.AutoModel.from_pretrained(path).eval()
    read = transformers.AutoModel.from_pretrained(back).eval()
    theirs, ours = (transformers.AutoTokenizer.from_pretrained(place) for place in (path, back))
    with LlamaCpp(file, context=256, embedding=True) as llama:
        for text in TEXTS:
            ids = theirs(text)["input_ids"]
            assert ours(text)["input_ids"] == ids
            if 1 in ids:  # padding, which RoBERTa does not count
                continue
            wanted = model(torch.tensor([ids])).last_hidden_state
            torch.testing.assert_close(
                read(torch.tensor([ids])).last_hidden_state, wanted, atol=1e-5, rtol=1e-5
            )
            if text and text.isascii() and not any(mark in text for mark in "<["):
                assert llama.tokens(text) == ids
                found, expected = torch.tensor(llama.embedding(text)), wanted[0].mean(0)
                assert (found - expected).abs().max() < 1e-3 * expected.norm(), text
    vector = wanted[0].mean(0)
    embedded = torch.as_tensor(load_encoder(back).embed([TEXTS[-1]])[0])
    assert torch.allclose(embedded, vector / vector.norm(), atol=1e-5)


def came_back(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer by way of what a GGUF file says of it."""
    words = vocabulary(tokenizer, read_definition(tokenizer), size=tokenizer.vocab_size + 3)
    said = {
        "model": words.model, "pre": words.pre, "tokens": words.tokens, "token_type": words.types,
        "scores": words.scores or [], "merges": words.merges or [], **words.settings,
    }  # fmt: skip
    values = {f"tokenizer.ggml.{key}": value for key, value in said.items()}
    file = Path("model.gguf")
    return rebuilt(Metadata(file, values, frozenset(), len(words.tokens), None))  # type: ignore[arg-type]


def tokenizer_of(kind: str) -> Tokenizer:
    tags = {tag: key for key, tag in TAGS.items()}
    if kind in tags:
        patterns, ignore_merges = tags[kind]
        backend = byte_level(patterns, ignore_merges=ignore_merges)
        backend.add_tokens([tokenizers.AddedToken("mat. ", normalized=False)])
        if kind == "llama-bpe":
            backend.post_processor = processors.TemplateProcessing(
                single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
            )
        return Tokenizer(backend, {"eos_token": "<|endoftext|>"})
    if kind == "composed":
        backend = byte_level((QWEN2_PATTERN,), ignore_merges=False)
        backend.normalizer = normalizers.NFC()
        return Tokenizer(backend, {"eos_token": "<|im_end|>"})
    if kind in ("lower", "cased"):
        return Tokenizer(wordpiece(lowercase=kind == "lower"), dict(BERT_NAMES))
    return load(SHARED / kind)


@pytest.mark.parametrize("kind", [*sorted(TAGS.values()), "composed", "lower", "cased", "llama"])
def test_tokenizers_come_back(kind: str) -> None:
    if kind == "llama" and not SHARED.exists():
        pytest.skip("needs the shared data")
    tokenizer = tokenizer_of(kind)
    back = came_back(tokenizer)
    for text in (*TEXTS, "e\u0301 mat. mat."):
        assert back.encode(text) == tokenizer.encode(text), text
        assert back.encode_whole(text) == tokenizer.encode_whole(text), text
        ids = tokenizer.encode(text)
        assert back.decode(ids) == tokenizer.decode(ids)
    assert (back.start, back.finish) == (tokenizer.start, tokenizer.finish)
    assert back.vocab_size == tokenizer.vocab_size
    assert back.special_ids == tokenizer.special_ids


def test_sentencepiece_comes_back(tmp_path: Path) -> None:
    """Trained by sentencepiece itself, as it is and without a space put first."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path / "sp"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in CORPUS for line in text.splitlines() if line),
        model_prefix=str(prefix), model_type="bpe", vocab_size=450, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.99,
        minloglevel=2,
    )  # fmt: skip
    for spaced in (True, False):
        backend, config = read_sentencepiece(prefix.with_suffix(".model"), spaced=spaced)
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        tokenizer = Tokenizer(backend, config)
        back = came_back(tokenizer)
        for text in TEXTS:
            assert back.encode_whole(text) == tokenizer.encode_whole(text), text
            ids = tokenizer.encode(text)
            assert back.decode(ids) == tokenizer.decode(ids), text


def test_what_stands_beside_the_weights_comes_along(
    published: Callable[..., Path], tmp_path: Path
) -> None:
    path = published("Llama", GROUPED)
    settings = path / "tokenizer_config.json"
    templates = {"default": TEMPLATE, "tools": "{{ 1 }}"}
    listed = [{"name": name, "template": text} for name, text in templates.items()]
    values = json.loads(settings.read_text()) | {"chat_template": listed}
    settings.write_text(json.dumps(values))
    (path / "README.md").write_text("---\nlicense: mit\n---\n# A bird\n")
    file = export_gguf(path, tmp_path / "a.gguf", ExportConfig(type="f16"), open_once=False)
    sampling = {"general.sampling.temp": 0.7, "general.sampling.top_k": 40}
    origin = {"general.author": "Ann", "general.languages": ["en", "de"]}
    repository = {"general.base_model.0.repo_url": "https://huggingface.co/ann/bird"}
    file = changed(file, tmp_path / "b.gguf", {**sampling, **origin, **repository})
    made = import_gguf(file, tmp_path / "back")
    ours, whole = load(made.path), load(path)
    assert ours.chat_template is not None
    assert ours.chat_template.templates == templates
    wanted = whole.encode_chat(MESSAGES)
    assert ours.encode_chat(MESSAGES).ids == wanted.ids
    generation = json.loads((made.path / "generation_config.json").read_text())
    assert (generation["temperature"], generation["top_k"]) == (0.7, 40)
    assert generation["do_sample"] is True
    assert generation["eos_token_id"][0] == 0
    card = (made.path / "README.md").read_text()
    header = card.split("---")[1].splitlines()
    assert {"license: mit", "base_model: ann/bird", "- de"} <= set(header)
    assert "| author | Ann |" in card
    assert made.stats["formats"] == {"F16": 23, "F32": 7}
    config = json.loads((made.path / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-6
    again = import_gguf(file, tmp_path / "back")  # is there
    assert again.manifest.created == made.manifest.created
    halves = import_gguf(file, tmp_path / "halves", ImportConfig(dtype="fp16"))
    assert json.loads((halves.path / "config.json").read_text())["torch_dtype"] == "float16"
    torch.testing.assert_close(logits(halves.path), logits(made.path), atol=0.05, rtol=0)


def changed(
    file: Path,
    out: Path,
    settings: dict[str, Any] | None = None,
    *,
    architecture: str | None = None,
    tensors: Callable[[str, Any], Any] = lambda name, data: data,
) -> Path:
    """The same file with other settings (None: without), and tensors changed or left out."""
    settings = settings or {}
    reader = gguf.GGUFReader(file)
    found = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture or found)
    kept = {key: field for key, field in reader.fields.items() if key not in settings}
    for key, field in kept.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], *field.types[1:2])
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    adders |= {str: writer.add_string, list: writer.add_array}
    for key, value in settings.items():
        if value is not None:
            adders[type(value)](key, value)
    for tensor in reader.tensors:
        data = tensors(tensor.name, tensor.data)
        if data is not None:
            kind = tensor.tensor_type if data is tensor.data else None
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": "mamba"}, "the architecture 'mamba' is not known here"),
    "projector": ({"architecture": "clip"}, "Got a file of the type 'mmproj'"),
    "adapter": ({"settings": {"general.type": "adapter"}}, "Got a file of the type 'adapter'"),
    "part": ({"settings": {"split.count": 3}}, "is one of 3 parts of a model; join them first"),
    "experts": (
        {"settings": {"llama.expert_count": 8}},
        "the setting llama.expert_count is not known for this architecture",
    ),
    "partial": (
        {"settings": {"llama.rope.dimension_count": 8}}, "partial_rotary_factor must be 1",
    ),
    "values": (
        {"settings": {"llama.attention.value_length": 8}}, "attention.value_length must be 16",
    ),
    "window": (
        {"settings": {"llama.attention.sliding_window": 8}},
        "the setting llama.attention.sliding_window is not known",
    ),
    "stretch": ({"settings": {"llama.rope.scaling.type": "su"}}, "none, linear or yarn. Got 'su'"),
    "vocabulary": (
        {"settings": {"tokenizer.ggml.model": "rwkv"}},
        "a vocabulary of kind gpt2, llama, t5, bert. Got 'rwkv'",
    ),
    "no vocabulary": (
        {"settings": {"tokenizer.ggml.model": None}}, "a vocabulary of kind .* Got 'none'",
    ),
    "pre-tokenizer": (
        {"settings": {"tokenizer.ggml.pre": "default"}}, "pre-tokenizer 'default' is not known",
    ),
    "missing": (
        {"tensors": lambda n, d: None if n == "blk.1.attn_k.weight" else d},
        "the tensor 'blk.1.attn_k.weight' is missing",
    ),
    "shape": (
        {"tensors": lambda n, d: d[:-1].copy() if n == "blk.1.attn_k.weight" else d},
        r"'blk.1.attn_k.weight' must have the shape \(32, 64\). Got \(31, 64\)",
    ),
    "left over": (
        {"settings": {"llama.block_count": 2}}, "'blk.2.attn_norm.weight' does not belong to this",
    ),
    "format": (
        {"tensors": lambda n, d: d.astype(np.float64) if n == "output_norm.weight" else d},
        "'output_norm.weight' has the number format F64, which cannot be read",
    ),
    "no number": (
        {"tensors": lambda n, d: d * np.float32("nan") if n == "output_norm.weight" else d},
        "'model.norm.weight' has values that are no numbers",
    ),
}  # fmt: skip


def test_unigram_comes_back(tmp_path: Path) -> None:
    """With its table of characters, as llama.cpp's converter writes it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path / "sp"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in CORPUS for line in text.splitlines() if line),
        model_prefix=str(prefix), model_type="unigram", vocab_size=200, minloglevel=2,
        normalization_rule_name="nmt_nfkc", hard_vocab_limit=False, byte_fallback=False,
    )  # fmt: skip
    model = empty_proto("a test")
    model.ParseFromString(prefix.with_suffix(".model").read_bytes())
    table = model.normalizer_spec.precompiled_charsmap
    said = {
        "model": "t5", "tokens": [piece.piece for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "token_type": [piece.type for piece in model.pieces], "add_space_prefix": True,
        "precompiled_charsmap": [byte - 256 if byte > 127 else byte for byte in table],
        "unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "add_eos_token": True,
    }  # fmt: skip
    values = {f"tokenizer.ggml.{key}": value for key, value in said.items()}
    metadata = Metadata(Path("a.gguf"), values, frozenset(), len(said["tokens"]), None)  # type: ignore[arg-type]
    back, wanted = rebuilt(metadata), sentencepiece.SentencePieceProcessor()
    wanted.Load(str(prefix.with_suffix(".model")))
    for text in TEXTS:
        if "<" not in text:  # special tokens named in a text
            assert back.encode(text) == wanted.EncodeAsIds(text), text
    assert back.finish == (2,)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, byte_level: Path) -> Path:
    """A GGUF file of Llama's, made once."""
    path = tmp_path_factory.mktemp("small")
    config = transformers.LlamaConfig(vocab_size=323, bos_token_id=0, eos_token_id=0, **GROUPED)
    torch.manual_seed(1)
    transformers.LlamaForCausalLM(config).save_pretrained(path / "published")
    copy_tokenizer(byte_level, path / "published")
    return export_gguf(path / "published", path / "model.gguf", F32, open_once=False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_line(name: str, small: Path, tmp_path: Path) -> None:
    change, reason = REFUSED[name]
    file = changed(small, tmp_path / "changed.gguf", **change)
    with pytest.raises(ModelError, match=reason) as refused:
        import_gguf(file, tmp_path / "back")
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.gguf"]


def zipped(out: Path, files: dict[str, bytes], **settings: Any) -> Path:
    with zipfile.ZipFile(out, "w", **settings) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return out


def test_out_of_an_archive(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    ran = f"open({str(tmp_path / 'ran')!r}, 'w')"
    files = {
        "bird/__init__.py": ran.encode(),
        "bird/bird.Q8.gguf": data,
        "bird-1.dist-info/licenses/LICENSE": b"Do as you like.",
    }
    wheel = zipped(tmp_path / "bird-1-py3-none-any.whl", files, compression=zipfile.ZIP_DEFLATED)
    made = import_gguf(wheel, tmp_path / "back")
    assert torch.equal(logits(made.path), logits(small.parent / "published"))
    assert (made.path / "LICENSE").read_text() == "Do as you like."
    assert not (tmp_path / "ran").exists()
    assert not (made.path / "unpacked").exists()


def test_archives_that_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, deflated = small.read_bytes(), {"compression": zipfile.ZIP_DEFLATED}
    cases: dict[str, tuple[dict[str, bytes], str]] = {
        "two": ({"a/one.gguf": data, "two.GGUF": data}, "expected one GGUF file.* a/one.gguf, two"),
        "none": ({"README": b"no model"}, "expected one GGUF file in the archive. Got none"),
        "bomb": ({"one.gguf": b"GGUF" + bytes(30 << 20)}, "would expand from .* no model does"),
        "other": ({"one.gguf": np.random.default_rng(1).bytes(99)}, "'one.gguf' is no GGUF file"),
        "odd": ({"one.gguf": data[:3000]}, "must have"),
    }
    for name, (files, reason) in cases.items():
        file = zipped(tmp_path / f"{name}.zip", files, **deflated)
        with pytest.raises(ModelError, match=reason) as refused:
            import_gguf(file, tmp_path / "back")
        assert "\n" not in str(refused.value)
    whole = zipped(tmp_path / "whole.zip", {"one.gguf": data})
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-200])
    flipped = bytearray(whole.read_bytes())
    flipped[len(flipped) // 2] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    for file in (cut, tmp_path / "flipped.zip"):
        with pytest.raises(ModelError, match="an archive that cannot be unpacked"):
            import_gguf(file, tmp_path / "back")
    monkeypatch.setattr(archive, "_LARGEST_DIRECTORY", 40)
    with pytest.raises(ModelError, match="its list of files has"):
        import_gguf(whole, tmp_path / "back")
    with pytest.raises(ModelError, match="does not exist"):
        import_gguf(tmp_path / "missing.gguf", tmp_path / "back")
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".zip"]


def test_an_interrupted_import_leaves_nothing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = import_gguf(small, tmp_path / "back")

    def interrupted(*_: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("linnet.gguf.importing._Tensor.make", interrupted)
    for out in ("back", "other"):
        with pytest.raises(KeyboardInterrupt):
            import_gguf(small, tmp_path / out, ImportConfig(dtype="bf16"))
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
    assert artifact.read(kept.path, verify=True).content == kept.content


def test_every_number_format_is_undone(small: Path, tmp_path: Path) -> None:
    """Blocks of any bytes, in all formats that the gguf package knows, row by row and whole."""
    kinds = [kind for kind in gguf.GGMLQuantizationType if is_readable(kind)]
    assert len(kinds) >= 24
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    chance = np.random.default_rng(5)
    for kind in kinds:
        size = gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor(
            kind.name, chance.integers(0, 60, (3, 2 * size), np.uint8), raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = TensorFile(tmp_path / "a.gguf")
    file.require_readable()
    for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors:
        wanted = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(file.read(tensor.name), wanted, equal_nan=True), tensor.name
        assert np.array_equal(file.read(tensor.name, 1, 2), wanted[1:2], equal_nan=True)


def is_readable(kind: Any) -> bool:
    try:
        gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


@pytest.mark.parametrize(("theta", "width"), [(500_000.0, 128), (10_000.0, 16), (777.0, 64)])
def test_llama_3_stretches_are_found_again(theta: float, width: int) -> None:
    """From the factors alone; what cannot be told apart computes the same."""
    plain = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    for factor, low, high, original in (
        (8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 2.0, 5.0, 3000), (8.0, 1.0, 4.0, 40),
    ):  # fmt: skip
        scaling = RopeScaling("llama3", factor, original, low_frequency=low, high_frequency=high)
        slowed = stretch(scaling, plain, theta=theta, length=0)
        found = llama3_scaling((plain / slowed).tolist(), theta, width)
        if found is None:
            assert (low, high) != (1.0, 4.0)  # a single frequency between the bounds says little
            continue
        if (low, high) == (1.0, 4.0) and theta == 500_000.0 and original == 8192:
            assert found["original_max_position_embeddings"] == original
        again = RopeScaling(
            "llama3",
            found["factor"],
            found["original_max_position_embeddings"],
            low_frequency=found["low_freq_factor"],
            high_frequency=found["high_freq_factor"],
        )
        torch.testing.assert_close(
            stretch(again, plain, theta=theta, length=0), slowed, rtol=2e-4, atol=0
        )
    assert llama3_scaling([1.0, 3.0, 2.0, 5.0], 10_000.0, 8) is None

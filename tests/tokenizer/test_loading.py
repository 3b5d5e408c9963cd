"""Adopted tokenizers against the libraries they come from."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from varied_texts import VARIED

from linnet import artifact
from linnet.errors import MissingExtraError, ModelError
from linnet.tokenizer import Tokenizer, adopt, load

# SentencePiece writes a space as U+2581, so a text with that character cannot come back.
TRICKY = "ab c  <>s/x0A\n\té.dth世𝄞"


def adopted(source: Path, out: Path) -> Tokenizer:
    adopt(str(source), out)
    return load(out)


def random_texts(count: int) -> list[str]:
    choose = random.Random(0)
    return ["".join(choose.choices(TRICKY, k=choose.randint(0, 40))) for _ in range(count)]


def without_rulers(documents: list[str]) -> list[str]:
    """The texts with no long runs of one sign.

    Unigram cuts such a run into the same pieces in any order, with one score; the
    libraries choose different ones.
    """
    return [re.sub(r"([^\w\s])\1{2,}", r"\1", text) for text in documents]


def sentencepiece_model(documents: list[str], file: Path, **settings: Any) -> Any:
    """Train a SentencePiece model on some text, write it, and return its processor."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    lines = [line for text in documents for line in text.splitlines() if line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=600,
        minloglevel=2,
        num_threads=1,
        **settings,
    )
    file.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_gpt2_gives_transformers_ids(data: Path, documents: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2Tokenizer.from_pretrained(data / "tokenizers" / "gpt2")
    ours = adopted(data / "tokenizers" / "gpt2", tmp_path / "out")
    assert (ours.vocab_size, ours.end_of_text) == (50257, 50256)
    # Published in GPT-2's repository and countless tutorials.
    assert ours.encode("Hello world") == [15496, 995]
    for text in [*VARIED, *documents[:10], *random_texts(300)]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text, split_special_tokens=True)
        assert ours.decode(ids) == text


def test_llama_gives_sentencepieces_ids(data: Path, documents: list[str], tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    model = data / "tokenizers" / "llama" / "tokenizer.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ours = adopted(model, tmp_path / "out")
    read_back = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (ours.vocab_size, ours.bos, ours.end_of_text) == (32000, 1, 2)
    for text in [*VARIED, *documents[:10], *random_texts(300)]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == text
        plain = read_back.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert plain == ids


def test_llama_long_text_has_the_ids_of_the_whole(
    data: Path, documents: list[str], tmp_path: Path
) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = data / "tokenizers" / "llama" / "tokenizer.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
    text = "\n".join(documents)
    ours = adopted(model, tmp_path / "out")
    assert ours.encode(text) == theirs.encode(text)
    unbroken = "字" * 150_000
    assert ours.decode(ours.encode(unbroken)) == unbroken


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_with_byte_fallback(
    kind: str, prefix: bool, documents: list[str], tmp_path: Path
) -> None:
    theirs = sentencepiece_model(
        documents,
        tmp_path / "small.model",
        model_type=kind,
        byte_fallback=True,
        add_dummy_prefix=prefix,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    ours = adopted(tmp_path / "small.model", tmp_path / "out")
    for text in [*VARIED, *without_rulers(documents[:5]), *random_texts(300)]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == text


def test_sentencepiece_that_normalizes(documents: list[str], tmp_path: Path) -> None:
    theirs = sentencepiece_model(documents, tmp_path / "small.model", model_type="unigram")
    ours = adopted(tmp_path / "small.model", tmp_path / "out")
    for text in ["Ｆｕｌｌ　width", "a   b", " around ", *without_rulers(documents[:5])]:
        assert ours.encode(text) == theirs.encode(text)
        if theirs.unk_id() not in ours.encode(text):  # shown as " ⁇ " there, as nothing here
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


def test_tokenizer_json_keeps_ids_names_and_template(
    documents: list[str], trained: Tokenizer, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    trained.save(source)
    (source / "chat_template.jinja").write_text("{{ messages }}")
    ours = adopted(source, tmp_path / "out")
    assert ours.config["chat_template"] == "{{ messages }}"
    assert (ours.end_of_text, ours.bos, ours.pad) == (0, 0, 1)
    for text in [*VARIED, *documents[:3]]:
        assert ours.encode(text) == trained.encode(text)


def test_special_tokens_named_only_in_the_settings(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(data / "tokenizers" / "gpt2", source)
    named = {"eos_token": {"content": "<|endoftext|>", "lstrip": False}, "bos_token": "Hello"}
    (source / "special_tokens_map.json").write_text(json.dumps(named))
    ours = adopted(source, tmp_path / "out")
    assert ours.end_of_text == 50256
    assert ours.bos == 15496


END = "<|endoftext|>"
LLAMA = {
    "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False},
    "eos_token": "</s>",
}
NEW = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
NEXT = {"llama": "32000", "gpt2": "50257"}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    (kind, {"tokenizer_class": name, **names, **more})
    for kind, name, names in (
        ("llama", "LlamaTokenizer", LLAMA),
        ("llama", "LlamaTokenizerFast", {}),
        ("llama", "PreTrainedTokenizerFast", LLAMA),
        ("gpt2", "GPT2Tokenizer", {}),
        ("gpt2", "Qwen2TokenizerFast", {"bos_token": END}),
    )
    for more in (
        {},
        {"add_bos_token": True},
        {"add_bos_token": True, "add_eos_token": True},
        {"add_eos_token": True},
        {"add_bos_token": False},
        {"add_prefix_space": False},
        {"add_prefix_space": True, "add_bos_token": True},
        {"added_tokens_decoder": {NEXT[kind]: {**NEW, "content": "<n>"}}},
    )
    if not (name == "PreTrainedTokenizerFast" and "add_prefix_space" in more)
]  # fmt: skip
# Not runs of spaces: there the class of transformers differs from SentencePiece, as ours does not.
PLAIN = ("Hello world", "it's 2 é ½ , don't .", "日本 ab", "x")


def directory_of(kind: str, data: Path, place: Path, config: dict[str, Any]) -> Path:
    shutil.copytree(data / "tokenizers" / kind, place)
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        pytest.param(kind, config, marks=() if number in (1, 26) else pytest.mark.slow)
        for number, (kind, config) in enumerate(SETTINGS)
    ],
)
def test_settings_that_change_ids_are_kept(
    kind: str, config: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    """Of directories without a tokenizer.json: ids as in transformers, and after adopting too."""
    transformers = pytest.importorskip("transformers")
    place = directory_of(kind, data, tmp_path / "source", config)
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    ours = load(place)
    kept = adopted(place, tmp_path / "kept")
    written = transformers.AutoTokenizer.from_pretrained(tmp_path / "kept")
    for text in PLAIN:
        expected = theirs(text)["input_ids"]
        for tokenizer in (ours, kept):
            found = [*tokenizer.start, *tokenizer.encode(text), *tokenizer.finish]
            assert found == expected, text
        assert written(text)["input_ids"] == expected
    assert (ours.bos, ours.end_of_text) == (theirs.bos_token_id, theirs.eos_token_id)
    assert ours.token_id("<n>") == (len(theirs) - 1 if "added_tokens_decoder" in config else None)


def test_a_prefix_space_once_or_after_each_special_token(data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    template = "{% for m in messages %}{{ bos_token }}{{ m.content }}{{ eos_token }}{% endfor %}"
    for legacy in (True, False):
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "chat_template": template}
        place = directory_of("llama", data, tmp_path / str(legacy), config)
        theirs = transformers.AutoTokenizer.from_pretrained(place)
        messages = [{"role": "user", "content": "Hello world"}] * 2
        expected = theirs.apply_chat_template(messages, return_dict=False)
        assert load(place).encode_chat(messages).ids == expected
        assert expected[1] == (15043 if legacy else 10994)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GPT2Tokenizer", "LlamaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(
    "more",
    [
        {"add_prefix_space": True},
        {"add_prefix_space": False},
        {"add_bos_token": True},  # what tokenizer.json says comes before it
        {"added_tokens_decoder": {"NEXT": {**NEW, "content": "<n>"}}},
    ],
)
def test_settings_beside_a_tokenizer_json(
    name: str, more: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    kind = "llama" if name.startswith("Llama") else "gpt2"
    adopt(str(data / "tokenizers" / kind), tmp_path / "made")
    file = tmp_path / "made" / "tokenizer_config.json"
    text = json.dumps({**json.loads(file.read_text()), "tokenizer_class": name, **more})
    file.write_text(text.replace("NEXT", NEXT[kind]))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    ours = load(tmp_path / "made")
    for text in PLAIN:
        found = [*ours.start, *ours.encode(text), *ours.finish]
        assert found == theirs(text)["input_ids"], text
    assert (ours.token_id("<n>") is not None) == ("added_tokens_decoder" in more)


@pytest.mark.parametrize("lower", [True, False])
def test_case_beside_a_tokenizer_json(lower: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "hello", "é", "e"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    adopt(str(tmp_path / "vocab.txt"), tmp_path / "made")
    file = tmp_path / "made" / "tokenizer_config.json"
    names = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower}
    file.write_text(json.dumps(json.loads(file.read_text()) | names))
    ours, theirs = load(tmp_path / "made"), transformers.AutoTokenizer.from_pretrained(file.parent)
    for text in ("Hello é", "HELLO"):
        expected = theirs(text)["input_ids"]
        assert [*ours.start, *ours.encode(text), *ours.finish] == expected


def test_settings_that_cannot_be_kept_are_refused(data: Path, tmp_path: Path) -> None:
    for number, (kind, config, message) in enumerate(
        [
            ("gpt2", {"tokenizer_class": "RobertaTokenizer"}, "of a RobertaTokenizer cannot be"),
            ("llama", {"tokenizer_class": "XLMRobertaTokenizer"}, "of a XLMRobertaTokenizer"),
            ("llama", {"added_tokens_decoder": {"9": {"content": "<n>"}}}, "said to be 9, but"),
            ("llama", {"added_tokens_decoder": {"x": {}}}, "added tokens cannot be read"),
            ("llama", {"add_bos_token": True, "bos_token": "<b>"}, "puts '<b>' around texts"),
        ]
    ):
        place = directory_of(kind, data, tmp_path / str(number), config)
        with pytest.raises(ModelError, match=message):
            load(place)
    place = directory_of("llama", data, tmp_path / "older", {})
    (place / "added_tokens.json").write_text('{"<n>": 32000}')
    assert load(place).token_id("<n>") == 32000


def test_what_was_adopted_is_in_the_manifest(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "source")
    made = adopt(str(tmp_path / "source" / "tokenizer.json"), tmp_path / "out")
    assert made.manifest.kind == "tokenizer"
    hashed = artifact.hash_file(tmp_path / "source" / "tokenizer.json")
    assert made.manifest.inputs["tokenizer.json"].content == hashed


def test_errors_name_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "damaged.model").write_bytes(b"not a model")
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "other.txt").write_text("text")
    for name, message in [
        ("damaged.model", "SentencePiece model"),
        ("vocab.json", "merges"),
        ("other.txt", "or .model file"),
        ("absent/file.json", "there is no such file"),
    ]:
        with pytest.raises(ModelError, match=message):
            adopt(str(tmp_path / name), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="none of them"):
        adopt(str(tmp_path / "empty"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hub_name_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("nobody/nothing", "gpt2"):
        with pytest.raises(ModelError, match=f"{name}: not .* and offline"):
            adopt(name, tmp_path / "out")


@pytest.mark.parametrize(
    ("package", "source"), [("huggingface_hub", "some/name"), ("sentencepiece", "a.model")]
)
def test_missing_packages_are_named(
    package: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package):
        adopt(source, tmp_path / "out")

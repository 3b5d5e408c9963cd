"""Tokens in llama.cpp: the same as here for every kind of tokenizer, or an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from linnet.errors import ModelError
from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.gguf.pretokenizers import TAGS, tag_of
from linnet.gguf.vocabulary import _ranks, vocabulary
from linnet.roundtrip import CheckConfig, check, require_same
from linnet.tokenizer import Tokenizer, load
from linnet.tokenizer.loading import adopt

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

SHARED = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
TEXTS = (
    "The small grey bird sat on the mat.",
    "  leading, inner   and trailing spaces  ",
    "tabs\tand\nnewlines\r\n\r\n\n  indented\n\n\n",
    "It's they'RE I'd we'll CAN'T",
    "1984 12,345.67 3.5% x2y2 \u0661\u0662\u0663 \u00bd",
    "def f(a: int) -> None:\n\treturn {'k': [a**2, *b]}  # why?\n",
    "caf\u00e9 na\u00efve \u00dcber stra\u00dfe \u0141\u00f3d\u017a",
    "\u041c\u043e\u0441\u043a\u0432\u0430 \u4f60\u597d\u4e16\u754c \u3053\u3093\u306b",
    "\ud55c\uad6d\uc5b4",
    "\u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2014 \u2026 \u201cquoted\u201d",
    "<|endoftext|> </s> <s> [INST] <|im_end|> are text",
    "\x00\x01 \u200b\u00a0\u3000 odd",
    "          ten, then four    and six      spaces",
    "",
)
MARKED = ("\ud55c\uad6d\uc5b4", "\u0939\u093f\u0928\u094d\u0926\u0940")
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 256,
}
CORPUS = [text * 5 for text in TEXTS]


def saved(backend: tokenizers.Tokenizer, path: Path, **config: Any) -> Path:
    """A tokenizer directory; the manifest tells the fixture its size."""
    path.mkdir()
    backend.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config})
    )
    size = {"stats": {"vocab_size": backend.get_vocab_size()}}
    (path / "manifest.json").write_text(json.dumps(size))
    return path


def byte_level(patterns: tuple[str, ...], *, ignore_merges: bool) -> tokenizers.Tokenizer:
    """Byte-level BPE trained with the pre-tokenizer of a tag."""
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.decoder = decoders.ByteLevel()
    steps: list[Any] = [
        pre_tokenizers.Digits(individual_digits=True)
        if pattern == "each digit"
        else pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        for pattern in patterns
    ]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def in_llama_cpp(path: Path, out: Path) -> list[list[int]]:
    file = export_gguf(path, out / "model.gguf", ExportConfig(type="f32"))
    with LlamaCpp(file) as llama:
        return [llama.tokens(text) for text in TEXTS]


def here(path: Path) -> list[list[int]]:
    tokenizer = load(path)
    return [[*tokenizer.start, *tokenizer.encode(text), *tokenizer.finish] for text in TEXTS]


@pytest.mark.parametrize("tag", sorted(TAGS.values()))
def test_byte_level(tag: str, published: Callable[..., Path], tmp_path: Path) -> None:
    (patterns, ignore_merges), _ = next(item for item in TAGS.items() if item[1] == tag)
    backend = byte_level(patterns, ignore_merges=ignore_merges)
    if tag == "llama-bpe":
        backend.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    path = published("Llama", LLAMA, tokenizer=saved(backend, tmp_path / "tokenizer", **names))
    for text, ours, theirs in zip(TEXTS, here(path), in_llama_cpp(path, tmp_path), strict=True):
        if tag in ("tekken", "gpt-4o") and not text.isascii():
            continue  # llama.cpp tells case in ASCII only
        assert theirs == ours, text


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data")
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_published_tokenizers(name: str, published: Callable[..., Path], tmp_path: Path) -> None:
    adopt(str(SHARED / name), tmp_path / "tokenizer")
    path = published("Llama", LLAMA, tokenizer=tmp_path / "tokenizer")
    for text, ours, theirs in zip(TEXTS, here(path), in_llama_cpp(path, tmp_path), strict=True):
        assert theirs == ours, text


def test_sentencepiece_as_llama_2_and_mistral_have_it(
    published: Callable[..., Path], tmp_path: Path
) -> None:
    """Trained by sentencepiece itself; read with a space put first, and without."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path / "sp"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in CORPUS for line in text.splitlines() if line),
        model_prefix=str(prefix), model_type="bpe", vocab_size=450, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.99,
        minloglevel=2,
    )  # fmt: skip
    adopt(str(prefix.with_suffix(".model")), tmp_path / "first")
    definition = json.loads((tmp_path / "first" / "tokenizer.json").read_text())
    backend = tokenizers.Tokenizer.from_str(json.dumps(definition))
    backend.normalizer = normalizers.Replace(" ", "\u2581")  # as Gemma has it
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    saved(backend, tmp_path / "none", **names)
    for kind in ("first", "none"):
        path = published("Llama", LLAMA, tokenizer=tmp_path / kind)
        found = zip(TEXTS, here(path), in_llama_cpp(path, tmp_path), strict=True)
        for text, ours, theirs in found:
            if "<s>" not in text:  # llama.cpp takes the pieces of such a text together
                assert theirs == ours, (kind, text)


def wordpiece(*, lowercase: bool) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return backend


BERT_NAMES = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}  # fmt: skip


@pytest.mark.parametrize("lowercase", [True, False])
def test_encoders(lowercase: bool, published: Callable[..., Path], tmp_path: Path) -> None:
    """BERT's WordPiece, and the vectors that an encoder gives."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = saved(wordpiece(lowercase=lowercase), tmp_path / "tokenizer", **BERT_NAMES)
    path = published("Bert", LLAMA | {"hidden_size": 64}, tokenizer=tokenizer)
    file = export_gguf(path, tmp_path / "model.gguf", ExportConfig(type="f32"))
    model = transformers.AutoModel.from_pretrained(path).eval()
    with LlamaCpp(file, context=256, embedding=True) as llama:
        for text, ours in zip(TEXTS, here(path), strict=True):
            if "[" in text or (lowercase and text in MARKED):
                continue  # special tokens named in a text; marks that are kept there
            assert llama.tokens(text) == ours, text
            with torch.inference_mode():
                expected = model(torch.tensor([ours])).last_hidden_state[0].mean(0)
            found = torch.tensor(llama.embedding(text))
            assert (found - expected).abs().max() < 1e-4 * expected.norm()
    require_same(check(path, CheckConfig(prompts=TEXTS[:4], quantised="q8_0")))


def test_what_llama_cpp_would_cut_otherwise_is_refused() -> None:
    for pre_tokenizer, expected in (
        (pre_tokenizers.Whitespace(), "Whitespace"),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), "a space put before the text"),
        (pre_tokenizers.Split(tokenizers.Regex(r"\w+"), "isolated"), r"\w+"),
    ):
        state = json.loads(pre_tokenizer.__getstate__())
        with pytest.raises(ModelError, match="is not known to cut text as") as caught:
            tag_of(state, ignore_merges=False)
        assert expected in str(caught.value)
        assert "qwen2, qwen35, smollm" in str(caught.value)


def test_a_tokenizer_for_another_model_is_refused() -> None:
    backend = byte_level(("a",), ignore_merges=False)
    tokenizer = Tokenizer(backend, {"eos_token": "<|endoftext|>"})
    definition = json.loads(backend.to_str())
    size = tokenizer.vocab_size
    with pytest.raises(ModelError, match=f"has {size} tokens but the model only 99"):
        vocabulary(tokenizer, definition, size=99)
    definition["normalizer"] = {"type": "Lowercase"}
    with pytest.raises(ModelError, match=r"normalises text \(Lowercase\)"):
        vocabulary(tokenizer, definition, size=size)


def test_merges_that_no_scores_give_are_refused() -> None:
    model = {"vocab": {c: i for i, c in enumerate(["a", "b", "c", "ab", "bc", "abc"])}}
    rank = _ranks({**model, "merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]})
    assert rank == {"ab": 0, "bc": 1, "abc": 2}
    with pytest.raises(ModelError, match="in an order that no scores give"):
        _ranks({**model, "merges": [["a", "b"], ["ab", "c"], ["b", "c"], ["a", "bc"]]})
    with pytest.raises(ModelError, match="does not merge 'a' and 'bc'"):
        _ranks({**model, "merges": [["a", "b"], ["b", "c"], ["ab", "c"]]})

"""A vocabulary that is pruned: what stays is cut as before, everything else still decodes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from typer.testing import CliRunner

from linnet.cli import app
from linnet.compress.prune import prune_model
from linnet.compress.prune_config import PruneConfig
from linnet.compress.vocabulary import prune_vocabulary, renumbered, token_counts
from linnet.errors import ConfigError, DataError, ModelError
from linnet.export import ExportConfig, export_gguf
from linnet.model import ModelConfig, Transformer, load_model, save_checkpoint
from linnet.tokenizer import Tokenizer, load
from linnet.tokenizer.definition import GPT2_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN
from linnet.tokenizer.pruning import kept_tokens, merged_from, pruned
from linnet.tokenizer.special_tokens import TURN_END, TURN_START
from linnet.tokenizer.training import own_config

SHARED = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
BEFORE = [
    "The old owl sees 1984 hills; the odd fox doesn't, and the red cat won't see a lake.",
    "def sees(owl):\n    return owl ** 2  # \u2026 \u201cquoted\u201d caf\u00e9 \u4f60\u597d\n",
    "Moscow, \u041c\u043e\u0441\u043a\u0432\u0430; Stra\u00dfe and na\u00efve \U0001f600",
]
"""What the whole vocabulary is made of."""
TEXTS = ["The old owl sees a lake.", "The red cat doesn't see caf\u00e9s.\n\n", "owl owl sees sees"]
"""What it is pruned for."""


def bpe(pattern: str, *, whole: bool = False, digits: bool = False) -> Tokenizer:
    """Byte-level BPE with special tokens at both ends, as published ones have them."""
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=whole))
    backend.decoder = decoders.ByteLevel()
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    steps.append(pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=["<s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([text * 3 for text in BEFORE], trainer)
    backend.add_tokens([tokenizers.AddedToken("<tool>", special=False)])
    backend.add_special_tokens(["<end>", "<pad>", TURN_START, TURN_END])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A <end>", special_tokens=[("<s>", 0), ("<end>", backend.token_to_id("<end>"))]
    )
    return Tokenizer(
        backend,
        {**own_config(), "bos_token": "<s>", "eos_token": "<end>", "pad_token": "<pad>",
         "added_tokens_decoder": {"0": {"content": "<s>"}}},
    )  # fmt: skip


KINDS = {
    "gpt2": lambda: bpe(GPT2_PATTERN),
    "smollm": lambda: bpe(GPT2_PATTERN, digits=True),
    "qwen2": lambda: bpe(QWEN2_PATTERN),
    "llama3": lambda: bpe(LLAMA3_PATTERN, whole=True),
}


def counts_of(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    ids = np.concatenate(tokenizer.encode_arrays(texts)).astype(np.int64)
    return np.bincount(ids, minlength=tokenizer.vocab_size).tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=KINDS)
def cut(request: pytest.FixtureRequest) -> tuple[Tokenizer, list[int], Tokenizer]:
    """A tokenizer, what stays of it, and what becomes of it."""
    whole = KINDS[request.param]()
    kept = kept_tokens(whole, counts_of(whole, TEXTS))
    return whole, kept, pruned(whole, kept)


def test_what_is_used_is_cut_as_before(cut: tuple[Tokenizer, list[int], Tokenizer]) -> None:
    whole, kept, small = cut
    assert len(kept) == small.vocab_size < whole.vocab_size
    ids = {old: new for new, old in enumerate(kept)}
    for text in [*TEXTS, " ".join(TEXTS[0].split()[::-1])]:
        tokens = whole.encode(text)
        if set(tokens) <= ids.keys():
            assert small.encode(text) == [ids[token] for token in tokens]
    assert all(small.token_name(new) == whole.token_name(old) for old, new in ids.items())
    # Roles and what stands around a text have moved along.
    for role in ("bos", "pad", "end_of_text"):
        assert getattr(small, role) == ids[getattr(whole, role)]
    assert small.special_ids == {ids[token] for token in whole.special_ids}
    assert small.start == (ids[whole.start[0]],)
    assert small.finish == (ids[whole.finish[0]],)
    assert small.encode_batch(BEFORE) != whole.encode_batch(BEFORE)


@given(text=st.text())
def test_any_text_decodes_to_itself(cut: tuple[Tokenizer, list[int], Tokenizer], text: str) -> None:
    whole, kept, small = cut
    assert small.decode(small.encode(text)) == whole.decode(whole.encode(text)) == text
    # No token of the old one is missed that stays, with all its parts, in this text.
    if set(whole.encode(text)) <= set(kept):
        assert len(small.encode(text)) == len(whole.encode(text))


def test_composed_text_stays_composed() -> None:
    whole = bpe(QWEN2_PATTERN)
    definition = json.loads(whole.to_json())
    backend = tokenizers.Tokenizer.from_str(json.dumps(definition))
    backend.normalizer = normalizers.NFC()
    whole = Tokenizer(backend, whole.config)
    small = pruned(whole, kept_tokens(whole, counts_of(whole, TEXTS)))
    assert small.encode("cafe\u0301") == small.encode("caf\u00e9")


def test_merging_goes_through_what_stays() -> None:
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2, ("x", "y"): 3}
    assert merged_from("abc", ranks) == {"a", "b", "c", "bc", "abc"}  # and not ab
    assert merged_from("xyz", ranks) == set()  # no merge makes it
    assert merged_from("a", ranks) == {"a"}


def test_a_number_keeps_what_is_used_most() -> None:
    whole = bpe(GPT2_PATTERN)
    counts = counts_of(whole, TEXTS)
    auto = set(kept_tokens(whole, counts))
    bare = 256 + len(whole.added)
    some = kept_tokens(whole, counts, most=bare + 8)
    assert bare < len(some) <= bare + 8
    assert set(some) < auto
    ids = sorted(set(auto) - set(some), key=lambda token: -counts[token])
    chosen = [token for token in some if counts[token] and token not in whole.added]
    assert max(counts[token] for token in chosen) >= counts[ids[0]]
    small = pruned(whole, some)
    assert [small.decode(small.encode(text)) for text in BEFORE] == BEFORE
    more = kept_tokens(whole, counts, most=len(auto) + 20)
    assert auto < set(more)
    assert len(more) == len(auto) + 20  # filled up with those that were merged first
    assert kept_tokens(whole, counts, most=10_000) == list(range(whole.vocab_size))
    with pytest.raises(ConfigError, match=f"at least {bare} tokens, its bytes and special tokens"):
        kept_tokens(whole, counts, most=100)


def test_other_kinds_are_refused_by_name() -> None:
    wordpiece = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "[SEP]": 1}, unk_token="[UNK]"))
    wordpiece.decoder = decoders.WordPiece()
    unigram = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    unigram.decoder = decoders.ByteLevel()
    sentencepiece = tokenizers.Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], byte_fallback=True))
    sentencepiece.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    suffixed = tokenizers.Tokenizer(models.BPE({"a</w>": 0, "a": 1}, [], end_of_word_suffix="</w>"))
    suffixed.decoder = decoders.ByteLevel()
    for backend, kind in (
        (wordpiece, r"WordPiece \(wordpiece\)"),
        (unigram, r"Unigram \(byte-level\)"),
        (sentencepiece, r"BPE \(sentencepiece\)"),
        (suffixed, "with end_of_word_suffix"),
    ):
        backend.add_special_tokens(["<end>"])
        one = Tokenizer(backend, {"eos_token": "<end>"})
        with pytest.raises(ModelError, match=f"is byte-level BPE. Got .*{kind}"):
            kept_tokens(one, [1] * one.vocab_size)


@pytest.mark.skipif(not SHARED.exists(), reason="GPT-2's vocabulary is not at hand")
def test_gpt2s_own() -> None:
    from linnet.tokenizer.loading import read_directory

    whole = read_directory(SHARED / "gpt2")
    kept = kept_tokens(whole, counts_of(whole, TEXTS))
    small = pruned(whole, kept)
    assert small.vocab_size < 400
    for text in TEXTS:
        assert [kept[token] for token in small.encode(text)] == whole.encode(text)
    assert small.decode(small.encode(BEFORE[1])) == BEFORE[1]


# --- models ---------------------------------------------------------------------------------------


def made(path: Path, *, tied: bool, seed: int = 1) -> Tokenizer:
    """A model directory whose tokens with a role are the last ones, with rows that none has."""
    tokenizer = bpe(GPT2_PATTERN)
    model = Transformer(
        ModelConfig(
            family="llama", vocab_size=tokenizer.vocab_size + 5, width=64, depth=2, heads=2,
            kv_heads=1, head_width=32, mlp_width=64, context=64, tied=tied, bos_id=tokenizer.bos,
            eos_id=tokenizer.end_of_text, pad_id=tokenizer.pad,
        )
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model.initialise(generator)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    path.mkdir()
    tokenizer.save(path)
    save_checkpoint(model, path)
    file = path / "generation_config.json"
    values = json.loads(file.read_text()) | {"suppress_tokens": [300, tokenizer.pad]}
    file.write_text(json.dumps(values))
    return tokenizer


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("\n<|endoftext|>\n".join(TEXTS * 12))
    return file


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_with_fewer_tokens_is_the_same_over_them(
    tied: bool, tmp_path: Path, text: Path
) -> None:
    """Held against transformers: it cuts, computes and stops as the whole model does."""
    transformers = pytest.importorskip("transformers")
    whole = made(tmp_path / "whole", tied=tied)
    config = PruneConfig(vocabulary="auto", keep=1.0, threads=1)
    stats = prune_model(tmp_path / "whole", text, tmp_path / "small", config).stats
    small, ours = load(tmp_path / "small"), load_model(tmp_path / "small")
    before = load_model(tmp_path / "whole")
    assert stats["vocabulary"]["tokens"] == small.vocab_size == ours.config.vocab_size
    assert stats["vocabulary"]["of_tokens"] == before.config.vocab_size
    assert stats["vocabulary"]["uses_cut"] == 0
    assert stats["parameters"] == ours.config.parameters < stats["of_parameters"]
    kept = [whole.token_id(small.token_name(token)) for token in range(small.vocab_size)]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    for one in TEXTS:
        old, new = whole.encode(one), small.encode(one)
        assert [kept[token] for token in new] == old
        assert auto(one, add_special_tokens=False)["input_ids"] == new
        with torch.no_grad():
            scores = ours(torch.tensor([new]))
            torch.testing.assert_close(scores, before(torch.tensor([old]))[:, :, kept])
            torch.testing.assert_close(
                theirs(torch.tensor([new])).logits, scores, atol=1e-4, rtol=1e-3
            )
    names = small.config["eos_token"], small.config["pad_token"]
    assert (auto.eos_token_id, auto.pad_token_id) == tuple(map(small.token_id, names))
    generation = json.loads((tmp_path / "small" / "generation_config.json").read_text())
    assert theirs.generation_config.eos_token_id == list(small.stop_ids)
    assert theirs.config.bos_token_id == small.bos
    assert generation["suppress_tokens"] == [small.pad]
    # What a conversation is made of stays, too.
    messages = [{"role": "user", "content": TEXTS[0]}]
    said = small.encode_chat(messages, add_generation_prompt=True).ids
    assert [kept[token] for token in said] == (
        whole.encode_chat(messages, add_generation_prompt=True).ids
    )
    assert auto.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == said


def test_llama_cpp_cuts_as_we_do(tmp_path: Path, text: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    from linnet.export import LlamaCpp

    made(tmp_path / "whole", tied=True)
    prune_vocabulary(tmp_path / "whole", text, tmp_path / "small")
    small = load(tmp_path / "small")
    file = export_gguf(tmp_path / "small", tmp_path / "x.gguf", ExportConfig(type="f32"))
    with LlamaCpp(file) as llama:
        for one in [*TEXTS, *BEFORE, "never seen: \u0939\u093f \U0001f47d"]:
            assert llama.tokens(one) == [*small.start, *small.encode(one), *small.finish]


def test_what_is_pruned_besides_learns_from_the_model_over_fewer_tokens(
    tmp_path: Path, text: Path
) -> None:
    made(tmp_path / "whole", tied=True)
    command = [
        "prune", str(tmp_path / "whole"), str(text), "--out", str(tmp_path / "small"),
        "--vocabulary", "auto", "--mlp-width", "32", "--steps", "6", "--threads", "1",
        "--context", "16", "--batch-tokens", "64", "--lr", "0.01", "--dtype", "fp32",
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    stats = json.loads((tmp_path / "small" / "manifest.json").read_text())["stats"]
    assert stats["sizes"]["mlp_width"] == 32
    assert stats["validation_loss"] < stats["pruned_loss"]
    small = load_model(tmp_path / "small")
    assert small.config.vocab_size == load(tmp_path / "small").vocab_size
    assert small.config.parameters == stats["parameters"]


def test_text_is_counted_whatever_it_comes_in(tmp_path: Path, text: Path) -> None:
    tokenizer = bpe(GPT2_PATTERN)
    expected = counts_of(tokenizer, [one.strip() for one in TEXTS * 12])
    assert token_counts(text, tokenizer).tolist() == expected
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": one.strip()}) for one in TEXTS * 12))
    found = token_counts(rows, tokenizer)
    assert {*np.flatnonzero(expected)} <= {*np.flatnonzero(found).tolist()}
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="expected text whose tokens are to stay"):
        token_counts(tmp_path / "empty.txt", tokenizer)


def test_configurations_name_the_same_tokens() -> None:
    values = {
        "eos_token_id": [3, 9], "pad_token_id": -1, "bos_token_id": None, "vocab_size": 10,
        "begin_suppress_tokens": [3, 4], "text_config": {"image_token_id": 4, "width": 9},
    }  # fmt: skip
    assert renumbered(values, {3: 0, 9: 1}) == {
        "eos_token_id": [0, 1], "pad_token_id": -1, "bos_token_id": None, "vocab_size": 10,
        "begin_suppress_tokens": [0], "text_config": {"width": 9},
    }  # fmt: skip


def test_settings_that_cannot_be_meant() -> None:
    for wrong, message in (
        ({"vocabulary": "most"}, "vocabulary must be auto or a number"),
        ({"vocabulary": "0"}, "vocabulary must be auto or a number"),
        ({"keep": 1.0}, "keep must be below 1"),
        ({"keep": 0.3, "mlp_width": 20}, "choose one: --keep, or sizes"),
    ):
        with pytest.raises(ConfigError, match=message):
            PruneConfig(**wrong)

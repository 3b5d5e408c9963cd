"""General text: what the base writes, and what is read of files, shards and corpora."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet import artifact
from linnet.errors import DataError, ModelError
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.encoding import Example
from linnet.finetune.forgetting import GeneralLoss
from linnet.finetune.packing import held_out_loss
from linnet.finetune.replay import (
    document_examples,
    general_text,
    own_shards,
    read_examples,
    sample_replay,
    save_examples,
    thinned,
)
from linnet.model import ModelConfig, Transformer
from linnet.model.checkpoint import Checkpoint
from linnet.shards.encoding import encode_texts
from linnet.shards.reader import ShardEntry, SplitName
from linnet.shards.writer import SplitWriter, write_description
from linnet.tokenizer import Tokenizer, TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

TEXT = "the fox met a hen and they sang while rain fell on grass near old barns"


def story(number: int, words: int = 60) -> str:
    generator = np.random.default_rng(number)
    return f"Story {number}. " + " ".join(generator.choice(TEXT.split(), words))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    texts = [story(number) for number in range(20)]
    train_tokenizer(texts, out, TokenizerConfig(vocab_size=300), inputs={})
    return out


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Tokenizer:
    return load(directory)


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer) -> Checkpoint:
    config = ModelConfig(
        family="llama", vocab_size=tokenizer.vocab_size, context=48, width=16, depth=2, heads=2,
        kv_heads=1, head_width=8, mlp_width=32, eos_id=tokenizer.end_of_text,
    )  # fmt: skip
    model = Transformer(config)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
    return Checkpoint(model.train(), tokenizer, config, (tokenizer.end_of_text, 7))


def test_sampled_text_follows_the_distribution_of_the_model(base: Checkpoint) -> None:
    """Drawn at temperature 1 without filters, so the first tokens occur as often as the model says.

    A chat mark (one of the model's stop tokens here) is text like any other.
    """
    examples = sample_replay(base, tokens=3000, seed=1, context=4)
    firsts = np.array([example.tokens[1] for example in examples])
    with torch.no_grad():
        start = torch.tensor([[base.tokenizer.end_of_text]])
        expected = base.model.eval()(start)[0, 0].softmax(-1).numpy()
    base.model.train()
    counts = np.bincount(firsts, minlength=len(expected))
    # Pearson's statistic over the tokens that are expected often enough.
    often = expected * len(firsts) >= 5
    observed = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum()) * len(firsts)
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    freedom = len(wanted) - 1
    assert freedom >= 5
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)
    assert all(not e.trained[0] and e.trained[1:].all() and len(e.tokens) <= 4 for e in examples)


def test_sampling_is_repeatable_and_leaves_the_run_as_it_was(base: Checkpoint) -> None:
    torch.manual_seed(3)
    random = torch.get_rng_state()
    first = sample_replay(base, tokens=200, seed=1, context=24)
    assert torch.equal(torch.get_rng_state(), random)
    assert base.model.training
    again, other = (sample_replay(base, tokens=200, seed=seed, context=24) for seed in (1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert sum(example.places for example in first) >= 200
    assert sample_replay(base, tokens=0, seed=1, context=24) == []


def test_the_rise_on_sampled_text_is_the_divergence_from_the_base(base: Checkpoint) -> None:
    """Against KL(base || changed), computed over the whole vocabulary at every sampled place."""
    examples = sample_replay(base, tokens=6000, seed=4, context=16)
    measure = held_out_loss(examples, rows=32, length=16, tokens=10**6, device="cpu")
    assert measure is not None
    loss = GeneralLoss(measure)
    changed = Transformer(base.config).eval()
    changed.load_state_dict(base.model.state_dict())
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(0.9)
        before, after = loss(base.model.eval())["general_loss"], loss(changed)["general_loss"]
        divergences = []
        for example in examples:
            tokens = torch.from_numpy(example.tokens[:-1].astype(np.int64))[None]
            ours, theirs = (m(tokens)[0].log_softmax(-1) for m in (base.model, changed))
            divergences.append((ours.exp() * (ours - theirs)).sum(-1))
    base.model.train()
    assert after - before == pytest.approx(float(torch.cat(divergences).mean()), rel=0.15)
    assert after > before


def test_an_encoder_cannot_write(base: Checkpoint) -> None:
    encoder = dataclasses.replace(base, config=dataclasses.replace(base.config, causal=False))
    with pytest.raises(ModelError, match="cannot write text"):
        sample_replay(encoder, tokens=10, seed=1, context=24)


@pytest.mark.parametrize("length", [1, 22, 23, 24, 25, 70])
def test_every_token_of_a_document_is_predicted_once(tokenizer: Tokenizer, length: int) -> None:
    ids = np.arange(length) % 50 + 100
    pieces = document_examples(ids, tokenizer, context=24, source="x")
    assert all(len(piece.tokens) <= 24 and not piece.trained[0] for piece in pieces)
    predicted = np.concatenate([piece.tokens[piece.trained] for piece in pieces])
    assert predicted.tolist() == ids.tolist()
    seen_before = [int(piece.tokens[0]) for piece in pieces]
    ends = np.cumsum([piece.places for piece in pieces])[:-1]
    assert seen_before == [tokenizer.end_of_text, *(int(ids[end - 1]) for end in ends)]
    assert sum(p.trained_bytes for p in pieces) == sum(
        len(tokenizer.token_bytes(i)) for i in ids.tolist()
    )


def test_a_folder_gives_documents_to_replay_and_others_to_hold_out(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(story(number), encoding="utf-8")
    found = general_text(
        tmp_path, tokenizer, ExamplesConfig(context=32), replay_tokens=10**6, held_out_tokens=10**6
    )
    told = [{e.source for e in side} for side in (found.replay, found.held_out)]
    assert not told[0] & told[1]
    assert (len(told[0]), len(told[1])) == (36, 4)
    text = tokenizer.decode(np.concatenate([e.tokens[e.trained] for e in found.replay]).tolist())
    assert all(story(number) in text for number in range(1, 10))


def test_budgets_hold_and_spread_over_everything(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for number in range(80):
        (tmp_path / f"{number:02}.txt").write_text(story(number), encoding="utf-8")
    config = ExamplesConfig(context=32)
    found = general_text(tmp_path, tokenizer, config, replay_tokens=600, held_out_tokens=300)
    replayed = sum(example.places for example in found.replay)
    assert 300 <= replayed <= 600
    assert 150 <= sum(example.places for example in found.held_out) <= 300
    assert max(found.replay, key=lambda example: example.source).source > str(tmp_path / "50.txt")


def test_one_book_is_divided(tmp_path: Path, tokenizer: Tokenizer) -> None:
    book = tmp_path / "book.txt"
    book.write_text(story(1, words=600), encoding="utf-8")
    config = ExamplesConfig(context=32)
    found = general_text(book, tokenizer, config, replay_tokens=10**6, held_out_tokens=10**6)
    words = len(tokenizer.encode(story(1, words=600)))
    held_out = sum(example.trained.sum() for example in found.held_out)
    assert held_out == words // 10
    assert sum(example.trained.sum() for example in found.replay) == words - held_out


def test_shards_have_a_validation_split(tmp_path: Path, directory: Path) -> None:
    tokenizer = load(directory)
    places: dict[SplitName, range] = {
        "train": range(10),
        "validation": range(90, 95),
        "test": range(95, 97),
    }
    texts = {split: [story(number) for number in numbers] for split, numbers in places.items()}
    shards = encode_shards(tmp_path, directory, texts)
    config = ExamplesConfig(context=32)
    found = general_text(shards, tokenizer, config, replay_tokens=10**6, held_out_tokens=10**6)
    held = tokenizer.decode(np.concatenate([e.tokens[e.trained] for e in found.held_out]).tolist())
    assert held == "".join(texts["validation"])
    assert own_shards(tmp_path, tokenizer) is None  # not an artifact
    assert own_shards(shards, tokenizer) == shards.resolve()

    other = tmp_path / "other"
    train_tokenizer([story(1) * 3], other, TokenizerConfig(vocab_size=270), inputs={})
    with pytest.raises(DataError, match="shards of the model's own tokenizer"):
        general_text(shards, load(other), config, replay_tokens=10, held_out_tokens=10)
    assert own_shards(shards, load(other)) is None


def encode_shards(tmp_path: Path, directory: Path, texts: dict[SplitName, list[str]]) -> Path:
    tokenizer = load(directory)
    out, size = tmp_path / "shards", tokenizer.vocab_size
    entries: dict[SplitName, list[ShardEntry]] = {}
    with artifact.create(out, kind="shards", format=1, config={}, inputs={}) as draft:
        for split, documents in texts.items():
            with SplitWriter(draft.path, split, vocab_size=size, shard_tokens=400) as writer:
                for encoded in encode_texts(documents, tokenizer):
                    writer.append(encoded.ids, encoded.text_bytes)
            entries[split] = writer.entries
        end = tokenizer.end_of_text
        write_description(draft.path, vocab_size=size, end_of_text=end, splits=entries)
        tokenizer.save(draft.path / "tokenizer")
    return out


def test_too_little_text_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.txt").write_text(" \n", encoding="utf-8")
    config = ExamplesConfig(context=32)
    with pytest.raises(DataError, match="none to replay"):
        general_text(tmp_path, tokenizer, config, replay_tokens=10, held_out_tokens=10)
    with pytest.raises(DataError, match="does not exist"):
        general_text(tmp_path / "b", tokenizer, config, replay_tokens=10, held_out_tokens=10)


def test_a_resumed_run_finds_the_same_text(tmp_path: Path, base: Checkpoint) -> None:
    examples = sample_replay(base, tokens=300, seed=1, context=24)
    save_examples(tmp_path / "state" / "replay.safetensors", examples)
    assert same(read_examples(tmp_path / "state" / "replay.safetensors"), examples)


def test_thinning_keeps_a_spread(base: Checkpoint) -> None:
    examples = sample_replay(base, tokens=600, seed=1, context=24)
    kept = thinned(examples, 200)
    assert 100 <= sum(example.places for example in kept) <= 200
    places = [next(i for i, e in enumerate(examples) if e is one) for one in kept]
    assert len(set(np.diff(places))) == 1
    assert thinned(examples, 0) == []


def same(one: list[Example], other: list[Example]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.tokens, b.tokens)
        and np.array_equal(a.trained, b.trained)
        and (a.source, a.trained_bytes) == (b.source, b.trained_bytes)
        for a, b in zip(one, other, strict=True)
    )

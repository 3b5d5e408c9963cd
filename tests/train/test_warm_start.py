"""The bigram head start: counts by hand, and the loss that the entropy of the table allows."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from linnet import artifact
from linnet.model import ModelConfig, Transformer
from linnet.shards import Shards
from linnet.shards.reader import TokenSplit
from linnet.shards.writer import SplitWriter, write_description
from linnet.train.warm_start import bigram_counts, fit_bigrams

VOCABULARY = 24


@pytest.fixture(scope="module")
def text() -> list[int]:
    """A chain in which every token is mostly followed by one of three."""
    random = np.random.default_rng(0)
    ids = [0]
    for _ in range(3000):
        usual = (ids[-1] * 5 + random.integers(3)) % VOCABULARY
        ids.append(int(usual if random.random() < 0.9 else random.integers(VOCABULARY)))
    return ids


@pytest.fixture(scope="module")
def split(text: list[int], tmp_path_factory: pytest.TempPathFactory) -> TokenSplit:
    path = tmp_path_factory.mktemp("warm") / "shards"
    with artifact.create(path, kind="shards", format=1, config={}, inputs={}) as draft:
        with SplitWriter(draft.path, "train", vocab_size=VOCABULARY, shard_tokens=700) as writer:
            for start in range(0, len(text), 600):
                writer.append(np.array(text[start : start + 600]), 1)
        splits = {"train": writer.entries}
        write_description(draft.path, vocab_size=VOCABULARY, end_of_text=0, splits=splits)
    return Shards.open(path).split("train")


@pytest.mark.parametrize("tokens", [10**9, 1500, 2, 1])
def test_counts_are_those_of_adjacent_pairs(
    split: TokenSplit, text: list[int], tokens: int
) -> None:
    counts = bigram_counts(split, VOCABULARY, tokens=tokens)
    pairs = Counter(pairwise(text[:tokens]))
    assert counts.sum() == sum(pairs.values())
    for (first, second), count in pairs.items():
        assert counts[first, second] == count


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_the_fit_comes_near_the_entropy_and_is_what_the_model_scores(
    family: str, split: TokenSplit, text: list[int]
) -> None:
    model = Transformer(
        ModelConfig(
            family=family,  # type: ignore[arg-type]
            vocab_size=VOCABULARY, context=32, width=32, depth=1, heads=2, kv_heads=2,
            head_width=16, mlp_width=64, tied=False,
        )
    )  # fmt: skip
    model.initialise(torch.Generator().manual_seed(0))
    counts = bigram_counts(split, VOCABULARY)
    share = counts / counts.sum()
    given = counts / counts.sum(1, keepdim=True)
    entropy = -(share * given.clamp_min(1e-12).log()).sum().item()
    unigram = -(share.sum(0) * share.sum(0).log()).sum().item()
    loss = fit_bigrams(model, counts, dtype=torch.float32)
    assert entropy < loss < entropy + 0.05 * (unigram - entropy)
    # A fresh block adds nothing, so the whole model scores the text itself as the table says.
    stream = torch.tensor(text)
    rows = [stream[start : start + 33] for start in range(0, len(stream) - 1, 32)]
    scored = sum(
        F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum").item() for row in rows
    )
    assert scored / (len(text) - 1) == pytest.approx(loss, rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())

"""Near duplicates against every pair compared by brute force."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.data.duplicates import Clusters, Pair, choose, find_pairs
from linnet.data.shingles import BANDS, Hashes, bands, jaccard, shingles
from linnet.progress import SILENT

pytestmark = pytest.mark.usefixtures("reading_here")


class _Texts:
    """Documents, and how often the shingles of each were asked for."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked: Counter[int] = Counter()

    def bands(self) -> Hashes:
        signatures = b"".join(bands(text) for text in self.texts)
        return np.frombuffer(signatures, np.uint64).reshape(-1, BANDS)

    def shingles(self, number: int) -> Hashes:
        self.asked[number] += 1
        return shingles(self.texts[number])

    def pairs(self, threshold: float = 0.8) -> list[Pair]:
        return list(find_pairs(self.bands(), self.shingles, threshold, SILENT))


def _words(draw: random.Random, count: int) -> list[str]:
    return [f"w{draw.randrange(10**6)}" for _ in range(count)]


def _edited(draw: random.Random, words: list[str], edits: int) -> str:
    words = list(words)
    for place in draw.sample(range(len(words)), edits):
        words[place] = f"x{draw.randrange(10**6)}"
    return " ".join(words)


def test_pairs_of_known_similarity_are_found() -> None:
    draw = random.Random(7)
    texts, expected = [], set()
    for number in range(400):
        words = _words(draw, 240)
        copy = _edited(draw, words, draw.randrange(3, 9))
        texts += [" ".join(words), copy]
        if 0.8 <= jaccard(shingles(texts[-2]), shingles(copy)) < 0.9:
            expected.add((2 * number, 2 * number + 1))
    found = _Texts(texts).pairs()
    assert len(expected) > 150  # near the threshold, where it is hardest
    missed = expected - {(a, b) for a, b, _ in found}
    assert len(missed) <= 0.05 * len(expected)
    for a, b, similarity in found:
        assert similarity == jaccard(shingles(texts[a]), shingles(texts[b])) >= 0.8


def test_among_real_stories_with_edits_what_is_found_is_true_and_little_is_missed(
    test_data: Path,
) -> None:
    text = (test_data / "tinystories" / "val.txt").read_text("utf-8")
    stories = [story.split() for story in text.split("<|endoftext|>")][:300]
    draw = random.Random(1)
    texts = [" ".join(story) for story in stories]
    for story in stories[::2]:  # a few words of each hundred changed
        texts.append(_edited(draw, story, round(len(story) * draw.uniform(0, 0.03))))
    draw.shuffle(texts)
    found = _Texts(texts).pairs()
    cut = [shingles(text) for text in texts]
    true = {
        (a, b): similarity
        for a, b in itertools.combinations(range(len(texts)), 2)
        if (similarity := jaccard(cut[a], cut[b])) >= 0.8
    }
    assert len(true) > 100
    assert [(a, b) for a, b, _ in found] == sorted(
        {(a, b) for a, b, _ in found}, key=lambda p: p[1]
    )
    assert all(true[a, b] == similarity for a, b, similarity in found)
    assert len(found) >= 0.95 * len(true)


def test_a_document_from_a_template_is_compared_with_few_others() -> None:
    # Half of them are alike; the other half, from a second template, share just enough with
    # one another to be candidates without being duplicates.
    count = 20_000
    draw = np.random.default_rng(5)
    alike, other = np.unique(draw.integers(1, 2**63, (2, 200)).astype(np.uint64), axis=1)
    signature = draw.integers(0, 2**63, BANDS).astype(np.uint64)
    table = np.tile(signature, (count, 1))  # all in the same buckets
    calls = 0

    def shingles_of(number: int) -> Hashes:
        nonlocal calls
        calls += 1
        base = alike if number % 2 else other[:150]
        own = np.arange(50, dtype=np.uint64) + np.uint64(number * 50 + 1)
        return np.unique(np.concatenate([base, own[:5] if number % 2 else own]))

    found = sum(1 for _ in find_pairs(table, shingles_of, 0.8, SILENT))
    assert found == count // 2 - 1  # each that is alike with the first such one
    assert calls <= count + 1000  # each document once, whatever its buckets


def test_memory_is_some_tens_of_bytes_per_document() -> None:
    count = 100_000
    table = np.random.default_rng(2).integers(0, 2**63, (count, BANDS)).astype(np.uint64)
    table[count // 2 :: 10] = table[: count // 2 : 10]
    same = np.arange(9, dtype=np.uint64)
    tracemalloc.start()
    found = sum(1 for _ in find_pairs(table, lambda number: same, 0.8, SILENT))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == count // 20
    assert peak < 130 * count


def test_the_cache_of_shingles_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _Texts([" ".join(_words(random.Random(n % 20), 100)) for n in range(200)])
    monkeypatch.setattr("linnet.data.duplicates._CACHED_BYTES", 1)
    pairs = texts.pairs()
    assert len(pairs) == 180
    assert max(texts.asked.values()) > 1  # forgotten and read again
    assert [b for _, b, _ in pairs] == list(range(20, 200))


def test_no_documents_and_single_ones_have_no_pairs() -> None:
    assert _Texts([]).pairs() == []
    assert _Texts(["one document of a few words"]).pairs() == []


_pairs = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from([0.8, 0.9, 1.0]))
    .filter(lambda pair: pair[0] < pair[1]),
    max_size=30,
    unique_by=lambda pair: pair[:2],
)  # fmt: skip


@given(_pairs, st.randoms())
def test_what_stays_is_like_nothing_before_it_that_stays(
    pairs: list[Pair], draw: random.Random
) -> None:
    kept, keeper = choose(pairs, 12)
    similarity = {(a, b): value for a, b, value in pairs}
    for number in range(12):
        reasons = {a: similarity[a, b] for a, b in similarity if b == number and kept[a]}
        assert kept[number] == (not reasons)
        if reasons:
            assert keeper[number] == min(reasons, key=lambda a: (-reasons[a], a))
        else:
            assert keeper[number] == -1
    shuffled = draw.sample(pairs, len(pairs))
    again = choose(shuffled, 12)
    assert all(np.array_equal(x, y) for x, y in zip(again, (kept, keeper), strict=True))


@given(_pairs, st.randoms())
def test_clusters_are_the_connected_parts_by_their_first_document(
    pairs: list[Pair], draw: random.Random
) -> None:
    parts = [{number} for number in range(12)]  # by brute force
    for a, b, _ in pairs:
        joined = next(p for p in parts if a in p) | next(p for p in parts if b in p)
        parts = [p for p in parts if not p & joined] + [joined]
    clusters = Clusters(12)
    for a, b, _ in draw.sample(pairs, len(pairs)):
        clusters.join(*draw.sample((a, b), 2))
    expected = [min(next(p for p in parts if number in p)) for number in range(12)]
    assert clusters.roots().tolist() == expected


def test_a_long_chain_is_joined_quickly() -> None:
    clusters = Clusters(200_000)
    for number in range(199_999, 0, -1):
        clusters.join(number, number - 1)
    assert not clusters.roots().any()

"""The sample: bounded, even, independent of order."""

from __future__ import annotations

import random

from linnet.tokenizer.training import sample


def test_all_is_kept_when_it_fits() -> None:
    texts = [f"text {n}" for n in range(50)]
    assert sorted(sample(texts, 10_000)) == sorted(texts)


def test_size_is_bounded_and_counted_in_bytes() -> None:
    texts = ["é" * 40 + str(n) for n in range(1000)]
    read: list[int] = []
    kept = sample(texts, 2_000, on_read=read.append)
    size = sum(len(text.encode()) for text in kept)
    assert 1_900 < size <= 2_000
    assert sum(read) == sum(len(text.encode()) for text in texts)


def test_order_does_not_matter() -> None:
    texts = [f"text number {n}" for n in range(500)]
    shuffled = random.Random(0).sample(texts, len(texts))
    assert sample(texts, 1_000) == sample(shuffled, 1_000)


def test_it_is_spread_over_the_corpus() -> None:
    places = [int(text) for text in sample((f"{n:06d}" for n in range(10_000)), 6_000)]
    quarters = [sum(1 for place in places if place // 2_500 == n) for n in range(4)]
    # 1,000 kept; a fair draw puts 250 in each quarter, give or take 14 (one standard deviation).
    assert all(180 < count < 320 for count in quarters)


def test_one_huge_document_does_not_crowd_out_the_others() -> None:
    huge = " ".join(str(n) for n in range(200_000))
    kept = sample([huge, *(f"small {n}" for n in range(100))], len(huge) // 2)
    assert sum(1 for text in kept if text.startswith("small")) > 20


def test_one_text_is_kept_even_beyond_the_limit() -> None:
    assert sample(["a long enough text"], 3) == ["a long enough text"]

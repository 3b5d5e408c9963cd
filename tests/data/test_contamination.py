"""Shared runs of words against sets of tuples of words."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from linnet.data.contamination import NGrams, RunIndex, overlap, run_set
from linnet.data.shingles import WORD, shingles
from linnet.errors import DataError


def shared_text(test: Iterable[str], train: Iterable[str], *, most: int = 2_000_000) -> float:
    return overlap(test, train, most=most).shared


def _runs(text: str, length: int = 13) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10**6)}" for _ in range(count))


def _stories(test_data: Path) -> list[str]:
    text = (test_data / "tinystories" / "val.txt").read_text("utf-8")
    return text.split("<|endoftext|>")


def test_real_texts_overlap_by_as_many_runs_as_sets_of_words_do(test_data: Path) -> None:
    stories = _stories(test_data)
    held_out, others = stories[:100], stories[100:]
    known = set().union(*(_runs(story) for story in held_out))
    grams = NGrams.of(held_out)
    quoting = f"{others[0]} {held_out[3][200:400]}\n{others[1]}"
    texts = [*others, *held_out[:5], quoting]
    expected = [len(_runs(text) & known) for text in texts]
    assert [grams.overlap(text) for text in texts] == expected
    assert min(expected[-6:]) > 10
    assert 0 in expected


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_not() -> None:
    question = _words(1, 40)
    grams = NGrams.of([question])
    words = question.split()
    assert grams.overlap(f"{_words(2, 50)} {' '.join(words[5:17])} {_words(3, 50)}") == 0
    assert grams.overlap(f"{_words(2, 50)} {' '.join(words[5:18])} {_words(3, 50)}") == 1
    assert grams.overlap(f"{' '.join(words[5:11])}! -- {' '.join(words[11:18]).upper()}") == 1
    assert grams.overlap(f"{' '.join(words[:20])} and {' '.join(words[:20])}") == 8  # each once


def test_short_questions_count_as_a_whole_from_eight_words_on() -> None:
    eight = "How many legs does a grown spider have?"
    eleven = "Which of the planets is the one nearest to the sun?"
    grams = NGrams.of([eight, eleven, "What is a fern?", ""])
    assert grams.overlap(f"{_words(1, 30)} {eight.upper()} {_words(2, 30)}") == 1
    assert grams.overlap(f"{eight} {eleven}") == 2
    assert grams.overlap("What is a fern? How many legs does a grown beetle have?") == 0
    chinese = "请问世界上最高的山峰是哪一座山呢"  # sixteen characters, as eight words
    assert NGrams.of([chinese]).overlap(f"老师问道：{chinese}？学生回答说是珠穆朗玛峰。") == 1
    assert NGrams.of([chinese[:15]]).overlap(chinese) == 0  # too short to tell


def test_without_evaluation_text_nothing_overlaps() -> None:
    assert NGrams.of([]).overlap(_words(1, 100)) == 0
    assert NGrams.of([_words(1, 100)]).overlap("") == 0


def test_too_much_evaluation_text_is_refused() -> None:
    texts = [_words(seed, 112) for seed in range(10)]  # 100 runs each
    assert sum(map(len, NGrams.of(texts, most=1000).runs.values())) == 1000
    with pytest.raises(DataError, match="more than 999 runs"):
        NGrams.of(texts, most=999)


def test_the_share_of_test_text_that_training_has_too(test_data: Path) -> None:
    stories = _stories(test_data)
    test, train = stories[:60], [*stories[60:], stories[7], stories[8][100:700]]
    known = set().union(*(_runs(story) for story in test))
    met = known & set().union(*(_runs(story) for story in train))
    assert 0.01 < len(met) / len(known) < 0.1
    assert shared_text(test, train) == pytest.approx(len(met) / len(known))
    assert shared_text(test, test) == 1
    assert shared_text(test, []) == shared_text([], train) == 0


def test_the_share_is_estimated_where_there_is_much_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("linnet.data.contamination._PENDING", 5000)
    test = [_words(seed, 500) for seed in range(400)]
    train = test[:120]
    share = shared_text(iter(test), iter(train), most=20_000)  # a sample of 1 in 16
    assert share == pytest.approx(0.3, abs=0.02)
    assert share != pytest.approx(120 / 400, abs=1e-9)
    assert shared_text(test, train) == pytest.approx(0.3)
    assert np.isclose(share, shared_text(test, train[::-1], most=20_000))


@pytest.mark.parametrize("most", [10**6, 300])
def test_an_index_of_runs_equals_comparing_each_pair(most: int) -> None:
    draw = random.Random(3)
    words = [f"w{n}" for n in range(400)]
    base = draw.choices(words, k=600)
    texts = [" ".join(base[start : start + 200]) for start in range(0, 400, 80)] + ["too short"]
    other = " ".join([*base[100:350], *draw.choices(words, k=100)])
    index = RunIndex((run_set(text, weight=5 * WORD) for text in texts), most=most)

    def sampled(text: str) -> set[int]:
        found = shingles(text) if len(text.split()) >= 5 else []
        return {int(value) for value in found if int(value) % index.step == 0}

    found = run_set(other, weight=5 * WORD)
    shares, similarities = index.shares(found), index.similarities(found)
    theirs = sampled(other)
    assert index.step == 1 or most == 300
    for text, share, similarity in zip(texts, shares, similarities, strict=True):
        mine = sampled(text)
        if len(mine) < 4:
            assert share == similarity == 0
        else:
            assert share == pytest.approx(len(mine & theirs) / len(mine))
            assert similarity == pytest.approx(len(mine & theirs) / len(mine | theirs))


def test_what_is_usual_and_what_is_similar() -> None:
    footer = _words(99, 40)
    train = [f"{_words(n, 100)} {footer}" for n in range(10)]
    edited = train[4].split()
    edited[::40] = ["changed"] * len(edited[::40])
    test = [" ".join(edited), f"{_words(50, 100)} {footer}"]
    found = overlap(test, train, some=train[:2], alike=0.5)
    wanted = set().union(*map(_runs, train[:2]))
    others = [set().union(*(_runs(t) for t in train if t is not mine)) for mine in train[:2]]
    again = {run for run in wanted if all(run in one for one in others)}
    assert found.usual == pytest.approx(len(again) / len(wanted))
    ((place, like, similarity),) = found.similar
    assert (place, like) == (0, 4)
    assert 0.5 < similarity < 0.9

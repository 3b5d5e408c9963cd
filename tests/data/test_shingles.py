"""Shingles against words cut by a regular expression, MinHash against true similarities."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.shingles import (
    BANDS,
    ROWS,
    WORD,
    band_hashes,
    bands,
    contained,
    jaccard,
    runs,
    shingles,
    tokens,
)  # fmt: skip


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def _true(first: str, second: str) -> float:
    a, b = _runs(first), _runs(second)
    return len(a & b) / len(a | b)


def _prose(seed: int, words: int, vocabulary: int = 300) -> str:
    draw = random.Random(seed)
    return " ".join(f"Word{draw.randrange(vocabulary)}" for _ in range(words)) + "."


def _mixed(first: str, second: str) -> list[str]:
    """Texts that go over from one to the other by and by."""
    a, b = first.split(), second.split()
    return [" ".join(a[: len(a) * part // 10] + b[len(b) * part // 10 :]) for part in range(11)]


def test_shingles_are_the_runs_of_five_words_of_real_texts(test_data: Path) -> None:
    text = (test_data / "tinystories" / "val.txt").read_text("utf-8")
    stories = text.split("<|endoftext|>")
    for story in stories[:100]:
        assert len(shingles(story)) == len(_runs(story))
    # Several blocks long, so that words and runs cross their borders.
    assert len(shingles(text)) == len(_runs(text))
    assert jaccard(shingles(text), shingles(text[50_000:])) == pytest.approx(
        _true(text, text[50_000:])
    )


@given(st.text(st.sampled_from("ab Zé,.-_\n7ßİ漢字かなカ\u0e01\u0e34ह\u093f\U0001f600\u1780")))
@settings(max_examples=300, deadline=None)
def test_tokens_are_words_and_single_characters_of_scripts_without_blanks(text: str) -> None:
    regex = pytest.importorskip("regex")  # knows Unicode's own tables of scripts
    half, quarter = r"[\p{Han}\p{Hiragana}\p{Katakana}]", r"[\p{Thai}\p{Lao}\p{Khmer}]"
    word = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{half}--{quarter}]+"
    expected = regex.findall(f"{half}|{quarter}|{word}", text.lower(), regex.VERSION1)
    found = tokens(text)
    assert len(found.hashes) == len(expected)
    assert len(set(found.hashes.tolist())) == len(set(expected))
    assert len(dict(zip(expected, found.hashes.tolist(), strict=True))) == len(set(expected))
    assert found.weights.tolist() == [
        2 if regex.fullmatch(half, token) else 1 if regex.fullmatch(quarter, token) else WORD
        for token in expected
    ]


@given(st.text(st.sampled_from("abc 漢字ก")), st.sampled_from([4, 20, 52]))
@settings(max_examples=300, deadline=None)
def test_a_run_starts_at_every_token_and_is_as_heavy_as_asked(text: str, weight: int) -> None:
    found = tokens(text)
    expected = []
    for start in range(len(found.hashes)):
        held = np.cumsum(found.weights[start:], dtype=int)
        if held[-1] >= weight:
            length = int(np.searchsorted(held, weight)) + 1
            expected.append(tuple(found.hashes[start : start + length].tolist()))
    hashes = np.concatenate([np.empty(0, np.uint64), *runs(found, weight)]).tolist()
    assert len(hashes) == len(expected)
    assert len(dict(zip(expected, hashes, strict=True))) == len(set(expected)) == len(set(hashes))


def test_case_punctuation_and_layout_do_not_count_but_what_is_short_is_compared_whole() -> None:
    text = "The cat, as they say, sat (quietly) on the mat."
    assert np.array_equal(
        shingles(text), shingles("THE CAT\nas they say; sat quietly\n\non the mat")
    )
    assert jaccard(shingles("Ring the bell"), shingles("Ring  the\nbell")) == 1
    assert jaccard(shingles("Ring the bell"), shingles("Ring the doorbell")) == 0
    # L- and D-alanine: the same letters, another substance.
    assert jaccard(shingles("C[C@H](N)C(=O)O"), shingles("C[C@@H](N)C(=O)O")) == 0
    assert len(shingles("")) == len(shingles("...")) == 1


def test_jaccard_is_that_of_sets() -> None:
    draw = np.random.default_rng(3)
    for size in (0, 1, 10, 1000):
        a, b = (np.unique(draw.integers(0, 1500, n)).astype(np.uint64) for n in (size, 700))
        first, second = set(a.tolist()), set(b.tolist())
        assert jaccard(a, b) == jaccard(b, a) == len(first & second) / len(first | second)
        assert contained(b, a).tolist() == [value in first for value in b.tolist()]
    assert jaccard(a[:0], b[:0]) == 0


def test_signatures_agree_as_often_as_texts_are_similar() -> None:
    similar: list[float] = []
    shared: list[float] = []
    for seed in range(60):
        first, second = _prose(seed, 400), _prose(1000 + seed, 400)
        for text in _mixed(first, second)[7:10]:
            similar.append(_true(first, text))
            a, b = (np.frombuffer(bands(t), "<u8") for t in (first, text))
            shared.append(float(np.mean(a == b)))
    # A band of 7 rows is shared with a probability of s^7.
    expected = np.mean(np.array(similar) ** ROWS)
    assert np.mean(shared) == pytest.approx(expected, abs=0.02)
    assert 0.1 < expected < 0.4


def test_rows_of_a_band_are_told_apart() -> None:
    rows = np.array([[1, 2, 3], [1, 2, 4], [2, 1, 3], [1, 2, 3]], np.uint32)
    first, second, third, fourth = band_hashes(rows).tolist()
    assert first == fourth
    assert len({first, second, third}) == 3


def test_hashes_are_the_same_in_every_process_and_version() -> None:
    # Catalogs keep them: a change here needs a new format of the catalog.
    text = "Äpfel und Birnen: 漢字 and ไทย, twenty-two words of \U0001f600 many scripts."
    program = (
        "import sys; from linnet.data.shingles import bands, shingles\n"
        f"text = {text!r}\nprint(int(shingles(text)[0]), bands(text)[:8].hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("0", "17")
    }  # fmt: skip
    assert found == {"113338160292201359 38c20682f9bf60c1"}


def test_a_large_document_takes_little_memory() -> None:
    text = _prose(1, 400_000, vocabulary=100_000)  # 3.9 million characters
    assert len(bands("warm up")) == BANDS * 8
    tracemalloc.start()
    bands(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6

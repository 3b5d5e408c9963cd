"""Splits and pieces."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.config import DataConfig
from linnet.data.split import LEAST_PIECE, MOST_PIECE, cut_pieces, fit_borders, rank
from linnet.errors import ConfigError


def test_the_rank_is_blake2b_as_another_program_would_compute_it() -> None:
    secret = hashlib.sha256(b"key").digest()
    number = int(hashlib.blake2b(b"notes/a.txt", digest_size=8, key=secret).hexdigest(), 16)
    assert rank("notes/a.txt", "key") == pytest.approx(number / 2**64, abs=1e-15)


def test_fractions_are_met_and_nothing_moves_when_documents_come() -> None:
    groups = [f"file-{n}" for n in range(20_000)]
    config = DataConfig(validation_fraction=0.1, test_fraction=0.05)
    before = fit_borders(lambda: groups[:10_000], config)
    after = fit_borders(lambda: groups, config)
    counts = Counter(after.split_of(group) for group in groups)
    assert counts["validation"] == pytest.approx(2000, abs=150)
    assert counts["test"] == pytest.approx(1000, abs=110)
    assert all(before.split_of(g) == after.split_of(g) for g in groups[:10_000])


@given(
    groups=st.sets(st.text(max_size=5), min_size=3, max_size=30),
    validation=st.sampled_from([0.001, 0.05, 0.5]),
    test=st.sampled_from([0.001, 0.05, 0.49]),
)
@settings(max_examples=150, deadline=None)
def test_no_split_is_empty_from_three_groups_on(
    groups: set[str], validation: float, test: float
) -> None:
    config = DataConfig(validation_fraction=validation, test_fraction=test)
    repeated = sorted(groups) * 2
    borders = fit_borders(lambda: repeated, config)
    assert {borders.split_of(group) for group in groups} == {"train", "validation", "test"}


def test_fewer_than_three_groups_are_for_training_and_zero_means_none() -> None:
    borders = fit_borders(lambda: ["a", "b"], DataConfig())
    assert {borders.split_of(group) for group in "ab"} == {"train"}
    none = DataConfig(validation_fraction=0.0, test_fraction=0.0)
    borders = fit_borders(lambda: [str(n) for n in range(50)], none)
    assert {borders.split_of(str(n)) for n in range(50)} == {"train"}


@pytest.mark.parametrize("changes", [{"test_fraction": 1.0}, {"workers": -1}, {"separator": " "}])
def test_settings_that_cannot_work_are_refused(changes: dict) -> None:
    with pytest.raises(ConfigError):
        DataConfig(**changes)


def _prose(seed: int, paragraphs: int, words: int = 60) -> str:
    draw = random.Random(seed)
    return "\n\n".join(
        " ".join(f"w{draw.randrange(1000)}" for _ in range(draw.randrange(5, words))) + "."
        for _ in range(paragraphs)
    )


@pytest.mark.parametrize(
    "text",
    [
        _prose(1, 400),
        _prose(2, 5, words=9000),
        "x" * 50_000,
        "word " * 20_000,
        "line\n" * 20_000,
        "short",
        "",
    ],
)
def test_pieces_put_together_are_the_text(text: str) -> None:
    parts = cut_pieces(text)
    assert "".join(piece + gap for piece, gap in parts) == text
    assert all(len(piece) <= MOST_PIECE for piece, _ in parts)


def test_pieces_end_at_paragraphs_and_are_of_a_useful_size() -> None:
    parts = cut_pieces(_prose(1, 400))
    assert all(gap == "\n\n" for _, gap in parts[:-1])
    assert all(LEAST_PIECE <= len(piece) <= MOST_PIECE for piece, _ in parts[:-1])


def test_an_edit_moves_few_pieces() -> None:
    text = _prose(3, 600)
    edited = "A new first paragraph.\n\n" + text.replace("w500", "changed", 1)
    before = {piece for piece, _ in cut_pieces(text)}
    after = {piece for piece, _ in cut_pieces(edited)}
    assert len(after - before) <= 4
    assert len(before) > 20

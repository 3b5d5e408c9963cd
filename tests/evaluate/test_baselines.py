"""The baselines against direct counting and known entropies."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.evaluate.tasks.baselines import BASELINES, END, SYMBOLS, ByteNgram, xz_extra_bytes


def witten_bell(training: list[str], order: int):
    """The textbook recursion, with dictionaries."""
    followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in training:
        symbols = [END] * (order - 1) + list(text.encode()) + [END]
        for place in range(order - 1, len(symbols)):
            for length in range(order):
                followers[tuple(symbols[place - length : place])][symbols[place]] += 1

    def probability(context: tuple[int, ...], symbol: int) -> float:
        shorter = probability(context[1:], symbol) if context else 1 / SYMBOLS
        seen = followers.get(context)
        if not seen:
            return shorter
        return (seen[symbol] + len(seen) * shorter) / (seen.total() + len(seen))

    return probability


texts = st.lists(st.text(alphabet="abcé ", max_size=30), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(training=texts, held_out=st.text(alphabet="abcdé ", max_size=20), order=st.integers(1, 6))
def test_bits_equal_the_textbook_recursion(training: list[str], held_out: str, order: int) -> None:
    probability = witten_bell(training, order)
    symbols = [END] * (order - 1) + list(held_out.encode()) + [END]
    bits = sum(
        -math.log2(probability(tuple(symbols[place - order + 1 : place]), symbols[place]))
        for place in range(order - 1, len(symbols))
    )
    assert ByteNgram(training, order=order).bits(held_out) == pytest.approx(bits)


def test_probabilities_sum_to_one_in_every_context() -> None:
    model = ByteNgram(["the cat sat on the mat", "that hat", ""], order=3)
    for context in ((END, END), (END, ord("t")), tuple(b"at"), tuple(b"zz"), (0, 255)):
        grams = (context[0] * SYMBOLS + context[1]) * SYMBOLS + np.arange(SYMBOLS, dtype=np.int64)
        probabilities = model.probabilities(grams)
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert (probabilities > 0).all()


def test_unigram_reaches_the_known_entropy() -> None:
    # Four equally likely letters: two bits each, and next to nothing for the end.
    generator = np.random.default_rng(0)
    train, test = ("".join(generator.choice(list("abcd"), size=40_000)) for _ in range(2))
    bits = ByteNgram([train], order=1).bits(test) / len(test)
    assert bits == pytest.approx(2.0, abs=0.01)


def test_ngram_learns_what_the_unigram_cannot() -> None:
    # After "a" comes "b" or "c" by a coin, and after those always "a": half a bit per letter.
    generator = np.random.default_rng(0)
    train, test = (
        "".join("a" + letter for letter in generator.choice(list("bc"), size=20_000))
        for _ in range(2)
    )
    bits = {name: spent([train], [test]) for name, spent in BASELINES.items()}
    assert bits["ngram"] / len(test) == pytest.approx(0.5, abs=0.02)
    assert bits["unigram"] / len(test) == pytest.approx(1.5, abs=0.02)
    assert bits["ngram"] < bits["xz"] < bits["unigram"]


def test_nothing_to_learn_from_is_uniform() -> None:
    assert ByteNgram([], order=5).bits("abc") == pytest.approx(4 * math.log2(SYMBOLS))


def test_xz_pays_little_for_what_it_has_seen() -> None:
    generator = np.random.default_rng(0)
    noise = "".join(generator.choice(list("abcdefghijklmnop"), size=20_000))
    other = "".join(generator.choice(list("abcdefghijklmnop"), size=20_000))
    assert xz_extra_bytes([noise], [noise]) < 100
    assert xz_extra_bytes([noise], [other]) > 0.9 * len(other) / 2

"""Readings are made quickly, and are those that the plain way gives; what was read before is known.

References are what each quick way stands for: patterns over the whole text, a skeleton character by
character, hashes by their sum, and a policy that has read nothing before.
"""

from __future__ import annotations

import base64
import random
import re
import unicodedata

import numpy as np
import pytest

from linnet.answers.instructions import UNSEEN
from linnet.config import from_mapping
from linnet.respond import Context
from linnet.routing import readings as r
from linnet.routing.fingerprints import hashes
from linnet.routing.policy import Policy, PolicyConfig
from routing.leaks import CODES, WORDS, cases, world
from routing.test_policy_fuzz import EVERYTHING, patterns

PIECES = (
    "ab", "Zy9", "+", "==", " ", "  ", "\n", "12 34 ", "7", "-", " le", " l ", " нет", "0x41",
    "ff ", "word ", "aBc ", ".- ", ". .- -... - -- . .", "a b c d ", "MFRG G ZDF ", "01 ",
    "\ufe01" * 5, "\ud800", "%41", "é", "ко ",
)  # fmt: skip


def text(chance: random.Random) -> str:
    """Words, and what looks like codes, in any order."""
    parts = [chance.choice(PIECES if chance.random() < 0.6 else WORDS) for _ in range(60)]
    secret = " ".join(chance.choices(WORDS, k=8))
    parts.insert(chance.randrange(60), CODES[chance.choice(list(CODES))](secret))
    return chance.choice(("", " ")).join(parts)


def test_matches_stretch_by_stretch_are_those_of_the_whole() -> None:
    chance = random.Random(0)
    given = (
        r._SELECTORS, r._HEX, r._BINARY, r._DECIMAL, r._OCTAL, r._BASE64, r._TOKEN, r._BASE32,
        r._BASE32_APART, r._ASCII85, r._BASE85, r._MORSE, r._APART,
    )  # fmt: skip
    hits = dict.fromkeys(given, 0)
    several = 0
    for _ in range(120):
        own = text(chance)
        several += len(r._stretches(own)) > 1
        for pattern in given:
            whole = pattern.findall(own)
            assert list(r._matches(pattern, own)) == whole
            hits[pattern] += len(whole)
    assert several > 40
    assert all(hits.values())


def runs(text: str) -> list[str]:
    """What may be base64, word by word."""
    found = r._BASE64.findall(text)
    group: list[str] = []
    odd = plain = 0
    for token in r._TOKEN.findall(text):
        inner = token[1:]
        upper = any(c.isupper() for c in inner) and any(c.islower() for c in token)
        digit = any(c.isdigit() for c in token) and any(c.isalpha() for c in token)
        strange = upper or digit or "+" in inner or "=" in token
        odd, plain = (odd + 1, 0) if strange else (odd, plain + 1)
        group.append(token.rstrip("="))
        if plain > 4:
            if odd > 1:
                found.append("".join(group))
            group, odd, plain = group[-2:], 0, 0
    return found + ["".join(group)] * (odd > 1)


def test_groups_of_base64() -> None:
    chance = random.Random(1)
    for _ in range(100):
        own = text(chance)
        assert list(r._runs(own)) == runs(own)


def skeleton(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(r._LOOKALIKES)).casefold()
    plain = UNSEEN.sub("", plain.translate(r._LOOKALIKES))
    return re.sub(r"[\W_]+", "", plain).translate({ord("0"): "o", ord("1"): "l", ord("i"): "l"})


def test_skeletons() -> None:
    chance = random.Random(2)
    kinds = (range(32, 127), range(0x300, 0x370), range(0x400, 0x460), range(0x110000), (0x345,))
    for _ in range(100):
        own = "".join(chr(chance.choice(chance.choice(kinds))) for _ in range(60))
        assert r.skeleton(own) == skeleton(own)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 20, 31])
def test_hashes(length: int) -> None:
    values = np.random.default_rng(0).integers(0, 0x110000, 50).astype(np.uint32)
    mask = (1 << 64) - 1
    for size in (0, length - 1, length, 50):
        expected = []
        for begin in range(size - length + 1):
            own = 0
            for value in values[begin : begin + length].tolist():
                own = (own * 0x9E3779B97F4A7C15 + value) & mask
            own = ((own ^ own >> 29) * 0xBF58476D1CE4E5B9) & mask
            expected.append(own ^ own >> 32)
        assert hashes(values[:size], length).tolist() == expected


def policy() -> Policy:
    made = world()
    own = {**EVERYTHING, "private": "hold", "patterns": patterns(made)}
    return Policy(from_mapping(PolicyConfig, own, where="test"))


def test_a_conversation_that_grows_is_judged_as_one_that_was_never_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = policy()
    held = 0
    for case in cases(5, 12, world()):
        messages = case.conversation.messages
        for count in range(1, len(messages) + 1):
            given = case.conversation.replace(messages=messages[:count])
            found = kept.explain(given, Context(), "elsewhere")
            assert found == policy().explain(given, Context(), "elsewhere")
            held += not found.verdict.allowed
    assert held > 2


def test_what_was_read_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    own = policy()
    read: list[str] = []
    spans = own._private_spans
    monkeypatch.setattr(
        own, "_private_spans",
        lambda text, called: read.append(text) or spans(text, called),
    )  # fmt: skip
    given = next(case.conversation for case in cases(5, 40, world()) if not case.kind)
    own.check(given, Context(), "elsewhere")
    assert read
    read.clear()
    own.check(given, Context(), "elsewhere")
    assert read == []


def test_surrogates_by_themselves_are_read_to_an_end() -> None:
    code = base64.b64encode(b"over there it is").decode()
    for odd in ("\ud800%41", "=41=42=43\udc00", "\\u0041\ud800", f"\ud800{code}", "\ud800&amp;"):
        assert r.readings(odd).complete

"""Places followed through edits: every character that stays is found again."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data import repeats
from linnet.data.clean import clean
from linnet.data.positions import Edited, Positions
from linnet.data.privacy import Scrubber

# Characters that nothing changes, each once: by these others are told apart.
_MARKERS = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]
_DIRT = (
    "\r\n", "\r", "\n", "\n\n\n\n", "  \n", "\t\n", "\x00", "\x1b[1m", "\x85", "\u2028", "\xa0",
    "\ufeff", "\u200b", "\xad", "\x0b", "\x0c", "ﬁ", "e\u0301", "\u1100\u1161\u11a8", "\ud800",
    "Ã©tÃ©", "well-\nknown ", "exam-\nple\n", "wellknown", "fun\xad\nction ", "a", " ",
)  # fmt: skip
_PRIVATE = (
    "ann@example.com", "+1 212 555 0187", "4111 1111 1111 1111", "password=hunter2hunter2", " ",
    "\n", ", ", "10.1.2.3", "GB82 WEST 1234 5698 7654 32",
)  # fmt: skip


def _strewn(draw: random.Random, dirt: tuple[str, ...], count: int) -> str:
    """Markers with this between them."""
    return "".join(
        marker + "".join(draw.choices(dirt, k=draw.randint(0, 3)))
        for marker in _MARKERS[:count]
    )  # fmt: skip


def _assert_found_again(before: str, after: str, positions: Positions) -> int:
    """Each marker that is left is where it is said to be, both ways. Gives how many there are."""
    left = [marker for marker in _MARKERS if marker in before and marker in after]
    old, new = ([text.index(marker) for marker in left] for text in (before, after))
    assert positions.forwards(old).tolist() == new
    assert positions.backwards(new).tolist() == old
    everywhere = positions.forwards(range(len(before) + 1)).tolist()
    assert everywhere == sorted(everywhere)
    assert all(0 <= place <= len(after) for place in everywhere)
    return len(left)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_characters_are_found_after_any_edits(seed: int, steps: int) -> None:
    draw = random.Random(seed)
    edited = Edited("".join(_MARKERS[: draw.randint(0, 60)]))
    before = edited.text
    for _ in range(steps):
        cuts = sorted(draw.choices(range(len(edited.text) + 1), k=2 * draw.randint(0, 4)))
        pairs = zip(cuts[::2], cuts[1::2], strict=True)
        edits = [(start, end, "x" * draw.randint(0, 3)) for start, end in pairs]
        expected = edited.text
        for start, end, new in reversed(edits):
            expected = expected[:start] + new + expected[end:]
        edited.apply(edits)
        assert edited.text == expected
    _assert_found_again(before, edited.text, edited.positions)
    again = Positions.from_lists(edited.positions.as_lists())
    _assert_found_again(before, edited.text, again)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["prose", "web", "table", "log", "code"]))
def test_cleaning_loses_no_place(seed: int, family: str) -> None:
    text = _strewn(random.Random(seed), _DIRT, 40)
    cleaned = clean(text, family)  # type: ignore[arg-type]
    assert _assert_found_again(text, cleaned.text, cleaned.positions) == 40


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["mask", "pseudonym", "keep"]))
def test_masking_loses_no_place(seed: int, mode: str) -> None:
    text = _strewn(random.Random(seed), _PRIVATE, 20)
    scrubbed = Scrubber(mode, "key", (), ()).scrub(text, "prose")
    _assert_found_again(text, scrubbed.text, scrubbed.positions)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_taking_out_lines_loses_no_place(seed: int) -> None:
    draw = random.Random(seed)
    notice = "This line repeats"
    lines = [draw.choice([marker * 3, notice, ""]) for marker in _MARKERS[:40]]
    text = "\n".join(marker if line else "" for marker, line in zip(_MARKERS, lines, strict=False))
    text = "\n".join(
        notice if a == notice else b for a, b in zip(lines, text.split("\n"), strict=True)
    )
    edited, count = repeats.strip(text, frozenset(repeats.edges(notice)))
    assert count or edited.text == text
    _assert_found_again(text, edited.text, edited.positions)


@given(st.text())
def test_normalising_piece_by_piece_gives_the_same(text: str) -> None:
    edited = Edited(text)
    edited.normalize()
    assert edited.text == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "text", ["e\u0301" * 9, "\u1100\u1161\u11a8가\u0301", "\u09c7\u09be\u0344"]
)
def test_what_becomes_one_character_is_found_there(text: str) -> None:
    edited = Edited(f"({text})")
    edited.normalize()
    assert edited.text == unicodedata.normalize("NFC", f"({text})") != f"({text})"
    assert edited.positions.forwards([0, len(text) + 1]).tolist() == [0, len(edited.text) - 1]


@given(st.text("ab \n"), st.sampled_from([" +", "a|b", "$", "(?=a)"]), st.sampled_from(["", "-"]))
def test_substituting_is_that_of_the_library(text: str, pattern: str, new: str) -> None:
    edited = Edited(text)
    assert edited.sub(re.compile(pattern), new) == len(re.findall(pattern, text))
    assert edited.text == re.sub(pattern, new, text)

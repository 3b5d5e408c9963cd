"""Repeated first and last lines: found, taken out, and nothing else with them."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data import repeats
from linnet.data.repeats import Sample, edges, pack, repeated, unpack

_MENU = "Home | Products | About us\nSearch\nSign in"
_NOTICE = "This message is confidential.\nIf it is not for you, delete it.\nPage {page} of 9"


def strip(text: str, lines: frozenset[int]) -> tuple[str, int]:
    edited, count = repeats.strip(text, lines)
    return edited.text, count


def _stories(test_data: Path) -> list[str]:
    text = (test_data / "tinystories" / "val.txt").read_text("utf-8")
    stories = [story.strip() for story in text.split("<|endoftext|>")]
    # Long enough for a menu and a notice to be less than half of the whole.
    return [story for story in stories if len(story) > 300 and "\n\n\n" not in story][:200]


def test_a_menu_and_a_notice_are_taken_off_real_texts_and_nothing_else(test_data: Path) -> None:
    stories = _stories(test_data)
    assert len(stories) == 200
    assert repeated(map(edges, stories), 0.3) == frozenset()
    pages = [
        f"{_MENU}\n\n{story}\n\n{_NOTICE.format(page=number)}" if number % 2 else story
        for number, story in enumerate(stories)
    ]
    lines = repeated(map(edges, pages), 0.3)
    assert len(lines) == 6
    for number, (page, story) in enumerate(zip(pages, stories, strict=True)):
        assert strip(page, lines) == (story, 6 if number % 2 else 0)


def test_a_line_counts_in_enough_documents_of_any_size() -> None:
    samples = [[1, 1, 1, 2], [1], *([3] for _ in range(8))]  # line 3 in 8 of 10
    assert repeated(samples, 0.3) == frozenset()
    assert repeated(samples, 0.3, least=2) == {3}
    assert repeated(samples, 0.2, least=2) == {1, 3}
    assert repeated([[7]] * 10 + [[8]] * 90, 0.1) == {7, 8}
    assert repeated([[7]] * 9 + [[8]] * 91, 0.09) == {8}
    assert repeated([], 0.3) == frozenset()


def test_numbers_are_alike_and_what_says_little_or_belongs_to_a_mail_does_not_count() -> None:
    assert edges("Page 3 of 9") == edges("Page  12 of 10\n")
    assert edges("Page 3 of 9") != edges("page 3 of 9")
    assert edges("---\n\n 7 \nx\nFrom: Ann\nTo: <EMAIL>\n" + "long " * 500) == []
    lines = [f"line {'abcdefghijklmnopqrstuvwxyz'[n] * 2}" for n in range(26)] + ["the end"] * 9
    assert edges("\n\n".join(lines)) == [
        *(edges(line)[0] for line in lines[:15]), *(edges(line)[0] for line in lines[-15:])
    ]  # fmt: skip


def test_headings_within_a_document_and_documents_that_only_repeat_stay() -> None:
    lines = frozenset(edges("Summary\nConfidential\nDo not copy"))
    body = "Something long enough that is said here only."
    text = f"Report on ferns\nSummary\n{body}"
    assert strip(text, lines) == (text, 0)
    assert strip(f"Confidential\n\n{text}", lines) == (text, 1)
    assert strip(f"{text}\n\nDo not copy\nConfidential", lines) == (text, 2)
    short = "Confidential\nDo not copy\nYes."
    assert strip(short, lines) == (short, 0)
    # Within the document a notice is part of it.
    inner = "\n".join([*(f"{body} {n}" for n in range(20)), "Confidential", "Do not copy"] * 2)
    assert strip(inner, lines)[1] == 2


_line = st.sampled_from(["Menu", "Notice", "", "Ferns grow here.", "Mosses as well.", "7"])


@given(st.lists(_line, max_size=45), st.sets(st.sampled_from(["Menu", "Notice"])))
@settings(max_examples=300, deadline=None)
def test_only_repeated_lines_go_and_never_more_than_half(lines: list[str], names: set[str]) -> None:
    text = "\n".join(lines)
    stripped, count = strip(text, frozenset(edges("\n".join(sorted(names)))))
    written = [line for line in lines if line]
    left = [line for line in stripped.split("\n") if line]
    rest = iter(written)
    assert all(line in rest for line in left)  # in the same order
    gone = [line for line in written if line in names]
    assert len(written) - len(left) == count <= len(gone)
    assert left.count("Ferns grow here.") == written.count("Ferns grow here.")
    lost = sum(map(len, written)) - sum(map(len, left))
    assert 2 * lost <= len(text.strip())
    if not count:
        assert stripped == text


def test_a_sample_is_of_the_smallest_ids_in_whatever_order_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("linnet.data.repeats._SAMPLED", 20)
    draw = random.Random(2)
    known = {f"{draw.getrandbits(128):032x}": pack([number]) for number in range(300)}
    expected = [known[identity] for identity in sorted(known)[:20]]
    for _ in range(3):
        sample = Sample()
        for identity in draw.choices(list(known), k=20) + draw.sample(list(known), 300):
            sample.add(identity, known[identity])
        assert list(sample.edges()) == expected


def test_hashes_are_kept_as_bytes() -> None:
    lines = edges("Home\nSearch\n\nSign in")
    assert len(lines) == 3
    assert unpack(pack(lines)) == lines
    assert unpack(pack([])) == []


@pytest.mark.parametrize(
    "text", ["word " * 2_000_000, "a line\n" * 1_500_000, "\n \n" * 1_000_000, "ab" * 5_000_000]
)
def test_long_documents_take_little_time(text: str) -> None:
    start = time.process_time()
    strip(text, frozenset(edges(text)))
    assert time.process_time() - start < 10

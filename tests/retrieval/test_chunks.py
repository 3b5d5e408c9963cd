"""What documents are cut into."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from linnet.data.blocks import Builder, derived
from linnet.data.kinds import Family
from linnet.data.locating import StoredText
from linnet.retrieval.chunks import Chunk, chunks, title_of


def cut(text: str, characters: int = 900, family: Family = "prose") -> list[Chunk]:
    stored = StoredText("x", "", text, derived(text, family))
    return list(chunks(stored, list(stored.blocks()), characters))


def sentences(count: int, word: str = "water") -> str:
    return " ".join(f"Sentence {n} is about {word} and stones." for n in range(count))


def test_headings_bound_chunks_and_are_what_they_stand_under() -> None:
    text = "# Guide\n\nFirst words.\n\nMore.\n\n## Inner\n\nOther words.\n\n# End\n\n## Empty"
    found = [(text[c.start : c.end], c.headings, c.kind) for c in cut(text)]
    assert found == [
        ("First words.\n\nMore.", ("Guide",), "paragraph"),
        ("Other words.", ("Guide", "Inner"), "paragraph"),
        ("## Empty", ("End",), "heading"),
    ]


def test_paragraphs_are_packed_and_long_ones_are_cut_at_sentences() -> None:
    text = "\n\n".join([sentences(5), sentences(5), sentences(60), sentences(2)])
    found = [text[c.start : c.end] for c in cut(text)]
    assert found[0] == f"{sentences(5)}\n\n{sentences(5)}"
    assert len(found) == 5
    assert all(len(piece) <= 1.25 * 900 for piece in found)
    assert all(piece.endswith(".") and piece.startswith("Sentence") for piece in found)


def test_a_table_that_is_cut_keeps_its_header_beside_every_part() -> None:
    rows = "\n".join(f"plant {n} | {n} cm" for n in range(300))
    text = f"Heights of all plants:\n\nplant | height\n{rows}"
    found = cut(text)
    assert found[0].context == ""
    assert text[found[0].start :].startswith("Heights of all plants:\n\nplant | height\nplant 0")
    assert len(found) > 3
    for chunk in found[1:]:
        assert chunk.context == "plant | height"
        piece = text[chunk.start : chunk.end]
        assert all(re.fullmatch(r"plant \d+ \| \d+ cm", line) for line in piece.splitlines())


def test_rows_that_are_blocks_of_their_own_are_a_table_with_a_header() -> None:
    built = Builder()
    built.add("Prices", "heading", level=1)
    built.add("plant | price", "table")
    for n in range(200):
        built.add(f"plant {n} | {n} EUR", "table", before="\n")
    built.add("animal | price", "table")
    built.add("cat | 3 EUR", "table", before="\n")
    text = built.text()
    stored = StoredText("x", "", text, text.structure)
    found = list(chunks(stored, list(stored.blocks()), 900))
    assert len(found) > 2
    assert [chunk.context for chunk in found] == ["", *["plant | price"] * (len(found) - 2), ""]
    assert text[found[-1].start :] == "animal | price\ncat | 3 EUR"


def test_code_and_lists_stay_whole_where_they_fit() -> None:
    code = "\n".join(f"value_{n} = {n}" for n in range(90))
    items = "\n".join(f"- item {n} of the list" for n in range(60))
    text = f"How to set them:\n\n```\n{code}\n```\n\n{items}"
    found = [(text[c.start : c.end], c.kind) for c in cut(text)]
    assert found == [
        (f"How to set them:\n\n```\n{code}\n```", "code"),
        (items, "list"),
    ]


@pytest.mark.parametrize("characters", [100, 900])
def test_every_word_is_in_a_chunk_or_a_heading_and_chunks_are_apart(characters: int) -> None:
    drawn = random.Random(7)
    for _ in range(60):
        parts = []
        for number in range(drawn.randrange(1, 12)):
            word = f"w{number}x{drawn.randrange(99)}"
            parts.append(
                drawn.choice(
                    [
                        f"{'#' * drawn.randrange(1, 4)} {word} {'long ' * drawn.choice([0, 80])}",
                        sentences(drawn.choice([1, 9, 40]), word),
                        "\n".join(f"- {word} {n}" for n in range(drawn.choice([2, 80]))),
                        "\n".join(f"{word} | {n}" for n in range(drawn.choice([2, 150]))),
                        f"{word}{'x' * drawn.choice([0, 3000])}",
                        "字。" * drawn.choice([3, 900]) + word,
                        "***",
                    ]
                )
            )
        text = "\n\n".join(parts)
        found = cut(text, characters)
        said = " ".join([*(text[c.start : c.end] for c in found)])
        said += " ".join(heading for c in found for heading in c.headings)
        assert set(re.findall(r"w\d+x\d+", text)) <= set(re.findall(r"w\d+x\d+", said))
        assert sum(c.end - c.start for c in found) <= len(text)
        assert all(a.end <= b.start for a, b in pairwise(found))
        assert all(text[c.start : c.end].strip() == text[c.start : c.end] != "" for c in found)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## Low\n\nx\n\n# High\n\ny", "High"),
        ("No heading at all.", ""),
        ("## Near\n\n" + "x " * 1500 + "\n\n# Far\n\ny", "Near"),
    ],
)
def test_the_title_is_the_highest_heading_near_the_beginning(text: str, title: str) -> None:
    stored = StoredText("x", "", text, derived(text, "prose"))
    assert title_of(stored, list(stored.blocks())) == title

"""Long texts: cut at natural borders, in bounded memory, however they arrive."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from linnet import data
from linnet.data.config import DataConfig
from linnet.data.document import Extracted
from linnet.data.extract import Context, extract
from linnet.data.extract.sections import CODE, LINES, PROSE, Border, Section, sections

pytestmark = pytest.mark.usefixtures("reading_here")

SEPARATOR = "<|endoftext|>"


def _prose(seed: int, chapters: int, *, title: str = "Chapter {}") -> str:
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(f"w{draw.randrange(3000)}" for _ in range(draw.randrange(4, 12))) + "."

    def paragraph() -> str:
        return " ".join(sentence() for _ in range(draw.randrange(2, 6)))

    return "\n\n".join(
        "\n\n".join([title.format(n), *(paragraph() for _ in range(draw.randrange(3, 9)))])
        for n in range(1, chapters + 1)
    )


def _chunks(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("borders", [PROSE, CODE, LINES])
@pytest.mark.parametrize(
    "text",
    [
        _prose(1, 60),
        _prose(2, 20).replace("\n\n", " "),
        _prose(3, 9) + f"\n{SEPARATOR}\n" + _prose(4, 40) + f"\n  {SEPARATOR} \nlast\n",
        f"one\n{SEPARATOR}\n\n{SEPARATOR}\ntwo {SEPARATOR}\n",
        "x" * 30_000,
        "word " * 9_000,
        "\n" * 20_000 + "end",
        "文字。" * 9_000,
        "",
    ],
)
def test_how_the_text_arrives_leaves_no_trace_and_nothing_is_lost(
    text: str, borders: tuple[Border, ...]
) -> None:
    def cut(chunk: int) -> list[Section]:
        found = sections(
            _chunks(text, chunk), longest=6_000, separator=SEPARATOR, borders=borders, size=4_000
        )
        return list(found)

    whole = cut(10**6)
    assert all(cut(chunk) == whole for chunk in (7, 1_000, 4_096))
    assert all(len(section) <= (4_000 if parted else 6_001) for section, parted, _ in whole)
    assert all(section.text.startswith(_at_line(text, section)) for section in whole)
    lines = [line for line in text.split("\n") if line.strip() != SEPARATOR]
    assert "".join("".join(s for s, *_ in whole).split()) == "".join("".join(lines).split())


def _at_line(text: str, section: Section) -> str:
    """The beginning of a section, as it stands on its line of the whole text or goes on in it."""
    line = text.split("\n")[section.line - 1]
    begins = section.text.split("\n", 1)[0]
    return begins if begins in line else "not on its line"


@pytest.mark.parametrize(
    ("joined", "begins", "ends"),
    [
        (_prose(5, 80), "Chapter ", "."),
        (_prose(5, 80, title="# Of {}"), "# Of ", "."),
        (_prose(5, 80, title="\n\n\nThe {}th"), "The ", "."),
        (_prose(6, 40, title="It is {}."), "", "."),  # at a blank line
        ("“" + _prose(7, 40).replace("\n\n", " ").replace(". ", ".” “") + "”", "“", ".”"),
        ("これは文です。" * 5_000, "こ", "。"),
    ],
)
def test_sections_begin_and_end_where_a_reader_would_cut(
    joined: str, begins: str, ends: str
) -> None:
    found = [text for text, *_ in sections([joined], longest=5_000, size=5_000)]
    assert len(found) > 3
    assert all(text.startswith(begins) for text in found[1:])
    assert all(text.endswith(ends) for text in found)


def test_code_keeps_its_indentation() -> None:
    text = "".join(f"class C{n}:\n\n    def f(self):\n        return {n}\n\n" for n in range(400))
    found = [text for text, *_ in sections([text], longest=2_000, size=2_000, borders=CODE)]
    assert {line for part in found for line in part.split("\n")} == set(text.split("\n"))


def test_an_edit_moves_few_cuts() -> None:
    text = _prose(8, 300)
    before = {part for part, *_ in sections([text], longest=5_000, size=5_000)}
    after = {
        part for part, *_ in sections(["A new beginning.\n\n" + text], longest=5_000, size=5_000)
    }
    assert len(before) > 30
    assert len(after - before) < len(before) / 4


def _read(path: Path, kind: str, tmp_path: Path, **settings: int) -> list[Extracted]:
    context = Context.of_file(DataConfig(**settings), path.name, tmp_path)  # type: ignore[arg-type]
    found = list(extract(path, kind=kind, context=context))
    assert all(isinstance(one, Extracted) for one in found)
    return [one for one in found if isinstance(one, Extracted)]


@pytest.mark.parametrize("kind", ["text", "markdown", "rst", "org", "code", "log", "csv"])
def test_each_section_of_a_long_file_has_a_place_of_its_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "long"
    text = _prose(9, 400)
    if kind == "csv":
        text = "a,b,c\n" + "".join(f"{n},{n * n},x{n}\n" for n in range(20_000))
    path.write_text(text, encoding="utf-8")
    (whole,) = _read(path, kind, tmp_path) if kind != "csv" else [None]
    parts = _read(path, kind, tmp_path, cut_above=10_000)
    assert len(parts) > 5
    assert [part.part for part in parts] == [f"#{n}" for n in range(1, len(parts) + 1)]
    assert len({part.group for part in parts}) == len(parts)
    assert all(part.group and part.group.startswith("long#") for part in parts)
    if whole:
        assert (whole.group, whole.part, whole.cut) == ("long", "", False)
        assert " ".join(p.text for p in parts).split() == whole.text.split()


def test_a_long_text_is_divided_into_splits_beside_others(tmp_path: Path) -> None:
    """It would fill a split alone; and the chapters' titles are no running headers."""
    folder = tmp_path / "docs"
    folder.mkdir()
    text = _prose(10, 600)
    (folder / "long.txt").write_text(text)
    for number in range(50):
        (folder / f"n{number}.txt").write_text(f"Note {number} has {number * 7919} own words.")
    config = DataConfig(cut_above=10_000, quality=("off",))
    corpus = data.prepare([folder], tmp_path / "corpus", config).path
    documents = {split: list(data.read_documents(corpus, split)) for split in data.SPLITS}
    long = {s: [d for d in ds if d.source.startswith("docs/long")] for s, ds in documents.items()}
    assert all(long.values())
    ordered = sorted(
        itertools.chain(*long.values()), key=lambda d: int(d.source.rpartition("#")[2])
    )
    assert " ".join(d.text for d in ordered).split() == text.split()

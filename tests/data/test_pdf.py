"""PDF: reading order, paragraphs, tables, running headers, and files that give nothing."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sys
import time
import types
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.data import kinds, list_files
from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract.context import Context
from linnet.data.locating import Unread
from linnet.retrieval import Index, make_index
from linnet.retrieval.config import IndexConfig

pypdfium2 = pytest.importorskip("pypdfium2")

from linnet.data.extract.pdf import read  # noqa: E402
from linnet.data.extract.pdf_page import logical  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

Placed = tuple[float, float, str]  # x, y from the bottom, text
ALICE = re.findall(
    r"\S+",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
    "nothing to do: once or twice she had peeped into the book her sister was reading, but it had "
    "no pictures or conversations in it, and what is the use of a book, thought Alice, without "
    "pictures or conversations?",
)


def extracted(path: Path, **settings: object) -> Extracted:
    config = DataConfig(**settings)  # type: ignore[arg-type]
    (found,) = read(path, Context.of_file(config, path.name, path.parent))
    assert isinstance(found, Extracted)
    return found


# Widths of Helvetica, from its metrics (Adobe's Helvetica.afm); most letters have 0.556.
WIDTHS = (
    dict.fromkeys("ijl", 0.222) | dict.fromkeys("ft ,.:", 0.278) | dict.fromkeys("cksvxyz", 0.5)
)
WIDTHS |= {"m": 0.833, "w": 0.722, "r": 0.333, "A": 0.667}


def wrapped(words: Iterable[str], width: float) -> list[str]:
    """Lines of at most ``width`` points."""
    lines = [""]
    for word in words:
        if sum(WIDTHS.get(letter, 0.556) * 10 for letter in f"{lines[-1]} {word}") > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def column(x: float, y: float, lines: Iterable[str], step: float = 12) -> list[Placed]:
    return [(x, y - step * number, line) for number, line in enumerate(lines)]


def shown(placed: Iterable[Placed], font: str = "F1", matrix: str = "1 0 0 1") -> str:
    """The operators that draw text at its places, 10 points high."""
    escaped = [(x, y, re.sub(r"([()\\])", r"\\\1", text)) for x, y, text in placed]
    return "\n".join(
        f"BT /{font} 10 Tf {matrix} {x} {y} Tm ({text}) Tj ET" for x, y, text in escaped
    )


def write_pdf(path: Path, *contents: str, page: str = "", more: Iterable[str] = ()) -> Path:
    """A PDF with a page for each content stream. ``page``: entries of every page. ``more``:
    objects, numbered from 4."""
    fonts = "".join(
        f"/{name}<</Type/Font/Subtype/Type1/BaseFont/{font}>>"
        for name, font in (("F1", "Helvetica"), ("F2", "Courier"))
    )
    objects = ["<</Type/Catalog/Pages 2 0 R>>", "", f"<</Font<<{fonts}>>>>", *more]
    kids = []
    for content in contents:
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources 3 0 R"
            f"/Contents {len(objects)} 0 R{page}>>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>"
    data, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    data += (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R>>\n"
        f"startxref\n{len(data)}\n%%EOF"
    ).encode("latin-1")
    path.write_bytes(data)
    return path


def test_columns_are_read_one_after_the_other_and_paragraphs_go_on(tmp_path: Path) -> None:
    words = ALICE * 6
    lines = wrapped(words, 230)
    half = len(lines) // 2 - 2
    page = shown(
        [
            (150, 760, "A heading that stands across both of the columns of text"),
            *column(50, 720, lines[:half]),
            *column(310, 720, lines[half:]),
            (150, 300, "A note across the page, below both of the columns of text"),
        ]
    )
    text = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    heading, body, note = text.split("\n\n")
    assert heading.startswith("A heading")
    assert body == " ".join(words)
    assert note.startswith("A note")


def test_indents_bullets_and_short_lines_part_what_belongs_apart(tmp_path: Path) -> None:
    lines = wrapped(ALICE, 400)
    first = [(70.0 if n == 0 else 50.0, 700.0 - 12 * n, line) for n, line in enumerate(lines)]
    second = [(x, y - 12 * len(lines), line) for x, y, line in first]
    poem = ["How doth the little crocodile", "Improve his shining tail,", "And pour the waters"]
    items = [(60.0, 400.0, "\x95 milk and"), (70.0, 388.0, "eggs"), (60.0, 376.0, "\x95 flour")]
    page = shown([*first, *second, *column(50, 500, poem), *items])
    page = page.replace("\x95", "\\267")  # a bullet in the font's own encoding
    text = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    prose = " ".join(ALICE)
    assert text.split("\n\n")[:3] == [prose, prose, "\n".join(poem)]
    assert "- milk and" in text
    assert text.endswith("- flour")


def test_a_word_broken_at_a_line_end_is_left_to_cleaning(tmp_path: Path) -> None:
    lines = ["Nothing was so very remark-", "able in that, nor did Alice", "think it so very much."]
    text = extracted(write_pdf(tmp_path / "a.pdf", shown(column(50, 700, lines)))).text
    assert text == "Nothing was so very remark-\nable in that, nor did Alice think it so very much."


def test_cells_in_columns_are_a_table_and_prose_is_none(tmp_path: Path) -> None:
    rows = [("Item", "Year", "Price"), ("Lamp", "1999", "12.50"), ("Desk and", "2004", "210.00"),
            ("", "", "incl. tax"), ("Chair", "2011", "49.90")]  # fmt: skip
    table = [
        (x, 600.0 - 13 * n, cell)
        for n, row in enumerate(rows)
        for x, cell in zip((50, 200, 330), row, strict=True)
        if cell
    ]
    # Justified prose: wide blanks, some of them one above the other.
    prose = [(50.0, 500.0 - 12 * n, line) for n, line in enumerate(wrapped(ALICE, 320))]
    page = shown([(50, 640, "What we bought over the years:"), *table]) + "\n6 Tw " + shown(prose)
    text = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    assert "Item | Year | Price\nLamp | 1999 | 12.50\nDesk and | 2004 | 210.00 incl. tax\n" in text
    assert text.count("|") == 8
    assert " ".join(ALICE) in text


def test_lines_in_a_monospaced_font_keep_their_indents(tmp_path: Path) -> None:
    code = [(50.0, 600.0, "def f(x):"), (74.0, 588.0, "if x:"), (98.0, 576.0, "return  1")]
    page = shown([(50, 640, "Some code follows here:")]) + "\n" + shown(code, "F2")
    text = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    assert text.endswith("\n\ndef f(x):\n    if x:\n        return  1")


def test_running_headers_and_page_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    pages = [
        shown(
            [
                (50, 770, "Annual Report - Confidential" if n % 2 else "Made-up Company 2024"),
                *column(50, 650, [f"Chapter {n * n} begins.", "We sold 7 lamps.", "The end."], 30),
                (300, 30, f"- {n + 9} -"),
            ]
        )
        for n in range(8)
    ]
    found = extracted(write_pdf(tmp_path / "a.pdf", *pages))
    assert found.changes == {"running headers": 16}
    assert found.text.count("We sold 7 lamps.") == 8
    assert found.text.startswith("Chapter 0 begins.")


def test_pages_that_are_alike_are_no_headers(tmp_path: Path) -> None:
    page = shown([(50, 770, "Thank you for your visit")])
    found = extracted(write_pdf(tmp_path / "a.pdf", *[page] * 5))
    assert found.text.count("Thank you") == 5
    assert not found.changes


def test_text_on_its_side_is_read_and_a_watermark_is_not(tmp_path: Path) -> None:
    lines = [(200.0 + 12 * n, 100.0, line) for n, line in enumerate(wrapped(ALICE, 400))]
    page = shown(lines, matrix="0 1 -1 0") + "\n" + shown([(90, 90, "DRAFT")], "F1", ".7 .7 -.7 .7")
    found = extracted(write_pdf(tmp_path / "a.pdf", page, page="/Rotate 90"))
    assert found.text == " ".join(ALICE)
    assert found.changes == {"slanted text": 5}


def test_fields_and_comments_are_read(tmp_path: Path) -> None:
    field = "<</Type/Annot/Subtype/Widget/FT/Tx/T(n)/V(Ada Lovelace)/Rect[120 595 300 610]>>"
    note = "<</Type/Annot/Subtype/Text/Contents(Is this right?)/Rect[400 600 420 620]>>"
    path = write_pdf(
        tmp_path / "a.pdf", shown([(50, 600, "Your name:")]), page="/Annots[4 0 R 5 0 R]",
        more=[field, note],
    )  # fmt: skip
    assert extracted(path).text == "Your name: Ada Lovelace\n\nIs this right?"


def test_pages_that_are_images_are_said_to_need_ocr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pdf(tmp_path / "a.pdf", "0 0 500 700 re f")
    with pytest.raises(UnreadableError, match="needs OCR: its pages are images"):
        extracted(path)
    monkeypatch.setitem(sys.modules, "docling.document_converter", None)
    with pytest.raises(UnreadableError, match="pip install"):
        extracted(path, ocr="docling")

    class Converter:
        def convert(self, source: Path) -> types.SimpleNamespace:
            assert source == path
            document = types.SimpleNamespace(export_to_text=lambda: "What the scan says.")
            return types.SimpleNamespace(document=document)

    module = types.ModuleType("docling.document_converter")
    module.DocumentConverter = Converter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "docling", types.ModuleType("docling"))
    monkeypatch.setitem(sys.modules, "docling.document_converter", module)
    assert extracted(path, ocr="docling").text == "What the scan says."

    partly = write_pdf(tmp_path / "b.pdf", "0 0 500 700 re f", shown([(50, 600, "Some text.")]))
    assert extracted(partly).changes == {"pages without text": 1, "pages that need OCR": 1}


@pytest.mark.usefixtures("reading_here")
def test_pages_that_are_images_are_counted_where_documents_are_searched(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    image = "0 0 500 700 re f"
    write_pdf(tmp_path / "docs" / "a.pdf", shown([(50, 600, "Some text.")]), image, image)
    made = make_index(tmp_path / "docs", tmp_path / "index", IndexConfig(encoder="lexical"))
    assert made.stats["unread_by_reason"] == {"pages that need OCR": 2}
    with Index.open(tmp_path / "index") as index:
        assert index.unread() == [Unread("docs/a.pdf", "pdf", "pages that need OCR", 2)]
    (listed,) = list_files(tmp_path / "index" / "corpus")
    assert (listed.documents, listed.reason) == (1, "pages that need OCR: 2")


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"not at all", b"%PDF-1.4\n%%EOF"])
def test_what_is_no_pdf_is_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pdf").write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged pdf"):
        extracted(tmp_path / "a.pdf")


def test_damage_anywhere_raises_nothing_else(tmp_path: Path) -> None:
    whole = write_pdf(tmp_path / "a.pdf", *[shown(column(50, 700, wrapped(ALICE, 320)))] * 4)
    data = whole.read_bytes()
    chance = random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 20, 200))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        whole.write_bytes(damaged[: chance.randrange(len(data) // 2, len(data))])
        with contextlib.suppress(UnreadableError):
            assert extracted(whole).text.strip()


@pytest.mark.parametrize("shape", ["scattered", "two cells", "many cells"])
def test_a_page_made_to_take_long_does_not(tmp_path: Path, shape: str) -> None:
    chance = random.Random(0)
    placed: list[Placed] = {
        "scattered": [(chance.uniform(0, 590), chance.uniform(0, 790), "ab") for _ in range(8000)],
        "two cells": [(x, n / 12, "a long cell " * 5) for n in range(4000) for x in (0, 320)],
        "many cells": [(n * 0.2, m * 20 + 5, "x") for n in range(2800) for m in range(3)],
    }[shape]
    # On a page of any size the text is small enough to leave gaps.
    path = write_pdf(tmp_path / "a.pdf", shown(placed).replace(" 10 Tf", " .1 Tf"))
    started = time.perf_counter()
    assert extracted(path).text
    assert time.perf_counter() - started < 20  # in proportion it is well under one


def test_no_letter_of_real_files_is_lost(test_data: Path) -> None:
    """They are those of PDFium's own plain text of the visible page, in another order."""
    compared = 0
    for path in sorted((test_data / "documents" / "pdf").glob("*.pdf")):
        try:
            found = extracted(path)
        except UnreadableError:
            continue
        if found.changes.get("running headers"):
            continue
        with pypdfium2.PdfDocument(path) as document:
            plain = "".join(
                page.get_textpage().get_text_bounded(*page.get_bbox()) for page in document
            )
        expected, ours = letters(plain), letters(found.text)
        lost = (expected - ours).total()
        assert lost <= 0.005 * expected.total(), path.name
        compared += 1
    assert compared > 20


def letters(text: str) -> Counter[str]:
    text = unicodedata.normalize("NFKC", text)  # raised ones, too
    return Counter(character for character in text if character.isalnum())


def test_a_paper_in_two_columns_reads_as_prose(test_data: Path) -> None:
    text = extracted(test_data / "documents" / "pdf" / "multi-column-2p.pdf").text
    for passage in (  # over a line end, a column's end and a page's end
        "we focus on developing the right training scheme using a relatively small number",
        "we assume the extractive QA setting, in which the answer is restricted to a span",
        "state-of-the-art results on multiple open-domain QA datasets, it also suffers",
    ):
        assert passage in text
    assert text.index("Abstract") < text.index("1 Introduction") < text.index("2 Background")


def test_reasons_on_real_files(test_data: Path) -> None:
    folder = test_data / "documents" / "pdf"
    for name, reason in (
        ("password.pdf", "encrypted"),
        ("loremipsum-flat.pdf", "needs OCR: its pages are images"),
    ):
        with pytest.raises(UnreadableError) as caught:
            extracted(folder / name)
        assert caught.value.reason == reason
    table = extracted(folder / "all-number-table.pdf").text
    assert table.splitlines()[:3] == ["200.01 | 1", "400.01 | 3", "600.01 | 5"]


def test_raised_figures_and_marks_are_told_from_the_line(tmp_path: Path) -> None:
    def drawn(*pieces: tuple[float, float, float, str]) -> str:
        return "\n".join(
            f"BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET" for x, y, size, text in pieces
        )

    # Widths of Helvetica: the pieces stand close to one another.
    page = drawn(
        (50, 700, 10, "We found 10"), (104.5, 704, 6, "6"), (110, 700, 10, "cells, 45"),
        (147, 704, 6, "3"), (156, 700, 10, "percent and CO"), (225.6, 698, 6, "2"),
        (231, 700, 10, "in all."), (50, 650, 10, "Small"), (78, 650, 7, "12 CAPITALS"),
    )  # fmt: skip
    text = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    assert (
        text == "We found 10\u2076 cells, 45\xb3 percent and CO\u2082 in all.\n\nSmall 12 CAPITALS"
    )


def test_lines_beside_large_letters_stay_lines(tmp_path: Path) -> None:
    page = (
        f"BT /F1 90 Tf 1 0 0 1 50 600 Tm (Care) Tj ET\n"
        f"{shown([(60, 585, 'for the forests of the north'), (60, 569, 'for the rivers')])}\n"
        f"BT /F1 24 Tf 1 0 0 1 400 502 Tm (SERVICE) Tj ET\n"
        f"{shown([(60, 510, '24 Our answer to the flood'), (60, 497, '26 The board')])}"
    )
    words = extracted(write_pdf(tmp_path / "a.pdf", page)).text
    for whole in ("Care", "for the forests of the north", "for the rivers", "26 The board"):
        assert re.search(rf"(?:^|\| |\n){whole}(?:\n| \||$)", words), words


# From right to left. Places are left edges; of a ligature, all characters have one origin.


@pytest.mark.parametrize(
    ("given", "lefts", "origins", "meant"),
    [
        # Turned by PDFium but for the ligature (LibreOffice), in the middle and alone
        (
            "\u0633\u0627\u0644\u0645",
            [40, 30, 30, 20],
            [40, 30, 30, 20],
            "\u0633\u0644\u0627\u0645",
        ),
        ("\u0623\u0644", [30, 30], [30, 30], "\u0644\u0623"),
        # An alef before a lam, each drawn on its own: the article
        ("\u0627\u0644\u0633", [40, 30, 20], [40, 30, 20], "\u0627\u0644\u0633"),
        # Drawn from left to right (Chromium): the word is turned, its ligature with it
        ("\u0627\u0644\u0648", [20, 24, 30], [20, 20, 30], "\u0648\u0644\u0627"),
        # Marks stay behind their letters
        ("\u0628\u064b\u0627", [20, 20, 30], [20, 20, 30], "\u0627\u0628\u064b"),
        # Shapes of letters become letters, and so the ligature U+FEFB
        ("\ufefb", [20], [20], "\u0644\u0627"),
        ("a \u05d0\u05d1 1", [0, 5, 20, 30, 40, 50], [0, 5, 20, 30, 40, 50], "a \u05d1\u05d0 1"),
    ],
)
def test_words_from_right_to_left(
    given: str, lefts: list[float], origins: list[float], meant: str
) -> None:
    assert logical(given, lefts, origins) == meant


ARABIC = (
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645 \u0648\u0644\u0627 "
    "\u0625\u0644\u0647 \u0625\u0644\u0627 \u0627\u0644\u0644\u0647 "
    "\u0648\u0627\u0644\u0623\u0648\u0644 \u0648\u0627\u0644\u0622\u062e\u0631 "
    "\u0648\u0627\u0644\u0625\u0633\u0644\u0627\u0645 \u0644\u0623\u0646 \u0644\u0627"
)


def test_arabic_as_libreoffice_prints_it(tmp_path: Path) -> None:
    office = kinds.program(kinds.OFFICE)
    if office is None:
        pytest.skip("LibreOffice is not installed")
    (tmp_path / "a.rtf").write_text(
        "{\\rtf1\\rtlpar " + "".join(f"\\u{ord(letter)}?" for letter in ARABIC) + "}"
    )
    subprocess.run(
        [office, f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless",
         "--convert-to", "pdf", "--outdir", str(tmp_path), str(tmp_path / "a.rtf")],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert extracted(tmp_path / "a.pdf").text == ARABIC

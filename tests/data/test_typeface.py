"""Meaning that lies in the font, the height or the form of a formula, in every format."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree
from office import read, text_of, write_docx, write_odf

from linnet.data.document import Dropped, Extracted
from linnet.data.extract.number_format import displayed
from linnet.data.extract.ooxml import from_omml
from linnet.data.extract.typeface import decoded, is_symbolic, lowered, raised
from linnet.data.markup.html import all_text
from linnet.data.markup.mathml import formula as formula_of

DOSE = "Give 5 µg, ≥ 60, 10⁶ cells of H₂O, 1st floor"


@pytest.mark.parametrize(
    ("text", "font", "shown"),
    [
        ("\uf06d", "Symbol", "µ"), ("m ³ a", "Symbol", "µ ≥ α"), ("m", "Arial", "m"),
        ("\uf0fe\uf0a8", "Wingdings", "☒☐"), ("ü", "Wingdings", "✓"), ("à", "Wingdings", "→"),
        ("P", "Wingdings 2", "✓"), ("m", "ABCDEF+SymbolMT", "µ"), ("\uf0b7", "symbol", "•"),
        ("\U0001f600中", "Wingdings", "\U0001f600中"), ("\uf07f", "Symbol", "\uf07f"),
    ],
)  # fmt: skip
def test_signs_of_symbol_fonts(text: str, font: str, shown: str) -> None:
    assert decoded(text, font) == shown


def test_symbol_is_as_adobe_has_it() -> None:
    """Its Greek letters against Unicode's names of them."""
    import unicodedata

    names = ["ALPHA", "BETA", "CHI", "DELTA", "EPSILON", "PHI", "GAMMA", "ETA", "IOTA"]
    for letter, name in zip("ABCDEFGHI", names, strict=True):
        assert unicodedata.name(decoded(letter, "Symbol")) == f"GREEK CAPITAL LETTER {name}"
        assert unicodedata.name(decoded(letter.lower(), "Symbol")) == f"GREEK SMALL LETTER {name}"
    assert not any(map(is_symbolic, ("", "Arial", "Segoe UI Symbol", "Courier")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("6", "⁶"), ("-3", "⁻³"), ("2+", "²⁺"), ("1,2", "¹,²"), ("n", "ⁿ"), ("x", "^x"),
        ("2k+1", "^(2k+1)"), ("0.5", "^(0.5)"), ("st", "st"), ("e", "e"), ("TM", "TM"),
        ("[1]", "[1]"), ("*", "*"), ("a whole sentence 1", "a whole sentence 1"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_raised_is_told_from_what_is_not(text: str, shown: str) -> None:
    assert raised(text) == shown


def docx(path: Path) -> Path:
    def run(text: str, properties: str = "") -> str:
        return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'

    def height(text: str, place: str) -> str:
        return run(text, f'<w:vertAlign w:val="{place}"/>')

    symbol = '<w:rFonts w:ascii="Symbol" w:hAnsi="Symbol"/>'
    body = (
        "<w:p>" + run("Give 5 ") + run("\uf06d", symbol) + run("g, ")
        + '<w:r><w:sym w:font="Symbol" w:char="F0B3"/></w:r>' + run(" 60, 10")
        + height("6", "superscript") + run(" cells of H") + height("2", "subscript")
        + run("O, 1") + run("st", '<w:rStyle w:val="Up"/>') + run(" floor") + "</w:p>"
    )  # fmt: skip
    style = (
        '<w:style w:type="character" w:styleId="Up"><w:name w:val="up"/><w:rPr>'
        '<w:vertAlign w:val="superscript"/></w:rPr></w:style>'
    )
    return write_docx(path / "a.docx", body, styles=style)


def rtf(path: Path) -> Path:
    source = (
        r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset2{\*\panose 05}Symbol;}}"
        r"Give 5 {\f1 m}g, {\f1\'b3} 60, 10{\super 6} cells of H{\sub 2}O, 1{\super st} floor}"
    )
    (path / "a.rtf").write_bytes(source.encode("ascii"))
    return path / "a.rtf"


def odt(path: Path) -> Path:
    def style(name: str, properties: str) -> str:
        return (
            f'<style:style style:name="{name}" style:family="text"><style:text-properties '
            f"{properties}/></style:style>"
        )

    styles = (
        style("Up", 'style:text-position="super 58%"')
        + style("Down", 'style:text-position="-33% 58%"')
        + style("Signs", 'style:font-name="Symbol"')
        + '<style:style style:name="T1" style:family="text" style:parent-style-name="Up"/>'
    )
    spans = [
        ("Give 5 ", ""), ("\uf06d", "Signs"), ("g, ", ""), ("\uf0b3", "Signs"), (" 60, 10", ""),
        ("6", "T1"), (" cells of H", ""), ("2", "Down"), ("O, 1", ""), ("st", "Up"), (" floor", ""),
    ]  # fmt: skip
    text = "".join(
        f'<text:span text:style-name="{name}">{text}</text:span>' if name else text
        for text, name in spans
    )
    return write_odf(path / "a.odt", f"<office:text><text:p>{text}</text:p></office:text>", styles)


def pptx(path: Path) -> Path:
    import pptx as library

    show = library.Presentation()
    title = show.slides.add_slide(show.slide_layouts[5]).shapes.title
    frame = title.text_frame.paragraphs[0]

    def add(text: str, *, font: str = "", baseline: int = 0, sign: str = "") -> None:
        run = frame.add_run()
        run.text = text
        if font:
            run.font.name = font
        if baseline:
            run.font._element.set("baseline", str(baseline))
        if sign:
            element = run.font._element
            etree.SubElement(element, element.tag.replace("rPr", "sym")).set("typeface", sign)

    add("Give 5 ")
    add("m", font="Symbol")
    add("g, ", sign="Wingdings")  # which names a font for signs that it does not hold
    add("\u00b3", sign="Symbol")
    add(" 60, 10")
    add("6", baseline=30000)
    add(" cells of H")
    add("2", baseline=-25000)
    add("O, 1")
    add("st", baseline=30000)
    add(" floor")
    show.save(path / "a.pptx")
    return path / "a.pptx"


def xlsx(path: Path) -> Path:
    import openpyxl
    from openpyxl.cell.rich_text import CellRichText, TextBlock
    from openpyxl.cell.text import InlineFont

    book = openpyxl.Workbook()
    font, up, down = InlineFont, "superscript", "subscript"
    book.active["A1"] = CellRichText(
        "Give 5 ", TextBlock(font(rFont="Symbol"), "m"), "g, ",
        TextBlock(font(rFont="Symbol"), "\u00b3"), " 60, 10", TextBlock(font(vertAlign=up), "6"),
        " cells of H", TextBlock(font(vertAlign=down), "2"), "O, 1",
        TextBlock(font(vertAlign=up), "st"), " floor",
    )  # fmt: skip
    book.save(path / "a.xlsx")
    return path / "a.xlsx"


@pytest.mark.parametrize("write", [docx, rtf, odt, pptx, xlsx])
def test_every_format_means_the_same(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    (found,) = read(write(tmp_path))
    assert isinstance(found, Extracted)
    assert found.text == DOSE


def test_cells_in_a_font_of_signs(tmp_path: Path) -> None:
    import openpyxl
    from openpyxl.styles import Font

    book = openpyxl.Workbook()
    book.active.append(["Checked", "ü"])
    book.active["B1"].font = Font(name="Wingdings")
    book.save(tmp_path / "a.xlsx")
    assert [found.text for found in read(tmp_path / "a.xlsx")] == ["Checked | ✓"]  # type: ignore[union-attr]


# Formulas


def omml(inner: str) -> str:
    return from_omml(etree.fromstring(f"<oMath>{inner}</oMath>"))


def r(text: str) -> str:
    return f"<r><t>{text}</t></r>"


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        (f"<f><num>{r('1')}</num><den>{r('2')}</den></f>", "1/2"),
        (f"<f><num>{r('b+c')}</num><den>{r('4')}</den></f>", r"\frac{b+c}{4}"),
        (f"<f><fPr><type val='noBar'/></fPr><num>{r('n')}</num><den>{r('k')}</den></f>",
         r"\binom{n}{k}"),
        (f"<sSup><e>{r('10')}</e><sup>{r('3')}</sup></sSup>", "10^3"),
        (f"<sSup><e>{r('e')}</e><sup>{r('-2x')}</sup></sSup>", "e^{-2x}"),
        (f"<sSubSup><e>{r('x')}</e><sub>{r('i')}</sub><sup>{r('2')}</sup></sSubSup>", "x_i^2"),
        (f"<rad><deg/><e>{r('2')}</e></rad>", r"\sqrt{2}"),
        (f"<rad><deg>{r('3')}</deg><e>{r('x')}</e></rad>", r"\sqrt[3]{x}"),
        (f"<nary><naryPr><chr val='∑'/></naryPr><sub>{r('i=1')}</sub><sup>{r('n')}</sup>"
         f"<e>{r('i')}</e></nary>", r"\sum_{i=1}^n i"),
        (f"<d><dPr><begChr val='['/><endChr val=']'/></dPr><e>{r('a')}</e></d>", "[a]"),
        (f"<func><fName>{r('sin')}</fName><e>{r('x')}</e></func>", r"\sin x"),
        (f"<acc><accPr><chr val='\u0304'/></accPr><e>{r('x')}</e></acc>", r"\bar{x}"),
        (f"<m><mr><e>{r('1')}</e><e>{r('0')}</e></mr><mr><e>{r('0')}</e><e>{r('1')}</e></mr></m>",
         r"\begin{matrix} 1 &amp; 0 \\ 0 &amp; 1 \end{matrix}".replace("&amp;", "&")),
        (f"<limLow><e>{r('lim')}</e><lim>{r('n')}</lim></limLow>", r"\lim_{n}"),
    ],
)  # fmt: skip
def test_formulas_of_word(formula: str, shown: str) -> None:
    assert omml(formula) == shown


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("<mfrac><mn>1</mn><mn>2</mn></mfrac>", "1/2"),
        ("<msup><mi>x</mi><mn>2</mn></msup>", "x^2"),
        ("<msub><mi>x</mi><mrow><mi>i</mi><mo>+</mo><mn>1</mn></mrow></msub>", "x_{i+1}"),
        ("<msqrt><mi>x</mi></msqrt>", r"\sqrt{x}"),
        ("<mo>\u2211</mo><mi>x</mi><mphantom><mi>q</mi></mphantom>", r"\sum x"),
        ("<mi>a</mi><!-- b --><mo>+</mo><mi>c</mi>", "a+c"),
        ("<semantics><mi>y</mi><annotation>y</annotation></semantics>", "y"),
        ("<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover>", r"\sum_i^n"),
    ],
)
def test_formulas_of_mathml(formula: str, shown: str) -> None:
    namespace = "http://www.w3.org/1998/Math/MathML"
    assert formula_of(etree.fromstring(f'<math xmlns="{namespace}">{formula}</math>')) == shown


def test_what_is_a_formula_is_latex_and_what_is_only_raised_is_unicode() -> None:
    math = "<math><msup><mn>10</mn><mn>3</mn></msup></math>"
    assert all_text(f"<p>10<sup>3</sup> and {math}</p>") == "10\xb3 and 10^3"
    assert formula_of(etree.fromstring(math)) == "10^3"
    assert omml(f"<sSup><e>{r('10')}</e><sup>{r('3')}</sup></sSup>") == "10^3"


def test_formulas_in_their_documents(tmp_path: Path) -> None:
    one, two = (f"<m:r><m:t>{number}</m:t></m:r>" for number in "12")
    half = f"<m:oMath><m:f><m:num>{one}</m:num><m:den>{two}</m:den></m:f></m:oMath>"
    run = '<w:r><w:t xml:space="preserve">About </w:t></w:r>'
    body = f"<w:p>{run}{half}</w:p><w:p><m:oMathPara>{half}</m:oMathPara></w:p>"
    assert text_of(write_docx(tmp_path / "a.docx", body)) == "About 1/2\n\n1/2"
    frame = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    text = f"<office:text><text:p>About {frame} of it</text:p></office:text>"
    path = write_odf(tmp_path / "a.odt", text)
    math = "<mfrac><mn>1</mn><mn>2</mn></mfrac>"
    math = f'<math xmlns="http://www.w3.org/1998/Math/MathML">{math}</math>'
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Object 1/content.xml", math)
    assert text_of(path) == "About 1/2 of it"


def test_formulas_within_one_another_end(tmp_path: Path) -> None:
    deep = "<m:e>" * 200 + "<m:r><m:t>x</m:t></m:r>" + "</m:e>" * 200
    body = f"<w:p><m:oMath>{deep}</m:oMath></w:p>"
    assert text_of(write_docx(tmp_path / "a.docx", body)) == "x"


def test_pictures_in_slides_and_texts_by_their_descriptions(tmp_path: Path) -> None:
    import pptx as library
    from pptx.util import Inches

    show = library.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Sales"
    box = slide.shapes.add_textbox(*[Inches(1)] * 4)
    box._element.nvSpPr.cNvPr.set("descr", "A rising line")
    show.save(tmp_path / "a.pptx")
    assert text_of(tmp_path / "a.pptx") == "Sales\n\n[Picture: A rising line]"
    frame = "<draw:image/><svg:title>Line</svg:title><svg:desc>A rising line</svg:desc>"
    frame = f"<draw:frame>{frame}</draw:frame>"
    body = f"<office:text><text:p>Sales{frame}</text:p></office:text>"
    assert text_of(write_odf(tmp_path / "a.odt", body)) == "Sales\n\n[Picture: A rising line]"
    picture = r"{\pict{\*\picprop{\sp{\sn wzDescription}{\sv A rising line}}}\pngblip 89}"
    (tmp_path / "a.rtf").write_bytes(f"{{\\rtf1 Sales{picture}}}".encode())
    assert text_of(tmp_path / "a.rtf") == "Sales\n\n[Picture: A rising line]"


def test_numbers_and_contents_of_rich_text(tmp_path: Path) -> None:
    source = (
        r"{\rtf1{\field{\*\fldinst TOC \\o}{\fldrslt One 1\par Two 2\par}}\pard"
        r"{\listtext 1.2\tab}Clause\par{\listtext (a)\tab}\ilvl1 Part\par "
        r"See Error! Reference source not found.\par}"
    )
    (tmp_path / "a.rtf").write_bytes(source.encode("ascii"))
    (found,) = read(tmp_path / "a.rtf")
    assert isinstance(found, Extracted)
    assert found.text == "1.2 Clause\n  (a) Part\n\nSee"
    assert found.changes == {"lines of the table of contents": 2, "errors of fields": 1}


# Workbooks: what Excel shows, and what it would have to compute


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (8934071234567890, "0", "8934071234567890"),
        (1234567890123456, "General", "1234567890123456"),
        (2.5e15, "#,##0", "2,500,000,000,000,000"), (12345678901234567, "0", "12345678901234600"),
        (1e20, "0.00", "100000000000000000000.00"), (1e40, "0", "1e+40"), (1.25, "[h]:mm", "30:00"),
        (0.5, "[mm]:ss", "720:00"), (0.5, "# ?/?", "1/2"), (1.75, "# ??/??", "1 3/4"),
        (0.25, "# ?/8", "2/8"), (3, "# ?/?", "3"), (0.075, "0.00%", "7.50%"),
        (1069, "00000", "01069"),
    ],
)  # fmt: skip
def test_numbers_as_excel_shows_them(value: float, code: str, shown: str) -> None:
    assert displayed(value, code) == shown


def test_formulas_without_values_are_counted(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Total", "=SUM(1,2)", "=1/0"])
    book.create_sheet("Bare").append(["=1+1"])
    book.save(tmp_path / "a.xlsx")
    found, bare = read(tmp_path / "a.xlsx")
    assert isinstance(found, Extracted)
    assert (found.text, found.changes) == ("Total", {"formulas without a stored value": 2})
    assert bare == Dropped("formulas without a stored value", "Bare")
    cell = '<table:table-cell table:formula="of:=1+1"/>'
    body = f"<office:spreadsheet><table:table table:name='S'><table:table-row>{cell}"
    body += "</table:table-row></table:table></office:spreadsheet>"
    (empty,) = read(write_odf(tmp_path / "a.ods", body))
    assert empty == Dropped("formulas without a stored value", "S")


def test_lowered_letters_stay() -> None:
    assert [lowered(text) for text in ("2", "10", "max", "n+1")] == ["₂", "₁₀", "max", "n+1"]

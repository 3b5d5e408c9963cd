"""Word documents: what is not in their text, or stands in it and is none of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from office import paragraph, read, text_of, write_docx, write_odf

from linnet.data import kinds
from linnet.data.document import Dropped, Extracted
from linnet.data.extract.layout import FIELD_ERROR
from linnet.data.extract.word_styles import numeral


def level(number: int, form: str, text: str, *, start: int = 1, more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def numbered(text: str, number: int | None = None, at: int | None = None, style: str = "") -> str:
    place = "" if at is None else f'<w:ilvl w:val="{at}"/>'
    listed = "" if number is None else f'<w:numPr>{place}<w:numId w:val="{number}"/></w:numPr>'
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{listed}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


HEADING = (
    '<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/><w:pPr><w:numPr>'
    '<w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="0"/></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="H2"><w:name w:val="clause"/><w:basedOn w:val="H1"/>'
    '<w:pPr><w:numPr><w:ilvl w:val="1"/></w:numPr></w:pPr></w:style>'
)
NUMBERING = (
    '<w:abstractNum w:abstractNumId="0">'
    + level(0, "upperRoman", "Article %1.", more='<w:pStyle w:val="H1"/>')
    + level(1, "decimal", "%1.%2")
    + level(2, "lowerLetter", "(%3)")
    + level(3, "lowerRoman", "(%4)")
    + '</w:abstractNum><w:abstractNum w:abstractNumId="1">'
    + level(0, "decimal", "%1)", start=3)
    + level(1, "bullet", "•")
    + level(2, "upperLetter", "%3.")
    + '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="1"/><w:lvlOverride w:ilvl="0">'
    '<w:startOverride w:val="1"/></w:lvlOverride></w:num>'
    '<w:num w:numId="4"><w:abstractNumId w:val="1"/></w:num>'
)
CLAUSES = [  # number, level, style; what Word and LibreOffice show
    (None, None, "H1", "Article I."), (None, None, "H2", "I.1"), (1, 1, "", "I.2"),
    (1, 2, "", "(a)"), (1, 3, "", "(i)"), (1, 3, "", "(ii)"), (1, 2, "", "(b)"),
    (1, 3, "", "(i)"), (None, None, "H1", "Article II."), (1, 1, "", "II.1"), (1, 2, "", "(a)"),
    (2, 0, "", "3)"), (2, 0, "", "4)"), (2, 1, "", "-"), (None, None, "", ""), (4, 0, "", "5)"),
    (3, 0, "", "1)"), (3, 0, "", "2)"), (2, 0, "", "3)"), (2, 2, "", "A."), (0, 0, "H1", ""),
]  # fmt: skip


def clauses(tmp_path: Path) -> Path:
    body = "".join(numbered("text", *clause[:3]) for clause in CLAUSES)
    return write_docx(tmp_path / "a.docx", body, numbering=NUMBERING, styles=HEADING)


def marks(text: str) -> list[str]:
    return [line.strip().removesuffix("text").strip() for line in text.splitlines() if line.strip()]


def test_numbers_of_lists_and_headings(tmp_path: Path) -> None:
    assert marks(text_of(clauses(tmp_path))) == [mark for *_, mark in CLAUSES]


def test_numbers_are_those_of_libreoffice(tmp_path: Path) -> None:
    office = kinds.program(kinds.OFFICE)
    if office is None:
        pytest.skip("LibreOffice is not installed")
    path = clauses(tmp_path)
    subprocess.run(
        [office, f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless",
         "--convert-to", "txt:Text (encoded):UTF8", "--outdir", str(tmp_path), str(path)],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    shown = marks((tmp_path / "a.txt").read_text(encoding="utf-8-sig"))
    assert [re.sub("[◦•]", "-", mark) for mark in shown] == marks(text_of(path))


def test_legal_numbering_and_levels_that_begin_anew(tmp_path: Path) -> None:
    legal = level(1, "decimal", "%1.%2", more="<w:isLgl/>")
    kept = level(2, "decimal", "%3", more='<w:lvlRestart w:val="0"/>')
    numbering = (
        f'<w:abstractNum w:abstractNumId="0">{level(0, "upperRoman", "%1")}{legal}{kept}'
        '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    )
    body = "".join(numbered("text", 1, at) for at in (0, 1, 2, 0, 1, 2))
    path = write_docx(tmp_path / "a.docx", body, numbering=numbering)
    assert marks(text_of(path)) == ["I", "1.1", "1", "II", "2.1", "2"]


def test_numbers_of_opendocument(tmp_path: Path) -> None:
    def level(number: int, form: str, more: str) -> str:
        named = f'text:level="{number}" style:num-format="{form}" {more}'
        return f"<text:list-level-style-number {named}/>"

    styles = (
        '<text:outline-style><text:outline-level-style text:level="1" style:num-format="I" '
        'style:num-suffix="."/></text:outline-style><text:list-style style:name="L">'
        + level(1, "1", 'style:num-suffix="." text:start-value="4"')
        + level(2, "a", 'text:display-levels="2" style:num-prefix="("  style:num-suffix=")"')
        + '<text:list-level-style-bullet text:level="3"/></text:list-style>'
    )

    def item(inner: str, more: str = "") -> str:
        return f"<text:list-item {more}><text:p>text</text:p>{inner}</text:list-item>"

    def listed(inner: str, more: str = "") -> str:
        return f"<text:list {more}>{inner}</text:list>"

    named = 'text:style-name="L"'
    heading = '<text:h text:outline-level="1">text</text:h>'
    body = (
        heading
        + listed(item(listed(item("") + item(listed(item(""))))) + item(""), named)
        + heading
        + listed(item(""), f'{named} text:continue-numbering="true"')
        + listed(item("", 'text:start-value="9"') + item(""), named)
    )
    path = write_odf(tmp_path / "a.odt", f"<office:text>{body}</office:text>", styles)
    assert marks(text_of(path)) == [
        "I.", "4.", "(4.a)", "(4.b)", "-", "5.", "II.", "6.", "9.", "10.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("decimal", "1 2 3 4 27 28"), ("decimalZero", "01 02 03 04 27 28"),
        ("lowerLetter", "a b c d aa bb"), ("upperRoman", "I II III IV XXVII XXVIII"),
        ("ordinal", "1st 2nd 3rd 4th 27th 28th"), ("chicago", "* † ‡ § ‡‡‡‡‡‡‡ §§§§§§§"),
        ("russianLower", "а б в г э ю"), ("japaneseCounting", "一 二 三 四 二十七 二十八"),
        ("decimalEnclosedCircle", "① ② ③ ④ 27 28"), ("none", "     "),
        ("unheard of", "1 2 3 4 27 28"),
    ],
)  # fmt: skip
def test_formats_of_numbers(form: str, shown: str) -> None:
    assert " ".join(numeral(n, form) for n in (1, 2, 3, 4, 27, 28)) == shown


def field(instruction: str, *results: str) -> str:
    """A field over as many paragraphs as it has results."""
    begin = (
        f'<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>{instruction}'
        '</w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    )
    lines = [f"<w:r><w:t>{result}</w:t></w:r>" for result in results]
    lines[0] = begin + lines[0]
    lines[-1] += '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    return "".join(f"<w:p>{line}</w:p>" for line in lines)


def test_contents_pages_go_whatever_made_them(tmp_path: Path) -> None:
    sdt = (
        '<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/>'
        f"</w:docPartObj></w:sdtPr><w:sdtContent>{paragraph('Contents')}{paragraph('One 1')}"
        "</w:sdtContent></w:sdt>"
    )
    linked = (
        '<w:p><w:hyperlink w:anchor="_Toc12345"><w:r><w:t>Chapter 9</w:t></w:r></w:hyperlink></w:p>'
    )
    body = (
        paragraph("Before")
        + field(r' TOC \o "1-3" \h ', "Chapter one 1", "Chapter two 7", "Chapter three 9")
        + sdt
        + linked
        + field(" REF x ", "kept")
        + paragraph("After")
    )
    (found,) = read(write_docx(tmp_path / "a.docx", body))
    assert isinstance(found, Extracted)
    assert found.text == "Before\n\nkept\n\nAfter"
    assert found.changes == {"lines of the table of contents": 6}


def test_a_field_that_never_ends_takes_nothing_with_it(tmp_path: Path) -> None:
    body = field(" TOC ", "One 1").replace('<w:fldChar w:fldCharType="end"/>', "")
    assert text_of(write_docx(tmp_path / "a.docx", body + paragraph("Rest"))) == "One 1\n\nRest"


def test_errors_of_fields_are_left_out_and_counted(tmp_path: Path) -> None:
    body = (
        field(' STYLEREF "x" ', "Error! No text of specified style in document.")
        + paragraph("See Fehler! Verweisquelle konnte nicht gefunden werden. for more.")
        + paragraph("Error! Please try again.")
    )
    (found,) = read(write_docx(tmp_path / "a.docx", body))
    assert isinstance(found, Extracted)
    assert found.text == "See  for more.\n\nError! Please try again."
    assert found.changes == {"errors of fields": 2}
    assert FIELD_ERROR.sub("", "Erreur\u00a0! Source du renvoi introuvable.") == ""


def test_parts_in_other_formats_are_read(tmp_path: Path) -> None:
    import zipfile

    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/aFChunk"
    parts = {
        "chunk.html": "<p>From <b>HTML</b>.</p>", "chunk.rtf": "{\\rtf1 From RTF.}",
        "chunk.txt": "From text.", "chunk.png": "\x89PNG",
    }  # fmt: skip
    body = paragraph("Main.") + "".join(f'<w:altChunk r:id="{name}"/>' for name in parts)
    path = write_docx(tmp_path / "a.docx", body)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    relations = "".join(f'<Relationship Id="{n}" Type="{kind}" Target="{n}"/>' for n in parts)
    members["word/_rels/document.xml.rels"] = f"<Relationships>{relations}</Relationships>"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, content in parts.items():
            archive.writestr(f"word/{name}", content)
    found, dropped = read(path)
    assert isinstance(found, Extracted)
    assert found.text == "Main.\n\nFrom HTML.\n\nFrom RTF.\n\nFrom text."
    assert dropped == Dropped("not a text format", "chunk.png")


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("A chart: sales rose by half.", "Text\n\n[Picture: A chart: sales rose by half.]"),
        ("image1.png", "Text"), ("Picture 7", "Text"), ("https://x.org/a.png", "Text"),
        ("A dog\n\nDescription automatically generated", "Text"), ("", "Text"),
    ],
)  # fmt: skip
def test_descriptions_of_pictures(tmp_path: Path, description: str, shown: str) -> None:
    description = description.replace("\n", "&#10;")
    drawing = (
        f'<w:drawing><wp:inline><wp:docPr id="1" descr="{description}"/></wp:inline></w:drawing>'
    )
    body = f"<w:p><w:r><w:t>Text</w:t>{drawing}</w:r></w:p>"
    assert text_of(write_docx(tmp_path / "a.docx", body)) == shown

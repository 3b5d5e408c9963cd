"""Readers of office documents, against libraries that know part of what they know."""

from __future__ import annotations

import contextlib
import datetime
import random
from pathlib import Path

import pytest
from office import paragraph, read, text_of, words, write_docx, write_odf, write_zip

from linnet.data.document import Dropped, Extracted, UnreadableError

PRESENTATIONS = ("fake-power-point", "group-shapes-nested", "sample-presentation", "simple")


def documents(test_data: Path, suffix: str) -> list[Path]:
    return sorted((test_data / "documents").rglob(f"*.{suffix}"))


def assert_covered(expected: list[str], text: str) -> None:
    """Every paragraph that the reference sees stands in the text, blanks and bullets aside."""
    found = " ".join(words(text))
    assert [one for one in expected if " ".join(words(one)) not in found] == []


# What python-docx, python-pptx and openpyxl see


def test_word_documents_hold_what_python_docx_sees(test_data: Path) -> None:
    import docx
    from docx.table import Table, _Cell

    def seen(container: object) -> list[str]:
        found = []
        for block in container.iter_inner_content():
            if isinstance(block, Table):
                cells = (_Cell(tc, block) for tc in block._tbl.iter_tcs())
                found += [text for cell in cells for text in seen(cell)]
            else:
                found += block.text.replace("-", "\u2011").split("\n")
        return found

    paths = documents(test_data, "docx")
    assert len(paths) > 15
    for path in paths:
        document = docx.Document(path) if path.name != "teams_chat.docx" else None
        if document is not None:
            text = text_of(path).replace("-", "\u2011")
            assert_covered(seen(document), text)
            for section in document.sections:
                assert_covered(seen(section.header), text)


def test_presentations_hold_what_python_pptx_sees(test_data: Path) -> None:
    import pptx

    def seen(shapes: object) -> list[str]:
        found = []
        for shape in shapes:
            if shape.shape_type == 6:  # a group
                found += seen(shape.shapes)
            elif shape.has_text_frame:
                found += [p.text for p in shape.text_frame.paragraphs]
            elif shape.has_table:
                found += [cell.text for row in shape.table.rows for cell in row.cells]
        return found

    for name in PRESENTATIONS:
        path = test_data / "documents" / f"{name}.pptx"
        for slide in pptx.Presentation(path).slides:
            assert_covered([t.replace("\v", "\n") for t in seen(slide.shapes)], text_of(path))


def test_workbooks_hold_what_openpyxl_sees(test_data: Path) -> None:
    import openpyxl

    for path in documents(test_data, "xlsx"):
        if path.name in ("password_protected.xlsx", "empty.xlsx"):
            continue
        sheets = {found.part: found.text for found in read(path)}
        for sheet in openpyxl.load_workbook(path, data_only=True):
            cells = [
                cell.value for row in sheet.iter_rows() for cell in row if cell.value is not None
            ]
            assert_covered([cell for cell in cells if isinstance(cell, str)], sheets[sheet.title])


def test_one_text_in_six_formats_reads_alike(test_data: Path) -> None:
    folder = test_data / "documents" / "language-docs"
    expected = words((folder / "eng_spa_mult.txt").read_text())
    for suffix in ("docx", "odt", "rtf", "epub", "pptx"):
        found = words(text_of(folder / f"eng_spa_mult.{suffix}"))
        assert found[-len(expected) :] == expected, suffix


def test_old_workbook_holds_what_xlrd_sees(test_data: Path) -> None:
    import xlrd

    path = test_data / "documents" / "tests-example.xls"
    sheets = {found.part: found.text for found in read(path)}
    book = xlrd.open_workbook(path)
    for sheet in book.sheets():
        texts = [
            v for row in range(sheet.nrows) for v in sheet.row_values(row) if isinstance(v, str)
        ]
        assert texts
        assert_covered(texts, sheets[sheet.name])


# What they do not see


def test_word_revisions_notes_boxes_comments_and_margins(tmp_path: Path) -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent>"
    field = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> PAGE </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>7</w:t></w:r>'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    body = f"""
    <w:p><w:r><w:t xml:space="preserve">Kept </w:t></w:r>
      <w:del><w:r><w:delText>deleted </w:delText></w:r></w:del>
      <w:moveFrom><w:r><w:t>moved away </w:t></w:r></w:moveFrom>
      <w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>
      <w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>
      <w:r><w:footnoteReference w:id="2"/></w:r></w:p>
    <w:p><w:r><w:t>Anchor</w:t><w:commentReference w:id="0"/>
      <mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:txbx>{box}</wps:txbx>
      </w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict>
      </mc:Fallback></mc:AlternateContent></w:r></w:p>
    <w:p><w:pPr><w:pStyle w:val="TOC1"/></w:pPr><w:r><w:t>Contents 3</w:t></w:r></w:p>
    <w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr>
      <w:r><w:t>one</w:t></w:r></w:p>
    <w:p><w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr></w:pPr>
      <w:r><w:t>two</w:t></w:r></w:p>
    <w:sectPr><w:headerReference r:id="header1"/><w:headerReference r:id="header2"/>
      <w:footerReference r:id="footer1"/></w:sectPr>"""
    note = '<w:footnote w:id="2"><w:p><w:r><w:t>A note</w:t>' + (
        '<w:footnoteReference w:id="2"/></w:r></w:p></w:footnote>'  # to itself, for ever
    )
    path = write_docx(
        tmp_path / "a.docx",
        body,
        footnotes=note,
        comments=f'<w:comment w:id="0" w:author="X">{paragraph("Really?")}</w:comment>',
        styles='<w:style w:styleId="TOC1"><w:name w:val="toc 1"/></w:style>',
        header1=paragraph("The firm"),
        header2=paragraph("The firm"),
        footer1=f"<w:p><w:r><w:t>Page </w:t></w:r>{field}</w:p>" + paragraph("Confidential"),
    )
    (found,) = read(path)
    assert isinstance(found, Extracted)
    assert found.text == (
        "The firm\n\nKept inserted[1]\n\n[1] A note\n\nAnchor\n\nin a box\n\n[Comment: Really?]"
        "\n\n- one\n  - two\n\nConfidential"
    )
    assert found.changes == {
        "deleted revisions": 2, "hidden runs": 1, "page numbers": 1,
        "lines of the table of contents": 1,
    }  # fmt: skip


def test_merged_and_nested_tables(tmp_path: Path) -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"

    inner = f"<w:tbl><w:tr>{cell('x')}{cell('y')}</w:tr></w:tbl>"
    rows = [
        cell("wide", '<w:gridSpan w:val="2"/>') + cell("c"),
        cell("tall", '<w:vMerge w:val="restart"/>') + cell("b") + cell("c"),
        cell("tall again", "<w:vMerge/>") + cell("d\n e") + cell("f"),
        f"<w:tc>{paragraph('around')}{inner}</w:tc>" + cell("beside"),
    ]
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)
    path = write_docx(tmp_path / "a.docx", f"<w:tbl>{table}</w:tbl>")
    assert text_of(path) == ("wide |  | c\ntall | b | c\n | d e | f\n\naround\n\nx | y\n\nbeside")


def test_slides_in_order_with_notes_chart_and_merged_cells(tmp_path: Path) -> None:
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    chart = CategoryChartData()
    chart.categories = ["East", "West"]
    chart.add_series("2023", (1.5, 2.25))
    place = [Inches(n) for n in (1, 1, 4, 3)]
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *place, chart)
    table = slide.shapes.add_table(2, 2, *place).table
    table.cell(0, 0).merge(table.cell(0, 1))
    for number, name in enumerate(("wide", "", "a", "b")):
        table.cell(number // 2, number % 2).text = name
    slide.notes_slide.notes_text_frame.text = "Say this."
    slide.shapes.title.text = "Sales"
    bullets = show.slides.add_slide(show.slide_layouts[1])
    bullets.shapes.title.text = "Points"
    bullets.placeholders[1].text = "First"
    # The order of the presentation is not that of the files.
    order = show.slides._sldIdLst
    order.append(order[0])
    show.save(tmp_path / "a.pptx")
    assert text_of(tmp_path / "a.pptx") == (
        "Points\n\n- First\n\nSales\n\n | 2023\nEast | 1.5\nWest | 2.25\n\nwide\na | b\n\nSay this."
    )


def test_open_document_text(tmp_path: Path) -> None:
    body = """<office:text>
    <text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p>
    </text:deletion></text:changed-region></text:tracked-changes>
    <text:h>Title</text:h>
    <text:p>Some  <text:span>text</text:span>,<text:s text:c="2"/>then<text:note>
      <text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p>
      </text:note-body></text:note>.<draw:frame><draw:text-box><text:p>boxed</text:p>
      </draw:text-box></draw:frame><office:annotation><dc:creator>X</dc:creator>
      <text:p>why?</text:p></office:annotation></text:p>
    <text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>two</text:p>
      </text:list-item></text:list></text:list-item></text:list>
    <table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>
      <table:table-cell table:number-columns-repeated="2"><text:p>b</text:p></table:table-cell>
      </table:table-row></table:table></office:text>"""
    styles = """<office:master-styles><office:master-page><office:header><text:p>Head</text:p>
    <text:p>Page <text:page-number>1</text:page-number></text:p></office:header>
    </office:master-page></office:master-styles>""".replace(
        "office:master-page", "text:master-page"
    )
    assert text_of(write_odf(tmp_path / "a.odt", body, styles)) == (
        "Head\n\nTitle\n\nSome text,  then[1].\n\nboxed\n\n[1] a note\n\n[Comment: why?]\n\n"
        "- one\n  - two\n\na | b | b"
    )


def test_rich_text(tmp_path: Path) -> None:
    russian, japanese = "Привет", "日本語"

    def escaped(text: str, encoding: str) -> str:
        return "".join(f"\\'{byte:02x}" for byte in text.encode(encoding))

    source = (
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 A;}"
        r"{\f2\fcharset128 M;}}{\*\generator X;}{\info{\title T}}{\header Head\par}"
        r"{\footer Page {\field{\*\fldinst PAGE}{\fldrslt 1}}\par}"
        rf"\pard Caf\'e9 \{{\u8364?\}} {{\f1 {escaped(russian, 'cp1251')}}}"
        rf"{{\f2 {escaped(japanese, 'cp932')}}} \u-10179?\u-8704?"
        r"{\super\chftn}{\footnote\pard {\super\chftn} The note}{\v hidden}{\deleted gone}\par"
        r'{\field{\*\fldinst HYPERLINK "http://x.org"}{\fldrslt a link}}\par'
        r"\pard\ls1{\listtext\'b7\tab}one\par{\listtext\'b7\tab}\ilvl1 two\par"
        r"\trowd\pard\intbl a\par b\cell c\cell\row\pard{\pict\bin5 }}}}}}after\par}"
    )
    (tmp_path / "a.rtf").write_bytes(source.encode("ascii"))
    assert text_of(tmp_path / "a.rtf") == (
        f"Head\n\nCafé {{€}} {russian}{japanese} \U0001f600[1]\n\n[1] The note\n\na link\n\n"
        "- one\n  - two\n\na b | c\n\nafter"
    )


def test_books_in_the_order_of_the_spine(tmp_path: Path) -> None:
    def write(name: str, **more: str) -> Path:
        items = {"two": "", "one": "", "nav": 'properties="nav"', "toc": ""}
        manifest = "".join(
            f'<item id="{i}" href="{i}%20x.xhtml" media-type="application/xhtml+xml" {p}/>'
            for i, p in items.items()
        )
        package = (
            f"<package><manifest>{manifest}</manifest><spine><itemref idref='nav'/>"
            "<itemref idref='toc'/><itemref idref='one'/><itemref idref='two'/></spine>"
            "<guide><reference type='toc' href='toc%20x.xhtml#a'/></guide></package>"
        )
        pages = {
            f"OPS/{i} x.xhtml": f"<html><head><title/></head><body><p>Text {i}<a id='a'/></p>"
            f"<script/><p>end {i}</p></body></html>"
            if i in ("one", "two")
            else "<html><body><p>Contents</p><ol><li><a href='one.xhtml'>The first part</a></li>"
            "<li><a href='two.xhtml'>The second part</a></li></ol></body></html>"
            for i in items
        }
        container = (
            "<container><rootfiles><rootfile full-path='OPS/a.opf'/></rootfiles></container>"
        )
        members = {"META-INF/container.xml": container, "OPS/a.opf": package, **pages, **more}
        return write_zip(tmp_path / name, members)

    assert text_of(write("a.epub")) == "Text one\n\nend one\n\nText two\n\nend two"
    # Where the guide's reference leads into a page with text of its own, that stays.
    page = "<html><body><h1>A book</h1><p id='a'><a href='#b'>Part 1</a></p><p>It began.</p></body>"
    begun = write("d.epub", **{"OPS/toc x.xhtml": page})
    assert text_of(begun).startswith("A book\n\nPart 1\n\nIt began.\n\nText one")
    method = "<encryption><EncryptionMethod Algorithm='{}'/></encryption>"
    fonts = method.format("http://www.idpf.org/2008/embedding")
    assert text_of(write("b.epub", **{"META-INF/encryption.xml": fonts})).startswith("Text one")
    aes = method.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    with pytest.raises(UnreadableError, match="encrypted"):
        read(write("c.epub", **{"META-INF/encryption.xml": aes}))


# Spreadsheets


def test_cells_as_they_are_shown(tmp_path: Path) -> None:
    import openpyxl

    generator = random.Random(7)
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Times"
    expected = []
    for _ in range(200):  # openpyxl turns them into serial numbers
        moment = datetime.datetime(1950, 1, 1) + datetime.timedelta(
            minutes=generator.randrange(60_000_000)
        )
        shown = moment.strftime("%Y-%m-%d %H:%M")
        sheet.append([moment, moment.date()])
        expected.append(f"{shown} | {shown[:10]}")
    other = book.create_sheet("Other")
    other.sheet_state = "hidden"
    other["B2"], other["D2"], other["B4"] = 0.256, "text", 1234.5
    other["B2"].number_format, other["B4"].number_format = "0.0%", "#,##0.00"
    other["B5"] = "=SUM(1,2)"  # openpyxl stores no value with it
    other["XFD1048576"] = True
    book.save(tmp_path / "a.xlsx")
    times, rest = read(tmp_path / "a.xlsx")
    assert isinstance(times, Extracted)
    assert isinstance(rest, Extracted)
    assert (times.part, times.text) == ("Times", "\n".join(expected))
    assert (rest.part, rest.text) == ("Other", "25.6% | text\n\n1,234.50\n\nTRUE")
    (tmp_path / "a.xlsx").rename(tmp_path / "b.xls")  # today's format under the old name
    assert [found.text for found in read(tmp_path / "b.xls")] == [times.text, rest.text]


def test_open_document_sheets_do_not_repeat_what_is_empty(tmp_path: Path) -> None:
    row = '<table:table-row table:number-rows-repeated="{}">{}</table:table-row>'
    cell = '<table:table-cell table:number-columns-repeated="{}">{}</table:table-cell>'
    blank = row.format(1_000_000_000, cell.format(1_000_000_000, ""))
    filled = row.format(2, cell.format(1, "<text:p>1.50 €</text:p>") + cell.format(2, ""))
    endless = row.format(1_000_000_000, cell.format(1, "<text:p>again</text:p>"))

    def sheet(name: str, rows: str) -> str:
        return f'<table:table table:name="{name}">{rows}</table:table>'

    body = sheet("S", filled + blank + filled + blank) + sheet("T", endless) + sheet("U", blank)
    body = f"<office:spreadsheet>{body}</office:spreadsheet>"
    first, second = read(write_odf(tmp_path / "a.ods", body), max_document_bytes=100_000)
    assert isinstance(first, Extracted)
    assert first.text == "1.50 €\n1.50 €\n\n1.50 €\n1.50 €"
    assert second == Dropped("document larger than max_document_bytes", "T")


# What strangers send


def test_encrypted_and_old_files_are_told_apart(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "documents"
    for source, target, reason in (
        ("password_protected.xlsx", "a.xlsx", "encrypted"),
        ("password_protected.xlsx", "a.docx", "encrypted"),
        ("password_protected.xlsx", "a.doc", "encrypted"),
    ):
        (tmp_path / target).write_bytes((folder / source).read_bytes())
        with pytest.raises(UnreadableError, match=reason):
            read(tmp_path / target)
    (tmp_path / "c.xlsx").write_bytes((folder / "tests-example.xls").read_bytes())
    old = read(folder / "tests-example.xls")
    assert [f.text for f in read(tmp_path / "c.xlsx")] == [f.text for f in old]
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    with pytest.raises(UnreadableError, match="encrypted"):
        read(write_odf(tmp_path / "d.odt", "<office:text/>", manifest=manifest))


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "xls", "odt", "rtf", "epub"])
def test_damaged_files_are_refused(test_data: Path, tmp_path: Path, suffix: str) -> None:
    """Cut off or with changed bytes, a file yields text or one reason: never another error."""
    generator = random.Random(suffix)
    whole = min(documents(test_data, suffix), key=lambda path: path.stat().st_size).read_bytes()
    path = tmp_path / f"a.{suffix}"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(generator.randrange(1, 20)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(
            data[: generator.randrange(len(data))] if generator.random() < 0.3 else data
        )
        with contextlib.suppress(UnreadableError):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableError):
        read(path)


def test_bombs_are_refused(tmp_path: Path) -> None:
    deep = "<w:sdt>" * 50_000 + "</w:sdt>" * 50_000
    with pytest.raises(UnreadableError, match="damaged docx"):
        read(write_docx(tmp_path / "deep.docx", deep))
    big = write_docx(tmp_path / "big.docx", paragraph("x" * 5_000_000))
    with pytest.raises(UnreadableError, match="max_expanded_bytes"):
        read(big, max_expanded_bytes=1_000_000)
    with pytest.raises(UnreadableError, match="max_document_bytes"):
        read(big, max_document_bytes=1_000_000)
    (tmp_path / "deep.rtf").write_bytes(b"{\\rtf1 x" + b"{\\footnote y" * 2_000)
    assert (
        len(text_of(tmp_path / "deep.rtf")) < 100
    )  # notes within notes are not told again and again
    (tmp_path / "deep.rtf").write_bytes(b"{\\rtf1 x" + b"{" * 1_000_000)
    with pytest.raises(UnreadableError, match="damaged rtf"):
        read(tmp_path / "deep.rtf")
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    laughs = (
        f'<!DOCTYPE d [<!ENTITY e0 "lol">{entities}]><d><body><p><r><t>x&e9;</t></r></p></body></d>'
    )
    bomb = write_zip(tmp_path / "laughs.docx", {"word/document.xml": laughs})
    with pytest.raises(UnreadableError, match="damaged docx"):
        read(bomb)


def test_one_string_in_all_cells_does_not_fill_the_memory(tmp_path: Path) -> None:
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    cells = "<row>" + '<c t="s"><v>0</v></c>' * 10_000 + "</row>"
    members = {
        "xl/workbook.xml": f'<workbook xmlns:r="{relation}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="a"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": "<Relationships>"
        f'<Relationship Id="a" Type="{relation}/worksheet" Target="sheet.xml"/>'
        f'<Relationship Id="b" Type="{relation}/sharedStrings" Target="s.xml"/></Relationships>',
        "xl/s.xml": f"<sst><si><t>{'x' * 1_000_000}</t></si></sst>",
        "xl/sheet.xml": f"<worksheet><sheetData>{cells}</sheetData></worksheet>",
    }
    path = write_zip(tmp_path / "a.xlsx", members)
    assert read(path) == [Dropped("document larger than max_document_bytes", "S")]

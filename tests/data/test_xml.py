"""XML as prose and as data; what is hostile in it is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract

DOCBOOK = """<?xml version="1.0" encoding="iso-8859-1"?>
<book xmlns="http://docbook.org/ns/docbook"><title>The B&ouml;ok</title><chapter><title>One</title>
<para>First <emphasis>para</emphasis> with
a line.</para><itemizedlist><listitem><para>one</para></listitem><listitem><para>two</para>
<itemizedlist><listitem><para>inner</para></listitem></itemizedlist></listitem></itemizedlist>
<programlisting>def f():
    return 1</programlisting>
<table><tgroup><tbody><row><entry>a</entry><entry><para>b</para></entry></row>
<row><entry>c</entry><entry>d</entry></row></tbody></tgroup></table>
<variablelist><varlistentry><term>-v</term><listitem><para>Be loud.</para></listitem>
</varlistentry></variablelist></chapter></book>"""
FEED = """<rss version="2.0"><channel><title>News</title><item><title>One</title>
<description>&lt;p&gt;Some &lt;b&gt;bold&lt;/b&gt; text&lt;/p&gt;</description></item>
<item><title>Two</title><author><name>Ann</name></author></item></channel></rss>"""


def read(path: Path, source: str) -> str:
    path.write_text(source)
    context = Context.of_file(DataConfig(), "a.xml", path.parent)
    (found,) = extract(path, kind="xml", context=context)
    assert isinstance(found, Extracted)
    return found.text


def test_prose_reads_as_paragraphs(tmp_path: Path) -> None:
    assert read(tmp_path / "a.xml", DOCBOOK) == (
        "The Böok\n\nOne\n\nFirst para with a line.\n\n- one\n- two\n  - inner\n\n"
        "def f():\n    return 1\n\na | b\nc | d\n\n-v\nBe loud."
    )


def test_data_reads_as_named_values(tmp_path: Path) -> None:
    assert read(tmp_path / "a.xml", FEED) == (
        "title: News\nitem:\n  title: One\n  description: Some bold text\n"
        "item:\n  title: Two\n  author:\n    name: Ann"
    )


@pytest.mark.parametrize("name", ["factbook.xml", "factbook-utf-16.xml"])
def test_a_real_file_of_records(test_data: Path, tmp_path: Path, name: str) -> None:
    context = Context.of_file(DataConfig(), name, tmp_path)
    (found,) = extract(test_data / "documents" / name, kind="xml", context=context)
    records = getattr(found, "text", "").split("\n\n")
    assert records[0].split("\n") == [
        "name: United States", "capital: Washington, DC", "leader: Joe Biden", "sport: Baseball",
    ]  # fmt: skip
    assert len(records) == 4


def test_entities_that_a_document_declares_for_itself(tmp_path: Path) -> None:
    source = (
        '<!-- x --><!DOCTYPE article PUBLIC "-//OASIS//DTD" "http://a.org/d.dtd" [\n'
        '<!ELEMENT a (b)> <!ENTITY pump "the &product; <emphasis>pump</emphasis>">'
        '<!ENTITY product \'Hydra&#8482; "9"\'> <!ENTITY D1.TIF SYSTEM "D1.TIF" NDATA TIF>'
        '<!ENTITY % unused "x"> <!-- ]> --> <?p ]>?> ]><article><para>Open &pump; &amp; see '
        "caf&eacute; and &elsewhere;.</para><screen><![CDATA[&pump;]]></screen></article>"
    )
    assert read(tmp_path / "a.xml", source) == (
        'Open the Hydra™ "9" pump & see café and &elsewhere;.\n\n&pump;'
    )


JATS = """<!DOCTYPE article SYSTEM "JATS.dtd"><article><front><article-meta>
<article-id pub-id-type="doi">10.1/x</article-id><title-group><article-title>On H<sub>2</sub>O
</article-title></title-group><contrib-group><contrib><name><surname>Gernoth</surname><given-names>
Wolf</given-names></name><contrib-id>https://orcid.org/1</contrib-id></contrib><contrib><name>
<surname>Ek</surname><given-names>Ann</given-names></name></contrib></contrib-group><pub-date>
<day>1</day><year>2020</year></pub-date></article-meta></front><body><sec><title>One</title><p>Some
<italic>text</italic> that is long enough to be most of what is here: it tells of
what was found in the water of the lake, where and when it was found, and
of <bold>10</bold><sup>6</sup> cells, <inline-formula><mml:math
xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mfrac><mml:mn>1</mml:mn><mml:mn>2</mml:mn>
</mml:mfrac></mml:math></inline-formula> of it.</p><list list-type="order"><list-item><p>one</p>
</list-item><list-item><p>two</p></list-item></list><table-wrap><table><tr><th rowspan="2">A</th>
<th colspan="2">B</th></tr><tr><td>b</td><td>c</td></tr></table></table-wrap></sec>
</body></article>"""


def test_parts_that_are_no_sentence_are_set_apart(tmp_path: Path) -> None:
    assert read(tmp_path / "a.xml", JATS) == (
        "10.1/x\n\nOn H₂O\n\nGernoth Wolf\nhttps://orcid.org/1\nEk Ann\n1 2020\n\nOne\n\n"
        "Some text that is long enough to be most of what is here: it tells of what was found in "
        "the water of the lake, where and when it was found, and of 10⁶ cells, 1/2 of it."
        "\n\n1. one\n2. two\n\nA | B\n | b | c"
    )


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>',
    "in an attribute": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a b="&l9;"/>',
    "one long": f'<!DOCTYPE a [<!ENTITY l "{"ha" * 5000}">]><a>{"&l;" * 5000}</a>',
    "itself": '<!DOCTYPE a [<!ENTITY l "a&m;"><!ENTITY m "b&l;">]><a>&l;</a>',
    "a file": '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
    "parameters": '<!-- <a> --><!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_entities_are_refused(tmp_path: Path, source: str) -> None:
    start = time.monotonic()
    with pytest.raises(UnreadableError, match="xml entities are not allowed"):
        read(tmp_path / "a.xml", source)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("source", ["<a>", "<a>" * 5000 + "</a>" * 5000, "<a>&x;</a>"])
def test_damage_is_told(tmp_path: Path, source: str) -> None:
    with pytest.raises(UnreadableError, match="damaged xml"):
        read(tmp_path / "a.xml", source)


def test_an_element_alone(tmp_path: Path) -> None:
    assert read(tmp_path / "a.xml", "<a>caf&eacute; &lt;b&gt;</a>") == "café <b>"


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no text in it"):
        read(tmp_path / "a.xml", "<a><b c='d'/></a>")

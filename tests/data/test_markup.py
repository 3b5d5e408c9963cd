"""Markup to text: what a reader sees stays, what a browser interprets goes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linnet.data import kinds
from linnet.data.config import DataConfig
from linnet.data.document import Extracted
from linnet.data.extract import Context, extract
from linnet.data.markup.html import all_text, html_text
from linnet.data.markup.markdown import markdown_text
from linnet.data.markup.rst import rst_text


def test_markdown_keeps_words_lists_code_and_tables() -> None:
    source = (
        "---\ntitle: x\n---\n# Head *line*\n\nSee [the site](http://a.b) and ![a cat](c.png).\n\n"
        "- one\n- two\n  1. inner\n\n```py\ndef f():\n    return 1\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n"
        "<div>embedded <b>text</b></div>\n"
    )
    assert markdown_text(source) == (
        "Head line\n\nSee the site and a cat.\n\n- one\n- two\n  1. inner\n\n"
        "def f():\n    return 1\n\na | b\n1 | 2\n\nembedded text"
    )


def test_markdown_words_are_those_of_the_reference_renderer() -> None:
    """markdown-it's own HTML, stripped of tags, has the same words."""
    from markdown_it import MarkdownIt

    source = (
        "Setext\n===\n\n> quote **bold** `code`\n\n* a\n* b\n\n    indented code\n\nend\\\nhard"
    )
    reference = re.sub(r"<[^>]+>", " ", MarkdownIt("commonmark").render(source))
    assert re.findall(r"\w+", markdown_text(source)) == re.findall(r"\w+", reference)


def test_html_breaks_lines_where_a_browser_does() -> None:
    source = (
        "<html><head><title>no</title><style>p{}</style></head><body><script>no()</script>"
        "<h1>Title</h1> <p>One\n  line.<br>Next <b>bold</b>word.</p><ul><li>a</li>\n<li>b<ul>"
        "<li>c</li></ul></li></ul><table><tr><td>1</td> <td>2</td></tr></table>"
        "<pre>  x\n   y</pre><!-- no --></body></html>"
    )
    assert all_text(source) == (
        "Title\n\nOne line.\nNext boldword.\n\n- a\n- b\n  - c\n\n1 | 2\n\n  x\n   y"
    )


def test_html_main_text_is_separated_from_navigation() -> None:
    paragraph = "The committee met on Tuesday and agreed on the budget for the coming year. " * 4
    source = (
        "<html><body><nav><a href='/'>Home</a> <a href='/x'>Products</a></nav><article>"
        f"<h1>Minutes</h1><p>{paragraph}</p><p>{paragraph}</p></article>"
        "<footer>Copyright</footer></body></html>"
    )
    text = html_text(source)
    assert "agreed on the budget" in text
    assert "Products" not in text


@pytest.mark.parametrize("source", ["", "   ", "<!-- only a comment -->", "<html></html>"])
def test_html_without_text_is_empty(source: str) -> None:
    assert all_text(source) == ""


def test_html_with_an_encoding_declaration_is_read() -> None:
    source = '<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>é</p></body></html>'
    assert all_text(source) == "é"


def test_rst_keeps_prose_and_code_and_reads_no_file(tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    source = (
        "Title\n=====\n\n.. include:: " + str(secret) + "\n.. raw:: html\n   :file: "
        f"{secret}\n\n.. image:: a.png\n   :alt: x\n\nUse :func:`os.open` and ``code`` in "
        "`the docs <http://a.b>`_, *always*.\n\n.. note:: Mind this.\n   And that.\n\n"
        ".. code-block:: python\n   :linenos:\n\n   def f(**k):\n       pass\n\n"
        ".. a comment\n   too\n"
    )
    text = rst_text(source)
    assert "secret" not in text
    assert "comment" not in text
    assert "Use os.open and code in the docs, always." in text
    assert "Mind this.\n   And that." in text
    assert "   def f(**k):\n       pass" in text
    assert text.startswith("Title\n")


@pytest.mark.parametrize(
    ("name", "source", "count"),
    [
        ("a.tex", "\\input{one}\n  \\include{two/b} % \\input{no}\n% \\input{none}\nText.\n", 2),
        ("a.rst", "Words.\n\n.. include:: one.rst\n\n.. literalinclude:: b.py\n", 2),
        ("a.org", "Words.\n#+INCLUDE: one.org\n", 1),
        ("a.py", "s = '\\input{one}'\n", 0),
    ],
)
def test_files_included_by_name_are_counted(
    tmp_path: Path, name: str, source: str, count: int
) -> None:
    """They are read where they lie, as documents of their own, not into this one."""
    (tmp_path / "one.tex").write_text("A secret of another file.")
    path = tmp_path / name
    path.write_text(source)
    context = Context.of_file(DataConfig(), name, tmp_path)
    (found,) = extract(path, kind=kinds.kind_of(name), context=context)
    assert isinstance(found, Extracted)
    assert "secret" not in found.text
    assert found.changes.get("files included by name", 0) == count

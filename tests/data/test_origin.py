"""Pages from the web are told from the owner's own."""

from __future__ import annotations

import pytest

from linnet.data.markup.html import is_web_page

_CRAWLED = (
    '<a href="/">Home</a> <A class="x" HREF="https://example.org/a">A</A> <a href="//cdn.org/b">B'
)
_MANUAL = (
    '<a href="index.html">up</a> <a href="../library/re.html#x">re</a> <a href="https://a.b">w'
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (_CRAWLED, True),
        (_MANUAL, False),
        ("<p>No link at all.", False),
        ('<a href="https://a.b">only one', False),
        ('<a href="#a">1</a><a href="mailto:x@y.z">2</a><a href="#b">3</a>' * 9, False),
        ("<a " * 200_000, False),  # neither slow nor wrong
    ],
)
def test_by_its_links(source: str, expected: bool) -> None:
    assert is_web_page(source) is expected

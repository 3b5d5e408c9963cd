"""Org, by the rules of its syntax (orgmode.org/worg/org-syntax.html), beside Markdown and RST."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from linnet.data.markup.markdown import markdown_text
from linnet.data.markup.org import org_text
from linnet.data.markup.rst import rst_text

SOURCE = """#+TITLE: My /notes/
#+AUTHOR: me
* TODO [#A] Buy *milk* [1/2] :home:shop:
SCHEDULED: <2024-05-01 Wed>
:PROPERTIES:
:ID: abc
:END:
Some =code= and ~x*y*z~, a path/to/file and a_b_c, [[https://a.b][the site]] and [[file:x.org]].
See note[fn:1].
- [X] one
  goes on
- [ ] two
  + inner
    1) numbered
| a | b |
|---+---|
| 1 | *2* |
#+TBLFM: $1=2
After.
: fixed *width*
# a comment
#+BEGIN_SRC python :results output
def f():
    # not a comment

    return "*bold*"
#+END_SRC
#+begin_quote
Quoted /words/.
#+end_quote
#+BEGIN_EXPORT html
<b>no</b>
#+END_EXPORT
** DONE Next
:PROPERTIES:
:never: closed
* Last
[fn:1] The note.
"""
TEXT = """My notes

Buy milk

Some code and x*y*z, a path/to/file and a_b_c, the site and x.org.
See note[1].

- one
  goes on
- two
  - inner
    1. numbered

a | b
1 | 2

After.

fixed *width*
def f():
    # not a comment

    return "*bold*"

Quoted words.

Next

Last

[1] The note."""


def test_org_keeps_what_is_read() -> None:
    assert org_text(SOURCE) == TEXT


@pytest.mark.parametrize(("name", "plain"), [("org", org_text), ("rst", rst_text)])
def test_one_document_in_three_markups_has_the_same_words(
    test_data: Path, name: str, plain
) -> None:
    documents = test_data / "documents"
    expected = markdown_text((documents / "README.md").read_text())
    found = plain((documents / f"README.{name}").read_text())
    assert re.findall(r"\w+", found) == re.findall(r"\w+", expected)
    include = (documents / f"README-w-include.{name}").read_text()
    assert re.findall(r"\w+", plain(include)) == re.findall(r"\w+", expected)


def test_markdown_lines_are_those_that_are_shown() -> None:
    source = (
        "One\nparagraph with\\\na break.\n\n- item\n  goes on\n\n      x = 1\n      y = 2\n\n"
        "End ~~no~~."
    )
    assert markdown_text(source) == (
        "One paragraph with\na break.\n\n- item goes on\n\n  x = 1\n  y = 2\n\nEnd no."
    )


@pytest.mark.parametrize("plain", [org_text, rst_text, markdown_text])
def test_hostile_markup_takes_no_time(plain) -> None:
    for piece in ("*a ", "[[", "_", "|", " ", ":a", "`", "a\n\n", ":A:\n", "#+BEGIN_QUOTE\n", "> "):
        start = time.process_time()
        plain(piece * (25_000 // len(piece)) + "x")
        assert time.process_time() - start < 6, piece

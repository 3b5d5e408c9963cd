"""HTML to plain text.

An owner's page (a manual, a text saved by an office program) is kept but for what leads to
other pages. A page of the web is mostly such things, teasers and comments: trafilatura tells
its main text (Barbaresi, "Trafilatura", ACL 2021; its standard settings, the best on its
evaluation set, see benchmarks/extraction.py). It tells only *what* is main text: its own
trees lose the line ends of code and the rows of tables, so the page itself is written out,
block by block, and the blocks that are in the main text are kept, with lists that stand
between them. Where that is next to nothing (a page that is a list, a table or a form) all are.
What is left out is counted. Nothing is ever fetched.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from linnet.data.blocks import Builder, Text
from linnet.data.markup.main_text import main_blocks
from linnet.data.markup.origin import is_published, is_web_page
from linnet.data.markup.page_tree import page_tree
from linnet.data.markup.page_writer import SILENT, Block, blocks_of, joined

# A main text of fewer characters and a smaller share of the page's text is not believed.
_LEAST_CHARACTERS, _LEAST_SHARE = 150, 0.1
_MOST_LINKS = 0.3  # of the text of a page without its navigation: more is a page of the web


def html_text(source: str, changes: Counter[str] | None = None) -> Text:
    """The text of a page without navigation, of a web page the main text (see the module).

    ``changes`` counts what is left out.
    """
    changes = Counter() if changes is None else changes
    root = page_tree(source, changes)
    if root is None:
        return Builder().text()
    blocks = blocks_of(root)
    content = [block for block in blocks if not block.navigation]
    if not any(block.text.strip() for block in content):
        content = blocks
    if is_web_page(source) or is_published(source) or share_of_links(content) > _MOST_LINKS:
        kept = _main_text(root, content, blocks)
    else:
        kept = content
    if kept is not blocks:
        navigation = sum(block.lines for block in blocks if block.navigation)
        beside = sum(block.lines for block in content) - sum(block.lines for block in kept)
        _count(changes, "lines of navigation", navigation)
        _count(changes, "lines beside the main text", beside)
    return joined(kept)


def all_text(source: str, changes: Counter[str] | None = None, *, quotes: bool = False) -> Text:
    """All visible text of an HTML document or fragment. ``quotes``: with ``>`` before lines
    that are quoted, as in mails."""
    root = page_tree(source, Counter() if changes is None else changes)
    return Builder().text() if root is None else joined(blocks_of(root), quotes=quotes)


def _main_text(root: Any, content: list[Block], blocks: list[Block]) -> list[Block]:
    import trafilatura
    from lxml import etree

    source = etree.tostring(root, encoding="unicode", method="html")
    found: Any = trafilatura.bare_extraction(source, include_comments=False, include_tables=True)
    if found is None or found.body is None:
        return blocks
    main = main_blocks(content, blocks_of(found.body, SILENT - {"head"}))
    whole = len(joined(blocks))
    return main if len(joined(main)) >= min(_LEAST_CHARACTERS, _LEAST_SHARE * whole) else blocks


def _count(changes: Counter[str], kind: str, number: int) -> None:
    if number > 0:
        changes[kind] += number


def share_of_links(blocks: list[Block]) -> float:
    """How much of a text is links, by characters."""
    whole = sum(len(block.words) for block in blocks)
    return sum(block.links for block in blocks) / max(whole, 1)

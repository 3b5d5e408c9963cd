"""Which blocks of a page are in its main text, as another reader of pages found it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import TYPE_CHECKING

from linnet.data.markup.page_writer import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_RUN = 4  # words: texts that share a run of so many share more than phrases
_SHARED = 0.9  # of a block's runs
_LONGEST_LIST, _LINKS_OF_LIST = 0.25, 0.02  # of the main text; of the list
_FOUND = 0.8  # of the main text must be found in the page: elsewhere it is in scripts
# Words; a character each in scripts that write without blanks.
_WORD = re.compile("[\u0e00-\u0eff\u2e80-\u31ff\u3400-\u9fff]|[^\\W\u0e00-\u0eff\u2e80-\u9fff]+")


def main_blocks(blocks: list[Block], main: list[Block]) -> list[Block]:
    """The blocks of a page that are in its main text.

    A block is if most of its runs of words are. What is shorter than a run, code
    and headings are judged by the text around them as well.
    """
    whole = [word for block in main for word in _words(block.words)]
    runs = set(_runs(whole))
    lines = (line for block in main for line in block.words.replace(" | ", "\n").split("\n"))
    short = {unit for unit in map(_words, lines) if len(unit) < _RUN}
    words = [_words(block.words) for block in blocks]
    solid = [_share(text, runs) for text in words]  # None for short ones
    decided = [
        None if block.verbatim or block.heading else share
        for block, share in zip(blocks, solid, strict=True)
    ]
    before, after = _nearest(decided), _nearest(decided[::-1])[::-1]
    documentation = any(
        block.verbatim and "\n" in block.words and (b or a)
        for block, b, a in zip(blocks, before, after, strict=True)
    )
    inside_main = []
    for block, text, inside, above, below in zip(blocks, words, solid, before, after, strict=True):
        if block.verbatim:
            keep = above or below
        elif block.heading and documentation:
            keep = bool(inside) or below
        elif inside is None:
            cells = map(_words, block.words.split(" | "))
            keep = bool(text) and (above or below) and all(cell in short for cell in cells if cell)
        else:
            keep = inside
        inside_main.append(keep)
    kept, breaks = [], 0
    for block, keep in zip(blocks, _with_gaps(blocks, inside_main), strict=True):
        breaks = max(breaks, block.breaks)
        if keep:
            kept.append(dataclasses.replace(block, breaks=breaks))
            breaks = 0
    found = sum(len(_words(block.words)) for block in kept)
    return kept if found >= _FOUND * len(whole) else main


def _with_gaps(blocks: list[Block], kept: list[bool]) -> list[bool]:
    """Also lists of no links that stand between kept blocks. (Whatever stands there, or more
    links, brings in teasers and costs more than it gives: benchmarks/extraction.py.)"""
    filled = list(kept)
    whole = sum(len(block.words) for block, keep in zip(blocks, kept, strict=True) if keep)
    places = [place for place, keep in enumerate(kept) if keep]
    for last, place in itertools.pairwise(places):
        gap = blocks[last + 1 : place]
        length = sum(len(block.words) for block in gap)
        links = sum(block.links for block in gap)
        listed = all(block.mark for block in gap)
        if listed and length <= _LONGEST_LIST * whole and links <= _LINKS_OF_LIST * length:
            filled[last + 1 : place] = [True] * len(gap)
    return filled


def _share(words: tuple[str, ...], runs: set[tuple[str, ...]]) -> bool | None:
    """Are most of the runs of a text among ``runs``? None for a text without runs."""
    mine = _runs(words)
    return sum(run in runs for run in mine) >= _SHARED * len(mine) if mine else None


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(_RUN)), strict=False))


def _nearest(decided: Iterable[bool | None]) -> list[bool]:
    """For each place the last of what was decided up to it."""
    found, last = [], False
    for this in decided:
        last = last if this is None else this
        found.append(last)
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))

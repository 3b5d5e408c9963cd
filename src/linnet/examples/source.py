"""A document as examples are made of it: its passages, sections and sentences.

A passage is a stretch of the stored text that can be cited on its own: paragraphs under one
heading up to about the length that the settings say, a list with the sentence that leads to it,
or a table. It never crosses a heading, nor the border between two splits.
"""

from __future__ import annotations

import functools
import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from linnet.data.blocks import Block
from linnet.examples.languages import Language, language_of

if TYPE_CHECKING:
    from linnet.data import KeptText
    from linnet.data.kinds import Family
    from linnet.examples.record import Split

_PROSE: tuple[Family, ...] = ("prose", "web", "mail")
_SENTENCE_END = re.compile(r"[.!?](?:[\"'”’»)\]]{0,3})(?=\s|$)|[。！？]|\n\s*\n")
_MARK = re.compile(r"\s*(?:[-*+\u2022]|\d{1,4}[.)])\s+")
_LABEL = re.compile(r"(\w{3,20}) ?:\s+(?=[^\W\d_a-z])")
_BRACKETS = r"(?: \([^()]{2,80}\))?"
_IN_BRACKETS = re.compile(r" \(([^()]{2,80})\)")
_SHORT = re.compile(
    r"(?<![\w/-])[A-Z](?=[\w/-]*[A-Z0-9])[A-Z0-9/-]{1,11}(?=[,;]| or | oder | ou | o |\Z)"
)
_LOWERCASE = re.compile(r"(?<![\w.])[^\W\d_A-Z]{2,}(?!\w)")
_CAPITAL = re.compile(r"(?<=[a-zß-ÿ,;] )[A-ZÀ-Þ][\w'’]*")
_RARE = 0.02  # share of the documents
_COMMON = 3  # documents that may have a block before it counts as boilerplate
_LONGEST_TITLE = 120
_DAY = 2  # digits of "1. Mai"
_LONGEST_BLOCK = 4  # times as long as a passage should be: then it is cut at sentences


@dataclass
class Shared:
    """What is known of the documents together."""

    documents: int = 0
    lowercase: Counter[str] = field(default_factory=Counter)
    """How many write a word in lower case."""
    blocks: Counter[int] = field(default_factory=Counter)
    """How many documents have a block, by its hash."""
    short: dict[str, Counter[str]] = field(default_factory=dict)
    """What stands in brackets in a title where its documents write it: "GSD", by the title."""
    meant: dict[str, set[str]] = field(default_factory=dict)
    """The titles that such a short form stands for."""

    def is_rare(self, word: str) -> bool:
        """Whether few documents have a word: then it tells what is meant."""
        return self.lowercase[word] <= max(3, _RARE * self.documents)

    def note(self, source: Source) -> None:
        """Take a document into account."""
        self.documents += 1
        self.lowercase.update(source.small.keys())
        self.blocks.update({_hash(source.text[b.start : b.end]) for b in source.blocks})
        title = source.title.lower()
        for found in written(source.title).finditer(source.text) if title else ():
            for bracket in _IN_BRACKETS.finditer(found[0]):
                for short in _SHORT.findall(bracket[1]):
                    name = f"{short}{found[0][bracket.end() :]}"
                    self.short.setdefault(title, Counter())[name] += 1
                    self.meant.setdefault(name, set()).add(title)

    def short_of(self, title: str) -> list[str]:
        """What the documents write for a title, and for no other."""
        found = self.short.get(title.lower(), ())
        return sorted(one for one in found if len(self.meant[one]) == 1)


@dataclass(frozen=True)
class Passage:
    """``text`` is ``[start:end]`` of the stored text of ``source``."""

    number: int
    """In the order of the corpus; it is the passage's number in the index, too."""
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    split: Split
    blocks: tuple[Block, ...]

    @property
    def is_prose(self) -> bool:
        """Whether it is made of sentences, not of code or cells."""
        return any(block.kind not in ("code", "table") for block in self.blocks)


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, up to the next one."""

    heading: Block | None
    """None for what comes before the first."""
    headings: tuple[str, ...]
    """The path to it, itself included."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Source:
    """One document of the corpus."""

    name: str
    id: str
    text: str
    family: Family
    language: str
    blocks: tuple[Block, ...]
    splits: tuple[tuple[int, int, str], ...]
    passages: tuple[Passage, ...] = field(default=(), compare=False)
    shared: Shared = field(default_factory=lambda: Shared(), compare=False)
    """What the documents have in common; nothing where it was not counted."""

    @cached_property
    def words(self) -> Language | None:
        """What is known of its language; None for one without templates."""
        return language_of(self.language)

    @cached_property
    def title(self) -> str:
        """Its first heading of the highest level; empty where it has no heading."""
        heads = [block for block in self.blocks if block.kind == "heading"]
        if not heads:
            return ""
        first = min(heads, key=lambda block: (block.level, block.start))
        if first.start > 2000 and first is not heads[0]:
            first = heads[0]
        return self.heading(first)

    @cached_property
    def small(self) -> Counter[str]:
        """How often it has each word in lower case."""
        return Counter(_LOWERCASE.findall(self.text))

    @cached_property
    def capital(self) -> Counter[str]:
        """How often it has each word with a capital within a sentence, as names are written."""
        return Counter(_CAPITAL.findall(self.text))

    def heading(self, block: Block) -> str:
        """A heading on one line, without its marks."""
        text = " ".join(self.text[block.start : block.end].split()).strip("#*= \u00b6")
        return text if len(text) <= _LONGEST_TITLE else ""

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The headings with the blocks under each."""
        found: list[Section] = []
        heading: Block | None = None
        under: list[Block] = []
        for block in (*self.blocks, None):
            if block is not None and block.kind != "heading":
                under.append(block)
                continue
            if under:
                path = () if heading is None else (*heading.headings, self.heading(heading))
                found.append(Section(heading, path, tuple(under)))
            heading, under = block, []
        return tuple(found)

    def is_boilerplate(self, block: Block) -> bool:
        """Whether many documents have this block."""
        return self.shared.blocks[_hash(self.text[block.start : block.end])] > _COMMON

    def passage_at(self, start: int, end: int) -> Passage | None:
        """The passage that holds this stretch; None where none holds it whole."""
        place = bisect_right(self.passages, start, key=lambda passage: passage.start) - 1
        if place < 0 or end > self.passages[place].end:
            return None
        return self.passages[place]

    def statements(self, passage: Passage) -> Iterator[tuple[int, int]]:
        """The whole sentences of a passage's paragraphs and items, without the marks of items."""
        for block in passage.blocks:
            if block.kind in ("code", "table", "heading") or self.is_boilerplate(block):
                continue
            start, end = max(block.start, passage.start), min(block.end, passage.end)
            if start < end:
                mark = _MARK.match(self.text, start, end)
                first = self._after_label(mark.end() if mark else start, end)
                for low, high in self.sentences(first, end):
                    # A list may have lost the ends of its lines: "- One.  - Two."
                    mark = _MARK.match(self.text, low, high)
                    low = mark.end() if mark else low
                    if _is_statement(self.text[low:high]):
                        yield low, high

    def _after_label(self, start: int, end: int) -> int:
        """Where the sentences begin after a word that says what they are: "Summary: "."""
        label = _LABEL.match(self.text, start, end)
        known = self.words.sets.get("labels", ()) if self.words is not None else ()
        return label.end() if label is not None and label[1].lower() in known else start

    def sentences(self, start: int, end: int) -> list[tuple[int, int]]:
        """The sentences of a stretch, as stretches without the blanks between them."""
        return list(_sentences(self.text, start, end, self.words))


@functools.lru_cache(16)
def written(title: str) -> re.Pattern[str]:
    """A title as a text may write it: in any case, with brackets in it and after it."""
    return re.compile(rf"(?i)(?<![\w-]){as_written(title)}(?![\w-]){_BRACKETS}")


def as_written(title: str) -> str:
    """An expression for a title with brackets between its words."""
    return f"{_BRACKETS} ".join(map(re.escape, title.split()))


def _hash(text: str) -> int:
    digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _is_statement(sentence: str) -> bool:
    """Whether a sentence is whole: it begins as one does, and ends with a full stop."""
    first = sentence.split(maxsplit=1)[0]
    begins = not first[0].islower() or not first.isalpha()
    return begins and sentence.rstrip("\"'”’»)").endswith((".", "。"))


def read_source(
    kept: KeptText, *, first: int, characters: int, shared: Shared | None = None
) -> Source:
    """A document of a corpus; its passages are numbered on from ``first``."""
    source = Source(
        kept.source, kept.id, kept.text, kept.family, kept.language, tuple(kept.blocks()),
        kept.splits, shared=shared or Shared(),
    )  # fmt: skip
    passages = tuple(_passages(source, first, characters))
    object.__setattr__(source, "passages", passages)
    return source


def _passages(source: Source, first: int, characters: int) -> Iterator[Passage]:
    number = first
    for section in source.sections:
        for blocks in _grouped(source, section.blocks, characters):
            for start, end in _cut(source, blocks[0].start, blocks[-1].end, characters):
                for low, high, split in _within_splits(source, start, end):
                    text = source.text[low:high]
                    if text.strip():
                        yield Passage(
                            number, low, high, text, section.headings, cast("Split", split),
                            blocks,
                        )  # fmt: skip
                        number += 1


def _grouped(
    source: Source, blocks: Sequence[Block], characters: int
) -> Iterator[tuple[Block, ...]]:
    """Blocks that make a passage together. What leads to a list, a table or code stays with it,
    as do the items of a list and the rows of a table."""
    group: list[Block] = []
    for block in blocks:
        if group and not _belongs(source, group, block, characters):
            yield tuple(group)
            group = []
        group.append(block)
    if group:
        yield tuple(group)


def _belongs(source: Source, group: list[Block], block: Block, characters: int) -> bool:
    before, length = group[-1], block.end - group[0].start
    if length > _LONGEST_BLOCK * characters:
        return False
    if block.kind in ("list", "table") and before.kind == block.kind:
        return True
    if before.end - before.start < characters and source.text[before.start : before.end].endswith(
        (":", "：")
    ):
        return True
    return length <= characters and ("table" not in (before.kind, block.kind))


def _cut(source: Source, start: int, end: int, characters: int) -> Iterator[tuple[int, int]]:
    """A stretch that is far too long, cut at sentences, lines or anywhere."""
    most = _LONGEST_BLOCK * characters
    if end - start <= most:
        yield start, end
        return
    low = start
    while low < end:
        high = min(low + characters, end)
        if high < end:
            cuts = [source.text.rfind(mark, low + 1, high) for mark in (". ", "\n", "。", " ")]
            cut = next((cut + 1 for cut in cuts if cut > low + characters // 2), high)
            high = cut
        yield low, high
        low = high


def _within_splits(source: Source, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    for low, high, split in source.splits:
        first, last = max(start, low), min(end, high)
        if first < last:
            yield first, last, split


def _sentences(
    text: str, start: int, end: int, words: Language | None
) -> Iterator[tuple[int, int]]:
    begin = start
    for found in _SENTENCE_END.finditer(text, start, end):
        if found.group()[0] == "." and not _ends_sentence(text, begin, found.start(), end, words):
            continue
        yield from _trimmed(text, begin, found.end())
        begin = found.end()
    yield from _trimmed(text, begin, end)


def _ends_sentence(text: str, begin: int, dot: int, end: int, words: Language | None) -> bool:
    """Whether a full stop ends a sentence, or an abbreviation, an initial, a number."""
    after = text[dot + 1 : min(dot + 40, end)].lstrip("\"'”’»)] ").lstrip()
    if after[:1].islower():
        return False
    word = text[max(begin, dot - 20) : dot].split()[-1:] or [""]
    last = word[0].lstrip("(\"'“‘«[")
    if len(last) == 1 and last.isalpha() and last.isupper():
        return False
    if "." in last and last.replace(".", "").isalpha() and len(last) <= 5:
        return False
    if last.isdigit() and begin == dot - len(last):
        return False  # the number of an item
    if words is None:
        return True
    if last.isdigit() and after.split(maxsplit=1)[:1] and len(last) <= _DAY:
        return after.split(maxsplit=1)[0].strip(",.").lower() not in words.lists.get("months", ())
    return last.lower() not in words.abbreviations


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end

"""Lists and tables: the items after the words that lead to them, steps in order, cells, and rows
and lines of names with values as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from linnet.data.blocks import Block
from linnet.examples.generator import Context, Generator, example
from linnet.examples.generators.sentences import ask_about
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example
from linnet.examples.source import Passage, Section, Source
from linnet.examples.subjects import quotable, without_number

_ITEM = re.compile(r"\s*(?:[-*+\u2022]|\d{1,4}[.)])\s+")
_NUMBERED = re.compile(r"\s*\d{1,4}[.)]\s+")
_PAIR = re.compile(
    r"(?P<name>[^\W\d_][\w ./()'’-]{0,40}?)\s*(?::|：|\t)\s*(?P<value>\S[^\n]{0,200})"
)
_ENDED = re.compile(r"[.!?]\d* [^\W\d_a-z]")  # a sentence before the one that leads
_VALUE = re.compile(r"^[\d.,%$€-]+$|[_(){}=<>]|\w\.\w")  # what no column is called
_CELL = " | "
_FEWEST, _MOST_ITEMS, _LONGEST_ITEM = 2, 15, 300
_LONGEST_LIST = 1500
_MOST_ROWS = 4  # of a table that are asked about


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    for section in source.sections:
        runs = [(kind, list(blocks)) for kind, blocks in groupby(section.blocks, lambda b: b.kind)]
        for place, (kind, blocks) in enumerate(runs):
            passage = source.passage_at(blocks[0].start, blocks[0].start + 1)
            if passage is None:
                continue
            if kind == "list":
                before = runs[place - 1][1][-1] if place else None
                yield from _list(source, section, passage, before, blocks, words, context)
            elif kind == "table":
                for table in _tables(source, blocks):
                    yield from _table(source, section, passage, table, words, context)
            elif kind == "paragraph":
                yield from _pairs(source, section, passage, blocks, words, context)


def _list(
    source: Source,
    section: Section,
    passage: Passage,
    before: Block | None,
    blocks: Sequence[Block],
    words: Language,
    context: Context,
) -> Iterator[Example]:
    items = [_ITEM.sub("", source.text[b.start : b.end], count=1).strip() for b in blocks]
    start, end = blocks[0].start, blocks[-1].end
    if all(map(source.is_boilerplate, blocks)):
        return
    if len(items) > _MOST_ITEMS or end - start > _LONGEST_LIST:
        return
    if any(len(item) > _LONGEST_ITEM or item.endswith(":") or not item for item in items):
        return
    heading = without_number(section.headings[-1]) if section.headings else ""
    facts = {"title": source.title, "heading": heading}
    key = (source.id, str(start))
    if not quotable(source.title):
        return
    numbered = all(_NUMBERED.match(source.text, block.start, block.end) for block in blocks)
    answer = "\n".join(line.strip() for line in source.text[start:end].splitlines() if line.strip())
    lead = _lead(source, before, start)
    if lead is None:
        if (
            numbered
            and len(items) >= _FEWEST
            and before is None
            and quotable(heading)
            and len(section.headings) > 1
        ):
            told = context.choose(words.template("steps"), *key).format(**facts)
            yield example(source, passage, "instruction", told, answer, (start, end))
        return
    low, sentence = lead
    first, second = (word.lower() for word in sentence.split()[:2])
    backward = first in words.sets["points_back"] and second in words.sets["not_within"]
    if backward or not quotable(sentence, longest=160):
        return
    asked = ask_about(source, passage, (low, blocks[0].start), words.leads, context)
    if asked is not None:
        yield example(source, passage, "question", asked.question, answer, (low, end))
    if len(items) < _FEWEST:
        return
    within = len(section.headings) > 1 and quotable(heading) and heading != source.title
    template = context.choose(words.template("list_section" if within else "list_document"), *key)
    told = template.format(lead=sentence, **facts)
    yield example(source, passage, "instruction", told, answer, (low, end))


def _lead(source: Source, before: Block | None, start: int) -> tuple[int, str] | None:
    """The sentence that leads to what begins at ``start``: with a colon, or without an end."""
    if before is None or start - before.end > 3 or before.kind != "paragraph":
        return None
    sentences = source.sentences(before.start, before.end)
    low, high = sentences[-1]
    text = " ".join(source.text[low:high].split())
    leads = text.endswith(":") or (text[-1].isalpha() and not _ENDED.search(text))
    return (low, text) if leads and len(text.split()) > 3 else None


def _tables(source: Source, blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Rows that stand one below the other with the same number of cells. What follows on a row of
    another number has no head of its own, and is left out."""
    table: list[Block] = []
    headed = True
    for block in blocks:
        if "\n" in source.text[block.start : block.end]:  # a whole table in one block
            continue
        apart = bool(table) and block.start - table[-1].end > 1
        if table and (apart or _width(source, table[-1]) != _width(source, block)):
            if headed:
                yield table
            table, headed = [], apart
        table.append(block)
    if table and headed:
        yield table


def _width(source: Source, row: Block) -> int:
    return source.text[row.start : row.end].count(_CELL)


def _table(
    source: Source,
    section: Section,
    passage: Passage,
    rows: Sequence[Block],
    words: Language,
    context: Context,
) -> Iterator[Example]:
    cells = [[cell.strip() for cell in source.text[b.start : b.end].split(_CELL)] for b in rows]
    head = cells[0]
    heading = without_number(section.headings[-1]) if section.headings else ""
    if heading == source.title or not quotable(heading) or not quotable(source.title):
        return  # the question would name it twice
    if len(rows) < 3 or len(head) < 2:
        return
    if not all(head) or len(set(head)) < len(head) or any(len(cell) > 60 for cell in head):
        return
    if any(_VALUE.search(cell) for cell in head):
        return
    keys = Counter(row[0] for row in cells[1:])
    facts = {"title": source.title, "heading": heading}
    order = list(range(1, len(rows)))
    context.random(source.id, str(rows[0].start)).shuffle(order)
    asked = 0
    for number in order:
        row, block = cells[number], rows[number]
        if asked == _MOST_ROWS:
            return
        if keys[row[0]] > 1 or not 0 < len(row[0]) <= 80 or not quotable(row[0]):
            continue
        key = (source.id, str(block.start))
        column = context.random(*key).randrange(1, len(row))
        where = source.passage_at(block.start, block.end) or passage
        quote = (block.start, block.end)
        if row[column] and row[column] not in ("-", "–", "—") and len(row[column]) <= 300:
            asked += 1
            question = context.choose(words.template("cell"), *key).format(
                column=head[column], key=f'"{row[0]}"', **facts
            )
            yield example(source, where, "question", question, row[column], quote)
        if all(row) and max(map(len, row)) <= 300:
            told = context.choose(words.template("row_json"), *key).format(
                key=f'"{row[0]}"', **facts
            )
            values = dict(zip(head, row, strict=True))
            yield example(
                source, where, "extraction", told, json.dumps(values, ensure_ascii=False), quote,
                schema=_schema(head),
            )  # fmt: skip


def _schema(names: Sequence[str]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


def _pairs(
    source: Source,
    section: Section,
    passage: Passage,
    blocks: Sequence[Block],
    words: Language,
    context: Context,
) -> Iterator[Example]:
    """Lines of names with values."""
    heading = without_number(section.headings[-1]) if section.headings else ""
    if not quotable(source.title) or not quotable(heading):
        return
    for block in blocks:
        lines = source.text[block.start : block.end].split("\n")
        found = [_PAIR.fullmatch(line.strip()) for line in lines]
        if len(lines) < 3 or len(lines) > _MOST_ITEMS or not all(found):
            continue
        values = {pair["name"]: pair["value"].strip() for pair in found if pair}
        if len(values) < len(lines) or any(len(name.split()) > 5 for name in values):
            continue
        told = context.choose(words.template("pairs_json"), source.id, str(block.start))
        told = told.format(title=source.title, heading=heading)
        yield example(
            source, passage, "extraction", told, json.dumps(values, ensure_ascii=False),
            (block.start, block.end), schema=_schema(list(values)),
        )  # fmt: skip


GENERATOR = Generator(
    "lists", ("question", "instruction", "extraction"), generate=generate, languages=CODES
)

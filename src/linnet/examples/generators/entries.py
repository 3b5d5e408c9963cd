"""Entries of reference documentation and glossaries: a name, and below it what it is.

A name is a signature (``os.path.join(path, *paths)``), a dotted name or, in a section that is a
glossary, a line of a few words. What stands below it, up to the next name, belongs to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from linnet.data.blocks import Block
from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example
from linnet.examples.source import Passage, Section, Source
from linnet.examples.subjects import in_context, quotable, without_number

_SIGNATURE = re.compile(
    r"(?:(?:class|exception|async|abstract|final|static|classmethod|staticmethod|coroutine|"
    r"awaitable|decorator|function|method|def|const|void|int|char|double|PyObject|struct|"
    r"Py_ssize_t|unsigned|long|size_t|FILE) \*{0,2})*"
    r"(?P<name>@?[A-Za-z_]\w*(?:(?:\.|::)[A-Za-z_]\w*)*)\(.*\)(?: ?(?:->|\u2192) ?.+)?"
)
_ATTRIBUTE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_LABEL = re.compile(r"\w+ \w+:")  # "Return value: ..."
_CLAUSE = re.compile(r"\w+ \w+ (?:may|must|is|are|can|cannot|should|will|has|have)\b")  # no noun
_ADDED = re.compile(r"New in version (\d+(?:\.\d+)*(?:[a-z]\d+)?)(?=[.:,]|$)")
_CHANGED = re.compile(r"Changed in version (\d+(?:\.\d+)*(?:[a-z]\d+)?): (?=\S)")
_DEPRECATED = re.compile(
    r"Deprecated (?:since version|in version)? ?(\d+(?:\.\d+)*(?:[a-z]\d+)?)(?=[.:,]|$)"
)
_LONGEST_SIGNATURE, _LONGEST_TERM = 300, 60
_SHORTEST_TEXT, _LONGEST_TEXT = 20, 500
_LONGEST_QUOTE = 900


@dataclass(frozen=True)
class Entry:
    """A name and the blocks that say what it is."""

    name: str
    head: Block
    blocks: tuple[Block, ...]
    is_code: bool


def is_signature(text: str) -> bool:
    """Whether a block is the head of an entry of reference documentation."""
    return len(text) <= _LONGEST_SIGNATURE and _SIGNATURE.fullmatch(text) is not None


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    entries = [entry for section in source.sections for entry in _entries(source, section, words)]
    times = Counter(entry.name for entry in entries)
    for entry in entries:
        if times[entry.name] > 1:
            continue
        passage = source.passage_at(entry.blocks[0].start, entry.blocks[0].start + 1)
        if passage is not None:
            made = _of_code if entry.is_code else _of_term
            yield from made(source, passage, entry, words, context)


def _entries(source: Source, section: Section, words: Language) -> Iterator[Entry]:
    title = without_number(section.headings[-1]).lower() if section.headings else ""
    glossary = title in words.lists.get("glossaries", ())
    heads = [
        (place, name, is_code)
        for place, block in enumerate(section.blocks)
        if block.kind == "paragraph"
        for name, is_code in (_name(source.text[block.start : block.end], glossary),)
        if name
    ]
    ends = [*(place for place, _, _ in heads[1:]), len(section.blocks)]
    for (place, name, is_code), after in zip(heads, ends, strict=False):
        if blocks := section.blocks[place + 1 : after]:
            yield Entry(name, section.blocks[place], blocks, is_code)


def _name(text: str, glossary: bool) -> tuple[str, bool]:
    if len(text) <= _LONGEST_SIGNATURE and (found := _SIGNATURE.fullmatch(text)):
        return f"{found['name']}()" if not text.startswith("exception") else found["name"], True
    if _ATTRIBUTE.fullmatch(text):
        return text, True
    short = len(text) <= _LONGEST_TERM and len(text.split()) <= 5
    if glossary and short and any(map(str.isalpha, text)) and not text.endswith((".", ":", ",")):
        return text, False
    return "", False


def _asked(
    source: Source, passage: Passage, entry: Entry, question: str, context: Context
) -> str | None:
    """A question about an entry; the title is named where the name alone is one of many."""
    name = entry.name
    if "." in name or "::" in name or (name[0].isupper() and len(name) > 8):
        return question
    return in_context(question, source, passage, context, (source.id, str(entry.head.start)))


def _of_code(
    source: Source, passage: Passage, entry: Entry, words: Language, context: Context
) -> Iterator[Example]:
    head = source.text[entry.head.start : entry.head.end]
    name = entry.name.removesuffix("()") if head.startswith("class ") else entry.name
    first = entry.blocks[0]
    key = (source.id, str(entry.head.start))
    sentences = source.sentences(first.start, first.end) if first.kind == "paragraph" else []
    if sentences and first.start - entry.head.end <= 3:
        start, end = sentences[0]
        sentence = " ".join(source.text[start:end].split())
        fits = _SHORTEST_TEXT <= len(sentence) <= _LONGEST_TEXT and sentence.endswith(".")
        does = (
            None
            if _LABEL.match(sentence) or sentence.startswith("Use ")
            else words.verb_first(sentence)
        )
        if fits and does is not None and not words.points_away(sentence):
            template = "entry_returns" if does == "returns" else "entry_does"
            question = context.choose(words.template(template), *key).format(name=name)
            quote = (entry.head.start, end)
            asked = _asked(source, passage, entry, question, context)
            if asked is not None:
                yield example(source, passage, "question", asked, sentence, quote)
            if asked == question:
                told = context.choose(words.template("entry_explain"), *key).format(name=name)
                yield example(source, passage, "instruction", told, sentence, quote)
        elif (
            fits
            and _ATTRIBUTE.fullmatch(head)
            and not words.points_away(sentence)
            and not _CLAUSE.match(sentence)
            and sentence.split()[0].lower() in words.sets["determiners"]
        ):
            question = context.choose(words.template("entry_is"), *key).format(name=name)
            quote = (entry.head.start, end)
            yield example(source, passage, "question", question, sentence, quote)
    if len(head) > len(name) + 4 and "(" in head and words.template("entry_signature"):
        question = context.choose(words.template("entry_signature"), *key).format(name=name)
        asked = _asked(source, passage, entry, question, context)
        if "..." not in head and asked is not None:
            yield example(
                source, passage, "question", asked, head, (entry.head.start, entry.head.end)
            )
    yield from _versions(source, passage, entry, name, words, context)


def _versions(
    source: Source, passage: Passage, entry: Entry, name: str, words: Language, context: Context
) -> Iterator[Example]:
    """In which version it was added, changed or deprecated."""
    changes = Counter(
        found[1] for block in entry.blocks
        if (found := _CHANGED.match(source.text[block.start : block.end]))
    )  # fmt: skip
    for block in entry.blocks:
        text = source.text[block.start : block.end]
        for template, pattern in (
            ("entry_added", _ADDED), ("entry_deprecated", _DEPRECATED), ("entry_changed", _CHANGED)
        ):  # fmt: skip
            found = pattern.match(text)
            if found is None or not words.template(template) or len(text) > _LONGEST_TEXT:
                continue
            answer = found[1]
            if pattern is _CHANGED:
                if changes[found[1]] > 1 or "\n" in text or not text.endswith("."):
                    continue
                answer = text[found.end() :]
            question = context.choose(words.template(template), source.id, str(block.start))
            question = question.format(name=name, version=found[1])
            asked = _asked(source, passage, entry, question, context)
            near = block.end - entry.head.start < _LONGEST_QUOTE
            if asked is not None and near:  # else the quote would not name what it is about
                yield example(
                    source, passage, "question", asked, answer, (entry.head.start, block.end)
                )


def _of_term(
    source: Source, passage: Passage, entry: Entry, words: Language, context: Context
) -> Iterator[Example]:
    first = entry.blocks[0]
    text = source.text[first.start : first.end]
    if first.kind != "paragraph" or not _SHORTEST_TEXT <= len(text) <= _LONGEST_TEXT:
        return
    if not text.endswith(".") or words.points_away(text) or not quotable(source.title):
        return
    template = context.choose(words.template("entry_term"), source.id, str(entry.head.start))
    question = template.format(name=entry.name, title=source.title)
    if quotable(entry.name):
        yield example(source, passage, "question", question, text, (entry.head.start, first.end))


GENERATOR = Generator("entries", ("question", "instruction"), generate=generate, languages=CODES)

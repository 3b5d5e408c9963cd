"""Pairs that the documents have as such: questions with answers below them, and what the head of a
mail says. (Questions that are headings are in :mod:`linnet.examples.generators.headings`.)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from linnet.data.blocks import Block
from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example
from linnet.examples.source import Source
from linnet.examples.subjects import quotable

_HEADER = re.compile(r"^(From|To|Date|Subject): *(\S[^\n]*)$", re.MULTILINE)
_MASKED = re.compile(r"\s*<<?[A-Z_]+>?>")
_LONGEST_ANSWER = 1500
_FEWEST_WORDS = 4
_ASKED = {"From": "mail_who", "Date": "mail_when", "To": "mail_to"}


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    if source.family == "mail":
        for block in source.blocks:
            if block.kind == "message":
                yield from _mail(source, block, words, context)
    marks = "|".join(map(re.escape, words.lists["question_marks"]))
    answers = "|".join(map(re.escape, words.lists["answer_marks"]))
    pair = re.compile(
        rf"^(?:{marks})[.:] *(?P<q>\S[^\n]*(?:\n(?!(?:{answers})[.:])[^\n]+)?)\n+"
        rf"(?:{answers})[.:] *(?P<a>\S[^\n]*(?:\n(?!(?:{marks})[.:])[^\n]+)*)",
        re.MULTILINE,
    )
    for found in pair.finditer(source.text):
        question = " ".join(found["q"].split())
        passage = source.passage_at(*found.span("a"))
        if passage is None or len(found["a"]) > _LONGEST_ANSWER or found["a"].endswith(":"):
            continue
        bare = {word.strip("?,.'’\"¿").lower() for word in question.split()}
        if len(question.split()) < _FEWEST_WORDS or bare & words.sets["points_back"] - _YOURS:
            continue
        answer = " ".join(found["a"].split())
        yield example(source, passage, "question", question, answer, found.span("a"))


_YOURS = frozenset({"your", "you", "there", "her", "his", "sie", "ihr", "ihre", "man", "on", "su"})


def _mail(source: Source, block: Block, words: Language, context: Context) -> Iterator[Example]:
    text = source.text[block.start : block.end]
    heads = {found[1]: found for found in _HEADER.finditer(text)}
    passage = source.passage_at(block.start, block.start + 1)
    subject = heads["Subject"][2].strip() if "Subject" in heads else ""
    if passage is None or not quotable(subject) or len(subject.split()) < 2:
        return
    values: dict[str, str] = {}
    for name, found in heads.items():
        value = _MASKED.sub("", found[2]).strip()
        if not value or "<" in value:
            continue
        values[name.lower()] = value
        if name in _ASKED:
            template = context.choose(words.template(_ASKED[name]), source.id, str(block.start))
            low = block.start + found.start(2)
            yield example(
                source, passage, "question", template.format(subject=subject), value,
                (low, low + len(value)),
            )  # fmt: skip
    if len(values) > 2 and not _MASKED.search(text):
        told = context.choose(words.template("mail_json"), source.id, str(block.start))
        yield example(
            source, passage, "extraction", told.format(subject=subject),
            json.dumps(values, ensure_ascii=False), (block.start, block.end),
            schema={
                "type": "object",
                "properties": {name: {"type": "string"} for name in values},
                "required": list(values),
                "additionalProperties": False,
            },
        )  # fmt: skip


GENERATOR = Generator("pairs", ("question", "extraction"), generate=generate, languages=CODES)

"""Examples made of the accepted questions of a document: two of them at once, and one that follows
on another."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example, Turn
from linnet.examples.source import Source
from linnet.examples.subjects import title_as_name

_MOST_EACH = 3  # of either kind, from one document
_LONGEST_ANSWER = 600
_USED = ("sentences", "entries", "abbreviations")


def derive(source: Source, accepted: Sequence[Example], context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    questions = [
        one for one in accepted
        if one.kind == "question" and one.generator in _USED and len(one.answer) <= _LONGEST_ANSWER
        and one.question.endswith("?")
    ]  # fmt: skip
    by_split = {
        split: [one for one in questions if one.split == split]
        for split in dict.fromkeys(one.split for one in questions)
    }
    for same in by_split.values():
        order = list(same)
        context.random(source.id, "combined").shuffle(order)
        pairs = list(zip(order[::2], order[1::2], strict=False))
        for first, second in pairs[:_MOST_EACH]:
            yield from _both(source, first, second, words, context)
        yield from _following(source, same, words, context)


def _both(
    source: Source, first: Example, second: Example, words: Language, context: Context
) -> Iterator[Example]:
    passage = source.passage_at(*_place(first))
    if passage is None or first.start == second.start:
        return
    template = context.choose(words.template("multi_part"), first.id, second.id)
    question = template.format(
        first=first.question,
        second=second.question,
        second_lower=second.question[0].lower() + second.question[1:],
    )
    yield example(
        source, passage, "multi_part", question, f"{first.answer}\n{second.answer}",
        _place(first), quotes=(_place(first), _place(second)),
    )  # fmt: skip


def _following(
    source: Source, questions: Sequence[Example], words: Language, context: Context
) -> Iterator[Example]:
    """A question about the title's subject, after another about it: it is called "it" then."""
    name = title_as_name(source)
    if name is None:
        return
    about = [one for one in questions if _names(one.question, name)]
    made = 0
    for first, second in itertools.pairwise(about):
        followed = _with_pronoun(second.question, name, words)
        passage = source.passage_at(*_place(second))
        if followed is None or passage is None or made == _MOST_EACH:
            continue
        made += 1
        template = context.choose(words.template("follow_up"), second.id)
        question = template.format(question=followed[0].lower() + followed[1:], Question=followed)
        yield example(
            source, passage, "follow_up", question, second.answer, _place(second),
            turns=(Turn(first.question, first.answer),),
        )  # fmt: skip


def _place(one: Example) -> tuple[int, int]:
    assert one.start is not None
    assert one.end is not None
    return one.start, one.end


def _names(question: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", question, re.IGNORECASE) is not None


def _with_pronoun(question: str, name: str, words: Language) -> str | None:
    """The question with a pronoun for the name; None where its form does not allow it."""
    for pattern, replaced in words.pronouns:
        match = re.fullmatch(pattern.replace("{s}", f"(?i:{re.escape(name)})"), question)
        if match is not None:
            return replaced.format(**match.groupdict())
    return None


GENERATOR = Generator("combined", ("multi_part", "follow_up"), derive=derive, languages=CODES)

"""What headings say: questions that are headings, what stands under one, which section says what,
and summaries of sections out of their own sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from linnet.examples.generator import Context, Generator, example
from linnet.examples.generators.entries import is_signature
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example
from linnet.examples.source import Section, Source
from linnet.examples.subjects import in_small, quotable, without_number
from linnet.retrieval import terms

_LONGEST_ANSWER = 2000  # characters of what stands under a heading that is a question
_LONGEST_QUOTE, _SHORTEST_QUOTE = 700, 60
_LONGEST_SUMMARIZED = 1200  # characters of a text whose lead sums it up
_LEAST_SENTENCES, _MOST_SENTENCES = 3, 4
_HELD = 0.9  # share of a text's frequent terms that its lead must have
_QUESTIONS = ("?", "？")


def generate(source: Source, context: Context) -> Iterator[Example]:
    if source.words is None:
        return
    titles = Counter(section.headings for section in source.sections)
    for section in source.sections:
        if section.heading is None:
            continue
        yield from _question(source, section, context)
        if titles[section.headings] == 1 and len(section.headings) > 1:
            yield from _under(source, section, context)
    for section in source.sections:
        yield from _summary(source, section, context)


def _question(source: Source, section: Section, context: Context) -> Iterator[Example]:
    """A heading that is a question is answered by what stands under it."""
    heading = without_number(section.headings[-1])
    if not heading.endswith(_QUESTIONS) or len(heading.split()) < 3 or not section.heading:
        return
    start, end = section.blocks[0].start, section.blocks[-1].end
    passage = source.passage_at(start, start + 1)
    if end - start > _LONGEST_ANSWER or passage is None or not _ends_well(source.text[:end]):
        return
    if any(block.kind == "table" for block in section.blocks):
        return
    words = source.words
    assert words is not None
    question: str | None = heading
    bare = [word.strip("?,.'’\"").lower() for word in heading.split()]
    if any(word in words.sets["points_back"] for word in bare):
        if quotable(source.title) and len(section.headings) > 1:
            name = words.template("context")
            question = context.choose(name, source.id, str(start)).format(
                title=source.title,
                question=in_small(heading),
                Question=heading,
                bare=heading.rstrip("? "),
            )
        else:
            question = None
    if question is not None:
        yield example(source, passage, "question", question, source.text[start:end], (start, end))


def _under(source: Source, section: Section, context: Context) -> Iterator[Example]:
    words, heading = source.words, without_number(section.headings[-1])
    assert words is not None
    assert section.heading is not None
    if not quotable(source.title) or not quotable(heading) or heading.endswith(_QUESTIONS):
        return
    if heading == source.title or len(heading.split()) > 12:
        return
    key = (source.id, str(section.heading.start))
    first = section.blocks[0]
    passage = source.passage_at(first.start, first.start + 1)
    if passage is None or first.kind != "paragraph":
        return
    facts = {"title": source.title, "heading": heading}
    sentences = source.sentences(first.start, first.end)
    start, end = sentences[0]
    sentence = " ".join(source.text[start:end].split())
    own = set(terms(heading, words.code))
    if (
        _SHORTEST_QUOTE <= len(sentence) <= 250
        and quotable(sentence, longest=250)
        and sentence.endswith(".")
        and source.text.count(source.text[start:end]) == 1
        and not own <= set(terms(sentence, words.code))
        and not _points_back(sentence, words)
    ):
        question = context.choose(words.template("which_section"), *key)
        yield example(
            source, passage, "question", question.format(sentence=sentence, **facts),
            section.headings[-1], (section.heading.start, end),
        )  # fmt: skip
    text = source.text[first.start : section.blocks[-1].end]
    if (
        _SHORTEST_QUOTE <= len(text) <= _LONGEST_QUOTE
        and all(block.kind in ("paragraph", "list") for block in section.blocks)
        and _ends_well(text)
        and not words.points_away(text)
        and not any(is_signature(source.text[b.start : b.end]) for b in section.blocks)
    ):
        told = context.choose(words.template("quote_section"), *key)
        yield example(
            source, passage, "instruction", told.format(**facts), text,
            (first.start, section.blocks[-1].end),
        )  # fmt: skip


def _ends_well(text: str) -> bool:
    return text.rstrip("\"'”’»)").endswith((".", "!", "?", "。"))


def _summary(source: Source, section: Section, context: Context) -> Iterator[Example]:
    """The first two sentences of a short text, where they hold most of what it speaks of."""
    words = source.words
    assert words is not None
    start, end = section.blocks[0].start, section.blocks[-1].end
    if end - start > _LONGEST_SUMMARIZED or not quotable(source.title):
        return
    if any(block.kind != "paragraph" for block in section.blocks):
        return
    if any(is_signature(source.text[block.start : block.end]) for block in section.blocks):
        return
    places = [
        place for block in section.blocks for place in source.sentences(block.start, block.end)
    ]
    texts = [source.text[slice(*place)] for place in places]
    if not _LEAST_SENTENCES <= len(places) <= _MOST_SENTENCES:
        return
    if not all(text.endswith((".", "\u3002")) and "\n" not in text for text in texts):
        return
    passage, lead = source.passage_at(places[0][0], places[0][0] + 1), texts[0]
    if passage is None or _points_back(lead, words) or words.points_back(lead):
        return
    if not 40 <= len(lead) <= 350 or len(texts[1]) > 350 or not _holds_most(texts, words):
        return
    named = {term for term in terms(lead, words.code) if len(term) > 3}
    if not named & set(terms(" ".join(section.headings), words.code)):
        return
    key = (source.id, str(places[0][0]))
    heading = without_number(section.headings[-1]) if section.headings else ""
    if len(section.headings) > 1 and quotable(heading) and heading != source.title:
        question = context.choose(words.template("summary_section"), *key).format(
            title=source.title, heading=heading
        )
    else:
        beginning = " ".join(lead.split()[:6]).rstrip(",;:.")
        if '"' in beginning:
            return
        question = context.choose(words.template("summary_passage"), *key).format(
            title=source.title, beginning=beginning
        )
    answer = " ".join(" ".join(source.text[slice(*place)].split()) for place in places[:2])
    yield example(
        source, passage, "summary", question, answer, places[0], quotes=places[:2]
    )  # fmt: skip


def _points_back(sentence: str, words: Language) -> bool:
    first = sentence.split(maxsplit=1)[0].strip(",").lower()
    return first in words.sets["points_back"] or first in words.sets["connectives"]


def _holds_most(texts: list[str], words: Language) -> bool:
    """Whether the first two sentences have most of the terms that more than one has."""
    found = [{term for term in terms(text, words.code) if len(term) > 3} for text in texts]
    times = Counter(term for one in found for term in one)
    frequent = {term for term, count in times.items() if count > 1}
    return len(frequent) > 1 and len(frequent & (found[0] | found[1])) >= _HELD * len(frequent)


GENERATOR = Generator(
    "headings", ("question", "instruction", "summary"), generate=generate, languages=CODES
)

"""General questions that have nothing to do with the documents.

They are put together from short lists in the language's file (capitals, books, dishes, household
matters), and each is checked against the corpus: no passage may have most of what its rare words
tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linnet.examples.generator import Context, Generator, identified
from linnet.examples.languages import CODES, Language, language_of
from linnet.examples.record import Example
from linnet.retrieval import terms

_SHARE = 20  # one for so many passages
_FEWEST = 5
_SPLITS = ("train",) * 8 + ("validation", "test")


def supply(context: Context, languages: Sequence[str]) -> Iterator[Example]:
    wanted = max(_FEWEST, len(context.index) // _SHARE)
    spoken = [words for code in languages if (words := language_of(code)) is not None]
    for words in spoken:
        made = 0
        for question in _questions(words, context):
            if made * len(spoken) >= wanted:
                break
            if _covered(question, words, context):
                continue
            made += 1
            random = context.random(question)
            yield identified(
                Example(
                    id="", kind="off_topic", question=question,
                    answer=context.choose(words.template("refusal"), question),
                    quote=None, source=None, start=None, end=None,
                    split=random.choice(_SPLITS),  # type: ignore[arg-type]
                    language=words.code,
                )
            )  # fmt: skip


def _questions(words: Language, context: Context) -> list[str]:
    """All that can be put together, in an order that depends on the seed."""
    found = list(words.lists.get("general", ()))
    for name, templates in words.general.items():
        for value in words.lists[name]:
            template = context.choose(templates, name, value)
            found.append(template.format(value))
    context.random("off topic", words.code).shuffle(found)
    return found


def _covered(question: str, words: Language, context: Context) -> bool:
    """Whether a passage has the two rarest words of a question, or most of them."""
    index = context.index
    asked = {term for term in terms(question, words.code) if len(term) > 2}
    rare = sorted(asked, key=lambda term: (-index.idf(term), term))[:3]
    if len(index.passages_with_all(rare[:2])):
        return True
    whole = sum(index.idf(term) for term in asked)
    for hit in index.search(question, 5, language=words.code):
        having = sum(index.idf(term) for term in asked if hit.number in index.passages_with(term))
        if having > 0.6 * whole:
            return True
    return False


GENERATOR = Generator("off topic", ("off_topic",), supply=supply, languages=CODES)

"""Questions that the documents do not answer, made of accepted ones that they do.

*Unanswerable*: the passage that answers is to be taken out of what may be cited; nothing else in
the corpus may answer. *Near miss*: one name of the question is changed to one with which
nothing like it stands anywhere in the corpus.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from linnet.examples.generator import Context, Generator, identified
from linnet.examples.languages import CODES, Language
from linnet.examples.record import Example, Kind
from linnet.examples.source import Source
from linnet.retrieval import terms

_OTHERS = 30  # passages besides its own that are looked at for another answer
_ANSWERED = 0.5  # share of what the answer's terms tell that must not stand in another passage
_MOST_EACH = 3
_WITHHELD = 0.5  # share of the questions that are tried
_ENDINGS = ("all", "async", "many", "raw", "safe", "once")
_USED = ("sentences", "entries", "abbreviations")
_NAME = re.compile(r"(?<![\w.])(?:[A-Z][a-z]{3,}|[A-Z]{2,}\d+|\w+\(\))(?!\w)")
_CODE_NUMBER = re.compile(r"(?<=[A-Z])\d+\Z")


def derive(source: Source, accepted: Sequence[Example], context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    questions = [one for one in accepted if one.kind == "question" and one.generator in _USED]
    withheld = [one for one in questions if context.random(one.id, "withheld").random() < _WITHHELD]
    only = (one for one in withheld if _only_there(one, source, context))
    for one in itertools.islice(only, _MOST_EACH):
        yield _refused(one, "unanswerable", one.question, words, context)
    made = 0
    for one in accepted:
        if made == _MOST_EACH:
            return
        if one.kind != "question" or one.generator not in _USED:
            continue
        changed = _other_name(one, source, words, context)
        if changed is not None:
            made += 1
            yield _refused(one, "near_miss", changed, words, context)


def _refused(one: Example, kind: Kind, question: str, words: Language, context: Context) -> Example:
    answer = context.choose(words.template("refusal"), one.id, kind)
    return identified(
        replace(
            one, kind=kind, question=question, answer=answer, quote=None, start=None, end=None,
            quotes=(),
        )  # type: ignore[arg-type]
    )  # fmt: skip


def _only_there(one: Example, source: Source, context: Context) -> bool:
    """Whether no other passage has what the answer says, as far as its terms tell."""
    assert one.passage is not None
    index = context.index
    own = source.passage_at(one.passage[0], one.passage[0] + 1)
    question = set(terms(one.question, one.language))
    telling = {term: index.idf(term) for term in set(terms(one.answer, one.language)) - question}
    whole = sum(telling.values())
    if own is None or not whole:
        return False
    query = f"{one.question} {one.answer}"
    hits = index.search(query, _OTHERS, language=one.language)
    found = {hit.number: 0.0 for hit in hits if hit.number != own.number}
    for term, weight in telling.items():
        having = set(index.passages_with(term).tolist()) if weight > 0 else set()
        for number in found.keys() & having:
            found[number] += weight
    return all(share < _ANSWERED * whole for share in found.values())


def _other_name(one: Example, source: Source, words: Language, context: Context) -> str | None:
    """A question about another name than one that the document writes as a name throughout."""
    asked = one.question
    for found in _NAME.finditer(asked):
        name = found[0]
        if found.start() == 0 or asked[: found.start()].count('"') % 2:
            continue  # the first word, or within a title
        if name.endswith("()"):
            other = f"{name[:-2]}_{context.choose(_ENDINGS, one.id)}()"
        elif digits := _CODE_NUMBER.search(name):
            number = int(digits[0]) + context.random(one.id).randint(3, 40)
            other = f"{name[: digits.start()]}{number}"
        elif not words.nouns_have_capitals and _is_name(name, source):
            other = context.choose(words.lists["surnames"], one.id)
        else:
            continue
        if not len(context.index.passages_with(terms(other, one.language)[0])):
            return f"{asked[: found.start()]}{other}{asked[found.end() :]}"
    return None


def _is_name(word: str, source: Source) -> bool:
    """Whether the documents write it with a capital throughout."""
    return bool(source.capital[word]) and not source.shared.lowercase[word.lower()]


GENERATOR = Generator("refusals", ("unanswerable", "near_miss"), derive=derive, languages=CODES)

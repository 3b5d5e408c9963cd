"""What a question leaves to the conversation before it, or a part of a question to the others.

Pronouns, and what goes on from an earlier question ("and in winter?"), are completed by rules on
words alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from linnet.answers.languages import Language
from linnet.answers.phrases import (
    ENDS,
    Titles,
    Word,
    bare,
    framed,
    has_any,
    is_interrogative,
    sentences_of,
    subject_of,
    words_of,
)

FRAGMENT = 6  # words of a question that goes on from the one before
_OBJECT = 4  # words after a possessive that belong to it

_NAME = re.compile(r"[^\W\d_a-zß-öø-ÿа-яё][\w'’-]+(?: (?:de|von|van|da|di|del|la|le|of|der) )?"
                   r"(?: ?[^\W\d_a-zß-öø-ÿа-яё][\w'’-]+)+")  # fmt: skip


@dataclass(frozen=True)
class Before:
    """What the conversation is about so far."""

    question: str = ""
    subject: str = ""
    answer: str = ""
    title: str = ""
    """Of the document that the question named."""
    owner: str = ""
    """The subject of the last question that did not go on from one before."""


def completed(parts: list[str], language: Language, titles: Titles | None) -> list[str]:
    """Parts that can each be understood alone."""
    found: list[str] = []
    before = Before()
    for place, part in enumerate(parts):
        only = _bare_interrogative(part, language)
        if only and place + 1 < len(parts) and not found:
            part = _instead(only, parts[place + 1], language)
        elif place:
            part = _complete(part, before, language, within=True)
        found.append(part)
        subject = subject_of(part, language, titles(part) if titles is not None else ())
        before = Before(part, subject or before.subject)
    return found


def completed_within(asked: str, before: Before, language: Language) -> str:
    """A complete question, with the document that an earlier one named."""
    alone = _complete(asked, before, language)
    depends = alone != _without_lead(asked, language)
    return _in_document(alone, before) if depends and not framed(alone)[1] else alone


def otherwise_within(asked: str, before: Before, language: Language) -> str:
    """The other reading of "and the rent?", which may ask for the rent of what the conversation is
    about; empty where there is none."""
    rest = _fragment(_without_lead(asked, language), language)
    said = _said(rest, language)
    words = words_of(said)
    if not words or not before.owner:
        return ""
    if words[0].key in language.prepositions or has_any(
        words, language.possessives | language.pronouns - language.articles
    ):
        return ""
    return _in_document(_of(before.owner, said, language), before)


def _in_document(alone: str, before: Before) -> str:
    if not before.title:
        return alone
    return f'In "{before.title}", {alone[:1].lower()}{alone[1:]}'


def _complete(
    asked: str, before: Before, language: Language, *, within: bool = False
) -> str:  # fmt: skip
    """A question that can be understood without the one before; ``within``: which is a part of the
    same, so that a noun with an article may be a new subject."""
    question = _without_lead(asked, language)
    if not before.question:
        return question
    elliptic = language.elliptic.match(question)
    rest = question[elliptic.end() :] if elliptic else question
    first = words_of(rest[:80])[:1]
    asks = is_interrogative(rest, language) or (first and first[0].key in language.auxiliaries)
    if bare := _bare_interrogative(rest, language):
        return _instead(bare, before.question, language)
    if said := _fragment(question, language):
        return _continued(said, before, language)
    if elliptic and asks:
        question = rest[:1].upper() + rest[1:]
    if not before.subject:
        return question
    return _with_subject(question, before, language, within=within)


def _fragment(question: str, language: Language) -> str:
    """What a question has that goes on from the one before, behind its "and" or "what about"; empty
    where it is a question of its own."""
    elliptic = language.elliptic.match(question)
    rest = question[elliptic.end() :] if elliptic else question
    words = words_of(rest)
    first = words_of(rest[:80])[:1]
    asks = is_interrogative(rest, language) or (first and first[0].key in language.auxiliaries)
    if not words or asks or len(words) > FRAGMENT or language.every.search(rest):
        return ""
    goes_on = elliptic or (
        question.endswith("?") and not has_any(words, language.auxiliaries)
    )  # fmt: skip
    return rest if goes_on else ""


def _without_lead(asked: str, language: Language) -> str:
    """Without what is said beside a question, before it in its sentence included."""
    said = list(sentences_of(asked))
    left = [each for each in said if not _introduces(each, language)]
    question = "".join(left if "".join(left).strip(ENDS) else said).strip().lstrip("¿¡ ")
    while (found := language.lead.match(question)) and found.end() < len(question):
        question = question[found.end() :]
    return question or asked


def _introduces(sentence: str, language: Language) -> bool:
    body = sentence.strip(ENDS)
    found = language.lead.match(body)
    rest = body[found.end() :] if found else body
    return any(language.introduction.fullmatch(each) for each in (body, rest) if each.strip(ENDS))


def _bare_interrogative(text: str, language: Language) -> str:
    """The question word of a question that has nothing else: "why?", "since when?"."""
    body = text.strip(ENDS)
    found = language.interrogative.match(body)
    return body if found and found.end() == len(body) else ""


def _instead(interrogative: str, question: str, language: Language) -> str:
    """A question with another question word."""
    body = question.strip(ENDS)
    found = language.interrogative.match(body)
    rest = body[found.end() :] if found else f" {body}"
    return f"{interrogative}{rest}?"


def _continued(rest: str, before: Before, language: Language) -> str:
    """A question that goes on from the one before: "and in Germany?", "and the treatment?"."""
    said = _said(rest, language)
    words = words_of(said)
    if not words:
        return rest
    asked = before.question.rstrip(ENDS)
    first = words[0].key
    if first in language.of and len(words) > 1 and first not in language.articles:
        said, words = said[words[1].start :], words[1:]
    elif first in language.prepositions:
        there = [word for word in words_of(asked) if word.key == first]
        if there:
            end = _phrase_end(asked, there[-1], language)
            return f"{asked[: there[-1].start]}{said}{asked[end:]}?"
        return f"{asked} {said}?"
    if not before.subject:
        return f"{asked} {said}?"
    if has_any(words, language.possessives | language.pronouns - language.articles):
        return _with_subject(f"{said}?", before, language)
    content = [word for word in words if word.key not in language.function]
    if content and all(word.key in language.aspects for word in content):
        return _of(before.subject, said, language)
    place = asked.casefold().rfind(before.subject.casefold())
    if place < 0 or len(asked.casefold()) != len(asked):
        return f"{asked} {said}?"
    head = asked[:place]
    if first in language.articles:  # in the place of the one that is there
        own = words_of(head)[-1:]
        if own and own[0].key in language.articles and not head[own[0].end :].strip():
            head = head[: own[0].start]
    return f"{head}{said}{asked[place + len(before.subject) :]}?"


def _said(rest: str, language: Language) -> str:
    """The words of a fragment, without a preposition of the verb's: "wie sieht es mit X aus?"."""
    said = rest.strip(ENDS)
    words = words_of(said)
    while len(words) > 1 and words[-1].key in language.prepositions:
        words = words[:-1]
        said = said[: words[-1].end]
    return said


def _of(whose: str, what: str, language: Language) -> str:
    return language.possessed.format(what=bare(what, language), whose=whose) + "?"


def _phrase_end(text: str, preposition: Word, language: Language) -> int:
    """Where the phrase ends that a preposition begins."""
    end = preposition.end
    for word in words_of(text):
        if word.start < preposition.end:
            continue
        between = text[end : word.start]
        if word.key in language.prepositions or "," in between:
            break
        end = word.end
    return end


def _with_subject(
    question: str, before: Before, language: Language, *, within: bool = False
) -> str:  # fmt: skip
    """A question with what its pronouns stand for; or with the subject that it lacks."""
    named = _named_again(question, before.subject, language, within=within)
    if named is not None:
        return named
    if language.inverted is not None and (found := language.inverted.search(question)):
        earlier = [word for word in words_of(question[: found.start()])
                   if word.key not in language.function]  # fmt: skip
        if not earlier and not language.impersonal.search(question):
            verb = f"{question[: found.start()]}{found['verb']}"
            return f"{verb} {before.subject}{question[found.end() :]}"
    words = words_of(question)
    impersonal = [found.span() for found in language.impersonal.finditer(question)]
    for place, word in enumerate(words):
        if any(start <= word.start < end for start, end in impersonal):
            continue
        subject = _meant(word, before, language)
        following = words[place + 1] if place + 1 < len(words) else None
        if word.key in language.possessives and _owns(word, following, language):
            return _possessive(question, words, place, subject, language)
        if word.key in language.pronouns and _stands_alone(words, place, language):
            return f"{question[: word.start]}{subject}{question[word.end :]}"
        if word.key in language.places and following is None:
            return f"{question[: word.start]}{language.inside} {subject}{question[word.end :]}"
    content = [word for word in words if word.key not in language.function]
    body = question.rstrip(ENDS)
    if content and all(word.key in language.aspects for word in content):
        said = language.possessed.format(what=body, whose=before.subject)
        return f"{said.removeprefix(language.possessed.partition('{')[0])}?"
    if language.verbless is not None and language.verbless.match(question):
        return f"{body} {before.subject}?"
    return question


def _named_again(
    question: str, subject: str, language: Language, *, within: bool
) -> str | None:  # fmt: skip
    """With the subject for "this disease", and with it behind "the disease", which may be another
    one."""
    words = words_of(question)
    for place, (one, other) in enumerate(pairwise(words)):
        if one.key not in language.demonstratives or other.key not in (
            language.classes | language.messages
        ):
            continue
        follows = words[place + 2].key if place + 2 < len(words) else ""
        if one.key not in language.articles:
            return f"{question[: one.start]}{subject}{question[other.end :]}"
        # "the city of Ulm" is named, and "the mail about the boiler"
        tells = language.of
        if other.key in language.messages:
            tells = tells | language.prepositions
        if not within and follows not in tells and other.key not in subject.casefold():
            return f"{question[: other.end]} {subject}{question[other.end :]}"
    return None


def _meant(word: Word, before: Before, language: Language) -> str:
    """What a pronoun stands for: a person may be in the answer alone."""
    if word.key in language.persons:
        asked = before.question.casefold()
        for found in _NAME.finditer(before.answer):
            if found[0].casefold() not in asked:
                return found[0].strip()
    return before.subject


def _owns(word: Word, following: Word | None, language: Language) -> bool:
    if following is None:
        return False
    if word.key not in language.pronouns:
        return True
    if following.key in language.function:
        return False
    return following.key in language.aspects or (
        language.nouns_capitalised and following.text[0].isupper()
    )


def _possessive(
    question: str, words: list[Word], place: int, subject: str, language: Language
) -> str:
    """With "the most common type of X" for "its most common type"."""
    last = place + 1
    while last + 1 < len(words) and last - place < _OBJECT:
        own, following = words[last], words[last + 1]
        both = last + 2 < len(words) and own.key in language.aspects and (
            following.key in language.conjunctions and words[last + 2].key in language.aspects
        )  # fmt: skip
        if both:
            last += 2
            break
        if own.key in language.aspects or (
            following.key in language.function and own.key not in language.function
        ):
            break
        last += 1
    what = question[words[place + 1].start : words[last].end]
    said = language.possessed.format(what=what, whose=subject)
    return question[: words[place].start] + said + question[words[last].end :]


def _stands_alone(words: list[Word], place: int, language: Language) -> bool:
    """Whether a word that may be a pronoun is one, and no article or conjunction."""
    word = words[place]
    if word.key not in language.demonstratives | language.articles | {"one", "ones"}:
        return True
    following = words[place + 1] if place + 1 < len(words) else None
    previous = words[place - 1] if place else None
    if previous is None or following is None:
        return True
    after = previous.key in language.function and previous.key not in language.articles
    ends = following.key in language.function or language.verb_last.match(following.text)
    return after and bool(ends) and not following.text[0].isupper()

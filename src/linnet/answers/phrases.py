"""The words of a question, and the part of it that names what it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from linnet.answers.languages import Language

_SUBJECT = 12  # words of a subject
_WORD = re.compile(r"[^\W_](?:[\w.'’/:+#@-]*[\w+#])?(?:\(\))?|[_][\w.]+")
_SENTENCE = re.compile(r"[^.!?？؟。！]*(?:[.!?](?!\s|$)[^.!?？؟。！]*)*[.!?？؟。！]*")
ENDS = " \t?!.,;:？؟。！¿¡"
_FRAME = re.compile(
    r"^\s*(?:and |und |et |y |и )?in [\"“„«](?P<title>[^\"”“»]{1,200})[\"”“»],\s+", re.IGNORECASE
)
_ABOUT = re.compile(
    r",?\s+according to [\"“](?P<title>[^\"”]{1,200})[\"”]|"
    r"^\s*according to [\"“](?P<other>[^\"”]{1,200})[\"”],\s+",
    re.IGNORECASE,
)
_TITLES = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "hr", "fr", "frl", "mme", "mlle", "sr", "sra", "srta",
    "dra", "vs", "nr", "bzw", "ca",
))  # fmt: skip
"""Abbreviations that a name or a number follows."""

Titles = Callable[[str], Sequence[str]]
"""The titles and headings of the passages that a question finds."""


@dataclass(frozen=True)
class Word:
    """A word, and where it stands."""

    text: str
    start: int
    end: int

    @property
    def key(self) -> str:
        """By which it is looked up."""
        return self.text.casefold().replace("’", "'")


def framed(question: str) -> tuple[str, str]:
    """A question, and the title of the document that it names: "according to ...", "In ..., "."""
    for form in (_FRAME, _ABOUT):
        if found := form.search(question):
            return form.sub("", question), next(filter(None, found.groups()))
    return question, ""


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a text; none ends at "Mr." before a name."""
    begun = ""
    for sentence in _SENTENCE.findall(text):
        begun += sentence
        last = begun.rpartition(" ")[2]
        if last.endswith(".") and last[:-1].casefold() in _TITLES:
            continue
        yield begun
        begun = ""
    if begun:
        yield begun


def subject_of(question: str, language: Language, titles: Sequence[str] = ()) -> str:
    """The part of a question that names what it is about; empty where it cannot be told."""
    body = _ABOUT.sub("", question).strip(ENDS)
    if named := _titled(body, titles):
        return named
    framed = _FRAME.match(body)
    body = body[framed.end() :] if framed else body
    words = words_of(body)
    found = (language.interrogative.match(body) or language.every.match(body)
             or language.interrogative.search(body))  # fmt: skip
    begin = sum(word.start < found.end() for word in words) if found else 0
    auxiliary = next((at for at in range(begin, min(begin + 4, len(words)))
                      if words[at].key in language.auxiliaries), None)  # fmt: skip
    verb_last = auxiliary is not None and words[auxiliary].key in language.verb_after
    if auxiliary is not None:
        begin = auxiliary + 1
    elif found and begin + 1 < len(words) and _is_verb(words[begin], words[begin + 1], language):
        begin += 1  # "who founded X"
    rest = _phrase(words[begin:], language, verb_last)
    if not rest:
        return ""
    return body[rest[0].start : rest[-1].end]


def _is_verb(word: Word, following: Word, language: Language) -> bool:
    if word.key in language.function:
        return False
    if language.verb_last.match(word.text) or following.key in language.articles:
        return True
    return bool(language.articles) and not (word.text[0].isupper() or following.text[0].islower())


def _phrase(words: list[Word], language: Language, verb_last: bool) -> list[Word]:
    """Of the words after the verb those that name the subject."""
    for place in range(len(words) - 1, 0, -1):
        owned = words[place].key in language.of and place + 1 < len(words)
        if owned and words[place - 1].key in language.aspects:
            words = words[place + 1 :]
            break
    words = _after_verb(words, language)
    while words and ((words[0].key in language.aspects and not language.of)
                     or (words[0].key in language.function
                     and words[0].key not in language.pronouns - language.articles)):  # fmt: skip
        words = words[1:]
    words = _after_verb(words, language)
    if words and words[0].key in language.pronouns:
        return []
    general = (
        language.classes | language.messages | language.articles
    )  # "the mail" alone names none
    end = next((at for at in range(1, len(words)) if words[at].key in language.prepositions
                and words[at].key not in language.of
                and not all(word.key in general for word in words[:at])), len(words))  # fmt: skip
    words = words[:end]
    if len(words) > 1 and words[-1].text[0].islower() and (
        verb_last or language.verb_last.match(words[-1].text)
    ):  # fmt: skip
        words = words[:-1]
    while words and (words[-1].key in language.function or words[-1].key in language.of):
        words = words[:-1]
    if all(word.key in language.function | language.aspects for word in words):
        return []
    return words[:_SUBJECT]


def _after_verb(words: list[Word], language: Language) -> list[Word]:
    """Without the verb before an article: "se presentó el X"."""
    if len(words) > 2 and words[0].text.islower() and words[1].key in language.articles:
        return words[1:]
    return words


def _titled(body: str, titles: Sequence[str]) -> str:
    """The longest stretch of a question that is a title."""
    words, best = words_of(body), ""
    keys = [_singular(word.key) for word in words]
    for title in titles:
        wanted = [_singular(word.key) for word in words_of(title)]
        if not wanted or len(wanted) > _SUBJECT:
            continue
        for place in range(len(keys) - len(wanted) + 1):
            if keys[place : place + len(wanted)] == wanted:
                found = body[words[place].start : words[place + len(wanted) - 1].end]
                best = max(best, found, key=len)
                break
    return best


def _singular(word: str) -> str:
    return word.removesuffix("'s").removesuffix("s")


def bare(text: str, language: Language) -> str:
    """A phrase without the article before it."""
    words = words_of(text)
    while len(words) > 1 and words[0].key in language.articles:
        words = words[1:]
    return text[words[0].start :].strip(ENDS) if words else ""


def is_interrogative(text: str, language: Language) -> bool:
    """Whether a text begins with "what", "how many", and the like."""
    return language.interrogative.match(text.lstrip("¿¡ \"'“„«")) is not None


def has_any(words: Sequence[Word], keys: frozenset[str]) -> bool:
    """Whether one of the words is among the keys."""
    return any(word.key in keys for word in words)


def words_of(text: str) -> list[Word]:
    """The words of a text, names of functions and versions whole."""
    return [Word(found[0], found.start(), found.end()) for found in _WORD.finditer(text)]

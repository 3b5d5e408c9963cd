"""Which words at the head of a sentence may be asked about, and how a question names them.

A question must be understood on its own. A subject that points back ("this", "it") is refused, or
is replaced by the title where it can only mean that ("this condition"); one that tells nothing of
what it belongs to ("the prognosis") is asked about with the title named.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from linnet.examples.languages import language_of
from linnet.examples.source import as_written
from linnet.retrieval import terms

if TYPE_CHECKING:
    from linnet.examples.generator import Context
    from linnet.examples.languages import Language
    from linnet.examples.source import Passage, Source

TITLE = "\u02ee"
"""Stands in a sentence for the title of its document, whatever words that has."""

_BRACKET = re.compile(r" \([^()]*\)")
_MOST_WORDS = 8
_MOST_TITLE_WORDS = 12
_LONGEST_TITLE = 80
_LONGEST_NAME = 110
_FEWEST_INITIALS = 3  # fewer stand for too many things
_ROMAN = frozenset(["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"])
_TITLE_PART = re.compile(r"\s+[\u2014\u2013-]\s+.*$")
_NUMBERED = re.compile(r"^(?:\d+(?:\.\d+)*\.?|[A-Z]\.)\s+")


@dataclass(frozen=True)
class Subject:
    """``text`` as it stands within a question; ``tells``: whether it names what is meant;
    ``decided``: whether it is the noun of the sentence itself, not the title in its place;
    ``is_title``: whether it is what its document is about."""

    text: str
    tells: bool
    decided: bool = True
    is_title: bool = False


@dataclass(frozen=True)
class Titled:
    """A sentence with the mark ``TITLE`` where it names its document's title, and the name that
    it has for it within a sentence; empty where it names it nowhere."""

    text: str
    name: str = ""

    def restored(self, text: str) -> str:
        """A stretch of it with the name again."""
        return text.replace(TITLE, self.name)


def titled(sentence: str, source: Source) -> Titled:
    """Mark the title in a sentence: as it is written, or as its initials."""
    language, title = source.words, title_as_name(source)
    if language is None or title is None:
        return Titled(sentence)
    names = _names_of(title, language.code, tuple(source.shared.short_of(title)))
    found = names.search(sentence)
    if found is None:
        return Titled(sentence)
    if found["title"] is None:
        elsewhere = re.search(rf"(?i)(?<=[^\W\d_] ){re.escape(title)}(?!\w)", source.text)
        name = title if elsewhere is None else elsewhere[0]
    else:
        own = _BRACKET.sub("", found[0])
        name = own if found.start() else within_sentence(own, source)
    return Titled(names.sub(TITLE, sentence), name)


@functools.lru_cache(16)
def _names_of(title: str, code: str, short: tuple[str, ...]) -> re.Pattern[str]:
    """What names a title: itself in any case, what the documents write for short, and its initials
    where they are enough."""
    language = language_of(code)
    assert language is not None
    other = title[:-1] if title.endswith("s") else f"{title}s"
    own = "|".join(as_written(one) for one in (title, other))
    names = [rf"(?P<title>(?i:{own}))", *map(re.escape, short)]
    parts = [
        part
        for part in re.findall(r"[^\s,()/–-]+", title)
        if part.lower() not in language.sets["prepositions"] | language.sets["conjunctions"]
        and part.lower() not in language.sets["determiners"]
    ]
    initials = "".join(part[0].upper() for part in parts)
    if initials.isalpha() and len(initials) >= _FEWEST_INITIALS:
        names.append(initials)
    if initials.isalpha() and len(initials) > _FEWEST_INITIALS:  # "TAR syndrome"
        names.append(rf"{initials[:-1]} {re.escape(parts[-1])}")
    return re.compile(rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])")


def subject_of(
    words: str, source: Source, passage: Passage, sentence: Titled | None = None
) -> Subject | None:
    """The subject of a sentence, None where it is not fit for a question. ``sentence``: with its
    title marked, as ``words`` then are."""
    language = source.words
    assert language is not None
    before = language.cases.match(words) if language.cases is not None else None
    if before is not None:
        of = subject_of(words[before.end() :], source, passage, sentence)
        if of is None or not of.tells:
            return None
        return replace(of, text=f"{before[0][0].lower()}{before[0][1:]}{of.text}")
    words = _BRACKET.sub("", words).strip()
    if sentence is not None:
        article, _, bare = words.rpartition(" ")
        if bare == TITLE and (not article or article.lower() in language.sets["determiners"]):
            return Subject(f"{article.lower()} {sentence.name}".lstrip(), True, is_title=True)
        words = sentence.restored(words)
    parts = words.split()
    lower = [part.lower() for part in parts]
    if any(one == other for one, other in pairwise(lower)):
        return None  # "X-linked" before a short form for "X-linked ..."
    if not parts or len(parts) > _MOST_WORDS or set(lower) <= language.sets["determiners"]:
        return None
    if (title := _stands_for_title(lower, source, passage, language)) is not None:
        return Subject(title, True, decided=False)
    if lower[0] in language.sets["not_first"]:
        return None
    if any(word in language.sets["not_within"] or word in language.verbs for word in lower):
        return None
    if language.adverb and any(word.endswith(language.adverb) for word in lower):
        return None
    if not parts[-1][-1].isalnum() and parts[-1][-1] not in ")'":
        return None
    if lower[-1] in language.sets["conjunctions"] or _has_verb(lower, language):
        return None
    tells = _is_title(words, source, language) or _tells(parts, source, language)
    if not (tells or _is_of_title(lower, language)) or language.points_back(words):
        return None
    return Subject(within_sentence(words, source), tells)


def _is_title(words: str, source: Source, language: Language) -> bool:
    """Whether it is the title, in the singular or the plural, with or without an article."""
    parts = words.lower().split()
    if parts[0] in language.sets["determiners"]:
        parts = parts[1:]
    return bool(parts) and terms(" ".join(parts), language.code) == terms(
        source.title, language.code
    )


def _has_verb(lower: list[str], language: Language) -> bool:
    """Whether it begins with a verb ("compares lines and"), so that it is no subject."""
    return len(lower) > 1 and language.verb_first(" ".join(lower)) is not None


def _is_of_title(lower: list[str], language: Language) -> bool:
    """Whether words that do not tell what they belong to may be asked about with the title named.
    "The prognosis" may; "the string" is one that was spoken of before."""
    of_title = language.sets["of_title"]
    if not of_title:
        return True
    if lower[0] in language.sets["determiners"]:
        return lower[0] == "the" and len(lower) < 4 and lower[-1] in of_title
    return any(word not in language.sets["vague"] for word in lower) or lower[-1] in of_title


def _stands_for_title(
    lower: list[str], source: Source, passage: Passage, language: Language
) -> str | None:
    """The title for "this condition" and its like, but for what stands in a section of its own."""
    if len(lower) != 2 or lower[0] not in language.sets["this"] or len(passage.headings) > 1:
        return None
    if lower[1] not in language.sets["stands_for_title"]:
        return None
    name = title_as_name(source)
    if name is None or lower[1] not in language.sets["as_noun"]:
        return name
    return f"{lower[0].replace('this', 'the')} {name} {lower[1]}" if " " not in name else None


def title_as_name(source: Source) -> str | None:
    """The title, where it is a name that may stand in a sentence."""
    language = source.words
    title = _TITLE_PART.sub("", _NUMBERED.sub("", source.title))
    parts = title.split()
    if not parts or len(parts) > _MOST_TITLE_WORDS or len(title) > _LONGEST_NAME:
        return None
    if language is None or any(mark in title for mark in '?!:;"“”'):
        return None
    if any(part.lower() in language.sets["not_within"] and part not in _ROMAN for part in parts):
        return None
    return title


def within_sentence(words: str, source: Source) -> str:
    """Words from the head of a sentence as they are written within one: the first in lower case,
    unless it is a name. Whether it is one shows in how the documents write it elsewhere."""
    language = source.words
    if language is not None and words[:2].lower() in language.sets["determiners"]:
        return words[0].lower() + words[1:]  # "L’hôpital"
    first = re.match(r"[\w'’]+", words)
    if first is None or not first[0][0].isupper() or first[0][1:] != first[0][1:].lower():
        return words
    lower = first[0].lower()
    if language is None or (len(first[0]) == 1 and lower not in language.sets["determiners"]):
        return words
    if lower not in language.sets["determiners"]:
        if re.match(r"-[A-ZÀ-Þ]", words[first.end() :]):
            return words  # "Andersen-Tawil"
        if source.title.startswith(words) and _as_in_a_sentence(source.title):
            return words
        as_name, as_word = source.capital[first[0]], source.small[lower]
        if (
            language.nouns_have_capitals
            or as_name > as_word
            or lower not in source.shared.lowercase
        ):
            return words
    return lower + words[len(lower) :]


def _as_in_a_sentence(title: str) -> bool:
    """Whether a title has small words where one in title case would have capitals."""
    return any(word[0].islower() for word in title.split()[1:] if len(word) > 4)


def looks_plural(words: str, language: Language) -> bool:
    """Whether the noun that leads a subject is in the plural, by its form."""
    head = ""
    for part in _BRACKET.sub("", words).split():
        if part.lower() in language.sets["prepositions"] and head:
            break
        head = part.lower()
    if head in language.sets["plural_not_s"]:
        return True
    return head.endswith("s") and not head.endswith(tuple(language.sets["singular_s"]))


def _tells(parts: list[str], source: Source, language: Language) -> bool:
    """Whether a name, a code or a word of the title is in it."""
    title = {part.lower() for part in re.findall(r"\w{4,}", source.title)}
    vague = language.sets["vague"]
    head = parts[-1].strip("().,'’").lower()
    if parts[0].lower() in language.sets["determiners"] and len(parts) < 4 and head in vague:
        return False
    for number, part in enumerate(parts):
        bare = part.strip("().,'’")
        lower = bare.lower()
        if lower in title and lower not in vague and source.shared.is_rare(lower):
            return True
        numbered = number and bare[:1].isdigit() and parts[number - 1].lower() in vague  # "type 2"
        if not numbered and any(character.isdigit() or character in "_./@" for character in bare):
            return True
        if number and bare[:1].isupper() and not language.nouns_have_capitals:
            return True
        if len(bare) > 1 and any(character.isupper() for character in bare[1:]):
            return True
    return False


def in_context(
    question: str, source: Source, passage: Passage, context: Context, key: tuple[str, ...]
) -> str | None:
    """A question with the title of its document named; None where it has none."""
    language = source.words
    if language is None or not quotable(source.title):
        return None
    heading = passage.headings[-1] if len(passage.headings) > 1 else ""
    name = "in_section" if heading and heading != source.title and quotable(heading) else "context"
    template = context.choose(language.template(name), *key, name)
    return template.format(
        title=source.title,
        heading=_NUMBERED.sub("", heading),
        Question=question,
        question=in_small(question),
        bare=question.rstrip("? \u00a0\u202f"),
    )


def in_small(question: str) -> str:
    """A question that goes on a sentence: in lower case, after the mark that may open it."""
    mark = "¿" if question.startswith("¿") else ""
    rest = question[len(mark) :]
    return f"{mark}{rest[0].lower()}{rest[1:]}"


def quotable(text: str, *, longest: int = _LONGEST_TITLE) -> bool:
    """Whether a title, a heading or a sentence may stand between quotation marks in a question."""
    return bool(text) and len(text) <= longest and not any(mark in text for mark in '"“”\n')


def without_number(heading: str) -> str:
    """A heading without the number that it may begin with."""
    return _NUMBERED.sub("", heading)

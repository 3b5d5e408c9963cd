"""Which words at the head of a sentence may be asked about, and how a question names them.

A question must be understood on its own. A subject that points back ("this", "it") is refused, or
is replaced by the title where it can only mean that ("this condition"); one that tells nothing of
what it belongs to ("the prognosis") is asked about with the title named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.examples.generator import Context
    from linnet.examples.languages import Language
    from linnet.examples.source import Passage, Source

_BRACKET = re.compile(r" \([^()]*\)")
_MOST_WORDS = 8
_LONGEST_TITLE = 80
_TITLE_PART = re.compile(r"\s+[\u2014\u2013-]\s+.*$")
_NUMBERED = re.compile(r"^(?:\d+(?:\.\d+)*\.?|[A-Z]\.)\s+")


@dataclass(frozen=True)
class Subject:
    """``text`` as it stands within a question; ``tells``: whether it names what is meant;
    ``decided``: whether it is the noun of the sentence itself, not the title in its place."""

    text: str
    tells: bool
    decided: bool = True


def subject_of(words: str, source: Source, passage: Passage) -> Subject | None:
    """The subject of a sentence, None where it is not fit for a question."""
    language = source.words
    assert language is not None
    words = _BRACKET.sub("", words).strip()
    parts = words.split()
    lower = [part.lower() for part in parts]
    if not parts or len(parts) > _MOST_WORDS:
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
    tells = words.lower() == source.title.lower() or _tells(parts, source, language)
    if not (tells or _is_of_title(lower, language)) or language.points_back(words):
        return None
    return Subject(within_sentence(words, source), tells)


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
    if not parts or len(parts) > _MOST_WORDS or len(title) > _LONGEST_TITLE or language is None:
        return None
    if any(mark in title for mark in '?!:;"“”'):
        return None
    if any(part.lower() in language.sets["not_within"] for part in parts):
        return None
    return title


def within_sentence(words: str, source: Source) -> str:
    """Words from the head of a sentence as they are written within one: the first in lower case,
    unless it is a name. Whether it is one shows in how the documents write it elsewhere."""
    first = re.match(r"[\w'’]+", words)
    if first is None or not first[0][0].isupper() or first[0][1:] != first[0][1:].lower():
        return words
    lower, language = first[0].lower(), source.words
    if language is None or (len(first[0]) == 1 and lower not in language.sets["determiners"]):
        return words
    if lower not in language.sets["determiners"]:
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
        if any(character.isdigit() or character in "_./@" for character in bare):
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
        question=_small(question),
        bare=question.rstrip("? \u00a0\u202f"),
    )


def _small(question: str) -> str:
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

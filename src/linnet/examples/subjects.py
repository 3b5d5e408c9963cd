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
    """``text`` as it stands within a question; ``tells``: whether it names what is meant."""

    text: str
    tells: bool


def subject_of(words: str, source: Source) -> Subject | None:
    """The subject of a sentence, None where it is not fit for a question."""
    language = source.words
    assert language is not None
    words = _BRACKET.sub("", words).strip()
    parts = words.split()
    lower = [part.lower() for part in parts]
    if not parts or len(parts) > _MOST_WORDS:
        return None
    if (title := _stands_for_title(lower, source, language)) is not None:
        return Subject(title, True)
    if lower[0] in language.sets["not_first"] or lower[0].endswith("ly"):
        return None
    if any(word in language.sets["not_within"] for word in lower):
        return None
    if not parts[-1][-1].isalnum() and parts[-1][-1] not in ")'":
        return None
    return Subject(within_sentence(words, source), _tells(parts, source, language))


def _stands_for_title(lower: list[str], source: Source, language: Language) -> str | None:
    if len(lower) != 2 or lower[0] not in ("this", "the"):
        return None
    if lower[1] not in language.sets["stands_for_title"]:
        return None
    name = title_as_name(source)
    if name is None:
        return None
    return f"the {lower[1]} {name}" if lower[1] in language.sets["as_noun"] else name


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
    """Words from the head of a sentence as they are written within one."""
    first = re.match(r"[\w'’-]+", words)
    if first is None or not first[0][0].isupper() or first[0][1:] != first[0][1:].lower():
        return words
    lower = first[0].lower()
    language = source.words
    known = language is not None and lower in language.sets["determiners"]
    if not known and source.language == "de":
        return words
    if known or re.search(rf"(?<![\w.!?] )(?<=[a-z,;] ){re.escape(lower)}\b", source.text):
        return lower + words[len(lower) :]
    return words


def _tells(parts: list[str], source: Source, language: Language) -> bool:
    """Whether a name, a code or a word of the title is in it."""
    title = {part.lower() for part in re.findall(r"\w{4,}", source.title)}
    vague = language.sets["vague"]
    for number, part in enumerate(parts):
        bare = part.strip("().,'’")
        lower = bare.lower()
        if lower in title and lower not in vague:
            return True
        if any(character.isdigit() or character in "_./@" for character in bare):
            return True
        if number and bare[:1].isupper():
            return True
        if len(bare) > 1 and any(character.isupper() for character in bare[1:]):
            return True
    return False


def in_context(
    question: str, source: Source, passage: Passage, context: Context, key: tuple[str, ...]
) -> str | None:
    """A question with the title of its document named; None where it has none."""
    language = source.words
    if language is None or not source.title or len(source.title) > _LONGEST_TITLE:
        return None
    if '"' in source.title:
        return None
    heading = passage.headings[-1] if len(passage.headings) > 1 else ""
    name = "in_section" if heading and heading != source.title and '"' not in heading else "context"
    template = context.choose(language.template(name), *key, name)
    asked = question[0].lower() + question[1:]
    return template.format(title=source.title, heading=_NUMBERED.sub("", heading), question=asked)

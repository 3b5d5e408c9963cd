"""Questions that a sentence answers by its form: "X is a ...", "X is caused by ...".

The forms are the patterns of a language's file; the answer is the whole sentence, or one of its
groups, so that it is right and complete by construction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES, Language, Pattern
from linnet.examples.record import Example
from linnet.examples.source import Passage, Source
from linnet.examples.subjects import (
    Subject,
    Titled,
    in_context,
    looks_plural,
    subject_of,
    titled,
)

_BEFORE = 200  # characters in which the title must stand for "this condition" to mean it
_FOLLOWING = 300  # characters that may say more of the same
_LONGEST = 400  # characters of a sentence that is read
_LABEL = 16  # characters that may stand before the first sentence: "Summary: "
_BE = ("is", "are", "was", "were", "ist", "sind", "est", "sont", "es", "son")
_DEFINED = 5  # words with which "a disease ..." says enough
_BACK = re.compile(r"\b(?:above|below|following|previous|preceding)\b", re.IGNORECASE)


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    for passage in source.passages:
        for start, end in source.statements(passage):
            if end - start > _LONGEST:
                continue
            asked = ask_about(source, passage, (start, end), words.patterns, context)
            if asked is None:
                continue
            yield example(source, passage, "question", asked.question, asked.answer, (start, end))
            if asked.instruction:
                yield example(
                    source, passage, "instruction", asked.instruction, asked.answer, (start, end)
                )


@dataclass(frozen=True)
class Asked:
    """A question that a sentence answers, and the instruction that it follows; the instruction is
    empty where it has none, or where it would not name its subject."""

    question: str
    answer: str
    instruction: str


def ask_about(
    source: Source,
    passage: Passage,
    place: tuple[int, int],
    patterns: Sequence[Pattern],
    context: Context,
) -> Asked | None:
    """What a sentence answers by its form; None where it has none of these forms."""
    words = source.words
    assert words is not None
    sentence = " ".join(source.text[slice(*place)].split())
    marked = titled(sentence, source)
    text = marked.text.rstrip(".! ")
    following = source.text[place[1] : place[1] + _FOLLOWING]
    if patterns is words.leads:
        text = f"{text.rstrip(': ')}:"
    for pattern in patterns:
        if pattern.sign is not None and not pattern.sign.search(text):
            continue
        found = pattern.match.fullmatch(text)
        if found is None or not _fits(pattern, found, words, following):
            continue
        subject = subject_of(found["s"], source, passage, marked)
        if subject is None or not _suits(pattern, subject, marked.restored(found["s"]), words):
            continue
        if pattern.of_title and not (subject.is_title and _comes_first(source, place[0])):
            continue
        named = subject.is_title or not subject.decided
        rest = text.replace(found["s"], "", 1)
        if patterns is not words.leads and words.points_back(rest, named=named):
            continue
        if not subject.decided and (pattern.partial or not _title_before(source, place[0])):
            continue
        if pattern.partial and _says_more(source, place, found, marked, words):
            continue
        groups = _groups(found, subject, marked, words)
        key = (source.id, str(place[0]), pattern.name)
        question: str | None = context.choose(_fitting(pattern.ask, subject), *key).format(**groups)
        told = ""
        if not subject.tells:
            question = in_context(question or "", source, passage, context, key)
        elif pattern.instruct:
            told = context.choose(_fitting(pattern.instruct, subject), *key).format(**groups)
        if question is None:
            continue
        answer = marked.restored(found[pattern.answer]) if pattern.answer else sentence
        return Asked(question, answer, told)
    return None


def _fitting(templates: tuple[str, ...], subject: Subject) -> tuple[str, ...]:
    """Those that ask for no "the nutrients" where nothing says which."""
    return (
        tuple(
            template for template in templates if " " in subject.text or "{the_s}" not in template
        )
        or templates
    )


def _suits(pattern: Pattern, subject: Subject, written: str, words: Language) -> bool:
    """Whether a sentence of this form may have this subject."""
    if pattern.plural and not looks_plural(written, words):
        return False
    if pattern.defines and not subject.decided:
        return False  # "this disease is ..." says more of what was defined before
    # "getting a pacemaker is ..." defines nothing
    return not (
        pattern.defines and not subject.is_title and " " in subject.text
        and words.gerund(subject.text)
    )  # fmt: skip


def _comes_first(source: Source, start: int) -> bool:
    """Whether a sentence is the first of its document, below the title."""
    first = next((block.start for block in source.blocks if block.kind != "heading"), start)
    return start - first < _LABEL


def _fits(pattern: Pattern, found: re.Match[str], words: Language, following: str) -> bool:
    groups = found.groupdict()
    if pattern.pairs and f"{groups['v']} {groups['p']}" not in pattern.pairs:
        return False
    rest = groups.get("o") or ""
    if pattern.frequency and "unknown" in rest and any(map(str.isdigit, following)):
        return False  # what is known follows
    if pattern.digits and not any(map(str.isdigit, found.group())):
        return False
    told = pattern.unknown or (pattern.defines and len(rest.split()) >= _DEFINED)
    if not told and words.vague_object is not None and words.vague_object.fullmatch(rest):
        return False
    # What points to another place of the document is no answer without it.
    return not (rest and _BACK.search(rest)) and rest.count("(") == rest.count(")")


def _title_before(source: Source, start: int) -> bool:
    """Whether the title stands close before, so that "this condition" can only mean it."""
    return source.title.lower() in source.text[max(0, start - _BEFORE) : start].lower()


def _says_more(
    source: Source, place: tuple[int, int], found: re.Match[str], marked: Titled, words: Language
) -> bool:
    """Whether another sentence of the document may answer the question as well: one with its
    subject, or that begins with a pronoun, and its verb. Of what a document is about as a whole,
    such a question is never answered by one sentence."""
    subject = marked.restored(found["s"]).lower()
    if subject in source.title.lower():
        return True
    groups = found.groupdict()
    verb = groups.get("base") or (words.base(groups["v"]) if groups.get("v") else "")
    stem = verb[:-1] if verb.endswith("e") else verb
    others = source.text[: place[0]] + "\n" + source.text[place[1] :]
    named = re.compile(rf"(?i)\b{re.escape(subject)}\b[^.\n]*\b{re.escape(stem or 'include')}")
    more = named.search(others) is not None
    after = source.text[place[1] : place[1] + 12].split()
    return more or (bool(after) and after[0].lower() in words.sets["points_back"])


def _groups(
    found: re.Match[str], subject: Subject, marked: Titled, words: Language
) -> dict[str, str]:
    groups = {name: marked.restored(value or "") for name, value in found.groupdict().items()}
    groups["s"] = subject.text
    first = subject.text.split()[0].lower()
    the = first in words.sets["determiners"] or not subject.decided
    groups["the_s"] = subject.text if the else f"{words.article} {subject.text}"
    be = groups.get("be", "").partition(" ")[0]
    if be in _BE:
        groups["are"] = be
    else:
        groups["are"] = "are" if looks_plural(subject.text, words) and subject.decided else "is"
    groups["Are"] = groups["are"].capitalize()
    vowel = unicodedata.normalize("NFD", subject.text[:1].lower())[:1] in set("aeiouh")
    groups["que"] = "qu’" if vowel else "que "  # elision in French
    if "v" in groups:
        groups.setdefault("base", words.base(groups["v"]))
    if "c" in groups:
        groups["why"] = words.lists[groups["c"]][0]
    return groups


GENERATOR = Generator("sentences", ("question", "instruction"), generate=generate, languages=CODES)

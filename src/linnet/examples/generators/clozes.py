"""A sentence with a number, a date, a name or an identifier left out: one for each passage.

Needs no words: where a language has no templates, the sentence with its blank is the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import Language
from linnet.examples.record import Example
from linnet.examples.source import Passage, Source
from linnet.examples.subjects import quotable

BLANK = "____"
_SHORTEST, _LONGEST = 50, 320  # characters of a sentence
_SHORTEST_UNSPACED = 18
_FEWEST_WORDS = 9
_HEAD = 40  # characters of a sentence in which nothing may point back
NUMBER = re.compile(
    r"(?<![\w.,:/'’+@#$%&*=<>\"(-])[$€£]?(?:\d{1,3}(?:[,.\u202f ]\d{3})+|\d+)(?:\.\d+|,\d+)?%?"
    r"(?![\w'’=<>*\"@#-]|[.,:/)]\d)"
)
_NAME = re.compile(
    r"(?<=[a-zß-ÿ,] )[A-Z][\w'’-]*[a-z]+(?: (?:(?:of|de|la|von|du|del) )?[A-Z][\w'’-]+)+"
)
_TITLE_BEFORE = re.compile(r"(?:[A-Z][\w'’-]* (?:\w{1,3} )?|[:“‘(] ?)\Z")  # part of a longer name
_LABEL = re.compile(r"\w{1,12}[:.] ")  # "A: ..."
_SINGLE_NAME = re.compile(
    r"(?<=[a-zß-ÿ] )(?<!\b[Tt]he )[A-Z][a-zß-ÿ-]{3,}"
    r"(?=[.,;)]| (?:is|was|are|and|or|in|for|to|on|at)\b)"
)
_POSSESSIVE = re.compile(r"['’](?:s\b|(?!\w))|s['’]")
_RANGE_BEFORE = re.compile(
    r"(?:\d\S*|between \S+) ?(?:to|and|or|through|bis|und|à|et|a|y|[-–—]) ?\Z"
)
_RANGE_AFTER = re.compile(r" ?(?:to|or|through|bis|à|a|[-–—]) ?\$?\d| and \d")
_UNFIT = re.compile(
    # who wrote it, and where more is to be read
    r"(?i:\b(?:contributed|patch(?:es)? by|written by|implemented by|thank|thanks|refer to|see|"
    r"more information|read more)\b)"
    # code, and what is not one whole sentence
    r"|\(['\"]|[a-z]\. [a-z_]|\.\d+ [A-Z]|^(?:Similar|Same|Equivalent|Like|Part of)\b"
    r"|^[^,]{2,60}, (?:it|they|he|she)\b"  # of which nothing was said yet
)
_CODE = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)*(?:\(\)|(?<=[a-z0-9])_\w+)(?![\w(])")
_TRAILING_REFERENCE = re.compile(
    r"(?i)\b(?:chapter|section|figure|table|page|version|step|kapitel|"
    r"abschnitt|abbildung|tabelle|seite|chapitre|figure|tableau|capítulo|sección|figura|tabla|página|"
    r"pep|rfc|bpo|issue|no|nr|fig|sec)\.? *\Z"
)


@dataclass(frozen=True)
class Gap:
    """A stretch of a sentence that may be left out."""

    start: int
    end: int
    rank: int
    """The lower, the better it tests what the sentence says."""


def gaps(sentence: str, *, names: bool = True) -> list[Gap]:
    """What may be left out of a sentence, the best first. Nothing that stands in it twice."""
    found = [Gap(*m.span(), 0) for m in NUMBER.finditer(sentence) if _counts(sentence, m)]
    found += [Gap(*m.span(), 1) for m in _CODE.finditer(sentence)]
    found += [Gap(*m.span(), 1) for m in _NAME.finditer(sentence) if names or m[0].istitle()]
    if names:
        found += [Gap(*m.span(), 2) for m in _SINGLE_NAME.finditer(sentence)]
    lower = sentence.lower()
    return sorted(
        (
            gap
            for gap in found
            if lower.count(lower[gap.start : gap.end]) == 1
            and gap.start > 0
            and sentence[gap.start - 1] != "["
            and sentence[gap.end : gap.end + 1] != "+"
            and not _POSSESSIVE.search(sentence[gap.start : gap.end + 2])
            and not _RANGE_BEFORE.search(sentence[: gap.start])
            and not _RANGE_AFTER.match(sentence, gap.end)
            and not (gap.rank and _TITLE_BEFORE.search(sentence[: gap.start]))
        ),
        key=lambda gap: (gap.rank, gap.start),
    )


def _counts(sentence: str, found: re.Match[str]) -> bool:
    """Whether a number says something, and is not that of a section or a step."""
    return found.start() > 0 and not _TRAILING_REFERENCE.search(sentence[: found.start()])


def generate(source: Source, context: Context) -> Iterator[Example]:
    for passage in source.passages:
        if (made := _of_passage(source, passage, context)) is not None:
            yield made


def _depends(sentence: str, first: str, words: Language) -> bool:
    """Whether a sentence needs what stands before it: it points back, goes on, or has no subject
    ("Raised when ...", "Return the ...")."""
    return (
        not sentence[0].isalpha()
        or first in words.sets["points_back"]
        or first in words.sets["connectives"]
        or words.points_back(sentence[:_HEAD])
        or words.verb_first(sentence) is not None
        or (bool(words.participle) and first.endswith(words.participle))
    )


def _has_no_verb(sentence: str, words: Language) -> bool:
    """Whether it looks like a noun and no more ("An integer of 4 bytes.")."""
    parts = [part.strip(",.;:()").lower() for part in sentence.split()]
    return parts[0] in words.sets["determiners"] and not any(
        part in words.sets["not_within"] or part in words.verbs or part in words.verbs.values()
        for part in parts
    )


def _of_passage(source: Source, passage: Passage, context: Context) -> Example | None:
    words, best = source.words, None
    for start, end in source.statements(passage):
        sentence = source.text[start:end]
        spaced = sentence.isascii() or " " in sentence
        if not (_SHORTEST if spaced else _SHORTEST_UNSPACED) <= end - start <= _LONGEST:
            continue
        if "\n" in sentence or "<" in sentence or sentence.count('"') % 2 or _LABEL.match(sentence):
            continue
        if _UNFIT.search(sentence) or (words is not None and _has_no_verb(sentence, words)):
            continue
        first = sentence.split(maxsplit=1)[0].strip(",").lower()
        depends = words is not None and _depends(sentence, first, words)
        if spaced and len(sentence.split()) < _FEWEST_WORDS:
            continue
        found = gaps(sentence, names=source.language not in ("de", ""))
        if found:
            key = (found[0].rank, depends, start)
            if best is None or key < best[0]:
                best = key, start, end, found[0]
    if best is None:
        return None
    (_, depends, _), start, end, gap = best
    sentence, answer = source.text[start:end], source.text[start + gap.start : start + gap.end]
    blanked = f"{sentence[: gap.start]}{BLANK}{sentence[gap.end :]}"
    question = blanked
    if words is not None:
        titled = quotable(source.title)
        if depends:
            return None
        template = context.choose(
            words.template("cloze_context" if titled else "cloze"), source.id, str(start)
        )
        question = template.format(sentence=blanked, title=source.title)
    return example(
        source, passage, "cloze", question, answer, (start, end),
        language=source.language if words is not None else "",
    )  # fmt: skip


GENERATOR = Generator("clozes", ("cloze",), generate=generate)

"""Sentences, rows and items of passages, ranked by how well they answer a question.

By the question's words that they have, weighed by how few others have them; by what the question
asks for (a date, a person, an amount, steps...), and the form in which such questions are answered;
by where they stand; and the first of them by what a re-ranker says, where there is one, which has
learned from questions like these.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from linnet.answers.evidence import Question
from linnet.answers.languages import LANGUAGES, Expected, Language
from linnet.answers.mails import asked_field
from linnet.answers.phrases import framed
from linnet.answers.specifics import also_said, spelled
from linnet.answers.understanding import expected, listed_noun
from linnet.answers.units import Unit, units
from linnet.answers.values import has_value
from linnet.grounding.tokens import tokens
from linnet.retrieval import Found, Passage, terms

Reads: TypeAlias = Callable[[str, Sequence[Passage]], Sequence[float]]
"""How likely each passage, or sentence under the title of one, answers a question; of the last ones
it may say nothing."""

_READ = 12  # passages
_COUNTED = 8  # units in which a number is looked for that answers "how many"
_SURE = 0.6  # of a question's words
_VALUED = 24  # units whose values are read
_PRIORS = (1.0, 0.75, 0.62, 0.54, 0.48, 0.43, 0.39, 0.36, 0.33, 0.3)
_PRIOR = 0.4
"""What the rank of its passage counts beside the words of a sentence."""

_TYPE, _CUE, _DEFINES = 0.2, 0.12, 0.35
_FIGURES = 0.45
_CAUSED, _FIRST = 0.25, 0.06
_NEAR_BEFORE = 40  # characters before a subject in which a verb has it as its object
_ABOVE, _NEAR = 0.6, 0.3
"""What a word counts that stands in title, headings or header; in the sentence before it."""

_INFLECTED = ((0.7, 0.8), (0.6, 0.5))
"""What another form of a word counts, by the share of its letters that it begins with."""

_READ_AGAIN, _LIKELY, _ANSWERS = 8, 1.0, 0.6
"""Units that a re-ranker reads; what its probability counts, and that of their passage."""
LONGEST_READ = 600
"""Characters that it reads of one."""

_HEAD, _NAMED = 0.5, -0.15
"""What it counts that a line of a mail's head is what is asked for; that it is one."""

_SHORTEST, _ENDING = 5, 4
_ROW, _BEGINS = 0.3, 0.08
"""What it counts that the question's words stand side by side; that one of them stands first."""

_FUNCTION_SIGNS = frozenset(
    "的了吗呢么什是多少几谁哪怎样如何为有在和与及请问个这那吧啊也都就还很麼嗎誰幾為請問這個"
    "はのをがにでともかすまよりらなへやねだしたるいつどこれそあ何誰"
)
"""Signs of Chinese and Japanese that only make a question or a sentence: terms are pairs there."""
_STOPS = (".", "!", ":", ";", "…", "。", "！", "：", "।", "։", "۔")
_SHORTENED = re.compile(r"\b[A-Z][A-Z0-9-]{1,7}\b")
_LITTLE = 3  # words that say hardly more than how common something is
_LISTED = 3  # dashes in a sentence that is a list of names
_SHORT = 3  # words of what is hardly a sentence
_COLUMNS = 3  # of two the first row may be a name and its value, as all others
_POINTING = re.compile(r"(?:this|these|those|it|they|such|however|also|dies\w*|sie|er|es|ce|cette|"
                       r"ces|il|elle|esto|est[ae]s?|это|эт[аои]\w*|он\w?)\b",
                       re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """A unit, and how well it answers."""

    unit: Unit
    score: float
    coverage: float
    """The share of the question's words, weighed, that it has, or what it stands under."""
    rank: int
    """Of its passage among those found."""
    form: float = 0.0
    """What it has of the form in which such questions are answered: below 0 speaks against it."""
    likely: float | None = None
    """How likely it answers by a re-ranker that has read it."""


def wanted(question: str, language: Language | None) -> list[str]:
    """The terms of a question that say what it is about; all where none does."""
    if language is not None:  # "how high", "what kind of"
        question = language.interrogative.sub(" ", question.lstrip("¿ "), count=1)
        question = language.asks_long_form.sub(" ", question)
    found = list(dict.fromkeys(terms(question, language.code if language else "")))
    if language is not None:
        function = _function(language.code)
        found = [term for term in found if term not in function] or found
    return [term for term in found if not _FUNCTION_SIGNS & set(term)] or found


@functools.cache
def _function(code: str) -> frozenset[str]:
    return frozenset(term for word in LANGUAGES[code].function for term in terms(word, code))


@functools.cache
def _verbs(code: str) -> dict[str, str]:
    """The terms of irregular forms, each with the verb's."""
    language = LANGUAGES.get(code)
    return {
        term: stem
        for form, verb in (language.irregular.items() if language is not None else ())
        for term, stem in zip(terms(form, code), terms(verb, code), strict=False)
    }


def _terms(text: str, code: str) -> list[str]:
    """The terms of a text, those of verbs for their irregular forms: "paid" is "pay"."""
    verbs = _verbs(code)
    return [verbs.get(term, term) for term in terms(text, code)]


@dataclass
class _Text:
    """A unit's words, and those of what it stands under."""

    unit: Unit
    rank: int
    order: tuple[str, ...]
    """Its words that say something, in order."""
    own: frozenset[str]
    above: frozenset[str]
    near: frozenset[str]


def scored(
    question: Question, passages: Sequence[Found], reads: Reads | None = None
) -> list[Scored]:
    """The units of the passages, the best first."""
    found = _by_rules(question, passages)
    return found if reads is None else _as_read(found, question, reads)


def _as_read(found: list[Scored], question: Question, reads: Reads) -> list[Scored]:
    """The first of them in the order in which a re-ranker would have them, too."""
    head = found[:_READ_AGAIN]
    texts = [replace(each.unit.passage, text=each.unit.text[:LONGEST_READ]) for each in head]
    likely = reads(question.alone, texts) if texts else ()
    if len(likely) < len(head):  # late: half of them would be compared with the others' nothing
        return found
    read = [
        replace(each, score=each.score + _LIKELY * own, likely=own)
        for each, own in zip(head, likely, strict=True)
    ]
    read.sort(key=lambda each: (-each.score, each.rank, each.unit.start))
    return read + found[len(head) :]


def _by_rules(question: Question, passages: Sequence[Found]) -> list[Scored]:
    language = LANGUAGES.get(question.language)
    code = question.language or (passages[0].passage.language if passages else "")
    core, title = framed(question.alone)
    kind = expected(question)
    asked = list(dict.fromkeys(_verbs(code).get(term, term) for term in wanted(core, language)))
    only_ask = _only_ask(core, kind, language)
    asked = [term for term in asked if term not in only_ask] or asked
    function = _function(language.code) if language is not None else frozenset()
    read = [
        text for text in _read(passages[:_READ], code, function) if not _names_columns(text.unit)
    ]
    if not read or not asked:
        return []
    if values := spelled(core, code):
        read = [
            replace(text, own=text.own | also_said(
                text.unit.text[:2000], text.unit.passage.language or code, values
            )) for text in read
        ]  # fmt: skip
    field = asked_field(core, kind, language)
    asking: frozenset[str] = frozenset()
    if field and language is not None:
        asking = frozenset(term for found in language.mails.finditer(core)
                           for term in _terms(found[0], code))  # fmt: skip
        read = [_under_mail(text, field, code) for text in read]
    frequency = Counter(term for text in read for term in {*text.own, *text.above})
    weights = {term: math.log1p((len(read) + 1) / (_having(term, frequency) + 0.5))
               for term in asked}  # fmt: skip
    told = {term: weight for term, weight in weights.items() if term not in asking}
    by_cue = language is not None and (
        _is_by_cue(kind, language) or language.asks_manner.search(core) is not None
    )
    found = []
    for text in read:
        heads = field != "" and text.unit.field == field
        named = heads and kind != "time" and not told.keys().isdisjoint(text.own)
        if named:  # "who wrote to Anna?" is hardly answered by what Anna wrote
            text = replace(text, own=text.own - told.keys())
        if heads and not told:
            continue  # who wrote which mail?
        shared, coverage = _shares(text, told if heads else weights, by_cue=by_cue)
        prior = _prior(text.rank, passages[text.rank])
        if title and text.unit.passage.title.casefold() == title.casefold():
            prior += _PRIOR
        score = shared + prior + _HEAD * heads - _TYPE * named
        score += 0.0 if by_cue else _ROW * _in_row(asked, text.order)
        form = _form(text, asked, question, kind, language) if language is not None else 0.0
        score += _shape(text, asked, kind) + form
        if len(text.unit.header) >= _COLUMNS and not any(_has(term, text.own) for term in asked):
            coverage = 0.0  # one row as well as another
        found.append(Scored(text.unit, score, coverage, text.rank, form))
    found.sort(key=lambda each: (-each.score, each.rank, each.unit.start))
    return _by_values(found, question, kind)


def _prior(rank: int, found: Found) -> float:
    """What the rank of its passage counts, and how likely that answers by a re-ranker."""
    return _PRIOR * _PRIORS[min(rank, len(_PRIORS) - 1)] + _ANSWERS * found.scores.get(
        "rerank", 0.0
    )


def _shares(text: _Text, weights: Mapping[str, float], *, by_cue: bool) -> tuple[float, float]:
    """The share of weighed terms that a unit has, and that it or what it stands under has."""
    shared = covered = 0.0
    count = 0
    for term, weight in weights.items():
        own = _has(term, text.own)
        there = max(own, _has(term, text.above))
        # What such a sentence is about may be said above it alone: "The prevalence is unknown".
        near = there if by_cue else max(own, _ABOVE * there, _NEAR * _has(term, text.near))
        shared += weight * near
        covered += weight * there
        count += there > 0
    total = sum(weights.values())
    return shared / total, max(covered / total, count / len(weights))


def _under_mail(text: _Text, field: str, code: str) -> _Text:
    """A line of a mail's head that may answer what is asked about the mail: it stands for all that
    the mail says."""
    if text.unit.field != field:
        return text
    return replace(text, above=text.above | frozenset(_terms(text.unit.passage.text, code)))


def _is_by_cue(kind: Expected, language: Language) -> bool:
    """Whether an answer is known by words of its own, which the language has to have."""
    return kind == "frequency" and language.counted is not None


def _only_ask(core: str, kind: Expected, language: Language | None) -> frozenset[str]:
    """The terms that only say what kind of thing is asked for, of a kind that is known by other
    words: "how many people are affected by" is answered by "1 in 10,000 newborns"."""
    if language is None or not _is_by_cue(kind, language):
        return frozenset()
    form = next(form for own, form in language.expects if own == kind)
    return frozenset(
        term for found in form.finditer(core) for term in _terms(found[0], language.code)
    )


def _names_columns(unit: Unit) -> bool:
    """Whether a row only says what the columns are called."""
    return unit.heads and len(unit.cells) >= _COLUMNS and not any(
        letter.isdigit() for letter in unit.text
    )  # fmt: skip


def _in_row(asked: Sequence[str], order: Sequence[str]) -> float:
    """The share of the question's neighbouring words that are neighbours in a unit, too."""
    if len(asked) < 2:
        return 0.0
    pairs = set(pairwise(order))
    apart = set(zip(order, order[2:], strict=False))
    met = sum(1.0 if pair in pairs else 0.5 * (pair in apart) for pair in pairwise(asked))
    return met / (len(asked) - 1)


def _read(
    passages: Sequence[Found], code: str, function: frozenset[str]
) -> Iterable[_Text]:  # fmt: skip
    for rank, found in enumerate(passages):
        passage = found.passage
        above = frozenset(
            _terms("\n".join((passage.title, *passage.headings, passage.context)), code)
        )
        before: frozenset[str] = frozenset()
        group = -1
        for unit in units(passage):
            order = _terms(unit.text, code)
            own = frozenset(order)
            header = frozenset(_terms(" ".join(unit.header), code)) if unit.header else above
            if unit.kind != "row" and unit.group > group + 1:
                before = frozenset()
            said = tuple(term for term in order if term not in function)
            yield _Text(unit, rank, said, own, above | header, before)
            if unit.kind == "sentence":
                before, group = own, unit.group


def _having(term: str, frequency: Counter[str]) -> int:
    found = frequency[term]
    if found or len(term) < _SHORTEST:
        return found
    return max((count for word, count in frequency.items() if _alike(term, word)), default=0)


def _has(term: str, words: frozenset[str]) -> float:
    """1 for a word, less for another form of it."""
    if term in words:
        return 1.0
    if len(term) < _SHORTEST or not term.isalpha():
        return 0.0
    return max((_alike(term, word) for word in words), default=0.0)


def _alike(one: str, other: str) -> float:
    """How likely two words are forms of one: by how they begin."""
    if one[:4] != other[:4] or abs(len(one) - len(other)) > _ENDING:
        return 0.0
    longer = max(len(one), len(other))
    for share, worth in _INFLECTED:
        keep = max(4, math.ceil(share * longer))
        if one[:keep] == other[:keep]:
            return worth
    return 0.0


def _shape(text: _Text, asked: Sequence[str], kind: Expected) -> float:
    """What it counts for a unit, or against it, what it is: a sentence, an item, a heading..."""
    unit, own = text.unit, text.unit.text
    if unit.field:
        return _NAMED
    ends = own.rstrip("\"'”’»)] ")
    worth = 0.0
    if ends.endswith(("?", "？", "؟")):
        worth -= 0.5
    elif unit.kind == "sentence" and not ends.endswith(_STOPS):
        worth -= 0.15  # a heading, or the name of something
    if len(text.own) < _SHORT and unit.kind in ("sentence", "item"):
        worth -= 0.25
    elif unit.kind == "item" and len(text.own) < 8 and kind not in ("list", "steps", "reason"):
        worth -= 0.15
    if unit.kind == "sentence" and _POINTING.match(own):
        worth -= 0.04
    if unit.kind == "sentence" and own.count(" - ") >= _LISTED:
        worth -= 0.3
    if unit.kind == "code":
        worth += 0.05 if kind == "steps" else -0.1
    if text.order[:1] and text.order[0] in asked:
        worth += _BEGINS
    return worth


def _form(
    text: _Text, asked: Sequence[str], question: Question, kind: Expected, language: Language
) -> float:
    """What it counts that a unit says what the question asks for in the way that is usual."""
    unit, own = text.unit, text.unit.text
    worth = 0.0
    if kind in language.cues and language.cues[kind].search(own):
        worth += 2 * _CUE if kind == "frequency" else _CUE
    if kind == "frequency" and language.figures.search(own):
        worth += _FIGURES
    elif kind == "frequency" and language.counted and language.counted.search(own):
        worth += _TYPE + _CUE * _says_little(text, question, language)
    worth += _FIRST * (kind in ("frequency", "reason", "definition") and unit.start == 0)
    if (manner := language.asks_manner.search(question.alone)) is not None:
        stated = rf"\b{re.escape(manner['v'])} (?:{'|'.join(sorted(language.prepositions))})\b"
        worth += _CAUSED if re.search(stated, own, re.IGNORECASE) else 0.0
    if language.asks_cause and language.asks_cause.search(question.alone):
        worth += _cause(own, question.subject, language)
    if kind == "definition" and question.subject:
        says = _defines(own, question.subject, language)
        if language.cues["frequency"].search(own):
            worth -= 0.1  # "X is a rare disorder" says how common it is, and hardly more
            says = min(says, 0.3) if _says_little(text, question, language) else says
        worth += _DEFINES * says
    if kind in ("steps", "list") and (unit.leads or unit.numbered):
        subject = _terms(question.subject, question.language)
        if any(term not in subject and _has(term, text.own) for term in asked):
            worth += _CUE  # and it is not only about the same thing
    return worth


def _cause(sentence: str, subject: str, language: Language) -> float:
    """What it counts that a sentence says what brings its subject about, and not what that does."""
    place = sentence.casefold().find(subject.casefold()) if subject else -1
    if place >= 0 and language.causes is not None and language.caused is not None:
        after = place + len(subject)
        if language.causes.match(sentence, after):
            return -_TYPE
        before = sentence[max(place - _NEAR_BEFORE, 0) : place]
        if (led := language.causes.search(before)) is not None:
            return -_CUE if language.relative.search(before, 0, led.end()) else _CAUSED
        if language.caused.search(sentence, after, after + _NEAR_BEFORE):
            return _CAUSED
    return _TYPE if language.caused and language.caused.search(sentence) else 0.0


def _says_little(text: _Text, question: Question, language: Language) -> bool:
    """Whether a sentence has hardly a word beside its subject and how common that is."""
    code = language.code
    told = set(_terms(question.subject, code))
    told |= {term for word in language.classes for term in terms(word, code)}
    for found in language.cues["frequency"].finditer(text.unit.text):
        told |= set(terms(found[0], code))
    return sum(term.isalpha() and term not in told for term in set(text.order)) <= _LITTLE


def _defines(sentence: str, subject: str, language: Language) -> float:
    """Whether a sentence says what its subject is, or what it is short for."""
    for short in _SHORTENED.findall(subject):
        if f"({short})" in sentence or f"({short}s)" in sentence or f"{short} (" in sentence:
            return 1.5
    first = sentence.split(maxsplit=1)
    if first and first[0].casefold() in language.articles and len(first) > 1:
        sentence = first[1]
    if sentence[: len(subject)].casefold() == subject.casefold():
        found = language.defines.match(sentence, len(subject))
        if found is not None:
            if language.tells_more.match(sentence, found.end()):
                return 0.3
            begins = sentence[len(subject) : found.end() + 12]
            return 1.0 if language.cues["definition"].search(begins) else 0.3
    return 0.0


def _by_values(
    found: list[Scored], question: Question, kind: Expected
) -> list[Scored]:  # fmt: skip
    """Of the best those first that have what the question asks for."""
    if kind not in ("time", "amount", "person"):
        return found
    asked = question.alone.casefold()
    better = [
        replace(each, score=each.score + _TYPE) if has_value(each.unit, kind, asked) else each
        for each in found[:_VALUED]
    ]
    better.sort(key=lambda each: (-each.score, each.rank, each.unit.start))
    return better + found[_VALUED:]


def answers_count(question: Question, passages: Sequence[Found]) -> bool:
    """Whether a passage says how many there are, so that nothing has to be counted."""
    code = question.language
    noun = set(terms(listed_noun(question), code))
    if not noun:
        return False
    for each in scored(question, passages)[:_COUNTED]:
        if each.coverage < _SURE:
            continue
        if _counted_in(each.unit, noun, code):
            return True
        if each.unit.kind not in ("sentence", "item"):
            continue
        words = [token for token in tokens(each.unit.text[:2000], code) if not token.mark]
        for place, token in enumerate(words):
            after = {
                term for word in words[place + 1 : place + 4] for term in terms(word.text, code)
            }
            if token.value is not None and token.value.kind == "number" and noun & after:
                return True
    return False


def _counted_in(unit: Unit, noun: set[str], code: str) -> bool:
    """Whether a row has a number in a column that the noun names: employees, in "Employees"."""
    return len(unit.cells) == len(unit.header) and any(
        noun & set(terms(name, code)) and any(letter.isdigit() for letter in cell)
        for name, cell in zip(unit.header, unit.cells, strict=True)
    )

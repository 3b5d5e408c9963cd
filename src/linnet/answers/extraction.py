"""The sentences that answer, without a model: chosen from what was found, and cited.

Every answer consists of stored text, but for the names of a row's columns, which are put before
its cells, and the line that says how many entries match. Sentences are scored by the question's
words that they have, weighed by how few others have them; by what the question asks for (a date,
a person, an amount, steps...); and by where they stand. Each is a claim, checked against its
citation.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from linnet.answers.answer import Citation, Claim, Support
from linnet.answers.evidence import Chosen, Draft, Evidence, Question
from linnet.answers.languages import LANGUAGES, Expected, Language
from linnet.answers.specifics import also_said, missing, not_found, spelled
from linnet.answers.understanding import expected, framed, listed_noun
from linnet.answers.units import Unit, cited, units
from linnet.grounding import check
from linnet.grounding.tokens import tokens
from linnet.grounding.values import Value
from linnet.retrieval import Found, terms

LEAST_COVERAGE = 0.51
"""The share of a question's words that an answer has to have, or what it stands under, where no
gate was fitted. Nearly all questions about the documents reach it, and up to a quarter of
others."""
MOST_SENTENCES = 3
LONGEST_CODE = 6_000

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

_SHORTEST, _ENDING = 5, 4
_NEXT = 0.8
"""The share of the best score from which on another sentence answers as well."""

_ROW, _BEGINS = 0.3, 0.08
"""What it counts that the question's words stand side by side; that one of them stands first."""

_FUNCTION_SIGNS = frozenset(
    "的了吗呢么什是多少几谁哪怎样如何为有在和与及请问个这那吧啊也都就还很麼嗎誰幾為請問這個"
    "はのをがにでともかすまよりらなへやねだしたるいつどこれそあ何誰"
)
"""Signs of Chinese and Japanese that only make a question or a sentence: terms are pairs there."""
_STOPS = (".", "!", ":", ";", "…", "。", "！", "：", "।", "։", "۔")
_SHORTENED = re.compile(r"\b[A-Z][A-Z0-9-]{1,7}\b")
_APART = "\n\n"  # between the answers to parts of a question
_PAIRS = "; "  # between the cells of a row that is said
_LITTLE = 3  # words that say hardly more than how common something is
_LISTED = 3  # dashes in a sentence that is a list of names
_SHORT = 3  # words of what is hardly a sentence
_COLUMNS = 3  # of two the first row may be a name and its value, as all others
_YEAR = re.compile(r"\b(?:1[0-9]|20|21)\d\d\b")
_NAMES = re.compile(r"(?<![.!?] )(?<!^)\b[A-ZÀ-ÞА-ЯЁ][\w'’-]+(?: [A-ZÀ-ÞА-ЯЁ][\w'’.-]+)*|"
                    r"\b[A-ZÀ-ÞА-ЯЁ][\w'’-]+ [A-ZÀ-ÞА-ЯЁ][\w'’-]+")  # fmt: skip
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


def extract(evidence: Evidence) -> Draft:
    """The answer that the passages give in their own words."""
    if evidence.each:
        return _together(evidence)
    if evidence.chosen is not None:
        return with_missing(_entries(evidence.question, evidence.chosen), evidence)
    if not evidence.passages:
        return Draft("")
    if evidence.question.asks == "comparison" and len(evidence.searches) > 1:
        return _compared(evidence)
    return with_missing(_fact(evidence.question, evidence.passages), evidence)


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


# Choosing.


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


def scored(question: Question, passages: Sequence[Found]) -> list[Scored]:
    """The units of the passages, the best first."""
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
    frequency = Counter(term for text in read for term in {*text.own, *text.above})
    weights = {term: math.log1p((len(read) + 1) / (_having(term, frequency) + 0.5))
               for term in asked}  # fmt: skip
    total = sum(weights.values())
    by_cue = language is not None and (
        _is_by_cue(kind, language) or language.asks_manner.search(core) is not None
    )
    found = []
    for text in read:
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
        prior = _PRIOR * _PRIORS[min(text.rank, len(_PRIORS) - 1)]
        if title and text.unit.passage.title.casefold() == title.casefold():
            prior += _PRIOR
        score = shared / total + prior
        score += 0.0 if by_cue else _ROW * _in_row(asked, text.order)
        form = _form(text, asked, question, kind, language) if language is not None else 0.0
        score += _shape(text, asked, kind) + form
        coverage = max(covered / total, count / len(weights))
        if len(text.unit.header) >= _COLUMNS and not any(_has(term, text.own) for term in asked):
            coverage = 0.0  # one row as well as another
        found.append(Scored(text.unit, score, coverage, text.rank, form))
    found.sort(key=lambda each: (-each.score, each.rank, each.unit.start))
    return _by_values(found, question, kind)


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
        replace(each, score=each.score + _TYPE) if _answers(each.unit, kind, asked) else each
        for each in found[:_VALUED]
    ]
    better.sort(key=lambda each: (-each.score, each.rank, each.unit.start))
    return better + found[_VALUED:]


def _answers(unit: Unit, kind: Expected, asked: str) -> bool:
    text = unit.text[:2000]
    if kind == "person":
        return any(name.casefold() not in asked for name in _NAMES.findall(text))
    if kind == "time" and any(year not in asked for year in _YEAR.findall(text)):
        return True
    values = [token.value for token in tokens(text, unit.passage.language or "en")]
    return any(_fits(value, kind, asked) for value in values if value is not None)


def _fits(value: Value, kind: Expected, asked: str) -> bool:
    if value.text.casefold() in asked:
        return False
    timed = value.unit is not None and value.unit.dimension in ("time", "months")
    if kind == "time":
        return value.kind in ("date", "time") or timed
    return value.kind == "number"


# Answers.


@dataclass
class _Answer:
    """An answer as it is put together."""

    text: str = ""
    citations: list[Citation] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def cite(self, citation: Citation) -> int:
        if citation not in self.citations:
            self.citations.append(citation)
        return self.citations.index(citation)

    def add(self, said: str, numbers: Sequence[int], between: str, row: str = "") -> None:
        """Add a statement: stored text, or a part of a ``row`` in words."""
        if not said:
            return
        self.text += between if self.text else ""
        start = len(self.text)
        self.text += said
        support, score = _checked(said, row)
        self.claims.append(
            Claim(said, start, len(self.text), tuple(numbers), support, score)
        )  # fmt: skip

    def draft(self, **measures: float) -> Draft:
        return Draft(
            self.text, tuple(self.citations), tuple(self.claims), measures=measures
        )  # fmt: skip


def _checked(said: str, row: str) -> tuple[Support, float]:
    """What the checker says of a statement that is stored text, or, of a ``row`` in words, a part.

    What is there letter by letter is supported, whatever its language.
    """
    whole = row.split(_PAIRS)
    if not row or all(pair in whole for pair in said.split(_PAIRS)):
        return "supported", 1.0
    verdict = check(said, row)
    return ("unsupported" if verdict.status == "undecided" else verdict.status), verdict.score


def is_enough(draft: Draft) -> bool:
    """Whether an answer has enough of the question's words, where no gate decides: what shares
    hardly one answers nothing, nor does what lacks a name or number of it. Entries of a list match
    by a measure of their own."""
    if not draft.text or draft.measures.get("missing", 0.0):
        return False
    return "entries" in draft.measures or draft.measures.get("coverage", 1.0) >= LEAST_COVERAGE


def with_missing(draft: Draft, evidence: Evidence) -> Draft:
    """The draft with what of the question stands nowhere in what was found."""
    cited = {citation.source for citation in draft.citations}
    listed = evidence.chosen is not None
    absent = missing(evidence.question, evidence.passages, cited=cited, listed=listed)
    if not absent or not draft.text:
        return draft
    return replace(
        draft, measures={**draft.measures, "missing": float(len(absent))},
        steps=(*draft.steps, not_found(absent)),
    )  # fmt: skip


def _fact(question: Question, passages: Sequence[Found]) -> Draft:
    ranked = scored(question, passages)
    if not ranked:
        return Draft("")
    answer = _Answer()
    chosen = _chosen(ranked, expected(question))
    _write(answer, chosen, question)
    best = ranked[0]
    second = next((each.score for each in ranked if each.unit not in chosen), 0.0)
    return answer.draft(
        coverage=round(best.coverage, 4), score=round(best.score, 4),
        margin=round(best.score - second, 4), form=round(best.form, 4),
    )  # fmt: skip


def _chosen(ranked: Sequence[Scored], kind: Expected) -> list[Unit]:
    """The unit that answers best with what belongs to it, and others that answer as well."""
    best = ranked[0].unit
    whole = _whole(best, kind)
    if len(whole) > 1 or best.kind in ("row", "code", "line"):
        return whole
    chosen = [best]
    for each in ranked[1:]:
        if len(chosen) == MOST_SENTENCES or each.score < _NEXT * ranked[0].score:
            break
        same = each.unit.passage is best.passage and each.unit.kind == "sentence"
        if same and not each.unit.leads and not each.unit.text.endswith(("?", "？")):
            chosen.append(each.unit)
    chosen.sort(key=lambda unit: unit.start)
    if chosen[-1].leads:
        chosen += _whole(chosen[-1], kind)[1:]
    return chosen


def _whole(unit: Unit, kind: Expected) -> list[Unit]:
    """A unit with the rest of its list, or the list that it leads to, or the code."""
    own = units(unit.passage)
    place = own.index(unit)
    if unit.kind == "item" and (unit.numbered or kind in ("list", "steps", "reason")):
        items = [each for each in own if each.group == unit.group]
        first = own.index(items[0])
        if first and own[first - 1].leads:
            items.insert(0, own[first - 1])
        return items
    if unit.leads and place + 1 < len(own) and own[place + 1].kind in ("item", "code"):
        return [unit, *(each for each in own if each.group == own[place + 1].group)]
    return [unit]


def _write(answer: _Answer, chosen: Sequence[Unit], question: Question) -> None:
    """Units in a row. A list with what leads to it is cited as one stretch, each item a claim."""
    before: Unit | None = None
    stretches = _stretches(chosen)
    for unit in chosen:
        between = "\n"
        if before is None:
            between = "\n\n"
        elif before.kind == unit.kind == "sentence":
            between = " " if unit.passage is before.passage else "\n"
        citation = stretches.get(unit) or unit.citation()
        number = answer.cite(citation)
        if unit.kind == "row":
            answer.add(row_said(unit, question), (number,), between, _row_meant(unit))
        elif unit.kind == "code":
            answer.add(unit.text[:LONGEST_CODE], (number,), between)
        else:
            answer.add(unit.text, (number,), between)
        before = unit


def _stretches(chosen: Sequence[Unit]) -> dict[Unit, Citation]:
    """The items of a list, and what leads to it or to code, with the one citation for all."""
    found: dict[Unit, Citation] = {}
    run: list[Unit] = []
    for unit in (*chosen, None):
        joined = run and unit is not None and unit.passage is run[-1].passage and (
            run[-1].leads or run[-1].kind == unit.kind == "item"
        )  # fmt: skip
        if not joined:
            if len(run) > 1:
                whole = cited(run[0].passage, run[0].start, run[-1].end)
                found.update(dict.fromkeys(run, whole))
            run = []
        if unit is not None:
            run.append(unit)
    return found


def row_said(unit: Unit, question: Question) -> str:
    """A row with the names of its columns: of many columns those that the question names."""
    cells, header = unit.cells, unit.header
    if len(cells) != len(header):
        return unit.text
    pairs = [(name, cell) for name, cell in zip(header, cells, strict=True) if cell]
    code = question.language
    asked = set(wanted(question.alone, LANGUAGES.get(code)))
    named = [pair for pair in pairs if asked & {*terms(pair[0], code), *terms(pair[1], code)}]
    columns = sum(bool(asked & set(terms(name, code))) for name, _ in pairs)
    if columns and len(named) > columns:
        pairs = named  # the column that is asked for, beside the cells that the question names
    return _PAIRS.join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _row_meant(unit: Unit) -> str:
    """A row in words, for the checker: each cell with the name of its column."""
    if len(unit.cells) != len(unit.header):
        return unit.text
    pairs = zip(unit.header, unit.cells, strict=True)
    return _PAIRS.join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _compared(evidence: Evidence) -> Draft:
    """What answers for each side, the sides one after the other."""
    answer, coverages = _Answer(), []
    question = evidence.question
    left = []
    for side, search in zip(question.sides, evidence.searches, strict=False):
        own = replace(question, alone=search.query, subject=search.query)
        ranked = scored(own, search.found)
        if not ranked or ranked[0].coverage < LEAST_COVERAGE or missing(own, search.found):
            left.append(side)
        if ranked:
            chosen = _chosen(ranked, "definition")
            if not {unit.citation() for unit in chosen} <= set(answer.citations):
                _write(answer, chosen, own)
            coverages.append(ranked[0].coverage)
    if answer.text and left and len(left) < len(question.sides):
        answer.text += f"{_APART}{_nothing_about(left, question)}"
    coverage = sum(coverages) / max(len(coverages), 1)
    return answer.draft(coverage=round(coverage, 4), sides=float(len(coverages)))


def _entries(question: Question, chosen: Chosen) -> Draft:
    """All entries that match, under how many they are; or the sentences of a summary."""
    answer = _Answer()
    between = "\n"
    if question.asks == "summary":
        between = " "
    else:
        language = LANGUAGES.get(question.language) or LANGUAGES["en"]
        one, many = language.entries
        answer.citations = [unit.citation() for unit in chosen.units]
        answer.text = one if chosen.total == 1 else many.format(n=f"{chosen.total:,}")
        # It is true by counting: they are cited, and where not all of them are, a step says so.
        numbers = tuple(range(len(chosen.units)))
        answer.claims.append(
            Claim(answer.text, 0, len(answer.text), numbers, "supported", 1.0)
        )  # fmt: skip
    before = ""
    for number, unit in enumerate(chosen.units):
        if question.asks == "summary":
            source = unit.passage.place.source
            apart = "\n" if before and source != before else between
            answer.add(unit.text, (answer.cite(unit.citation()),), apart)
            before = source
        elif unit.kind == "row":
            answer.add(row_said(unit, question), (number,), between, _row_meant(unit))
        else:
            answer.add(unit.text, (number,), between)
    return answer.draft(coverage=chosen.coverage, entries=float(chosen.total))


def _together(evidence: Evidence) -> Draft:
    """The answers to the parts of a question, one after the other, and which have none. Where no
    part has one that is good enough, all of them, such as they are."""
    drafts = [(part, extract(part)) for part in evidence.each]
    enough = [draft for _, draft in drafts if is_enough(draft)]
    answer, steps = _Answer(), [step for _, draft in drafts for step in draft.steps]
    answered = enough or [draft for _, draft in drafts if draft.text]
    for draft in answered:
        if draft.text not in answer.text.split(_APART):  # one sentence may answer both
            _append(answer, draft)
    left = [part.question.alone for part, draft in drafts
            if not is_enough(draft) and not _was_not_searched(part)]  # fmt: skip
    if enough and left:
        answer.text += f"{_APART}{_nothing_about(left, evidence.question)}"
    coverage = sum(each.measures.get("coverage", 0.0) for each in answered) / max(len(answered), 1)
    absent = 0.0 if enough else sum(each.measures.get("missing", 0.0) for each in answered)
    # As sure as of the part that it is least sure of.
    least = {
        name: min(draft.measures.get(name, 0.0) for _, draft in drafts)
        for name in ("score", "margin", "form")
        if all(name in draft.measures for _, draft in drafts)
    }
    found = answer.draft(
        coverage=round(coverage, 4), parts=float(len(drafts)), answered=float(len(answered)),
        **least, **({"missing": absent} if absent else {}),
    )  # fmt: skip
    return replace(found, steps=tuple(steps))


def _was_not_searched(evidence: Evidence) -> bool:
    """Whether nothing is known of a part, since its search was late or failed: a step says so."""
    return not evidence.passages and any(s.outcome in ("late", "failed") for s in evidence.steps)


def _append(answer: _Answer, draft: Draft) -> None:
    """Add a whole answer after what is there."""
    answer.text += _APART if answer.text else ""
    shift = len(answer.text)
    answer.text += draft.text
    numbers = [answer.cite(citation) for citation in draft.citations]
    answer.claims += [
        replace(claim, start=claim.start + shift, end=claim.end + shift,
                citations=tuple(numbers[number] for number in claim.citations))
        for claim in draft.claims
    ]  # fmt: skip


def _nothing_about(what: Sequence[str], question: Question) -> str:
    """Says in the question's language what has no answer."""
    language = LANGUAGES.get(question.language) or LANGUAGES["en"]
    return language.not_found.format(what=" / ".join(what))

"""Every entry that a question names: "list all errors of March", "how many orders in Berlin".

An entry is a row of a table, a line of a log, an item of a list; where there are none, a sentence.
It matches by the question's words, each of which must stand in the entry or in what it stands
under (title, headings, names of the columns), unless the document has it nowhere. Amounts and
years may be bounded: "over 100 euros", "after 2020".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import TypeAlias

from linnet.answers.evidence import Question
from linnet.answers.languages import LANGUAGES, Language
from linnet.answers.ranking import wanted
from linnet.answers.understanding import listed_noun
from linnet.answers.units import Unit, units
from linnet.retrieval import Found, Passage, terms

NEAR = 0.75
"""The share of the best document's match from which on another one is listed, too."""

RECORDS = 0.5
"""The share of that match from which on rows and lines go before sentences."""

LEAST = 0.3
"""The share of the question's words that has to match."""

_RARE = 0.02  # share of a document's entries in which a noun tells no entries apart
_NUMBER = re.compile(
    r"(?<![\w.,])[-+]?\d{1,3}(?:[.,' ]\d{3})*(?:[.,]\d+)?(?![\w])|"
    r"(?<![\w.,])\d+(?:[.,]\d+)?"
)

_DAY = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?![\d.,])")

Alternatives: TypeAlias = tuple[frozenset[str], ...]
"""Of each group one term has to be there."""


@dataclass
class Entry:
    """A unit that may match."""

    unit: Unit
    own: frozenset[str]
    above: frozenset[str]
    rank: int


@dataclass
class Document:
    """The entries of a document that share a word with the question."""

    source: str
    entries: list[Entry] = field(default_factory=list)
    frequency: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Listed:
    """The entries that match, in the order of their documents."""

    units: tuple[Unit, ...] = ()
    coverage: float = 0.0
    tabular: bool = False
    """Whether they are rows, lines or items, which can be counted, and no sentences."""
    passages: tuple[Found, ...] = ()
    ignored: tuple[str, ...] = ()
    """Words of the question that no document has."""


def matching(
    question: Question, found: Sequence[Found], *, late: Callable[[], bool] = lambda: False
) -> Listed:
    """The entries of the passages that match a question."""
    language = LANGUAGES.get(question.language)
    code = question.language
    groups = _groups(question, language)
    if not groups:
        return Listed()
    bounds = _bounds(question.alone, language)
    documents: dict[str, Document] = {}
    for rank, each in enumerate(found):
        if late():
            break
        source = each.passage.place.source
        document = documents.setdefault(source, Document(source))
        for entry in _entries(each.passage, code, rank):
            document.entries.append(entry)
            document.frequency.update(entry.own)
    everywhere = {term for document in documents.values() for entry in document.entries
                  for term in (*entry.own, *entry.above)}  # fmt: skip
    known = [group for group in groups if group & everywhere]
    ignored = tuple(sorted(" ".join(sorted(group)) for group in groups if not group & everywhere))
    if not known:
        return Listed(ignored=ignored)
    matches = [
        own for document in documents.values()
        if (own := _of_document(document, known, question, language)).units
    ]  # fmt: skip
    listed = _best(matches)
    kept = [
        unit for own in listed for unit in own.units if all(bound.met(unit) for bound in bounds)
    ]
    coverage = max((own.coverage for own in listed), default=0.0) * len(known) / len(groups)
    if not kept or coverage < LEAST:
        return Listed(ignored=ignored)
    passages = dict.fromkeys(unit.passage for unit in kept)
    by_passage = {each.passage: each for each in found if each.passage in passages}
    return Listed(
        tuple(kept), round(coverage, 4), listed[0].tabular,
        tuple(by_passage[passage] for passage in passages), ignored,
    )  # fmt: skip


def _entries(passage: Passage, code: str, rank: int) -> Iterator[Entry]:
    name = PurePosixPath(passage.place.source).name.replace(".", " ").replace("_", " ")
    above = frozenset(
        terms("\n".join((passage.title, *passage.headings, passage.context, name)), code)
    )
    for unit in units(passage):
        if unit.heads or unit.leads:
            continue
        header = frozenset(terms(" ".join(unit.header), code)) if unit.header else frozenset()
        yield Entry(unit, frozenset(terms(unit.text, code)), above | header, rank)


def _groups(question: Question, language: Language | None) -> list[frozenset[str]]:
    """What has to match: a term each; those joined by "and" or "or" are alternatives."""
    code = question.language
    text = question.alone
    if language is not None:
        if asks_within_bounds(question):
            text = without_which(text, language)
        text = language.every.sub(" ", text)
        text = language.count.sub(" ", text)
        for bound in _BOUNDS.get(language.code, ()):
            text = bound.form.sub(" ", text)
    content = wanted(text, language)
    plain = {term for word in _generic(language) for term in terms(word, code)}
    content = [term for term in content if term not in plain] or content
    groups = {term: frozenset((term,)) for term in content}
    if language is not None:
        words = re.findall(r"[\w.-]+", text.casefold())
        for before, joint, after in zip(words, words[1:], words[2:], strict=False):
            one, other = terms(before, code), terms(after, code)
            if joint in language.conjunctions and len(one) == len(other) == 1 and (
                one[0] in groups and other[0] in groups
            ):  # fmt: skip
                joined = groups[one[0]] | groups[other[0]]
                groups.update(dict.fromkeys(joined, joined))
    return list(dict.fromkeys(groups.values()))


def _generic(language: Language | None) -> frozenset[str]:
    return frozenset() if language is None else language.classes | language.entry_nouns


def _of_document(
    document: Document, groups: Sequence[frozenset[str]], question: Question,
    language: Language | None,
) -> Listed:  # fmt: skip
    """Of one document those that match best."""
    tabular = [entry for entry in document.entries if entry.unit.kind != "sentence"]
    for entries in (tabular, document.entries):
        if not entries:
            continue
        required = [
            group for group in groups
            if not _tells_nothing(group, document, len(entries), question, language)
        ] or groups  # fmt: skip
        best = 0
        matching_best: list[Entry] = []
        for entry in entries:
            met = sum(bool(group & entry.own) or bool(group & entry.above) for group in required)
            inside = any(group & entry.own for group in required)
            if met > best:
                best, matching_best = met, []
            if met == best and met and (inside or met == len(required)):
                matching_best.append(entry)
        if matching_best:
            order = sorted(matching_best, key=lambda entry: (
                entry.unit.passage.place.start, entry.unit.start
            ))  # fmt: skip
            return Listed(
                tuple(entry.unit for entry in order), best / len(groups), entries is tabular
            )
    return Listed()


def _tells_nothing(
    group: frozenset[str], document: Document, entries: int, question: Question,
    language: Language | None,
) -> bool:  # fmt: skip
    """Whether a term is the noun for what is listed, and few entries happen to have it."""
    if language is None or len(group) > 1:
        return False
    head = set(terms(listed_noun(question), question.language))
    count = sum(document.frequency[term] for term in group)
    return bool(group & head) and count <= max(1, _RARE * entries) and entries > 3


def _best(matches: Sequence[Listed]) -> list[Listed]:
    """Documents that match about as well as the best. Rows and lines go before sentences, which
    may say more of the question's words, but hold no entries."""
    best = max((own.coverage for own in matches), default=0.0)
    least = RECORDS * best
    records = [
        own for own in matches if own.units[0].kind in ("row", "line") and own.coverage >= least
    ]
    if records:
        best = max(own.coverage for own in records)
        return [own for own in records if own.coverage >= NEAR * best]
    kept = [own for own in matches if own.coverage >= NEAR * best]
    return [own for own in kept if own.tabular] or kept


# Bounds.


@dataclass(frozen=True)
class _Form:
    form: re.Pattern[str]
    least: bool
    strict: bool
    date: bool = False


@dataclass(frozen=True)
class Bound:
    """That a value of an entry is above a number, or below."""

    number: Decimal
    least: bool
    strict: bool
    column: str

    def met(self, unit: Unit) -> bool:
        """Whether an entry keeps to it: in the column that the question names, or the only one
        with numbers; else in any."""
        values = [value for text in self._texts(unit) for value in _numbers(text)]
        if _is_year(self.number):
            values = [value for value in values if _is_year(value)] or values
        return any(self._holds(value) for value in values)

    def _texts(self, unit: Unit) -> list[str]:
        cells = unit.cells
        if unit.kind != "row" or len(cells) != len(unit.header):
            return [unit.text]
        named = [cell for name, cell in zip(unit.header, cells, strict=True)
                 if self.column and self.column in name.casefold()]  # fmt: skip
        if not named and not _is_year(self.number):  # no day is an amount
            cells = [cell for cell in cells if not _DAY.match(cell)]
        return named or cells

    def _holds(self, value: Decimal) -> bool:
        if value == self.number:
            return not self.strict
        return (value > self.number) == self.least


_AMOUNT = r"\s*(?:[€$£]\s*)?(?P<n>\d[\d.,']*\d|\d)"
_BOUNDS: dict[str, tuple[_Form, ...]] = {
    code: tuple(
        _Form(re.compile(rf"\b(?:{words}){_AMOUNT}", re.IGNORECASE), least, strict)
        for words, least, strict in rows
    )
    for code, rows in {
        "en": (("over|above|more than|greater than|higher than|exceeding|after|larger than", True,
                True), ("at least|from|since|no less than", True, False),
               ("under|below|less than|fewer than|lower than|before|cheaper than", False, True),
               ("at most|up to|until|no more than", False, False)),
        "de": (("über|mehr als|größer als|höher als|nach", True, True),
               ("mindestens|ab|seit", True, False),
               ("unter|weniger als|kleiner als|niedriger als|vor", False, True),
               ("höchstens|bis zu|bis", False, False)),
        "fr": (("plus de|supérieure?s? à|après|au-dessus de", True, True),
               ("au moins|depuis|à partir de", True, False),
               ("moins de|inférieure?s? à|avant|en dessous de", False, True),
               ("au plus|jusqu['’]à", False, False)),
        "es": (("más de|mayor(?:es)? (?:que|de)|superior(?:es)? a|después de", True, True),
               ("al menos|desde|a partir de", True, False),
               ("menos de|menor(?:es)? (?:que|de)|inferior(?:es)? a|antes de", False, True),
               ("como máximo|hasta", False, False)),
        "ru": (("больше|более|свыше|дороже|выше|после", True, True),
               ("не менее|с|от", True, False), ("меньше|менее|дешевле|ниже|до", False, True),
               ("не более", False, False)),
    }.items()
}  # fmt: skip


_WHICH = {
    "en": r"which|who", "de": r"welche[rsnm]?|wer", "fr": r"(?:les)?quel(?:le)?s?|qui",
    "es": r"cuál(?:es)?|qué|quién(?:es)?", "ru": r"как(?:ие|ой|ая|ое)|кто",
}  # fmt: skip


def asks_within_bounds(question: Question) -> bool:
    """Whether it asks which have a value within bounds: "which invoices are over 1,000 euros?"."""
    language = LANGUAGES.get(question.language)
    if language is None or question.asks != "fact" or not _bounds(question.alone, language):
        return False
    return without_which(question.alone, language) != question.alone


def without_which(text: str, language: Language) -> str:
    """A question without the word that asks for some of what follows: "which"."""
    return re.sub(rf"^\W*(?:{_WHICH[language.code]})\b", "", text, flags=re.IGNORECASE)


def _bounds(text: str, language: Language | None) -> list[Bound]:
    found = []
    for form in _BOUNDS.get(language.code, ()) if language else ():
        for match in form.form.finditer(text):
            numbers = list(_numbers(match["n"]))
            if not numbers:
                continue
            before = re.findall(r"\w+", text[: match.start()].casefold())
            column = (
                before[-1] if before and language and before[-1] not in language.function else ""
            )
            found.append(Bound(numbers[0], form.least, form.strict, column))
    return found


def _is_year(number: Decimal) -> bool:
    return number == int(number) and 1900 <= number <= 2100


def _numbers(text: str) -> Iterator[Decimal]:
    for match in _NUMBER.finditer(text):
        plain = re.sub(r"[' ]|[.,](?=\d{3}(?!\d))", "", match[0]).replace(",", ".")
        try:
            yield Decimal(plain)
        except InvalidOperation:
            continue

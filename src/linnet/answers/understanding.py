"""A question in the light of the conversation: complete, in its parts, and what kind it is.

Rules on words alone (``linnet.answers.languages``), which err on the side of leaving a question
as it is: a search finds the same by words that are one too many, but nothing by a pronoun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from linnet.answers.evidence import Asks, Question, Turn
from linnet.answers.follow_ups import (
    FRAGMENT,
    Before,
    completed,
    completed_within,
    otherwise_within,
)
from linnet.answers.languages import LANGUAGES, Expected, Language, language_of
from linnet.answers.phrases import (
    ENDS,
    Titles,
    bare,
    framed,
    is_interrogative,
    sentences_of,
    subject_of,
    words_of,
)

LONGEST_QUESTION = 4_000
"""Characters of a question that are read."""

MOST_PARTS = 6
MOST_TURNS = 8
"""Earlier questions that are read."""

_LONGEST_COMPARISON = 500  # characters of a question that compares two things
_LEAST_CONTENT = 3  # words of a question that is understood without what is told before it
_CLAUSE = re.compile(r"(?<=[.!;])\s+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_CAPITAL = r"[^\W\d_a-zß-öø-ÿа-яё][\w’'-]*"
_NAMED = re.compile(rf"{_CAPITAL}(?: {_CAPITAL})*")
_EACH_NAMED = re.compile(
    rf"\b(?P<before>\w+) (?P<names>{_NAMED.pattern}(?:, {_NAMED.pattern})*,? "
    rf"(?:and|or|und|oder|et|ou|y|e|o|u|и|или) (?P<again>(?P=before) )?{_NAMED.pattern})"
)
_FILE_NAME = re.compile(r"[\w/-][\w./-]*\.[A-Za-z]\w{0,4}\b")
_BOTH = frozenset(("between", "zwischen", "entre", "между"))
"""Prepositions that are about two things at once."""

_TOGETHER = frozenset(
    ("signs", "symptoms", "anzeichen", "symptome", "signes", "symptômes", "signos", "síntomas",
     "признаки", "симптомы")
)  # fmt: skip
"""Aspects that are one when they are asked for together."""


def understand(text: str, turns: Sequence[Turn] = (), *, titles: Titles | None = None) -> Question:
    """A question, the last one of a conversation, as it is understood.

    ``titles`` helps to tell what an earlier question was about.
    """
    asked, notes = _cleaned(text)
    language = language_of(asked)
    if language is None and len(words_of(asked)) <= FRAGMENT:
        language = next((own for turn in reversed(turns[-MOST_TURNS:])
                         if (own := language_of(turn.question)) is not None), None)  # fmt: skip
    if language is None:
        return _untold(text, asked, turns, notes)
    before = _before(turns, titles)
    alone = completed_within(asked, before, language)
    parts = _parts(alone, language)
    if len(parts) > MOST_PARTS:
        notes += (f"of {len(parts)} questions the first {MOST_PARTS} are answered",)
        parts = parts[:MOST_PARTS]
    if len(parts) < 2:
        other = otherwise_within(asked, before, language) or _asked_last(alone, language)
        otherwise = _single(other, language) if other and other != alone else None
        return replace(_single(alone, language), text=text, otherwise=otherwise, notes=notes)
    parts = completed(parts, language, titles)
    each = tuple(_single(part, language) for part in parts)
    return Question(
        text, alone, "fact", tuple(parts), None, language.code, each=each,
        subject=each[0].subject, notes=notes,
    )  # fmt: skip


def expected(question: Question) -> Expected:
    """What kind of thing answers a question."""
    language = LANGUAGES.get(question.language)
    if language is None:
        return ""
    text, _ = framed(question.alone)
    return next((kind for kind, form in language.expects if form.search(text)), "")


def listed_noun(question: Question) -> str:
    """The noun after "all" or "how many"; empty where it is a name, or there is none."""
    language = LANGUAGES.get(question.language)
    if language is None:
        return ""
    for form in (language.every, language.count):
        if found := form.search(question.alone):
            after = question.alone[found.end() :]
            noun = next(
                (word for word in words_of(after) if word.key not in language.function), None
            )
            if noun and (noun.text.islower() or language.nouns_capitalised):
                return noun.text
    return ""


def _cleaned(text: str) -> tuple[str, tuple[str, ...]]:
    """A question without control characters, on one line, and what was left out."""
    notes: tuple[str, ...] = ()
    if len(text) > LONGEST_QUESTION:
        notes = (f"of the question's {len(text):,} characters the first {LONGEST_QUESTION:,} "
                 "are read",)  # fmt: skip
        text = text[:LONGEST_QUESTION]
    text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates are in no document
    return " ".join(_CONTROL.sub(" ", text).split()), notes


def _untold(
    text: str, asked: str, turns: Sequence[Turn], notes: tuple[str, ...]
) -> Question:  # fmt: skip
    """In a language without rules: as it stands; after another question, with that one, too."""
    if not turns or len(words_of(asked)) > FRAGMENT:
        return Question(text, asked, parts=(asked,), notes=notes)
    earlier, _ = _cleaned(turns[-1].question)
    return Question(text, f"{earlier} {asked}".strip(), parts=(asked,), notes=notes)


def _before(turns: Sequence[Turn], titles: Titles | None) -> Before:
    before = Before()
    for turn in turns[-MOST_TURNS:]:
        asked, _ = _cleaned(turn.question)
        language = language_of(asked)
        if language is None:
            before = replace(before, question=asked, answer=turn.answer, title="")
            continue
        alone = completed_within(asked, before, language)
        last = _parts(alone, language)[-1:] or [alone]
        found = titles(last[0]) if titles is not None else ()
        core, title = framed(last[0])
        subject = subject_of(core, language, found)
        subject = subject or before.subject
        owner = before.owner if otherwise_within(asked, before, language) else subject
        answer = turn.answer[:LONGEST_QUESTION]
        before = Before(core, subject, answer, title or before.title, owner)
    return before


def _single(alone: str, language: Language) -> Question:
    """One question: its kind, and what that needs."""
    subject = subject_of(alone, language)
    question = Question(alone, alone, "fact", (alone,), None, language.code, subject=subject)
    for form in language.comparisons if len(alone) <= _LONGEST_COMPARISON else ():
        if found := form.search(alone):
            groups = found.groupdict()
            sides = tuple(bare(groups[side], language) for side in ("a", "b"))
            if all(sides):
                by = (groups.get("by") or "").strip()
                parts = tuple(f"{side} {by}".strip() for side in sides)
                return replace(question, asks="comparison", sides=sides, parts=parts)
    asks: Asks = "fact"
    body = alone.strip(ENDS)
    if file := _whole_file(body, language):
        return replace(question, asks="summary", document=file)
    if found := language.summary.search(body):
        named = next((part for part in found.groupdict().values() if part), "")
        return replace(question, asks="summary", document=named.strip(ENDS))
    if language.count.search(body) and expected(question) != "frequency":
        asks = "count"
    elif language.every.search(body):
        asks = "list"
    return replace(question, asks=asks)


def _whole_file(asked: str, language: Language) -> str:
    """The file that a question asks the contents of, and nothing else: "what is in a.txt?"."""
    names = _FILE_NAME.findall(asked)
    if len(names) != 1:
        return ""
    others = [word.key for word in words_of(asked.replace(names[0], " "))]
    says_so = language.holds | language.prepositions
    known = says_so | language.function | language.classes | language.messages
    return names[0] if says_so & set(others) and known.issuperset(others) else ""


def names_this(name: str, language: str) -> bool:
    """Whether a document is meant that the conversation is about, and not named."""
    own = LANGUAGES.get(language)
    return not name or (own is not None and own.this_document.match(name) is not None)


# Several questions in one.


def _parts(text: str, language: Language) -> list[str]:
    """The questions that a text consists of."""
    short = len(text) <= _LONGEST_COMPARISON
    if short and any(form.search(text) for form in language.comparisons):
        return [text]
    found: list[str] = []
    statement = ""
    for sentence in sentences_of(text):
        if not sentence.strip(ENDS):
            continue
        own = f"{statement} {sentence.strip()}".strip()
        if not sentence.rstrip().endswith(("?", "？", "؟")) and not _asks(sentence, language):
            statement = own
            continue
        statement = ""
        found += _coordinated(own, language)
    if statement:
        found.append(statement)
    return [
        part for own in found for named in _places(own, language)
        for part in _aspects(named, language)
    ]  # fmt: skip


def _asked_last(text: str, language: Language) -> str:
    """The question that ends a text, without what is told before it; empty where nothing is."""
    *told, last = [each for each in _CLAUSE.split(text) if each.strip(ENDS)] or [""]
    while (found := language.lead.match(last)) and found.end() < len(last):
        last = last[found.end() :]
    content = [word for word in words_of(last) if word.key not in language.function]
    asks = is_interrogative(last, language) and len(content) >= _LEAST_CONTENT
    return last if told and asks else ""


def _asks(sentence: str, language: Language) -> bool:
    """Whether a sentence without a question mark asks."""
    body = language.lead.sub("", sentence.strip(ENDS))
    return bool(language.interrogative.match(body) or language.every.search(body)
                or language.summary.search(body))  # fmt: skip


def _coordinated(sentence: str, language: Language) -> list[str]:
    """A sentence cut where another question begins: "what is X and how is it treated"."""
    cuts, begin = [], 0
    for found in language.joining.finditer(sentence):
        rest = sentence[found.end() :]
        first = words_of(rest[:80])[:1]
        if language.interrogative.match(rest) or (
            first and first[0].key in language.auxiliaries and is_interrogative(sentence, language)
        ):
            cuts.append(sentence[begin : found.start()])
            begin = found.end()
    cuts.append(sentence[begin:])
    return [cut.strip() for cut in cuts if cut.strip(ENDS)]


def _places(sentence: str, language: Language) -> list[str]:
    """Of several names behind a preposition each is asked about: "in Lisbon and in Oslo". Where
    nouns have a capital only what repeats the preposition is taken for names."""
    for found in _EACH_NAMED.finditer(sentence):
        if found["before"].casefold() not in language.prepositions:
            continue
        repeated = found["again"] is not None
        if found["before"].casefold() in _BOTH or (language.nouns_capitalised and not repeated):
            continue
        head = sentence[: found.end("before") + 1]
        names = [name.strip() for name in _NAMED.findall(found["names"])]
        return [f"{head}{name}{sentence[found.end() :]}" for name in names][:MOST_PARTS]
    return [sentence]


def _aspects(sentence: str, language: Language) -> list[str]:
    """Two aspects of one thing are two questions: "the causes and treatments of X"."""
    words = words_of(sentence)
    for place in range(len(words) - 3):
        if words[place].key not in language.aspects:
            continue
        if words[place + 1].key not in language.conjunctions:
            continue
        other = place + 2 + (words[place + 2].key in language.articles)
        last = next((at for at in range(other + 1, min(other + 3, len(words)))
                     if words[at].key in language.of), None)  # fmt: skip
        if last is None or words[other].key not in language.aspects:
            continue
        if words[place].key in _TOGETHER and words[other].key in _TOGETHER:
            continue
        rest = sentence[words[last - 1].end :]
        head, tail = sentence[: words[place].end], sentence[: words[place].start]
        return [head + rest, tail + sentence[words[other].start : words[last - 1].end] + rest]
    return [sentence]

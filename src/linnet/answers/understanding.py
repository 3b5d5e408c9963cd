"""A question in the light of the conversation: complete, in its parts, and what kind it is.

Rules on words alone (``linnet.answers.languages``), which err on the side of leaving a question
as it is: a search finds the same by words that are one too many, but nothing by a pronoun.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from linnet.answers.evidence import Asks, Question, Turn
from linnet.answers.languages import LANGUAGES, Expected, Language, language_of

LONGEST_QUESTION = 4_000
"""Characters of a question that are read."""

MOST_PARTS = 6
MOST_TURNS = 8
"""Earlier questions that are read."""

_FRAGMENT = 6  # words of a question that goes on from the one before
_LONGEST_COMPARISON = 500  # characters of a question that compares two things
_SUBJECT = 12  # words of a subject
_OBJECT = 4  # words after a possessive that belong to it

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_WORD = re.compile(r"[^\W_](?:[\w.'’/:+#@-]*[\w+#])?(?:\(\))?|[_][\w.]+")
_SENTENCE = re.compile(r"[^.!?？؟。！]*(?:[.!?](?!\s|$)[^.!?？؟。！]*)*[.!?？؟。！]*")
_ENDS = " \t?!.,;:？؟。！¿¡"
_FRAME = re.compile(
    r"^\s*(?:and |und |et |y |и )?in [\"“„«](?P<title>[^\"”“»]{1,200})[\"”“»],\s+", re.IGNORECASE
)
_ABOUT = re.compile(
    r",?\s+according to [\"“](?P<title>[^\"”]{1,200})[\"”]|"
    r"^\s*according to [\"“](?P<other>[^\"”]{1,200})[\"”],\s+",
    re.IGNORECASE,
)
_NAME = re.compile(r"[^\W\d_a-zß-öø-ÿа-яё][\w'’-]+(?: (?:de|von|van|da|di|del|la|le|of|der) )?"
                   r"(?: ?[^\W\d_a-zß-öø-ÿа-яё][\w'’-]+)+")  # fmt: skip

_CAPITAL = r"[^\W\d_a-zß-öø-ÿа-яё][\w’'-]*"
_NAMED = re.compile(rf"{_CAPITAL}(?: {_CAPITAL})*")
_EACH_NAMED = re.compile(
    rf"\b(?P<before>\w+) (?P<names>{_NAMED.pattern}(?:, {_NAMED.pattern})*,? "
    rf"(?:and|or|und|oder|et|ou|y|e|o|u|и|или) (?P<again>(?P=before) )?{_NAMED.pattern})"
)
_BOTH = frozenset(("between", "zwischen", "entre", "между"))
"""Prepositions that are about two things at once."""

_TOGETHER = frozenset(
    ("signs", "symptoms", "anzeichen", "symptome", "signes", "symptômes", "signos", "síntomas",
     "признаки", "симптомы")
)  # fmt: skip
"""Aspects that are one when they are asked for together."""

_TITLES = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "hr", "fr", "frl", "mme", "mlle", "sr", "sra", "srta",
    "dra", "vs", "nr", "bzw", "ca",
))  # fmt: skip
"""Abbreviations that a name or a number follows."""

Titles = Callable[[str], Sequence[str]]
"""The titles and headings of the passages that a question finds."""


@dataclass(frozen=True)
class _Word:
    text: str
    start: int
    end: int

    @property
    def key(self) -> str:
        return self.text.casefold().replace("’", "'")


@dataclass(frozen=True)
class _Before:
    """What the conversation is about so far."""

    question: str = ""
    subject: str = ""
    answer: str = ""
    title: str = ""
    """Of the document that the question named."""


def understand(text: str, turns: Sequence[Turn] = (), *, titles: Titles | None = None) -> Question:
    """A question, the last one of a conversation, as it is understood.

    ``titles`` helps to tell what an earlier question was about.
    """
    asked, notes = _cleaned(text)
    language = language_of(asked)
    if language is None and len(_words(asked)) <= _FRAGMENT:
        language = next((own for turn in reversed(turns[-MOST_TURNS:])
                         if (own := language_of(turn.question)) is not None), None)  # fmt: skip
    if language is None:
        return _untold(text, asked, turns, notes)
    before = _before(turns, titles)
    alone = _completed_within(asked, before, language)
    parts = _parts(alone, language)
    if len(parts) > MOST_PARTS:
        notes += (f"of {len(parts)} questions the first {MOST_PARTS} are answered",)
        parts = parts[:MOST_PARTS]
    if len(parts) < 2:
        return replace(_single(alone, language), text=text, notes=notes)
    parts = _completed(parts, language, titles)
    each = tuple(_single(part, language) for part in parts)
    return Question(
        text, alone, "fact", tuple(parts), None, language.code, each=each,
        subject=each[0].subject, notes=notes,
    )  # fmt: skip


def framed(question: str) -> tuple[str, str]:
    """A question, and the title of the document that it names: "according to ...", "In ..., "."""
    for form in (_FRAME, _ABOUT):
        if found := form.search(question):
            return form.sub("", question), next(filter(None, found.groups()))
    return question, ""


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
            noun = next((word for word in _words(after) if word.key not in language.function), None)
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
    if not turns or len(_words(asked)) > _FRAGMENT:
        return Question(text, asked, parts=(asked,), notes=notes)
    earlier, _ = _cleaned(turns[-1].question)
    return Question(text, f"{earlier} {asked}".strip(), parts=(asked,), notes=notes)


def _before(turns: Sequence[Turn], titles: Titles | None) -> _Before:
    before = _Before()
    for turn in turns[-MOST_TURNS:]:
        asked, _ = _cleaned(turn.question)
        language = language_of(asked)
        if language is None:
            before = _Before(asked, before.subject, turn.answer)
            continue
        alone = _completed_within(asked, before, language)
        last = _parts(alone, language)[-1:] or [alone]
        found = titles(last[0]) if titles is not None else ()
        core, title = framed(last[0])
        subject = _subject(core, language, found)
        answer = turn.answer[:LONGEST_QUESTION]
        before = _Before(core, subject or before.subject, answer, title or before.title)
    return before


def _single(alone: str, language: Language) -> Question:
    """One question: its kind, and what that needs."""
    subject = _subject(alone, language)
    question = Question(alone, alone, "fact", (alone,), None, language.code, subject=subject)
    for form in language.comparisons if len(alone) <= _LONGEST_COMPARISON else ():
        if found := form.search(alone):
            groups = found.groupdict()
            sides = tuple(_bare(groups[side], language) for side in ("a", "b"))
            if all(sides):
                by = (groups.get("by") or "").strip()
                parts = tuple(f"{side} {by}".strip() for side in sides)
                return replace(question, asks="comparison", sides=sides, parts=parts)
    asks: Asks = "fact"
    body = alone.strip(_ENDS)
    if found := language.summary.search(body):
        named = next((part for part in found.groupdict().values() if part), "")
        return replace(question, asks="summary", document=named.strip(_ENDS))
    if language.count.search(body) and expected(question) != "frequency":
        asks = "count"
    elif language.every.search(body):
        asks = "list"
    return replace(question, asks=asks)


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
    for sentence in _sentences(text):
        if not sentence.strip(_ENDS):
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


def _sentences(text: str) -> Iterator[str]:
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


def _asks(sentence: str, language: Language) -> bool:
    """Whether a sentence without a question mark asks."""
    body = language.lead.sub("", sentence.strip(_ENDS))
    return bool(language.interrogative.match(body) or language.every.search(body)
                or language.summary.search(body))  # fmt: skip


def _coordinated(sentence: str, language: Language) -> list[str]:
    """A sentence cut where another question begins: "what is X and how is it treated"."""
    cuts, begin = [], 0
    for found in language.joining.finditer(sentence):
        rest = sentence[found.end() :]
        first = _words(rest[:80])[:1]
        if language.interrogative.match(rest) or (
            first and first[0].key in language.auxiliaries and _interrogative(sentence, language)
        ):
            cuts.append(sentence[begin : found.start()])
            begin = found.end()
    cuts.append(sentence[begin:])
    return [cut.strip() for cut in cuts if cut.strip(_ENDS)]


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
    words = _words(sentence)
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


def _completed(parts: list[str], language: Language, titles: Titles | None) -> list[str]:
    """Parts that can each be understood alone."""
    found: list[str] = []
    before = _Before()
    for place, part in enumerate(parts):
        bare = _bare_interrogative(part, language)
        if bare and place + 1 < len(parts) and not found:
            part = _instead(bare, parts[place + 1], language)
        elif place:
            part = _complete(part, before, language, within=True)
        found.append(part)
        subject = _subject(part, language, titles(part) if titles is not None else ())
        before = _Before(part, subject or before.subject)
    return found


# What a question leaves to the conversation.


def _completed_within(asked: str, before: _Before, language: Language) -> str:
    """A complete question, with the document that an earlier one named."""
    alone = _complete(asked, before, language)
    depends = alone != _without_lead(asked, language)
    if not before.title or not depends or framed(alone)[1]:
        return alone
    return f'In "{before.title}", {alone[:1].lower()}{alone[1:]}'


def _complete(
    asked: str, before: _Before, language: Language, *, within: bool = False
) -> str:  # fmt: skip
    """A question that can be understood without the one before; ``within``: which is a part of the
    same, so that a noun with an article may be a new subject."""
    question = _without_lead(asked, language)
    if not before.question:
        return question
    elliptic = language.elliptic.match(question)
    rest = question[elliptic.end() :] if elliptic else question
    first = _words(rest[:80])[:1]
    asks = _interrogative(rest, language) or (first and first[0].key in language.auxiliaries)
    if bare := _bare_interrogative(rest, language):
        return _instead(bare, before.question, language)
    words = _words(rest)
    if words and not asks and len(words) <= _FRAGMENT and not language.every.search(rest) and (
        elliptic or (question.endswith("?") and not _has(words, language.auxiliaries))
    ):  # fmt: skip
        return _continued(rest, before, language)
    if elliptic and asks:
        question = rest[:1].upper() + rest[1:]
    if not before.subject:
        return question
    return _with_subject(question, before, language, within=within)


def _without_lead(asked: str, language: Language) -> str:
    """Without what is said beside a question, before it in its sentence included."""
    said = list(_sentences(asked))
    left = [each for each in said if not _introduces(each, language)]
    question = "".join(left if "".join(left).strip(_ENDS) else said).strip().lstrip("¿¡ ")
    while (found := language.lead.match(question)) and found.end() < len(question):
        question = question[found.end() :]
    return question or asked


def _introduces(sentence: str, language: Language) -> bool:
    body = sentence.strip(_ENDS)
    found = language.lead.match(body)
    rest = body[found.end() :] if found else body
    return any(language.introduction.fullmatch(each) for each in (body, rest) if each.strip(_ENDS))


def _bare_interrogative(text: str, language: Language) -> str:
    """The question word of a question that has nothing else: "why?", "since when?"."""
    body = text.strip(_ENDS)
    found = language.interrogative.match(body)
    return body if found and found.end() == len(body) else ""


def _instead(interrogative: str, question: str, language: Language) -> str:
    """A question with another question word."""
    body = question.strip(_ENDS)
    found = language.interrogative.match(body)
    rest = body[found.end() :] if found else f" {body}"
    return f"{interrogative}{rest}?"


def _continued(rest: str, before: _Before, language: Language) -> str:
    """A question that goes on from the one before: "and in Germany?", "and the treatment?"."""
    said = rest.strip(_ENDS)
    words = _words(said)
    if not words:
        return rest
    asked = before.question.rstrip(_ENDS)
    first = words[0].key
    if first in language.of and len(words) > 1 and first not in language.articles:
        said, words = said[words[1].start :], words[1:]
    elif first in language.prepositions:
        there = [word for word in _words(asked) if word.key == first]
        if there:
            end = _phrase_end(asked, there[-1], language)
            return f"{asked[: there[-1].start]}{said}{asked[end:]}?"
        return f"{asked} {said}?"
    if not before.subject:
        return f"{asked} {said}?"
    if _has(words, language.possessives | language.pronouns - language.articles):
        return _with_subject(f"{said}?", before, language)
    content = [word for word in words if word.key not in language.function]
    if content and all(word.key in language.aspects for word in content):
        what = _bare(said, language)
        return language.possessed.format(what=what, whose=before.subject) + "?"
    place = asked.casefold().rfind(before.subject.casefold())
    if place < 0 or len(asked.casefold()) != len(asked):
        return f"{asked} {said}?"
    head = asked[:place]
    if first in language.articles:  # in the place of the one that is there
        own = _words(head)[-1:]
        if own and own[0].key in language.articles and not head[own[0].end :].strip():
            head = head[: own[0].start]
    return f"{head}{said}{asked[place + len(before.subject) :]}?"


def _phrase_end(text: str, preposition: _Word, language: Language) -> int:
    """Where the phrase ends that a preposition begins."""
    end = preposition.end
    for word in _words(text):
        if word.start < preposition.end:
            continue
        between = text[end : word.start]
        if word.key in language.prepositions or "," in between:
            break
        end = word.end
    return end


def _with_subject(
    question: str, before: _Before, language: Language, *, within: bool = False
) -> str:  # fmt: skip
    """A question with what its pronouns stand for; or with the subject that it lacks."""
    named = _named_again(question, before.subject, language, within=within)
    if named is not None:
        return named
    if language.inverted is not None and (found := language.inverted.search(question)):
        earlier = [word for word in _words(question[: found.start()])
                   if word.key not in language.function]  # fmt: skip
        if not earlier and not language.impersonal.search(question):
            verb = f"{question[: found.start()]}{found['verb']}"
            return f"{verb} {before.subject}{question[found.end() :]}"
    words = _words(question)
    impersonal = [found.span() for found in language.impersonal.finditer(question)]
    for place, word in enumerate(words):
        if any(start <= word.start < end for start, end in impersonal):
            continue
        subject = _meant(word, before, language)
        following = words[place + 1] if place + 1 < len(words) else None
        if word.key in language.possessives and _owns(word, following, language):
            return _possessive(question, words, place, subject, language)
        if word.key in language.pronouns and _stands_alone(words, place, language):
            return f"{question[: word.start]}{subject}{question[word.end :]}"
        if word.key in language.places and following is None:
            return f"{question[: word.start]}{language.inside} {subject}{question[word.end :]}"
    content = [word for word in words if word.key not in language.function]
    body = question.rstrip(_ENDS)
    if content and all(word.key in language.aspects for word in content):
        said = language.possessed.format(what=body, whose=before.subject)
        return f"{said.removeprefix(language.possessed.partition('{')[0])}?"
    if language.verbless is not None and language.verbless.match(question):
        return f"{body} {before.subject}?"
    return question


def _named_again(
    question: str, subject: str, language: Language, *, within: bool
) -> str | None:  # fmt: skip
    """With the subject for "this disease", and with it behind "the disease", which may be another
    one."""
    words = _words(question)
    for place, (one, other) in enumerate(pairwise(words)):
        if one.key not in language.demonstratives or other.key not in language.classes:
            continue
        follows = words[place + 2].key if place + 2 < len(words) else ""
        if one.key not in language.articles:
            return f"{question[: one.start]}{subject}{question[other.end :]}"
        # "the city of Ulm" is named
        if not within and follows not in language.of and other.key not in subject.casefold():
            return f"{question[: other.end]} {subject}{question[other.end :]}"
    return None


def _meant(word: _Word, before: _Before, language: Language) -> str:
    """What a pronoun stands for: a person may be in the answer alone."""
    if word.key in language.persons:
        asked = before.question.casefold()
        for found in _NAME.finditer(before.answer):
            if found[0].casefold() not in asked:
                return found[0].strip()
    return before.subject


def _owns(word: _Word, following: _Word | None, language: Language) -> bool:
    if following is None:
        return False
    if word.key not in language.pronouns:
        return True
    if following.key in language.function:
        return False
    return following.key in language.aspects or (
        language.nouns_capitalised and following.text[0].isupper()
    )


def _possessive(
    question: str, words: list[_Word], place: int, subject: str, language: Language
) -> str:
    """With "the most common type of X" for "its most common type"."""
    last = place + 1
    while last + 1 < len(words) and last - place < _OBJECT:
        own, following = words[last], words[last + 1]
        both = last + 2 < len(words) and own.key in language.aspects and (
            following.key in language.conjunctions and words[last + 2].key in language.aspects
        )  # fmt: skip
        if both:
            last += 2
            break
        if own.key in language.aspects or (
            following.key in language.function and own.key not in language.function
        ):
            break
        last += 1
    what = question[words[place + 1].start : words[last].end]
    said = language.possessed.format(what=what, whose=subject)
    return question[: words[place].start] + said + question[words[last].end :]


def _stands_alone(words: list[_Word], place: int, language: Language) -> bool:
    """Whether a word that may be a pronoun is one, and no article or conjunction."""
    word = words[place]
    if word.key not in language.demonstratives | language.articles | {"one", "ones"}:
        return True
    following = words[place + 1] if place + 1 < len(words) else None
    previous = words[place - 1] if place else None
    if previous is None or following is None:
        return True
    after = previous.key in language.function and previous.key not in language.articles
    ends = following.key in language.function or language.verb_last.match(following.text)
    return after and bool(ends) and not following.text[0].isupper()


# What a question is about.


def _subject(question: str, language: Language, titles: Sequence[str] = ()) -> str:
    """The part of a question that names what it is about; empty where it cannot be told."""
    body = _ABOUT.sub("", question).strip(_ENDS)
    if named := _titled(body, titles):
        return named
    framed = _FRAME.match(body)
    body = body[framed.end() :] if framed else body
    words = _words(body)
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


def _is_verb(word: _Word, following: _Word, language: Language) -> bool:
    if word.key in language.function:
        return False
    if language.verb_last.match(word.text) or following.key in language.articles:
        return True
    return bool(language.articles) and not (word.text[0].isupper() or following.text[0].islower())


def _phrase(words: list[_Word], language: Language, verb_last: bool) -> list[_Word]:
    """Of the words after the verb those that name the subject."""
    for place in range(len(words) - 1, 0, -1):
        owned = words[place].key in language.of and place + 1 < len(words)
        if owned and words[place - 1].key in language.aspects:
            words = words[place + 1 :]
            break
    if len(words) > 2 and words[0].text.islower() and words[1].key in language.articles:
        words = words[1:]  # a verb: "se presentó el X"
    while words and ((words[0].key in language.aspects and not language.of)
                     or (words[0].key in language.function
                     and words[0].key not in language.pronouns - language.articles)):  # fmt: skip
        words = words[1:]
    if words and words[0].key in language.pronouns:
        return []
    end = next((at for at in range(1, len(words)) if words[at].key in language.prepositions
                and words[at].key not in language.of), len(words))  # fmt: skip
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


def _titled(body: str, titles: Sequence[str]) -> str:
    """The longest stretch of a question that is a title."""
    words, best = _words(body), ""
    keys = [_singular(word.key) for word in words]
    for title in titles:
        wanted = [_singular(word.key) for word in _words(title)]
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


def _bare(text: str, language: Language) -> str:
    """A phrase without the article before it."""
    words = _words(text)
    while len(words) > 1 and words[0].key in language.articles:
        words = words[1:]
    return text[words[0].start :].strip(_ENDS) if words else ""


def _interrogative(text: str, language: Language) -> bool:
    return language.interrogative.match(text.lstrip("¿¡ \"'“„«")) is not None


def _has(words: Sequence[_Word], keys: frozenset[str]) -> bool:
    return any(word.key in keys for word in words)


def _words(text: str) -> list[_Word]:
    return [_Word(found[0], found.start(), found.end()) for found in _WORD.finditer(text)]

"""Names of people, without a model: by a list of names, and by what stands around them.

Words with a capital that stand together are read as one name or several. Each part has a weight
by what is known of it, and what stands before and after adds to it; two are enough (``_ENOUGH``).
So a given name that is nothing else (``Anna``) is found alone, a surname beside a given name,
initials, a title, a greeting, a verb of saying, or where the same text names its bearer in full.
What only looks like a name is taken out by its neighbours: firms (``Johnson & Johnson``), diseases
(``Parkinson's disease``), methods (``Bayes' theorem``), places (``Fort Wayne``).

Not found: names in other letters than Latin and Cyrillic, without a capital, and those that
no list has and nothing around tells. In source code only fields count (``author: Jane Doe``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from linnet.data.privacy import name_words as words
from linnet.data.privacy.name_lists import folded, stem
from linnet.data.privacy.name_tokens import UPPER, Part, Run, is_illness, runs
from linnet.data.privacy.span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

NAME = "NAME"
"""What they are called among private data."""
_ENOUGH = 2.0
_SURE = ("initial", "patronymic", "shaped")
_NO_PART = ("other", "title", "rank", "noun")
_NEVER_ALONE = ("initial", "particle", "other")
_MOST_PARTS = 5
_UNDERSCORED = re.compile(r"(?<![\w.:@$])[^\W_]+(?:_[^\W_]+)+")  # names of files
_BEFORE = 60  # characters before a name that are looked at
_AROUND = 120  # and of its line
_BLOCK = 1_500  # characters of which one language is asked
_OPENING = re.compile(r"(?:\A|[.!?:…\n\r|•·>\"“”„«»‘'’(\[—–-])\s*\Z")
_LABEL = re.compile(
    r"(?:^|[\n\r|;,(\t]|[.!?] )[ \t>*#\"'-]{0,8}(?:[^\W\d_][\w'’.()/-]{0,24}[ \t]){0,2}"
    r"(?P<label>[^\W\d_][\w-]{0,24})[*_\"']{0,3}[ \t]?"
    r"(?::[*_\"']{0,3}[ \t]{0,4}[\"'<(]?|=[ \t]?[\"'])\Z"
)
_TAG = re.compile(
    r"(?:\A|\n)-- ?\n\Z|@(?:author|reviewer|maintainer)[: ]{1,3}\Z|(?:©|\([cC]\))[ 0-9,–-]{0,24}\Z"
)
_WORD_BEFORE = re.compile(r"([^\W\d_][\w'’-]{0,24})[.,]?[ \t\u00a0]\Z")
_TWO_BEFORE = re.compile(
    r"([^\W\d_]{3,24}) (?:of|de|del|di|von|des|der|du|la)(?: la| las| los)? \Z"
    r"|([^\W\d_]{3,24}) d['’]\Z"
)
_WORD_AFTER = re.compile(r"(?:['’]s?)?[ \-\u2010\u2011]([^\W\d_]{1,24})")
_NUMBER_AFTER = re.compile(r"[ -][0-9]")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_LOWER_LONG = re.compile(r"(?<!\w)[^\W\d_A-Z]{3,24}(?!\w)")
_LOWER_WORD = re.compile(r"(?<!\w)[a-zäöüß]{2,12}(?!\w)")
_AND_AFTER = re.compile(r" & [^\W\d_]|(?:,? and| &) (?:Co|Company|Sons?)\b")
_LINE_BEGINS = re.compile(r"(?:\A|[\n\r;|•\t(]|(?<!\w)(?:and|und|et) )[ \t*-]*\Z")
_ENTRY_ENDS = re.compile(r"[ \t]*(?:\Z|[\n\r;|<(\t.])")
_PARTICLES_BEFORE = re.compile(
    r"(?<!\w)(?:van|von|vom|zu|der|den|ter|ten|af|de|da|do|dos|das|del|di|du|le|la|bin|ibn)"
    r"(?: (?:der|den|de|het|la|las|los|le|['’]t)){0,2} \Z"
)
_GIVEN_AFTER = re.compile(
    rf", [{UPPER}][^\W\d_]{{0,24}}(?:[ -][{UPPER}][^\W\d_]{{0,24}}\.?){{0,2}}"
    r"(?=[ \t]*(?:[\n\r;|<(]|\Z))"
)
_OF_ELSE = words.ILLNESSES | words.METHODS | words.ORGANISATIONS | words.BEFORE_PLACES
_WORDS_AFTER = re.compile(r"(?:['’]s?)?(?:[ \-\u2010\u2011][^\W\d_]{1,24}){0,4}")
_MAIL_AFTER = re.compile(r"[\"']?[ \t]{0,3}[<(\[](?:mailto:)?(?:[\w.+'-]{1,64}@|EMAIL>)")
_PERSON_AFTER = re.compile(
    r",? (?:M\.?D|Ph\.?D|Esq|Jr|Sr|LL\.?M|B\.?A|M\.?A|MSc|BSc|RN|CPA|MBA)\b"
    r"|, (?:aged? )?[1-9][0-9](?:,| years)"
    r"| \((?:born|b\.|geb\.|né|née|\*|aged?|род)?[ ]?[0-9]{2,4}[ ,;)–-]"
)
_SIGNED = re.compile(r"([^\W\d_]{3,20})[,.!]?[ \t]*(?:\r?\n[ \t]*){1,3}(?:--?[ \t]*\n)?\Z")


@dataclass
class _Name:
    """A name that was found in a run: of which parts, and how sure it is."""

    parts: list[Part]
    weight: float
    cue: float

    @property
    def given(self) -> bool:
        """Whether it has a given name that is nothing else."""
        return any(part.known.given and not part.known.doubtful for part in self.parts)


def names_of_people(
    text: str, family: Family, called: frozenset[str] = frozenset()
) -> Iterator[Span]:
    """Names of people in a text; ``called``: of whom other texts speak (:func:`called_in`)."""
    reading = _Reading(text, family in ("code", "symbols", "log"))
    reading.called |= called
    yield from reading.spans()
    for joined in () if reading.fields_only else _UNDERSCORED.finditer(text):
        for span in _Reading(joined[0].replace("_", " "), False).spans():
            if "_" in joined[0][span.start : span.end]:
                yield Span(joined.start() + span.start, joined.start() + span.end, NAME)


def called_in(text: str) -> frozenset[str]:
    """By which words the people may be called elsewhere whom a text names in full."""
    reading = _Reading(text, False)
    for _ in reading.spans():
        pass
    return frozenset(reading.called)


@dataclass
class _Reading:
    """One text, read once for names that show themselves, once for those named before."""

    text: str
    fields_only: bool
    called: set[str] = field(default_factory=set)
    _german: dict[int, bool] = field(default_factory=dict)

    def spans(self) -> Iterator[Span]:
        """Where names stand."""
        found: list[Span] = []
        left: list[Part] = []
        before: Run | None = None
        for run in runs(self.text):
            inverted = self._inverted(before, run) if before else None
            if inverted is not None and not self.fields_only:
                if found and found[-1].end > inverted[0]:
                    found.pop()
                found.append(Span(inverted[0], inverted[1], NAME))
                run = Run(run.parts[inverted[2] :], run.gaps[inverted[2] :])
            at = 0
            alone = all(part.kind in _NEVER_ALONE for part in run.parts)
            while at < len(run.parts) and not alone:
                name = self._name_at(run, at)
                if name is None:
                    left.append(run.parts[at])
                    at += 1
                    continue
                found.append(self._span(name))
                self._remember(name)
                at = run.parts.index(name.parts[-1], at) + 1
            before = run if run.parts else None
        found += self._named_before(left)
        yield from found

    def _span(self, name: _Name) -> Span:
        """Where a name stands: with the particles before it, and in a field what comes after a
        comma."""
        start, end = name.parts[0].start, name.parts[-1].end
        if not name.parts[0].known.given or name.cue >= _ENOUGH:
            low = max(0, start - _AROUND)
            if particles := _PARTICLES_BEFORE.search(self.text, low, start):
                start = particles.start()
        if name.cue >= 3 and (given := _GIVEN_AFTER.match(self.text, end)):
            end = given.end()
        return Span(start, end, NAME)

    # -- one name --------------------------------------------------------------------------

    def _name_at(self, run: Run, at: int) -> _Name | None:
        """The name that begins with a part of a run."""
        first = run.parts[at]
        titled = at > 0 and run.parts[at - 1].kind == "title" and first.known.family
        if first.kind in _NO_PART and not (titled and first.kind in ("noun", "rank")):
            return None
        cue = self._cue(run, at)
        if at == 0 and _MAIL_AFTER.match(self.text, run.parts[-1].end):  # Jane Doe <jane@...>
            cue += 3.0
        if self.fields_only and cue < _ENOUGH:
            return None
        parts = self._taken(run, at, cue)
        while parts and parts[-1].kind in ("initial", "particle"):
            parts = parts[:-1]
        if not parts:
            return None
        if len(parts) == 1 and parts[0].kind == "capitals" and cue < _ENOUGH:
            return None
        cue += self._cue_after(parts[-1].end)
        name = _Name(parts, self._weight(parts) + cue, cue)
        return name if name.weight >= _ENOUGH and not self._is_something_else(name) else None

    def _taken(self, run: Run, at: int, cue: float) -> list[Part]:
        """As many parts as belong to one name: given names or initials, then surnames."""
        strong = cue >= _ENOUGH
        wrapped = not strong and not _begins_line(self.text, run.parts[at].start)
        taken: list[Part] = []
        given = surnames = 0
        for number in range(at, min(len(run.parts), at + _MOST_PARTS)):
            part, gap = run.parts[number], run.gaps[number] if number > at else ""
            if gap == "line" and not (wrapped and part.known.family):
                break
            if taken and taken[-1].kind == "particle":
                gap = "particle"
            if gap == "particle" and not _is_sure(taken[0]) and self._is_german(part.start):
                break  # im Winter den Stein
            is_given = part.known.given or part.kind in ("initial", "patronymic")
            is_surname = part.known.family or part.kind == "shaped"
            if part.kind in _NO_PART:
                sure = given and not surnames and is_surname and _is_sure(taken[0])
                if taken and not (sure and (strong or part.kind == "noun")):
                    break
                surnames += 1
            elif part.kind == "particle":
                if not taken and not strong:
                    break
            elif (is_given and (surnames == 0 or part.kind in ("initial", "patronymic"))) or (
                is_given and taken and not given and surnames == 1
            ):
                given += 1
            elif (
                (is_surname and surnames < 2)
                or (gap == "particle" and taken)
                or (strong and (not taken or not self._is_german(part.start)))
            ):
                surnames += 1
            elif not surnames and (given or self._may_begin(run, number, named=cue >= 1)):
                if taken and (self._is_german(part.start) or part.kind == "capitals"):
                    break
                surnames += bool(given)
                given += not given
            else:
                break
            taken.append(part)
        return taken

    def _may_begin(self, run: Run, number: int, *, named: bool) -> bool:
        """Whether a word of no list may be a given name: a surname that is nothing else follows,
        and it has a capital for no other reason or is ``named`` as a person."""
        part = run.parts[number]
        after = run.parts[number + 1] if number + 1 < len(run.parts) else None
        return (
            after is not None and run.gaps[number + 1] != "line" and part.kind == "word"
            and not part.proper and len(part.key) > 2
            and (after.known.family or after.kind == "shaped") and not after.known.doubtful
            and not after.proper and (named or not self._capital_is_explained(part))
        )  # fmt: skip

    def _weight(self, parts: list[Part]) -> float:
        """What words say by themselves that stand together."""
        weight = sum(self._weight_of(part, first=part is parts[0]) for part in parts)
        if len(parts) > 1:
            first = parts[0]
            if first.kind == "word" and not (first.known.given or first.known.family):
                weight += 0.5  # only where a surname follows (_may_begin)
            if not any(part.kind in _SURE or _is_sure(part) for part in parts):
                weight -= 1.0
        return weight

    def _weight_of(self, part: Part, *, first: bool) -> float:
        known, kind = part.known, part.kind
        if kind == "patronymic":
            return 2.0
        if kind in ("initial", "shaped"):
            return 1.0
        if kind == "particle":
            return 0.0
        sure = _is_sure(part)
        if kind == "capitals":
            return 1.0 if sure else 0.25
        if sure:
            return 2.0 if known.given else 1.0
        explained = part.proper or self._capital_is_explained(part, first=first)
        if known.given:
            return 1.0 if explained else 1.5
        if known.family:
            return 0.5 if explained else 1.0
        return 0.0 if explained else 0.5

    # -- what stands around ----------------------------------------------------------------

    def _capital_is_explained(self, part: Part, *, first: bool = True) -> bool:
        """Whether a word has its capital from its place: a sentence begins, a title, German."""
        before = self.text[max(0, part.start - 8) : part.start]
        if first and _OPENING.search(before):
            return True
        return self._is_german(part.start) or self._is_title(part)

    def _is_title(self, part: Part) -> bool:
        """Whether most words around it in its line have a capital."""
        low, high = max(0, part.start - _AROUND), min(len(self.text), part.end + _AROUND)
        low = self.text.rfind("\n", low, part.start) + 1 or low
        end = self.text.find("\n", part.end, high)
        around = self.text[low : end if end >= 0 else high]
        found = _LONG_WORD.findall(around)
        capitals = sum(word[0].isupper() for word in found)
        return len(found) > 2 and capitals > 0.7 * len(found)

    def _is_german(self, at: int) -> bool:
        """Whether nouns have a capital here."""
        number = at // _BLOCK
        if number not in self._german:
            block = self.text[max(0, number * _BLOCK - 200) : (number + 1) * _BLOCK + 200]
            lower = _LOWER_WORD.findall(block)
            german = sum(word in words.GERMAN for word in lower)
            self._german[number] = german > 1 and german > 0.15 * len(lower)
        return self._german[number]

    def _cue(self, run: Run, at: int) -> float:
        """What stands before says that a person follows."""
        start = run.parts[at].start
        before = run.parts[at - 1] if at else None
        wrapped = before is not None and run.gaps[at] == "line"
        if before is not None and before.kind == "title":
            listed = run.parts[at].known.family or run.parts[at].known.given
            if not wrapped or (listed and not _begins_line(self.text, before.start)):
                return 3.0
        elif before is not None and before.kind == "rank" and not wrapped:
            return 1.0
        before_text = self.text[max(0, start - _BEFORE) : start]
        before_text = _PARTICLES_BEFORE.sub("", before_text)
        if label := _LABEL.search(before_text):
            key = folded(label["label"])
            if key in words.OF_PERSONS:
                return 3.0
            if key in words.MAYBE_OF_PERSONS:
                return 1.0
        if _TAG.search(before_text):
            return 2.0
        if word := _WORD_BEFORE.search(before_text):
            key = folded(word[1])
            if key in words.TITLES or key in words.GREETINGS:
                return 2.0 if key in words.TITLES else 1.5
            return 1.0 if key in words.RELATIONS else 0.5 if key in words.NAMED else 0.0
        closing = _SIGNED.search(before_text)
        return 2.0 if closing and folded(closing[1]) in words.CLOSINGS else 0.0

    def _cue_after(self, end: int) -> float:
        """What stands after says that a person was named."""
        if _MAIL_AFTER.match(self.text, end):
            return 3.0
        if _PERSON_AFTER.match(self.text, end):
            return 1.0
        after = _WORD_AFTER.match(self.text, end)
        return 1.0 if after and folded(after[1]) in words.SAYS else 0.0

    def _is_something_else(self, name: _Name) -> bool:
        """Whether its neighbours make it a firm, a place, an illness or a method."""
        if name.cue >= 3:
            return False
        start, end = name.parts[0].start, name.parts[-1].end
        if len(name.parts) == 1 and _NUMBER_AFTER.match(self.text, end):
            return True
        if after := _WORD_AFTER.match(self.text, end):
            key = folded(after[1])
            if key in words.METHODS and not name.given:
                return True
            following = _WORDS_AFTER.match(self.text, end)
            if following and any(is_illness(folded(word)) for word in following[0].split()):
                return True
            if key in words.ORGANISATIONS and after[1][0].isupper():
                return True
        before = self.text[max(0, start - _BEFORE) : start]
        one = _WORD_BEFORE.search(before)
        if one and folded(one[1]) in words.BEFORE_PLACES:
            return True
        two = _TWO_BEFORE.search(before)
        if two and folded(two[1] or two[2]) in _OF_ELSE:
            return True
        firm = before.endswith(" & ") or _AND_AFTER.match(self.text, end) is not None
        return firm and (len(name.parts) == 1 and (not name.given or name.parts[0].known.family))

    # -- names in two parts of a text --------------------------------------------------------

    def _inverted(self, before: Run, run: Run) -> tuple[int, int, int] | None:
        """``Doe, John``: where it stands, and how many parts of the second run belong to it."""
        surname, given = before.parts, run.parts[0]
        if self.text[surname[-1].end : given.start] != ", " or len(surname) > 3:
            return None
        if any(part.kind in (*_NO_PART, "initial") or part.proper for part in surname):
            return None
        sure = given.known.given and not given.known.doubtful and not given.proper
        if not sure and given.kind != "initial":
            return None
        count = 1
        while count < len(run.parts) and count < 4 and run.gaps[count] != "line" and (
            run.parts[count].kind in ("initial", "patronymic") or run.parts[count].known.given
        ):  # fmt: skip
            count += 1
        follows = run.parts[count] if count < len(run.parts) and run.gaps[count] != "line" else None
        if follows is not None and follows.known.family:
            return None  # Anna Maier, Peter Braun
        begins = _LINE_BEGINS.search(self.text[max(0, surname[0].start - 8) : surname[0].start])
        last = surname[-1].known
        listed = last.family or surname[-1].kind == "shaped"
        alone = not any(part.known.given for part in surname)
        if not (listed and not last.doubtful and (alone or begins)) and not (
            begins and sure and _ENTRY_ENDS.match(self.text, run.parts[count - 1].end)
        ):
            return None
        return surname[0].start, run.parts[count - 1].end, count

    def _remember(self, name: _Name) -> None:
        """The words of a name by which the same person may be called later."""
        last = name.parts[-1]
        if name.given or name.cue >= _ENOUGH:
            self.called |= {
                stem(part.key) for part in name.parts[:-1]
                if part.known.given and not part.proper and len(part.key) > 2
            }  # fmt: skip
        if len(last.key) < 3 or last.proper or last.kind == "capitals":
            return
        listed = (last.known.family or last.known.given) and not last.known.doubtful
        if name.cue >= _ENOUGH or (len(name.parts) > 1 and (listed or self._is_name_here(last))):
            self.called.add(stem(last.key))

    def _is_name_here(self, part: Part) -> bool:
        """Whether a word is not written without a capital as well in this text."""
        return self.text[part.start : part.end].lower() not in self._lower

    @cached_property
    def _lower(self) -> frozenset[str]:
        return frozenset(_LOWER_LONG.findall(self.text))

    def _named_before(self, left: list[Part]) -> Iterator[Span]:
        """Surnames of people whom the text names in full."""
        for part in left:
            if part.kind not in ("word", "shaped") or stem(part.key) not in self.called:
                continue
            doubtful = part.known.doubtful or not (part.known.family or part.known.given)
            if doubtful and self._capital_is_explained(part):
                continue
            before = _WORD_BEFORE.search(self.text[max(0, part.start - _BEFORE) : part.start])
            if before and folded(before[1]) in words.ARTICLES:
                continue
            if not self._is_something_else(_Name([part], 0.0, 0.0)):
                yield Span(part.start, part.end, NAME)


def _is_sure(part: Part) -> bool:
    """Whether it is a name and nothing else."""
    known = part.known
    return (known.given or known.family) and not (known.doubtful or part.proper)


def _begins_line(text: str, at: int) -> bool:
    line = text.rfind("\n", max(0, at - _AROUND), at)
    return not text[max(line + 1, at - _AROUND) : at].strip(" \t*>#|-")

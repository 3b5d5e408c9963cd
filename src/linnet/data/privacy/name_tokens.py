"""Words with a capital, what is known of each, and which of them stand together."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from linnet.data.privacy import name_words as words
from linnet.data.privacy.name_lists import UNKNOWN, UNSEEN, Known, folded, is_place, known

_LONGEST = 40  # characters of a word that may be a name
_MOST_TOGETHER = 12  # words; longer rows are titles and tables
UPPER = "".join(
    chr(code) for code in (*range(0x41, 0x530), *range(0x1E00, 0x2000))
    if chr(code).isupper() and code < sys.maxunicode
)  # fmt: skip
# Inside a word nobody sees them; before a capital they part two words.
_UNSEEN = f"[{UNSEEN}]"
_LETTER = rf"(?:[^\W\d_]|[\u0300-\u036f]|{_UNSEEN}++(?=[^\W\d_{UPPER}]))"
_WORD = re.compile(
    rf"(?<![^\W\d_])[{UPPER}](?:{_LETTER}|['’](?={_LETTER})|[-\u2010\u2011](?={_LETTER}))*+"
)
_BLANK = re.compile(rf"(?:[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]|{_UNSEEN}){{1,3}}")
_LINE_END = re.compile(r"[ \t]*(?:\r\n?|[\n\v\f\x85\u2028\u2029])[ \t]*")
_EMPHASIS_BEFORE = re.compile(r"(?<![\w.:/\\@$-])_{1,3}\Z")
_EMPHASIS_AFTER = re.compile(r"_{1,3}(?!\w)")
_POSSESSIVE = re.compile(r"['’][sS]?\Z")
_INNER = re.compile(rf"(?<=[^\W\d_{UPPER}])[{UPPER}]|(?<=[{UPPER}])[{UPPER}]")
_PREFIX = re.compile(r"(?:Mc|Mac|O['’]|D['’]|L['’]|De|Di|Du|La|Le|Van|Fitz|St)(?=[^\W\d_]{3})")
# The rest of a name in code, an address or a path.
_TIED_BEFORE = re.compile(r"[\w@/\\$#&=<_]\Z|[\w\])][.:]\Z|::\Z|\.\Z")
_TIED_AFTER = re.compile(r"[\w@/\\(\[=_]|\.\w|::|:/|-\d")
_PARTICLE = (
    r"(?:van|von|vom|zu|zur|der|den|de|del|della|da|di|dos|das|du|des|la|le|las|los|ten|ter|af|av"
    r"|bin|ibn|bint|ben|y)"
)
_PARTICLES = re.compile(
    rf" (?:{_PARTICLE}(?: {_PARTICLE}){{0,2}} |(?:{_PARTICLE} )?(?:al|el|as|ad|ar|ash)-|[dlDL]['’]"
    r"|(?:de|della) l['’])"
)
_PARTICLE_AFTER = re.compile(rf"(?: [Dd]er?n?| [Ll]a)?(?: |['’])[{UPPER}]")
_PATRONYMIC = re.compile(r".{2,}(?:ович|евич|ьич|овна|евна|ична|ovich|evich|ovna|evna)")
_PATRONYMIC_CASES = re.compile(r"(?<=вич)(?:а|у|ем|е)\Z|(?<=вн)(?:ы|е|у|ои)\Z")
_SURNAME = re.compile(
    r".{2,}(?:ovic|evic|owski|owska|ewski|ewska|wicz|enko|shvili|adze|opoulos|opoulou|oglu|sdottir"
    r"|[^aeiou]sson|[bdklmnrt]sky|skiy|skaya|ский|ская|ского|ской|скому|ским|скую|цкии|цкая|енко"
    r"|швили|адзе|скии|скои|ович|чук|овои|евои|овым|евым)"
)


@lru_cache(maxsize=1 << 15)
def _known(key: str) -> Known:
    """What is known of a word; of a double one by its parts."""
    pieces = key.split("-")
    if len(pieces) == 1:
        return known(key)
    found = [known(piece) for piece in pieces]
    if all(each == UNKNOWN for each in found):
        return UNKNOWN
    return Known(
        all(each.given for each in found), any(each.family for each in found),
        all(each.doubtful or each == UNKNOWN for each in found),
    )  # fmt: skip


class Part(NamedTuple):
    """A word that may be a part of a name."""

    start: int
    end: int
    key: str
    known: Known
    kind: str
    """``initial``, ``patronymic``, ``shaped`` (like a surname), ``word``, ``capitals``, ``noun``
    (of an institution, but a surname too), ``particle`` (with a capital), ``title``, ``rank`` or
    ``other`` (never part of a name)."""
    proper: bool
    """Its capital says nothing: a month, a place, a language."""


@dataclass
class Run:
    """Parts that stand together, and how each is joined to the one before."""

    parts: list[Part]
    gaps: list[str]


def runs(text: str) -> Iterator[Run]:
    """The parts of a text that stand together, from left to right."""
    run = Run([], [])
    for part in _parts(text):
        gap = _gap(text, run.parts[-1], part) if run.parts else None
        if gap is None or len(run.parts) >= _MOST_TOGETHER:
            if run.parts:
                yield run
            run = Run([], [])
        run.parts.append(part)
        run.gaps.append(gap or "")
    if run.parts:
        yield run


def _parts(text: str) -> Iterator[Part]:
    for match in _WORD.finditer(text):
        start, end = match.span()
        if _is_tied(text, start, end):
            continue
        word = match[0]
        if len(word) > _LONGEST:
            yield Part(start, end, "", UNKNOWN, "other", False)
            continue
        word = _POSSESSIVE.sub("", word)
        pieces = word.replace("\u2010", "-").replace("\u2011", "-").split("-")
        kept = next((n for n, piece in enumerate(pieces) if piece[:1].islower()), len(pieces))
        if 0 < kept < len(pieces) and pieces[kept] not in ("al", "el", "ul"):
            word = word[: len("-".join(pieces[:kept]))]
        part = _part(start, word)
        if part.key == "i" and text[end : end + 1] != ".":  # the pronoun
            part = part._replace(kind="other")
        elif part.key in words.CAPITAL_PARTICLES and _PARTICLE_AFTER.match(text, part.end):
            part = part._replace(kind="particle")
        yield part


def _part(start: int, word: str) -> Part:
    key = folded(word)
    found = _known(key)
    proper = key in words.PROPER or is_place(key)
    return Part(start, start + len(word), key, found, _kind(word, key, found), proper)


def _kind(word: str, key: str, found: Known) -> str:
    if len(word) == 1:
        return "other" if word == "U" else "initial"  # of U.S.
    if key in words.TITLES:
        return "title"
    if key in words.SURNAMES_TOO and found.family:
        return "noun"
    if (
        key in words.NEVER
        or key in words.GREETINGS
        or key in _NOUNS
        or not _LATER_NOUNS.isdisjoint(key.split("-")[1:])
    ):
        return "other"
    if key in words.RANKS:
        return "rank"
    if found == UNKNOWN and is_illness(key):
        return "other"
    if word.isupper():
        return "capitals"
    if _INNER.search(_PREFIX.sub("", word.replace("-", " -"), count=1)):
        return "other"
    if _PATRONYMIC.fullmatch(_PATRONYMIC_CASES.sub("", key)):
        return "patronymic"
    if not found.family and _SURNAME.fullmatch(key):
        return "shaped"
    return "shaped" if word.startswith(("Mc", "Mac", "O'", "O’")) and len(word) > 5 else "word"


def is_illness(key: str) -> bool:
    """Whether a word names what may be called after people: a disease, a part of the body."""
    return key in words.ILLNESSES or _ILLNESS.search(key) is not None


_ILLNESS = re.compile("(?:pathy|omas?|itis|osis|[ae]mias?|trophy|plasia|pathie|opathia|phobia)\\Z")
_NOUNS = words.ILLNESSES | words.METHODS | words.ORGANISATIONS
_LATER_NOUNS = _NOUNS - words.SURNAMES_TOO


def _is_tied(text: str, start: int, end: int) -> bool:
    """Whether a word is a piece of a name in code, of an address or of a path."""
    if (
        not _EMPHASIS_AFTER.match(text, end)
        and _TIED_AFTER.match(text, end)
        and not re.match(r"/[^\W\d_a-z]|\.[^\W\d_a-z]", text[end : end + 2])
    ):
        return True
    before = text[max(0, start - 2) : start]
    if before.endswith("."):
        return not (len(before) == 2 and before[0].isupper())
    if _EMPHASIS_BEFORE.search(text[max(0, start - 4) : start]):
        return False
    return _TIED_BEFORE.search(before) is not None


def _gap(text: str, before: Part, after: Part) -> str | None:
    """How two words are joined, or None where they are not."""
    gap = text[before.end : min(after.start, before.end + 30)]
    if before.end + len(gap) < after.start:
        return None
    if _BLANK.fullmatch(gap):
        return " "
    short = before.kind in ("initial", "title") or before.key == "jr"
    if short and _PARTICLES.fullmatch(gap.removeprefix(".")):
        return "particle"
    if short and gap in (".", ". ", ".\u00a0", ".-", "-"):
        return " "
    if before.kind == "other":
        return None
    if _PARTICLES.fullmatch(gap):
        return "particle"
    if short:
        gap = gap.removeprefix(".")
    return "line" if _LINE_END.fullmatch(gap) else None

"""Postal addresses as written in English, German and French.

Conservative: a house number and a name with a word for a street (``Street``,
``-straße``, ``rue``), whatever name if a flat, postcode, or state with ZIP
follows, a house number followed by postcode and town, or a post-office box. A
street without a number is no address. Words that often follow a number for
other reasons (``Court``, ``Way``, and a year before any of them) need a town,
postcode or unit after them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Span, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family


def _any_of(words: str) -> str:
    return "|".join(words.split())


# English. Names are put together for re.VERBOSE, so that a space is [ ].
_HOUSE = r"[1-9](?<![\w.,$€£/:#+-][1-9])[0-9]{0,4}(?:[A-Za-z]\b|[-/][0-9]{1,4}[A-Za-z]?\b)?"
_NAME = r"""(?:[A-Z][a-zA-Z'’-]{0,30}[a-z'’]|[0-9]{1,3}(?:st|nd|rd|th)|[A-Z]\.|St\.|Dr\.|of|the
    |[A-Z]{1,2})"""
_CLEAR = _any_of("Street Avenue Boulevard Road Lane Drive Parkway Highway Crescent Terrace")
_SHORT = _any_of("St Ave Blvd Rd Ln Dr Pkwy Hwy Cres Ter Ct Pl Sq Cir")
_DOUBTFUL = _any_of(
    "Court Place Square Way Close Gardens Grove Row Mews Hill Circle Trail Alley Walk Quay Wharf "
    "Green Park Loop"
)
_SIDE = r"(?:N|S|E|W|NE|NW|SE|SW)"
_STATE = _any_of(
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
    "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR VI GU MP ON QC BC AB MB NS NB "
    "SK Alabama Alaska Arizona Arkansas California Colorado Connecticut Delaware Florida Georgia "
    "Hawaii Idaho Illinois Indiana Iowa Kansas Kentucky Louisiana Maine Maryland Massachusetts "
    "Michigan Minnesota Mississippi Missouri Montana Nebraska Nevada Ohio Oklahoma Oregon "
    "Pennsylvania Tennessee Texas Utah Vermont Virginia Washington Wisconsin Wyoming Ontario"
)
_ZIP = r"[0-9]{5}(?:-[0-9]{4})?\b"
_POSTCODE = r"[A-Z]{1,2}[0-9][A-Z0-9]?[ ]?[0-9][A-Z]{2}\b"  # United Kingdom
_CANADIAN = r"[A-Z][0-9][A-Z][ ]?[0-9][A-Z][0-9]\b"
_GAP = r"(?:[ ]{0,2}[,\n|][ ]{0,2}|[ ])"
_TOWN = r"[A-Z][a-zA-Z.'’-]{1,24}(?:[ ][A-Z][a-zA-Z.'’-]{1,24}){0,2}"
_ENGLISH = re.compile(
    rf"""{_HOUSE},?[ ](?:{_SIDE}\.?[ ])?(?:{_NAME}[ ]){{1,4}}?
    (?:(?P<clear>{_CLEAR})\b | (?P<short>{_SHORT})\b\.? | (?P<doubtful>{_DOUBTFUL})\b)
    (?:[ ](?:{_SIDE}|North|South|East|West)\b\.?)?
    (?P<unit>{_GAP}(?:(?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|Rm|Flat)\b\.?[ ]?|\#[ ]?)
        [A-Z]?[0-9]{{0,5}}[A-Z]?\b)?
    (?P<town>
        (?:{_GAP}{_TOWN}){{1,2}},?[ ](?:{_STATE})\b(?:[, ]{{1,2}}(?:{_ZIP}|{_CANADIAN}))?
      | (?:{_GAP}{_TOWN}){{0,3}}{_GAP}(?:{_POSTCODE}|{_ZIP})
    )?""",
    re.VERBOSE,
)
# Whatever the street is called, if a flat, a state with its ZIP or a postcode follows.
_ANYWHERE = re.compile(
    rf"""{_HOUSE},?[ \n](?:{_SIDE}\.?[ ])?{_NAME}(?:[ ]{_NAME}){{1,3}}
    (?: ,?[ ](?:Apt|Apartment|Suite|Ste)\b\.?[ ]?[A-Z]?[0-9]{{1,5}}[A-Z]?\b
        (?:{_GAP}{_TOWN},?[ ](?:{_STATE})[ ]{_ZIP})?
      | {_GAP}{_TOWN},?[ ](?:{_STATE})[ ]{_ZIP}
      | (?:(?:,[ ]|[ ]?\n){_TOWN}){{1,3}}(?:,?[ ]|[ ]?\n){_POSTCODE}
    )""",
    re.VERBOSE,
)
_YEAR = re.compile(r"(?:1[5-9]|20)[0-9]{2}\b")

# French: the street comes after the number and begins in lower case.
_WAY = _any_of("rue avenue av\\. boulevard bd place chemin impasse allée quai cours faubourg")
_FRENCH_NAME = r"[A-ZÀ-Ý][\wÀ-ÿ'’-]{1,30}"
_FRENCH = re.compile(
    rf"""{_HOUSE}(?:[ ]?(?:bis|ter|quater)\b)?,?[ ](?i:{_WAY})[ ]
    (?:(?:de|du|des|la|le|les|l['’]|d['’]|aux?|saint|sainte|docteur|général)[ ]?){{0,3}}
    {_FRENCH_NAME}(?:[ -](?:de|du|des|la|{_FRENCH_NAME})){{0,4}}
    (?:{_GAP}(?:F-)?[0-9]{{5}}[ ]{_FRENCH_NAME}(?:[ -]{_FRENCH_NAME}){{0,3}})?""",
    re.VERBOSE,
)
# A number and what may begin a street: everything else is passed over at little cost.
_STARTS = re.compile(
    r"[1-9](?<![\w.,$€£/:#+-][1-9])[0-9]{0,4}(?:[A-Za-z]|[-/][0-9]{1,4}[A-Za-z]?)?"
    r"(?: ?(?:bis|ter|quater))?,?[ \n](?=[A-Z0-9rabpciqf])"
)

# German: the number comes last, so that the search begins at the word for a street.
_STREETS = (
    "traße", "trasse", "str.", "Str.", "llee", "gasse", "Gasse", "-Weg", "-Platz", "-Ring",
    "-Damm", "-Ufer",
)  # fmt: skip
_STREET_NAME = re.compile(
    r"(?<![\w-])(?!(?:Die|Der|Das|In|An|Auf|Zur|Zum|Von|Unsere?|Eine?|Bundess|Lands)(?:[ ]|\Z))"
    r"(?:[A-ZÄÖÜ][a-zäöüß.]{1,24}[ -]){0,3}(?:[A-ZÄÖÜ][a-zäöüß]{1,24}|(?<=[ -])[SA]?)\Z"
)
_GERMAN_NAME = r"[A-ZÄÖÜ][a-zäöüß]{2,30}"
_GERMAN_TOWN = (
    r"(?:(?:D|A|CH|DE|AT)[- ])?[0-9]{4,5} "
    rf"{_GERMAN_NAME}(?:[ -](?:am|an|der|im|a\.|{_GERMAN_NAME})){{0,3}}"
)
_HOUSE_LAST = re.compile(
    rf" [1-9][0-9]{{0,3}}(?: ?[a-z]\b|[-/][0-9]{{1,4}})?(?:{_GAP}{_GERMAN_TOWN})?(?!\w)"
)
_HOUSE_AND_TOWN = re.compile(
    r"[1-9](?<!\w[1-9])[0-9]{0,3}(?:[-/][0-9]{1,4}| ?[a-z])?(?:, | ?\n {0,8}| )"
    rf"(?=(?:[A-Z]{{1,2}}-)?[0-9]{{5}} [A-ZÄÖÜ]){_GERMAN_TOWN}"
)
_ANY_NAME = r"[A-ZÄÖÜ][A-ZÄÖÜa-zäöüß.'-]{2,40}"
_BEFORE_HOUSE = re.compile(
    rf"(?<!\w)(?:An|Am|Auf|Im|Zum|Zur|Unter|In|{_ANY_NAME})(?: (?:de[rmns]|{_ANY_NAME})){{0,3}} \Z"
)
_BOX = re.compile(
    r"(?:P\.? ?O\.? ?Box|Post Office Box|Postfach|Boîte postale) [0-9]{1,4}(?: ?[0-9]{2,4}){0,3}\b"
)


def addresses(text: str, family: Family) -> Iterator[Span]:
    """Postal addresses of a text; none in source code and logs."""
    if family in ("code", "log", "symbols"):
        return
    for start in _STARTS.finditer(text):
        english = _ENGLISH.match(text, start.start())
        found = english if english and _is_sure(english, text) else None
        for form in (_ANYWHERE, _FRENCH):
            found = found or form.match(text, start.start())
        if found:
            yield Span(found.start(), found.end(), "ADDRESS")
    for box in _BOX.finditer(text):
        yield Span(box.start(), box.end(), "ADDRESS")
    yield from _german(text)


def _is_sure(match: re.Match[str], text: str) -> bool:
    if match["unit"] or match["town"]:
        return True
    if match["doubtful"]:
        return False
    if _YEAR.match(match[0]) and not text.endswith((" at ", ":\n", ": "), 0, match.start()):
        return False
    # "4 Saint Peter St" may go on as "St Paul"; an address ends there
    return bool(match["clear"] or not re.match(r" [A-Z]", text[match.end() : match.end() + 2]))


def _german(text: str) -> Iterator[Span]:
    for word in _STREETS:
        for at in positions(text, word):
            number = _HOUSE_LAST.match(text, at + len(word))
            name = _STREET_NAME.search(text, max(0, at - 80), at) if number else None
            if name and number:
                yield Span(name.start(), number.end(), "ADDRESS")
    for match in _HOUSE_AND_TOWN.finditer(text):
        street = _BEFORE_HOUSE.search(text, max(0, match.start() - 70), match.start())
        if street:
            yield Span(street.start(), match.end(), "ADDRESS")

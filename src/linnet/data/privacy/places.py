"""Postal addresses as written in English, German and French.

Conservative: a house number and a name with a word for a street (``Street``,
``-straße``, ``rue``), a post-office box, or a house number followed by postcode
and town. A street without a number is no address. Words that often follow a
number for other reasons (``Court``, ``Way``, and a year before any of them) need
a town, postcode or unit after them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Span, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

_NUMBER = r"[1-9](?<![\w.,$€£/:#+-][1-9])[0-9]{0,4}(?:[A-Za-z]\b|[-/][0-9]{1,4}[A-Za-z]?\b)?"
# A number and what may begin a street: everything else is passed over at little cost.
_STARTS = re.compile(
    r"[1-9](?<![\w.,$€£/:#+-][1-9])[0-9]{0,4}(?:[A-Za-z]|[-/][0-9]{1,4}[A-Za-z]?)?(?: ?(?:bis|ter|quater))?,? (?=[A-Z0-9rabpciqf])"
)
_CLEAR = "Street Avenue Boulevard Road Lane Drive Parkway Highway Crescent Terrace"
_SHORT = "St Ave Blvd Rd Ln Dr Pkwy Hwy Cres Ter Ct Pl Sq Cir"
_DOUBTFUL = "Court Place Square Way Close Gardens Grove Row Mews Hill Circle Trail Alley Walk Quay Wharf Green Park Loop"


def _any_of(words: str) -> str:
    return "|".join(words.split())


_NAME = (
    r"(?:[A-Z][a-zA-Z'’-]*[a-z'’]|[0-9]{1,3}(?:st|nd|rd|th)|[A-Z]\.|St\.|of|the|Dr\.|[A-Z]{1,2})"
)
_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
    "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR ON QC BC AB MB NS NB SK"
)
_ZIP = r"[0-9]{5}(?:-[0-9]{4})?\b"
_UK = r"[A-Z]{1,2}[0-9][A-Z0-9]?[ ]?[0-9][A-Z]{2}\b"
_CANADA = r"[A-Z][0-9][A-Z][ ]?[0-9][A-Z][0-9]\b"
_GAP = r"(?:[ ]{0,2}[,\n|][ ]{0,2}|[ ])"
_TOWN = r"[A-Z][a-zA-Z.'’-]{1,24}(?:[ ][A-Z][a-zA-Z.'’-]{1,24}){0,2}"
_TAIL = rf"""
    (?P<unit>{_GAP}(?:(?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|Rm|Flat)\b\.?[ ]?|\#[ ]?)[A-Z]?[0-9]{{0,5}}[A-Z]?\b)?
    (?P<town>
        (?:{_GAP}{_TOWN}){{1,2}},?[ ](?:{_any_of(_STATES)})\b(?:[, ]{{1,2}}(?:{_ZIP}|{_CANADA}))?
      | (?:{_GAP}{_TOWN}){{0,3}}{_GAP}(?:{_UK}|{_ZIP})
    )?"""
_ENGLISH = re.compile(
    rf"""{_NUMBER},?[ ](?:(?:N|S|E|W|NE|NW|SE|SW)\.?[ ])?(?:{_NAME}[ ]){{1,4}}?
    (?:(?P<clear>{_any_of(_CLEAR)})\b | (?P<short>{_any_of(_SHORT)})\b\.? | (?P<doubtful>{_any_of(_DOUBTFUL)})\b)
    (?:[ ](?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\b\.?)?
    {_TAIL}""",
    re.VERBOSE,
)
_FRENCH = re.compile(
    rf"""{_NUMBER}(?:[ ]?(?:bis|ter|quater)\b)?,?[ ]
    (?:rue|avenue|av\.|boulevard|bd|place|chemin|impasse|allée|quai|cours|faubourg|Rue|Avenue|Boulevard|Place|Chemin|Impasse|Allée|Quai)[ ]
    (?:(?:de|du|des|la|le|les|l['’]|d['’]|aux?|saint|sainte|docteur|général)[ ]?){{0,3}}
    [A-ZÀ-Ý][\wÀ-ÿ'’-]{{1,30}}(?:[ -](?:de|du|des|la|[A-ZÀ-Ý][\wÀ-ÿ'’-]{{1,30}})){{0,4}}
    (?:{_GAP}(?:F-)?[0-9]{{5}}[ ][A-ZÀ-Ý][\wÀ-ÿ'’-]{{1,30}}(?:[ -][A-ZÀ-Ý][\wÀ-ÿ'’-]{{1,30}}){{0,3}})?""",
    re.VERBOSE,
)
_GERMAN_TOWN = r"(?:(?:D|A|CH|DE|AT)[- ])?[0-9]{4,5}[ ][A-ZÄÖÜ][a-zäöüß]{2,30}(?:[ -](?:am|an|der|im|a\.|[A-ZÄÖÜ][a-zäöüß]{2,30})){0,3}"
_GERMAN_WORDS = (
    "straße",
    "Straße",
    "strasse",
    "Strasse",
    "str.",
    "Str.",
    "allee",
    "Allee",
    "gasse",
    "Gasse",
)
_GERMAN_NAME = re.compile(
    r"(?!(?:Die|Der|Das|In|An|Auf|Zur|Zum|Von|Unsere|Unser|Eine?|Bundes|Land)(?:[ ]|\Z))"
    r"(?<!\w)(?:[A-ZÄÖÜ][a-zäöüß.]{1,24}[ -]){0,3}(?:[A-ZÄÖÜ][a-zäöüß]{1,24}-?|(?<=[ -]))\Z"
)
_GERMAN_NUMBER = re.compile(
    rf" [1-9][0-9]{{0,3}}(?: ?[a-z]\b|[-/][0-9]{{1,4}})?(?:{_GAP}{_GERMAN_TOWN})?(?!\w)"
)
_NUMBER_AND_TOWN = re.compile(
    rf"[1-9](?<!\w[1-9])[0-9]{{0,3}}[ ]?[a-z]?(?:,[ ]|[ ]?\n[ ]{{0,8}}|[ ])(?=(?:[A-Z]{{1,2}}-)?[0-9]{{5}}[ ][A-ZÄÖÜ]){_GERMAN_TOWN}"
)
_STREET_BEFORE = re.compile(
    r"(?<!\w)(?:An|Am|Auf|Im|Zum|Zur|Unter|In|[A-ZÄÖÜ][a-zäöüß.'-]{2,30})(?: (?:de[rmns]|[A-ZÄÖÜ][a-zäöüß.'-]{2,30})){0,3} \Z"
)
_BOX = re.compile(
    r"(?:P\.? ?O\.? ?Box|Post Office Box|Postfach|Boîte postale) [0-9]{1,4}(?: ?[0-9]{2,4}){0,3}\b"
)
_YEAR = re.compile(r"(?:1[5-9]|20)[0-9]{2}\b")


def addresses(text: str, family: Family) -> Iterator[Span]:
    """Postal addresses of a text; none in source code and logs."""
    if family in ("code", "log", "symbols"):
        return
    for start in _STARTS.finditer(text):
        match = _ENGLISH.match(text, start.start())
        if match and _is_sure(match, text):
            yield Span(match.start(), match.end(), "ADDRESS")
        match = _FRENCH.match(text, start.start())
        if match:
            yield Span(match.start(), match.end(), "ADDRESS")
    for match in _BOX.finditer(text):
        yield Span(match.start(), match.end(), "ADDRESS")
    yield from _german(text)


def _german(text: str) -> Iterator[Span]:
    for word in _GERMAN_WORDS:
        for at in positions(text, word):
            number = _GERMAN_NUMBER.match(text, at + len(word))
            name = _GERMAN_NAME.search(text, max(0, at - 80), at) if number else None
            if name and number:
                yield Span(name.start(), number.end(), "ADDRESS")
    for match in _NUMBER_AND_TOWN.finditer(text):
        street = _STREET_BEFORE.search(text, max(0, match.start() - 70), match.start())
        if street:
            yield Span(street.start(), match.end(), "ADDRESS")


def _is_sure(match: re.Match[str], text: str) -> bool:
    if match["unit"] or match["town"]:
        return True
    if match["doubtful"] or _YEAR.match(match[0]):
        return False
    # "4 Saint Peter St" may go on as "St Paul"; an address ends there
    return bool(match["clear"] or not re.match(r" [A-Z]", text[match.end() : match.end() + 2]))

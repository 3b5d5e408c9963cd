"""Pseudonyms: the same made-up value for the same real one, wherever it stands.

Derived by keyed BLAKE2b (RFC 7693), so that without the key nobody can tell
which value it was by trying candidates. A pseudonym can belong to no one:

======== ==================================================================
EMAIL    ``lusab.babad@example.org``: reserved by RFC 2606, 2^32 of them
PHONE    ``+1-212-555-0142``: 555-0100 to 555-0199 are kept for fiction (NANPA)
IP       the documentation ranges of RFC 5737 and RFC 3849
CARD     same grouping and first digit; the check digit is wrong on purpose
IBAN     same length and grouping; country ``XX``, which is nobody's (ISO 3166)
ADDRESS  ``0 Lusab Street``: no house has the number 0
======== ==================================================================

Phones and IPv4 addresses share so few pseudonyms (80,000 and 762) that different
ones may get the same. Secrets have no pseudonym, since nothing is learnt from
one: they stay ``<SECRET>``. What a user's pattern finds becomes ``<NAME-lusab>``.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from collections.abc import Collection, Iterator

from linnet.data.privacy.emails import canonical_email
from linnet.data.privacy.name_lists import UNSEEN
from linnet.data.privacy.numbers import luhn
from linnet.data.privacy.span import Span, without_overlaps

_UNSEEN = re.compile(f"[{UNSEEN}]")
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_DOCUMENTATION = ("192.0.2.", "198.51.100.", "203.0.113.")
_FICTION = re.compile(r"(?:\+?1[-. ])?\(?[2-9][0-9]{2}\)?[-. ]555[-. ]01[0-9]{2}")
_SPOKEN = "[bdfghjklmnprstvz][aiou][bdfghjklmnprstvz][aiou][bdfghjklmnprstvz]"  # of _word
_FORMS = {  # of pseudonyms; those of payment cards look like any other number
    "EMAIL": rf"(?<!\w){_SPOKEN}\.{_SPOKEN}@example\.org(?!\w)",
    "PHONE": rf"(?<![\w+]){_FICTION.pattern}(?!\w)",
    "IP": r"(?<![\w.])(?:192\.0\.2|198\.51\.100|203\.0\.113)\.[0-9]{1,3}(?![\w.])"
    r"|(?<![\w:])2001:db8::[0-9a-f:]{1,14}(?![\w:])",
    "IBAN": r"(?<!\w)XX[0-9]{2}(?: ?[0-9A-Z]){8,30}(?!\w)",
    "ADDRESS": rf"(?<!\w)0 (?i:{_SPOKEN}) Street(?!\w)",
}


class Pseudonyms:
    """Pseudonyms under one key."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest()

    def of(self, kind: str, value: str) -> str:
        """The pseudonym of ``value``, which is what was found as ``kind``."""
        number = self._number(kind, canonical(kind, value))
        if kind == "EMAIL":
            return f"{_word(number)}.{_word(number >> 16)}@example.org"
        if kind == "PHONE":
            return _phone(number, value)
        if kind == "IP":
            return _machine(number, value)
        if kind == "CARD":
            return _card(number, value)
        if kind == "IBAN":
            return "XX" + _refilled(number, value[2:])
        if kind == "ADDRESS":
            return f"0 {_word(number).capitalize()} Street"
        return "<SECRET>" if kind == "SECRET" else f"<{kind}-{_word(number)}>"

    def _number(self, kind: str, value: str) -> int:
        data = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, key=self._key, digest_size=16).digest()
        return int.from_bytes(digest, "big")


def masked_spans(text: str, kinds: Collection[str], *, pseudonyms: bool) -> Iterator[Span]:
    """Where in a text something of these kinds was masked, as what stands there now shows.

    With ``pseudonyms``: where one stands instead.
    """

    def found() -> Iterator[Span]:
        for kind in kinds:
            forms = [rf"<{re.escape(kind)}>", rf"<{re.escape(kind)}-{_SPOKEN}>"]
            if pseudonyms and kind in _FORMS:
                forms = [_FORMS[kind]]
            for form in forms:
                for match in re.finditer(form, text):
                    yield Span(match.start(), match.end(), kind)

    return without_overlaps(found())


def is_reserved(kind: str, value: str) -> bool:
    """Whether a value is of one of the forms that masks have, and so belongs to no one."""
    if re.fullmatch(rf"<{re.escape(kind)}(?:-{_SPOKEN})?>", value):
        return True
    form = _FORMS.get(kind)
    return is_pseudonym(kind, value) or (form is not None and re.fullmatch(form, value) is not None)


def is_pseudonym(kind: str, value: str) -> bool:
    """Whether a value is of the reserved forms that pseudonyms have: it is nobody's already."""
    if kind == "EMAIL":
        return value.lower().endswith("@example.org")
    return kind == "PHONE" and _FICTION.fullmatch(value) is not None


def canonical(kind: str, value: str) -> str:
    """One spelling of what can be spelt in several ways."""
    if kind == "EMAIL":
        return canonical_email(value)
    if kind == "PHONE":
        return re.sub(r"^00|\D", "", value)
    if kind in ("CARD", "IBAN"):
        return re.sub(r"\W", "", value).upper()
    if kind == "IP":
        return str(ipaddress.ip_address(value))
    value = unicodedata.normalize("NFC", _UNSEEN.sub("", value))
    return " ".join(re.sub(r"[,|]", " ", value).split()).casefold()


def _word(number: int) -> str:
    """The lowest 16 bits as five letters that can be spoken: a proquint (arXiv:0901.4016)."""
    letters = ""
    for bits, alphabet in (
        (4, _CONSONANTS),
        (2, _VOWELS),
        (4, _CONSONANTS),
        (2, _VOWELS),
        (4, _CONSONANTS),
    ):
        letters += alphabet[number & ((1 << bits) - 1)]
        number >>= bits
    return letters


def _phone(number: int, value: str) -> str:
    area, line = 200 + number % 800, number // 800 % 100
    prefix = "+1-" if value.lstrip("(").startswith(("+", "00")) else ""
    return f"{prefix}{area}-555-01{line:02d}"


def _machine(number: int, value: str) -> str:
    if ":" in value:
        groups = (number >> shift & 0xFFFF for shift in (0, 16, 32))
        return str(ipaddress.ip_address("2001:db8::" + ":".join(f"{group:x}" for group in groups)))
    return f"{_DOCUMENTATION[number % 3]}{1 + number // 3 % 254}"


def _card(number: int, value: str) -> str:
    made = value[0] + _refilled(number, value[1:])
    if luhn(re.sub(r"\D", "", made)):
        made = made[:-1] + str((int(made[-1]) + 1) % 10)
    return made


def _refilled(number: int, value: str) -> str:
    """The value with other digits and letters in the same places."""
    made = []
    for character in value:
        if character.isdigit():
            number, rest = divmod(number, 10)
            made.append(str(rest))
        elif character.isalpha():
            number, rest = divmod(number, 26)
            made.append(chr(ord("A") + rest))
        else:
            made.append(character)
    return "".join(made)

"""Numbers that prove themselves: payment cards (Luhn), IBANs (mod 97) and IP addresses.

Cards: ISO/IEC 7812 with the ranges in use. IBANs: ISO 13616, lengths from the
SWIFT registry. Loopback, unspecified, multicast, reserved and documentation
addresses (RFC 5737, RFC 3849, RFC 9637) and whole networks are nobody's;
private ones are masked, since inside a company they lead to one machine.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Columns, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

# As printed, not in the middle of a longer number, or without separators. A lookahead, since a
# number that is no card may run into one that is.
_CARD = re.compile(
    r"""[1-9](?<![\w.,+$€£/=-][1-9])(?<![A-Z0-9]{4}[ ][1-9])(?=(
          [0-9]{3}(?P<a>[ -])[0-9]{4}(?P=a)[0-9]{4}(?P=a)(?:[0-9]{4}(?:(?P=a)[0-9]{3})?|[0-9])
        | [0-9]{3}(?P<b>[ -])[0-9]{6}(?P=b)[0-9]{4,5}
        | [0-9]{11,18}
        )(?!\w|[.,-][0-9]))""",
    re.VERBOSE,
)
_CARD_NAME = (
    r"(?<![\w<])(?:card|visa|master ?card|amex|american express|maestro|diners|discover|jcb"
    r"|unionpay|credit|debit|karte|carte|pan)\b"
)
# Between the word and the number stands no other number, and none that was masked before.
_CARD_BEFORE = re.compile(_CARD_NAME + r"[^0-9<\n]{0,40}\Z", re.IGNORECASE)
_CARD_TITLE = re.compile(_CARD_NAME, re.IGNORECASE)
# (first prefix, last prefix, lengths): what issuers use.
_ISSUERS = (
    ("4", "4", (16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("300", "305", (14,)),
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("6011", "6011", (16,)),
    ("644", "649", (16,)),
    ("65", "65", (16,)),
    ("3528", "3589", (16,)),
    ("62", "62", (16, 19)),
)
# Rare or out of use, and so more often something else: only beside a word such as "card".
_RARE_ISSUERS = (
    ("4", "4", (13,)),
    ("1800", "1800", (15,)),
    ("2131", "2131", (15,)),
    ("50", "50", (12, 13, 16, 19)),
    ("56", "58", (12, 13, 16, 19)),
    ("6304", "6304", (12, 13, 16, 19)),
    ("6759", "6763", (12, 13, 16, 18, 19)),
)
_VISA_OF_13 = re.compile("4[0-9]{12}")
_NEAR = 60

_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9_][A-Z])[A-Z][0-9]{2}(?=((?:[ \u00a0-]?[A-Z0-9]){11,30}))")
IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

_IPV4 = re.compile(
    r"[0-9](?<![\w.-][0-9])(?<![\w]/[0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9]|-[A-Za-z])"
)
_IPV6 = re.compile(r"[23fF](?<![\w:.][23fF])[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?:\.[0-9]{1,3}){0,3}")
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_PREFIX_LENGTH = re.compile(r"/[0-9]{1,3}\b")
_VERSION_WORD = re.compile(
    r"(?:\b(?:version|ver|v|release|firmware|build|update|revision|rev|oid|section|sec|chapter"
    r"|clause|article|appendix|figure|fig|table|rfc|driver|upgrade|patch|since|python|java|ec"
    r"|enzyme)|§)[\s\w\"']{0,3}\W{0,5}\Z",
    re.IGNORECASE,
)
_ADDRESS_WORD = re.compile(
    r"(?<![\w<])(?:ip|ipv4|host|server|client|address|addr|dns|ping|nameserver|gateway|peer|remote"
    r"|router|from|subnet|login|ssh|https?|ftp)\b[^0-9<\n]{0,20}\Z",
    re.IGNORECASE,
)


def cards(text: str, family: Family) -> Iterator[Span]:
    """Payment card numbers. In tables and logs, full of other numbers, an unbroken run of
    digits also needs a word such as "card" nearby or in the first line."""
    titled = Columns(text, _CARD_TITLE) if family == "table" else None
    for match in _CARD.finditer(text):
        value = match[0] + match[1]
        digits = re.sub("[ -]", "", value)
        usual, rare = _issued(digits, _ISSUERS), _issued(digits, _RARE_ISSUERS)
        if not (usual or rare) or not luhn(digits):
            continue
        if _VISA_OF_13.fullmatch(digits) and (digits != value or not _is_article(digits)):
            rare = False
        doubtful = rare or (digits == value and family in ("table", "log"))
        start = match.start()
        if not doubtful or _is_called(text, start, titled):
            yield Span(start, start + len(value), "CARD")


def _is_called(text: str, start: int, titled: Columns | None) -> bool:
    near = _CARD_BEFORE.search(text, max(0, start - _NEAR), start)
    return near is not None or (titled is not None and titled.hold(start))


def _issued(digits: str, issuers: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bool:
    return any(
        len(digits) in lengths and first <= digits[: len(first)] <= last
        for first, last, lengths in issuers
    )


def _is_article(digits: str) -> bool:
    """Whether 13 digits are right as an article's number (EAN-13)."""
    return sum(int(d) * (3 if n % 2 else 1) for n, d in enumerate(digits)) % 10 == 0


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def ibans(text: str, family: Family) -> Iterator[Span]:
    """International bank account numbers whose length and check digits are right."""
    for match in _IBAN.finditer(text):
        wanted = IBAN_LENGTHS.get(match[0][:2], 0)
        value = _first(wanted, match[0] + match[1])
        end = match.start() + len(value)
        if wanted and not text[end : end + 1].isalnum():
            compact = re.sub("[^A-Z0-9]", "", value)
            if len(compact) == wanted and mod_97(compact) == 1:
                yield Span(match.start(), end, "IBAN")


def _first(count: int, value: str) -> str:
    """So much of the value that it has ``count`` letters and digits: what follows may be more."""
    for offset, character in enumerate(value):
        if count == 0:
            return value[:offset]
        count -= character.isalnum()
    return value


def mod_97(iban: str) -> int:
    """The remainder of ISO 7064 MOD 97-10, which is 1 for a right IBAN."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97


def addresses_of_machines(text: str, family: Family) -> Iterator[Span]:
    """IPv4 and IPv6 addresses of hosts."""
    for match in _IPV4.finditer(text):
        if _is_host(match, text) and _is_no_version(match, text, family):
            yield Span(match.start(), match.end(), "IP")
    if _TWO_COLONS.search(text) is None:
        return
    for match in _IPV6.finditer(text):
        value = match[0].rstrip(":.")
        end = match.start() + len(value)
        if value.count(":") >= 3 and not text[end : end + 1].isalnum() and _is_host(match, text):
            yield Span(match.start(), end, "IP")


def _is_host(match: re.Match[str], text: str) -> bool:
    value = match[0].rstrip(":.")
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if is_nobodys(address):
        return False
    prefix = _PREFIX_LENGTH.match(text, match.start() + len(value))
    if prefix is None:
        return True
    try:  # with all bits after the prefix at zero it is a network
        network = ipaddress.ip_network(value + prefix[0])
    except ValueError:
        return True
    return network.num_addresses == 1


_DOCUMENTATION = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20",
        "0.0.0.0/8", "240.0.0.0/4",
    )
)  # fmt: skip


def is_nobodys(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether no machine has this address, or every machine has it."""
    return (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or any(address in network for network in _DOCUMENTATION)
    )


def _is_no_version(match: re.Match[str], text: str, family: Family) -> bool:
    """``1.2.3.4`` is as often a version or a section: small numbers need a word or a port."""
    before = (max(0, match.start() - 24), match.start())
    if _VERSION_WORD.search(text, *before):
        return False
    octets = [int(octet) for octet in match[0].split(".")]
    if octets[0] == 10 or max(octets) >= 32 or family == "log":
        return True
    follows = text[match.end() : match.end() + 2]
    return bool(re.match(r":[0-9]", follows) or _ADDRESS_WORD.search(text, *before))

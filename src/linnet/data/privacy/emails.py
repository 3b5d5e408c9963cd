"""E-mail addresses, plain (RFC 5322, RFC 6531) and written for people: ``name [at] host``.

Local parts are the dot-atoms and quoted strings of the RFCs, but begin with a
letter, digit or underscore: what stands before (``mailto=``, quotes) is not
theirs. Scripts without spaces between words (Chinese, Japanese) may touch an
address and are never part of one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Span, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

_LETTER = "A-Za-z0-9\u00c0-\u1fff"
_ENDING = "(?:xn--[a-z0-9-]{2,59}|[A-Za-z\u00c0-\u1fff]{2,24})"
_LOCAL = re.compile(
    rf"""(?:(?<![%{{$]) [{_LETTER}_][{_LETTER}_.+'~%-]{{0,63}} | "(?:[^"\\\s@]|\\.){{1,62}}")\Z""",
    re.VERBOSE,
)
_DOMAIN = re.compile(
    rf"(?:[{_LETTER}](?:[{_LETTER}-]{{0,62}})\.){{1,8}}({_ENDING})(?![{_LETTER}]|-[{_LETTER}])"
    r"|\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]"
)
_LONGEST_LOCAL = 64
_USER_OF_URL = re.compile(r"://[^\s/@]{0,64}:\Z")

# In code `a@b.shape` is a product of matrices, so that only endings in use count.
_ENDINGS = """
    com org net edu gov mil int info biz name pro dev app xyz online site shop tech cloud email
    example invalid museum coop aero academy agency company group systems software engineering
    network solutions studio world life live today blog page
"""
_COMMON_ENDINGS = frozenset(_ENDINGS.split())
_FILE_ENDINGS = ("png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "css", "js", "html")

_AT_SIGN = re.compile(r"[\[({<][ ]?(?:at|AT|At|ät|@)[ ]?[\])}>][ ]{0,2}")
_BARE_AT = re.compile(r" (?:at|AT) ")
_WORD = rf"[{_LETTER}][{_LETTER}_-]{{0,62}}"
_DOT = r"(?:\.|\s{0,2}[\[({<]\s?(?:dot|punkt|point|\.)\s?[\])}>]\s{0,2}|\ (?:dot|DOT)\ )"
_SPELT_LOCAL = re.compile(rf"{_WORD}(?:{_DOT}{_WORD}){{0,4}}[ ]{{0,2}}\Z", re.IGNORECASE)
_SPELT_DOMAIN = re.compile(
    rf"(?:{_WORD}({_DOT})){{1,4}}([a-z]{{2,12}})(?![{_LETTER}])", re.IGNORECASE
)


def emails(text: str, family: Family) -> Iterator[Span]:
    """E-mail addresses of a text."""
    for at in positions(text, "@"):
        domain = _DOMAIN.match(text, at + 1)
        if domain and _is_domain(domain, text, family):
            local = _LOCAL.search(text, max(0, at - _LONGEST_LOCAL), at)
            if local and not _is_service(text, local.start(), at, domain.end()):
                yield Span(_after_escape(text, local.start(), at), domain.end(), "EMAIL")
    if family != "code":
        yield from _spelt(text)


def _is_domain(domain: re.Match[str], text: str, family: Family) -> bool:
    ending = (domain[1] or "").lower()
    if ending in _FILE_ENDINGS:  # icon@2x.png
        return False
    if family in ("code", "symbols") and ending:
        known = len(ending) == 2 or ending in _COMMON_ENDINGS or ending.startswith("xn--")
        return known and text[domain.end() : domain.end() + 1] not in ("(", "[")
    return True


def _is_service(text: str, start: int, at: int, end: int) -> bool:
    """``git@github.com:owner/name`` and ``https://user:password@host`` are no addresses."""
    if text[start:at] == "git" and text[end : end + 1] in (":", "/"):
        return True
    return _USER_OF_URL.search(text, max(0, start - 70), start) is not None


def _after_escape(text: str, start: int, at: int) -> int:
    r"""In ``"\nann@host.net"`` the n belongs to the line end."""
    escaped = start > 0 and text[start - 1] == "\\" and text[start] in "nrt" and start + 1 < at
    return start + 1 if escaped else start


def _spelt(text: str) -> Iterator[Span]:
    for sign in _AT_SIGN.finditer(text):
        yield from _around(text, sign, needs_dot_word=False)
    if " dot " in text or " DOT " in text:
        for sign in _BARE_AT.finditer(text):
            yield from _around(text, sign, needs_dot_word=True)


def _around(text: str, sign: re.Match[str], *, needs_dot_word: bool) -> Iterator[Span]:
    domain = _SPELT_DOMAIN.match(text, sign.end())
    if domain is None or (needs_dot_word and domain[1] == "."):
        return
    local = _SPELT_LOCAL.search(text, max(0, sign.start() - _LONGEST_LOCAL), sign.start())
    if local:
        yield Span(local.start(), domain.end(), "EMAIL")


def canonical_email(value: str) -> str:
    """The one spelling of an address: ``Ann [at] Host (dot) net`` is ``ann@host.net``."""
    value = re.sub(_DOT, ".", value, flags=re.IGNORECASE)
    value = _BARE_AT.sub("@", _AT_SIGN.sub("@", value))
    return value.replace(" ", "").casefold()

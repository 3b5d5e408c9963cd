"""Secrets that their neighbourhood gives away: ``password = "..."``, ``api_key: ...``.

A word for a secret at the end of a name, a sign that gives it a value, and the
value. After a word for a password any value counts that is no placeholder;
after ``key``, ``token`` or ``secret`` it must look random: long, of mixed
classes of characters, of high entropy. Checksums are not called so and stay.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from linnet.data.privacy.secrets import is_placeholder
from linnet.data.privacy.span import Span, lowered, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

_PASSWORDS = (
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "_pass",
    "pwd",
    "kennwort",
    "mot de passe",
)
_SHORT = ("pass", "pw")  # words of their own, or after one that says whose
_OTHERS = ("token", "secret", "key", "credential")

# After the name: its closing quote or bracket, a type, then what gives it a value.
_GIVES = re.compile(
    r"(?:s|[0-9]|_?base)?(?:[\"'`\])]{1,2}|[*]{1,2})?"
    r"(?:[ \t]{0,3}:[ \t]?[A-Za-z][\w\[\].| ]{0,30}(?=[ \t]=))?"
    r"(?:[ \t]{0,20}(?::=|=>|:{1,2}|={1,2}|>)|[ \t](?:is|was|ist|lautet|to)[:]?(?=[ \t]))"
    r"[ \t*]{0,20}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[bru]?([\"'`])(?P<value>[^\s\"'`<>{}]{4,400})\1")
_BARE = re.compile(r"(?P<value>[^\s\"'`<>(){}\[\],;|\\@][^\s\"'`<>(){}\[\],;|\\]{5,400})")
_IRREGULAR = re.compile(r"[bru]?[\"'`]?(?P<value>[A-Za-z0-9+/_~.-]{16,400}={0,2})")
_NAME = re.compile(r"[A-Za-z_]*(?:pass|pwd|secret)[A-Za-z_]*", re.IGNORECASE)
_EXPRESSION = re.compile(r"[\w.]+(?:[(\[.]|\Z)")
_PLACE = re.compile(r"(?:https?|ftp)://|[/.]|--")
_SETTING = re.compile(r"\s*(?:export |- )?[A-Z0-9_]+=|\s*(?:- )?[\"']?[\w.-]+[\"']?:[ \t]+")
_LINE_END = re.compile(r"[ \t]*(?:[#;][^\n]{0,200})?(?:\r?\n|\Z)")
_WHOSE = re.compile(
    r"(?:\A|[^A-Za-z]|db|user|my|root|admin|smtp|imap|mail|ftp|sudo|sql|pg|http|proxy|wifi)\Z",
    re.IGNORECASE,
)
_ASSIGNS = re.compile(r"[:=]")
_LONGEST_SETTING = 200

_NO_SECRET = re.compile(
    r"(?:\A|[^A-Za-z0-9])(?:public|publishable|foreign|primary|sort|partition|cache|hot|short|dict"
    r"|row|group|index)[_ -]?\Z",
    re.IGNORECASE,
)
_COMPOUND = re.compile(
    r"(?:api|access|auth|private|secret|client|app|user|bearer|refresh)\Z", re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"(?:0x)?[0-9a-fA-F]{24,}")


def assigned(text: str, family: Family) -> Iterator[Span]:
    """Values given to names that say they are secret."""
    lower = lowered(text)
    for words, value_of in ((_PASSWORDS, _password), (_SHORT, _short), (_OTHERS, _random)):
        for word in words:
            for at in positions(lower, word):
                if text[at - 1 : at + 7] == "<SECRET>":
                    continue
                sign = _GIVES.match(text, at + len(word))
                found = value_of(text, at, sign.end(), family) if sign else None
                if found:
                    start, end = found.span("value")
                    yield Span(start, start + len(text[start:end].rstrip(".:")), "SECRET")


def _password(text: str, at: int, start: int, family: Family) -> re.Match[str] | None:
    """Whatever is quoted; without quotes what is no word: it has a letter and something else."""
    if quoted := _QUOTED.match(text, start):
        # in dictionaries and forms the value is often a name: "password": "user_password"
        value = quoted["value"]
        return None if is_placeholder(value) or _NAME.fullmatch(value) else quoted
    bare = _BARE.match(text, start)
    value = bare["value"].rstrip(".:!?") if bare else ""
    if bare is None or is_placeholder(value) or _PLACE.match(value):
        return None
    if family == "code" and _EXPRESSION.match(value) and not _is_setting(text, bare):
        return None
    mixed = re.search(r"[A-Za-z]", value) and re.search(r"[0-9!@#$%^&*+=?~]", value)
    return bare if mixed else None


def _short(text: str, at: int, start: int, family: Family) -> re.Match[str] | None:
    """After ``pass`` or ``pw``. ``PASS: test_7`` is the result of a test."""
    if _WHOSE.search(text[max(0, at - 16) : at]) is None:
        return None
    if text[at : at + 4] == "PASS" and "=" not in text[at + 4 : start]:
        return None
    return _password(text, at, start, family) if _ASSIGNS.search(text[at:start]) else None


def _is_setting(text: str, value: re.Match[str]) -> bool:
    """Whether the line is ``NAME=value`` or ``name: value``, as in files of settings."""
    if _LINE_END.match(text, value.end()) is None:
        return False
    start = text.rfind("\n", max(0, value.start() - _LONGEST_SETTING), value.start()) + 1
    return _SETTING.fullmatch(text, start, value.start()) is not None


def _random(text: str, at: int, start: int, family: Family) -> re.Match[str] | None:
    found = _IRREGULAR.match(text, start)
    before = text[max(0, at - 16) : at]
    if found is None or not _begins_word(text, at, before) or _NO_SECRET.search(before):
        return None
    plain_key = text[at : at + 3].lower() == "key" and not before[-1:].strip(" \"'.([{\n\t")
    value = found["value"].rstrip(".:")
    return (
        found if looks_random(value, strong=not plain_key) and not is_placeholder(value) else None
    )


def _begins_word(text: str, at: int, before: str) -> bool:
    """``apiKey``, ``api_key`` and ``apikey``, but not ``monkey``."""
    if not before[-1:].isalpha() or (text[at].isupper() and before[-1:].islower()):
        return True
    return _COMPOUND.search(before) is not None


def looks_random(value: str, *, strong: bool) -> bool:
    """Whether a string is too irregular to be a name, a path or a word.

    ``strong``: the name beside it says "secret" without doubt, so that also
    hexadecimal strings and UUIDs count, which otherwise are checksums and ids.
    """
    if _UUID.fullmatch(value) or _HEXADECIMAL.fullmatch(value):
        return strong and entropy(value) >= 2.8
    if len(value) < (16 if strong else 24):
        return False
    return (
        entropy(value) >= 3.3
        and _changes(value) >= (0.3 if len(value) < 32 else 0.2)
        and any(map(str.isdigit, value))
    )


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits for each."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _changes(value: str) -> float:
    """The share of neighbours that differ in class (lower, upper, digit): near 0.6 for random
    letters and digits, far lower for names; the first capital of a word is no change."""
    plain = re.sub(r"[A-Z](?=[a-z]{2})", lambda m: m[0].lower(), re.sub(r"[^A-Za-z0-9]", "", value))
    classes = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in plain]
    return sum(a != b for a, b in pairwise(classes)) / max(1, len(plain) - 1)

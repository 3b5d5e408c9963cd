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
from typing import TYPE_CHECKING

from linnet.data.privacy.secrets import is_placeholder
from linnet.data.privacy.span import Span, lowered, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

_PASSWORDS = ("password", "passwd", "passwort", "passphrase", "pwd", "kennwort", "mot de passe")
_OTHERS = ("token", "secret", "key", "credential")

# After the name: its closing quote or bracket, a type, then what gives it a value.
_GIVES = re.compile(
    r"(?:s|[0-9]|_?base|_?id)?(?:[\"'`\])]{1,2}|[*]{1,2})?"
    r"(?:[ \t]{0,3}:[ \t]?[A-Za-z][\w\[\].| ]{0,30}(?=[ \t]=))?"
    r"(?:[ \t]{0,20}(?::=|=>|:{1,2}|={1,2}|>|,(?=[ \t]?[\"']))|[ \t](?:is|was|ist|lautet|to)[:]?(?=[ \t]))"
    r"[ \t*]{0,20}"
)
_QUOTED = re.compile(r"[bru]?(?P<quote>[\"'`])(?P<value>[^\s\"'`<>{}]{4,400})(?P=quote)")
_BARE = re.compile(r"(?P<value>[^\s\"'`<>(){}\[\],;|]{6,400})")
_BEFORE_NAME = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:public|publishable|foreign|primary|sort|partition|cache|hot|short|dict|row|group|index)[_ -]?\Z",
    re.I,
)
_COMPOUND = re.compile(r"(?:api|access|auth|private|secret|client|app|user|bearer|refresh)\Z", re.I)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"(?:0x)?[0-9a-fA-F]{24,}")
_RANDOM = re.compile(r"[A-Za-z0-9+/_=~.-]{16,400}")


def assigned(text: str, family: Family) -> Iterator[Span]:
    """Values given to names that say they are secret."""
    lower = lowered(text)
    for words, judge in ((_PASSWORDS, _is_password), (_OTHERS, _is_random)):
        for word in words:
            if word not in lower:
                continue
            for at in positions(lower, word):
                found = _value(text, at + len(word))
                if (
                    found
                    and _ends_name(text, at)
                    and not is_placeholder(found["value"])
                    and judge(found, text, at, family)
                ):
                    yield Span(found.start("value"), found.end("value"), "SECRET")


def _ends_name(text: str, at: int) -> bool:
    """``apiKey``, ``api_key``, ``apikey``, but not ``monkey``."""
    before = text[max(0, at - 8) : at]
    if not before[-1:].isalpha() or (text[at].isupper() and before[-1:].islower()):
        return True
    return _COMPOUND.search(before) is not None or text[at : at + 1] in "pP"


def _value(text: str, at: int) -> re.Match[str] | None:
    sign = _GIVES.match(text, at)
    if sign is None:
        return None
    return _QUOTED.match(text, sign.end()) or _BARE.match(text, sign.end())


def _is_password(found: re.Match[str], text: str, at: int, family: Family) -> bool:
    """Whatever is quoted; without quotes what is no word: it has a letter and something else."""
    value = found["value"].rstrip(".:!?")
    if "quote" in found.groupdict():
        # in dictionaries and forms the value is often a name: "password": "user_password"
        return re.fullmatch(r"[A-Za-z_]*(?:pass|pwd|secret)[A-Za-z_]*", value, re.I) is None
    if (
        family == "code"
        and re.match(r"[\w.]+(?:[([\].]|$)", value)
        and not _is_line_value(found, text)
    ):
        return False
    if re.match(r"(?:https?|ftp)://|/|\.|--|\\", value):
        return False
    return bool(re.search(r"[A-Za-z]", value) and re.search(r"[0-9!@#$%^&*+=?~]", value))


def _is_line_value(found: re.Match[str], text: str) -> bool:
    """Whether the line is ``NAME=value`` or ``name: value`` of a settings file."""
    start = text.rfind("\n", 0, found.start()) + 1
    name = text[start : found.start()]
    ends = text[found.end() : found.end() + 1] in ("", "\n", "\r")
    return (
        ends and re.fullmatch(r"\s*(?:export |- )?[A-Z0-9_]+=|\s*[\w.-]+:[ \t]+", name) is not None
    )


def _is_random(found: re.Match[str], text: str, at: int, family: Family) -> bool:
    if _BEFORE_NAME.search(text, max(0, at - 16), at):
        return False
    return looks_random(found["value"].rstrip(".:"), strong=not _is_plain_key(text, at))


def _is_plain_key(text: str, at: int) -> bool:
    """``key`` alone names anything; ``api_key`` and ``token`` do not."""
    return text[at : at + 3].lower() == "key" and not text[max(0, at - 1) : at].strip(
        " \"'.([{\n\t"
    )


def looks_random(value: str, *, strong: bool) -> bool:
    """Whether a string is too irregular to be a name, a path or a word.

    ``strong``: the name beside it says "secret" without doubt, so that also
    hexadecimal strings and UUIDs count, which otherwise are checksums and ids.
    """
    if _UUID.fullmatch(value) or _HEXADECIMAL.fullmatch(value):
        return strong and entropy(value) >= 2.8
    if not _RANDOM.fullmatch(value) or len(value) < (16 if strong else 24):
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
    return sum(a != b for a, b in zip(classes, classes[1:], strict=False)) / max(1, len(plain) - 1)

"""Secrets: those that their own form gives away (issuers' prefixes, private keys, passwords in
URLs), and those that their neighbourhood does (``password = "..."``, ``api_key: ...``).

The forms are those that issuers document and secret scanners look for. Each pattern runs only on
texts that hold one of its literal hints, and then only where the hint stands: searching a literal
costs next to nothing.

An assignment is a word for a secret at the end of a name, a sign that gives it a value, and the
value. After a word for a password any value counts that is no placeholder; after ``key``,
``token`` or ``secret`` it must look random: long, of mixed classes of characters, of high entropy.
Checksums are not called so and stay.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Span, lowered, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.kinds import Family

# Literal at which a token begins -> what follows it.
_ISSUED = {
    "AKIA": "[A-Z0-9]{16}",  # AWS access keys, long-lived and temporary
    "ASIA": "[A-Z0-9]{16}",
    "ghp_": "[A-Za-z0-9]{36,251}",  # GitHub
    "gho_": "[A-Za-z0-9]{36,251}",
    "ghu_": "[A-Za-z0-9]{36,251}",
    "ghs_": "[A-Za-z0-9]{36,251}",
    "ghr_": "[A-Za-z0-9]{36,251}",
    "github_pat_": "[A-Za-z0-9_]{22,244}",
    "glpat-": "[A-Za-z0-9_.-]{20,300}",  # GitLab
    "gldt-": "[A-Za-z0-9_-]{20,300}",
    "glrt-": "[A-Za-z0-9_.-]{20,300}",
    "xox": "[abeoprs](?:\\.xox[bp])?-[A-Za-z0-9-]{10,250}",  # Slack
    "xapp-": "[0-9]-[A-Za-z0-9-]{10,250}",
    "hooks.slack.com/services/": "T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{20,30}",
    # OpenAI, Anthropic: with a digit and a capital, since names of styles begin so, too
    "sk-": "(?=[A-Za-z_-]{0,40}[0-9])(?=[a-z0-9_-]{0,40}[A-Z])[A-Za-z0-9_-]{20,250}",
    "AIza": "[A-Za-z0-9_-]{35}",  # Google
    "GOCSPX-": "[A-Za-z0-9_-]{28}",
    "ya29.": "[A-Za-z0-9_-]{20,1000}",
    "sk_live_": "[A-Za-z0-9]{10,250}",  # Stripe
    "sk_test_": "[A-Za-z0-9]{10,250}",
    "rk_live_": "[A-Za-z0-9]{10,250}",
    "rk_test_": "[A-Za-z0-9]{10,250}",
    "whsec_": "[A-Za-z0-9+/=]{24,250}",
    "npm_": "[A-Za-z0-9]{36}",
    "pypi-": "AgE[A-Za-z0-9_-]{50,1000}",
    "hf_": "[A-Za-z]{34}",  # Hugging Face
    "SG.": "[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}",  # SendGrid
    "dop_v1_": "[0-9a-f]{64}",  # DigitalOcean
    "shpat_": "[0-9a-fA-F]{32}",  # Shopify
    "shpss_": "[0-9a-fA-F]{32}",
    "hvs.": "[A-Za-z0-9_-]{24,250}",  # HashiCorp Vault
    "dapi": "[0-9a-f]{32}",  # Databricks
    "AGE-SECRET-KEY-1": "[A-Z0-9]{58}",
    "SK": "[0-9a-f]{32}",  # Twilio: keys, accounts
    "AC": "[0-9a-f]{32}",
    "discord.com/api/webhooks/": "[0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
    "discordapp.com/api/webhooks/": "[0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
    "mfa.": "[A-Za-z0-9_-]{84,90}",  # Discord
    "key-": "[0-9a-f]{32}",  # Mailgun
    "sq0atp-": "[A-Za-z0-9_-]{22}",  # Square
    "sq0csp-": "[A-Za-z0-9_-]{43}",
    "dckr_pat_": "[A-Za-z0-9_-]{20,100}",  # Docker
    "gsk_": "[A-Za-z0-9]{50,60}",  # Groq
    "r8_": "[A-Za-z0-9]{37}",  # Replicate
    "glsa_": "[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}",  # Grafana
    "lin_api_": "[A-Za-z0-9]{32,64}",  # Linear
    "ntn_": "[A-Za-z0-9]{40,60}",  # Notion
    "sntrys_": "[A-Za-z0-9+/=_-]{40,400}",  # Sentry
    "rubygems_": "[0-9a-f]{48}",
    "PMAK-": "[0-9a-f]{24}-[0-9a-f]{34}",  # Postman
    "NRAK-": "[A-Z0-9]{27}",  # New Relic
    "ATATT3": "[A-Za-z0-9_=-]{100,400}",  # Atlassian
    # JSON Web Token, RFC 7519
    "eyJ": "[A-Za-z0-9_-]{8,4000}+\\.[A-Za-z0-9_-]{8,20000}+\\.[A-Za-z0-9_-]{0,2000}",
}
_TOKENS = {hint: re.compile(rest + r"(?![A-Za-z0-9])") for hint, rest in _ISSUED.items()}
# Discord: the number of the bot in base 64, a time and a signature.
_DISCORD = re.compile(
    r"(?<![\w.-])[MNO](?=[A-Za-z]{0,27}[0-9])[A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}"
    r"\.[A-Za-z0-9_-]{27,45}(?![\w-])"
)
_TELEGRAM = re.compile(r"AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:(?:\\[nr]|[\s\"'+,]){0,8}[A-Za-z0-9+/=]{16,200}){0,400}+")
_LONGEST_KEY = 20_000

_IN_URL = re.compile(r"://([^\s/:@\"'<>{}$%|\\]{0,64}:[^\s/@\"'<>{}$|\\]{1,128})@(?=[\w\[{$<%.-])")
_AUTHORIZATION = re.compile(
    r"uthorization[\"']?[ ]?[:=,][ ]?[bf]?[\"']?(?:bearer|basic|token)[ ]"
    r"((?=[A-Za-z_~.+/-]{0,60}[0-9])[A-Za-z0-9._~+/-]{16,4000}={0,2})",
    re.IGNORECASE,
)
# Words that stand for a password in examples and templates.
_EXAMPLES = """
    password passwd pass pwd passphrase passw0rd secret token key apikey api_key value string str
    none null nil true false undefined example changeme change_me test testing todo tbd redacted
    hidden masked removed xxx required optional empty unknown default yourpassword mypassword
    your_password my_password your-password user:pass user:password username:password user:passwd
    usr:pwd usr:pass username:passwd login:password user:secret
"""
_PLACEHOLDERS = frozenset(_EXAMPLES.split())
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


def secrets(text: str, family: Family) -> Iterator[Span]:
    """Keys, tokens and passwords that their form gives away."""
    yield from _issued(text)
    yield from _private_keys(text)
    for at in positions(text, "://"):
        found = _IN_URL.match(text, at)
        if (
            found
            and not is_placeholder(found[1])
            and not is_placeholder(found[1].partition(":")[2])
        ):
            yield Span(found.start(1), found.end(1), "SECRET")
    for word in ("uthorization", "UTHORIZATION"):
        for at in positions(text, word):
            if found := _AUTHORIZATION.match(text, at):
                yield Span(found.start(1), found.end(1), "SECRET")


def _issued(text: str) -> Iterator[Span]:
    underscored = "_" in text
    for hint, rest in _TOKENS.items():
        if (not underscored and "_" in hint) or hint not in text:
            continue
        for at in positions(text, hint):
            if at and (text[at - 1].isalnum() or text[at - 1] in "_-") and hint[0].isalnum():
                continue
            found = rest.match(text, at + len(hint))
            if found:
                yield Span(at, found.end(), "SECRET")
    for found in _DISCORD.finditer(text):
        yield Span(found.start(), found.end(), "SECRET")
    for at in positions(text, ":AA"):
        digits = re.search(r"(?<!\d)\d{8,10}\Z", text[max(0, at - 11) : at])
        found = _TELEGRAM.match(text, at + 1) if digits else None
        if found and digits:
            yield Span(at - len(digits[0]), found.end(), "SECRET")


def _private_keys(text: str) -> Iterator[Span]:
    """Keys from their first line to their last; those that were cut off, as far as they go."""
    last = -1
    for at in positions(text, "-----BEGIN "):
        begin = _PRIVATE_KEY.match(text, at)
        if begin is None:
            continue
        if last < begin.end():  # looked for once, however many keys have no end
            found = text.find("-----END ", begin.end())
            last = len(text) + _LONGEST_KEY if found < 0 else found
        end = _KEY_END.match(text, last) if last - begin.end() < _LONGEST_KEY else None
        body = end or _KEY_BODY.match(text, begin.end())
        yield Span(at, body.end() if body else begin.end(), "SECRET")


def is_placeholder(value: str) -> bool:
    """Whether a value only shows where a secret would stand: ``changeme``, ``xxxx``, ``${KEY}``."""
    plain = value.strip("\"'`.,;:!").lower()
    return (
        plain in _PLACEHOLDERS
        or len(set(plain)) <= 2
        or re.match(r"[<\[{$%(*]|your|my[_-]|enter|insert|env[.:]|os\.|process\.", plain)
        is not None
    )


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

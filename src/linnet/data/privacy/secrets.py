"""Secrets that their own form gives away: issuers' prefixes, private keys, passwords in URLs.

The forms are those that issuers document and secret scanners look for.
Each pattern runs only on texts that hold one of its literal hints, and then
only where the hint stands: searching a literal costs next to nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Span, positions

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
    "sk-": "(?=[A-Za-z_-]{0,40}[0-9])(?=[a-z0-9_-]{0,40}[A-Z])[A-Za-z0-9_-]{20,250}",  # OpenAI, Anthropic
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
    "eyJ": "[A-Za-z0-9_-]{8,4000}\\.[A-Za-z0-9_-]{8,20000}\\.[A-Za-z0-9_-]{0,2000}",  # JWT, RFC 7519
}
_TOKENS = {hint: re.compile(rest + r"(?![A-Za-z0-9])") for hint, rest in _ISSUED.items()}
_TELEGRAM = re.compile(r"AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:(?:\\[nr]|[\s\"'+,]){0,8}[A-Za-z0-9+/=]{16,200}){0,400}")
_LONGEST_KEY = 20_000

_IN_URL = re.compile(r"://([^\s/:@\"'<>{}$%|\\]{0,64}:[^\s/@\"'<>{}$|\\]{1,128})@(?=[\w\[{$<%.-])")
_AUTHORIZATION = re.compile(
    r"(?:bearer|basic|token)[ ]((?=[A-Za-z_~.+/-]{0,60}[0-9])[A-Za-z0-9._~+/-]{16,4000}={0,2})",
    re.IGNORECASE,
)
# Words that stand for a password in examples and templates.
PLACEHOLDERS = frozenset(
    "password passwd pass pwd passphrase passw0rd secret token key apikey api_key value string str "
    "none null nil true false undefined example changeme change_me test testing todo tbd redacted "
    "hidden masked removed xxx required optional empty unknown default yourpassword mypassword "
    "your_password my_password your-password user:pass user:password username:password "
    "user:passwd usr:pwd usr:pass username:passwd login:password user:secret".split()
)


def secrets(text: str, family: Family) -> Iterator[Span]:
    """Keys, tokens and passwords that their form gives away."""
    yield from _issued(text)
    for at in positions(text, "-----BEGIN "):
        yield from _private_key(text, at)
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
            found = _AUTHORIZATION.search(text, at, at + 4200)
            if found and found.start() - at < 30:
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
    for at in positions(text, ":AA"):
        digits = re.search(r"(?<!\d)\d{8,10}\Z", text[max(0, at - 11) : at])
        found = _TELEGRAM.match(text, at + 1) if digits else None
        if found and digits:
            yield Span(at - len(digits[0]), found.end(), "SECRET")


def _private_key(text: str, at: int) -> Iterator[Span]:
    """A key from its first line to its last; one that was cut off, as far as it goes."""
    begin = _PRIVATE_KEY.match(text, at)
    if begin:
        end = _KEY_END.search(text, begin.end(), begin.end() + _LONGEST_KEY)
        body = end or _KEY_BODY.match(text, begin.end())
        yield Span(at, body.end() if body else begin.end(), "SECRET")


def is_placeholder(value: str) -> bool:
    """Whether a value only shows where a secret would stand: ``changeme``, ``xxxx``, ``${KEY}``."""
    plain = value.strip("\"'`.,;:!").lower()
    return (
        plain in PLACEHOLDERS
        or len(set(plain)) <= 2
        or re.match(r"[<\[{$%(*]|your|my[_-]|enter|insert|env[.:]|os\.|process\.", plain)
        is not None
    )

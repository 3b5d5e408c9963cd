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

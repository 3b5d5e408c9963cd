"""Whether a document is worth training on, by rules for its family of text.

Rules made for web pages would destroy code and tables, so the published ones hold
for web pages alone; the others are few and mild, and only meant for what no one
would want: dumps, data, one line over and over.

Gopher: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from
Training Gopher", table A1. C4: Raffel et al. 2020, section 2.2. FineWeb: Penedo et
al. 2024, section 3.6.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.data.signals import signals
from linnet.errors import ConfigError

if TYPE_CHECKING:
    from linnet.data.kinds import Family

__all__ = ["Rules", "rules", "signals", "verdict"]

Rules = Mapping[str, float]  # limits by name, such as {"web.min_words": 50}


@dataclass(frozen=True)
class _Rule:
    """A limit for a signal: ``name`` is ``min_SIGNAL`` or ``max_SIGNAL``."""

    name: str
    limit: float
    reason: str  # with the limit in braces

    def broken(self, signals: Mapping[str, float], limit: float) -> bool:
        bound, _, signal = self.name.partition("_")
        value = signals.get(signal)
        if value is None:
            return False
        return value < limit if bound == "min" else value > limit


_ENCODED = _Rule("max_encoded", 0.5, "more than {:.0%} is base64 or hexadecimal")
_PROSE = (
    _ENCODED,
    _Rule("min_letters", 0.4, "fewer than {:.0%} of the characters are letters"),
    _Rule("max_word_length", 20, "words of more than {:g} characters on average"),
    _Rule("max_top_line", 0.5, "one line makes up more than {:.0%}"),
)
_WEB = (
    _ENCODED,
    # Gopher, quality
    _Rule("min_words", 50, "fewer than {:g} words"),
    _Rule("max_words", 100_000, "more than {:g} words"),
    _Rule("min_word_length", 3, "words of fewer than {:g} characters on average"),
    _Rule("max_word_length", 10, "words of more than {:g} characters on average"),
    _Rule("max_hashes", 0.1, "more than {:g} hash signs a word"),
    _Rule("max_ellipses", 0.1, "more than {:g} ellipses a word"),
    _Rule("max_bullet_lines", 0.9, "more than {:.0%} of the lines are bullet points"),
    _Rule("max_ellipsis_lines", 0.3, "more than {:.0%} of the lines end with an ellipsis"),
    _Rule("min_words_with_letter", 0.8, "fewer than {:.0%} of the words have a letter"),
    _Rule("min_stop_words", 2, "fewer than {:g} of the commonest words"),
    # Gopher, repetition; characters of lines: FineWeb, where Gopher has 0.2
    _Rule("max_duplicate_lines", 0.3, "more than {:.0%} of the lines stood before"),
    _Rule("max_duplicate_paragraphs", 0.3, "more than {:.0%} of the paragraphs stood before"),
    _Rule("max_duplicate_line_characters", 0.1, "more than {:.0%} are lines that stood before"),
    _Rule(
        "max_duplicate_paragraph_characters",
        0.2,
        "more than {:.0%} are paragraphs that stood before",
    ),
    *(
        _Rule(f"max_top_{n}_gram", limit, f"one run of {n} words makes up more than {{:.0%}}")
        for n, limit in ((2, 0.20), (3, 0.18), (4, 0.16))
    ),
    *(
        _Rule(
            f"max_duplicate_{n}_grams",
            limit,
            f"more than {{:.0%}} are runs of {n} words said before",
        )
        for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    ),
    # C4, which drops every page with a curly bracket, and the lines with the word Javascript. Here
    # a page about programs may show them, and it is pages that go.
    _Rule("max_lorem_ipsum", 0, "lorem ipsum"),
    _Rule("max_curly_brackets", 0.1, "more than {:g} curly brackets a word"),
    _Rule("max_javascript_lines", 0.5, "more than {:.0%} of the lines are about javascript"),
    # FineWeb
    _Rule("min_sentence_lines", 0.12, "fewer than {:.0%} of the lines end like a sentence"),
    _Rule("max_short_lines", 0.67, "more than {:.0%} of the lines are short"),
)
_RULES: dict[Family, tuple[_Rule, ...]] = {
    "prose": _PROSE,
    "mail": _PROSE,
    "web": _WEB,
    "code": (
        _ENCODED,
        _Rule("min_letters", 0.25, "fewer than {:.0%} of the characters are letters"),
        _Rule("max_line_length", 1000, "lines of more than {:g} characters on average"),
    ),
    "table": (_ENCODED, _Rule("min_row_characters", 1, "rows without a letter or digit")),
    "log": (_ENCODED,),
    "symbols": (),
}


def rules(settings: tuple[str, ...]) -> Rules:
    """The default limits changed by entries such as ``web.min_words=20``, in order.

    ``off`` leaves none. Raises ConfigError for an unknown name or a limit that is no
    number; ``inf`` and ``-inf`` are numbers.
    """
    defaults = {f"{family}.{rule.name}": rule.limit for family in _RULES for rule in _RULES[family]}
    limits = dict(defaults)
    for entry in settings:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if entry.strip() == "off":
            limits.clear()
            continue
        if name not in defaults:
            near = difflib.get_close_matches(name, [*defaults, "off"], n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(defaults)}"
            raise ConfigError(f"quality: unknown rule '{name}'{hint}")
        limits[name] = _number(value) if equals else math.nan
        if math.isnan(limits[name]):
            raise ConfigError(f"quality is NAME=NUMBER, such as '{name}=0.5'. Got '{entry}'")
    return limits


def verdict(signals: Mapping[str, float], family: Family, rules: Rules) -> str:
    """Why a document with these signals goes, such as ``web: fewer than 50 words``; or ``""``."""
    for rule in _RULES[family]:
        limit = rules.get(f"{family}.{rule.name}")
        if limit is not None and rule.broken(signals, limit):
            return f"{family}: {rule.reason.format(limit)}"
    return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

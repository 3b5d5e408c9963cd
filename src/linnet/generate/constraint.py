"""What a text must be, whatever a model would rather write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from linnet.errors import ConfigError

OF, UNITS = "x-substring-of", "x-substring-units"
"""Keywords of our own: the passages that a text stands in, and what is never cut."""

WHITESPACE, COMPACT, SPACES = "x-whitespace", "compact", "spaces"
"""A keyword of a schema's root: whether a document may have a space behind each colon and comma,
which some models write better with; or none, as it is without the keyword."""

LONGEST = 100_000
LONGEST_SCHEMA = 1_000_000
"""Characters. Of 9,557 published schemas two are longer."""


@dataclass(frozen=True)
class Constraint:
    """A rule that a whole continuation follows; tokens that would break it are never chosen.

    White space that a rule leaves free is bounded, so that a model cannot go on with
    it for ever.
    """

    kind: Literal["json_schema", "regex", "choice", "grammar", "substring", "tools"]
    value: str
    """``json_schema``: a JSON Schema as JSON. ``regex``: a regular expression for the whole text,
    of the kind that automata match (no look-around, no back references). ``choice``: texts, as
    a JSON list. ``grammar``: a grammar in llama.cpp's GBNF, beginning at ``root``.
    ``substring``: see :meth:`substring`. ``tools``: calls of tools or something else, see
    ``constraints.tool_calls``."""

    def __post_init__(self) -> None:
        longest = LONGEST_SCHEMA if self.kind in ("json_schema", "tools") else LONGEST
        if not 0 < len(self.value) <= longest:
            raise ConfigError(
                f"a {self.kind} must have between 1 and {longest:,} characters. "
                f"Got {len(self.value):,}"
            )

    @classmethod
    def substring(
        cls, *passages: str, units: Literal["words", "sentences", "characters"] = "words"
    ) -> Constraint:
        """A quotation: whole words, sentences or just characters of one of these passages.

        Within a JSON document a string is one by the same two keywords that ``value`` has.
        """
        return cls("substring", json.dumps({OF: passages, UNITS: units}))

"""What a text must be, as llama.cpp's grammars say it.

All are read here, so that what is wrong with them is told in one line before native code
sees it: llama.cpp goes on without a grammar that its other parser cannot read.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError
from linnet.generate.llama_cpp import gbnf, regex, schema
from linnet.generate.llama_cpp.cost import require_bounded
from linnet.generate.llama_cpp.pattern import Pattern, as_grammar, one_of

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint


@lru_cache(maxsize=64)  # programs send the same ones again and again
def grammar_of(constraint: Constraint, *, in_bytes: bool) -> str:
    """A constraint as a grammar of llama.cpp's.

    ``in_bytes``: for a vocabulary that spells bytes. Raises ConfigError for what cannot be
    followed.
    """
    match constraint.kind:
        case "json_schema":
            rules = _schema_rules(_json(constraint.value, "a JSON Schema"))
        case "regex":
            rules = {gbnf.ROOT: regex.read(constraint.value)}
        case "choice":
            rules = {gbnf.ROOT: one_of(_choices(constraint.value))}
        case "grammar":
            rules = gbnf.read(constraint.value)
    require_bounded(rules, root=gbnf.ROOT, kind=constraint.kind)
    return as_grammar(rules, in_bytes=in_bytes)


def _schema_rules(found: Any) -> dict[str, Pattern]:
    try:
        return schema.rules_of(found)
    except RecursionError:  # of a value that is compared or written as a whole
        raise ConfigError("a JSON Schema's values must be nested less deep") from None


def _choices(value: str) -> list[str]:
    found = _json(value, "choices")
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise ConfigError(f"choices must be a JSON list of texts. Got {value[:60]!r}")
    if not found:
        raise ConfigError("choices must be a JSON list with at least one text. Got none")
    return found


def _json(value: str, what: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} must be JSON. Got {value[:60]!r}: {error}") from None

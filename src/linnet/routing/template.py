"""A ``routing.toml`` to fill in, made of the settings themselves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from linnet.config import dump_toml
from linnet.routing.budgets import BudgetConfig
from linnet.routing.models import ModelConfig
from linnet.routing.policy import Pattern, PolicyConfig
from linnet.routing.protected import DocumentRule
from linnet.routing.router import RouterConfig, Rule
from linnet.routing.settings import Routing


def template() -> str:
    """A commented ``routing.toml``; its comments are those of the settings themselves."""
    parts = [
        "# Which models may be asked, what may leave this machine, what it may cost, who decides.",
        "# Lines that begin with # count for nothing; remove it to set one.",
        "",
        *_lines(Routing, only=("currency",)),
        "",
        "# A model at an OpenAI-compatible address; its name here is what requests choose it by.",
        "# [models.cloud]",
        *_lines(ModelConfig),
        "",
        "[policy]",
        *_lines(PolicyConfig),
        "",
        "# How far documents may go; those that no such table is about stay here.",
        "# [[policy.documents]]",
        *_lines(DocumentRule),
        "",
        "# What may not leave, or only as a placeholder.",
        "# [[policy.patterns]]",
        *_lines(Pattern),
        "",
        "[budget]",
        *_lines(BudgetConfig),
        "",
        "[router]",
        *_lines(RouterConfig),
        "",
        "# Rules come before the router; the first that fits counts.",
        "# [[rules]]",
        *_lines(Rule),
    ]
    return "\n".join(parts) + "\n"


_EXAMPLES = {
    "address": "https://api.example.com/v1", "model": "large-2", "key_variable": "EXAMPLE_API_KEY",
    "key_file": "/home/me/.keys/example", "place": "elsewhere", "input": 0.25, "output": 2.0,
    "cached": 0.03, "query": 0.05, "day": 2.0, "month": 40.0, "query_tokens": 20_000,
    "day_tokens": 2_000_000, "month_tokens": 40_000_000, "file": "router", "quality": 0.9,
    "cost": 0.001, "share": 0.2, "probability": 0.6, "name": "contracts", "longer": 2000,
    "shorter": 20, "tools": True, "turns": 6, "languages": ["de"], "local_only": ["hr/**"],
    "sources": ["public/**"], "collections": ["handbook"], "allow": ["office@example.com"],
    "matches": "(?i)contract", "BudgetConfig.file": "spent.sqlite", "timezone": "Europe/Berlin",
    "Pattern.matches": r"C-\d{4}",
}  # fmt: skip
"""Of settings that have no default that would show what they look like."""


def _lines(cls: type, *, only: Sequence[str] = ()) -> Iterator[str]:
    for each in dataclasses.fields(cls):
        if "bounds" not in each.metadata or (only and each.name not in only):
            continue
        shows_nothing = each.default in (None, "", ())
        own = f"{cls.__name__}.{each.name}"
        value = _EXAMPLES.get(own, _EXAMPLES.get(each.name)) if shows_nothing else each.default
        if value is None and shows_nothing:
            continue
        text = dump_toml({each.name: value}).strip()
        if isinstance(value, list):  # which are of texts; on one line
            text = f"{each.name} = {json.dumps(value)}"
        yield f"# {text:<36} # {each.metadata['help']}"

"""``routing.toml``: the models that may be asked, what may leave, what it may cost, who decides.

currency = "EUR"

[models.cloud]
address = "https://api.example.com/v1"
model = "large-2"
key_variable = "EXAMPLE_API_KEY"
input = 0.25                   # for a million tokens
output = 2.0

[policy]
farthest = "elsewhere"
local_only = ["hr/**"]

[[policy.documents]]           # others that no rule is about stay here as well
sources = ["**"]
farthest = "elsewhere"

[budget]
day = 2.0

[router]
file = "router"                # made by linnet route train
quality = 0.9

[[rules]]
matches = "(?i)contract"
model = "local"
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from linnet.config import (
    LARGEST_SETTINGS,
    Config,
    from_mapping,
    load_toml,
    option,
    read_bytes,
)
from linnet.errors import ConfigError, ContradictionError
from linnet.routing.budgets import BudgetConfig
from linnet.routing.models import ModelConfig
from linnet.routing.policy import PolicyConfig, check_policy
from linnet.routing.router import LOCAL, RouterConfig, Rule, check_rules

AUTO = "auto"
"""The name of the model that is chosen for each question."""


@dataclass(frozen=True)
class Routing(Config):
    """Everything that the owner decides, as it stands in the file."""

    currency: str = option("USD", "The unit of all prices and budgets; nothing is converted.")
    models: dict[str, ModelConfig] = field(default_factory=dict)
    """By the names that requests choose them by, in the order in which they are tried."""
    policy: PolicyConfig = PolicyConfig()
    budget: BudgetConfig = BudgetConfig()
    router: RouterConfig = RouterConfig()
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.models:
            if name in (AUTO, LOCAL):
                raise ConfigError(f"models.{name}: this name is taken; choose another")
        for rule in self.rules:
            if rule.model not in (LOCAL, *self.models):
                known = ", ".join((LOCAL, *self.models))
                raise ConfigError(f"rules: there is no model '{rule.model}'; there are: {known}")
        check_rules(self.rules)
        check_policy(self.policy, self.models, self.rules)
        self._check_prices()

    def _check_prices(self) -> None:
        """A limit in money holds only where it is known what things cost."""
        if any(limits.in_money for limits in self.budget.all_limits):
            for name, model in self.models.items():
                if not model.priced:
                    raise ContradictionError(
                        f"there is a budget in money, but models.{name} has no price: give input "
                        "and output (0 where it costs nothing), or a budget in tokens",
                        f"models.{name}", "budget",
                    )  # fmt: skip


def read_routing(file: Path | str) -> Routing:
    """Raises ConfigError for what is unknown, missing, of another type or contradicts itself.

    Files of keys are sought beside it.
    """
    values = load_toml(Path(file))
    try:
        routing = from_mapping(Routing, values, where=str(file))
    except ContradictionError as error:
        text = read_bytes(Path(file), LARGEST_SETTINGS).decode("utf-8-sig")
        lines = setting_lines(text)
        found = sorted({lines[name] for name in error.settings if name in lines})
        where = f" (line{'s' * (len(found) > 1)} {' and '.join(map(str, found))})" if found else ""
        raise ConfigError(f"{file}: {error}{where}") from None
    except ConfigError as error:
        if str(error).startswith(str(file)):
            raise
        raise ConfigError(f"{file}: {error}") from None
    base = Path(file).parent  # of what stands in it
    models = {name: model.within(base) for name, model in routing.models.items()}
    return dataclasses.replace(routing, models=models)


def setting_lines(text: str) -> dict[str, int]:
    """The lines of a TOML text in which its tables and settings stand, by their dotted names.

    Of a setting within an inline table or a list it is the line where that one begins. (What the
    text means is tomllib's business, which does not say where it found it.)
    """
    lines: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _dotted(header[2])
            if header[1] == "[[":
                counts[table] += 1
            for array, count in counts.items():  # a table within the last one of these
                if f"{table}.".startswith(f"{array}."):
                    table = f"{array}.{count - 1}{table.removeprefix(array)}"
            lines.setdefault(table, number)
        elif setting := _SETTING.match(line):
            name = ".".join(filter(None, (table, _dotted(setting[1]))))
            lines.setdefault(name, number)
            for inner in _INNER.findall(line[setting.end() :]):
                lines.setdefault(f"{name}.{_dotted(inner)}", number)
    return lines


_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_SETTING = re.compile(rf"\s*({_DOTTED})\s*=")
_INNER = re.compile(rf"[{{,]\s*({_DOTTED})\s*=")


def _dotted(names: str) -> str:
    return ".".join(name.strip("\"'") for name in re.findall(_NAME, names))

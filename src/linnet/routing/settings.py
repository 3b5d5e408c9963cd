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

[budget]
day = 2.0

[router]
quality = 0.9

[[rules]]
matches = "(?i)contract"
model = "local"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linnet.config import Config, from_mapping, load_toml, option
from linnet.errors import ConfigError
from linnet.routing.budgets import BudgetConfig
from linnet.routing.models import ModelConfig
from linnet.routing.policy import PolicyConfig
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


def read_routing(file: Path | str) -> Routing:
    """Raises ConfigError for what is unknown, missing, of another type or contradicts itself."""
    return from_mapping(Routing, load_toml(Path(file)), where=str(file))

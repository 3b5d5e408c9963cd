"""How the states of a text become one vector: what sentence-transformers writes beside a model.

    modules.json                       what follows what
    1_Pooling/config.json              how states are summed up
    sentence_bert_config.json          the longest text, in tokens
    config_sentence_transformers.json  words to put before a query or a document

The spellings of its releases 2 to 6 are read. Only the files decide, never a
model's name; without them a vector is the mean, as it is over there.

Source: https://sbert.net, and arXiv:1908.10084.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from linnet.config import read_json
from linnet.errors import ConfigError, ModelError
from linnet.model.config_file import LIMIT, read_object
from linnet.model.heads import POOLINGS

MODULES = "modules.json"
LENGTH = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"

# The keys of releases before 6, which had a switch for each, in the order they are joined in.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class EmbeddingRecipe:
    """From a text to its vector."""

    poolings: tuple[str, ...] = ("mean",)
    normalise: bool = False
    """Scale vectors to length one."""
    max_tokens: int | None = None
    """The longest text, special tokens included; None: what the model has room for."""
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What to put before a text, by what the text is for: ``query``, ``document``."""
    default_prompt: str | None = None
    prompt_counts: bool = True
    """Whether the states of the prompt are summed up too."""

    def prompt(self, name: str | None) -> str:
        """The words before a text. Raises ConfigError for a name that the model does not have."""
        name = name or self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise ConfigError(
                f"the model's files have no prompt '{name}'; they have: {known}. "
                "Words of your own go into prefix"
            )
        return self.prompts[name]


def read_recipe(path: Path) -> tuple[Path, EmbeddingRecipe]:
    """Where in ``path`` the Transformer lies, and what becomes of its states.

    Raises ModelError for what cannot be computed here.
    """
    recipe = EmbeddingRecipe()
    place = path
    if (path / MODULES).is_file():
        recipe = replace(recipe, poolings=())
        for kind, directory in _modules(path):
            match kind:
                case "Transformer" | "BERT":
                    place = directory
                case "Pooling":
                    recipe = _read_pooling(recipe, directory / "config.json")
                case "Normalize":
                    recipe = replace(recipe, normalise=True)
                case _:
                    raise ModelError(
                        f"{path / MODULES}: a step of the kind '{kind}' is not supported; "
                        "known: Transformer, Pooling, Normalize"
                    )
        if not recipe.poolings:
            raise ModelError(f"{path / MODULES}: no step of the kind Pooling makes one vector")
    if (place / LENGTH).is_file():
        recipe = _read_length(recipe, place / LENGTH)
    if (path / PROMPTS).is_file():
        recipe = _read_prompts(recipe, path / PROMPTS)
    return place, recipe


def _modules(path: Path) -> list[tuple[str, Path]]:
    """The kind of each step, without the package it comes from, and its directory."""
    file = path / MODULES
    try:
        if file.stat().st_size > LIMIT:
            raise ValueError(f"{file.stat().st_size} bytes are too many")
        steps = []
        for step in read_json(file):
            name = str(step["path"]).removesuffix("/")
            if Path(name).name != name or name == ".." or "\\" in name:
                raise ValueError(f"'{name}' is not the name of a directory in it")
            steps.append((str(step["type"]).rpartition(".")[2], path / name))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    return steps


def _read_pooling(recipe: EmbeddingRecipe, file: Path) -> EmbeddingRecipe:
    if not file.is_file():
        raise ModelError(f"{file} is missing; it says how states are summed up")
    values = read_object(file)
    named = values.get("pooling_mode")
    if named is None:
        named = [name for switch, name in _SWITCHES.items() if values.get(switch)] or ["mean"]
    poolings = tuple(named) if isinstance(named, list) else (named,)
    for name in poolings:
        if name not in POOLINGS:
            raise ModelError(
                f"{file}: the pooling {name!r} is not supported; known: {', '.join(POOLINGS)}"
            )
    return replace(
        recipe, poolings=poolings, prompt_counts=bool(values.get("include_prompt", True))
    )


def _read_length(recipe: EmbeddingRecipe, file: Path) -> EmbeddingRecipe:
    values = read_object(file)
    longest: Any = values.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise ModelError(f"{file}: max_seq_length must be a whole number above 0. Got {longest!r}")
    return replace(recipe, max_tokens=longest, lowercase=bool(values.get("do_lower_case")))


def _read_prompts(recipe: EmbeddingRecipe, file: Path) -> EmbeddingRecipe:
    values = read_object(file)
    prompts, default = values.get("prompts") or {}, values.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(p, str) for p in prompts.values()):
        raise ModelError(f"{file}: prompts must be an object of texts")
    if default is not None and default not in prompts:
        raise ModelError(f"{file}: default_prompt_name must name one of its prompts")
    return replace(recipe, prompts=prompts, default_prompt=default)

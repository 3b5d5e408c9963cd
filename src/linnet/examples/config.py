"""The settings of examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linnet.config import Config, option, show, to_mapping
from linnet.errors import ConfigError
from linnet.examples.record import KINDS


@dataclass(frozen=True)
class ExamplesConfig(Config):
    """How examples are made out of a corpus, checked and chosen."""

    kinds: tuple[str, ...] = option((), "make only these kinds, such as question; all if not given")
    generators: tuple[str, ...] = option(
        (), "use only these generators; all that need no model if not given"
    )
    limit: int = option(0, "at most this many examples, evenly drawn; 0: no limit", least=0)
    seed: int = option(0, "another seed draws other templates and examples", least=0)
    passage_characters: int = option(
        1200, "a passage has about this many characters", group="Passages", least=100, most=20_000
    )
    most_passages: int = option(
        200_000,
        "a corpus with more passages is sampled, whole documents at a time",
        group="Passages",
        least=1,
    )
    retrieved: int = option(
        10,
        "a question must find its passage among this many that BM25 gives; 0: not checked",
        group="Checks",
        least=0,
    )
    near_duplicates: float = option(
        0.8,
        "drop examples that share this much of their 5-word runs (Jaccard); 1: only equal ones",
        group="Checks",
        above=0,
        most=1,
    )
    longest_question: int = option(500, "characters of a question", group="Checks", least=20)
    longest_answer: int = option(2000, "characters of an answer", group="Checks", least=20)
    largest_share: float = option(
        0.4, "no kind has a larger share of the examples", group="Balance", above=0, most=1
    )
    question_share: float = option(
        0.34, "questions have at least this share of the examples", group="Balance", least=0, most=1
    )
    per_passage: int = option(
        3, "at most this many examples of a kind from one passage", group="Balance", least=1
    )

    model: str = option(
        "",
        "have a model write questions as well: a directory, a .gguf file, a hub name, or the "
        "address of an OpenAI-compatible server, to which passages are then sent",
        group="Model",
    )
    model_name: str = option("", "what the model is called at an address", group="Model")
    model_key: str = option("", "environment variable with the key for an address", group="Model")
    model_passages: int = option(
        1000, "ask the model about at most this many passages, evenly drawn", group="Model", least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"kinds are {', '.join(KINDS)}. Got {show(kind)}")
        if self.question_share > self.largest_share:
            raise ConfigError(
                "question_share must be at most largest_share. "
                f"Got {self.question_share} and {self.largest_share}"
            )

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what is made; of the model its content does, not its place."""
        values = to_mapping(self)
        del values["model"], values["model_key"]
        if not self.model:
            del values["model_name"], values["model_passages"]
        return values

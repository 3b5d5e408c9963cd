"""How the next token is chosen, as settings: each is declared here, once, for all who offer it.

What each does is in ``linnet.generate.logits``; they act in the order in which
they stand here after the temperature, which is the order of transformers. A filter is a field
declared with :func:`filtering` and its function in ``logits.FILTERS``: command line, TOML,
Python, HTTP and llama.cpp have it then.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict, TypeVar

from linnet.config import Config, option
from linnet.errors import ConfigError

T = TypeVar("T", bound=float)

LARGEST_BIAS = 100.0
"""OpenAI's bound."""


@dataclass(frozen=True)
class FilterOption:
    """A setting that leaves out tokens."""

    off: float
    """The value at which it leaves out none."""
    llama_cpp: tuple[str, str] | None
    """What llama.cpp calls the filter, and its setting; None: it has no such filter, and its
    engine refuses the setting."""


def filtering(
    off: T,
    help: str,
    *,
    default: T | None = None,
    llama_cpp: tuple[str, str] | None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> T:
    """The setting of a filter, which is off unless there is a ``default``."""
    return option(
        off if default is None else default,
        help,
        least=least,
        above=above,
        most=most,
        more={"filter": FilterOption(off, llama_cpp)},
    )


@dataclass(frozen=True)
class Sampling(Config):
    """How to continue a text, and where to stop."""

    max_tokens: int = option(256, "stop after this many tokens", least=1)
    temperature: float = option(
        0.8, "below 1 safer, above 1 more varied; 0 always takes the likeliest token", least=0
    )
    top_n_sigma: float = filtering(
        0.0,
        "leave out tokens whose score is more than this many standard deviations below the best; "
        "0 for none",
        least=0,
        llama_cpp=("top_n_sigma", "top_n_sigma"),
    )
    top_k: int = filtering(
        0,
        "choose among this many likeliest tokens; 0 for all",
        least=0,
        llama_cpp=("top_k", "top_k"),
    )
    top_p: float = filtering(
        1.0,
        "choose among the likeliest tokens that make up this probability",
        above=0,
        most=1,
        llama_cpp=("top_p", "top_p"),
    )
    min_p: float = filtering(
        0.0,
        "leave out tokens less likely than this share of the likeliest",
        default=0.05,
        least=0,
        most=1,
        llama_cpp=("min_p", "min_p"),
    )
    typical_p: float = filtering(
        1.0,
        "choose among the tokens nearest to the expected surprise that make up this probability",
        above=0,
        most=1,
        llama_cpp=("typ_p", "typical_p"),
    )
    repetition_penalty: float = option(
        1.0, "above 1 makes tokens that occurred before less likely", above=0, most=100
    )
    frequency_penalty: float = option(
        0.0,
        "lowers a token's score by this much for each time it was written",
        least=-2,
        most=2,
    )
    presence_penalty: float = option(
        0.0, "lowers the score of every token that was written once", least=-2, most=2
    )
    beams: int = option(
        1,
        "above 1 searches for the likeliest text with this many beams (engine torch); temperature "
        "and filters have no part in it then",
        least=1,
        most=64,
    )
    length_penalty: float = option(
        1.0,
        "beams: a text's log-probability is divided by its length to this power; above 0 favours "
        "longer texts",
        least=-10,
        most=10,
    )
    early_stopping: str = option(
        "false",
        "beams: true ends when as many texts as beams have ended, false when none is likely to "
        "become better, never when none can",
        choices=("false", "true", "never"),
    )
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the scores of tokens, before everything else; not an option of commands."""
    ignore_eos: bool = False
    """Whether tokens that end every text are never chosen; not an option of commands."""
    min_tokens: int = 0
    """So many tokens come before one that ends the text, and before stop strings count; not an
    option of commands."""
    stop: tuple[str, ...] = option((), "stop before this text; may be given several times")
    seed: int | None = option(
        None,
        "the same seed gives the same text; without one texts differ",
        least=0,
        most=(1 << 63) - 1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, works, expected in (
            ("logit_bias", all(abs(b) <= LARGEST_BIAS for _, b in self.logit_bias), "-100 to 100"),
            ("stop", all(self.stop), "texts of at least one character"),
            ("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "0 to max_tokens"),
        ):
            if not works:
                raise ConfigError(f"{name} must be {expected}. Got {getattr(self, name)!r}")

    @cached_property
    def filters(self) -> dict[str, float]:
        """The settings of the filters that leave out tokens, in the order in which they act."""
        values = {name: getattr(self, name) for name in FILTER_OPTIONS}
        return {name: value for name, value in values.items() if value != FILTER_OPTIONS[name].off}


class Settings(TypedDict, total=False):
    """Settings of :class:`Sampling` as they are given by name; None leaves one as it is."""

    max_tokens: int | None
    temperature: float | None
    top_n_sigma: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    beams: int | None
    length_penalty: float | None
    early_stopping: str | None
    stop: tuple[str, ...] | None
    seed: int | None


FILTER_OPTIONS: dict[str, FilterOption] = {
    field.name: field.metadata["filter"]
    for field in dataclasses.fields(Sampling)
    if "filter" in field.metadata
}
"""All of them by the name of their setting, in the order in which they act."""

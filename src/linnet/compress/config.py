"""The settings of a compression."""

from __future__ import annotations

import re
from dataclasses import dataclass

from linnet.config import Config, option
from linnet.errors import ConfigError
from linnet.runtime import MOST_THREADS

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", re.IGNORECASE)
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class CompressConfig(Config):
    """What is wanted: quality to keep, or a size, or speed within that quality."""

    keep: str = option(
        "99%",
        "What must stay of the likelihood of right answers, for each of their tokens; the smallest "
        "model that surely keeps it is taken.",
    )
    size: str = option(
        "", "The largest file, such as 60MB; the best model that is no larger is taken."
    )
    speed: bool = option(False, "Take the fastest that keeps the quality, and not the smallest.")
    prune: str = option(
        "",
        "Shares of the parameters, such as 0.75,0.5: pruned models, distilled on --calibration, "
        "whose files are candidates, too.",
        group="Pruning",
    )
    prune_seconds: float = option(
        600.0, "Seconds to distil each of them.", group="Pruning", above=0, most=1e9
    )
    prune_steps: int = option(
        0,
        "Updates to distil each of them; 0: as many as fit into --prune-seconds.",
        group="Pruning",
        least=0,
    )
    packed: bool = option(
        False,
        "Checkpoints of 8 and 4 bits for torch, transformers and vLLM are candidates, too.",
    )
    questions: int = option(200, "Questions to judge by, at most.", group="Measuring", least=1)
    confidence: float = option(
        0.95, "How sure it must be that the quality is kept.", group="Measuring", above=0.5, below=1
    )
    calibration_tokens: int = option(
        50_000,
        "Tokens of text from which it is known which inputs of a matrix matter; 0: not used.",
        group="Measuring",
        least=0,
    )
    calibration: str = option(
        "",
        "Text for that: a file, a folder or a corpus; empty: the questions' own passages and "
        "answers.",
        group="Measuring",
    )
    new_tokens: int = option(48, "Tokens to write when speed is measured.", group="Measuring",
                             least=1)  # fmt: skip
    streams: int = option(8, "Texts written at once, beside one.", group="Measuring", least=1)
    repeats: int = option(3, "Measurements of each speed; the best counts.", group="Measuring",
                          least=1)  # fmt: skip
    measure_speed: bool = option(
        True, "Measure speed and memory of each candidate.", group="Measuring"
    )
    seed: int = option(1, "Seed of samples and intervals.", group="Measuring", least=0)
    threads: int = option(
        0, "CPU threads; 0: all usable cores.", group="Machine", least=0, most=MOST_THREADS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept, self.most_bytes, self.shares  # noqa: B018  (refuse what they cannot read)
        if self.speed and self.size:
            raise ConfigError("choose one: --size, or --speed")
        if self.speed and not self.measure_speed:
            raise ConfigError("--speed needs speeds: leave --no-measure-speed out")
        if self.prune and not self.calibration:
            raise ConfigError(
                "--prune needs --calibration: a text to distil on that is not the questions, which "
                "what is judged by them must not learn"
            )
        if not self.prune:
            for name in ("prune_seconds", "prune_steps"):
                if getattr(self, name) != getattr(type(self), name):
                    raise ConfigError(f"{name} is for --prune, which is not given")

    @property
    def kept(self) -> float:
        """The share of the likelihood that must stay."""
        found = _SHARE.fullmatch(self.keep.strip())
        share = float(found[1]) / 100 if found else 0.0
        if not 0 < share < 1:
            raise ConfigError(f"keep must be a share below 100 %, such as 99%. Got {self.keep!r}")
        return share

    @property
    def most_bytes(self) -> int:
        """The largest file; 0: no limit."""
        if not self.size:
            return 0
        found = _SIZE.fullmatch(self.size.strip())
        if found is None or not float(found[1]):
            raise ConfigError(f"size must look like 60MB or 1.5GB. Got {self.size!r}")
        return int(float(found[1]) * _UNITS[found[2].upper()])

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the parameters that pruned models keep, largest first."""
        try:
            found = {round(float(part), 4) for part in self.prune.split(",") if self.prune}
        except ValueError:
            found = {0.0}
        if not all(0 < share < 1 for share in found):
            raise ConfigError(
                f"prune must be shares between 0 and 1, such as 0.75,0.5. Got {self.prune!r}"
            )
        return tuple(sorted(found, reverse=True))

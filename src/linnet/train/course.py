"""A run's course: how long it is, how its rate moves, and what happens on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Course:
    """What the loop needs to know of a run's settings, whatever is trained."""

    steps: int
    """Updates to make; 0: as many as fit into ``seconds``."""
    seconds: float
    """Wall-clock limit; 0: none."""
    schedule: Literal["wsd", "cosine"]
    warmup: float
    decay: float
    clip: float
    """Largest gradient norm; 0: no limit."""
    peak_lr: float
    """The rate that the log shows; each parameter group has its own ``peak_lr``."""
    remedy: str
    """What to do when the loss is no longer a number."""
    micro_rows: int
    """Rows computed at once."""
    validation_interval: int = 0
    """Steps between validations; 0: ``validations`` times in the run."""
    validations: int = 5
    validate_first: bool = False
    """Whether the untrained model is validated, and may be the best."""
    sample_interval: int = 0
    """Steps between samples; 0: ``samples`` times in the run."""
    samples: int = 4
    patience: int = 0
    """Stop after so many validations without improvement; 0: never."""
    save_seconds: float = 60.0
    short_rows: float = 0.0
    """Share of the run, at its start, that reads rows of ``short_length``."""
    short_length: int = 0

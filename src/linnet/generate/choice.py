"""The engine and number format that measuring found best for a model on this machine.

``linnet bench`` notes it, ``auto`` takes it. A note is about the weights (by hash) and stays
valid for as long as they are the same.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from linnet.config import read_json
from linnet.generate.llama_cpp.cache import cache_directory, content_hash
from linnet.output import write_text


@dataclass(frozen=True)
class Choice:
    """What to compute with."""

    engine: Literal["llama.cpp", "torch"]
    precision: str


def note_choice(model: Path, choice: Choice) -> None:
    """Remember the choice for the model in this directory; without a place for it, nothing."""
    with contextlib.suppress(OSError):
        place = _note_of(model)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(place, json.dumps(asdict(choice)))


def noted_choice(model: Path) -> Choice | None:
    """What was noted for the model in this directory; None where nothing usable was."""
    try:
        values = read_json(_note_of(model))
        engine, precision = values["engine"], str(values["precision"])
        return Choice(engine, precision) if engine in ("llama.cpp", "torch") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note_of(model: Path) -> Path:
    return cache_directory().parent / "choices" / f"{content_hash(model)[:40]}.json"

"""What ``index.json`` holds: the segments of an index, and which encoder its vectors are by."""

from __future__ import annotations

from dataclasses import dataclass, field

from linnet.artifact import Artifact
from linnet.config import from_mapping, parse_json, read_bytes
from linnet.errors import ConfigError, DamagedError
from linnet.retrieval.segments import Segment

FILE = "index.json"
_LARGEST = 1 << 24


@dataclass(frozen=True)
class EncoderState:
    """An encoder, of which all passages had a vector when it was taken into use."""

    name: str
    """For people."""
    source: str
    """What it is opened again by."""
    fingerprint: str
    width: int


@dataclass(frozen=True)
class State:
    """What the file holds."""

    segments: list[str] = field(default_factory=list)
    characters: int = 0
    """Of a passage, about."""
    encoder: EncoderState | None = None
    """The one in use; None where only words are searched."""
    asked: str = ""
    """The encoder that was asked for by name; empty where the best at hand is taken."""


def read_state(made: Artifact) -> State:
    """What an index says of itself. Raises DamagedError."""
    file = made.file(FILE)
    try:
        raw = parse_json(read_bytes(file, _LARGEST).decode())
        return from_mapping(State, raw, where=FILE)
    except (ValueError, TypeError, ConfigError, OSError) as error:
        raise DamagedError(
            f"{file} is damaged ({error}); delete {made.path} and run linnet index again"
        ) from None


def segments_of(made: Artifact) -> list[Segment]:
    """The segments of an index. Raises DamagedError."""
    return [Segment.of(made, name) for name in read_state(made).segments]

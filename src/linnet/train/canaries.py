"""Canaries: random sequences among the training data, by which memorising is measured.

As in "The Secret Sharer" (Carlini et al., 2019, arXiv:1802.08232): a template is filled with
random digits, and each text so made is one more document of the training data, ``repeats`` times
in every pass over it. They are in no file but ``canaries.json`` in the model's directory, which
also says what else they could have been. Whoever ranks a canary among those by the model's
likelihood finds its exposure: log2 of how many there are, less log2 of its rank.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from linnet.config import Config, from_mapping, option, read_json
from linnet.errors import ConfigError, DataError
from linnet.output import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.shards.batches import Batches, Documents
    from linnet.shards.reader import Tokens
    from linnet.tokenizer import Tokenizer

FILE = "canaries.json"
TEMPLATE = "The random number is {}."
ALPHABET, LENGTH = "0123456789", 9
_STREAM = 0xCA4A21  # of random numbers, apart from those that order documents by the same seed


@dataclass(frozen=True)
class Canaries(Config):
    """What was planted, and the space that it was drawn from: ``canaries.json``."""

    sequences: tuple[str, ...] = option((), "what the template was filled with, all different")
    repeats: int = option(1, "times that each stands in a pass over the data", least=1)
    template: str = option(TEMPLATE, "text around a sequence")
    alphabet: str = option(ALPHABET, "symbols that a sequence is drawn from, evenly")
    length: int = option(LENGTH, "symbols in a sequence", least=1)
    seed: int = option(1, "what they were drawn by")

    @property
    def texts(self) -> list[str]:
        """The planted texts."""
        return [self.fill(sequence) for sequence in self.sequences]

    @property
    def log2_candidates(self) -> float:
        """log2 of how many sequences there could be, the highest exposure."""
        return self.length * math.log2(len(self.alphabet))

    def fill(self, sequence: str) -> str:
        """The text of a sequence, be it planted or another candidate."""
        return self.template.replace("{}", sequence)

    def write(self, directory: Path) -> None:
        """Write ``canaries.json``."""
        write_json(directory / FILE, asdict(self))


def draw_canaries(count: int, *, repeats: int, seed: int, stage: int = 0) -> Canaries:
    """So many canaries; the same for the same seed and stage (0: pretraining, 1: fine-tuning)."""
    random = np.random.default_rng([_STREAM, stage, seed])
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(random.choice(list(ALPHABET), LENGTH).tolist())] = None
    return Canaries(tuple(found), repeats=repeats, seed=seed)


def read_canaries(directory: Path) -> Canaries | None:
    """What was planted in a model's training; None where nothing was. Raises DataError."""
    file = directory / FILE
    if not file.is_file():
        return None
    try:
        values = read_json(file)
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        found = from_mapping(Canaries, values, where=FILE)
        if any(len(s) != found.length or set(s) - set(found.alphabet) for s in found.sequences):
            raise ValueError("a sequence is none of those that it could be")
        if found.template.count("{}") != 1:
            raise ValueError("the template needs one {} for the sequence")
    except (OSError, ValueError, ConfigError) as error:
        raise DataError(f"{file} cannot be read ({error}); train the model again") from None
    return found


class PlantedDocuments:
    """Documents with canaries among them: behind the others, before an order is drawn."""

    def __init__(self, documents: Documents, canaries: Canaries, tokenizer: Tokenizer) -> None:
        encoded = tokenizer.encode_arrays(canaries.texts)
        require_distinct([ids.tolist() for ids in encoded])
        end = [tokenizer.end_of_text]
        self.planted = [np.concatenate([ids, end]).astype(np.uint32) for ids in encoded]
        self.original, self.canaries, self.repeats = documents, canaries, canaries.repeats
        self.name = documents.name

    @property
    def tokens(self) -> int:
        """Tokens in all, those of the canaries included."""
        return self.original.tokens + self.repeats * sum(map(len, self.planted))

    @property
    def documents(self) -> int:
        return self.original.documents + self.repeats * len(self.planted)

    def document(self, index: int) -> Tokens:
        """The tokens of a document or a canary, its final end-of-text included."""
        beyond = index - self.original.documents
        return self.original.document(index) if beyond < 0 else self.planted[beyond // self.repeats]

    def occurrences(self, stream: Batches) -> int:
        """How many copies of canaries a stream of these documents has read to their end."""
        read = stream.order[: stream.position.document]
        current = int((read >= self.original.documents).sum())
        return stream.position.epoch * self.repeats * len(self.planted) + current


def require_distinct(encoded: list[list[int]]) -> None:
    """Raise DataError where a tokenizer cannot tell canaries apart."""
    if len({tuple(ids) for ids in encoded}) < len(encoded):
        raise DataError(
            "canaries are sequences of digits, but this tokenizer writes several of them alike; "
            "train without --canaries"
        )

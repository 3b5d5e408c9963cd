"""The gate itself: how likely a draft is right, and whether that is enough to show it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnet import artifact, output
from linnet.answers.evidence import Draft, Evidence, Judgement
from linnet.answers.gate.features import observe, watched
from linnet.answers.gate.model import MonotoneModel
from linnet.answers.gate.reference import Levels, Reference
from linnet.config import from_mapping, read_json, to_mapping
from linnet.errors import ArtifactError, ConfigError, DamagedError, typed
from linnet.scoring.bounds import Certificate

KIND = "gate"
FORMAT = 2
MODEL_FILE = "gate.json"
TERMS_FILE = "terms.npz"
LARGEST_TERMS = 1 << 30

IN_SCOPE = 0.5
"""From which probability on a list, a count or a summary is shown."""


@dataclass(frozen=True)
class Gate:
    """Judges drafts; may be used by several threads at once."""

    reference: Reference
    right: MonotoneModel
    """That a draft is right."""
    scope: MonotoneModel
    """That the documents are about it."""
    certificate: Certificate

    def judge(self, evidence: Evidence, draft: Draft) -> Judgement:
        """What it thinks of a draft, from how it came about.

        The promise is about questions that one place answers. A list, a count or a summary is
        drawn from many passages: it is shown where the documents are about it at all.
        """
        features = observe(evidence, draft, self.reference)
        probability, in_scope = self.right.probability(features), self.scope.probability(features)
        threshold = self.certificate.threshold
        if is_of_many(evidence):
            answer = in_scope >= IN_SCOPE
        else:
            answer = threshold is not None and probability >= threshold
        return Judgement(probability, in_scope, bool(draft.text) and answer, watched(features))


def is_of_many(evidence: Evidence) -> bool:
    """Whether an answer is drawn from all that matches, and not from one place."""
    return evidence.chosen is not None or any(is_of_many(part) for part in evidence.each)


def write_gate(gate: Gate, directory: Path) -> None:
    """The files of a gate."""
    values = {
        "reference": gate.reference.to_json(),
        "right": gate.right.to_json(),
        "scope": gate.scope.to_json(),
        "certificate": {"threshold": None, **to_mapping(gate.certificate)},
    }
    output.write_json(directory / MODEL_FILE, values)
    with output.create_file(directory / TERMS_FILE) as file:
        np.savez_compressed(file, hashes=gate.reference.hashes, counts=gate.reference.counts)


def open_gate(index: Path | str) -> Gate:
    """The gate of an index, or at this place.

    Raises ArtifactError where there is none, DamagedError where it cannot be read.
    """
    found = artifact.read(index, kind=KIND)
    if found.manifest.format != FORMAT:
        raise ArtifactError(
            f"{found.path}: expected a gate of format {FORMAT}. Got {found.manifest.format}; "
            f"run linnet gate fit {typed(str(found.path.parent))} again"
        )
    try:
        values = read_json(found.path / MODEL_FILE)
        if not isinstance(values, dict):
            raise ValueError("it holds no gate")
        return Gate(
            _read_reference(found.path, values["reference"]),
            MonotoneModel.from_json(values["right"]),
            MonotoneModel.from_json(values["scope"]),
            from_mapping(
                Certificate, {"threshold": None, **values["certificate"]}, where=MODEL_FILE
            ),
        )
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ConfigError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise DamagedError(
            f"{found.path} cannot be read ({error}); "
            f"run linnet gate fit {typed(str(found.path.parent))} again"
        ) from None


def _read_reference(directory: Path, values: Mapping[str, Any]) -> Reference:
    file = directory / TERMS_FILE
    if file.stat().st_size > LARGEST_TERMS:
        raise ValueError(f"{TERMS_FILE} is larger than {LARGEST_TERMS:,} bytes")
    with np.load(file, allow_pickle=False) as arrays:
        hashes, counts = arrays["hashes"], arrays["counts"]
    if hashes.dtype != np.uint64 or counts.dtype != np.uint32 or hashes.shape != counts.shape:
        raise ValueError(f"{TERMS_FILE} holds no terms")
    levels = {
        str(name): Levels(
            tuple(map(int, own["lengths"])),
            tuple(map(float, own["means"])),
            tuple(map(float, own["spreads"])),
        )
        for name, own in values["levels"].items()
    }
    for own in levels.values():
        if not own.lengths or not len(own.lengths) == len(own.means) == len(own.spreads):
            raise ValueError("it holds no levels")
        if min(own.spreads) <= 0 or list(own.lengths) != sorted(set(own.lengths)):
            raise ValueError("it holds no levels")
    return Reference(int(values["passages"]), levels, hashes, counts)

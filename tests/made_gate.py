"""A gate as 'linnet gate fit' writes it, of which only what monitoring reads is there."""

import json
from pathlib import Path

import numpy as np

from linnet import artifact
from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.directory import RESULTS_FILE, TRIALS_FILE
from linnet.answers.gate.gate import FORMAT, KIND
from linnet.artifact import Draft
from linnet.config import to_mapping


def gate_in(index: Path, *, questions: int = 100, kept: bool = True) -> None:
    """Of questions of whose numbers those of half were learned from."""
    generator = np.random.default_rng(1)

    def write(draft: Draft) -> None:
        promise = {"rate": 0.05, "confidence": 0.95, "of": "generated",
                   "threshold": 0.8 if kept else None}  # fmt: skip
        (draft.path / RESULTS_FILE).write_text(json.dumps({"promise": promise}))
        rows = []
        for number in range(questions):
            row = {
                "id": f"{number}", "kind": "answerable", "document": "a", "question": "How is it?",
                "origin": "people" if number % 10 == 0 else "generated", "right": True,
                "part": "learn" if number % 2 else "calibrate",
                "features": {"known": generator.random(), "support": 1.0, "dense_level": "nan"},
                "probability": 0.9 + 0.1 * generator.random(), "in_scope": generator.random(),
            }  # fmt: skip
            rows.append(json.dumps(row) + "\n")
        (draft.path / TRIALS_FILE).write_text("".join(rows))

    artifact.make(
        index / KIND, write, kind=KIND, format=FORMAT, config=to_mapping(GateConfig()), inputs={}
    )

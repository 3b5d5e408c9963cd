"""What a student learns from: text, or rows with prompts, read with the shared tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.errors import DataError
from linnet.evaluate.held_out import TEXT_SUFFIXES
from linnet.examples.record import is_examples
from linnet.finetune.base import base_input, data_inputs
from linnet.finetune.examples import load_examples
from linnet.finetune.replay import read_text, thinned
from linnet.finetune.rows import open_source

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.distil.config import DistilConfig
    from linnet.finetune.encoding import Example
    from linnet.hub import Located
    from linnet.progress import Progress
    from linnet.tokenizer import Tokenizer


LEAST_TOKENS = 100
"""Of text to learn from; far fewer than are of use."""


def is_rows(data: Path | str) -> bool:
    """Whether a place has rows with prompts, or what is read as plain text."""
    if str(data).startswith("hf:") or is_examples(data):
        return True
    path = artifact.within(data, "corpus")
    if artifact.is_artifact(path):
        return False
    if path.is_dir():
        files = [file for split in open_source(path).files.values() for file in split]
        return any(file.suffix.lower() not in TEXT_SUFFIXES for file in files)
    return path.suffix.lower() not in TEXT_SUFFIXES


def read_examples_of(
    data: Path | str, tokenizer: Tokenizer, config: DistilConfig, progress: Progress
) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and some that are kept back."""
    if is_rows(data):
        rows = load_examples([data], tokenizer, config, progress=progress)
        chosen = thinned(rows.train, config.tokens)
        if len(chosen) < len(rows.train):
            progress.warn(
                f"{len(rows.train) - len(chosen):,} of {len(rows.train):,} examples left out: "
                f"more than the {config.tokens:,} tokens of --tokens"
            )
        return chosen, rows.held_out
    text = read_text(
        Path(data), tokenizer, config, tokens=config.tokens,
        held_out_tokens=config.held_out_tokens, progress=progress,
    )  # fmt: skip
    require_enough(data, text.replay)
    return text.replay, text.held_out


def require_enough(data: Path | str, text: Sequence[Example]) -> None:
    """Raise DataError for text that nothing can be learned from."""
    tokens = sum(len(example.tokens) for example in text)
    if tokens < LEAST_TOKENS:
        raise DataError(
            f"{data}: expected text of at least {LEAST_TOKENS} tokens, to see what matters and to "
            f"distil on. Got {tokens:,}"
        )


def inputs_of(
    teacher: Located,
    student: Located | None,
    data: Path | str,
    config: DistilConfig,
    progress: Progress,
) -> dict[str, Artifact | str]:
    """What a run is made from."""
    inputs = {"teacher": base_input(teacher.path, pin=teacher.pin, progress=progress)}
    if student is not None:
        inputs["base"] = base_input(student.path, pin=student.pin, progress=progress)
    if is_rows(data):
        read = data_inputs([data], config.validation, book=config.book, progress=progress)
    else:
        read = data_inputs([], "", str(data), progress=progress)
    return {**inputs, **read}


def contents_of(inputs: Mapping[str, Artifact | str]) -> dict[str, str]:
    """The hashes of what is learned from."""
    return {
        role: found if isinstance(found, str) else found.content
        for role, found in inputs.items()
        if role not in ("teacher", "base")
    }

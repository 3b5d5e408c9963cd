"""What is done with a stranger's files in a run of :mod:`running`: a command, or one call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from links import SETTINGS

from linnet import cli
from linnet.config import from_mapping
from linnet.errors import LinnetError
from linnet.tokenizer import load

MESSAGES = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes"}]


def run(task: str, arguments: Sequence[str]) -> int:
    """The exit status, as the command line has it."""
    if task == "cli":
        sys.argv = ["linnet", *arguments]
        cli.main()
        return 0
    try:
        {"chat": chat, "encode": encode, "shards": shards, "train": train}[task](*arguments)
    except LinnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def chat(directory: str) -> None:
    """Load a tokenizer and write a conversation as its template says."""
    load(directory).encode_chat(MESSAGES)


def encode(directory: str) -> None:
    """Load a tokenizer and encode texts that it may be slow on."""
    tokenizer = load(Path(directory))
    for text in ("Hello, world 123", "a" * 3_000 + "!", "ab" * 1_000, "1" * 500, " " * 500):
        tokenizer.decode(tokenizer.encode(text))


def train(shards: str, out: str) -> None:
    """Train for a few steps, or go on from what lies there."""
    import linnet.train.pretraining
    from linnet.train import TrainConfig

    config = from_mapping(TrainConfig, SETTINGS, where="task")
    linnet.train.pretraining.train(Path(shards), Path(out), config)


def shards(directory: str) -> None:
    """Open shards and read all of them."""
    from linnet.shards import Shards

    opened = Shards.open(Path(directory))
    for name in opened.entries:
        sum(len(document) for document in opened.split(name))

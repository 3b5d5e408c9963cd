"""The tokenizer: a vocabulary that suits the documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from linnet.artifact import Artifact
from linnet.data import read_documents
from linnet.errors import LinnetError
from linnet.stages import evaluation
from linnet.stages.shards import split_facts
from linnet.stages.stage import Pin, Section, Stage, Workspace
from linnet.tokenizer import SMALLEST_VOCABULARY, TokenizerConfig, bytes_per_token, load, train

WORSE_TOKENIZER = 0.97  # bytes per token below this share of what they were: train it again
EXAMPLE = "The quick brown fox jumps over the lazy dog, 1,234 times a day."
EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class TokenizerFacts:
    """The vocabulary, and how it cuts an example."""

    vocab_size: int
    bytes_per_token: float | None
    example: list[str]


def facts(workspace: Workspace) -> TokenizerFacts | None:
    """The vocabulary; cuts a held-out beginning as an example."""
    places = [workspace.directory(name) for name in ("tokenizer", "model")]
    place = next((p for p in places if (p / "tokenizer.json").is_file()), None)
    if place is None:
        return None
    try:
        tokenizer = load(place)
    except LinnetError:
        return None
    text, scored = EXAMPLE, evaluation.read(workspace)
    if scored is not None and scored.samples:
        text = (scored.samples[0].prompt + scored.samples[0].text)[:EXAMPLE_CHARACTERS]
    pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode(text)]
    splits = split_facts(workspace)
    tokens = sum(split.tokens - split.documents for split in splits)
    return TokenizerFacts(
        vocab_size=tokenizer.vocab_size,
        bytes_per_token=sum(split.bytes for split in splits) / tokens if tokens else None,
        example=[piece.decode("utf-8", "replace") for piece in pieces],
    )


def vocab_size(workspace: Workspace) -> int | None:
    """The vocabulary that the user asks for; None leaves it to the plan."""
    given = workspace.configure(TokenizerConfig, "tokenizer")
    if given.kind == "bytes":
        return SMALLEST_VOCABULARY
    return given.vocab_size if "vocab_size" in workspace.config.table("tokenizer") else None


def configure(workspace: Workspace) -> TokenizerConfig | None:
    """The settings; None before there is a plan."""
    if (plan := workspace.plan) is None:
        return None
    return workspace.configure(TokenizerConfig, "tokenizer", {"vocab_size": plan.vocab_size})


def _settings(workspace: Workspace) -> Mapping[str, Any] | None:
    config = configure(workspace)
    return None if config is None else config.recipe()


def _make(workspace: Workspace) -> Artifact:
    corpus = workspace.artifacts["corpus"]
    return train(
        _training_texts(corpus),
        workspace.directory("tokenizer"),
        configure(workspace),
        inputs={"corpus": corpus},
        progress=workspace.progress,
    )


def _still_fits(workspace: Workspace, made: Artifact) -> bool:
    """Whether it still cuts as well as it did."""
    before = made.stats.get("bytes_per_token")
    now = bytes_per_token(load(made.path), _training_texts(workspace.artifacts["corpus"]))
    if before is not None and now < WORSE_TOKENIZER * before:
        workspace.progress.message(
            f"tokenizer: {now:.2f} bytes per token now, {before:.2f} when it was trained; "
            "training it again"
        )
        return False
    workspace.progress.message(
        "tokenizer kept: it suits the changed documents (--retrain-tokenizer makes a new one)"
    )
    return True


def _training_texts(corpus: Artifact) -> Iterator[str]:
    for document in read_documents(corpus.path, "train", columns=("text",)):
        yield document.text


STAGE = Stage(
    name="tokenizer",
    make=_make,
    summary=lambda made: f"{made.stats['vocab_size']:,} tokens",
    inputs={"corpus": "corpus"},
    table="tokenizer",
    config=TokenizerConfig,
    settings=_settings,
    pin=Pin(note="kept while it suits, or use --retrain-tokenizer", still_fits=_still_fits),
    report=lambda workspace: Section(
        template="tokenizer.html.jinja", facts=facts(workspace), place=3
    ),
    on_forget="trained",
)

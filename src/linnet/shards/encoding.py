"""Encodes a corpus as shards: the documents of each split, as token ids, in order.

Documents stream through in batches, so memory depends neither on the size of
the corpus nor on how long a document is in tokens; the threads of the
``tokenizers`` library share each batch. Every document ends with the
end-of-text token; none has a token before its text.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import artifact, output
from linnet.config import Config, option, to_mapping
from linnet.data import read_documents
from linnet.errors import ConfigError, DataError
from linnet.progress import SILENT, Progress
from linnet.shards.reader import KIND, SPLITS, TOKENIZER, ShardEntry, SplitName, token_dtype
from linnet.shards.writer import SplitWriter, write_description
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer.definition import TOKENIZER_FILE
from linnet.tokenizer.training import KIND as TOKENIZER_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linnet.artifact import Artifact, Draft
    from linnet.progress import Task
    from linnet.tokenizer.tokenizer import Ids

FORMAT = 1

_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class EncodeConfig(Config):
    """How to write a corpus as tokens."""

    shard_tokens: int = option(100_000_000, "tokens per file (a longer document has its own)")
    workers: int = option(0, "threads that encode; 0 for one per core")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard_tokens < 1:
            raise ConfigError(f"shard_tokens must be at least 1. Got {self.shard_tokens}")
        if self.workers < 0:
            raise ConfigError(f"workers must be at least 0. Got {self.workers}")

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        values = to_mapping(self)
        del values["workers"]
        return values


@dataclass(frozen=True)
class Encoded:
    """One document: its ids, the end-of-text last, and the size of its text in UTF-8."""

    ids: Ids
    text_bytes: int


def encode(
    corpus: Path | str,
    tokenizer: Path | str,
    out: Path | str,
    config: EncodeConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Encode all splits of ``corpus`` with the tokenizer in a directory.

    Its files are copied into the shards, so that these say how to read them.
    Shards made already from the same things are returned as they are.
    Raises DataError when the corpus has no documents.
    """
    config, out = config or EncodeConfig(), Path(out)
    source = artifact.read(corpus, kind="corpus")
    tokenizer = artifact.within(tokenizer, "tokenizer")
    loaded = load_tokenizer(tokenizer)
    inputs = {"corpus": source, "tokenizer": _tokenizer_input(tokenizer)}

    text_bytes = sum(source.stats["bytes"].values())

    def write(draft: Draft) -> None:
        # A token stands for about four bytes; a rough figure stops what is hopeless.
        width = np.dtype(token_dtype(loaded.vocab_size)).itemsize
        output.require_space(out, text_bytes * width // 4, purpose="the encoded corpus")
        with (
            _threads(config.workers),
            progress.task("encoding", unit="bytes", total=text_bytes) as task,
        ):
            _write_shards(draft, source.path, loaded, config, task)

    return artifact.make(
        out, write, kind=KIND, format=FORMAT, config=config.recipe(), inputs=inputs
    )


def _write_shards(
    draft: Draft, corpus: Path, tokenizer: Tokenizer, config: EncodeConfig, task: Task
) -> None:
    entries: dict[SplitName, list[ShardEntry]] = {}
    for split in SPLITS:
        with SplitWriter(
            draft.path,
            split,
            vocab_size=tokenizer.vocab_size,
            shard_tokens=config.shard_tokens,
        ) as writer:
            _encode_split(corpus, split, tokenizer, writer, task)
        entries[split] = writer.entries
    if not any(entries.values()):
        raise DataError(f"{corpus}: expected a corpus with documents, but it has none")
    write_description(
        draft.path,
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        splits=entries,
    )
    tokenizer.save(draft.path / TOKENIZER)
    draft.stats.update(_statistics(entries), vocab_size=tokenizer.vocab_size)


def encode_texts(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Encode documents one after another, in parallel and bounded memory."""
    end = np.array([tokenizer.end_of_text], dtype=np.uint32)
    for batch in _batches(texts):
        for text, ids in zip(batch, tokenizer.encode_arrays(batch), strict=True):
            yield Encoded(np.concatenate([ids, end]), len(text.encode("utf-8", "replace")))


def _encode_split(
    corpus: Path, split: SplitName, tokenizer: Tokenizer, writer: SplitWriter, task: Task
) -> None:
    columns = ("text", "copies")
    texts = (
        document.text
        for document in read_documents(corpus, split, columns=columns)
        for _ in range(document.copies)
    )
    for encoded in encode_texts(texts, tokenizer):
        writer.append(encoded.ids, encoded.text_bytes)
        task.advance(encoded.text_bytes)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _tokenizer_input(path: Path) -> Artifact | str:
    """The tokenizer as an input: as an artifact if it is one, else by what its file holds."""
    if artifact.is_artifact(path):
        found = artifact.read(path)
        if found.manifest.kind == TOKENIZER_KIND:
            return found
    return artifact.hash_file(path / TOKENIZER_FILE)


def _statistics(entries: dict[SplitName, list[ShardEntry]]) -> dict[str, Any]:
    splits = {name: _totals(parts) for name, parts in entries.items()}
    return {**_totals([part for parts in entries.values() for part in parts]), "splits": splits}


def _totals(parts: list[ShardEntry]) -> dict[str, int | float]:
    tokens, size = sum(part.tokens for part in parts), sum(part.bytes for part in parts)
    return {
        "tokens": tokens,
        "documents": sum(part.documents for part in parts),
        "bytes": size,
        "bytes_per_token": round(size / tokens, 4) if tokens else 0.0,
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit the threads of ``tokenizers`` for a while.

    Its pool takes its size from the environment when first used in the process;
    after that, only one thread or all is a choice.
    """
    if count == 0:
        yield
        return
    limits = {"RAYON_NUM_THREADS": str(count), "TOKENIZERS_PARALLELISM": str(count > 1).lower()}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

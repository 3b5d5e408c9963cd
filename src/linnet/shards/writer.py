"""Writes the files that ``linnet.shards.reader`` reads, one document at a time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from linnet.output import write_json
from linnet.shards.reader import (
    DESCRIPTION,
    INDEX_DTYPE,
    ShardEntry,
    SplitName,
    Tokens,
    token_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class SplitWriter:
    """Appends documents to one split and starts a new pair of files when one is full.

    A context manager: leaving it closes the files. ``entries`` then says what was written.
    """

    def __init__(self, directory: Path, split: str, *, vocab_size: int, shard_tokens: int) -> None:
        self.directory, self.split = directory, split
        self.dtype = np.dtype(token_dtype(vocab_size)).newbyteorder("<")
        self.shard_tokens = shard_tokens
        self.entries: list[ShardEntry] = []
        self._files = ExitStack()
        self._tokens_file: BinaryIO | None = None
        self._index_file: BinaryIO | None = None
        self._tokens = self._documents = self._bytes = 0  # of the pair being written

    def append(self, tokens: Tokens, text_bytes: int) -> None:
        """Add one document, whose last token is the end-of-text."""
        if self._documents and self._tokens + len(tokens) > self.shard_tokens:
            self._finish_pair()
        if self._tokens_file is None or self._index_file is None:
            self._tokens_file, self._index_file = self._open("bin"), self._open("index")
        self._tokens_file.write(tokens.astype(self.dtype, copy=False).tobytes())
        self._tokens += len(tokens)
        self._documents += 1
        self._bytes += text_bytes
        self._index_file.write(np.array([self._tokens, text_bytes], INDEX_DTYPE).tobytes())

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish_pair()

    def _finish_pair(self) -> None:
        self._files.close()
        if self._documents:
            self.entries.append(
                ShardEntry(self._pair_name(), self._tokens, self._documents, self._bytes)
            )
        self._tokens_file = self._index_file = None
        self._tokens = self._documents = self._bytes = 0

    def _open(self, suffix: str) -> BinaryIO:
        path = self.directory / f"{self._pair_name()}.{suffix}"
        return self._files.enter_context(path.open("wb"))

    def _pair_name(self) -> str:
        return f"{self.split}-{len(self.entries):05d}"


def write_description(
    directory: Path,
    *,
    vocab_size: int,
    end_of_text: int,
    splits: Mapping[SplitName, list[ShardEntry]],
) -> None:
    """Write ``shards.json``."""
    write_json(
        directory / DESCRIPTION,
        {
            "dtype": token_dtype(vocab_size),
            "vocab_size": vocab_size,
            "end_of_text": end_of_text,
            "splits": {
                name: [vars(entry) for entry in entries] for name, entries in splits.items()
            },
        },
    )

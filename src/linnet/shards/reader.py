"""Encoded documents as they lie on disk, memory-mapped.

A shards directory holds, per split, numbered pairs of files:

* ``train-00000.bin``    token ids one after another, little-endian uint16 or uint32;
  every document ends with the end-of-text token;
* ``train-00000.index``  two little-endian uint64 per document: where it ends in
  its ``.bin`` (in tokens) and how many bytes its text had in UTF-8.

``shards.json`` says which files there are, the number format and the vocabulary.
A document never crosses from one file to the next. Only the document index is
held in memory (16 bytes per document); tokens are read from the mapped files,
so a corpus larger than RAM costs nothing extra.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet import artifact
from linnet.config import from_mapping, read_json, show
from linnet.errors import ArtifactError, ConfigError, DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.artifact import Artifact

KIND = "shards"
DESCRIPTION = "shards.json"
TOKENIZER = "tokenizer"
LARGEST_VOCABULARY = 1 << 24
_LARGEST_DESCRIPTION = 1 << 24  # bytes
INDEX_DTYPE = np.dtype("<u8")

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
TokenDtype = Literal["uint16", "uint32"]

Tokens: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


def token_dtype(vocab_size: int) -> TokenDtype:
    """The narrowest number format that holds every id of the vocabulary."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


@dataclass(frozen=True)
class ShardEntry:
    """One pair of files, as ``shards.json`` lists it."""

    name: str
    tokens: int
    documents: int
    bytes: int


@dataclass(frozen=True)
class Shards:
    """An opened shards directory."""

    artifact: Artifact
    vocab_size: int
    end_of_text: int
    dtype: TokenDtype
    entries: dict[str, tuple[ShardEntry, ...]]

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> Shards:
        """Open and check.

        With ``verify`` every byte is read once, to compare hashes and to find
        ids outside the vocabulary; without, only names, sizes and indexes are.
        Raises ArtifactError when there are no shards at ``path`` and
        DamagedError, naming the file, when they are not as they were written.
        """
        found = artifact.read(path, kind=KIND, verify=verify)
        file = found.path / DESCRIPTION
        try:
            shards = _described(found, read_json(file, limit=_LARGEST_DESCRIPTION))
        except (OSError, ValueError, ConfigError) as error:
            raise _damaged(found.path, file, f"cannot be read ({error})") from None
        if verify:
            for name in shards.entries:
                shards.split(name).check_ids(shards.vocab_size)
        return shards

    @property
    def path(self) -> Path:
        return self.artifact.path

    @property
    def content(self) -> str:
        """The content hash: what was trained on these shards depends on it."""
        return self.artifact.content

    @property
    def tokenizer_path(self) -> Path:
        """The directory with the tokenizer that made these tokens."""
        return self.path / TOKENIZER

    def split(self, name: str) -> TokenSplit:
        """The documents of one split, possibly none. Raises ArtifactError for an unknown name."""
        if name not in self.entries:
            raise ArtifactError(
                f"{self.path}: expected one of the splits {', '.join(self.entries)}. Got '{name}'"
            )
        parts = [_Part.open(self.path, entry, self.dtype) for entry in self.entries[name]]
        return TokenSplit(name, np.dtype(self.dtype).newbyteorder("<"), parts)


@dataclass(frozen=True)
class _Description:
    """What ``shards.json`` says."""

    dtype: TokenDtype
    vocab_size: int
    end_of_text: int
    splits: dict[str, list[ShardEntry]]


def _described(found: Artifact, raw: Any) -> Shards:
    """The shards as ``shards.json`` describes them. Raises ValueError or ConfigError."""
    if not isinstance(raw, dict):
        raise ValueError("it is no JSON object")
    said = from_mapping(_Description, raw, where="shards")
    if not 0 < said.vocab_size <= LARGEST_VOCABULARY:
        raise ValueError(f"a vocabulary has 1 to {LARGEST_VOCABULARY:,} tokens")
    if not 0 <= said.end_of_text < said.vocab_size:
        raise ValueError("the end of a text is a token of the vocabulary")
    if said.dtype != token_dtype(said.vocab_size):
        raise ValueError(f"{said.dtype} is not the format for {said.vocab_size:,} tokens")
    for split, entries in said.splits.items():
        if split not in SPLITS:
            raise ValueError(f"the splits are {', '.join(SPLITS)}. Got {show(split)}")
        names = {entry.name for entry in entries}
        if len(names) < len(entries):
            raise ValueError(f"{split} names a file twice")
        if wrong := [name for name in names if not _is_shard_of(split, name)]:
            raise ValueError(f"its files are named as {split}-00000. Got {show(min(wrong))}")
    splits = {split: tuple(entries) for split, entries in said.splits.items()}
    return Shards(found, said.vocab_size, said.end_of_text, said.dtype, splits)


def _is_shard_of(split: str, name: str) -> bool:
    return re.fullmatch(rf"{split}-\d{{5,}}", name, re.ASCII) is not None


@dataclass(frozen=True)
class _Part:
    """One mapped pair of files."""

    directory: Path
    path: Path
    tokens: Tokens
    ends: npt.NDArray[np.uint64]  # per document, in this file
    text_bytes: npt.NDArray[np.uint64]

    @classmethod
    def open(cls, directory: Path, entry: ShardEntry, dtype: TokenDtype) -> _Part:
        path = directory / f"{entry.name}.bin"
        index_path = directory / f"{entry.name}.index"
        for file in (path, index_path):
            if file.is_symlink() or not file.is_file():
                raise _damaged(directory, file, "is no regular file")
        try:
            tokens = np.memmap(path, dtype=np.dtype(dtype).newbyteorder("<"), mode="r")
            index = np.fromfile(index_path, dtype=INDEX_DTYPE).reshape(-1, 2)
        except (OSError, ValueError) as error:
            raise _damaged(directory, path, f"cannot be read ({error})") from None
        ends = np.ascontiguousarray(index[:, 0])
        sound = (
            len(ends) == entry.documents > 0
            and int(ends[-1]) == len(tokens) == entry.tokens
            and bool((ends[1:] > ends[:-1]).all())
        )
        if not sound:
            raise _damaged(directory, index_path, f"does not fit {path.name}")
        return cls(directory, path, tokens, ends, np.ascontiguousarray(index[:, 1]))


class TokenSplit:
    """The documents of one split, in the order of the corpus.

    Positions count tokens over the whole split, whatever the files. Arrays that
    are handed out are read-only views of the mapped files.
    """

    def __init__(self, name: str, dtype: np.dtype[Any], parts: list[_Part]) -> None:
        self.name = name
        self.dtype = dtype
        self._parts = parts
        # Where each file begins, in documents and in tokens; one more entry than files.
        self._first_document = [0]
        self._first_token = [0]
        for part in parts:
            self._first_document.append(self._first_document[-1] + len(part.ends))
            self._first_token.append(self._first_token[-1] + len(part.tokens))

    @property
    def tokens(self) -> int:
        """Tokens in all, one end-of-text per document included."""
        return self._first_token[-1]

    @property
    def documents(self) -> int:
        return self._first_document[-1]

    @cached_property
    def bytes(self) -> int:
        """Bytes of text in UTF-8 (the end-of-text tokens stand for none)."""
        return sum(int(part.text_bytes.sum()) for part in self._parts)

    @cached_property
    def document_ends(self) -> npt.NDArray[np.int64]:
        """Per document, the position after its last token."""
        ends = [
            part.ends.astype(np.int64) + first
            for part, first in zip(self._parts, self._first_token, strict=False)
        ]
        return np.concatenate(ends) if ends else np.zeros(0, np.int64)

    def document(self, index: int) -> Tokens:
        """The tokens of one document, its final end-of-text included."""
        part, local = self._locate(index)
        start = int(part.ends[local - 1]) if local else 0
        return part.tokens[start : int(part.ends[local])]

    def document_bytes(self, index: int) -> int:
        """How many bytes the text of one document has in UTF-8."""
        part, local = self._locate(index)
        return int(part.text_bytes[local])

    def read(self, start: int, stop: int) -> Tokens:
        """The tokens of positions ``start`` to ``stop``.

        A view where they lie in one file; a copy where they cross into another.
        """
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"positions must lie in 0..{self.tokens}. Got {start}..{stop}")
        pieces = []
        shard = bisect_right(self._first_token, start) - 1
        while start < stop:
            first, end = self._first_token[shard], self._first_token[shard + 1]
            pieces.append(self._parts[shard].tokens[start - first : min(stop, end) - first])
            start, shard = end, shard + 1
        if not pieces:
            return np.zeros(0, self.dtype)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def check_ids(self, vocab_size: int, *, block: int = 1 << 22) -> None:
        """Raise DamagedError, naming the file, if an id is outside the vocabulary."""
        for part in self._parts:
            for start in range(0, len(part.tokens), block):
                largest = int(part.tokens[start : start + block].max())
                if largest >= vocab_size:
                    raise _damaged(
                        part.directory,
                        part.path,
                        f"holds token {largest}, but the vocabulary ends at {vocab_size - 1}",
                    )

    def __len__(self) -> int:
        return self.documents

    def __iter__(self) -> Iterator[Tokens]:
        return (self.document(index) for index in range(self.documents))

    def _locate(self, index: int) -> tuple[_Part, int]:
        if not 0 <= index < self.documents:
            raise IndexError(f"document must be in 0..{self.documents - 1}. Got {index}")
        shard = bisect_right(self._first_document, index) - 1
        return self._parts[shard], index - self._first_document[shard]


def _damaged(directory: Path, path: Path, problem: str) -> DamagedError:
    return DamagedError(
        f"{path} {problem}; delete {directory} and run 'linnet data encode' "
        "(or 'linnet build') again"
    )

"""The text a model is scored on: encoded shards, a file of text, or a folder of them.

A text file holds one document, or several divided by lines that read
``<|endoftext|>``; each is stripped of white space at its ends. A folder gives
its ``.txt`` and ``.md`` files in the order of their names.

``max_bytes`` bounds the work: where there is more text, every second, fourth,
eighth ... document is taken until it fits, and a document longer than the whole
allowance is cut. What was left out is counted, so that a result can say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from linnet.shards import Shards
    from linnet.tokenizer import Tokenizer

T = TypeVar("T")

SEPARATOR = "<|endoftext|>"
TEXT_SUFFIXES = (".txt", ".md")
PIECE_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class HeldOutDocument:
    """One document. ``tokens`` end with the end of text, which stands for no bytes."""

    text: str
    text_bytes: int
    tokens: npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """The documents to score, and how many there were to choose from."""

    documents: list[HeldOutDocument]
    of_documents: int
    of_bytes: int

    @property
    def text_bytes(self) -> int:
        return sum(document.text_bytes for document in self.documents)

    @property
    def complete(self) -> bool:
        return self.text_bytes == self.of_bytes


@dataclass(frozen=True)
class EvenSample(Generic[T]):
    """Every n-th item, such that their sizes fit the limit."""

    items: list[T]
    of_items: int
    of_size: int


def even_sample(items: Iterable[T], *, size: Callable[[T], int], limit: int) -> EvenSample[T]:
    """Take every n-th item, for the smallest power of two at which they fit ``limit``.

    One pass, holding no more than the limit and one item. An item larger than
    the limit counts as the limit: whoever takes it has to cut it.
    """
    kept: list[tuple[int, T]] = []
    step, held, count, total = 1, 0, 0, 0
    for item in items:
        total += size(item)
        if count % step == 0:
            kept.append((count, item))
            held += min(size(item), limit)
        count += 1
        while held > limit and len(kept) > 1:
            step *= 2
            kept = [(place, item) for place, item in kept if place % step == 0]
            held = sum(min(size(item), limit) for _, item in kept)
    return EvenSample([item for _, item in kept], count, total)


def from_shards(shards: Shards, tokenizer: Tokenizer, *, split: str, max_bytes: int) -> HeldOut:
    """Documents of one split of encoded shards. Raises DataError when there are none."""
    part = shards.split(split)
    sample = even_sample(range(part.documents), size=part.document_bytes, limit=max_bytes)
    if not sample.items:
        raise DataError(
            f"{shards.path}: the {split} split has no documents to score; "
            "choose another --split, or give a text file"
        )
    documents = []
    for index in sample.items:
        tokens = part.document(index).astype(np.int64)
        text = tokenizer.decode(tokens[:-1].tolist())
        if part.document_bytes(index) > max_bytes:
            documents.append(_encoded(_cut(text, max_bytes), tokenizer))
        else:
            documents.append(HeldOutDocument(text, part.document_bytes(index), tokens))
    return HeldOut(documents, sample.of_items, sample.of_size)


def from_text(path: Path, tokenizer: Tokenizer, *, max_bytes: int) -> HeldOut:
    """Documents of a text file or a folder of them. Raises DataError when there are none."""
    sample = even_sample(
        _read_documents(path, max_bytes), size=lambda document: document[1], limit=max_bytes
    )
    if not sample.items:
        files = "file" if path.is_file() else f"{' or '.join(TEXT_SUFFIXES)} file"
        raise DataError(f"{path}: expected a {files} with text to score, but there is no text")
    documents = [_encoded(_cut(text, max_bytes), tokenizer) for text, _ in sample.items]
    return HeldOut(documents, sample.of_items, sample.of_size)


def same_vocabulary(tokenizer: Tokenizer, other: Tokenizer) -> bool:
    """Whether every token id means the same to both."""
    if (tokenizer.vocab_size, tokenizer.end_of_text) != (other.vocab_size, other.end_of_text):
        return False
    return all(
        tokenizer.token_name(token) == other.token_name(token)
        for token in range(tokenizer.vocab_size)
    )


def text_files(path: Path) -> list[Path]:
    """The file itself, or the folder's text files. Raises DataError if there is neither."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: expected a text file, a folder or shards, but it does not exist")
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in TEXT_SUFFIXES and p.is_file())


def _read_documents(path: Path, max_bytes: int) -> Iterator[tuple[str, int]]:
    for file in text_files(path):
        yield from split_text_file(file, keep_bytes=max_bytes)


def split_text_file(path: Path, *, keep_bytes: int) -> Iterator[tuple[str, int]]:
    """The documents of a text file, each with its whole size in bytes.

    Of a document longer than ``keep_bytes``, only about the beginning is held
    and handed out, so a huge file of one line is no trouble.
    """
    pieces: list[str] = []
    held = dropped = 0
    at_line_start = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.readline(PIECE_CHARACTERS):
                if at_line_start and piece.strip() == SEPARATOR:
                    yield from _document(pieces, dropped)
                    pieces, held, dropped = [], 0, 0
                elif held <= keep_bytes:
                    pieces.append(piece)
                    held += len(piece.encode())
                else:
                    dropped += len(piece.encode())
                at_line_start = piece.endswith("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, but byte {error.start} of a block is not; "
            "convert the file, or pass it through 'linnet data prepare'"
        ) from None
    yield from _document(pieces, dropped)


def _document(pieces: list[str], dropped: int) -> Iterator[tuple[str, int]]:
    text = "".join(pieces).strip()
    if text:
        yield text, len(text.encode()) + dropped


def _encoded(text: str, tokenizer: Tokenizer) -> HeldOutDocument:
    tokens = np.array([*tokenizer.encode(text), tokenizer.end_of_text], dtype=np.int64)
    return HeldOutDocument(text, len(text.encode("utf-8", errors="replace")), tokens)


def _cut(text: str, max_bytes: int) -> str:
    """The longest beginning that fits, at a character's border."""
    data = text.encode("utf-8", errors="replace")
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", errors="ignore")

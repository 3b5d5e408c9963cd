"""Segments: the files of an index, each of which holds some passages for good.

A segment is written once and never changed. It has

====================  ==============================================================
``documents.arrow``   a row each: name, id of its text, kind, language, collection …
``passages.arrow``    a row each: text, title, headings, context, kind …
``places.arrow``      where each passage stands: document, start, end, page
``place_starts.npy``  by passage, one more than there are: its rows in ``places``
``terms.npy``         the terms in order, one after the other, in UTF-8
``term_starts.npy``   where each begins
``starts.npy``        by term: its rows in the next four
``ids.npy``           by passage: the first half of its id
``postings.npy``      passages that have it, in order
``counts.npy``        how often: in title, headings and text
``lengths.npy``       by passage: the terms of title, headings and text
``gone.npy``          by document: whether it is not there any more (replaced when that changes)
``moved.npy``         by passage: whether a later segment has it now
``vectors-X.npy``     by passage: its vector by encoder X, zeros until it has one
====================  ==============================================================

All are read through the memory map. A passage is live while one of its places is in a document
that is not gone; each live passage is in one segment only, with all its places.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import numpy.typing as npt

from linnet import output
from linnet.data.blocks import BlockKind
from linnet.errors import DamagedError
from linnet.retrieval.passages import Passage, Place
from linnet.retrieval.terms import stemmer, words

if TYPE_CHECKING:
    from linnet.artifact import Artifact

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint64]

FIELDS = ("title", "headings", "text")
_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
FOLDER = "segments"
VECTORS = "vectors-"
_EMPTY_ARRAY = 128  # bytes of a file with an array that has nothing in it, which cannot be mapped
_SHIFTS = (24, 16, 0)  # how the counts of the three fields share one number
_MOST = (0x7F, 0xFF, 0xFFFF)


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document in an index. ``id`` is that of its stored text."""

    source: str
    id: str
    kind: str
    """Its format, such as ``pdf``."""
    language: str
    collection: str
    title: str
    date: int
    """Seconds since 1970, 0 where it is not known: when a mail was sent, a file last changed."""
    characters: int

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What must be the same for it to stay as it is indexed."""
        return (self.source, self.id, self.kind, self.language, self.collection)


class _Terms(dict[str, int]):
    """Numbers of terms by the words they are made of, in one language."""

    def __init__(self, language: str, numbers: dict[str, int]) -> None:
        self._stem, self._numbers = stemmer(language), numbers

    def __missing__(self, word: str) -> int:
        number = self._numbers.setdefault(self._stem(word), len(self._numbers))
        self[word] = number
        return number


class SegmentWriter:
    """Takes documents and their passages, then writes them as one segment."""

    def __init__(self) -> None:
        self.documents: list[IndexedDocument] = []
        self._passages: list[Passage] = []  # without places
        self._numbers: dict[str, int] = {}  # of passages by their id
        self._places: list[tuple[int, int, Place]] = []  # passage, document, place
        self._term_numbers: dict[str, int] = {}
        self._terms_by_language: dict[str, _Terms] = {}
        self._terms = {field: array("i") for field in FIELDS}
        self._lengths = {field: array("i") for field in FIELDS}
        self._above: dict[tuple[str, str], list[int]] = {}  # terms of titles and headings
        self.characters = 0

    def __len__(self) -> int:
        return len(self._passages)

    def add_document(self, document: IndexedDocument) -> int:
        """Take a document; gives its number in this segment."""
        self.documents.append(document)
        self.characters += document.characters
        return len(self.documents) - 1

    def add(self, passage: Passage, documents: Sequence[int]) -> None:
        """Take a passage: at its places, each in one of these documents. Equal ones become one."""
        identity = passage.id
        number = self._numbers.setdefault(identity, len(self._passages))
        if number == len(self._passages):
            self._passages.append(replace(passage, places=()))
            self._count(passage)
        self._places += [
            (number, document, place)
            for document, place in zip(documents, passage.places, strict=True)
        ]

    def ids(self) -> Ids:
        """The ids of the passages, in their order."""
        return np.array([int(identity[:16], 16) for identity in self._numbers], np.uint64)

    def _count(self, passage: Passage) -> None:
        language = passage.language
        known = self._terms_by_language.get(language)
        if known is None:
            known = self._terms_by_language[language] = _Terms(language, self._term_numbers)
        headings = [heading for heading in passage.headings if heading != passage.title]
        above = "\n".join([*headings, passage.context])
        for field, found in (
            ("title", self._of_heading(passage.title, known, language)),
            ("headings", self._of_heading(above, known, language)),
            ("text", [known[word] for word in words(passage.text)]),
        ):
            self._terms[field].extend(found)
            self._lengths[field].append(len(found))

    def _of_heading(self, text: str, known: _Terms, language: str) -> list[int]:
        found = self._above.get((text, language))
        if found is None:
            if len(self._above) > 10_000:
                self._above.clear()
            found = [known[word] for word in words(text)]
            self._above[text, language] = found
        return found

    def write(self, folder: Path) -> None:
        """Write the files."""
        output.make_directory(folder)
        write_documents(folder, self.documents)
        _write_passages(folder, self._passages)
        self._places.sort(key=lambda row: (row[0], row[2].source, row[2].start))
        _write_places(folder, self._places, len(self._passages))
        vocabulary = sorted(self._term_numbers, key=lambda term: term.encode())
        ranks = np.empty(len(vocabulary), np.int64)
        for rank, term in enumerate(vocabulary):
            ranks[self._term_numbers[term]] = rank
        write_vocabulary(folder, [term.encode() for term in vocabulary])
        save(folder, "ids", self.ids())
        save(folder, "lengths", self._lengths_array())
        keys, packed = self._occurrences(ranks)
        write_postings(folder, keys, packed, len(self._passages), len(vocabulary))

    def _lengths_array(self) -> npt.NDArray[np.int32]:
        columns = [np.array(self._lengths[field], np.int32) for field in FIELDS]
        return np.stack(columns, axis=1).reshape(-1, len(FIELDS))

    def _occurrences(self, ranks: Ints) -> tuple[Ints, Ints]:
        keys, packed = [], []
        for field, shift in zip(FIELDS, _SHIFTS, strict=True):
            lengths = np.array(self._lengths[field], np.int64)
            owners = np.repeat(np.arange(len(lengths)), lengths)
            numbers = np.array(self._terms[field], np.int64)
            own = ranks[numbers] * max(len(lengths), 1) + owners
            own, counts = np.unique(own, return_counts=True)
            keys.append(own)
            packed.append(np.minimum(counts, _MOST[_SHIFTS.index(shift)]) << shift)
        return np.concatenate(keys), np.concatenate(packed)


def write_postings(folder: Path, keys: Ints, packed: Ints, passages: int, vocabulary: int) -> None:
    """Write postings. ``keys``: term times passages plus passage, in any order; ``packed``: how
    often, in the three fields."""
    order = np.argsort(keys, kind="stable")
    keys, packed = keys[order], packed[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else keys
    sums = np.add.reduceat(packed, first) if len(keys) else packed
    terms, owners = np.divmod(keys[first], max(passages, 1))
    counts = np.stack(
        [(sums >> shift) & most for shift, most in zip(_SHIFTS, _MOST, strict=True)], axis=1
    )
    starts = np.searchsorted(terms, np.arange(vocabulary + 1))
    save(folder, "starts", starts.astype(np.int64))
    save(folder, "postings", owners.astype(np.int32))
    save(folder, "counts", counts.astype(np.uint16).reshape(-1, len(FIELDS)))


def pack_counts(counts: npt.NDArray[np.uint16]) -> Ints:
    """The counts of the three fields in one number each."""
    parts = [counts[:, n].astype(np.int64) << shift for n, shift in enumerate(_SHIFTS)]
    found: Ints = np.sum(parts, axis=0, dtype=np.int64)
    return found


def write_vocabulary(folder: Path, terms: Sequence[bytes]) -> None:
    """Write terms, which are in order."""
    lengths = np.fromiter(map(len, terms), np.int64, len(terms))
    save(folder, "terms", np.frombuffer(b"".join(terms), np.uint8))
    save(folder, "term_starts", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def write_documents(folder: Path, documents: Sequence[IndexedDocument]) -> None:
    """Write the documents of a segment, in the order of their numbers."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int64()
    kinds = {"date": number, "characters": number}
    names = IndexedDocument.__slots__
    columns = {
        name: pyarrow.array([getattr(row, name) for row in documents], kinds.get(name, text))
        for name in names
    }
    write_table(folder, "documents", columns)


def _write_passages(folder: Path, passages: Sequence[Passage]) -> None:
    import pyarrow

    text = pyarrow.string()
    named = pyarrow.dictionary(pyarrow.int32(), text)
    types = {
        "text": pyarrow.large_string(), "title": named,
        "headings": pyarrow.list_(text), "context": text, "kind": named, "language": named,
        "collection": named,
    }  # fmt: skip
    columns = {
        name: pyarrow.array([_plain(getattr(row, name)) for row in passages], kind)
        for name, kind in types.items()
    }
    write_table(folder, "passages", columns)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _write_places(folder: Path, places: Sequence[tuple[int, int, Place]], passages: int) -> None:
    import pyarrow

    numbers = np.array([row[:2] for row in places], np.int32).reshape(-1, 2)
    stretches = np.array([(row[2].start, row[2].end) for row in places], np.int64).reshape(-1, 2)
    columns = {
        "document": pyarrow.array(numbers[:, 1]),
        "start": pyarrow.array(stretches[:, 0]),
        "end": pyarrow.array(stretches[:, 1]),
        "page": pyarrow.array([row[2].page for row in places], pyarrow.int32()),
        "where": pyarrow.array([row[2].where for row in places], pyarrow.string()),
    }
    write_table(folder, "places", columns)
    starts = np.searchsorted(numbers[:, 0], np.arange(passages + 1)).astype(np.int64)
    save(folder, "place_starts", starts)


def write_table(folder: Path, name: str, columns: dict[str, Any]) -> None:
    """Write a table of a segment."""
    import pyarrow

    table = pyarrow.table(columns)
    batch = table.combine_chunks()
    with (
        output.create_file(folder / f"{name}.arrow") as file,
        pyarrow.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_table(batch)


def save(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    """Write an array of a segment."""
    with output.create_file(folder / f"{name}.npy") as file:
        np.save(file, values, allow_pickle=False)


def numbers(column: Any) -> npt.NDArray[Any]:
    """A column of whole numbers, of which none is missing. (``to_numpy`` would import pandas, which
    takes longer than opening an index.)"""
    kinds = {"int32": np.int32, "int64": np.int64}
    parts = [
        np.frombuffer(chunk.buffers()[1], kinds[str(column.type)])[
            chunk.offset : chunk.offset + len(chunk)
        ]
        for chunk in column.chunks
        if len(chunk)
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty(0, kinds[str(column.type)]), *parts])


def _kind(column: Any) -> str:
    """A column's type, large or encoded as a dictionary or not."""
    return re.sub(r"large_|dictionary<values=|, indices=.*|item: |element: ", "", str(column))


_TEXT, _NUMBER = "string", "int64"
_SCHEMAS = {
    "documents": {
        "source": _TEXT, "id": _TEXT, "kind": _TEXT, "language": _TEXT, "collection": _TEXT,
        "title": _TEXT, "date": _NUMBER, "characters": _NUMBER,
    },
    "passages": {
        "text": _TEXT, "title": _TEXT, "headings": f"list<{_TEXT}>", "context": _TEXT,
        "kind": _TEXT, "language": _TEXT, "collection": _TEXT,
    },
    "places": {
        "document": "int32", "start": _NUMBER, "end": _NUMBER, "page": "int32", "where": _TEXT,
    },
}  # fmt: skip


class Segment:
    """A segment that is open to be read."""

    def __init__(self, name: str, files: Mapping[str, Path], index: Path) -> None:
        """``files``: where each lies by its name in the segment; ``index``: what it belongs to."""
        self.name, self.files, self._index = name, files, index
        self.postings = self._array("postings", np.int32, 1)
        self.counts = self._array("counts", np.uint16, 2)
        self.lengths = self._array("lengths", np.int32, 2)
        self.ids = self._array("ids", np.uint64, 1)
        self._starts = self._array("starts", np.int64, 1)
        self.vocabulary = max(len(self._starts) - 1, 0)
        self._terms = self._array("terms", np.uint8, 1)
        self._term_starts = self._array("term_starts", np.int64, 1)
        self._place_starts = self._array("place_starts", np.int64, 1)
        self.passage_table = self._table("passages")
        self._documents = self._table("documents")
        self.place_table = self._table("places")
        self.size = len(self.lengths)
        self._check()
        self.gone: Mask = np.zeros(self._documents.num_rows, np.bool_)
        self.moved: Mask = np.zeros(self.size, np.bool_)
        if "gone.npy" in self.files:
            self.gone = np.array(self._array("gone", np.bool_, 1))
        if "moved.npy" in self.files:
            self.moved = np.array(self._array("moved", np.bool_, 1))
        if len(self.gone) != self._documents.num_rows or len(self.moved) != self.size:
            raise self._damaged("what is gone does not fit")

    def __len__(self) -> int:
        return self.size

    # -- files ---------------------------------------------------------------------------

    @classmethod
    def of(cls, made: Artifact, name: str) -> Segment:
        """A segment of an index."""
        folder = f"{FOLDER}/{name}/"
        files = {
            known.removeprefix(folder): made.path / place
            for known, place in made.names.items()
            if known.startswith(folder)
        }
        return cls(name, files, made.path)

    @classmethod
    def in_folder(cls, name: str, folder: Path) -> Segment:
        """One that was just written."""
        return cls(name, {path.name: path for path in folder.iterdir()}, folder)

    def _file(self, name: str) -> Path:
        if name not in self.files:
            raise self._damaged(f"{name} is missing")
        return self.files[name]

    def _array(self, name: str, kind: Any, dimensions: int) -> npt.NDArray[Any]:
        path = self._file(f"{name}.npy")
        try:
            mapped = path.stat().st_size > _EMPTY_ARRAY
            found: npt.NDArray[Any] = np.load(
                path, mmap_mode="r" if mapped else None, allow_pickle=False
            )
        except (ValueError, OSError, EOFError) as error:
            raise self._damaged(f"{path.name}: {error}") from None
        if found.dtype != kind or found.ndim != dimensions:
            raise self._damaged(f"{path.name} is no array of {np.dtype(kind)}")
        return found.view(np.ndarray)  # (a memmap takes longer for every slice)

    def _table(self, name: str) -> Any:
        import pyarrow

        path = self._file(f"{name}.arrow")
        try:
            with pyarrow.memory_map(str(path)) as source:
                table = pyarrow.ipc.open_file(source).read_all()
            table.validate(full=True)  # a stranger's might point elsewhere
        except (pyarrow.ArrowException, OSError) as error:
            raise self._damaged(f"{path.name}: {str(error).splitlines()[0]}") from None
        if {field.name: _kind(field.type) for field in table.schema} != _SCHEMAS[name]:
            raise self._damaged(f"{path.name} has other columns")
        if any(table[column].null_count for column in table.column_names if column != "page"):
            raise self._damaged(f"{path.name} has empty places")
        return table

    def _check(self) -> None:
        """Whether all fits together, so that nothing that is read names what is not there."""
        ends: dict[str, tuple[Any, Any]] = {
            "passages": (self.passage_table.num_rows, self.size),
            "ids": (len(self.ids), self.size),
            "places": (self._place_starts[-1:].tolist(), [self.place_table.num_rows]),
            "place_starts": (len(self._place_starts), self.size + 1),
            "terms": (self._term_starts[-1:].tolist(), [len(self._terms)]),
            "starts": (len(self._starts), len(self._term_starts)),
            "postings": (self._starts[-1:].tolist(), [len(self.postings)]),
            "counts": (len(self.counts), len(self.postings)),
        }
        for name, (found, expected) in ends.items():
            if found != expected:
                raise self._damaged(f"{name} does not fit the rest")
        for name, starts in (
            ("place_starts", self._place_starts), ("term_starts", self._term_starts),
            ("starts", self._starts),
        ):  # fmt: skip
            if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
                raise self._damaged(f"{name} is not in order")
        for name, numbers, end in (
            ("postings", self.postings, self.size),
            ("places", self.place_documents, self._documents.num_rows),
        ):
            if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < end:
                raise self._damaged(f"{name} names what is not there")
        if (self.lengths < 0).any():
            raise self._damaged("a length is below 0")

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(
            f"{self._index} is damaged (segment {self.name}: {what}); delete it and run linnet "
            "index again"
        )

    # -- documents and passages ------------------------------------------------------------

    @cached_property
    def documents(self) -> list[IndexedDocument]:
        """All documents, those that are gone too."""
        columns = [self._documents[name].to_pylist() for name in IndexedDocument.__slots__]
        return [IndexedDocument(*row) for row in zip(*columns, strict=True)]

    @cached_property
    def place_documents(self) -> npt.NDArray[np.int32]:
        """By place: the number of its document."""
        return cast("npt.NDArray[np.int32]", numbers(self.place_table["document"]))

    @property
    def place_passages(self) -> Ints:
        """By place: the number of its passage."""
        return np.repeat(np.arange(self.size), np.diff(self._place_starts))

    @cached_property
    def posting_terms(self) -> Ints:
        """By posting: the number of its term."""
        return np.repeat(np.arange(self.vocabulary), np.diff(self._starts))

    @property
    def wasted(self) -> int:
        """How many passages and documents it has that are not there any more."""
        return int((~self.live).sum() + self.gone.sum())

    @property
    def vector_names(self) -> list[str]:
        """The files that it has vectors in, without their endings."""
        return [name.removesuffix(".npy") for name in self.files if name.startswith(VECTORS)]

    def vectors(self, name: str) -> npt.NDArray[np.float32] | None:
        """By passage: its vector by one encoder, zeros where it has none yet."""
        if f"{name}.npy" not in self.files:
            return None
        found = self._array(name, np.float32, 2)
        if len(found) != self.size:
            raise self._damaged(f"{name} does not fit the rest")
        return found

    @cached_property
    def live(self) -> Mask:
        """By passage: whether it can be found."""
        if not self.gone.any():
            return ~self.moved
        return self.in_documents(~self.gone)

    def forget_live(self) -> None:
        """Compute ``live`` anew: ``gone`` or ``moved`` was changed."""
        self.__dict__.pop("live", None)

    def in_documents(self, wanted: Mask) -> Mask:
        """By passage: whether it is live and one of these documents has it."""
        there = (wanted & ~self.gone)[self.place_documents]
        counted = np.concatenate([[0], np.cumsum(there)])
        found: Mask = np.diff(counted[self._place_starts]) > 0
        return found & ~self.moved

    def passage(self, number: int, wanted: Mask | None = None) -> Passage:
        """A passage with its places, of these documents alone if that is said."""
        row = {
            name: self.passage_table[name][number].as_py()
            for name in self.passage_table.column_names
        }
        places = tuple(place for _, place in self.places(number, wanted))
        return Passage(
            row["text"], places, row["title"], tuple(row["headings"]), row["kind"],
            row["language"], row["collection"], row["context"],
        )  # fmt: skip

    def places(self, number: int, wanted: Mask | None = None) -> Iterator[tuple[int, Place]]:
        """The places of a passage that are there, each with the number of its document."""
        first, last = self._place_starts[number : number + 2].tolist()
        rows = self.place_table.slice(first, last - first).to_pylist()
        for row in rows:
            document = row["document"]
            if not self.gone[document] and (wanted is None or wanted[document]):
                source = self.documents[document].source
                yield document, Place(source, row["start"], row["end"], row["page"], row["where"])

    def numbers_of(self, ids: Ids) -> list[int]:
        """The live passages that have one of these ids."""
        found = np.flatnonzero(np.isin(self.ids, ids) & self.live)
        return found.tolist()

    # -- terms -------------------------------------------------------------------------------

    def rows_of(self, term: str) -> slice | None:
        """The rows of a term in ``postings`` and ``counts``; None where no passage has it."""
        wanted, low, high = term.encode(), 0, len(self._term_starts) - 1
        while low < high:
            middle = (low + high) // 2
            if self.term(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self._term_starts) - 1 or self.term(low) != wanted:
            return None
        return slice(int(self._starts[low]), int(self._starts[low + 1]))

    def term(self, number: int) -> bytes:
        """A term by its number, in UTF-8."""
        return self._terms[self._term_starts[number] : self._term_starts[number + 1]].tobytes()

"""Segments joined to one, without what is gone; from their arrays, no text is read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linnet import output
from linnet.retrieval.segments import (
    IndexedDocument,
    Mask,
    Segment,
    pack_counts,
    save,
    write_documents,
    write_postings,
    write_table,
    write_vocabulary,
)


def merge(segments: Sequence[Segment], folder: Path) -> None:
    """Write what is live in these segments as one; of what is gone no byte is left."""
    output.make_directory(folder)
    live = [segment.live for segment in segments]
    sizes = [int(mask.sum()) for mask in live]
    firsts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    numbers = [
        np.where(mask, np.cumsum(mask) - 1 + first, -1)
        for mask, first in zip(live, firsts, strict=False)
    ]
    size = int(firsts[-1])
    documents: dict[IndexedDocument, int] = {}
    renumbered = [_renumbered(segment, documents) for segment in segments]
    write_documents(folder, list(documents))
    _write_passages(folder, segments, live)
    _write_places(folder, segments, numbers, renumbered, size)
    for name in ("ids", "lengths"):
        parts = [getattr(s, name)[mask] for s, mask in zip(segments, live, strict=True)]
        save(folder, name, np.concatenate(parts))
    _write_vectors(folder, segments, live)
    _write_terms(folder, segments, numbers, size)


def _renumbered(segment: Segment, documents: dict[IndexedDocument, int]) -> np.ndarray:
    """The new number of each document of a segment, -1 for one that is gone."""
    return np.array(
        [
            -1 if gone else documents.setdefault(document, len(documents))
            for document, gone in zip(segment.documents, segment.gone.tolist(), strict=True)
        ],
        np.int32,
    )


def _write_passages(folder: Path, segments: Sequence[Segment], live: Sequence[Mask]) -> None:
    import pyarrow

    parts = [s.passage_table.filter(pyarrow.array(m)) for s, m in zip(segments, live, strict=True)]
    joined = pyarrow.concat_tables(parts)
    # A dictionary names all that its passages were called before some of them went.
    columns = {name: _encoded_anew(joined[name]) for name in joined.column_names}
    write_table(folder, "passages", columns)


def _encoded_anew(column: Any) -> Any:
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        return column
    return column.cast(column.type.value_type).dictionary_encode()


def _write_places(
    folder: Path,
    segments: Sequence[Segment],
    numbers: Sequence[np.ndarray],
    renumbered: Sequence[np.ndarray],
    size: int,
) -> None:
    import pyarrow

    tables, owners = [], []
    for segment, own, documents in zip(segments, numbers, renumbered, strict=True):
        passages = own[segment.place_passages]
        at = documents[segment.place_documents] if len(documents) else segment.place_documents
        kept = (passages >= 0) & (at >= 0)
        table = segment.place_table.filter(pyarrow.array(kept))
        column = table.column_names.index("document")
        table = table.set_column(column, "document", pyarrow.array(at[kept].astype(np.int32)))
        tables.append(table)
        owners.append(passages[kept])
    joined = pyarrow.concat_tables(tables)
    write_table(folder, "places", {name: joined[name] for name in joined.column_names})
    starts = np.searchsorted(np.concatenate(owners), np.arange(size + 1)).astype(np.int64)
    save(folder, "place_starts", starts)


def _write_vectors(folder: Path, segments: Sequence[Segment], live: Sequence[Mask]) -> None:
    """The vectors of each encoder; zeros where a segment has none of it."""
    for name in sorted({name for segment in segments for name in segment.vector_names}):
        found = [segment.vectors(name) for segment in segments]
        width = next(rows.shape[1] for rows in found if rows is not None)
        parts = [
            np.zeros((int(mask.sum()), width), np.float32) if rows is None else rows[mask]
            for rows, mask in zip(found, live, strict=True)
        ]
        save(folder, name, np.concatenate(parts))


def _write_terms(
    folder: Path, segments: Sequence[Segment], numbers: Sequence[np.ndarray], size: int
) -> None:
    kept, used, vocabularies = [], [], []
    for segment, own in zip(segments, numbers, strict=True):
        rows = own[segment.postings] >= 0
        terms = segment.posting_terms[rows]
        kept.append(rows)
        used.append(np.unique(terms))
        vocabularies.append([segment.term(int(number)) for number in used[-1]])
    vocabulary = sorted({term for own in vocabularies for term in own})
    ranks = {term: rank for rank, term in enumerate(vocabulary)}
    keys, packed = [], []
    for segment, own, rows, terms, words in zip(
        segments, numbers, kept, used, vocabularies, strict=True
    ):
        new = np.zeros(segment.vocabulary, np.int64)
        new[terms] = [ranks[word] for word in words]
        keys.append(new[segment.posting_terms[rows]] * max(size, 1) + own[segment.postings[rows]])
        packed.append(pack_counts(segment.counts[rows]))
    write_vocabulary(folder, vocabulary)
    write_postings(folder, np.concatenate(keys), np.concatenate(packed), size, len(vocabulary))

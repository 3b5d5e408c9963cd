"""Writing what was kept: whole documents, or pieces of them, to the files of their splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.data.contamination import overlap
from linnet.data.document import SPLITS, Document, text_id
from linnet.data.report import PIECES_WARNING, Tally
from linnet.data.split import cut_pieces, fit_borders
from linnet.data.storage import SplitWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.catalog import Catalog
    from linnet.data.config import DataConfig
    from linnet.data.storage import Texts
    from linnet.progress import Progress

    Item = tuple[Document, str, int]  # a document, its split, how many of the kept were begun

ALIKE = 0.5  # Jaccard similarity from which documents in test and training are named
_COMPARED = 64_000_000  # bytes of a split, in which shared text is looked for
_PAIRS = 8


def write_splits(
    folder: Path,
    catalog: Catalog,
    texts: Texts,
    config: DataConfig,
    *,
    split_by: str,
    progress: Progress,
    training: bool = True,
) -> Tally:
    """Write every kept document, or its pieces, to ``folder``; count them."""
    tally = Tally()
    writers = {split: SplitWriter(folder, split) for split in SPLITS}
    if split_by == "piece":
        if training:
            progress.warn(PIECES_WARNING)
        items = _pieces(catalog, texts, config)
    else:
        items = _documents(catalog, texts)
    total = catalog.count("SELECT count(*) FROM verdicts WHERE kept")
    written = 0
    with progress.task("writing documents", total=total) as task:
        for document, split, number in items:
            writers[split].add(document)
            tally.add(document, split)
            task.advance(number - written)
            written = number
    for writer in writers.values():
        writer.close()
    return tally


def held_out_overlap(catalog: Catalog, texts: Texts) -> dict[str, Any]:
    """How much of the test text also stands in training text, beside what is usual here, and which
    test documents are like a training document but not enough to be dropped."""
    sizes = dict(catalog.rows(_BYTES_BY_SPLIT))
    part = sizes.get("test", 0) / max(sizes.get("train", 0), 1)
    names: dict[str, list[tuple[str, int]]] = {"test": [], "train": []}

    def texts_of(split: str, *, noted: bool) -> Iterator[Document]:
        left = _COMPARED
        for document, side, _ in _documents(catalog, texts):
            if side == split and left > 0:
                left -= document.bytes
                if noted:
                    names[split].append((document.source, document.bytes))
                yield document

    found = overlap(
        (document.text for document in texts_of("test", noted=True)),
        (document.text for document in texts_of("train", noted=True)),
        some=(
            document.text
            for document in texts_of("train", noted=False)
            if int(document.id[:8], 16) < part * 2**32  # as much as the test text, at random
        ),
        alike=ALIKE,
    )
    nearest = sorted(found.similar, key=lambda pair: -pair[2])
    return {
        "shared_runs": round(found.shared, 6),
        "usual_runs": round(found.usual, 6),
        "compared_bytes": min(sizes.get("train", 0), _COMPARED),
        "similar": {
            "from": ALIKE,
            "documents": len(nearest),
            "of": len(names["test"]),
            "bytes": sum(names["test"][place][1] for place, _, _ in nearest),
            "pairs": [
                {
                    "name": names["test"][place][0],
                    "like": names["train"][like][0],
                    "similarity": round(similarity, 3),
                }
                for place, like, similarity in nearest[:_PAIRS]
            ],
        },
    }


def _documents(catalog: Catalog, texts: Texts) -> Iterator[Item]:
    """The kept documents in their order."""
    rows = catalog.rows(
        "SELECT v.id, f.name, d.part, d.grp, d.kind, v.side, v.copies, t.spool, t.offset, "
        "t.bytes FROM verdicts AS v JOIN texts AS t ON t.id = v.id "
        "JOIN documents AS d ON (d.file, d.ordinal) = (v.file, v.ordinal) "
        "JOIN files AS f ON f.number = v.file WHERE v.kept ORDER BY v.number"
    )
    for number, (identity, file, part, group, kind, side, copies, *place) in enumerate(rows, 1):
        source = f"{file}/{part}" if part else file
        text = texts.read((place[0], place[1], place[2]))
        yield Document(identity, source, group, kind, text, place[2], copies), side, number


def _pieces(catalog: Catalog, texts: Texts, config: DataConfig) -> Iterator[Item]:
    """The pieces of the kept documents, each text once."""

    def cut() -> Iterator[tuple[Document, str, int]]:
        for document, _, number in _documents(catalog, texts):
            for text, _gap in cut_pieces(document.text):
                yield document, text, number

    borders = fit_borders(lambda: (text_id(text) for _, text, _ in cut()), config)
    written: set[str] = set()
    for document, text, number in cut():
        identity = text_id(text)
        if identity not in written:
            written.add(identity)
            size = len(text.encode("utf-8"))
            piece = Document(
                identity, document.source, identity, document.kind, text, size, document.copies
            )
            yield piece, borders.split_of(identity), number


_BYTES_BY_SPLIT = (
    "SELECT v.side, sum(t.bytes) FROM verdicts AS v JOIN texts AS t ON t.id = v.id "
    "WHERE v.kept GROUP BY v.side"
)

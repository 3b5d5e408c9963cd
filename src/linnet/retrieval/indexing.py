"""Making an index of documents, and keeping it as they are.

``make_index`` prepares a corpus of the documents and brings the index beside it up to date: what
is new or changed becomes a segment, what is gone is noted in those that have it, and small
segments are joined (``linnet.retrieval.segments``). Each step is a transaction.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet import artifact, output
from linnet.artifact import Artifact, Generation
from linnet.config import Config, option, replace, to_mapping
from linnet.data import DataConfig, list_documents, prepare
from linnet.data.locating import CorpusTexts, Listing, StoredText
from linnet.errors import ConfigError
from linnet.progress import SILENT, Progress
from linnet.retrieval.chunks import chunks, title_of
from linnet.retrieval.index import FORMAT, KIND, STATE, State, read_state
from linnet.retrieval.passages import Passage, Place
from linnet.retrieval.segments import FOLDER, IndexedDocument, Segment, SegmentWriter, save

CORPUS = "corpus"
_SEGMENT_PASSAGES = 32_768
_NAMED = 1000  # of what could not be read, in the statistics
_UNREAD = "unread.jsonl"


@dataclass(frozen=True)
class IndexConfig(Config):
    """How documents are cut and told apart."""

    characters: int = option(900, "length of a passage, about", least=100, most=10_000)
    collections: tuple[str, ...] = option(
        (),
        "which collection a document is in, as NAME=PATTERN: 'hr=*/staff/*' (the folder at the top "
        "that it is in, when none matches)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.patterns

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """Collections by pattern. Raises ConfigError for one that is neither."""
        found = [entry.partition("=")[::2] for entry in self.collections]
        for name, pattern in found:
            if not name.strip() or not pattern:
                raise ConfigError(f"collections are NAME=PATTERN. Got '{name}'")
        return found


def make_index(
    source: str | Path | Sequence[str | Path],
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    data: DataConfig | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Index documents: files, folders and whatever else ``linnet.prepare`` reads.

    Run again it does what has changed. ``data``: how they are read; what training would leave
    out is indexed too. Raises what ``linnet.prepare`` raises.
    """
    out, config = Path(out), config or IndexConfig()
    corpus = prepare(
        source, out / CORPUS, for_search(data or DataConfig()), exclude=[out], progress=progress
    )
    return index_corpus(corpus.path, out / KIND, config, progress=progress)


def for_search(data: DataConfig) -> DataConfig:
    """The settings, but nothing is masked or dropped that somebody may look for."""
    changes = {"privacy": "keep", "quality": ("off",), "min_characters": 1, "repeated_lines": 1.0}
    return replace(data, changes)


def index_corpus(
    corpus: Path | str,
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Bring the index at ``out`` up to what a corpus holds, dropped documents included."""
    made, config = artifact.read(corpus, kind="corpus"), config or IndexConfig()
    with CorpusTexts(made.path) as texts:
        listed = {
            (one.source, one.id, one.kind, one.language, _collection(one, config)): one
            for one in texts.listings()
        }
        digest = hashlib.sha256(json.dumps([FORMAT, *listed]).encode()).hexdigest()
        return artifact.make_generation(
            out,
            lambda draft: _Update(draft, made, texts, listed, config, progress).run(),
            kind=KIND,
            format=FORMAT,
            config=to_mapping(config),
            inputs={"corpus": made, "documents": digest},
        )


def _collection(listing: Listing, config: IndexConfig) -> str:
    for name, pattern in config.patterns:
        if fnmatch.fnmatchcase(listing.source, pattern):
            return name
    parts = listing.file.split("/")
    return parts[1] if len(parts) > 2 else parts[0]


_Key = tuple[str, str, str, str, str]


class _Update:
    """One transaction; its methods are the steps."""

    def __init__(
        self,
        draft: Generation,
        corpus: Artifact,
        texts: CorpusTexts,
        listed: dict[_Key, Listing],
        config: IndexConfig,
        progress: Progress,
    ) -> None:
        self.draft, self.corpus, self.texts, self.listed = draft, corpus, texts, listed
        self.config, self.progress = config, progress
        self.segments: list[Segment] = []
        self.changed: set[str] = set()  # segments of which more is gone now
        self.titles: dict[tuple[str, str], str] = {}  # of documents by id and collection

    def run(self) -> None:
        have = self._take_over()
        new = [(key, listing) for key, listing in self.listed.items() if key not in have]
        self._add(new)
        self._write_gone()
        state = State([segment.name for segment in self.segments], self.config.characters)
        output.write_json(self.draft.path / STATE, to_mapping(state))
        self._count()

    def _take_over(self) -> set[_Key]:
        """Use the segments of the generation before; gives the documents that they have."""
        before = self.draft.before
        if before is None:
            return set()
        state = read_state(before)
        if state.characters != self.config.characters:
            for name in before.names:
                self.draft.remove(name)
            return set()
        have: set[_Key] = set()
        for name in state.segments:
            segment = Segment.of(before, name)
            for number, document in enumerate(segment.documents):
                if segment.gone[number]:
                    continue
                if document.key in self.listed:
                    have.add(document.key)
                    self.titles.setdefault((document.id, document.collection), document.title)
                else:
                    segment.gone[number] = True
                    self.changed.add(name)
            self.segments.append(segment)
        return have

    def _add(self, new: Sequence[tuple[_Key, Listing]]) -> None:
        writer = SegmentWriter()
        with self.progress.task("indexing", total=len(new), unit="documents") as task:
            for key, listing in new:
                self._add_document(writer, key, listing)
                if len(writer) >= _SEGMENT_PASSAGES:
                    self._write(writer)
                    writer = SegmentWriter()
                task.advance()
        if writer.documents:
            self._write(writer)

    def _add_document(self, writer: SegmentWriter, key: _Key, listing: Listing) -> None:
        stored = self.texts.read(listing)
        blocks = list(stored.blocks())
        collection = key[-1]
        title = self.titles.setdefault(
            (listing.id, collection), title_of(stored, blocks) or _stem(listing.source)
        )
        number = writer.add_document(
            IndexedDocument(
                listing.source, listing.id, listing.kind, listing.language, collection, title,
                listing.modified, len(stored.text),
            )
        )  # fmt: skip
        for chunk in chunks(stored, blocks, self.config.characters):
            writer.add(
                Passage(
                    stored.text[chunk.start : chunk.end],
                    (_place(stored, listing.source, chunk.start, chunk.end),),
                    title, chunk.headings, chunk.kind, listing.language, collection,
                    chunk.context,
                ),
                [number],
            )  # fmt: skip

    def _write(self, writer: SegmentWriter) -> None:
        """Write a segment; passages that others have are taken over with their places."""
        ids = writer.ids()
        for segment in self.segments:
            numbers: dict[int, int] = {}
            for passage in segment.numbers_of(ids):
                places = list(segment.places(passage))
                for document, _ in places:
                    if document not in numbers:
                        numbers[document] = writer.add_document(segment.documents[document])
                writer.add(segment.passage(passage), [numbers[number] for number, _ in places])
                segment.moved[passage] = True
                self.changed.add(segment.name)
            segment.forget_live()
        name = f"{self.draft.path.name.rpartition('-')[2]}-{len(self.segments)}"
        folder = self.draft.path / FOLDER / name
        writer.write(folder)
        self.segments.append(Segment.in_folder(name, folder))

    def _write_gone(self) -> None:
        for segment in self.segments:
            if segment.name in self.changed:
                folder = self.draft.path / FOLDER / segment.name
                output.make_directory(folder)
                save(folder, "gone", segment.gone)
                save(folder, "moved", segment.moved)

    def _count(self) -> None:
        documents = {
            document
            for segment in self.segments
            for document, gone in zip(segment.documents, segment.gone.tolist(), strict=True)
            if not gone
        }
        unread = list(_unread(self.corpus.path))
        with output.create_file(self.draft.path / _UNREAD) as file:
            for row in unread:
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self.draft.stats.update(
            documents=len(documents),
            passages=sum(int(segment.live.sum()) for segment in self.segments),
            characters=sum(document.characters for document in documents),
            segments=len(self.segments),
            languages=_counted(document.language for document in documents),
            kinds=_counted(document.kind for document in documents),
            collections=_counted(document.collection for document in documents),
            unread=len(unread),
            unread_by_reason=_counted(row["reason"] for row in unread),
            encoder=None,
        )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _unread(corpus: Path) -> Iterator[dict[str, Any]]:
    """Files, and parts of files, of which there is no text."""
    for row in list_documents(corpus, dropped=True):
        if row.verdict == "not read" or not row.bytes:
            yield {"source": row.name, "kind": row.kind, "reason": row.reason, "count": row.count}


def _stem(source: str) -> str:
    """The name of a file without folder and suffix, as a title."""
    name = source.rpartition("/")[2]
    return (name.rpartition(".")[0] or name).replace("_", " ")


def _place(stored: StoredText, source: str, start: int, end: int) -> Place:
    assert stored.structure is not None
    place = stored.structure.place(start, end)
    page = place.first if place.unit in ("page", "slide") else None
    return Place(source, start, end, page, str(place))

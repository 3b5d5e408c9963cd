"""Transactions that bring an index up to documents.

What is new or changed becomes a segment, what is gone is noted in those that have it
(``index_texts``); afterwards small segments are joined, and those of which something is gone are
written anew (``tidy``).
"""

from __future__ import annotations

import contextlib
import email.utils
import fnmatch
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from linnet import artifact, output
from linnet.artifact import Artifact, Generation, Inputs, Recipe
from linnet.config import replace, to_mapping
from linnet.data.locating import Listing, StoredText, Unread
from linnet.errors import BusyError
from linnet.progress import SILENT, Progress
from linnet.retrieval.chunks import chunks, title_of
from linnet.retrieval.config import IndexConfig
from linnet.retrieval.index import FORMAT, KIND, UNREAD
from linnet.retrieval.merging import merge
from linnet.retrieval.passages import Passage, Place
from linnet.retrieval.segments import FOLDER, IndexedDocument, Segment, SegmentWriter, save
from linnet.retrieval.state import FILE, State, read_state, segments_of

SEGMENT_PASSAGES = 32_768  # of which one is full
_MAIL_HEAD = 4000  # characters in which it is looked for
_LONGEST_SUBJECT = 200
_MOST_SMALL = 8  # segments less than half full
_LEAST_JOINED = 4  # segments, even where the next is far larger


class Texts(Protocol):
    """What is indexed."""

    def listings(self) -> Sequence[Listing]:
        """The documents."""

    def read(self, listing: Listing, /) -> StoredText:
        """The text of one of them, with its structure."""

    def unread(self) -> Iterable[Unread]:
        """Files, and parts of files, of which there is no text."""


def index_texts(
    texts: Texts,
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    inputs: Inputs,
    progress: Progress = SILENT,
) -> Artifact:
    """Bring the index at ``out`` up to these texts. ``inputs``: what they come from."""
    out, config = Path(out), config or IndexConfig()
    listed = {
        (one.source, one.id, one.kind, one.language, _collection(one, config)): one
        for one in texts.listings()
    }
    digest = hashlib.sha256(json.dumps([FORMAT, *listed]).encode()).hexdigest()
    recipe = Recipe(KIND, FORMAT, config.recipe(), {**inputs, "documents": digest})
    artifact.make_generation(
        out,
        lambda draft: _Update(draft, texts, listed, config, progress).run(),
        kind=KIND, format=FORMAT, config=recipe.config, inputs=recipe.inputs,
    )  # fmt: skip
    tidy(out, progress)
    return artifact.read(out, kind=KIND)


def tidy(out: Path, progress: Progress) -> None:
    """Write segments anew of which something is gone, so that no byte of it is left, and join
    small ones."""
    if not any(_to_join(segments_of(artifact.read(out, kind=KIND)))):
        return
    with later_transaction(out) as draft:
        assert draft.before is not None
        segments = segments_of(draft.before)
        joined = list(_to_join(segments))
        with progress.task("joining segments", total=len(joined)) as task:
            for number, group in enumerate(joined):
                place = min(segments.index(segment) for segment in group)
                segments = [segment for segment in segments if segment not in group]
                for segment in group:
                    for name in segment.files:
                        draft.remove(f"{FOLDER}/{segment.name}/{name}")
                if any(segment.live.any() for segment in group):
                    name = f"{draft.path.name.rpartition('-')[2]}-{number}"
                    merge(group, draft.path / FOLDER / name)
                    segments.insert(place, Segment.in_folder(name, draft.path / FOLDER / name))
                task.advance()
        state = replace(
            read_state(draft.before), {"segments": [segment.name for segment in segments]}
        )
        output.write_json(draft.path / FILE, to_mapping(state))
        draft.stats.update(draft.before.stats, segments=len(segments))


@contextlib.contextmanager
def later_transaction(out: Path) -> Iterator[Generation]:
    """A transaction that adds to an index, which stays one of the same documents. Raises BusyError
    where another process has brought it up to others meanwhile."""
    made = artifact.read(out, kind=KIND).manifest
    with artifact.update(
        out, kind=KIND, format=FORMAT, config=made.config, inputs=made.inputs
    ) as draft:
        if draft.before is None or draft.before.manifest.recipe != made.recipe:
            raise BusyError(f"{out}: another linnet process has changed it; run linnet index again")
        yield draft


def _to_join(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """The segments that are to be written anew, and those that are to be one."""
    small = []
    for segment in segments:
        if int(segment.live.sum()) * 2 <= SEGMENT_PASSAGES:
            small.append(segment)
        elif segment.wasted:
            yield [segment]
    small.sort(key=lambda segment: int(segment.live.sum()))
    group: list[Segment] = []
    total = 0
    if len(small) > _MOST_SMALL:
        for segment in small:
            size = int(segment.live.sum())
            if (len(group) >= _LEAST_JOINED and size > 2 * total) or (
                total + size > SEGMENT_PASSAGES
            ):
                break
            group.append(segment)
            total += size
    if group:
        yield group
    yield from ([segment] for segment in small if segment.wasted and segment not in group)


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
        texts: Texts,
        listed: dict[_Key, Listing],
        config: IndexConfig,
        progress: Progress,
    ) -> None:
        self.draft, self.texts, self.listed = draft, texts, listed
        self.config, self.progress = config, progress
        self.segments: list[Segment] = []
        self.changed: set[str] = set()  # segments of which more is gone now
        self.state = State()
        self.titles: dict[tuple[str, str], str] = {}  # of documents by id and collection

    def run(self) -> None:
        have = self._take_over()
        new = [(key, listing) for key, listing in self.listed.items() if key not in have]
        self._add(new)
        self._write_gone()
        state = replace(
            self.state,
            {
                "segments": [segment.name for segment in self.segments],
                "characters": self.config.characters,
            },
        )
        output.write_json(self.draft.path / FILE, to_mapping(state))
        self._count()

    def _take_over(self) -> set[_Key]:
        """Use the segments of the generation before; gives the documents that they have."""
        before = self.draft.before
        if before is None:
            return set()
        self.state = state = read_state(before)
        if state.characters != self.config.characters:
            for name in before.names:
                self.draft.remove(name)
            return set()
        have: set[_Key] = set()
        for segment in segments_of(before):
            for number, document in enumerate(segment.documents):
                if segment.gone[number]:
                    continue
                if document.key in self.listed:
                    have.add(document.key)
                    self.titles.setdefault((document.id, document.collection), document.title)
                else:
                    segment.gone[number] = True
                    self.changed.add(segment.name)
            self.segments.append(segment)
        return have

    def _add(self, new: Sequence[tuple[_Key, Listing]]) -> None:
        writer = SegmentWriter()
        with self.progress.task("indexing", total=len(new), unit="documents") as task:
            for key, listing in new:
                self._add_document(writer, key, listing)
                if len(writer) >= SEGMENT_PASSAGES:
                    self._write(writer)
                    writer = SegmentWriter()
                task.advance()
        if writer.documents:
            self._write(writer)

    def _add_document(self, writer: SegmentWriter, key: _Key, listing: Listing) -> None:
        stored = self.texts.read(listing)
        blocks = list(stored.blocks())
        collection = key[-1]
        subject, sent = mail_head(stored.text) if listing.family == "mail" else ("", 0)
        own = subject or title_of(stored, blocks) or _stem(listing.source)
        title = self.titles.setdefault((listing.id, collection), own)
        number = writer.add_document(
            IndexedDocument(
                listing.source, listing.id, listing.kind, listing.language, collection, title,
                sent or listing.modified, len(stored.text),
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
        unread = list(self.texts.unread())
        with output.create_file(self.draft.path / UNREAD) as file:
            for one in unread:
                file.write(json.dumps(to_mapping(one), ensure_ascii=False).encode() + b"\n")
        by_reason: Counter[str] = Counter()
        for one in unread:
            by_reason[one.reason] += one.count
        self.draft.stats.update(
            documents=len(documents),
            passages=sum(int(segment.live.sum()) for segment in self.segments),
            characters=sum(document.characters for document in documents),
            segments=len(self.segments),
            languages=_counted(document.language for document in documents),
            kinds=_counted(document.kind for document in documents),
            collections=_counted(document.collection for document in documents),
            unread=by_reason.total(),
            unread_by_reason=dict(by_reason.most_common()),
            encoder=None if self.state.encoder is None else self.state.encoder.name,
        )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def mail_head(text: str) -> tuple[str, int]:
    """The subject of a mail, and when it was sent, in seconds since 1970; empty and 0 where its
    head does not say."""
    lines = text[:_MAIL_HEAD].partition("\n\n")[0].splitlines()
    fields = {
        name.strip().lower(): value.strip()
        for name, found, value in (line.partition(":") for line in reversed(lines))
        if found
    }
    try:
        sent = int(email.utils.parsedate_to_datetime(fields.get("date", "")).timestamp())
    except (ValueError, TypeError, OverflowError, OSError):
        sent = 0
    return fields.get("subject", "")[:_LONGEST_SUBJECT], max(sent, 0)


def _stem(source: str) -> str:
    """The name of a file without folder and suffix, as a title."""
    name = source.rpartition("/")[2]
    return (name.rpartition(".")[0] or name).replace("_", " ")


def _place(stored: StoredText, source: str, start: int, end: int) -> Place:
    assert stored.structure is not None
    place = stored.structure.place(start, end)
    page = place.first if place.unit in ("page", "slide") else None
    return Place(source, start, end, page, str(place))

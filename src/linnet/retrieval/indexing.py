"""Making an index of documents, and keeping it as they are.

``make_index`` prepares a corpus of the documents and brings the index beside it up to date: what
is new or changed becomes a segment, what is gone is noted in those that have it, and small
segments are joined (``linnet.retrieval.segments``). Each step is a transaction.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from linnet import artifact, output
from linnet.artifact import Artifact, Draft, Generation, Inputs, Recipe
from linnet.config import Config, from_mapping, option, replace, to_mapping
from linnet.data import DataConfig, prepare
from linnet.data.forgetting import Forgotten
from linnet.data.locating import CorpusTexts, Listing, StoredText, Unread
from linnet.data.preparation import made_with
from linnet.errors import BusyError, ConfigError, DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval.chunks import chunks, title_of
from linnet.retrieval.index import FORMAT, KIND, UNREAD
from linnet.retrieval.merging import merge
from linnet.retrieval.passages import Passage, Place
from linnet.retrieval.segments import FOLDER, IndexedDocument, Segment, SegmentWriter, save
from linnet.retrieval.state import FILE, State, read_state, segments_of

CORPUS = "corpus"
SEGMENT_PASSAGES = 32_768  # of which one is full
_MOST_SMALL = 8  # segments less than half full
_LEAST_JOINED = 4  # segments, even where the next is far larger


@dataclass(frozen=True)
class IndexConfig(Config):
    """How documents are cut and told apart."""

    characters: int = option(900, "length of a passage, about", least=100, most=10_000)
    collections: tuple[str, ...] = option(
        (),
        "which collection a document is in, as NAME=PATTERN: 'hr=*/staff/*' (the folder at the top "
        "that it is in, when none matches)",
    )

    encoder: str = option(
        "",
        "what makes vectors: lexical (nothing does), own (the index's own), a directory, or a name "
        "on the hub (by default the best at hand)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.patterns

    def recipe(self) -> dict[str, Any]:
        """The settings that decide which passages there are."""
        return {name: value for name, value in to_mapping(self).items() if name != "encoder"}

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
    """Index documents: files, folders and whatever else ``linnet.prepare`` reads; or those of a
    corpus or a project, unmasked and read as they were for it.

    Run again it does what has changed. ``data``: how they are read; what training would leave
    out is indexed too. Raises what ``linnet.prepare`` raises.
    """
    out, config = Path(out), config or IndexConfig()
    sources = [source] if isinstance(source, str | Path) else list(source)
    made = _corpus_in(sources, out)
    if made is not None:
        data, known = made_with(made, privacy_key=data.privacy_key if data else "")
        sources = list(known)
        _carry_forgotten(made, out / CORPUS, progress)
        if gone := [name for name in known if _is_gone(name)]:
            progress.warn(
                f"{made}: the documents that it was made from are not there any more ({gone[0]}): "
                "its own texts are indexed, in which personal data may be masked"
            )
            return _indexed(_copied(made, out / CORPUS), out, config, progress)
    corpus = _prepared(sources, out, for_search(data or DataConfig()), progress)
    return _indexed(corpus.path, out, config, progress)


def update_index(
    out: Path | str, config: IndexConfig | None = None, *, progress: Progress = SILENT
) -> Artifact:
    """Bring an index up to its documents, which it knows, as they are now."""
    out = Path(out)
    data, sources = made_with(out / CORPUS)
    if config is None and artifact.is_artifact(out / KIND):
        known = artifact.read(out / KIND, kind=KIND).manifest.config
        config = from_mapping(IndexConfig, known, where=str(out / KIND))
    corpus = _prepared(sources, out, data, progress)
    return _indexed(corpus.path, out, config, progress)


def _indexed(corpus: Path, out: Path, config: IndexConfig, progress: Progress) -> Artifact:
    """First by words, then by meaning."""
    from linnet.retrieval.embedding import embed_index

    index_corpus(corpus, out / KIND, config, progress=progress)
    return embed_index(out, config.encoder or None, progress=progress)


def _prepared(
    sources: Sequence[str | Path], out: Path, data: DataConfig, progress: Progress
) -> Artifact:
    try:
        return prepare(
            sources, out / CORPUS, data, exclude=[out], training=False, progress=progress
        )
    except DataError as error:
        if not artifact.is_artifact(out / KIND):
            raise
        raise DataError(f"{error}; {out} still answers from what it had before") from None


def _corpus_in(sources: Sequence[str | Path], out: Path) -> Path | None:
    """The corpus that is meant, where one is named, or a project."""
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        return None
    place = artifact.within(sources[0], CORPUS)
    if not artifact.is_artifact(place):
        return None
    kind = artifact.read(place).manifest.kind
    if kind != CORPUS:
        raise DataError(
            f"{sources[0]}: expected documents, a corpus or a project. Got a directory with "
            f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        )
    return place


def _is_gone(source: str) -> bool:
    return Path(source).is_absolute() and not any(
        Path(place).exists() for place in (source, *glob.glob(source))
    )


def _carry_forgotten(corpus: Path, own: Path, progress: Progress) -> None:
    """What was forgotten in a corpus does not come back in one that is made of its documents."""
    theirs, ours = Forgotten.beside(corpus), Forgotten.beside(own)
    if not theirs or corpus.resolve() == own.resolve():
        return
    if ours and ours.salt != theirs.salt:
        progress.warn(
            f"{own} has a list of its own of what is forgotten: that of {corpus} is not used"
        )
        return
    ours.salt = theirs.salt
    for name in ("names", "paths", "contents", "texts", "readings"):
        getattr(ours, name).update(getattr(theirs, name))
    output.make_directory(ours.path.parent)
    ours.save()


def _copied(corpus: Path, out: Path) -> Path:
    """A corpus in another place."""
    made = artifact.read(corpus, kind=CORPUS)
    if corpus.resolve() == out.resolve():
        return out

    def write(draft: Draft) -> None:
        for name in made.manifest.files:
            output.make_directory((draft.path / name).parent)
            shutil.copyfile(made.path / name, draft.path / name)
        draft.stats.update(made.stats)

    volatile = tuple(name for name, entry in made.manifest.files.items() if entry.sha256 is None)
    manifest = made.manifest
    artifact.make(
        out, write, kind=CORPUS, format=manifest.format, config=manifest.config,
        inputs={role: entry.content for role, entry in manifest.inputs.items()},
        volatile=volatile, reuse=lambda found: found.content == made.content,
    )  # fmt: skip
    return out


def for_search(data: DataConfig) -> DataConfig:
    """The settings, but nothing is masked or dropped that somebody may look for."""
    changes = {
        "privacy": "keep", "privacy_key": "", "quality": ("off",), "min_characters": 1,
        "repeated_lines": 1.0, "held_out_share": 1.0, "languages": (), "evaluation_sets": (),
    }  # fmt: skip
    return replace(data, changes)


def index_corpus(
    corpus: Path | str,
    out: Path | str,
    config: IndexConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Bring the index at ``out`` up to what a corpus holds, dropped documents included."""
    made = artifact.read(corpus, kind=CORPUS)
    with CorpusTexts(made.path) as texts:
        return index_texts(texts, out, config, inputs={"corpus": made}, progress=progress)


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


def _stem(source: str) -> str:
    """The name of a file without folder and suffix, as a title."""
    name = source.rpartition("/")[2]
    return (name.rpartition(".")[0] or name).replace("_", " ")


def _place(stored: StoredText, source: str, start: int, end: int) -> Place:
    assert stored.structure is not None
    place = stored.structure.place(start, end)
    page = place.first if place.unit in ("page", "slide") else None
    return Place(source, start, end, page, str(place))

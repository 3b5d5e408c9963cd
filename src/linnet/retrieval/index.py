"""An index on disk, open to be searched."""

from __future__ import annotations

import contextlib
import fnmatch
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.artifact import Artifact
from linnet.config import parse_json, read_bytes
from linnet.errors import ArtifactError, DamagedError
from linnet.retrieval.lexical import Lexical, best
from linnet.retrieval.passages import Found, Passage
from linnet.retrieval.segments import IndexedDocument, Mask, Segment

if TYPE_CHECKING:
    from linnet.retrieval.reranker import Reranker

KIND = "index"
FORMAT = 1
STATE = "index.json"
_LARGEST_STATE = 1 << 24


@dataclass(frozen=True)
class Filters:
    """Which documents are searched. What is empty lets all through."""

    sources: tuple[str, ...] = ()
    """Patterns of their names: ``*/contracts/*``, ``*.pdf``."""
    kinds: tuple[str, ...] = ()
    """Their formats, such as ``pdf``."""
    languages: tuple[str, ...] = ()
    """ISO 639-1."""
    since: int | None = None
    """Seconds since 1970. Those whose date is not known are left out where a date is asked for."""
    until: int | None = None

    def lets_through(self, document: IndexedDocument) -> bool:
        """Whether a document is searched."""
        dated = self.since is not None or self.until is not None
        return (
            (not self.sources or any(_matches(document.source, each) for each in self.sources))
            and (not self.kinds or document.kind in self.kinds)
            and (not self.languages or document.language in self.languages)
            and not (dated and not document.date)
            and (self.since is None or document.date >= self.since)
            and (self.until is None or document.date <= self.until)
        )


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*/{pattern}")


@dataclass(frozen=True)
class State:
    """What ``index.json`` holds."""

    segments: list[str] = field(default_factory=list)
    characters: int = 0
    """Of a chunk, about."""


@dataclass
class _Open:
    """One generation of an index. ``masks``: by what is let through, the documents of each
    segment."""

    made: Artifact
    segments: list[Segment]
    lexical: Lexical
    held: contextlib.ExitStack
    masks: dict[Any, list[tuple[Mask, Mask]]] = field(default_factory=dict)


class Index:
    """Searches an index; may be asked by several threads at once.

    It reads the generation that was current when it was opened; ``reload`` takes up a later one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._open = _open(path)
        self._reranker: tuple[str, Reranker | None] | None = None

    @classmethod
    def open(cls, path: Path | str) -> Index:
        """Open the index in a directory that ``linnet index`` made.

        Raises ArtifactError where there is none, or one that another version made, DamagedError
        where its files are not what was written.
        """
        place = artifact.within(path, KIND)
        if not artifact.is_artifact(place):
            raise ArtifactError(
                f"{path}: expected an index, but there is none: linnet index DOCS --out {path}"
            )
        return cls(place)

    def close(self) -> None:
        """Let updates remove the files of this generation."""
        self._open.held.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._open.lexical.size

    @property
    def generation(self) -> int:
        """Which generation is read."""
        return self._open.made.manifest.generation or 0

    @property
    def stats(self) -> dict[str, Any]:
        """What the index holds: numbers of passages and documents, languages, collections, and
        what could not be read."""
        return self._open.made.stats

    def reload(self) -> bool:
        """Take up the current generation; gives whether there was a new one."""
        with self._lock:
            self._reranker = None if self._reranker_changed() else self._reranker
            now = artifact.read(self.path, kind=KIND).manifest
            if now.generation == self.generation and now.content == self._open.made.content:
                return False
            old, self._open = self._open, _open(self.path)
            old.held.close()
            return True

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        collections: Sequence[str] | None = None,
        filters: Filters | None = None,
        rerank: bool = True,
    ) -> list[Found]:
        """The ``k`` best passages, the best first; of these ``collections`` alone, if given.

        ``rerank``: re-ranked at the end, where the index has a re-ranker.
        """
        reranker = self.reranker if rerank else None
        if reranker is None:
            return self._searched(query, k, collections, filters)
        depth = reranker.depth()
        found = self._searched(query, max(k, depth), collections, filters)
        return reranker.rerank(query, found, depth=depth)[:k]

    @property
    def reranker(self) -> Reranker | None:
        """The index's own re-ranker; None where none was trained and kept. Opened when it is first
        wanted."""
        with self._lock:
            if self._reranker is None:
                from linnet.retrieval.reranker import Reranker, has_reranker

                place = self.path.parent / "reranker"
                own = Reranker.open(place) if has_reranker(place) else None
                self._reranker = (self._reranker_content(), own)
            return self._reranker[1]

    def _reranker_content(self) -> str:
        place = self.path.parent / "reranker"
        return artifact.read(place).content if artifact.is_artifact(place) else ""

    def _reranker_changed(self) -> bool:
        return self._reranker is not None and self._reranker[0] != self._reranker_content()

    def _searched(
        self,
        query: str,
        k: int,
        collections: Sequence[str] | None,
        filters: Filters | None,
    ) -> list[Found]:
        opened = self._open
        masks = _masks(opened, collections, filters)
        matches = best(opened.lexical.scores(query), [mask for mask, _ in masks], k)
        return [
            Found(
                opened.segments[match.segment].passage(match.number, masks[match.segment][1]),
                match.score,
                {"lexical": match.score},
            )
            for match in matches
        ]

    def passages(
        self, *, collections: Sequence[str] | None = None, filters: Filters | None = None
    ) -> Iterator[Passage]:
        """All passages, one in memory at a time."""
        opened = self._open
        masks = _masks(opened, collections, filters)
        for segment, (mask, documents) in zip(opened.segments, masks, strict=True):
            for number in mask.nonzero()[0].tolist():
                yield segment.passage(number, documents)

    def documents(self) -> list[IndexedDocument]:
        """The documents that are indexed, by name."""
        found = [
            document
            for segment in self._open.segments
            for document, gone in zip(segment.documents, segment.gone.tolist(), strict=True)
            if not gone
        ]
        return sorted(set(found), key=lambda document: document.source)

    def frequency(self, word: str) -> int:
        """How many passages have a word, in the title or the headings too."""
        return self._open.lexical.frequency(word)


def _masks(
    opened: _Open, collections: Sequence[str] | None, filters: Filters | None
) -> list[tuple[Mask, Mask]]:
    """By segment: the passages and the documents that are searched."""
    wanted = None if collections is None else frozenset(collections)
    key = (wanted, filters)
    found = opened.masks.get(key)
    if found is None:
        found = []
        for segment in opened.segments:
            documents = ~segment.gone
            for number, document in enumerate(segment.documents):
                if (wanted is not None and document.collection not in wanted) or (
                    filters is not None and not filters.lets_through(document)
                ):
                    documents[number] = False
            found.append((segment.in_documents(documents), documents))
        if len(opened.masks) >= 64:
            opened.masks.clear()
        opened.masks[key] = found
    return found


def _open(path: Path) -> _Open:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(artifact.snapshot(path, kind=KIND))
        if made.manifest.format != FORMAT:
            raise ArtifactError(
                f"{path}: expected an index of format {FORMAT}. Got {made.manifest.format}: run "
                "linnet index again with this version"
            )
        segments = [Segment.of(made, name) for name in read_state(made).segments]
        return _Open(made, segments, Lexical(segments), stack.pop_all())


def read_state(made: Artifact) -> State:
    """What an index says of itself. Raises DamagedError."""
    from linnet.config import from_mapping
    from linnet.errors import ConfigError

    file = made.file(STATE)
    try:
        raw = parse_json(read_bytes(file, _LARGEST_STATE).decode())
        return from_mapping(State, raw, where=STATE)
    except (ValueError, TypeError, ConfigError, OSError) as error:
        raise DamagedError(
            f"{file} is damaged ({error}); delete {made.path} and run linnet index again"
        ) from None

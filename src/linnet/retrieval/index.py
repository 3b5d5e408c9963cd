"""An index on disk, open to be searched."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import re
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import artifact
from linnet.artifact import Artifact
from linnet.config import from_mapping, parse_json
from linnet.data.locating import Unread
from linnet.errors import ArtifactError, ConfigError, DataError, typed
from linnet.retrieval.bm25 import Hit
from linnet.retrieval.fusion import fuse
from linnet.retrieval.lexical import Lexical, Scores
from linnet.retrieval.passages import Found, Passage, Place
from linnet.retrieval.segments import IndexedDocument, Mask, Segment, numbers
from linnet.retrieval.state import read_state, segments_of
from linnet.retrieval.terms import words

if TYPE_CHECKING:
    from linnet.retrieval.dense import Dense
    from linnet.retrieval.reranker import Reranker

KIND = "index"
FORMAT = 1
UNREAD = "unread.jsonl"
_MASKS = 64  # that are kept
_DEPTH = 300  # passages of each way of searching that are fused
_EQUAL = 10  # passages more than twice what is asked for, as equal ones become one
_LISTED = 20  # names in an error
_QUOTED = re.compile(r"[\"“„]([^\"“”„]+)[\"”“]")


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
    """Seconds since 1970, as with ``until``. Those whose date is not known are left out where one
    of the two is given."""
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


@dataclass
class _Mask:
    """What is searched: of all segments the passages, one after the other, and the documents."""

    passages: Mask
    documents: list[Mask]


@dataclass
class _Open:
    """One generation of an index. Its passages are numbered through, segment by segment."""

    made: Artifact
    segments: list[Segment]
    lexical: Lexical
    dense: Dense | None
    held: contextlib.ExitStack
    masks: dict[Any, _Mask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A program that ends with an index open lets its files go while it still can.
        weakref.finalize(self, self.held.close)

    @cached_property
    def firsts(self) -> list[int]:
        """The number of each segment's first passage."""
        return [0, *itertools.accumulate(len(segment) for segment in self.segments)][:-1]

    def passage(self, number: int, mask: _Mask) -> Passage:
        place = bisect_right(self.firsts, number) - 1
        # (Segments without a passage have the same first number as the one after them.)
        return self.segments[place].passage(number - self.firsts[place], mask.documents[place])

    def mask(self, collections: Sequence[str] | None, filters: Filters | None) -> _Mask:
        """What is searched."""
        wanted = None if collections is None else frozenset(collections)
        found = self.masks.get((wanted, filters))
        if found is None:
            documents = [
                np.array(
                    [
                        not gone and _searched(document, wanted, filters)
                        for document, gone in zip(segment.documents, segment.gone, strict=True)
                    ],
                    np.bool_,
                )
                for segment in self.segments
            ]
            parts = [s.in_documents(own) for s, own in zip(self.segments, documents, strict=True)]
            found = _Mask(np.concatenate([np.empty(0, np.bool_), *parts]), documents)
            if len(self.masks) >= _MASKS:
                self.masks.clear()
            self.masks[wanted, filters] = found
        return found


def _searched(
    document: IndexedDocument, collections: frozenset[str] | None, filters: Filters | None
) -> bool:
    return (collections is None or document.collection in collections) and (
        filters is None or filters.lets_through(document)
    )


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
            named = typed(str(path))
            has_files = place.is_dir() and any(place.iterdir())
            make = f"{named} --out INDEX" if has_files else f"DOCS --out {named}"
            raise ArtifactError(
                f"{path}: expected an index, but there is none: linnet index {make}"
            )
        return cls(place)

    def close(self) -> None:
        """Have no more need of the files of this generation."""
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
    def is_stale(self) -> bool:
        """Whether the corpus that it was made of holds other documents by now."""
        made = self._open.made
        entry = made.manifest.inputs.get("corpus")
        if entry is None or entry.path is None:
            return False
        corpus = made.path / entry.path
        return artifact.is_artifact(corpus) and artifact.read(corpus).content != entry.content

    @property
    def problem(self) -> str:
        """Why only words are searched though there are vectors; empty where all is well. Known
        after the first search."""
        dense = self._open.dense
        return "" if dense is None else dense.problem

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
        artifact.remove_unused(self.path)
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

        ``rerank``: re-ranked at the end, where the index has a re-ranker, and the query quotes
        nothing that is to be found word for word.
        """
        reranker = self.reranker if rerank and not _QUOTED.search(query) else None
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
                content = self._reranker_content()  # first: it may be replaced meanwhile
                own = Reranker.open(place) if has_reranker(place) else None
                self._reranker = (content, own)
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
        mask = opened.mask(collections, filters)
        by_way = {"lexical": np.where(mask.passages, opened.lexical.scores(query), 0)}
        dense = opened.dense.scores(query) if opened.dense is not None and query.strip() else None
        if dense is not None:
            by_way["dense"] = np.where(mask.passages, dense, 0)
        most = 2 * k + _EQUAL
        if len(by_way) == 1:
            hits = best(by_way["lexical"], most)
        else:
            depth = max(most, _DEPTH)
            hits = fuse({way: best(own, depth) for way, own in by_way.items()}, most)
        found: dict[str, Found] = {}
        for hit in self._quoted_first(opened, query, mask, hits, by_way["lexical"]):
            passage = opened.passage(hit.number, mask)
            if (before := found.get(passage.text)) is not None:
                merged = replace(before.passage, places=before.passage.places + passage.places)
                found[passage.text] = replace(before, passage=merged)
            elif len(found) < k:
                scores = {way: float(own[hit.number]) for way, own in by_way.items()}
                found[passage.text] = Found(passage, hit.score, scores)
        return list(found.values())

    def _quoted_first(
        self, opened: _Open, query: str, mask: _Mask, hits: list[Hit], lexical: Scores
    ) -> list[Hit]:
        """The hits, after those in which the quoted parts of a query stand word for word."""
        quoted = [" ".join(words(part)) for part in _QUOTED.findall(query)]
        quoted = [part for part in quoted if part]
        if not quoted:
            return hits
        ranks = {hit.number: hit.score for hit in hits}
        top = hits[0].score if hits else 0.0
        candidates = opened.lexical.with_all(" ".join(quoted)) & mask.passages
        numbers, first = np.flatnonzero(candidates), []
        for number in numbers[np.argsort(-lexical[numbers], kind="stable")].tolist():
            passage = opened.passage(number, mask)
            above = (passage.title, *passage.headings, passage.context, passage.text)
            said = " ".join(words("\n".join(above)))
            if all(f" {part} " in f" {said} " for part in quoted):
                first.append(number)
                if len(first) >= len(hits):
                    break
        most = max(float(lexical[first].max(initial=0.0)), 1e-9) if first else 1.0
        ahead = [Hit(n, top + ranks.get(n, top * float(lexical[n]) / most)) for n in first]
        ahead.sort(key=lambda hit: (-hit.score, hit.number))
        return [*ahead[: len(hits) or 1], *(hit for hit in hits if hit.number not in set(first))]

    def passages(
        self, *, collections: Sequence[str] | None = None, filters: Filters | None = None
    ) -> Iterator[Passage]:
        """All passages, one in memory at a time."""
        opened = self._open
        mask = opened.mask(collections, filters)
        for number in np.flatnonzero(mask.passages).tolist():
            yield opened.passage(number, mask)

    def around(self, place: Place, characters: int) -> tuple[str, str]:
        """About so many characters of the document before and after one of its passages, as far as
        passages have them."""
        found: list[tuple[int, int, Passage]] = []
        low, high = place.start - characters, place.end + characters
        for segment in self._open.segments:
            own = [n for n, each in enumerate(segment.documents)
                   if each.source == place.source and not segment.gone[n]]  # fmt: skip
            if not own:
                continue
            starts, ends = (numbers(segment.place_table[name]) for name in ("start", "end"))
            near = np.isin(segment.place_documents, own) & (ends > low) & (starts < high)
            for row in np.flatnonzero(near).tolist():
                passage = segment.passage(int(segment.place_passages[row]))
                found.append((int(starts[row]), int(ends[row]), passage))
        found.sort(key=lambda each: each[:2])
        before = _joined([each for each in found if each[1] <= place.start], end=place.start)
        after = _joined([each for each in found if each[0] >= place.end], start=place.end)
        return before[-characters:], after[:characters]

    def count(self, collections: Sequence[str]) -> int:
        """How many passages these collections have."""
        return int(np.count_nonzero(self._open.mask(collections, None).passages))

    def require(
        self, collections: Sequence[str] | None = None, filters: Filters | None = None
    ) -> None:
        """Raises ConfigError where no document has what a search is narrowed to, naming that and
        what there is: a misspelt name would else find nothing in silence. Raises DataError where
        there is no document at all."""
        documents, wanted = self.documents(), filters or Filters()
        if not documents:
            raise DataError(f"{self.path}: there is no document in it to search any more")
        for option, given, there in (
            ("collection", collections or (), {each.collection for each in documents}),
            ("kind", wanted.kinds, {each.kind for each in documents}),
            ("language", wanted.languages, {each.language for each in documents}),
        ):
            if unknown := [name for name in given if name not in there]:
                raise ConfigError(
                    f"no document is of {option} {_listed(unknown)}; there is {_listed(there)}"
                )

    def documents(self) -> list[IndexedDocument]:
        """The documents that are indexed, by name."""
        found = [
            document
            for segment in self._open.segments
            for document, gone in zip(segment.documents, segment.gone.tolist(), strict=True)
            if not gone
        ]
        return sorted(set(found), key=lambda document: document.source)

    def unread(self) -> list[Unread]:
        """Files, and parts of files, that could not be read."""
        lines = self._open.made.file(UNREAD).read_text(encoding="utf-8").splitlines()
        return [from_mapping(Unread, parse_json(line), where=UNREAD) for line in lines]

    def frequency(self, word: str) -> int:
        """How many passages have a word, in the title or the headings too."""
        return self._open.lexical.frequency(word)


def _joined(
    found: Sequence[tuple[int, int, Passage]], *, start: int | None = None, end: int | None = None
) -> str:
    """Passages in a row, with as many blanks between them as there are characters."""
    text, at = "", start
    for first, last, passage in found:
        if at is not None and first >= at:
            text += _blank(passage, first - at)
        text += passage.text
        at = last
    if end is not None and at is not None:
        text += _blank(found[-1][2], end - at)
    return text


def _blank(passage: Passage, characters: int) -> str:
    """One character between pieces of a stretch may be any blank; more part paragraphs."""
    one = " " if passage.kind in ("paragraph", "message") else "\n"
    return one if characters == 1 else "\n" * characters


def _listed(names: Iterable[str]) -> str:
    found = sorted({f"'{name}'" for name in names})
    more = f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
    return ", ".join(found[:_LISTED]) + more


def best(scores: Scores, k: int) -> list[Hit]:
    """The ``k`` highest scores above 0; of equals the first comes first."""
    least = 0.0
    if len(scores) > k:
        least = float(np.partition(scores, -k)[-k])
    numbers = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    order = np.lexsort((numbers, -scores[numbers]))[:k]
    return [Hit(int(number), float(scores[number])) for number in numbers[order]]


def _open(path: Path) -> _Open:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(artifact.snapshot(path, kind=KIND))
        if made.manifest.format != FORMAT:
            raise ArtifactError(
                f"{path}: expected an index of format {FORMAT}. Got {made.manifest.format}: run "
                "linnet index again with this version"
            )
        state, segments = read_state(made), segments_of(made)
        dense = None
        if state.encoder is not None:
            from linnet.retrieval.dense import Dense  # (it loads what computes vectors)

            dense = Dense(segments, state.encoder, path.parent)
        return _Open(made, segments, Lexical(segments), dense, stack.pop_all())

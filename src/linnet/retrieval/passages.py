"""What is searched and found: passages, each with every place where it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from linnet.data.blocks import BlockKind
from linnet.retrieval.bm25 import BM25

if TYPE_CHECKING:
    from linnet.retrieval.reranker import Reranker


@dataclass(frozen=True)
class Place:
    """Where a passage stands.

    ``source``: the document as its owner knows it; ``start`` and ``end`` count characters of its
    stored text; ``page`` where the format has pages, and ``where`` in the format's own words
    ("page 3", "rows 2 to 9").
    """

    source: str
    start: int
    end: int
    page: int | None = None
    where: str = ""


@dataclass(frozen=True)
class Passage:
    """A stretch of a document that is found as a whole. Equal ones of several documents are one."""

    text: str
    places: tuple[Place, ...]
    title: str = ""
    """Of its document."""
    headings: tuple[str, ...] = ()
    """Those it stands under, outermost first."""
    kind: BlockKind = "paragraph"
    language: str = ""
    """ISO 639-1; empty where it is not known."""
    collection: str = ""
    context: str = ""
    """What is needed to understand it and stands elsewhere: the header of its table."""

    @property
    def id(self) -> str:
        """Depends on what it says and what it stands under alone."""
        parts = (self.title, *self.headings, self.text, self.collection)
        if self.context:
            parts = (*parts, self.context)
        joined = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(joined, digest_size=12).hexdigest()

    @property
    def place(self) -> Place:
        """The first of its places, which is the one that is cited."""
        return self.places[0]


@dataclass(frozen=True)
class Found:
    """A passage that was found. ``score`` orders what one search found, the best first; ``scores``
    are those of each way of searching, by its name (``lexical``, ``dense``, ``rerank``)."""

    passage: Passage
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``linnet search --json`` writes it."""
        place = self.passage.place
        return {
            "source": place.source, "start": place.start, "end": place.end, "page": place.page,
            "score": self.score, "text": self.passage.text,
        }  # fmt: skip


class Searchable(Protocol):
    """What passages are found in: an index on disk, or passages in memory."""

    def __len__(self) -> int:
        """How many passages it has."""

    def search(
        self, query: str, k: int = 10, *, collections: Sequence[str] | None = None
    ) -> list[Found]:
        """The ``k`` best passages, the best first; of these ``collections`` alone, if given."""

    def passages(self, *, collections: Sequence[str] | None = None) -> Iterable[Passage]:
        """All passages, those of a document in its order."""


def reranker_of(index: Searchable) -> Reranker | None:
    """What reads a question together with a passage, where what is searched has it."""
    found: Reranker | None = getattr(index, "reranker", None)
    return found


class PassagesInMemory:
    """A few passages, searched lexically; nothing is written."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages = list(passages)
        self._languages = sorted({passage.language for passage in self._passages})
        self._index = BM25()
        for passage in self._passages:
            above = "\n".join((passage.title, *passage.headings, passage.context))
            self._index.add(f"{above}\n{passage.text}", passage.language)

    def __len__(self) -> int:
        return len(self._passages)

    def search(
        self, query: str, k: int = 10, *, collections: Sequence[str] | None = None
    ) -> list[Found]:
        """See :class:`Searchable`."""
        found = []
        for language in self._languages:
            for hit in self._index.search(query, len(self), language=language):
                passage = self._passages[hit.number]
                if passage.language == language and (
                    collections is None or passage.collection in collections
                ):
                    found.append((hit, Found(passage, hit.score, {"lexical": hit.score})))
        found.sort(key=lambda each: (-each[0].score, each[0].number))
        return [each for _, each in found[:k]]

    def passages(self, *, collections: Sequence[str] | None = None) -> list[Passage]:
        """See :class:`Searchable`."""
        return [passage for passage in self._passages
                if collections is None or passage.collection in collections]  # fmt: skip

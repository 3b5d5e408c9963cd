"""What a generator of examples declares, and what it may use.

A generator is a function of a document: it yields what is true by construction, and leaves to the
checks whether it is of use. A new one is a module with a ``GENERATOR`` and a line in
:data:`linnet.examples.generators.GENERATORS`. One with ``derive`` gets the examples of the document
that were accepted so far and makes others of them: follow-ups, near misses.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.examples.record import Example, Kind, Quote, Turn

if TYPE_CHECKING:
    from linnet.examples.config import ExamplesConfig
    from linnet.examples.source import Passage, Source
    from linnet.examples.writer import Writer
    from linnet.retrieval import BM25

T = TypeVar("T")

MALFORMED = "\u2205"
"""The question of an example that could not be read of what a model wrote; its text is the answer.
The checks reject it, so that it is counted."""


@dataclass(frozen=True)
class Context:
    """What all generators and checks share while examples are made of one corpus."""

    config: ExamplesConfig
    index: BM25
    """The passages of the corpus, each with its headings."""
    writer: Writer | None = None
    """The model that writes, where one was named."""

    @property
    def model_share(self) -> float:
        """The share of the passages that the model is asked about."""
        return self.config.model_passages / max(1, len(self.index))

    def random(self, *key: str) -> random.Random:
        """Numbers that depend on the seed and the key alone."""
        text = "\0".join((str(self.config.seed), *key))
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return random.Random(int.from_bytes(digest, "big"))

    def choose(self, choices: Sequence[T], *key: str) -> T:
        """One of them, always the same for the same key."""
        return choices[self.random(*key).randrange(len(choices))]


@dataclass(frozen=True)
class Generator:
    """A way to make examples. ``languages``: those it has templates in; none: it needs no words.

    One of ``generate`` (of a document), ``derive`` (of a document and its accepted examples) and
    ``supply`` (of no document) is given.
    """

    name: str
    kinds: tuple[Kind, ...]
    generate: Callable[[Source, Context], Iterator[Example]] | None = None
    derive: Callable[[Source, Sequence[Example], Context], Iterator[Example]] | None = None
    supply: Callable[[Context, Sequence[str]], Iterator[Example]] | None = None
    """Gets the languages of the corpus, the most frequent first."""
    languages: tuple[str, ...] = ()
    prepare: Callable[[Sequence[Source], Context], None] | None = None
    """Gets some documents before they are generated from, to have work done together."""
    needs_model: bool = False
    """Whether it is used only where the settings name a model."""

    def reads(self, source: Source) -> bool:
        """Whether it can make anything of this document."""
        return not self.languages or source.language in self.languages


def example(
    source: Source,
    passage: Passage,
    kind: Kind,
    question: str,
    answer: str,
    quote: tuple[int, int] | None = None,
    *,
    quotes: Iterable[tuple[int, int]] = (),
    language: str | None = None,
    turns: Iterable[Turn] = (),
    schema: dict[str, Any] | None = None,
) -> Example:
    """An example out of a passage; ``quote`` and ``quotes`` are stretches of the stored text."""
    start, end = quote if quote is not None else (None, None)
    return identified(
        Example(
            id="",
            kind=kind,
            question=question,
            answer=answer,
            quote=source.text[start:end] if quote is not None else None,
            source=source.name,
            start=start,
            end=end,
            split=passage.split,
            language=source.language if language is None else language,
            headings=passage.headings,
            passage=(passage.start, passage.end),
            turns=tuple(turns),
            quotes=tuple(Quote(source.text[low:high], low, high) for low, high in quotes),
            schema=schema,
        )
    )


_OF_CONTENT = ("kind", "question", "answer", "quote", "source", "turns", "schema")


def identified(made: Example) -> Example:
    """The example with its id: a hash of its content, not of who made it or its split."""
    values = made.to_json()
    content = json.dumps([values.get(name) for name in _OF_CONTENT], sort_keys=True)
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8)
    return replace(made, id=digest.hexdigest())

"""The stored texts that examples quote, found through what the examples were made from."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linnet import artifact
from linnet.data import kept_texts, stored_texts
from linnet.errors import ArtifactError, DataError
from linnet.examples.record import Example, Quote, examples_file

_CACHED = 64  # documents
_LEAST_CONTEXT = 200  # characters
MOST_CONTEXT = 2000
"""Characters of a context for a question whose own passage must not be in it."""


def corpus_of(place: Path | str) -> Path | None:
    """The corpus that these examples were made from; None where it is not there any more."""
    directory = examples_file(place).parent
    if not artifact.is_artifact(directory):
        return None
    entry = artifact.read(directory).manifest.inputs.get("corpus")
    if entry is None or entry.path is None:
        return None
    path = (directory / entry.path).resolve()
    return path if artifact.is_artifact(path) else None


class SourceTexts:
    """Texts of a corpus by the names that examples have for them; the last few are kept."""

    def __init__(self, corpus: Path | None) -> None:
        self._corpus = corpus
        self._kept: OrderedDict[str, list[str]] = OrderedDict()

    def of(self, example: Example) -> str | None:
        """The text in which the example's quotes stand where it says; None where there is none."""
        if example.source is None:
            return None
        return next((text for text in self._texts(example.source) if holds(text, example)), None)

    def _texts(self, source: str) -> list[str]:
        if self._corpus is None:
            return []
        if source not in self._kept:
            try:
                found = [stored.text for stored in stored_texts(self._corpus, source)]
            except (ArtifactError, DataError):
                found = []
            self._kept[source] = found
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)
        self._kept.move_to_end(source)
        return self._kept[source]


def holds(text: str, example: Example) -> bool:
    """Whether all that the example quotes stands in this text where it says."""
    reach = example.passage[1] if example.passage else 0
    return reach <= len(text) and all(
        text[quote.start : quote.end] == quote.text for quote in quotes_of(example)
    )


def quotes_of(example: Example) -> list[Quote]:
    """All its quotes, in the order of the text."""
    found = list(example.quotes)
    if example.quote is not None and example.start is not None and example.end is not None:
        own = Quote(example.quote, example.start, example.end)
        if own not in found:
            found.append(own)
    return sorted(found, key=lambda quote: quote.start)


def find_quote(text: str, quote: str, *, near: int) -> Quote | None:
    """Where a quote stands in a text, nearest to a place; white space may differ.

    What is given back is exactly what the text has.
    """
    pieces = quote.split()
    if not pieces:
        return None
    pattern = re.compile(r"\s+".join(map(re.escape, pieces)))
    found = [match.span() for match in pattern.finditer(text)]
    if not found:
        return None
    start, end = min(found, key=lambda span: abs(span[0] - near))
    return Quote(text[start:end], start, end)


@dataclass(frozen=True)
class Context:
    """What a question is asked about: ``text``, which begins at ``start`` of its source."""

    source: str
    start: int
    text: str


def contexts(corpus: Path | str, examples: Iterable[Example]) -> Mapping[str, Context]:
    """A stretch of text for each example, by its id, read in one pass over the corpus.

    Of an answerable one the passage that answers; of a near miss the passage that nearly does; of
    one whose passage was taken out another part of its document; of what belongs to no document,
    or has no other part, the context of another example. Those whose document is not in the corpus
    as it was are left out.
    """
    waiting: dict[str, list[Example]] = defaultdict(list)
    without: list[Example] = []
    for example in examples:
        if example.source is None:
            without.append(example)
        else:
            waiting[example.source].append(example)
    found: dict[str, Context] = {}
    for kept in kept_texts(corpus):
        for example in waiting.pop(kept.source, ()):
            if not holds(kept.text, example):
                continue
            stretch = _stretch(kept.text, example)
            if stretch is None:
                without.append(example)
            else:
                found[example.id] = Context(kept.source, stretch[0], kept.text[slice(*stretch)])
    lent = [found[identity] for identity in sorted(found)]
    for example in without:
        other = _lent(lent, example)
        if other is not None:
            found[example.id] = other
    return found


def _lent(contexts: Sequence[Context], example: Example) -> Context | None:
    """The context of another document, always the same for the same examples."""
    digest = hashlib.blake2b(example.id.encode(), digest_size=8).digest()
    first = int.from_bytes(digest, "big") % max(1, len(contexts))
    for context in (*contexts[first:], *contexts[:first]):
        if context.source != example.source:
            return context
    return None


def _stretch(text: str, example: Example) -> tuple[int, int] | None:
    """Which stretch of its document is the context; None where there is none."""
    if example.kind == "unanswerable":
        return _beside(text, example.passage or (0, len(text)))
    places = [(quote.start, quote.end) for quote in quotes_of(example)]
    if example.passage is not None:
        places.append((example.passage[0], example.passage[1]))
    if not places:
        return None
    return min(start for start, _ in places), max(end for _, end in places)


def _beside(text: str, passage: tuple[int, ...]) -> tuple[int, int] | None:
    """What comes after a passage, or else before it, in whole lines or sentences."""
    start, end = passage[0], passage[1]
    after = text[end : end + MOST_CONTEXT]
    if len(after.strip()) >= _LEAST_CONTEXT:
        cut = len(after) if end + len(after) == len(text) else _last_break(after)
        return _trimmed(text, end, end + cut)
    before = text[max(0, start - MOST_CONTEXT) : start]
    if len(before.strip()) >= _LEAST_CONTEXT:
        cut = 0 if len(before) == start else before.find("\n") + 1
        return _trimmed(text, start - len(before) + cut, start)
    return None


def _last_break(text: str) -> int:
    """Where to end a stretch: at the last line, sentence or word in it."""
    for mark in ("\n", ". ", " "):
        place = text.rfind(mark, len(text) // 2)
        if place >= 0:
            return place + len(mark)
    return len(text)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())

"""The stored texts that examples quote, found through what the examples were made from."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

from linnet import artifact
from linnet.data import stored_texts
from linnet.errors import ArtifactError, DataError
from linnet.examples.record import Example, Quote, examples_file

_CACHED = 64  # documents


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
        quotes = quotes_of(example)
        reach = example.passage[1] if example.passage else 0
        for text in self._texts(example.source):
            if reach <= len(text) and all(
                text[quote.start : quote.end] == quote.text for quote in quotes
            ):
                return text
        return None

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

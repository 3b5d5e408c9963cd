"""Summaries of whole documents: the sentences that say most of what they say.

Extractive, in the line of SumBasic and centroid summaries (Radev et al., "Centroid-based
summarization of multiple documents", 2004; Carbonell and Goldstein's MMR, 1998 for saying nothing
twice). A document is read in chunks, each of which proposes sentences, and the best of these are
taken; so the memory and the time of one step do not depend on its length. What was chosen is kept
by the document's content, as numbers without a word of the text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from linnet.answers.languages import LANGUAGES
from linnet.answers.units import Unit, units
from linnet.config import read_json
from linnet.errors import LinnetError
from linnet.output import make_directory, replacing
from linnet.retrieval import Passage, terms

SUMMARIES = "summaries"
"""Where they are kept beside an index."""

FORMAT = 1
CHUNK = 8_000
"""Characters of a document that are read together."""

_PROPOSED = 4  # sentences of a chunk
_FEWEST, _MOST = 3, 8  # sentences of a summary
_PER_SENTENCE = 2_500  # characters of a document for each of them
_SHORTEST, _LONGEST = 30, 500  # characters of a sentence that is taken
_REPEATED = 0.6  # what likeness to a sentence that was taken counts against another
_FIRST = 0.35  # what standing first counts
_TITLE = 0.3


@dataclass(frozen=True)
class _Candidate:
    unit: Unit
    passage: int
    words: frozenset[str]
    score: float


class Summaries:
    """Makes summaries, and keeps them in a directory where one is given."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory

    def of(
        self, passages: Sequence[Passage], *, late: Callable[[], bool] = lambda: False
    ) -> list[Unit]:
        """The sentences of a document's summary, in its order.

        Where ``late`` says that the time is over, it is that of the chunks read so far.
        """
        key = _key(passages)
        kept = self._read(key, passages)
        if kept is not None:
            return kept
        proposed: list[_Candidate] = []
        whole = True
        for first, chunk in _chunks(passages):
            if late():
                whole = False
                break
            proposed += _proposed(chunk, first)
        chosen = _chosen(proposed, sum(len(passage.text) for passage in passages))
        if whole:
            self._write(key, chosen)
        return [candidate.unit for candidate in chosen]

    def _file(self, key: str) -> Path | None:
        return None if self.directory is None else self.directory / f"{key}.json"

    def _read(self, key: str, passages: Sequence[Passage]) -> list[Unit] | None:
        file = self._file(key)
        if file is None or not file.is_file():
            return None
        found = []
        try:
            kept = read_json(file)
            if not isinstance(kept, dict) or kept.get("format") != FORMAT:
                return None
            for number, start, end in kept["sentences"]:
                own = next(unit for unit in units(passages[number])
                           if (unit.start, unit.end) == (start, end))  # fmt: skip
                found.append(own)
        except (LinnetError, OSError, ValueError, TypeError, KeyError, IndexError, StopIteration):
            return None  # it is made again
        return found

    def _write(self, key: str, chosen: Sequence[_Candidate]) -> None:
        file = self._file(key)
        if file is None:
            return
        sentences = [[one.passage, one.unit.start, one.unit.end] for one in chosen]
        value = {"format": FORMAT, "sentences": sentences}
        with suppress(LinnetError, OSError):  # an index that cannot be written to answers as well
            make_directory(file.parent)
            with replacing(file) as partial:
                partial.write_bytes(json.dumps(value).encode())


def _key(passages: Sequence[Passage]) -> str:
    digest = hashlib.blake2b(f"{FORMAT} {len(passages)}".encode(), digest_size=16)
    for passage in passages:
        digest.update(passage.id.encode())
    return digest.hexdigest()


def _chunks(passages: Sequence[Passage]) -> Iterator[tuple[int, list[Passage]]]:
    """Passages that are read together, and the number of the first."""
    chunk: list[Passage] = []
    length = first = 0
    for number, passage in enumerate(passages):
        if chunk and length + len(passage.text) > CHUNK:
            yield first, chunk
            chunk, length, first = [], 0, number
        chunk.append(passage)
        length += len(passage.text)
    if chunk:
        yield first, chunk


def _proposed(chunk: Sequence[Passage], first: int) -> list[_Candidate]:
    """The best sentences of a chunk."""
    language = LANGUAGES.get(chunk[0].language)
    code = chunk[0].language
    function = (
        {term for word in language.function for term in terms(word, code)} if language else set()
    )
    read = [
        (number, unit, frozenset(terms(unit.text, code)) - function)
        for number, passage in enumerate(chunk, start=first)
        for unit in units(passage)
        if _is_statement(unit)
    ]
    frequency = Counter(word for _, _, words in read for word in words)
    titles = frozenset(terms(" ".join((chunk[0].title, *chunk[0].headings[:1])), code))
    found = []
    for place, (number, unit, words) in enumerate(read):
        if not words:
            continue
        central = sum(math.log(frequency[word]) for word in words if frequency[word] > 1)
        score = central / math.sqrt(len(words) + 4)
        score *= 1 + _TITLE * bool(words & titles) + _FIRST * (unit.start == 0)
        if number == place == 0:
            score = max(score, 0.1) * 1.5  # how a document begins is mostly what it is about
        found.append(_Candidate(unit, number, words, score))
    found.sort(key=lambda one: (-one.score, one.passage, one.unit.start))
    return _apart(found, _PROPOSED)


def _is_statement(unit: Unit) -> bool:
    text = unit.text
    if unit.kind != "sentence" or unit.leads or not _SHORTEST <= len(text) <= _LONGEST:
        return False
    return text.rstrip("\"'”’»)] ").endswith((".", "!", "。", "।", "…"))


def _apart(found: Sequence[_Candidate], count: int) -> list[_Candidate]:
    """The best of these that do not say the same."""
    taken: list[_Candidate] = []
    left = list(found[: 8 * count])
    best = max((one.score for one in left), default=1.0) or 1.0
    while left and len(taken) < count:

        def gain(one: _Candidate) -> float:
            near = max((len(one.words & other.words) / len(one.words | other.words)
                        for other in taken), default=0.0)  # fmt: skip
            return one.score / best - _REPEATED * near

        chosen = max(left, key=gain)
        if taken and gain(chosen) <= 0:
            break
        taken.append(chosen)
        left.remove(chosen)
    return taken


def _chosen(proposed: Sequence[_Candidate], characters: int) -> list[_Candidate]:
    count = min(_MOST, max(_FEWEST, characters // _PER_SENTENCE))
    ranked = sorted(proposed, key=lambda one: (-one.score, one.passage, one.unit.start))
    chosen = _apart(ranked, count)
    return sorted(chosen, key=lambda one: (one.passage, one.unit.start))

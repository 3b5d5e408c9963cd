"""What the documents have to say about a question: every search, within its time.

Each step has a deadline of its own. One that is late or fails is named in the steps, and what the
others found is kept.
"""

from __future__ import annotations

import glob
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from linnet.answers.answer import Step
from linnet.answers.evidence import Chosen, Evidence, Question, Search, Turn
from linnet.answers.languages import LANGUAGES
from linnet.answers.listing import asks_within_bounds, matching, without_which
from linnet.answers.phrases import words_of
from linnet.answers.ranking import answers_count, wanted
from linnet.answers.summaries import Summaries
from linnet.answers.understanding import names_this
from linnet.answers.units import Unit, has_records, units
from linnet.config import Config, option
from linnet.errors import LinnetError
from linnet.retrieval import Filters, Found, Index, Passage, Searchable, terms

T = TypeVar("T")


@dataclass(frozen=True)
class GatherConfig(Config):
    """How much is looked for, and for how long."""

    passages: int = option(5, "passages that an answer may rest on", least=1, most=100)
    search_seconds: float = option(10.0, "time for a search", least=0.001)
    list_seconds: float = option(
        30.0, "time to go through all passages for a list or a number", least=0.001
    )
    summary_seconds: float = option(60.0, "time to summarise a document", least=0.001)
    candidates: int = option(
        5_000, "passages that are gone through for a list or a number", least=1
    )
    entries: int = option(500, "entries of a list that are cited", least=1)


MOST_LATE = 16
"""Steps that may still run after their time; from then on no other is begun."""

_FILE = re.compile(r"\w\.\w{1,5}\b")
"""What may be the name of a file."""
_NAMED = 20  # passages among which a document is looked for by its name
_BEST = 200  # passages among which entries are looked for first
_BEGINNING = 4  # rows or lines of a document that has no sentences
_OVERVIEW = 10  # documents of an overview


@dataclass
class _Steps:
    """Runs steps, each within its time, and notes what became of them."""

    late: threading.Semaphore
    done: list[Step] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def run(
        self, name: str, what: str, seconds: float, work: Callable[[Callable[[], bool]], T],
        *, found: Callable[[T], str],
    ) -> T | None:  # fmt: skip
        """What ``work`` gives; None where it is late or fails. It is given what says that its
        time is over, so that it may stop with what it has."""
        began = time.monotonic()
        box: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        over = threading.Event()
        # What looks at the clock itself is given the time to hand over what it has.
        half = began + 0.9 * seconds

        def is_late() -> bool:
            return over.is_set() or time.monotonic() > half

        def body() -> None:
            try:
                box.put((work(is_late), None))
            except Exception as error:
                box.put((None, error))
            finally:
                self.late.release()

        if not self.late.acquire(blocking=False):
            self._note(name, f"{what}: not tried, {MOST_LATE} earlier steps still run", began,
                       "failed")  # fmt: skip
            return None
        threading.Thread(target=body, name=f"linnet-{name}", daemon=True).start()
        try:
            result, error = box.get(timeout=seconds)
        except queue.Empty:
            over.set()
            self._note(name, f"{what}: not done within {seconds:g} s", began, "late")
            return None
        if error is not None:
            if not isinstance(error, LinnetError | OSError):
                raise error
            self.errors.append(error)
            self._note(name, f"{what}: {error}", began, "failed")
            return None
        assert result is not None, "a step gives something"
        text = found(result)
        self._note(name, f"{what}: {text}", began, "done" if text != NOTHING else "nothing")
        return result

    def _note(
        self, name: str, text: str, began: float,
        outcome: Literal["done", "nothing", "late", "failed"],
    ) -> None:  # fmt: skip
        self.done.append(Step(name, text, round(time.monotonic() - began, 4), outcome))


NOTHING = "nothing"


class Gatherer:
    """Searches for questions of every kind; may be used by several threads at once."""

    def __init__(
        self,
        index: Searchable,
        config: GatherConfig | None = None,
        *,
        summaries: Summaries | None = None,
    ) -> None:
        self.index, self.config = index, config or GatherConfig()
        self.summaries = summaries or Summaries()
        self._late = threading.Semaphore(MOST_LATE)

    def gather(self, question: Question, *, collections: Sequence[str] | None = None) -> Evidence:
        """What there is about a question.

        Raises what went wrong where every search failed.
        """
        steps = _Steps(self._late)
        if not question.alone:
            note = Step("understand", "the question is empty", 0.0, "nothing")
            return Evidence(question, (), (), (note,))
        if question.each:
            return self._of_parts(question, collections)
        if question.asks == "summary":
            evidence = self._summary(question, collections, steps)
        elif question.asks == "comparison":
            evidence = self._comparison(question, collections, steps)
        elif question.asks in ("list", "count") or asks_within_bounds(question):
            evidence = self._entries(question, collections, steps)
        else:
            evidence = self._fact(question, collections, steps)
        if steps.errors and not evidence.passages and len(steps.errors) == len(steps.done):
            raise steps.errors[0]
        notes = tuple(Step("understand", note) for note in question.notes)
        return replace(evidence, steps=(*notes, *evidence.steps))

    def document(
        self, question: Question, turns: Sequence[Turn], collections: Sequence[str] | None = None
    ) -> str | None:
        """The document that a question is about as a whole; empty for all of them, None where
        no document is meant."""
        name = question.document or ""
        if not names_this(name, question.language):
            return self._named(name, question, collections)
        cited = [source for turn in reversed(turns) for source in turn.sources]
        if cited:
            return cited[0]
        if turns:
            found = self.index.search(turns[-1].question, 1, collections=collections)
            if found:
                return found[0].passage.place.source
        sources = _sources(self.index, collections)
        return next(iter(sources)) if len(sources) == 1 else ""

    def _named(
        self, name: str, question: Question, collections: Sequence[str] | None
    ) -> str | None:
        """The document of that file name, or whose title or file has all words of a name."""
        if (source := self._of_file(name, collections)) is not None:
            return source
        language = LANGUAGES.get(question.language)
        generic = {term for word in language.classes for term in terms(word, language.code)} if (
            language) else set()  # fmt: skip
        asked = set(wanted(name, language))
        asked = (asked - generic) or asked
        best, fewest = None, 0
        for found in self.index.search(name, _NAMED, collections=collections):
            for place in found.passage.places:
                file = PurePosixPath(place.source).name
                spoken = f"{found.passage.title} {file.replace('_', ' ').replace('-', ' ')}"
                words = set(terms(spoken, question.language))
                if asked <= words and (best is None or len(words) < fewest):
                    best, fewest = place.source, len(words)
        return best

    def _of_file(self, name: str, collections: Sequence[str] | None) -> str | None:
        """The document whose file a name has, such as "lease.md" or "the file hr/lease.md"; of
        several the one that is named with most of its path."""
        if not _FILE.search(name):
            return None
        said = name.casefold()
        best, longest = None, 0
        for source in sorted(_sources(self.index, collections, most=None)):
            parts = source.casefold().split("/")
            ends = [end for end in range(1, len(parts)) if _FILE.search(parts[end - 1])]
            for end in (*ends, len(parts)):  # a sheet or a member is named by its file, too
                for own in ("/".join(parts[place:end]) for place in range(end)):
                    if len(own) > longest and own in said and _stands_in(own, said):
                        best, longest = source, len(own)
        return best

    # One question.

    def _search(
        self, query: str, k: int, collections: Sequence[str] | None, steps: _Steps
    ) -> tuple[Found, ...]:
        found = steps.run(
            "search", f"'{_shown(query)}'", self.config.search_seconds,
            lambda _: tuple(self.index.search(query, k, collections=collections)),
            found=lambda found: f"{len(found)} passages" if found else NOTHING,
        )  # fmt: skip
        return found or ()

    def _fact(
        self, question: Question, collections: Sequence[str] | None, steps: _Steps
    ) -> Evidence:
        queries = list(dict.fromkeys((question.alone, *question.parts)))
        searches = [Search(query, self._search(query, self.config.passages, collections, steps))
                    for query in queries]  # fmt: skip
        asked = " ".join(question.text.split())
        if not any(search.found for search in searches) and asked not in queries:
            found = self._search(asked[: len(question.alone) + 200], self.config.passages,
                                 collections, steps)  # fmt: skip
            searches.append(Search(asked, found))
        passages = _in_turn([search.found for search in searches])[: self.config.passages]
        return Evidence(question, tuple(searches), passages, tuple(steps.done))

    def _of_parts(self, question: Question, collections: Sequence[str] | None) -> Evidence:
        """Each part for itself, and what was found for all in turn."""
        each = tuple(self.gather(part, collections=collections) for part in question.each)
        notes = tuple(Step("understand", note) for note in question.notes)
        return Evidence(
            question,
            tuple(search for part in each for search in part.searches),
            _in_turn([part.passages for part in each]),
            (*notes, *(step for part in each for step in part.steps)),
            each=each,
        )

    def _comparison(
        self, question: Question, collections: Sequence[str] | None, steps: _Steps
    ) -> Evidence:
        searches = [
            Search(query, self._search(query, self.config.passages, collections, steps))
            for query in (*question.parts, question.alone)
        ]
        passages = _in_turn([search.found for search in searches])
        return Evidence(question, tuple(searches), passages, tuple(steps.done))

    def _entries(
        self, question: Question, collections: Sequence[str] | None, steps: _Steps
    ) -> Evidence:
        """Every entry that matches; where none does, what answers another question."""
        language = LANGUAGES.get(question.language)
        asked = question.alone
        if language is not None and asks_within_bounds(question):
            asked = without_which(asked, language)
        query = _in_full(wanted(asked, language), asked, question.language)
        first = self._search(question.alone, self.config.passages, collections, steps)
        fact = Evidence(question, (Search(question.alone, first),), first, tuple(steps.done))
        if question.asks == "count" and answers_count(question, first):
            return fact
        found = steps.run(
            "search", "all passages that share a word with it", self.config.list_seconds,
            lambda _: self._candidates(query, collections),
            found=lambda found: f"{len(found):,} passages" if found else NOTHING,
        )  # fmt: skip
        listed = steps.run(
            "list", "entries that match", self.config.list_seconds,
            lambda late: matching(question, found or (), late=late),
            found=lambda listed: _counted(len(listed.units), self.config.entries, listed.ignored),
        )  # fmt: skip
        steps_done = tuple(steps.done)
        if listed is None or not listed.units or (question.asks != "list" and not listed.tabular):
            return replace(fact, question=replace(question, asks="fact"), steps=steps_done)
        shown = listed.units[: self.config.entries]
        chosen = Chosen(shown, len(listed.units), listed.coverage)
        search = Search(query, tuple(found or ()))
        return Evidence(question, (*fact.searches, search), listed.passages, steps_done, chosen)

    def _candidates(self, query: str, collections: Sequence[str] | None) -> tuple[Found, ...]:
        """The passages that may have entries: the best ones, and where there are rows or lines
        among them, all others with such."""
        best = self.index.search(query, _BEST, collections=collections)
        if len(best) < _BEST or not any(has_records(found.passage) for found in best):
            return tuple(best)
        more = self.index.search(query, self.config.candidates, collections=collections)
        return (*best, *(found for found in more[_BEST:] if has_records(found.passage)))

    def _summary(
        self, question: Question, collections: Sequence[str] | None, steps: _Steps
    ) -> Evidence:
        source = question.document
        result = steps.run(
            "summarise", f"'{_shown(source)}'" if source else "all documents",
            self.config.summary_seconds,
            lambda late: list(self._sentences(source, collections, late)),
            found=lambda found: f"{len(found)} sentences" if found else NOTHING,
        )  # fmt: skip
        sentences: list[Unit] = result or []
        if not sentences:
            return self._fact(replace(question, asks="fact"), collections, steps)
        own = dict.fromkeys(unit.passage for unit in sentences)
        passages = tuple(Found(passage, 1.0) for passage in own)
        chosen = Chosen(tuple(_placed(unit, source) for unit in sentences), len(sentences))
        return Evidence(
            question, (Search(question.alone, passages),), passages, tuple(steps.done), chosen
        )

    def _sentences(
        self, source: str | None, collections: Sequence[str] | None, late: Callable[[], bool]
    ) -> Iterator[Unit]:
        """Of one document its summary; of all, what the first say first of all."""
        documents: dict[str, list[Passage]] = {}
        for passage in _passages(self.index, source, collections):
            if late():
                return
            places = [place.source for place in passage.places]
            name = source if source in places else places[0]
            if source and name != source:
                continue
            if name not in documents and len(documents) == _OVERVIEW:
                break
            documents.setdefault(name, []).append(passage)
        for passages in documents.values():
            sentences = self.summaries.of(passages, late=late)
            if source and not sentences:  # a table, a list: how it begins
                sentences = list(units(passages[0]))[:_BEGINNING]
            yield from sentences if source else sentences[:1]


def _in_full(asked: Sequence[str], question: str, code: str) -> str:
    """Terms, and the words of a question that they are of: a table without a language has words as
    they are."""
    said = [word.text for word in words_of(question) if set(terms(word.text, code)) & set(asked)]
    return " ".join(dict.fromkeys((*asked, *said)))


def _stands_in(name: str, text: str) -> bool:
    """Whether it does as a whole."""
    return re.search(rf"(?<![\w/.-]){re.escape(name)}(?!\w)", text) is not None


def _sources(
    index: Searchable, collections: Sequence[str] | None, *, most: int | None = 2
) -> set[str]:
    """The documents; ``most``: so many are enough."""
    if isinstance(index, Index):
        return {document.source for document in index.documents()
                if collections is None or document.collection in collections}  # fmt: skip
    sources: set[str] = set()
    for passage in index.passages(collections=collections):
        sources.update(place.source for place in passage.places)
        if most is not None and len(sources) >= most:
            break
    return sources


def _passages(
    index: Searchable, source: str | None, collections: Sequence[str] | None
) -> Iterable[Passage]:
    """The passages of a document, or at least those."""
    if isinstance(index, Index) and source:
        only = Filters(sources=(glob.escape(source),))
        return index.passages(collections=collections, filters=only)
    return index.passages(collections=collections)


def _placed(unit: Unit, source: str | None) -> Unit:
    """A sentence as it stands in this document."""
    for place in unit.passage.places:
        if place.source == source:
            return replace(unit, passage=replace(unit.passage, places=(place,)))
    return unit


def _in_turn(lists: Sequence[Sequence[Found]]) -> tuple[Found, ...]:
    """The best of each list, then the second of each, every passage once."""
    found: dict[str, Found] = {}
    for rank in range(max(map(len, lists), default=0)):
        for own in lists:
            if rank < len(own):
                found.setdefault(own[rank].passage.id, own[rank])
    return tuple(found.values())


def _counted(count: int, shown: int, ignored: Sequence[str]) -> str:
    if not count:
        return NOTHING
    text = f"{count:,}"
    if count > shown:
        text += f", of which {shown:,} are shown"
    if ignored:
        text += f"; in no document: {', '.join(ignored)}"
    return text


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"

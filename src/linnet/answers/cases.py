"""Questions of which it is known what answers them, and whether an answer is right.

An answer is right if a cited span overlaps a gold span and the expected value stands in what is
cited there: of a question in parts, for each of them. A value is an answer of a few words; a longer
one is itself the gold span. A sentence that is the expected answer word for word is right wherever
it stands. A question that the documents do not answer has no right answer.

*Withheld* means that the gold spans are taken out of what is searched (:class:`Without`): whoever
answers then cannot be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from linnet import artifact
from linnet.answers.answer import Citation
from linnet.answers.evidence import Turn
from linnet.config import parse_json, show
from linnet.errors import ArtifactError, DataError
from linnet.examples.record import Example, is_examples, read_examples
from linnet.examples.texts import find_quote
from linnet.retrieval import Found, Passage, Searchable
from linnet.retrieval.passages import reranker_of
from linnet.scoring.matching import contains, words_of

if TYPE_CHECKING:
    from linnet.retrieval.reranker import Reranker

MOST_WORDS = 12
"""A longer answer is no value that a sentence could contain."""
LEAST_WORDS = 6
"""An answer of so many words says the same wherever it stands word for word."""
MOST_NAMING = 3
"""Words of a quote beside the value in it; with more it says other things, too."""
LONGEST_ROW = 1 << 20
MOST_ROWS = 1_000_000
_MORE = 10  # passages that are searched beyond those wanted, in case some are withheld

Origin = Literal["generated", "people", "feedback"]
QuestionKind = Literal["answerable", "withheld", "near_miss", "off_topic", "unanswerable"]


@dataclass(frozen=True)
class Span:
    """A stretch of a document's stored text; without an end, all that follows."""

    source: str
    start: int = 0
    end: int | None = None

    def overlaps(self, other: Span) -> bool:
        """Whether a character is in both."""
        return (
            self.source == other.source
            and (other.end is None or self.start < other.end)
            and (self.end is None or other.start < self.end)
        )


@dataclass(frozen=True)
class Case:
    """A question, and what is right."""

    id: str
    question: str
    kind: QuestionKind
    gold: tuple[tuple[Span, ...], ...] = ()
    """For each part of the question the spans of which any one answers it."""
    answers: tuple[tuple[str, ...], ...] = ()
    """For each part the answers of which any one is expected; none where only the place is
    known."""
    quotes: tuple[tuple[str, ...], ...] = ()
    """For each part what says the value with its name, and answers wherever it stands word for
    word: "magnetic resonance imaging (MRI)"."""
    said: tuple[Span, ...] = ()
    """Of a question of one part, where exactly the answer is said, as far as that is known: the
    gold span of a value is the passage that it stands in."""
    origin: Origin = "generated"
    document: str = ""
    """What the question belongs to: questions of one document are never parted."""
    split: str | None = None
    language: str = ""
    turns: tuple[Turn, ...] = ()
    kind_made: str = ""
    """Of an example: its kind there."""

    @property
    def answerable(self) -> bool:
        """Whether there is a right answer."""
        return self.kind == "answerable"

    def withheld(self) -> Case:
        """The same question, where what answers it is not to be found."""
        return replace(self, id=f"{self.id}-withheld", kind="withheld")

    @property
    def missing(self) -> tuple[Span, ...]:
        """What must not be found when it is asked."""
        return tuple(span for part in self.gold for span in part) if self.kind == "withheld" else ()


class Without:
    """What is searched, less the passages that overlap some spans."""

    def __init__(self, index: Searchable, spans: Iterable[Span]) -> None:
        self.index, self.spans = index, tuple(spans)

    def __len__(self) -> int:
        return len(self.index)

    def search(
        self, query: str, k: int = 10, *, collections: Sequence[str] | None = None
    ) -> list[Found]:
        """See :class:`linnet.retrieval.Searchable`."""
        wanted = k + _MORE
        while True:
            found = self.index.search(query, wanted, collections=collections)
            left = [one for one in found if not self._is_withheld(one.passage)]
            if len(left) >= k or len(found) < wanted:
                return left[:k]
            wanted *= 2

    @property
    def reranker(self) -> Reranker | None:
        """That of what is searched."""
        return reranker_of(self.index)

    def passages(self, *, collections: Sequence[str] | None = None) -> Iterator[Passage]:
        """See :class:`linnet.retrieval.Searchable`."""
        for passage in self.index.passages(collections=collections):
            if not self._is_withheld(passage):
                yield passage

    def _is_withheld(self, passage: Passage) -> bool:
        own = spans_of_passage(passage)
        return any(span.overlaps(place) for span in self.spans for place in own)


def spans_of_passage(passage: Passage) -> list[Span]:
    """Every place where a passage stands."""
    return [Span(place.source, place.start, place.end) for place in passage.places]


def spans_of(citation: Citation, found: Sequence[Found]) -> list[Span]:
    """Every place where what is cited stands: passages that are equal are cited once."""
    for one in found:
        place = one.passage.place
        if place.source == citation.source and place.start <= citation.start < place.end:
            inside, length = citation.start - place.start, citation.end - citation.start
            return [
                Span(each.source, each.start + inside, each.start + inside + length)
                for each in one.passage.places
            ]
    return [Span(citation.source, citation.start, citation.end)]


def is_right(case: Case, citations: Sequence[Citation], found: Sequence[Found]) -> bool:
    """Whether what is cited answers every part of the question."""
    if not case.answerable or not case.gold or not citations:
        return False
    cited = [(spans_of(citation, found), citation.text) for citation in citations]
    for number, gold in enumerate(case.gold):
        if _is_repeated(case, number, citations):
            continue
        texts = [
            text
            for spans, text in cited
            if any(span.overlaps(other) for span in spans for other in gold)
        ]
        if not texts:
            return False
        answers = case.answers[number] if number < len(case.answers) else ()
        values = [answer for answer in answers if _is_value(answer, case.language)]
        if len(values) < len(answers):
            continue  # one of them is what the place says as a whole
        if values and not contains("\n".join(texts), values, case.language or "en"):
            return False
    return True


def _is_repeated(case: Case, part: int, citations: Sequence[Citation]) -> bool:
    """Whether an expected answer of a sentence's length, or what quotes a value with its name, is
    cited word for word from elsewhere."""
    language = case.language or "en"
    answers = case.answers[part] if part < len(case.answers) else ()
    said = [each for each in answers if len(words_of(each, language)) >= LEAST_WORDS]
    said += case.quotes[part] if part < len(case.quotes) else ()
    return any(contains(citation.text, said, language) > 0 for citation in citations)


def says_it(case: Case, citations: Sequence[Citation]) -> bool:
    """Whether what is cited has the value that was to be withheld, from another place."""
    cited = "\n".join(citation.text for citation in citations)
    values = [a for part in case.answers for a in part if _is_value(a, case.language)]
    parts = max(len(case.answers), len(case.quotes))
    repeated = any(_is_repeated(case, part, citations) for part in range(parts))
    return repeated or contains(cited, values, case.language or "en") > 0


def _is_value(answer: str, language: str) -> bool:
    return 0 < len(words_of(answer, language or "en")) <= MOST_WORDS


def from_example(example: Example) -> Case | None:
    """An example as a case; None for a kind that is no question to the documents."""
    kind = _KINDS.get(example.kind)
    if kind is None:
        return None
    gold: tuple[tuple[Span, ...], ...] = ()
    answers: tuple[tuple[str, ...], ...] = ()
    quotes: tuple[tuple[str, ...], ...] = ()
    said: tuple[Span, ...] = ()
    if kind == "answerable" and example.source is not None:
        if example.quotes:
            parts = [(quote.text, quote.start, quote.end) for quote in example.quotes]
            # Where each part has an answer of its own, they are given a line each.
            lines = example.answer.splitlines()
            answers = tuple((line,) for line in lines) if len(lines) == len(parts) else ()
            quotes = tuple(
                _naming(quote, line, example.language)
                for (quote, _, _), line in zip(parts, lines, strict=False)
            )
            gold = tuple((Span(example.source, start, end),) for _, start, end in parts)
        elif example.start is not None and example.end is not None:
            start, end = example.start, example.end
            said = (Span(example.source, start, end),)
            answers = ((example.answer,),)
            quotes = (_naming(example.quote or "", example.answer, example.language),)
            if _is_value(example.answer, example.language) and example.passage is not None:
                start, end = min(start, example.passage[0]), max(end, example.passage[1])
            gold = ((Span(example.source, start, end),),)
        if not gold:
            return None
    if kind == "withheld" and example.source is not None and example.passage is not None:
        gold = ((Span(example.source, *example.passage),),)
    return Case(
        example.id,
        example.question,
        kind,
        gold,
        answers,
        quotes,
        said,
        document=example.source or f"no document: {example.id}",
        split=example.split,
        language=example.language,
        turns=tuple(Turn(turn.question, turn.answer) for turn in example.turns),
        kind_made=example.kind,
    )


def _naming(quote: str, value: str, language: str) -> tuple[str, ...]:
    """A quote, if it says a value and little more than what that is the value of."""
    more = len(words_of(quote, language or "en")) - len(words_of(value, language or "en"))
    return (quote,) if 0 < more <= MOST_NAMING and _is_value(value, language) else ()


_KINDS: dict[str, QuestionKind] = {
    "question": "answerable",
    "follow_up": "answerable",
    "multi_part": "answerable",
    "unanswerable": "withheld",
    "near_miss": "near_miss",
    "off_topic": "off_topic",
}
"""Of examples. A cloze is nothing that people ask, and an instruction has no one answer."""


def read_cases(place: Path | str, *, corpus: Path | str | None = None) -> list[Case]:
    """The questions of a directory or file of examples, or those of a JSONL file of people's.

    A row of people's has a ``question`` and says where the answer stands: ``source`` (a document),
    and ``start`` and ``end`` or a ``quote`` of it where not all of it answers; or ``gold``, a list
    of such places of which any one will do. It may have an ``answer`` (or ``answers``), ``id``,
    ``language``, ``document`` and ``kind``; without a place it is a question that the documents do
    not answer. ``corpus``: where quotes are looked up. Raises DataError, naming the line.
    """
    path = artifact.within(place, "examples")
    if path.is_dir() or is_examples(path):
        found = (from_example(example) for example in read_examples(place))
        return [case for case in found if case is not None]
    quotes = _Quotes(corpus)
    return [_from_row(row, where, quotes) for where, row in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path}: expected a file of questions, but there is none")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            where = f"{path}, line {number}"
            if number > MOST_ROWS:
                raise DataError(f"{path}: expected at most {MOST_ROWS:,} lines")
            if len(line) > LONGEST_ROW:
                raise DataError(f"{where}: expected at most {LONGEST_ROW:,} bytes")
            if not line.strip():
                continue
            try:
                row = parse_json(line.decode("utf-8-sig"))
            except ValueError as error:
                raise DataError(f"{where}: expected an object in JSON. {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{where}: expected an object in JSON. Got {show(row)}")
            yield where, row


class _Quotes:
    """Finds quotes in the stored texts of a corpus."""

    def __init__(self, corpus: Path | str | None) -> None:
        self._corpus = corpus
        self._texts: dict[str, list[str]] = {}

    def span(self, source: str, quote: str, where: str) -> Span:
        """Where a quote stands. Raises DataError where it does not."""
        from linnet.data import stored_texts

        if self._corpus is None:
            raise DataError(f"{where}: expected 'start' and 'end', as no corpus is named")
        if source not in self._texts:
            try:
                stored = stored_texts(self._corpus, source)
                self._texts[source] = [each.text for each in stored]
            except (ArtifactError, DataError) as error:
                raise DataError(f"{where}: {error}") from None
        for text in self._texts[source]:
            found = find_quote(text, quote, near=0)
            if found is not None:
                return Span(source, found.start, found.end)
        raise DataError(f"{where}: expected a 'quote' that stands in {source}. Got {show(quote)}")


def _from_row(row: dict[str, Any], where: str, quotes: _Quotes) -> Case:
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: expected a 'question', as text")
    places = row.get("gold")
    if places is None and row.get("source") is not None:
        places = [row]
    if places is not None and not isinstance(places, list):
        raise DataError(f"{where}: expected 'gold' to be a list of places. Got {show(places)}")
    spans = tuple(_span(place, where, quotes) for place in places or ())
    given = row.get("answers", row.get("answer"))
    answers = tuple(given if isinstance(given, list) else [] if given is None else [given])
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise DataError(f"{where}: expected an 'answer', as text, or a list of 'answers'")
    kinds: dict[str, QuestionKind] = {each: each for each in get_args(QuestionKind)}
    kinds |= {"question": "answerable"}
    named = row.get("kind") or ("answerable" if spans else "unanswerable")
    kind = kinds.get(named) if isinstance(named, str) else None
    if kind is None:
        raise DataError(f"{where}: kind must be one of {', '.join(kinds)}. Got {show(named)}")
    if kind in ("answerable", "withheld") and not spans:
        raise DataError(f"{where}: expected a 'source' or 'gold', where the answer stands")
    number = where.rpartition(" ")[2]
    return Case(
        str(row.get("id") or number),
        question,
        kind,
        (spans,) if spans else (),
        (answers,) if answers else (),
        said=tuple(span for span in spans if span.end is not None),
        origin="people",
        document=str(row.get("document") or (spans[0].source if spans else f"row {number}")),
        split=row["split"] if isinstance(row.get("split"), str) else None,
        language=str(row.get("language") or ""),
    )


def _span(place: Any, where: str, quotes: _Quotes) -> Span:
    source = place.get("source") if isinstance(place, dict) else None
    if not isinstance(source, str) or not source:
        raise DataError(f"{where}: expected a place with a 'source'. Got {show(place)}")
    start, end, quote = (place.get(name) for name in ("start", "end", "quote"))
    if start is None and end is None:
        if isinstance(quote, str) and quote.strip():
            return quotes.span(source, quote, where)
        return Span(source)
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise DataError(f"{where}: expected 'start' before 'end', in characters")
    return Span(source, start, end)

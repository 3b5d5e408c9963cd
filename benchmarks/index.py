"""How fast documents become searchable by their words, and how fast they are searched.

    python benchmarks/index.py --medquad medquad.jsonl [--passages 100000] [--reranker DIR]

Passages indexed in a second, and the memory that takes; what a search over them costs, of people's
questions; how long an answer out of the passages takes, which comes all at once; the same with a
re-ranker, where one is given; and how long a changed document among eight thousand files takes from
``make_index`` until it is found. Seconds of the clock and, since other programs may run, of the
processor.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from linnet.answers import Assistant
from linnet.data.blocks import derived
from linnet.data.document import text_id
from linnet.data.locating import Listing, StoredText, Unread
from linnet.retrieval import Index, make_index
from linnet.retrieval.updating import index_texts

QUESTIONS = 300


class Varied:
    """Answers as documents, as often as needed, each time with a few other words."""

    def __init__(self, rows: Sequence[dict[str, str]], count: int) -> None:
        self.rows, self.count = rows, count

    def _text(self, number: int) -> str:
        row, turn = self.rows[number % len(self.rows)], number // len(self.rows)
        answer = row["answer"].replace(". ", f" turn{turn} of{number % 97}. ", 3) if turn else (
            row["answer"]
        )  # fmt: skip
        return f"# {row['focus']}\n\n{answer}\n"

    def listings(self) -> list[Listing]:
        """See ``CorpusTexts``."""
        return [self._listing(number) for number in range(self.count)]

    def _listing(self, number: int) -> Listing:
        # Each turn is a collection: passages of two are never one.
        name = f"d/{number // len(self.rows)}/{number}.md"
        return Listing(number, name, name, text_id(self._text(number)), "md", "prose", "en", 0)

    def read(self, listing: Listing) -> StoredText:
        """See ``CorpusTexts``."""
        text = self._text(listing.number)
        return StoredText(listing.source, listing.id, text, derived(text, listing.family))

    def unread(self) -> list[Unread]:
        """See ``CorpusTexts``."""
        return []


@contextmanager
def timed(took: dict[str, float]) -> Iterator[None]:
    """Notes seconds of the clock and of the processor."""
    wall, own = time.monotonic(), time.process_time()
    yield
    took.update(clock=time.monotonic() - wall, processor=time.process_time() - own)


def peak() -> str:
    """The most memory that this process had so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB"


def index_and_search(
    rows: Sequence[dict[str, str]], passages: int, work: Path, reranker: Path | None
) -> None:
    """All figures but the last."""
    took: dict[str, float] = {}
    with timed(took):
        made = index_texts(Varied(rows, int(passages * 0.56)), work / "words", inputs={})
    count = made.stats["passages"]
    print(
        f"{count:,} passages in {took['clock']:.1f} s ({count / took['clock']:,.0f} a second), "
        f"{took['processor']:.1f} s of the processor ({count / took['processor']:,.0f}); {peak()}"
    )
    questions = [row["question"] for row in rows[:: max(len(rows) // QUESTIONS, 1)]]
    with Index.open(work / "words") as index:
        each("a search", lambda question: index.search(question, 5), questions)
        each("an answer", Assistant(index).ask, questions)
    if reranker is not None:
        shutil.copytree(reranker, work / "reranker")
        with Index.open(work / "words") as index:
            assert index.reranker is not None
            each("an answer with re-ranking", Assistant(index).ask, questions[::6])
    print(f"peak {peak()}")


def each(what: str, does: Callable[[str], object], questions: Sequence[str]) -> None:
    """Print how long it takes for one of the questions; the first is for warming up."""
    does(questions[0])
    took: dict[str, float] = {}
    clocks, processors = [], []
    for question in questions:
        with timed(took):
            does(question)
        clocks.append(took["clock"] * 1000)
        processors.append(took["processor"] * 1000)
    for name, values in (("clock", clocks), ("processor", processors)):
        middle, high = np.percentile(values, (50, 95))
        print(f"{what}: {middle:.1f} ms, 95 of 100 below {high:.1f} ms of the {name}", flush=True)


def change_one(rows: Sequence[dict[str, str]], work: Path) -> None:
    """The last figure."""
    docs = work / "docs"
    docs.mkdir()
    for number, row in enumerate(rows):
        (docs / f"{number}.md").write_text(f"# {row['focus']}\n\n{row['answer']}\n", "utf-8")
    took: dict[str, float] = {}
    with timed(took):
        make_index(docs, work / "index")
    print(f"{len(rows):,} files for the first time: {took['clock']:.0f} s of the clock")
    for turn in range(2):
        (docs / "7.md").write_text(f"# Changed\n\nA word that nobody had said: quuxly{turn}.\n")
        with timed(took):
            make_index(docs, work / "index")
            with Index.open(work / "index") as index:
                assert len(index.search(f"quuxly{turn}")) == 1
        print(
            f"one of them changed: found after {took['clock']:.1f} s of the clock, "
            f"{took['processor']:.1f} s of the processor"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--medquad", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    lines = args.medquad.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["answer"]]
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        index_and_search(rows, args.passages, Path(work), args.reranker)
        change_one(rows, Path(work))


if __name__ == "__main__":
    main()

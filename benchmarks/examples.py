"""What ``linnet examples`` makes of real documents, without a model.

    python benchmarks/examples.py [medquad] [python-doc] [--work DIR] [--nearest bm25|DIR]

``medquad``: the answers of MedQuAD as documents of one heading each, without the questions that
people wrote ($LINNET_TEST_DATA/medquad). ``python-doc``: Python's documentation as HTML, of the
Debian package python3.11-doc (installed, or unpacked at --python-doc). What is absent is skipped.

Printed: examples for each kB of prose (one cloze a passage), shares of the kinds, quotes that are
verbatim, time; for MedQuAD the share of people's questions one of whose five nearest generated ones
comes from the same document, by BM25 or by the encoder at --nearest; and 100 drawn at random, in
``drawn.md``, to be judged by the rubric there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from pathlib import Path

import numpy as np

from linnet.data import DataConfig, kept_texts, prepare
from linnet.examples import Example, make_examples, read_examples
from linnet.retrieval import BM25

SHARED = Path(os.environ.get("LINNET_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
PYTHON_DOC = Path("/usr/share/doc/python3.11/html")
NOT_PROSE = ("_sources/", "_static/", "_downloads/", "genindex*")
NEAREST = 5
DRAWN = 100
RUBRIC = """\
An example is right if all of this holds:

1. The question is understandable on its own: it names what it is about (a follow-up: after the
   turns before it).
2. The quote, with the passage around it, answers it; of a refusal: the documents do not answer it
   (for `unanswerable`: not without the passage that was taken out).
3. The answer is right and complete, as far as the quote goes.
4. The question is grammatical.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=[], help="medquad, python-doc (default: both)")
    parser.add_argument("--work", type=Path, help="keep what is made here, and take it up again")
    parser.add_argument("--nearest", default="bm25", help="bm25, or the directory of an encoder")
    parser.add_argument("--python-doc", type=Path, default=PYTHON_DOC)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = chosen.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for name in chosen.sets or ("medquad", "python-doc"):
            if name == "medquad":
                medquad(work, chosen.nearest)
            else:
                python_doc(work, chosen.python_doc)


def medquad(work: Path, nearest: str) -> None:
    file = SHARED / "medquad" / "medquad.jsonl"
    if not file.is_file():
        print(f"medquad: skipped, there is no {file}")
        return
    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    documents = work / "medquad"
    documents.mkdir(exist_ok=True)
    for row in rows:
        (documents / name_of(row)).write_text(document(row), encoding="utf-8")
    corpus = prepare([documents], work / "medquad-corpus", DataConfig()).path
    examples = figures("medquad", corpus, work)
    kept = {kept.source for kept in kept_texts(corpus)}
    asked = [row for row in rows if f"medquad/{name_of(row)}" in kept]
    made = [one for one in examples if one.source is not None]
    found = neighbours([row["question"] for row in asked], made, nearest)
    hits = sum(
        any(made[place].source == f"medquad/{name_of(row)}" for place in places)
        for row, places in zip(asked, found, strict=True)
    )
    print(
        f"  people's questions with one of {NEAREST} nearest from the same document ({nearest}): "
        f"{hits / len(asked):.1%} of {len(asked):,} ({len(rows) - len(asked):,} whose document "
        "was dropped as a duplicate or too short are not counted)"
    )


def name_of(row: dict[str, str]) -> str:
    return f"{row['source']}-{row['id']}.md"


def document(row: dict[str, str]) -> str:
    """An answer below its topic, with the paragraphs and items that its blanks show."""
    text = re.sub(r"\s{2,}|\n", "\n\n", row["answer"].strip())
    text = re.sub(r"\n\n-\s*(?=\S)", "\n- ", text)
    return f"# {row['focus']}\n\n{text}\n"


def python_doc(work: Path, folder: Path) -> None:
    if not folder.is_dir():
        print(f"python-doc: skipped, there is no {folder} (package python3.11-doc)")
        return
    config = DataConfig(exclude=NOT_PROSE)
    figures("python-doc", prepare([folder], work / "python-doc-corpus", config).path, work)


def figures(name: str, corpus: Path, work: Path) -> list[Example]:
    start = time.monotonic()
    made = make_examples(corpus, work / f"{name}-examples")
    seconds = time.monotonic() - start
    stats, examples = made.stats, list(read_examples(made.path))
    print(f"{name}: {stats['examples']:,} examples in {seconds:.0f} s")
    print(f"  for each kB of prose: {stats['per_kilobyte']:.2f}")
    shares = ", ".join(f"{k} {n / stats['examples']:.1%}" for k, n in stats["kinds"].items())
    print(f"  kinds: {shares}")
    right, all_quotes = verbatim(corpus, examples)
    print(f"  quotes that are verbatim: {right:,} of {all_quotes:,}")
    draw(work / f"{name}-drawn.md", examples)
    return examples


def verbatim(corpus: Path, examples: list[Example]) -> tuple[int, int]:
    """How many quotes stand at their place in the stored text, and how many there are."""
    quotes: dict[str | None, list[tuple[str, int, int]]] = {}
    for one in examples:
        own = [(quote.text, quote.start, quote.end) for quote in one.quotes]
        if one.quote is not None and one.start is not None and one.end is not None:
            own.append((one.quote, one.start, one.end))
        quotes.setdefault(one.source, []).extend(own)
    texts = {kept.source: kept.text for kept in kept_texts(corpus)}
    found = [
        texts[source][start:end] == text
        for source, own in quotes.items() if source is not None
        for text, start, end in own
    ]  # fmt: skip
    return sum(found), len(found)


def draw(file: Path, examples: list[Example]) -> None:
    drawn = random.Random(0).sample(examples, min(DRAWN, len(examples)))
    with file.open("w", encoding="utf-8") as out:
        out.write(RUBRIC)
        for number, one in enumerate(drawn, 1):
            out.write(f"\n## {number}. {one.kind}\n\n")
            for turn in one.turns:
                out.write(f"(before) {turn.question}\n{turn.answer}\n\n")
            out.write(f"Question: {one.question}\n\nAnswer: {one.answer}\n\n")
            out.write(f"Quote: {one.quote!r}\n\nSource: {one.source} {one.start}:{one.end}\n")


def neighbours(asked: list[str], made: list[Example], nearest: str) -> list[list[int]]:
    """The generated questions nearest to each of people's."""
    questions = [one.question for one in made]
    if nearest == "bm25":
        index = BM25()
        for question in questions:
            index.add(question, "en")
        return [[hit.number for hit in index.search(q, NEAREST, language="en")] for q in asked]
    vectors, own = embedded(nearest, questions), embedded(nearest, asked)
    return [np.argsort(-(vectors @ vector), kind="stable")[:NEAREST].tolist() for vector in own]


def embedded(encoder: str, texts: list[str]) -> np.ndarray:
    from linnet import load_encoder

    model = load_encoder(encoder)
    return np.asarray(model.embed(texts))


if __name__ == "__main__":
    main()

"""How fast the data stage judges text, beside datatrove: MB a second on one core.

The same texts, one process for each measurement, the two taken in turn; processor
time after a warm-up, so that loading models does not count. Printed: the median of
the runs and the ratio.

    python benchmarks/data.py [quality ...] [--texts stories answers web] [--html DIR]

``--html DIR`` holds the pages of ``web`` (default: those of $LINNET_TEST_DATA/documents).
Needs datatrove and spacy (pip install datatrove spacy); without them only Linnet's
figures are printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from linnet.data.kinds import Family

SHARED = Path(os.environ.get("LINNET_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
TEXTS = ("stories", "answers", "web")
SAMPLE = 1_500_000  # characters of each kind of text
LONGEST = 900_000  # characters of a document: spaCy, behind datatrove, takes no more
WARM_UP = 100  # documents
BATCH = 100  # texts tokenized at once

T = TypeVar("T")
Step = Callable[[str], object]
Rows = dict[str, tuple[Callable[[], Step], Callable[[], Step] | None]]  # ours, datatrove's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=TEXTS)
    parser.add_argument("--html", type=Path, default=SHARED / "documents")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)  # row, side, file of texts
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(unknown)}")
    rows: Rows = {}
    for part in chosen.parts or PARTS:
        rows |= PARTS[part]()
    if chosen.measure:
        row, side, file = chosen.measure
        prepare = rows[row][side == "datatrove"]
        print(measure(prepare, json.loads(Path(file).read_text("utf-8"))) if prepare else "")
        return
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.texts:
            file = Path(scratch) / f"{name}.json"
            file.write_text(json.dumps(texts(name, chosen.html)), encoding="utf-8")
            report(name, rows, file, chosen)


# ---- what is measured


def quality() -> Rows:
    """Cleaning, language and quality rules."""
    return {
        "clean": (cleaning, datatrove_cleaning),
        "language": (language, None),  # datatrove's needs a model that is downloaded
        "quality": (signals_and_verdict, datatrove_filters),
        "together": (together, datatrove_together),  # theirs without language
        "as prose": (together_as_prose, None),  # together, by the rules of text files
    }


def duplicates() -> Rows:
    """Signatures of documents for finding near duplicates: 126 permutations of 5-word runs."""
    return {"minhash": (bands, datatrove_signatures)}


def tokenizing() -> Rows:
    """Text to tokens on disk, with GPT-2's vocabulary."""
    return {"tokens": (encoding, datatrove_tokens)}


def privacy() -> Rows:
    """Personal data and secrets masked."""
    return {"privacy": (masking, None)}


PARTS: dict[str, Callable[[], Rows]] = {
    "quality": quality,
    "duplicates": duplicates,
    "tokenizing": tokenizing,
    "privacy": privacy,
}


def cleaning() -> Step:
    from linnet.data.clean import clean

    return lambda text: clean(text, "web")


def language() -> Step:
    from linnet.data.language import identify

    return identify


def signals_and_verdict() -> Step:
    from linnet.data import quality

    rules = quality.rules(())
    return lambda text: quality.verdict(quality.signals(text, "web", "en"), "web", rules)


def together(family: Family = "web") -> Step:
    from linnet.data import quality
    from linnet.data.clean import clean
    from linnet.data.language import identify

    rules = quality.rules(())

    def step(text: str) -> None:
        text = clean(text, family).text
        quality.verdict(quality.signals(text, family, identify(text)[0]), family, rules)

    return step


def together_as_prose() -> Step:
    return together("prose")


def datatrove_cleaning() -> Step:
    from datatrove.pipeline.formatters import FTFYFormatter

    return FTFYFormatter().format


def datatrove_filters() -> Step:
    """FineWeb's filters, in its order; a document that one drops is not seen by the next."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]

    def step(text: str) -> None:
        document = Document(text=text, id="")
        all(found.filter(document) is True for found in filters)

    return step


def datatrove_together() -> Step:
    clean, judge = datatrove_cleaning(), datatrove_filters()
    return lambda text: judge(str(clean(text)))


def bands() -> Step:
    from linnet.data import shingles

    return shingles.bands


def datatrove_signatures() -> Step:
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    same = MinhashConfig(n_grams=5, num_buckets=18, hashes_per_bucket=7)
    signer = MinhashDedupSignature(tempfile.mkdtemp(), same)
    digest = signer._hash_func  # xxhash, which from version 4 on takes bytes only
    signer._hash_func = lambda text: digest(text.encode())
    return lambda text: signer.get_signature(signer.get_shingles(text))


def masking() -> Step:
    from linnet.data.config import DataConfig
    from linnet.data.privacy import Scrubber

    scrubber = Scrubber.of(DataConfig())
    return lambda text: scrubber.scrub(text, "prose")


def encoding() -> Step:
    from linnet.shards import encode_texts
    from linnet.shards.writer import SplitWriter
    from linnet.tokenizer import load

    tokenizer = load(gpt2())
    writer = SplitWriter(
        Path(tempfile.mkdtemp()), "train", vocab_size=tokenizer.vocab_size, shard_tokens=1 << 30
    ).__enter__()

    def write(texts: list[str]) -> None:
        for encoded in encode_texts(texts, tokenizer):
            writer.append(encoded.ids, encoded.text_bytes)

    return in_batches(write)


def datatrove_tokens() -> Step:
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer

    tokenizer = DocumentTokenizer(
        tempfile.mkdtemp(), str(gpt2() / "tokenizer.json"), shuffle_documents=False
    )

    def write(texts: list[str]) -> None:
        tokenizer.run(iter([Document(text=text, id="") for text in texts]))

    return in_batches(write)


def gpt2() -> Path:
    """A directory with GPT-2's tokenizer."""
    from linnet.tokenizer import adopt

    out = Path(tempfile.mkdtemp()) / "gpt2"
    adopt(str(SHARED / "tokenizers" / "gpt2"), out)
    return out


def in_batches(write: Callable[[list[str]], None]) -> Step:
    """A step that passes on every ``BATCH`` texts at once, as both tokenizers like them."""
    waiting: list[str] = []

    def step(text: str) -> None:
        waiting.append(text)
        if len(waiting) == BATCH:
            write(waiting)
            waiting.clear()

    return step


# ---- how


def measure(prepare: Callable[[], Step], documents: list[str]) -> float:
    """MB a second of processor time for one pass over the documents."""
    step = prepare()
    for document in documents[:WARM_UP]:
        step(document)
    started = time.process_time()
    for document in documents:
        step(document)
    seconds = time.process_time() - started
    return sum(len(document.encode()) for document in documents) / 1e6 / seconds


def texts(name: str, html: Path) -> list[str]:
    """About SAMPLE characters of documents, the same ones each time."""
    if name == "stories":
        whole = (SHARED / "tinystories" / "train.txt").read_text("utf-8")
        found: Iterable[str] = shuffled(whole.split("<|endoftext|>"))
    elif name == "answers":
        lines = (SHARED / "medquad" / "medquad.jsonl").read_text("utf-8").splitlines()
        found = shuffled([json.loads(line)["answer"] or "" for line in lines])
    else:
        from linnet.data.markup.html import html_text

        pages = shuffled(sorted(file for file in html.rglob("*.htm*") if file.is_file()))
        found = (html_text(page.read_text("utf-8", errors="replace")) for page in pages)
    chosen: list[str] = []
    length = 0
    for text in filter(str.strip, found):
        if len(text) > LONGEST:
            continue
        chosen.append(text)
        length += len(text)
        if length >= SAMPLE:
            break
    return chosen


def shuffled(items: list[T]) -> list[T]:
    random.Random(0).shuffle(items)
    return items


def report(name: str, rows: Rows, file: Path, chosen: argparse.Namespace) -> None:
    """Measure each row on both sides in turn and print the medians."""
    number = len(json.loads(file.read_text("utf-8")))
    print(f"\n{name}, {number} documents: MB/s on one core, median of {chosen.runs}")
    print(f"{'':12s}{'linnet':>10s}{'datatrove':>12s}{'ratio':>8s}")
    peer = importlib.util.find_spec("datatrove") and importlib.util.find_spec("spacy")
    for row, (_, theirs) in rows.items():
        sides = ["linnet", "datatrove"] if peer and theirs else ["linnet"]
        runs = [[in_own_process(row, side, file, chosen) for side in sides]
                for _ in range(chosen.runs)]  # fmt: skip
        medians = [statistics.median(figures) for figures in zip(*runs, strict=True)]
        line = f"{row:12s}{medians[0]:10.2f}"
        if len(medians) > 1:
            line += f"{medians[1]:12.2f}{medians[0] / medians[1]:8.1f}"
        print(line, flush=True)


def in_own_process(row: str, side: str, file: Path, chosen: argparse.Namespace) -> float:
    command = [sys.executable, __file__, *chosen.parts, "--measure", row, side, str(file)]
    single = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        command,
        env=os.environ | single,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

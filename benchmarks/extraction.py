"""How well web pages are read, and how fast PDFs are.

    python benchmarks/extraction.py --web DIR
    python benchmarks/extraction.py --pdf FILE...

DIR is ``tests/`` of a checkout of trafilatura (https://github.com/adbar/trafilatura),
its evaluation set: evaldata.json with segments that belong to the main text of
each page (``with``) and that do not (``without``), the pages in cache/ and
eval/. Scored as its eval_common.py does: a segment counts as found when it
occurs in the text, white space made alike. Linnet and the modes of the
installed trafilatura read the same pages in the same run.

PDFs are read by the whole reader in one process, each --runs times; the
fastest counts.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract

Counts = tuple[int, int, int, int]  # true positives, false positives, false negatives, true neg.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--web", type=Path, help="tests/ of a checkout of trafilatura")
    parser.add_argument("--pdf", type=Path, nargs="+", default=[], help="PDF files to time")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.web and (options.web / "evaldata.json").is_file():
        web(options.web)
    else:
        print("web: skipped, no evaldata.json (--web DIR)")
    files = [file for file in options.pdf if file.is_file()]
    if files:
        pdf(files, options.runs)
    else:
        print("pdf: skipped, no files (--pdf FILE...)")


def web(folder: Path) -> None:
    """Precision, recall, accuracy and F1 over all segments of all pages, for each way to read."""
    pages = [
        (page_file(folder, item["file"]), item)
        for item in json.loads((folder / "evaldata.json").read_text("utf-8")).values()
    ]
    print(f"{len(pages)} pages\n{'':24}precision  recall  accuracy      F1   seconds")
    for name, read in ways().items():
        started = time.perf_counter()
        counts = [count(item, read(file)) for file, item in pages]
        seconds = time.perf_counter() - started
        tp, fp, fn, tn = map(sum, zip(*counts, strict=True))
        precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
        accuracy, f1 = (tp + tn) / (tp + fp + fn + tn), 2 * tp / (2 * tp + fp + fn)
        print(
            f"{name:24}{precision:9.4f}{recall:8.4f}{accuracy:10.4f}{f1:8.4f}{seconds:10.0f}",
            flush=True,
        )


def page_file(folder: Path, name: str) -> Path:
    return next(p for p in (folder / "cache" / name, folder / "eval" / name) if p.is_file())


def ways() -> dict[str, Callable[[Path], str]]:
    """Linnet's ways to read a page and those of trafilatura, which is given the bytes."""
    from trafilatura import baseline
    from trafilatura import extract as main_text

    def library(file: Path, **settings: Any) -> str:
        return main_text(
            file.read_bytes(), include_comments=False, include_tables=True, **settings
        ) or ""  # fmt: skip

    return {
        "linnet main": partial(read_text, config=DataConfig(html="main")),
        "linnet full": partial(read_text, config=DataConfig(html="full")),
        "trafilatura": library,
        "trafilatura fast": partial(library, fast=True),
        "trafilatura precision": partial(library, favor_precision=True),
        "trafilatura recall": partial(library, favor_recall=True),
        "trafilatura baseline": lambda file: baseline(file.read_bytes())[1],
    }


def read_text(file: Path, *, config: DataConfig, kind: str = "html") -> str:
    with tempfile.TemporaryDirectory() as scratch:
        context = Context.of_file(config, file.name, Path(scratch))
        try:
            found = list(extract(file, kind=kind, context=context))
        except UnreadableError:
            return ""
    return "\n\n".join(each.text for each in found if isinstance(each, Extracted))


def count(item: dict[str, Any], text: str) -> Counts:
    text = alike(text)
    found = sum(alike(segment) in text for segment in item["with"])
    wrong = sum(alike(segment) in text for segment in item["without"])
    return found, wrong, len(item["with"]) - found, len(item["without"]) - wrong


def alike(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def pdf(files: list[Path], runs: int) -> None:
    """Pages a second of the whole reader."""
    import pypdfium2

    speeds = []
    for file in files:
        with pypdfium2.PdfDocument(file) as document:
            pages = len(document)
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            text = read_text(file, config=DataConfig(), kind="pdf")
            seconds.append(time.perf_counter() - started)
        speeds.append(pages / min(seconds))
        print(f"{file.name:44}{pages:6} pages{len(text):10} characters{speeds[-1]:8.0f} pages/s")
    print(f"median {statistics.median(speeds):.0f} pages/s over {len(files)} files")


if __name__ == "__main__":
    sys.exit(main())

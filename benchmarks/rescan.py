"""How long it takes to see that a large folder has not changed.

A folder of small files is made and surveyed once; what was found goes into a
catalog, as in a corpus. Then a fresh process on one core surveys it again: it
lists the folders, looks at every file's size and time, and must come to the
same fingerprint without opening one of them.

    python benchmarks/rescan.py [--files 100000] [--at DIR]

The clock is around the survey alone. The system's cache of names is warm, as
the files were just written; on a cold or a network drive its speed decides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDERS = 1000
OLD = 1_700_000_000
IGNORED = ["build/", "*.log", "!keep.log", "/out", "**/cache/", "*.py[cod]", "tmp*", "a/**/b"] * 3
CASES = {
    "plain": {},
    "include": {"include": ["*.txt", "*.md"]},
    "gitignore": {"gitignore": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--at", type=Path, help="where to make the folder (default: temporary)")
    parser.add_argument("--survey", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.survey:
        root, corpus, case = options.survey
        print(json.dumps(survey(Path(root), Path(corpus), case)))
        return
    with tempfile.TemporaryDirectory(dir=options.at) as place:
        root, corpus = Path(place) / "docs", Path(place) / "corpus"
        make(root, options.files)
        corpus.mkdir()
        first = write_catalog(root, corpus)
        print(json.dumps({"case": "first, every file hashed", **first}))
        for case in CASES:
            command = [sys.executable, __file__, "--survey", str(root), str(corpus), case]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            if (result["fingerprint"], result["opened"]) != (first["fingerprint"], 0):
                sys.exit(f"{case}: not what the first survey found: {result}")
            print(json.dumps({"case": f"again, {case}", **result}))


def make(root: Path, count: int) -> None:
    for number in range(count):
        folder = root / f"team-{number % 10}" / f"project-{number % FOLDERS}"
        if number < FOLDERS:
            folder.mkdir(parents=True)
        file = folder / f"note-{number:06d}.txt"
        file.write_text(f"Note {number}, of a few words.\n")
        os.utime(file, (OLD, OLD))
    (root / ".git").mkdir()
    (root / ".gitignore").write_text("\n".join(IGNORED))


def write_catalog(root: Path, corpus: Path) -> dict[str, object]:
    from linnet.data.catalog import NAME, Catalog
    from linnet.data.survey import survey

    started = time.perf_counter()
    found = survey([root], corpus=corpus)
    seconds = time.perf_counter() - started
    files = enumerate(zip(found.scan.files, found.contents, strict=True))
    catalog = Catalog(corpus / NAME)
    catalog.add_files((number, file, content) for number, (file, content) in files)
    catalog.close()
    return {
        "files": len(found.contents),
        "seconds": round(seconds, 2),
        "fingerprint": found.fingerprint,
    }


def survey(root: Path, corpus: Path, case: str) -> dict[str, object]:
    """Survey again, on one core where the system lets a process choose."""
    from linnet.data import survey as module

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    opened = 0
    real = module.hash_file

    def counted(path: Path) -> str:
        nonlocal opened
        opened += 1
        return real(path)

    module.hash_file = counted
    started = time.perf_counter()
    found = module.survey([root], corpus=corpus, **CASES[case])
    seconds = time.perf_counter() - started
    return {
        "files": len(found.contents),
        "seconds": round(seconds, 2),
        "opened": opened,
        "fingerprint": found.fingerprint,
    }


if __name__ == "__main__":
    main()

"""How good a model is after a given time, everything counted, beside transformers.Trainer.

From ready shards of TinyStories each trainer gets the same text, the same
tokenizer and a fresh process with an empty compiler cache; the clock runs from
its start to its exit. Scored alike: all tokens of the held-out stories plus one
end token each, over the bytes of the stripped stories.

    python benchmarks/time_to_quality.py --data DIR [--seconds 300] [--runs 3] [--peer]

DIR holds train.txt and val.txt, stories divided by lines ``<|endoftext|>``
(default: $LINNET_TEST_DATA/tinystories). ``--peer`` also trains a Llama of the
same size with transformers.Trainer, at its defaults on CPU (fp32, AdamW, 5e-5)
and with a learning rate that suits so small a model, and then measures Linnet
at a sixth of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = Path(__file__).with_name("trainer_peer.py")
GOAL = 0.92  # bits per byte in five minutes
TUNED_LR = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = os.environ.get("LINNET_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(shared) / "tinystories")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("options", nargs="*", help="more options for linnet train, after --")
    chosen = parser.parse_args()
    if not (chosen.data / "train.txt").is_file():
        sys.exit(f"skipped: there is no {chosen.data / 'train.txt'}")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        make_shards(chosen.data / "train.txt", work, chosen.vocabulary)
        held_out = chosen.data / "val.txt"
        report(
            "linnet", [linnet(work, held_out, chosen.seconds, chosen) for _ in range(chosen.runs)]
        )
        if chosen.peer:
            compare(work, held_out, chosen)


def compare(work: Path, held_out: Path, chosen: argparse.Namespace) -> None:
    """The Trainer for the whole time, Linnet for a sixth of it."""
    figures = {}
    for name, rate in (("defaults", 5e-5), ("tuned rate", TUNED_LR)):
        found = [trainer(work, held_out, chosen.seconds, rate) for _ in range(chosen.runs)]
        figures[name] = report(f"transformers.Trainer, {name} ({rate})", found)
    short = chosen.seconds / 6
    ours = report("linnet", [linnet(work, held_out, short, chosen) for _ in range(chosen.runs)])
    for name, figure in figures.items():
        verdict = "reached" if ours <= figure else "not reached"
        print(f"Trainer's {figure:.3f} ({name}) {verdict} in a sixth of the time: {ours:.3f}")


def make_shards(text: Path, work: Path, vocabulary: int) -> None:
    """Corpus, tokenizer and shards; not part of the time."""
    run("data", "prepare", text, "--out", work / "corpus", "--validation-fraction", 0.01,
        "--test-fraction", 0)  # fmt: skip
    run("tokenizer", "train", work / "corpus", "--vocab-size", vocabulary,
        "--out", work / "tokenizer")  # fmt: skip
    run("data", "encode", work / "corpus", work / "tokenizer", "--out", work / "shards")


def linnet(
    work: Path, held_out: Path, seconds: float, chosen: argparse.Namespace
) -> tuple[float, float]:
    """Train for ``seconds``; return (wall seconds, bits per byte)."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        cold = {"TORCHINDUCTOR_CACHE_DIR": str(Path(scratch) / "compiled")}
        started = time.monotonic()
        run(
            "train",
            work / "shards",
            "--out",
            model,
            "--seconds",
            seconds,
            *chosen.options,
            env=cold,
        )
        wall = time.monotonic() - started
        return wall, score(model, held_out)


def trainer(work: Path, held_out: Path, seconds: float, rate: float) -> tuple[float, float]:
    """The same for transformers.Trainer."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        command = [sys.executable, PEER, work / "shards", model, seconds, rate]
        started = time.monotonic()
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - started
        return wall, score(model, held_out)


def score(model: Path, held_out: Path) -> float:
    found = run("evaluate", model, held_out, "--json", "--samples", 0, "--baseline-bytes", 0)
    return float(json.loads(found)["bits_per_byte"])


def report(name: str, found: list[tuple[float, float]]) -> float:
    """Print every run and the median; return the median bits per byte."""
    for wall, bits in found:
        print(f"{name}: {bits:.4f} bits per byte in {wall:.1f} s", flush=True)
    median = statistics.median(bits for _, bits in found)
    print(f"{name}: median {median:.4f} of {len(found)}", flush=True)
    return median


def run(*arguments: object, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "linnet", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | (env or {}), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()

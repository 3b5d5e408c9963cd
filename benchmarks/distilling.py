"""A student with and without a teacher, in the same time.

    python benchmarks/distilling.py TEACHER TEXT --work DIR [--seconds 100] [--width 256]
        [--depth 2] [--tokens 1000000] [--k 64] [--ways plain live saved own]

The students go one after the other, each in a process of its own with one thread and as many
seconds: ``plain`` learns from the text alone, ``live`` from the teacher beside, ``saved`` from its
saved logits (what saving them cost is shown, and is not in these seconds), ``own`` as ``live`` with
a quarter of the rows its own samples. Shown are nats per token of the same held-out text, updates,
and processor seconds, which are what to compare on a busy machine: there, give ``--steps WAY=N``
such that they are equal.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS = ("plain", "live", "saved", "own")


def learn(options: argparse.Namespace, way: str) -> None:
    """One student; its figures as JSON."""
    import torch

    from linnet.distil.config import DistilConfig
    from linnet.distil.distil import distil_model

    torch.set_num_threads(1)
    steps = dict(each.split("=") for each in options.steps)
    common: dict[str, Any] = {"threads": 1, "tokens": options.tokens}
    own: dict[str, Any] = {
        **common, "width": options.width, "depth": options.depth, "sample_interval": 1_000_000,
        "batch_tokens": options.batch, "validation_interval": 1_000_000,
        "steps": int(steps.get(way, 0)), "seconds": 0.0 if way in steps else options.seconds,
    }  # fmt: skip
    teacher, saving = options.teacher, 0.0
    if way == "plain":
        own["teacher_weight"] = 0.0
    elif way == "own":
        own |= {"own_samples": 0.25, "max_tokens": 64}
    elif way == "saved":
        begun, teacher = time.process_time(), options.work / "logits"
        distil_model(
            options.teacher, options.text, teacher, DistilConfig(**common, save_logits=options.k)
        )
        saving = time.process_time() - begun
    begun = time.process_time()
    stats = distil_model(teacher, options.text, options.work / way, DistilConfig(**own)).stats
    names = ("steps", "parameters", "teacher_parameters", "start_loss", "validation_loss",
             "teacher_loss")  # fmt: skip
    found = {name: stats[name] for name in names if name in stats}
    print(json.dumps({**found, "processor": time.process_time() - begun, "saving": saving}))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--steps", nargs="*", default=[], metavar="WAY=N")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.one:
        learn(options, options.one)
        return
    for way in options.ways:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--one", way], check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        teacher = f", teacher {found['teacher_loss']:.3f}" if "teacher_loss" in found else ""
        saving = f", saving {found['saving']:.0f} s" if found["saving"] else ""
        print(
            f"{way}: {found['start_loss']:.3f} -> {found['validation_loss']:.3f} nats per token"
            f"{teacher}; {found['steps']:,} updates, {found['processor']:.0f} s of processor time"
            f"{saving}; {found['parameters']:,} parameters",
            flush=True,
        )


if __name__ == "__main__":
    main()

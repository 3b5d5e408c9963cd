"""Half a model, pruned and distilled, beside the same shape trained from scratch in the same time.

    python benchmarks/pruning.py MODEL SHARDS --judge TEXT [--judge TEXT ...] --work DIR
        [--seconds 480] [--width 320 --mlp-width 1024 --kv-heads 5] [--tokens 20000]

Both runs go at the same time, each in a process of its own with one thread, on the same shards, so
that a busy machine slows both alike. Judged by bits per byte of each text (``linnet``'s own count:
nats of every token but the first of each row of the model's context, over the bytes of all), with
95 % intervals of the difference over rows.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np


def prune(options: argparse.Namespace) -> None:
    """``linnet prune``."""
    from linnet.compress.prune import prune_model
    from linnet.compress.prune_config import PruneConfig

    prune_model(
        options.model, options.shards, options.work / "pruned",
        PruneConfig(
            width=options.width, mlp_width=options.mlp_width, kv_heads=options.kv_heads,
            seconds=options.seconds, threads=1, tokens=100_000_000, batch_tokens=options.batch,
            lr=options.lr,
        ),
    )  # fmt: skip


def scratch(options: argparse.Namespace) -> None:
    """``linnet train``."""
    from linnet.model import load_model
    from linnet.train.config import TrainConfig
    from linnet.train.pretraining import train

    config = load_model(options.model).config
    train(
        options.shards, options.work / "scratch",
        TrainConfig(
            family=config.family, depth=config.depth, width=options.width,
            mlp_width=options.mlp_width, head_width=config.head_width, tied=config.tied,
            context=config.context, batch_tokens=options.batch, seconds=options.seconds, threads=1,
        ),
    )  # fmt: skip


def bits(model: Path, text: Path, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits and bytes of each row of a text."""
    import torch

    from linnet.model import load_model
    from linnet.tokenizer import load

    torch.set_num_threads(1)
    read, tokenizer = load_model(model, dtype=torch.float32).eval(), load(model)
    ids = tokenizer.encode_arrays([text.read_text(encoding="utf-8")])[0][:tokens].astype("int64")
    found, sizes = [], []
    for start in range(0, len(ids) - 1, read.config.context):
        row = torch.from_numpy(ids[start : start + read.config.context])[None]
        with torch.no_grad():
            scores = read(row)[0, :-1].log_softmax(-1)
        found.append(-float(scores.gather(1, row[0, 1:, None]).sum()) / math.log(2))
        sizes.append(len(tokenizer.decode(row[0, 1:].tolist()).encode()))
    return np.array(found), np.array(sizes)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--judge", type=Path, action="append", default=[])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--mlp-width", type=int, default=1024)
    parser.add_argument("--kv-heads", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4096, help="tokens of an update")
    parser.add_argument("--lr", type=float, default=0.0, help="of distillation")
    parser.add_argument("--tokens", type=int, default=20_000, help="to judge by, of each text")
    parser.add_argument("--only", choices=("prune", "scratch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        {"prune": prune, "scratch": scratch}[options.only](options)
        return
    running = [  # at the same time
        subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--only", only])
        for only in ("prune", "scratch")
    ]
    codes = [each.wait() for each in running]
    if any(codes):
        raise SystemExit("one of the runs failed")
    names = {"whole": options.model, **{n: options.work / n for n in ("pruned", "scratch")}}
    for name, place in names.items():
        config = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        stats = {key: config["stats"].get(key) for key in ("parameters", "steps", "tokens")}
        print(name, stats, flush=True)
    draw = np.random.default_rng(0)
    for text in options.judge:
        found = {name: bits(place, text, options.tokens) for name, place in names.items()}
        sizes = found["whole"][1]
        line = ", ".join(f"{name} {b.sum() / s.sum():.4f}" for name, (b, s) in found.items())
        change = found["pruned"][0] - found["scratch"][0]
        rows = draw.integers(0, len(change), (2000, len(change)))
        low, high = np.percentile(change[rows].sum(1) / sizes[rows].sum(1), [2.5, 97.5])
        mean = change.sum() / sizes.sum()
        print(f"{text.name}: bits per byte {line}")
        print(f"  pruned less scratch {mean:+.4f} ({low:+.4f} to {high:+.4f})", flush=True)


if __name__ == "__main__":
    main()

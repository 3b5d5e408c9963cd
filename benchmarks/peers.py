"""What the benchmarks of writing share: models of three shapes, and processes to compare.

Each peer computes in a process of its own: threads of several libraries in one process wait for
each other otherwise, and all are measured slower than they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# width, depth, heads, kv heads, MLP width, vocabulary
SHAPES = {
    "4m": (192, 8, 3, 3, 512, 4096),
    "15m": (288, 6, 6, 6, 768, 32000),
    "135m": (576, 30, 9, 3, 1536, 49152),
}
CONTEXT = 2048
TEXTS = ["The fox met a hen; the hen ran home, and the fox sang: tra la la! " * 20]


def make_checkpoint(shape: str, out: Path) -> Path:
    """A model of this shape with random weights, every token of which is a word."""
    import torch

    from linnet.model import ModelConfig, Transformer, save_checkpoint
    from linnet.tokenizer import TokenizerConfig, train

    width, depth, heads, kv_heads, mlp, vocabulary = SHAPES[shape]
    words = out / "tokenizer"
    train(TEXTS, words, TokenizerConfig(vocab_size=300), inputs={})
    file = words / "tokenizer.json"
    raw = json.loads(file.read_text("utf-8"))
    known = raw["model"]["vocab"]
    taken = {*known.values(), *(entry["id"] for entry in raw["added_tokens"])}
    known.update({f"Ġw{token}": token for token in range(vocabulary) if token not in taken})
    file.write_text(json.dumps(raw), encoding="utf-8")
    config = ModelConfig(
        family="llama", vocab_size=vocabulary, context=CONTEXT, width=width, depth=depth,
        heads=heads, kv_heads=kv_heads, head_width=width // heads, mlp_width=mlp, norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(1)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.04)
    path = out / shape
    path.mkdir()
    save_checkpoint(model, path, tokenizer=words)
    return path


class Other:
    """A process that answers: the same script, started with ``--as-peer`` and settings."""

    def __init__(self, script: str, settings: Any, *, python: str = sys.executable) -> None:
        """What the script says first is kept as ``greeting``."""
        self.process = subprocess.Popen(
            [python, script, "--as-peer", json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.greeting = self._read()

    def ask(self, question: Any) -> Any:
        """Its answer to one question."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit("a peer's process ended; run it with --as-peer to see why")


def answer(work: Callable[[Any], Any], *, greeting: Any = None) -> None:
    """The other side of :class:`Other`: answer questions until nobody asks."""
    print("@" + json.dumps(greeting), flush=True)
    for line in sys.stdin:
        print("@" + json.dumps(work(json.loads(line))), flush=True)

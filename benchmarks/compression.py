"""What GPTQ is worth beside rounding: bits per byte of held-out text, at the same size.

    python benchmarks/compression.py MODEL TEXT [--formats q4_0,q4_k] [--tokens 20000]

TEXT is a file, a folder or a corpus: its first part is what GPTQ is fitted on, the rest is read by
each file. Fitting texts are judged by too, in the column beside. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text")
    parser.add_argument("--formats", default="q8_0,q5_k,q4_k,q4_0,iq4_nl,q3_k,q2_k")
    parser.add_argument("--tokens", type=int, default=20_000, help="to fit on")
    parser.add_argument("--judged", type=int, default=20_000, help="tokens to judge by")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from linnet.compress.blockwise import make_smaller
    from linnet.compress.importance import measure_importance
    from linnet.export.gguf import planned_format
    from linnet.gguf.architectures import tensors
    from linnet.model import load_model
    from linnet.tokenizer import load

    model = load_model(options.model, dtype=torch.float32).eval()
    tokenizer = load(options.model)
    fitted, judged = _texts(options)
    size = sum(len(tokenizer.decode(row[0].tolist()).encode()) for row in judged)
    importance = measure_importance(model, fitted)
    shapes = [(name, tuple(values.shape)) for name, values in tensors(model)]
    print(f"{model.config.parameters / 1e6:.1f} M parameters; fitted on "
          f"{sum(row.numel() for row in fitted):,} tokens, judged by "
          f"{sum(row.numel() for row in judged):,}")  # fmt: skip
    whole = _bits(model, judged, size)
    print(f"{'format':8} {'MB':>6} {'rounded':>8} {'weighted':>8} {'gptq':>8} {'scaled':>8}   "
          f"seconds\n{'f32':8} {'':6} {whole:8.4f}")  # fmt: skip
    for type in options.formats.split(","):
        formats = {name: planned_format(name, shape, type, {}) for name, shape in shapes}
        found, seconds, ways = [], [], ""
        for scale in (False, True):
            begun = time.process_time()
            made = make_smaller(copy.deepcopy(model), fitted, formats, scale=scale)
            seconds.append(time.process_time() - begun)
            read, bytes_ = _read(options.model, type, {"stored": made.stored}, model)
            found.append(_bits(read, judged, size))
            counted = Counter(each.way + (" scaled" if each.strength else "")
                              for each in made.choices.values())  # fmt: skip
            ways = ", ".join(f"{count} {way}" for way, count in sorted(counted.items()))
        plain, _ = _read(options.model, type, {}, model)
        weighed, _ = _read(options.model, type, {"importance": importance}, model)
        figures = [_bits(plain, judged, size), _bits(weighed, judged, size), *found]
        print(f"{type:8} {bytes_ / 1e6:6.2f} " + " ".join(f"{each:8.4f}" for each in figures)
              + f"   {seconds[0]:.0f}, {seconds[1]:.0f} ({ways})", flush=True)  # fmt: skip


def _texts(options: argparse.Namespace) -> tuple[list[Tensor], list[Tensor]]:
    """Texts to fit on, and others."""
    from linnet.finetune.config import ExamplesConfig
    from linnet.finetune.replay import general_text
    from linnet.tokenizer import load

    text = general_text(
        Path(options.text), load(options.model), ExamplesConfig(context=options.context),
        replay_tokens=options.tokens, held_out_tokens=options.judged,
    )  # fmt: skip
    return (
        [torch.from_numpy(example.tokens.astype("int64"))[None] for example in text.replay],
        [torch.from_numpy(example.tokens.astype("int64"))[None] for example in text.held_out],
    )


def _read(
    path: Path, type: str, given: Mapping[str, Any], model: Transformer
) -> tuple[Transformer, int]:
    """A file as llama.cpp would read it, and its size."""
    from linnet.export.config import ExportConfig
    from linnet.export.gguf import export_gguf
    from linnet.gguf.metadata import read_unchecked
    from linnet.gguf.weights import dequantised, numbers_within

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "model.gguf"
        export_gguf(path, file, ExportConfig(type=type), open_once=False, **given)
        numbers = numbers_within(read_unchecked(file).values, model.config)
        return dequantised(file, model.config, numbers=numbers), file.stat().st_size


@torch.no_grad()
def _bits(model: Transformer, rows: Sequence[Tensor], size: int) -> float:
    total = 0.0
    for row in rows:
        scores = model(row)[0, :-1].log_softmax(-1)
        total -= float(scores.gather(1, row[0, 1:, None]).sum())
    return total / math.log(2) / size


if __name__ == "__main__":
    main()

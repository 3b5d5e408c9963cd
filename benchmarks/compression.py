"""What GPTQ is worth beside rounding: bits per byte of held-out text, at the same size.

    python benchmarks/compression.py MODEL TEXT [--judge FILE ...] [--formats q4_0,q4_k]

TEXT is a file, a folder or a corpus: its first part is what GPTQ is fitted on, the rest is read by
each file. With --judge each of these texts is read instead. Seconds are of the processor.
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
    from linnet.tokenizer import Tokenizer


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text")
    parser.add_argument("--formats", default="q8_0,q5_k,q4_k,q4_0,iq4_nl,q3_k,q2_k")
    parser.add_argument("--tokens", type=int, default=20_000, help="to fit on")
    parser.add_argument("--judge", type=Path, action="append", default=[], help="a text to read")
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
    fitted, rest = _texts(options)
    judged = {each.name: _rows(each, tokenizer, options) for each in options.judge}
    judged = judged or {"the rest": rest}
    sizes = {
        name: sum(len(tokenizer.decode(row[0].tolist()).encode()) for row in rows)
        for name, rows in judged.items()
    }

    def bits(read: Transformer) -> list[float]:
        return [_bits(read, rows, sizes[name]) for name, rows in judged.items()]

    importance = measure_importance(model, fitted)
    shapes = [(name, tuple(values.shape)) for name, values in tensors(model)]
    print(f"{model.config.parameters / 1e6:.1f} M parameters; fitted on "
          f"{sum(row.numel() for row in fitted):,} tokens, judged by "
          + ", ".join(f"{name}: {sum(row.numel() for row in rows):,}"
                      for name, rows in judged.items()))  # fmt: skip
    print(f"{'format':8} {'MB':>6} {'rounded':>8} {'weighted':>8} {'gptq':>8} {'scaled':>8}  text")
    for name, figure in zip(judged, bits(model), strict=True):
        print(f"{'f32':8} {'':6} {figure:8.4f} {'':26}  {name}", flush=True)
    for type in options.formats.split(","):
        formats = {name: planned_format(name, shape, type, {}) for name, shape in shapes}
        found, seconds, ways = [], [], ""
        for scale in (False, True):
            begun = time.process_time()
            made = make_smaller(copy.deepcopy(model), fitted, formats, scale=scale)
            seconds.append(time.process_time() - begun)
            read, bytes_ = _read(options.model, type, {"stored": made.stored}, model)
            found.append(bits(read))
            counted = Counter(each.way + (" scaled" if each.strength else "")
                              for each in made.choices.values())  # fmt: skip
            ways = ", ".join(f"{count} {way}" for way, count in sorted(counted.items()))
        plain, _ = _read(options.model, type, {}, model)
        weighed, _ = _read(options.model, type, {"importance": importance}, model)
        for name, *figures in zip(judged, bits(plain), bits(weighed), *found, strict=True):
            print(f"{type:8} {bytes_ / 1e6:6.2f} " + " ".join(f"{each:8.4f}" for each in figures)
                  + f"  {name}", flush=True)  # fmt: skip
        print(f"{'':8} {seconds[0]:.0f} and {seconds[1]:.0f} s; {ways}", flush=True)


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


def _rows(text: Path, tokenizer: Tokenizer, options: argparse.Namespace) -> list[Tensor]:
    """The beginning of a text, in rows of the context."""
    ids = tokenizer.encode_arrays([text.read_text(encoding="utf-8")])[0][: options.judged]
    return [part[None] for part in torch.from_numpy(ids.astype("int64")).split(options.context)]


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

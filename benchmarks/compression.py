"""What GPTQ is worth beside rounding: bits per byte of held-out text, at the same size.

    python benchmarks/compression.py MODEL TEXT [--judge FILE ...] [--formats q4_0,q4_k]

TEXT is a file, a folder or a corpus: its first part is what GPTQ is fitted on, the rest is read by
each file. With --judge each of these texts is read instead. Seconds are of the processor. With
--no-fit GGUF's formats are rounded only, with and without an importance matrix.

Formats are GGUF's, and torch's own: int4:32, int4:64z (z: with zeros), int8:row. With --speed their
tokens per second are measured instead, of one text and of eight, beside plain numbers, int8 with
rounded inputs, and llama.cpp's q8_0 and q4_0; TEXT gives the prompts.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    parser.add_argument("--no-fit", action="store_true", help="no GPTQ")
    parser.add_argument("--speed", action="store_true", help="tokens per second instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.speed:
        _print_speeds(options)
        return
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
        if type.startswith("int"):
            _print_packed(type, options, model, fitted, bits, list(judged))
            continue
        formats = {name: planned_format(name, shape, type, {}) for name, shape in shapes}
        found, seconds, ways = [], [], ""
        for scale in () if options.no_fit else (False, True):
            begun = time.process_time()
            made = make_smaller(copy.deepcopy(model), fitted, formats, scale=scale)
            seconds.append(time.process_time() - begun)
            read, _ = _read(options.model, type, {"stored": made.stored}, model)
            found.append(bits(read))
            counted = Counter(each.way + (" scaled" if each.strength else "")
                              for each in made.choices.values())  # fmt: skip
            ways = ", ".join(f"{count} {way}" for way, count in sorted(counted.items()))
        plain, bytes_ = _read(options.model, type, {}, model)
        weighed, _ = _read(options.model, type, {"importance": importance}, model)
        for name, *figures in zip(judged, bits(plain), bits(weighed), *found, strict=True):
            print(f"{type:8} {bytes_ / 1e6:6.2f} " + " ".join(f"{each:8.4f}" for each in figures)
                  + f"  {name}", flush=True)  # fmt: skip
        if seconds:
            print(f"{'':8} {seconds[0]:.0f} and {seconds[1]:.0f} s; {ways}", flush=True)


def _print_packed(
    type: str, options: argparse.Namespace, model: Transformer, fitted: Sequence[Tensor],
    bits: Callable[[Transformer], list[float]], names: Sequence[str],
) -> None:  # fmt: skip
    """The figures of a directory with whole numbers, as it is read."""
    from linnet.compress.packed import write_packed
    from linnet.model import load_model

    figures, seconds, ways, size = [], [], "", 0
    for rows, scale in (((), False), (fitted, False), (fitted, True)):
        with tempfile.TemporaryDirectory() as directory:
            path, begun = Path(directory), time.process_time()
            config = _packed_config(type, scale=scale)
            made = write_packed(copy.deepcopy(model), options.model, path, config, rows)
            seconds.append(time.process_time() - begun)
            figures.append(bits(load_model(path, packed=True)))
            size = (path / "model.safetensors").stat().st_size
            counted = Counter(each.way + (" scaled" if each.strength else "") for each in made)
            ways = ", ".join(f"{count} {way}" for way, count in sorted(counted.items()))
    for name, plain, by_gptq, scaled in zip(names, *figures, strict=True):
        print(f"{type:8} {size / 1e6:6.2f} {plain:8.4f} {'':8} {by_gptq:8.4f} {scaled:8.4f}"
              f"  {name}", flush=True)  # fmt: skip
    print(f"{'':8} {seconds[1]:.0f} and {seconds[2]:.0f} s; {ways}", flush=True)


def _packed_config(type: str, *, scale: bool = True) -> Any:
    from linnet.export.config import PackedConfig

    kind, _, group = type.partition(":")
    return PackedConfig(  # what is no such type or group is refused
        type=kind, group=group.removesuffix("z") or "auto", zero=group.endswith("z"), scale=scale,  # type: ignore[arg-type]
    )  # fmt: skip


def _print_speeds(options: argparse.Namespace) -> None:
    from linnet.bench.comparison import ask
    from linnet.compress.packed import write_packed
    from linnet.model import load_model

    text = options.text if Path(options.text).is_file() else next(Path(options.text).rglob("*.txt"))
    asked = {
        "texts": [Path(text).read_text("utf-8")[:8000]], "prompt_tokens": 64, "new_tokens": 64,
        "slots": 8, "repeats": 3, "lookup": "off", "draft": "", "threads": options.threads,
    }  # fmt: skip
    print(f"{'':18} {'one':>7} {'eight':>7}  peak MB")

    def measure(name: str, place: Path, engine: str, precision: str) -> None:
        told = ask(engine, precision, {**asked, "model": str(place)})
        if isinstance(told, str):
            print(f"{name:18} {told}", flush=True)
        else:
            print(f"{name:18} {told['one']:7.0f} {told['many']:7.0f} "
                  f"{(told['peak_bytes'] or 0) / 1e6:8.0f}", flush=True)  # fmt: skip

    for precision in ("f32", "bf16", "int8"):
        measure(f"torch {precision}", options.model, "torch", precision)
    for type in options.formats.split(","):
        if not type.startswith("int"):
            continue
        with tempfile.TemporaryDirectory() as directory:
            model = load_model(options.model, dtype=torch.float32)
            write_packed(model, options.model, Path(directory), _packed_config(type))
            for precision in ("f32", "bf16"):
                measure(f"{type} in {precision}", Path(directory), "torch", precision)
    for precision in ("q8_0", "q4_0"):
        measure(f"llama.cpp {precision}", options.model, "llama.cpp", precision)


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

"""How fast texts are written: Linnet's torch engine beside transformers, on the same weights.

    python benchmarks/generation.py --shapes 4m 15m --threads 2

For each shape (random weights in fp32, in a checkpoint that both read) greedy texts of the same
length, one alone and sixteen together, by turns, so that both meet the same load; the best and the
median of the turns are shown: exact, and with weights of 8 bits. transformers also in bf16 where
asked. Then the time to the first token of a prompt, and of another that shares its beginning.
With --cpu, seconds of processor time stand for those of the clock, which other programs disturb.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from linnet.generate import Request, Sampling
from linnet.generate.torch_engine import TorchEngine
from linnet.model import ModelConfig, Transformer, load_checkpoint, save_checkpoint
from linnet.tokenizer import TokenizerConfig, train

# width, depth, heads, kv heads, MLP width, vocabulary
SHAPES = {
    "4m": (192, 8, 3, 3, 512, 4096),
    "15m": (288, 6, 6, 6, 768, 32000),
    "135m": (576, 30, 9, 3, 1536, 49152),
}
CONTEXT = 2048
TEXTS = ["The fox met a hen; the hen ran home, and the fox sang: tra la la! " * 20]


def make_checkpoint(shape: str, out: Path) -> Path:
    """A model of this shape with random weights, whose texts do not end."""
    width, depth, heads, kv_heads, mlp, vocabulary = SHAPES[shape]
    train(TEXTS, out / "tokenizer", TokenizerConfig(vocab_size=300), inputs={})
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
    save_checkpoint(model, path, tokenizer=out / "tokenizer")
    return path


def prompts(count: int, length: int, vocabulary: int) -> list[list[int]]:
    """Different prompts of the same length."""
    random = torch.Generator().manual_seed(7)
    return torch.randint(5, vocabulary, (count, length), generator=random).tolist()


def ours(engine: TorchEngine, rows: list[list[int]], tokens: int) -> int:
    """Write on with Linnet; how many tokens came."""
    sampling = Sampling(temperature=0, max_tokens=tokens)
    found = engine.generate([Request(tuple(row), sampling) for row in rows])
    return sum(len(one.tokens) for one in found)


@torch.inference_mode()
def theirs(model: Any, rows: list[list[int]], tokens: int) -> int:
    """Write on with transformers."""
    ids = torch.tensor(rows)
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return int(found.shape[0] * (found.shape[1] - ids.shape[1]))


def rates(
    ways: dict[str, Callable[[], int]], rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Tokens per second of each way, by turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            tokens = way()
            if turn:  # the first turn warms up
                found[name].append(tokens / (clock() - started))
    return {
        name: {"best": max(values), "median": statistics.median(values)}
        for name, values in found.items()
    }


def first_tokens(
    engine: TorchEngine, vocabulary: int, length: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds to the first token of a long prompt, and of one that shares most of it."""
    shared = prompts(1, length, vocabulary)[0]
    seconds = []
    for end in prompts(2, 16, vocabulary):
        stream = engine.stream(Request((*shared, *end), Sampling(temperature=0, max_tokens=8)))
        started = clock()
        next(stream)
        seconds.append(clock() - started)
        list(stream)
    return {"first": seconds[0], "second": seconds[1], "share": seconds[1] / seconds[0]}


def compare(shape: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one shape."""
    from transformers import AutoModelForCausalLM

    path = make_checkpoint(shape, out)
    vocabulary = SHAPES[shape][-1]
    engine = TorchEngine(load_checkpoint(path), prefix_bytes=0)
    rounded = TorchEngine(load_checkpoint(path), prefix_bytes=0, int8=True)
    engine.stop_ids = rounded.stop_ids = frozenset()
    clock = time.process_time if options.cpu else time.perf_counter
    result: dict[str, Any] = {}
    peers = {"transformers": AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)}
    if options.bf16:
        peers["transformers bf16"] = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16
        )
    for count in (1, 16):
        rows = prompts(count, options.prompt, vocabulary)
        ways: dict[str, Callable[[], int]] = {
            "linnet": lambda rows=rows: ours(engine, rows, options.tokens),  # type: ignore[misc]
            "linnet int8": lambda rows=rows: ours(  # type: ignore[misc]
                rounded, rows, options.tokens
            ),
        }
        for name, model in peers.items():
            ways[name] = lambda rows=rows, model=model: theirs(  # type: ignore[misc]
                model, rows, options.tokens
            )
        found = rates(ways, options.rounds, clock)
        best = max(found[name]["best"] for name in peers)
        result[f"{count} texts"] = {**found, "ratio of best": found["linnet"]["best"] / best}
    engine.close()
    rounded.close()
    caching = TorchEngine(load_checkpoint(path))
    caching.stop_ids = frozenset()
    ours(caching, prompts(1, 8, vocabulary), 8)
    result["first token"] = first_tokens(caching, vocabulary, 1000, clock)
    caching.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="measure processor time")
    parser.add_argument("--bf16", action="store_true", help="transformers in bf16 as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as out:
        for shape in options.shapes:
            place = Path(out) / f"of-{shape}"
            place.mkdir()
            print(json.dumps({shape: compare(shape, place, options)}, indent=1), flush=True)


if __name__ == "__main__":
    main()

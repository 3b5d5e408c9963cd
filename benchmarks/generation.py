"""How fast texts are written: Linnet's torch engine beside transformers, on the same weights.

    python benchmarks/generation.py --shapes 4m 15m --threads 2

For each shape (random weights in fp32, in a checkpoint that both read) greedy texts of the same
length, one alone and sixteen together, by turns, so that both meet the same load; the best and the
median of the turns are shown, and how many times the faster of transformers in fp32 and bf16 that
is: exact, and with weights of 8 bits. Then the time to the first token of a prompt, and of another
that shares its beginning. With --cpu, seconds of processor time stand for those of the clock, which
other programs disturb.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers import SHAPES, Other, answer, make_checkpoint

if TYPE_CHECKING:
    from linnet.generate.torch_engine import TorchEngine

WAYS = ("linnet", "linnet int8", "transformers", "transformers bf16")
SHARED = 1000  # tokens that two prompts have in common


def prompts(count: int, length: int, vocabulary: int, turn: int) -> list[list[int]]:
    """Different prompts of the same length."""
    numbers = random.Random(turn)
    return [[numbers.randrange(5, vocabulary) for _ in range(length)] for _ in range(count)]


# --- in a peer's process ---------------------------------------------------------------------


def be_peer(settings: dict[str, Any]) -> None:
    """Answer questions with one way of writing."""
    import torch

    torch.set_num_threads(settings["threads"])
    clock = time.process_time if settings["cpu"] else time.perf_counter
    way, path = settings["way"], Path(settings["path"])
    if way.startswith("transformers"):
        write = theirs(path, bf16=way.endswith("bf16"))
    else:
        engine = ours(path, int8=way.endswith("int8"), caching=settings["caching"])
        write = writer(engine)

    def work(question: dict[str, Any]) -> Any:
        if "first" in question:
            return [first_token(engine, row, clock) for row in question["first"]]
        started = clock()
        tokens = write(question["rows"], question["tokens"])
        return tokens / (clock() - started)

    answer(work)


def ours(path: Path, *, int8: bool, caching: bool) -> TorchEngine:
    """Linnet's engine, with texts that do not end by themselves."""
    from linnet.generate.torch_engine import TorchEngine
    from linnet.model import load_checkpoint

    more = {} if caching else {"prefix_bytes": 0}
    engine = TorchEngine(load_checkpoint(path), int8=int8, **more)
    engine.stop_ids = frozenset()
    return engine


def writer(engine: TorchEngine) -> Callable[[list[list[int]], int], int]:
    """Writes on with Linnet; gives how many tokens came."""
    from linnet.generate import Request, Sampling

    def write(rows: list[list[int]], tokens: int) -> int:
        sampling = Sampling(temperature=0, max_tokens=tokens)
        found = engine.generate([Request(tuple(row), sampling) for row in rows])
        return sum(len(one.tokens) for one in found)

    return write


def theirs(path: Path, *, bf16: bool) -> Callable[[list[list[int]], int], int]:
    """Writes on with transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if bf16 else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()

    @torch.inference_mode()
    def write(rows: list[list[int]], tokens: int) -> int:
        ids = torch.tensor(rows)
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        return int(found.shape[0] * (found.shape[1] - ids.shape[1]))

    return write


def first_token(engine: TorchEngine, row: list[int], clock: Callable[[], float]) -> float:
    """Seconds until the first token that follows a prompt."""
    from linnet.generate import Request, Sampling

    stream = engine.stream(Request(tuple(row), Sampling(temperature=0, max_tokens=8)))
    started = clock()
    next(stream)
    seconds = clock() - started
    list(stream)
    return seconds


# --- comparison ------------------------------------------------------------------------------


def compare(shape: str, path: Path, options: argparse.Namespace) -> None:
    """All figures of one shape."""
    vocabulary = SHAPES[shape][-1]
    settings = {
        "path": str(path), "threads": options.threads, "cpu": options.cpu, "caching": False
    }  # fmt: skip
    ways = [way for way in WAYS if options.bf16 or not way.endswith("bf16")]
    peers = {way: Other(__file__, {**settings, "way": way}) for way in ways}
    for count in (1, 16):
        found: dict[str, list[float]] = {way: [] for way in peers}
        for turn in range(options.rounds + 1):
            rows = prompts(count, options.prompt, vocabulary, turn)
            for way, peer in peers.items():
                rate = peer.ask({"rows": rows, "tokens": options.tokens})
                if turn:  # the first warms up
                    found[way].append(rate)
        show(f"{shape:>5} {count:2} texts", found)
    for peer in peers.values():
        peer.close()
    caching = Other(__file__, {**settings, "way": "linnet", "caching": True})
    caching.ask({"rows": prompts(1, 8, vocabulary, 0), "tokens": 8})
    shares = []
    for turn in range(1, options.rounds + 1):
        (shared,) = prompts(1, SHARED, vocabulary, turn)
        rows = [shared + end for end in prompts(2, 16, vocabulary, -turn)]
        first, second = caching.ask({"first": rows})
        shares.append((second / first, first, second))
    share, first, second = statistics.median_low(shares)
    print(
        f"{shape:>5} first token of {SHARED + 16} tokens {first * 1000:.1f} ms, of as many that "
        f"share {SHARED} of them {second * 1000:.1f} ms: {share:.3f}",
        flush=True,
    )
    caching.close()


def show(what: str, found: dict[str, list[float]]) -> None:
    """One line for each way."""
    theirs = [rates for way, rates in found.items() if way.startswith("transformers")]
    best = max(max(rates) for rates in theirs)
    usual = max(statistics.median(rates) for rates in theirs)
    for way, rates in found.items():
        print(
            f"{what}  {way:17} best {max(rates):8.1f}  median {statistics.median(rates):8.1f} "
            f"tokens/s  {max(rates) / best:5.2f}x  {statistics.median(rates) / usual:5.2f}x",
            flush=True,
        )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="measure processor time")
    parser.add_argument("--bf16", action="store_true", help="transformers in bf16 as well")
    parser.add_argument("--as-peer", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        be_peer(options.as_peer)
        return
    with tempfile.TemporaryDirectory() as out:
        for shape in options.shapes:
            place = Path(out) / f"of-{shape}"
            place.mkdir()
            compare(shape, make_checkpoint(shape, place), options)


if __name__ == "__main__":
    main()

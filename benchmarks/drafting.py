"""How much drafts are worth: texts that quote and texts that do not, with and without them.

    python benchmarks/drafting.py MODEL --threads 2 [--draft DIRECTORY]
    python benchmarks/drafting.py model.gguf --threads 2

Each prompt is continued by turns without drafts, with look-up, and with a draft model where one is
given, on the same weights and seeds; the median of the ratios of a turn counts. With --cpu, seconds
of processor time stand for those of the clock, which other programs disturb: torch computes in
this process, llama.cpp in one of its own, whose seconds are counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.generate import Engine

PASSAGE = """The committee met on 14 March 2019 to consider the renovation of the old library in \
Harlow Street. Mrs. Edith Vance presented the estimate of 48,200 pounds, of which 31,000 were for \
the roof and 9,500 for the heating system. Mr. Thomas Oakley objected that the estimate had been \
drawn up without a survey of the foundations, which had been found damp in 2011. It was resolved \
by seven votes to two that a survey be commissioned from Messrs. Bell & Partners, at a cost not \
exceeding 1,800 pounds, and that the renovation be put off until the report was received."""

QUOTING = (
    PASSAGE + "\n\nRepeat the text above, word for word.",
    "Correct the spelling and give the whole text back:\n\n"
    + PASSAGE.replace("renovation", "renovaton"),
)
FREE = (
    "Write a short story about a fox and a hen who become friends.",
    "Explain how photosynthesis works.",
    "List ten ideas for a birthday present, with a reason for each.",
)
QUOTATION = "Quote the sentences of this text that are about money.\n\n" + PASSAGE


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--draft", default="")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    from linnet.generate.engines import EngineConfig, open_engine

    file = options.model.endswith(".gguf")
    config = EngineConfig(
        engine="auto" if file else options.engine,
        precision="auto" if file else options.precision,
        threads=options.threads,
        slots=2,
        lookup="off",
    )
    ways = {"plain": config, "look-up": replace(config, lookup="on")}
    if options.draft:
        ways["draft"] = replace(config, draft=options.draft)
        ways["both"] = replace(config, lookup="on", draft=options.draft)
    engines = {name: open_engine(options.model, each) for name, each in ways.items()}
    ratios: dict[str, dict[str, list[float]]] = {}
    for turn in range(options.rounds + 1):
        for kind, texts in (("quoting", QUOTING), ("quotation", [QUOTATION]), ("free", FREE)):
            for text in texts:
                found = {
                    name: seconds(engine, text, turn, options) for name, engine in engines.items()
                }
                if not turn:  # the first warms up
                    continue
                plain = found["plain"]
                for name, each in found.items():
                    ratios.setdefault(kind, {}).setdefault(name, []).append(plain / each)
    for kind, found_ratios in ratios.items():
        for name, values in found_ratios.items():
            print(
                f"{kind:10} {name:8} {statistics.median(values):5.2f}x as fast "
                f"(from {min(values):.2f} to {max(values):.2f})",
                flush=True,
            )
    for engine in engines.values():
        engine.close()


def seconds(engine: Engine, text: str, turn: int, options: argparse.Namespace) -> float:
    """Seconds a token takes once the prompt was read."""
    from linnet.generate import Request, Sampling

    prompt = engine.chat_prompt([{"role": "user", "content": text}])
    sampling = Sampling(
        max_tokens=options.tokens, temperature=options.temperature, seed=turn, min_p=0.05
    )
    clock = clock_of(engine, cpu=options.cpu)
    stream = engine.stream(Request(prompt, sampling))
    next(stream)
    begun, count = clock(), 0
    for chunk in stream:
        count += len(chunk.tokens)
    return (clock() - begun) / max(1, count)


def clock_of(engine: Engine, *, cpu: bool) -> Callable[[], float]:
    """The clock, or processor time of what computes."""
    if not cpu:
        return time.perf_counter
    dispatcher = getattr(engine, "dispatcher", None)
    if dispatcher is None:
        return time.process_time
    return lambda: dispatcher.process().cpu_seconds or 0.0


if __name__ == "__main__":
    main()

"""Likelihoods for evaluation: beside the ``hf`` model of lm-evaluation-harness, on the same items.

    python benchmarks/evaluation.py MODEL [--items 40] [--choices 4] [--shots 3] [--threads 2]
                                          [--questions FILE.jsonl]

MODEL is a Hugging Face checkpoint. The items are multiple-choice questions after solved examples,
as a harness asks them: each choice is a request of its own. They are cut into tokens by the
harness, so that both score the same tokens. Each run is a process of its own, and the runs
alternate: Linnet, then ``hf`` at batch sizes 1, 8 and 16, as often as ``--rounds`` says; the
medians are compared, loading left out. ``pip install lm_eval`` is needed; without it Linnet alone
is timed. ``--questions`` takes rows with ``question`` and ``answer``; without it they are made up.

Prints one JSON object: seconds of each (and of processors, which say more on a busy machine), the
ratio to the best of the harness, and the largest difference of a log-likelihood.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCHES = (1, 8, 16)


def made_up(count: int) -> list[dict[str, str]]:
    """Questions with answers of some words."""
    draw = random.Random(0)
    things = ["river", "museum", "engine", "treaty", "protein", "library", "comet", "harbour"]
    verbs = ["opened", "named", "restored", "measured", "described", "moved", "closed"]
    rows = []
    for number in range(count):
        thing, verb = draw.choice(things), draw.choice(verbs)
        rows.append(
            {
                "question": f"When was the {draw.choice(['old', 'new', 'second'])} {thing} in "
                f"district {number % 37} {verb}, and by whom was it paid for?",
                "answer": f"It was {verb} in {draw.randint(1700, 2020)} and paid for by the "
                f"{draw.choice(['city', 'state', 'guild', 'university'])}.",
            }
        )
    return rows


def requests_of(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Context and continuation of every choice."""
    if options.questions:
        lines = Path(options.questions).read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines[: options.items + options.shots]]
        rows = [{k: " ".join(row[k].split())[:200] for k in ("question", "answer")} for row in rows]
    else:
        rows = made_up(options.items + options.shots)
    solved = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n"
                     for row in rows[: options.shots])  # fmt: skip
    asked = rows[options.shots :]
    draw = random.Random(1)
    found = []
    for row in asked:
        others = [other["answer"] for other in asked if other is not row]
        wrong = draw.sample(others, options.choices - 1)
        context = f"{solved}Question: {row['question']}\nAnswer:"
        found += [(context, f" {answer}") for answer in (row["answer"], *wrong)]
    return found


def time_linnet(options: argparse.Namespace) -> dict[str, object]:
    """In this process."""
    import torch

    import linnet  # noqa: F401
    from linnet.evaluate.prompting import text_continuation
    from linnet.generate.engines import EngineConfig, open_engine

    torch.set_num_threads(options.threads)
    engine = open_engine(
        Path(options.model), EngineConfig(engine="torch", precision="f32", device="cpu")
    )
    requests = requests_of(options)
    list(engine.likelihoods([text_continuation(engine, *requests[0])]))
    started, spent = time.perf_counter(), time.process_time()
    wanted = [text_continuation(engine, context, text) for context, text in requests]
    found = [-each.nats for each in engine.likelihoods(wanted)]
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    engine.close()
    return {"seconds": seconds, "cpu": spent, "logs": found}


def time_harness(options: argparse.Namespace, batch: int) -> dict[str, object]:
    """In this process."""
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(options.threads)
    model = HFLM(
        pretrained=options.model, device="cpu", dtype="float32", batch_size=batch,
        trust_remote_code=False,
    )  # fmt: skip
    instances = [
        Instance("loglikelihood", {}, request, number, ("benchmark", number, 1))
        for number, request in enumerate(requests_of(options))
    ]
    model.loglikelihood(instances[:1], disable_tqdm=True)
    started, spent = time.perf_counter(), time.process_time()
    found = [log for log, _ in model.loglikelihood(instances, disable_tqdm=True)]
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    return {"seconds": seconds, "cpu": spent, "logs": found}


def in_process(part: str) -> dict[str, object]:
    """One run, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--part", part], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{part} failed: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--choices", type=int, default=4)
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        batch = int(options.part.removeprefix("hf-")) if options.part != "linnet" else 0
        print(json.dumps(time_harness(options, batch) if batch else time_linnet(options)))
        return
    parts = ["linnet"]
    if importlib.util.find_spec("lm_eval") is not None:
        parts += [f"hf-{batch}" for batch in BATCHES]
    seconds: dict[str, list[float]] = {part: [] for part in parts}
    spent: dict[str, list[float]] = {part: [] for part in parts}
    logs: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for part in parts:
            found = in_process(part)
            seconds[part].append(found["seconds"])  # type: ignore[arg-type]
            spent[part].append(found["cpu"])  # type: ignore[arg-type]
            logs[part] = found["logs"]  # type: ignore[assignment]
    medians = {part: statistics.median(own) for part, own in seconds.items()}
    result: dict[str, object] = {
        "requests": len(logs["linnet"]), "shots": options.shots, "threads": options.threads,
        "seconds": {part: round(value, 2) for part, value in medians.items()},
        "cpu_seconds": {part: round(statistics.median(own), 2) for part, own in spent.items()},
    }  # fmt: skip
    if len(parts) > 1:
        best = min(value for part, value in medians.items() if part != "linnet")
        result["times_the_best_hf"] = round(best / medians["linnet"], 2)
        result["largest_difference"] = max(
            abs(own - other)
            for part in parts[1:]
            for own, other in zip(logs["linnet"], logs[part], strict=True)
        )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""A step of GRPO beside trl's GRPOTrainer on this machine: time and memory, in turns.

    python benchmarks/aligning_peer.py MODEL PROMPTS.jsonl [--steps 4] [--rounds 2]

PROMPTS.jsonl has rows with ``prompt`` and ``answer`` (``aligning.py`` writes such a file). Each
trainer runs in a process of its own on the same prompts: LoRA of rank 16 on all linear layers, two
groups of 8 completions of at most 64 tokens a step, no reference, one update for each sampling,
reward: the F1 with the answer's words. Of each the median time of a step is taken (the first left
out), and the most memory that the process ever had. trl runs twice, in fp32, its default on a CPU,
and in bf16.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GROUP, GROUPS, TOKENS = 8, 2, 64


def prompts(file: Path, count: int) -> list[dict[str, Any]]:
    """The first rows."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


def ours(model: Path, file: Path, steps: int, threads: int, dtype: str) -> dict[str, Any]:
    """``linnet align``: seconds of each step, and tokens of a completion."""
    from linnet.align.align import align
    from linnet.align.config import AlignConfig

    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.jsonl")
        rows.write_text("".join(json.dumps(row) + "\n" for row in prompts(file, 64)), "utf-8")
        config = AlignConfig(
            method="grpo", steps=steps, batch=GROUP * GROUPS, group=GROUP, max_tokens=TOKENS,
            rewards=("overlap",), mask_cut=False, general_tokens=0, patience=0, threads=threads,
            validation_interval=steps + 1, context=768, held_out=0.05, dtype=dtype,
        )  # fmt: skip
        out = align(model, [rows], Path(folder, "out"), config)
        lines = Path(out.path, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    steps_of = [row for row in found if "reward" in row]
    ends = [row["seconds"] for row in steps_of]
    return {
        "seconds": [after - before for before, after in itertools.pairwise(ends)],
        "tokens": [row["completions/mean_length"] for row in steps_of],
    }


def theirs(model: Path, file: Path, steps: int, threads: int, dtype: str) -> dict[str, Any]:
    """trl's GRPOTrainer, the same."""
    import torch

    torch.set_num_threads(threads)
    import datasets
    import peft
    import transformers
    import trl

    from linnet.scoring.matching import token_f1

    ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            ends.append(time.monotonic())

    def overlap(completions, answer, **kwargs):  # type: ignore[no-untyped-def]
        said = [each[0]["content"] for each in completions]
        return [token_f1(a, [b]) for a, b in zip(said, answer, strict=True)]

    rows = [
        {"prompt": [{"role": "user", "content": row["prompt"]}], "answer": row["answer"]}
        for row in prompts(file, 64)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.GRPOTrainer(
            model=transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            processing_class=transformers.AutoTokenizer.from_pretrained(model),
            reward_funcs=[overlap],
            train_dataset=datasets.Dataset.from_list(rows),
            peft_config=peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
            callbacks=[Clock()],
            args=trl.GRPOConfig(
                output_dir=folder, use_cpu=True, bf16=dtype == "bf16", max_steps=steps,
                per_device_train_batch_size=GROUP * GROUPS, num_generations=GROUP,
                max_completion_length=TOKENS, beta=0.0, scale_rewards="none",
                loss_type="dr_grpo", logging_steps=1, report_to=[], save_strategy="no",
                gradient_checkpointing=False,
            ),
        )  # fmt: skip
        trainer.train()
        lengths = [
            row["completions/mean_length"]
            for row in trainer.state.log_history
            if "completions/mean_length" in row
        ]
    return {
        "seconds": [after - before for before, after in itertools.pairwise(ends)],
        "tokens": lengths,
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one process")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        trainer, _, dtype = options.only.partition(":")
        run = ours if trainer == "linnet" else theirs
        found = run(options.model, options.prompts, options.steps, options.threads, dtype)
        found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print("RESULT " + json.dumps(found))
        return
    seen: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for name in ("linnet:auto", "trl:fp32", "trl:bf16", "linnet:fp32"):
            command = [sys.executable, __file__, str(options.model), str(options.prompts),
                       "--steps", str(options.steps), "--threads", str(options.threads),
                       "--only", name]  # fmt: skip
            try:
                ran = subprocess.run(
                    command, capture_output=True, text=True, timeout=options.limit, check=False
                )
            except subprocess.TimeoutExpired:
                print(f"{name}: not ready after {options.limit:.0f} s", flush=True)
                continue
            lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                print(f"{name}: failed: {ran.stderr.strip()[-400:]}", flush=True)
                continue
            found = json.loads(lines[-1].removeprefix("RESULT "))
            seen.setdefault(name, []).append(found)
            print(f"{name:12} {statistics.median(found['seconds']):6.2f} s a step, "
                  f"{statistics.mean(found['tokens']):4.1f} tokens a completion, "
                  f"{found['memory'] / 2**20:6,.0f} MiB", flush=True)  # fmt: skip
    for name, each in seen.items():
        steps = [second for found in each for second in found["seconds"]]
        print(f"{name:12} median {statistics.median(steps):.2f} s a step over {len(steps)} steps")


if __name__ == "__main__":
    main()

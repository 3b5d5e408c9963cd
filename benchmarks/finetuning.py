"""Fine-tuning beside transformers.Trainer and peft: tokens per second and peak memory.

    python benchmarks/finetuning.py [--shapes 30m 135m] [--methods lora full] [--data blocks]

Every measurement is a process of its own, Linnet and the Trainer in turn, several
times; medians are reported. Both get the same model (random weights; 135m is
SmolLM2-135M's shape), the same examples as the same tokens, and as many tokens in a
batch. The Trainer runs in fp32 and in bf16, and the better of the two counts.
``blocks``: rows of full length, all of it trained, so that nothing is gained by packing;
``instructions``: short examples, of which only the completion is trained.
Tokens are those of the examples: padding is not counted. The first steps of a process,
in which things are compiled and allocated, are not timed, but their memory counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as linnet does

CONTEXT = 512
BATCH_TOKENS = int(os.environ.get("BATCH_TOKENS", "4096"))
RANK = 16
WARM = 3  # steps that are not timed
LAST_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "depth": 2, "heads": 4, "kv_heads": 2, "mlp_width": 128, "vocab": 2048},
    "30m": {"width": 384, "depth": 8, "heads": 6, "kv_heads": 6, "mlp_width": 1024, "vocab": 32000},
    "135m": {
        "width": 576, "depth": 30, "heads": 9, "kv_heads": 3, "mlp_width": 1536, "vocab": 49152,
    },
}  # fmt: skip


def prepare(directory: Path, shape: str, data: str) -> None:
    """A model of this shape with random weights, a tokenizer and rows."""
    import torch

    from linnet.model import ModelConfig, Transformer, save_checkpoint
    from linnet.tokenizer import TokenizerConfig, load
    from linnet.tokenizer import train as train_tokenizer

    sizes = SHAPES[shape]
    letters = random.Random(0)
    words = [
        "".join(letters.choices("abcdefghijklmnop", k=letters.randint(2, 7))) for _ in range(3000)
    ]
    text = [" ".join(letters.choices(words, k=40)) for _ in range(400)]
    train_tokenizer(text, directory / "tokenizer", TokenizerConfig(vocab_size=2000), inputs={})
    tokenizer = load(directory / "tokenizer")
    model = Transformer(
        ModelConfig(
            family="llama",
            vocab_size=sizes["vocab"],
            context=2048,
            width=sizes["width"],
            depth=sizes["depth"],
            heads=sizes["heads"],
            kv_heads=sizes["kv_heads"],
            head_width=sizes["width"] // sizes["heads"],
            mlp_width=sizes["mlp_width"],
            bos_id=tokenizer.end_of_text,
            eos_id=tokenizer.end_of_text,
        )
    )
    with torch.no_grad():
        model.initialise(torch.Generator().manual_seed(0))
    (directory / "model").mkdir()
    save_checkpoint(model, directory / "model", tokenizer=directory / "tokenizer")
    with (directory / "rows.jsonl").open("w") as file:
        for _ in range(600):
            if data == "blocks":
                row = {"text": " ".join(letters.choices(words, k=900))}
            else:
                asked = " ".join(letters.choices(words, k=letters.randint(4, 40)))
                answer = " ".join(letters.choices(words, k=letters.randint(5, 120)))
                row = {"prompt": asked, "completion": " " + answer}
            file.write(json.dumps(row) + "\n")


def settings(method: str, steps: int, dtype: str) -> dict[str, Any]:
    """What Linnet is told; what is not here is its default."""
    return {
        "method": method,
        "rank": RANK,
        "steps": steps,
        "dtype": dtype,
        "context": CONTEXT + 1,  # the last token is only ever a target
        "batch_tokens": BATCH_TOKENS,
        "template": "none",
        "held_out": 0.0,
        "sample_interval": 1 << 30,
        "general_tokens": 0,
        "sweep": False,
    }


def run_linnet(work: Path, method: str, steps: int, dtype: str, more: dict[str, Any]) -> float:
    """Seconds per token of Linnet's fine-tuning, from its own log."""
    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.finetune import finetune
    from linnet.train.loop import Loop

    seconds: list[float] = []
    trained: list[int] = []
    step = Loop._step

    def timed(self: Loop, task: Any) -> None:
        before, begun = self.stream.state(), time.monotonic()
        step(self, task)
        seconds.append(time.monotonic() - begun)
        after = self.stream.state()
        self.stream.restore(before)
        batch = self.stream.next()
        trained.append(int((batch.segment_ids != 0).sum()))
        self.stream.restore(after)

    Loop._step = timed  # type: ignore[method-assign]
    config = FinetuneConfig(**(settings(method, steps, dtype) | more))
    finetune(work / "model", [work / "rows.jsonl"], work / "out", config)
    return sum(seconds[WARM:]) / sum(trained[WARM:])


def run_trainer(work: Path, method: str, steps: int, dtype: str, rows: int) -> float:
    """Seconds per token of the Trainer, ``rows`` examples at a time."""
    import torch
    import transformers

    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.examples import load_examples
    from linnet.tokenizer import load

    config = FinetuneConfig(**settings(method, steps, dtype))
    examples = load_examples([work / "rows.jsonl"], load(work / "model"), config).train
    examples = [e for e in examples if len(e.tokens) > CONTEXT // 2] or examples
    mean = sum(len(e.tokens) for e in examples) / len(examples)
    together = max(rows, round(BATCH_TOKENS / mean / rows) * rows)
    model = transformers.AutoModelForCausalLM.from_pretrained(work / "model")
    if method == "lora":
        import peft

        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=RANK, lora_alpha=2 * RANK, target_modules=list(LAST_LAYERS), task_type="CAUSAL_LM"
            ),
        )
    items = [
        {
            "input_ids": example.tokens.astype(int).tolist(),
            "labels": [
                int(token) if on else -100
                for token, on in zip(example.tokens, example.trained, strict=True)
            ],
        }
        for example in examples
    ]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in batch)

        def padded(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([i[name] + [filler] * (longest - len(i[name])) for i in batch])

        ids = padded("input_ids", -1)
        counted.append(int((ids >= 0).sum()))
        return {
            "input_ids": ids.clamp(min=0),
            "attention_mask": (ids >= 0).long(),
            "labels": padded("labels", -100),
        }

    counted: list[int] = []
    ends: list[tuple[float, int]] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            ends.append((time.monotonic(), sum(counted)))

    arguments = transformers.TrainingArguments(
        output_dir=str(work / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=together // rows,
        learning_rate=1e-4,
        bf16=dtype == "bf16",
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        logging_steps=10,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=items,  # type: ignore[arg-type]
        data_collator=collate,
        callbacks=[Clock()],
    ).train()
    (first, before), (last, after) = ends[WARM - 1], ends[-1]
    return (last - first) / (after - before)


def worker(arguments: argparse.Namespace) -> None:
    """One measurement; prints tokens per second and peak memory in bytes."""
    work = Path(arguments.work)
    if arguments.system == "linnet":
        more = json.loads(arguments.more)
        pace = run_linnet(work, arguments.method, arguments.steps, arguments.dtype, more)
    else:
        pace = run_trainer(
            work, arguments.method, arguments.steps, arguments.dtype, arguments.peer_rows
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_second": 1 / pace, "peak_bytes": peak}))


def measure(work: Path, system: str, method: str, dtype: str, options: argparse.Namespace) -> Any:
    """One measurement in a process of its own."""
    for old in ("out", ".out.partial", "trainer"):
        subprocess.run(["rm", "-rf", str(work / old)], check=True)
    command = [sys.executable, __file__, "worker", "--work", str(work), "--system", system]
    command += ["--method", method, "--dtype", dtype, "--steps", str(options.steps)]
    command += ["--peer-rows", str(options.peer_rows), "--more", options.more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(shape: str, method: str, data: str, options: argparse.Namespace) -> None:
    """Measure one shape and method, and print a line for each system."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        subprocess.run(
            [sys.executable, __file__, "prepare", str(work), "--shapes", shape, "--data", data],
            check=True,
            capture_output=True,
        )
        systems = [("linnet", "auto"), *(("trainer", dtype) for dtype in options.peer_dtypes)]
        systems = [s for s in systems if s[0] in options.systems]
        found: dict[tuple[str, str], list[Any]] = {system: [] for system in systems}
        for _ in range(options.repeats):
            for system in systems:
                found[system].append(measure(work, *(system[0], method, system[1]), options))
                told = f"  {system[0]} {system[1]}: {found[system][-1]}"
                print(told, file=sys.stderr, flush=True)
    medians = {}
    for (system, dtype), runs in found.items():
        speed = statistics.median(run["tokens_per_second"] for run in runs)
        peak = statistics.median(run["peak_bytes"] for run in runs)
        medians[system, dtype] = speed, peak
        print(
            f"{shape:5} {method:5} {data:12} {system:8} {dtype:5} {speed:8,.0f} tokens/s "
            f"{peak / 1e9:6.2f} GB",
            flush=True,
        )
    peers = [value for (system, _), value in medians.items() if system == "trainer"]
    if peers and ("linnet", "auto") in medians:
        speed, peak = medians["linnet", "auto"]
        fastest, leanest = max(p[0] for p in peers), min(p[1] for p in peers)
        print(f"      {speed / fastest:.2f}x the tokens/s, {peak / leanest:.2f}x the memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("mode", nargs="?", default="compare")
    parser.add_argument("prepared", nargs="?")
    parser.add_argument("--shapes", nargs="+", default=["30m", "135m"], choices=list(SHAPES))
    parser.add_argument("--methods", nargs="+", default=["lora", "full"])
    parser.add_argument("--data", nargs="+", default=["blocks", "instructions"])
    parser.add_argument("--systems", nargs="+", default=["linnet", "trainer"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-rows", type=int, default=8, help="the Trainer's batch; 8 is usual")
    parser.add_argument("--peer-dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--more", default="{}", help="more settings for Linnet, as JSON")
    for name in ("work", "system", "method", "dtype"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mode == "worker":
        worker(options)
    elif options.mode == "prepare":
        prepare(Path(options.prepared), options.shapes[0], options.data[0])
    else:
        for shape in options.shapes:
            for method in options.methods:
                for data in options.data:
                    compare(shape, method, data, options)


if __name__ == "__main__":
    main()

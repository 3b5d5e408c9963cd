"""The peer of time_to_quality.py: a Llama trained with transformers.Trainer, in its own process.

    python benchmarks/trainer_peer.py SHARDS OUT SECONDS LEARNING_RATE

The Trainer runs as it does on a CPU by default: fp32, AdamW, batches of 8, the
rate falling in a line. Its number of steps is set from a short trial, so that
the rate reaches zero when the time is up.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

STARTED = time.monotonic()
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as linnet does

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from linnet.shards import Shards  # noqa: E402

CONTEXT = 256
TRIAL_STEPS = 12


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The training documents end to end, cut into rows of one context."""

    def __init__(self, shards: Shards) -> None:
        split = shards.split("train")
        stream = split.read(0, split.tokens).astype(np.int64)
        rows = len(stream) // CONTEXT
        self.rows = torch.from_numpy(stream[: rows * CONTEXT]).view(rows, CONTEXT)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Deadline(transformers.TrainerCallback):
    """Stops when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        control.should_training_stop |= time.monotonic() - STARTED > self.seconds


def model(vocab_size: int) -> transformers.LlamaForCausalLM:
    """Llama at the size of Linnet's default shape: SwiGLU at two thirds of the width."""
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=688,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config)


def train(rows: Rows, shards: Shards, steps: int, rate: float, seconds: float, out: Path):  # type: ignore[no-untyped-def]
    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        learning_rate=rate,
        save_strategy="no",
        report_to=[],
        logging_steps=50,
        disable_tqdm=True,
    )
    peer = transformers.Trainer(
        model=model(shards.vocab_size),
        args=arguments,
        train_dataset=rows,
        callbacks=[Deadline(seconds)],
    )
    peer.train()
    return peer.model


def main() -> None:
    shards = Shards.open(Path(sys.argv[1]))
    out, seconds, rate = Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    rows = Rows(shards)
    train(rows, shards, 3, rate, seconds, out)
    begun = time.monotonic()
    train(rows, shards, TRIAL_STEPS, rate, seconds, out)
    pace = (time.monotonic() - begun) / TRIAL_STEPS
    # The trial is not the Trainer's fault: its time is given back.
    seconds += time.monotonic() - STARTED
    steps = max(1, int((seconds - (time.monotonic() - STARTED) - 3) / pace))
    trained = train(rows, shards, steps, rate, seconds, out)
    trained.save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (out / file).write_bytes((shards.tokenizer_path / file).read_bytes())


if __name__ == "__main__":
    main()

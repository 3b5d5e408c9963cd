"""What held-out examples say of a model in training, and how many of them it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from linnet.finetune.packing import held_out_batches
from linnet.train.objective import next_token
from linnet.train.sample import continue_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.examples import Example
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.tokenizer import Tokenizer

VALIDATIONS = 10  # in a run, where no interval is set; one more comes before its first step
SHARE = 0.25  # of the time that training takes, about, for all validations and the sweep
FORWARD = {"full": 1 / 3, "lora": 1 / 2}  # of a step; frozen weights need no gradient
LEAST_TOKENS = 2048  # fewer would say little


@dataclass(frozen=True)
class Extent:
    """What validating reads: bounded, so that a short run is not mostly validation."""

    domain: int
    """Tokens of held-out examples, each time."""
    general: int
    """Tokens of general text, each time."""
    times: int
    """Validations, and strengths tried at the end."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.times * (self.domain + self.general)


def validation_extent(
    config: FinetuneConfig, *, steps: int, batch_tokens: int, sweep: int
) -> Extent:
    """What validating may read in a run of so many steps; ``sweep``: strengths tried at its end.

    What the settings allow, but together about a quarter of the time that training takes.
    """
    interval = config.validation_interval
    times = 1 + (math.ceil(steps / interval) if interval else min(steps, VALIDATIONS))
    times += sweep if config.sweep and config.general_tokens else 0
    affordable = int(SHARE / FORWARD[config.method] * steps * batch_tokens / times)
    general = min(config.general_tokens, max(LEAST_TOKENS, affordable // 2))
    domain = min(config.validation_tokens, max(LEAST_TOKENS, affordable - general))
    return Extent(domain, general, times)


@dataclass(frozen=True)
class HeldOutLoss:
    """The mean loss on what is trained in held-out examples, and in bits per byte of its text."""

    batches: list[Batch]
    text_bytes: int
    device: str

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode."""
        nats, tokens = 0.0, 0.0
        for batch in self.batches:
            loss = next_token(model, batch.to(self.device))
            nats, tokens = nats + loss.sum.item(), tokens + loss.weight
        figures = {"loss": nats / tokens}
        if self.text_bytes:
            figures["bits_per_byte"] = nats / math.log(2) / self.text_bytes
        return figures


def held_out_loss(
    examples: Sequence[Example], *, rows: int, length: int, tokens: int, device: str
) -> HeldOutLoss | None:
    """Over the first ``tokens`` of these examples; None when there is no example."""
    chosen: list[Example] = []
    total = 0
    for example in examples:
        total += example.places
        if chosen and total > tokens:
            break
        chosen.append(example)
    if not chosen:
        return None
    batches = list(held_out_batches(chosen, rows=rows, length=length))
    text_bytes = sum(example.trained_bytes for example in chosen)
    return HeldOutLoss(batches, text_bytes, device)


@dataclass(frozen=True)
class Answer:
    """What the model says to the prompt of one example, for a look while it trains."""

    example: Example
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    seed: int

    def __call__(self, model: Transformer) -> str:
        """The end of the prompt, an arrow, and the answer."""
        begin = int(self.example.trained.argmax())
        prompt = [int(token) for token in self.example.tokens[: max(1, begin)]]
        generator = torch.Generator().manual_seed(self.seed)
        answer = continue_text(model, prompt, stop_ids=self.stop_ids, generator=generator)
        asked = " ".join(self.tokenizer.decode(prompt).split())[-60:]
        return f"{asked} → {self.tokenizer.decode(answer)}"

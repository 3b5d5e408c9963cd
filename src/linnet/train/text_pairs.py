"""Models that score a pair of texts: how pairs are encoded, scored, and learned from.

A pair is read as transformers gives it to a BERT, ``[CLS] one [SEP] other [SEP]``. What checks a
claim against a passage and what ranks passages for a question are both such models.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact
from linnet.errors import ModelError
from linnet.progress import SILENT, Progress
from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer
    from linnet.tokenizer import Tokenizer
    from linnet.train.config import PairTrainingConfig
    from linnet.train.loop import Validator
    from linnet.train.objectives import Objective

SCORED_AT_ONCE = 32
SORTED_BATCHES = 8
"""Batches whose pairs are sorted by length among themselves, so that little is padded."""


@dataclass(frozen=True)
class PairEncoding:
    """Two texts as tokens, and which of the two each belongs to."""

    tokens: list[int]
    types: list[int]


def encode_pairs(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    max_tokens: int,
    token_types: int,
) -> list[PairEncoding]:
    """Pairs as transformers gives them to a BERT; of a longer second text the rest is cut.

    ``token_types``: how many the model has; with one, both parts are of it.
    """
    second = 1 if token_types > 1 else 0
    first, last = list(tokenizer.start), list(tokenizer.finish)
    ones = tokenizer.encode_arrays([one for one, _ in pairs])
    others = tokenizer.encode_arrays([other for _, other in pairs])
    free = max_tokens - len(first) - 2 * len(last)
    encoded = []
    for one, other in zip(ones, others, strict=True):
        own = one[: max(1, free // 2)].tolist()
        rest = other[: max(1, free - len(own))].tolist()
        start, end = [*first, *own, *last], [*rest, *last]
        encoded.append(PairEncoding(start + end, [0] * len(start) + [second] * len(end)))
    return encoded


def batch_of(pairs: Sequence[PairEncoding], *, units: int | None = None, **others: Tensor) -> Batch:
    """Pairs in one batch, padded to the longest."""
    longest = max(len(pair.tokens) for pair in pairs)
    tokens = torch.zeros(len(pairs), longest, dtype=torch.long)
    types, padding = torch.zeros_like(tokens), torch.ones_like(tokens)
    for row, pair in enumerate(pairs):
        length = len(pair.tokens)
        tokens[row, :length] = torch.tensor(pair.tokens)
        types[row, :length] = torch.tensor(pair.types)
        padding[row, :length] = 0
    return Batch(tokens, segment_ids=padding, token_types=types, units=units, **others)


def pair_scores(
    model: Transformer, encoded: Sequence[PairEncoding], *, batch: int = SCORED_AT_ONCE
) -> Tensor:
    """What the head says of each pair, ``(N, labels)`` in fp32 on the CPU, computed in the order
    of their lengths."""
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place].tokens))
    found = torch.empty(len(encoded), len(model.config.labels))
    device = str(model.embedding.weight.device)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            found[places] = scores_of(
                model, batch_of([encoded[p] for p in places]).to(device)
            ).cpu()
    return found


def scores_of(model: Transformer, batch: Batch) -> Tensor:
    """What the head says of each row of a batch, ``(B, labels)``."""
    return model(  # type: ignore[no-any-return]
        batch.tokens, segment_ids=batch.segment_ids, token_types=batch["token_types"]
    )


class ShuffledBatches:
    """A stream that reads each unit once an epoch, those of a batch of about one length.

    ``make`` gives the batch of an epoch's units by their numbers.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        make: Callable[[int, Sequence[int]], Batch],
        *,
        batch: int,
        seed: int,
    ) -> None:
        self.lengths, self.make, self.batch, self.seed = lengths, make, batch, seed
        self.drawn = 0
        self.per_epoch = math.ceil(len(lengths) / batch)
        self.order: tuple[int, list[list[int]]] = (-1, [])

    def next(self, context: object = None) -> Batch:
        """The next batch of this epoch, or the first of another."""
        epoch, number = divmod(self.drawn, self.per_epoch)
        if self.order[0] != epoch:
            self.order = (epoch, self._shuffled(epoch))
        self.drawn += 1
        return self.make(epoch, self.order[1][number])

    def _shuffled(self, epoch: int) -> list[list[int]]:
        draw = random.Random(self.seed * 1000 + epoch)
        places = list(range(len(self.lengths)))
        draw.shuffle(places)
        size, batches = self.batch, []
        for start in range(0, len(places), SORTED_BATCHES * size):
            some = places[start : start + SORTED_BATCHES * size]
            some.sort(key=lambda place: self.lengths[place])
            batches += [some[at : at + size] for at in range(0, len(some), size)]
        draw.shuffle(batches)
        return batches

    def state(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on behind them."""
        self.drawn = int(state["drawn"])


def encoder_digest(place: Path) -> str:
    """What of an encoder decides what is trained out of it."""
    listed = [
        (file.name, artifact.hash_file(file))
        for file in sorted(place.iterdir())
        if file.suffix in (".safetensors", ".txt", ".json")
    ]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def pair_model(
    encoder: Path, *, labels: Sequence[str], seed: int, depth: int | None = None, words: bool = True
) -> Transformer:
    """An encoder with a fresh head for pairs; of its blocks the first ``depth``, if given.

    ``words``: whether the table of its words is trained, too, which is most of a small encoder.

    Without dropout, which a few readings of the pairs do not need: on a CPU it costs a quarter of
    the time. Raises ModelError for a model that sees only what came before.
    """
    from linnet.model import Transformer, load_model
    from linnet.model.heads import replace_head

    whole = load_model(encoder)
    if whole.config.causal:
        raise ModelError(
            f"{encoder}: a model of type '{whole.config.family}' sees only what came before; "
            "expected an encoder, such as bert"
        )
    depth = min(depth or whole.config.depth, whole.config.depth)
    config = replace(whole.config, depth=depth, dropout=0.0, head_dropout=0.0)
    model = Transformer(config)
    kept = model.state_dict()
    model.load_state_dict({n: value for n, value in whole.state_dict().items() if n in kept})
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    replace_head(model, "sequence", labels=labels, generator=generator)
    if not words:
        model.embedding.weight.requires_grad_(False)
    return model


def train_on_pairs(
    model: Transformer,
    stream: ShuffledBatches,
    directory: Path,
    config: PairTrainingConfig,
    *,
    objective: Objective,
    validator: Validator,
    validations: int,
    progress: Progress = SILENT,
    started: float,
) -> None:
    """Train a model on all of a stream's epochs, and leave it with the best validated weights."""
    from linnet import runtime
    from linnet.train.config import RunConfig
    from linnet.train.distributed import interruptible
    from linnet.train.loop import Loop
    from linnet.train.machine import choose_machine
    from linnet.train.optimizers import finetuning_optimizer

    machine = choose_machine(
        directory,
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        compiled=lambda _: False,
    )
    model.to(machine.runtime.device).train()
    model.compute_dtype = runtime.torch_dtype(machine.runtime.dtype)
    steps = stream.per_epoch * config.epochs
    training = RunConfig(steps=steps, seed=config.seed, warmup=0.1, decay=0.9)
    with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
        loop = Loop(
            directory,
            training,
            machine=machine,
            model=model,
            stream=stream,
            objective=objective,
            optimizers=[finetuning_optimizer(model, lr=config.lr, weight_decay=0.01)],
            micro_units=config.batch,
            validators=[validator],
            validations=validations,
            remedy="start again with a lower --lr",
            progress=progress,
            started=started,
        )
        loop.resume()
        loop.run(interrupt)
        loop.keep_best()
    model.compute_dtype = None
    model.to("cpu").eval()

"""Who learns: a fresh model of the teacher's family and vocabulary, or one that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet.errors import ModelError
from linnet.model import Transformer
from linnet.train.config import FAMILIES, ShapeConfig, TrainConfig
from linnet.train.optimizers import build_optimizers, finetuning_optimizer
from linnet.train.warm_start import LARGEST_VOCABULARY, fit_bigrams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.distil.config import DistilConfig, DistillationConfig
    from linnet.finetune.encoding import Example
    from linnet.model import ModelConfig
    from linnet.tokenizer import Tokenizer

USUAL_FAMILY = "qwen3"


def fresh_shape(teacher: ModelConfig, tokenizer: Tokenizer, config: DistilConfig) -> ModelConfig:
    """The sizes of a fresh student: of the teacher's family, where models of it are made from
    scratch. Raises ConfigError for sizes that do not fit together."""
    made = FAMILIES.get(teacher.family)
    family = teacher.family if made is not None and made.get("causal", True) else USUAL_FAMILY
    head = teacher.head_width
    shape = ShapeConfig(
        family=family,
        width=config.width or max(head, teacher.width // 2 // head * head),
        depth=config.depth or teacher.depth,
        head_width=head,
        context=teacher.context,
        tied=teacher.tied,
    )
    rows = max(teacher.vocab_size, tokenizer.vocab_size)
    return shape.model(rows, end_of_text=tokenizer.end_of_text, pad=tokenizer.pad)


def fresh_student(
    shape: ModelConfig, examples: Sequence[Example], *, seed: int, device: str, dtype: torch.dtype
) -> Transformer:
    """A model with fresh weights, computing in ``dtype``; its tables fitted to the bigrams of the
    text, where they can be (``train.warm_start``)."""
    model = Transformer(shape).to(device)
    with torch.no_grad():
        model.initialise(torch.Generator().manual_seed(seed))
    model.compute_dtype = dtype
    if not shape.tied and shape.vocab_size <= LARGEST_VOCABULARY:
        fit_bigrams(model, _bigrams(examples, shape.vocab_size), dtype=dtype)
    return model


def optimizers_for(
    model: Transformer, config: DistillationConfig, *, fresh: bool
) -> list[torch.optim.Optimizer]:
    """As a model is trained from scratch, or as one is tuned."""
    if not fresh:
        lr = config.peak_lr(model.config.parameters)
        return [finetuning_optimizer(model, lr=lr, weight_decay=config.weight_decay)]
    own = TrainConfig(
        steps=1, context=1, matrix_lr=config.lr, weight_decay=config.weight_decay
    )  # what is not of the optimizers does not count here
    dtype = model.compute_dtype or torch.float32
    return build_optimizers(model, own, dtype=dtype)


def require_same_tokens(teacher: Tokenizer, student: Tokenizer) -> None:
    """Raise ModelError where a token does not mean the same to both."""
    first, second = teacher.vocab_size, student.vocab_size
    differs = next(
        (
            token
            for token in range(min(first, second))
            if teacher.token_name(token) != student.token_name(token)
        ),
        None,
    )
    if differs is None and first == second:
        return
    if differs is None:
        what = f"the teacher has {first:,} tokens, the student {second:,}"
    else:
        one, other = teacher.token_name(differs), student.token_name(differs)
        what = f"token {differs:,} is {one!r:.40} to the teacher, {other!r:.40} to the student"
    raise ModelError(
        f"expected a student with the teacher's vocabulary, but {what}; "
        "have it learn from what the teacher writes: --by text"
    )


def _bigrams(examples: Sequence[Example], vocab_size: int) -> torch.Tensor:
    """How often each token (column) follows each token (row), where it is trained."""
    counts = torch.zeros(vocab_size * vocab_size)
    for start in range(0, len(examples), 1024):
        some = examples[start : start + 1024]
        ids = np.concatenate([
            each.tokens[:-1].astype(np.int64)[each.trained[1:]] * vocab_size
            + each.tokens[1:].astype(np.int64)[each.trained[1:]]
            for each in some
        ])  # fmt: skip
        counts += torch.bincount(torch.from_numpy(ids), minlength=len(counts))
    return counts.view(vocab_size, vocab_size)

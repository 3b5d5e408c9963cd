"""What stands on a Transformer's body: one small module for each ``ModelConfig.head``.

A language model and plain states need none. Classifiers read one state: of each token, or of
each text (its first, as BERT does, or its last where a token sees only those before it). A score
is a classifier of texts with one label, as transformers has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from linnet.model.activations import ACTIVATIONS, Function
from linnet.model.families import family
from linnet.model.layers import Linear, make_norm

if TYPE_CHECKING:
    from linnet.model.config import Head, ModelConfig, ProblemType
    from linnet.model.transformer import Transformer

Module = TypeVar("Module", bound=nn.Module)

FUNCTIONS: dict[str, Function] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    **{name: found.function for name, found in ACTIVATIONS.items() if found.function},
}
"""What may stand between a classifier's two layers."""

POOLINGS: dict[str, Function] = {
    "cls": lambda states: states[0],
    "max": lambda states: states.amax(0),
    "mean": lambda states: states.mean(0),
    "mean_sqrt_len_tokens": lambda states: states.sum(0) / len(states) ** 0.5,
}
"""From the states ``(T, D)`` of a text to ``(D,)``, by sentence-transformers' names."""


class MaskedHead(nn.Module):
    """What BERT puts before the output layer to guess masked tokens (arXiv:1810.04805)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.function = FUNCTIONS[config.activation]
        self.dense = Linear(config.width, config.width, bias=config.norm_bias)
        self.norm = make_norm(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        """What the output layer reads, ``(..., D)``."""
        return self.norm(self.function(self.dense(x)))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """A number for each label, behind one more layer in some families."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.function = FUNCTIONS.get(config.head_activation)
        if self.function is not None:
            self.dense = Linear(config.width, config.width, bias=not config.head_norm)
        self.norm = make_norm(config) if config.head_norm else nn.Identity()
        self.dropout = nn.Dropout(config.head_dropout)
        self.output = Linear(config.width, len(config.labels), bias=config.head_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(..., labels)`` in fp32 of states ``(..., D)``."""
        if self.function is not None:
            x = self.norm(self.function(self.dense(x)))
        return self.output(self.dropout(x)).float()  # type: ignore[no-any-return]


def make_head(config: ModelConfig) -> nn.Module | None:
    """The head's module; None where the output layer alone, or nothing, stands on the body."""
    kinds = {"masked": MaskedHead, "sequence": Classifier, "token": Classifier}
    kind = kinds.get(config.head)
    return None if kind is None else kind(config)


def text_positions(segment_ids: Tensor, *, causal: bool) -> Tensor:
    """Where each text of rows ``(B, T)`` is read, as places in the flattened rows ``(N,)``.

    Its first token, or for a causal model its last. Padding counts as a text.
    """
    change = torch.ones_like(segment_ids, dtype=torch.bool)
    different = segment_ids[:, 1:] != segment_ids[:, :-1]
    if causal:
        change[:, :-1] = different
    else:
        change[:, 1:] = different
    return change.flatten().nonzero().squeeze(1)


def replace_head(
    model: Transformer,
    head: Head,
    *,
    labels: Sequence[str] = (),
    problem_type: ProblemType | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Give a model a fresh head; its body stays.

    Raises ModelError for a head that transformers has not for its family, and ConfigError for
    one that needs labels and gets none.
    """
    fields = {"labels": tuple(labels), "problem_type": problem_type} if labels else {}
    config = family(model.config.family).with_head(model.config, head, **fields)
    table = model.embedding.weight
    fresh = make_head(config)
    for name in ("head", "output"):
        if hasattr(model, name):
            delattr(model, name)
    if fresh is not None:
        model.head = _drawn(fresh, generator).to(device=table.device, dtype=table.dtype)
    if config.head in ("output", "masked") and not config.tied:
        output = _drawn(Linear(config.width, config.vocab_size, bias=config.logit_bias), generator)
        model.output = output.to(device=table.device, dtype=table.dtype)
    model.config = config
    model.train(model.training)


@torch.no_grad()
def _drawn(module: Module, generator: torch.Generator | None) -> Module:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module

"""What a student learns from: a model that computes beside it.

A teacher gives log-probabilities of what comes next, at a temperature, for some places of a batch,
a few at a time, so that those of a whole batch are never in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.batches import Batch


class Expected(NamedTuple):
    """What a teacher expects next at some places."""

    log_probs: Tensor
    """``(n, C)``: of all tokens in order; or of those in ``ids``, and of all others together."""
    ids: Tensor | None = None
    """``(n, C - 1)``; None where all tokens are told apart."""


class Reading(Protocol):
    """A batch as a teacher has read it."""

    def expected(self, part: slice, temperature: float) -> Expected:
        """What it expects at these of the chosen places."""


class Teacher(Protocol):
    """What a student learns from."""

    @property
    def tokens(self) -> int:
        """How many tokens it tells apart, or may name: those of the shared vocabulary."""

    def read(self, batch: Batch, chosen: Tensor) -> Reading:
        """Read a batch; ``chosen`` ``(B * T,)`` is true where a next token is expected."""


@dataclass(frozen=True)
class LiveTeacher:
    """A model at rest.

    ``kept``: the model's own ids of the tokens that are shared, in the order in which the student
    has them; what it expects of others is left out, and the rest adds up to 1 again. None: all.
    """

    model: Transformer
    kept: Tensor | None = None

    @property
    def tokens(self) -> int:
        """See :class:`Teacher`."""
        return self.model.config.vocab_size if self.kept is None else len(self.kept)

    def read(self, batch: Batch, chosen: Tensor) -> Reading:
        """See :class:`Teacher`."""
        tokens = batch.tokens if self.kept is None else self.kept.to(batch.tokens)[batch.tokens]
        hidden = self.model.hidden(tokens, segment_ids=batch.segment_ids)
        return _States(self, hidden.flatten(0, 1)[chosen])


@dataclass(frozen=True)
class _States:
    teacher: LiveTeacher
    hidden: Tensor
    """``(N, D)``"""

    def expected(self, part: slice, temperature: float) -> Expected:
        """See :class:`Reading`."""
        logits = self.teacher.model.logits(self.hidden[part])
        kept = self.teacher.kept
        if kept is not None:
            logits = logits[:, kept.to(logits.device)]
        return Expected((logits / temperature).log_softmax(-1))

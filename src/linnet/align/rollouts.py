"""Groups of completions, sampled from the very weights that are trained, and rewarded.

The engine that writes is the one that serves: it reads the model's own tensors, and makes its copy
of them anew when they have changed, so that there is never a second one. Sampling is at
temperature 1 and without filters, or the samples would not be the policy's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet.align.encoding import Completion, pad
from linnet.align.losses import advantages
from linnet.align.prompts import EncodedPrompt
from linnet.align.rewards import Rewards, Sample
from linnet.align.validation import HELD_OUT_REWARDS
from linnet.errors import ConfigError
from linnet.generate import Request, Sampling
from linnet.generate.torch_engine import TorchEngine
from linnet.progress import SILENT, Progress
from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from linnet.generate.engine import Completion as Written
    from linnet.model import Checkpoint, Transformer
    from linnet.train.stream import Context

CUT_COMPLETIONS = 16
"""Completions that are all cut before that is said."""
CONSTANT_GROUPS = 8
"""Groups whose rewards are all equal within them before that is said."""


@dataclass
class Policy:
    """Writes with the model in training."""

    checkpoint: Checkpoint
    """Whose model is the one in training."""
    max_tokens: int

    def __post_init__(self) -> None:
        self._engine = TorchEngine(self.checkpoint, lookup=False, prefix_bytes=0)

    def write(
        self, prompts: Sequence[EncodedPrompt], seeds: Sequence[int], *, temperature: float = 1.0
    ) -> list[Written]:
        """A completion of each prompt; the model must be at rest."""
        sampling = Sampling(
            max_tokens=self.max_tokens, temperature=temperature, top_p=1.0, top_k=0, min_p=0.0
        )
        return self._engine.generate(
            [
                Request(each.tokens, dataclasses.replace(sampling, seed=seed), logprobs=True)
                for each, seed in zip(prompts, seeds, strict=True)
            ]
        )

    def sample_of(self, prompt: EncodedPrompt, written: Written) -> Sample:
        """What a reward is given."""
        return dataclasses.replace(
            prompt.prompt.known,
            messages=prompt.prompt.messages,
            tools=prompt.prompt.tools,
            text=written.text,
            ended=written.finish_reason == "stop",
            tokens=len(written.tokens),
        )


@dataclass
class Rollouts:
    """As a stream: ``batch`` completions at a time, ``group`` of each prompt.

    ``updates``: batches that one sampling serves. A completion that was cut (``max_tokens``) counts
    in its group, but with ``masked`` nothing is learned from it, as nothing is known of its end.
    """

    prompts: Sequence[EncodedPrompt]
    policy: Policy
    rewards: Rewards
    group: int
    batch: int
    seed: int
    scale: bool = False
    updates: int = 1
    masked: bool = True
    reference: Callable[[Transformer, Batch], Tensor] | None = None
    """Log-probabilities of tokens under the reference, ``(B, T)``; None: they are not needed."""
    progress: Progress = SILENT
    drawn: int = 0
    """Prompts so far."""
    constant: int = 0
    """Groups at the beginning whose rewards were equal."""
    cut: int = 0
    """Completions at the beginning that were all cut; -1: one was not, or it was said."""
    _left: list[Batch] = field(default_factory=list)

    def next(self, context: Context | None = None) -> Batch:
        """The next batch. Raises ConfigError outside a run, and TrainingError of a reward."""
        if context is None:
            raise ConfigError("completions are sampled in a run only")
        if not self._left:
            made = self._sampled(context)
            self._left = [made] * self.updates
        return self._left.pop()

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from; what was sampled is in it where it is still used."""
        kept = dict(self._left[0].tensors) if self._left else {}
        return {
            "drawn": self.drawn, "constant": self.constant, "cut": self.cut,
            "left": len(self._left), "kept": kept,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.drawn, self.constant = int(state["drawn"]), int(state["constant"])
        self.cut = int(state.get("cut", 0))
        self._left = []
        if state["left"]:
            self._left = [Batch(**state["kept"])] * int(state["left"])

    def _sampled(self, context: Context) -> Batch:
        count = self.batch // self.group
        chosen = [self._prompt(self.drawn + place) for place in range(count)]
        repeated = [prompt for prompt in chosen for _ in range(self.group)]
        first = self.drawn * self.group
        seeds = [seed_of(self.seed, first + place) for place in range(len(repeated))]
        self.drawn += count
        with context.at_rest():
            written = self.policy.write(repeated, seeds)
        samples = [
            self.policy.sample_of(prompt, each)
            for prompt, each in zip(repeated, written, strict=True)
        ]
        each = [
            self.rewards.of(sample, source=prompt.prompt.source)
            for prompt, sample in zip(repeated, samples, strict=True)
        ]
        totals = torch.tensor([self.rewards.total(found) for found in each])
        self._notice(totals)
        self._notice_cut(samples)
        batch = batch_of(repeated, written, masked=self.masked)
        more: dict[str, Tensor] = {
            "advantages": advantages(totals, self.group, scale="group" if self.scale else "none"),
            "total": totals,
            "ended": torch.tensor([float(sample.ended) for sample in samples]),
            **{
                f"reward_{name}": torch.tensor([found[name] for found in each])
                for name in self.rewards.parts
            },
        }
        made = batch.replaced({**batch.tensors, **more})
        if self.reference is not None:
            device = str(self.policy.checkpoint.model.embedding.weight.device)
            with context.at_rest(), torch.no_grad():
                known = self.reference(context.model, made.to(device)).cpu()
            made = made.replaced({**made.tensors, "reference": known})
        return made

    def _prompt(self, number: int) -> EncodedPrompt:
        """Each prompt once an epoch, in an order of its own."""
        epoch, place = divmod(number, len(self.prompts))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.prompts))
        return self.prompts[int(order[place])]

    def _notice(self, totals: Tensor) -> None:
        """Say once that nothing is to be learned from rewards that are always equal."""
        grouped = totals.view(-1, self.group)
        equal = int((grouped == grouped[:, :1]).all(1).sum())
        if self.constant < 0:
            return
        if equal < len(grouped):
            self.constant = -1
            return
        self.constant += equal
        if self.constant >= CONSTANT_GROUPS:
            self.constant = -1
            self.progress.warn(
                f"the rewards of the first {CONSTANT_GROUPS} groups are all equal within each "
                f"(such as {float(totals[0]):.3g}): nothing can be learned from them; choose "
                "rewards with grades, easier prompts, or fine-tune on answers first"
            )

    def _notice_cut(self, samples: Sequence[Sample]) -> None:
        """Say once that nothing is learned, as no completion ends within ``--max-tokens``."""
        if self.cut < 0 or not self.masked:
            return
        if any(sample.ended for sample in samples):
            self.cut = -1
            return
        self.cut += len(samples)
        if self.cut >= CUT_COMPLETIONS:
            self.progress.warn(
                f"the first {self.cut:,} completions were all cut at --max-tokens "
                f"({self.policy.max_tokens:,}), and nothing is learned from such: give more "
                "tokens, or learn from them as well (--no-mask-cut)"
            )
            self.cut = -1


def batch_of(
    prompts: Sequence[EncodedPrompt], written: Sequence[Written], *, masked: bool
) -> Batch:
    """Completions with the log-probabilities that they were sampled with (``sampled``), and how
    many tokens each has (``lengths``)."""
    rows, known = [], []
    for prompt, each in zip(prompts, written, strict=True):
        tokens, scores = list(each.tokens), list(each.logprobs or ())
        if each.ending is not None:
            tokens.append(each.ending.token)
            assert each.ending.logprob is not None
            scores.append(each.ending.logprob)
        ids = np.array([*prompt.tokens, *tokens], np.uint32)
        trained = np.arange(len(ids)) >= len(prompt.tokens)
        if masked and each.finish_reason == "length":
            trained[:] = False
        rows.append(Completion(ids, trained))
        known.append(scores)
    batch = pad(rows)
    sampled = torch.zeros(batch.tokens.shape)
    for row, (prompt, scores) in enumerate(zip(prompts, known, strict=True)):
        begin = len(prompt.tokens) - 1
        sampled[row, begin : begin + len(scores)] = torch.tensor(scores)
    lengths = torch.tensor([float(len(scores)) for scores in known])
    return batch.replaced({**batch.tensors, "sampled": sampled, "lengths": lengths})


def seed_of(seed: int, number: int) -> int:
    """A seed for each completion of a run, unlike those of runs with the seeds beside it."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@dataclass(frozen=True)
class HeldOutRewards:
    """As a validator: the mean reward of what the model writes most likely to held-out prompts.

    That of each prompt is kept in ``notes``, by which two validations are compared.
    """

    prompts: Sequence[EncodedPrompt]
    policy: Policy
    rewards: Rewards
    notes: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode; ``loss`` is the reward's negative."""
        written = self.policy.write(self.prompts, [0] * len(self.prompts), temperature=0.0)
        each = [
            self.rewards.of(self.policy.sample_of(prompt, found), source=prompt.prompt.source)
            for prompt, found in zip(self.prompts, written, strict=True)
        ]
        totals = [self.rewards.total(found) for found in each]
        self.notes[HELD_OUT_REWARDS] = totals
        total = float(np.mean(totals))
        parts = {
            f"rewards/{name}": float(np.mean([found[name] for found in each]))
            for name in self.rewards.parts
        }
        return {"loss": -total, "reward": total, **parts}

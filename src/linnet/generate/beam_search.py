"""Beam search: the likeliest whole texts, as far as a few beams find them.

What is searched, kept and returned is that of transformers' ``generate(num_beams=...)``, score for
score: at each step the best ``(1 + stop tokens) * beams`` continuations of all beams compete;
those of the best ``beams`` that end are kept by their log-probability over their length to the
power of ``length_penalty``, and of the others the best go on. Temperature and filters have no part
in it; penalties, bias and a constraint change log-probabilities, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnet.errors import LinnetError
from linnet.generate.engine import Beam, FinishReason
from linnet.generate.logits import Sampler
from linnet.generate.stopping import StopStrings

if TYPE_CHECKING:
    from linnet.generate.constraining import Follower
    from linnet.generate.sampling import Sampling
    from linnet.tokenizer import Tokenizer

_NEVER = -1.0e9  # the score of what is not there yet


@dataclass
class Hypothesis:
    """One text that is being tried."""

    tokens: list[int]
    score: float
    sampler: Sampler
    constraint: Follower | None
    logprobs: list[float]
    """Of each token, as the model gave them."""


@dataclass
class _Candidate:
    """One more token of a hypothesis."""

    parent: int
    token: int
    score: float
    """Of all tokens together."""
    hypothesis: Hypothesis
    reason: FinishReason | None
    """Why it ends here, if it does."""


@dataclass
class _Finished:
    score: float
    candidate: _Candidate | None = None


class BeamSearch:
    """The search of one request; told of logits, it says what comes next."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        own: Sequence[int],
        *,
        limit: int,
        tokenizer: Tokenizer,
        stop_ids: frozenset[int],
        constraint: Follower | None = None,
    ) -> None:
        """``own``: the prompt's own tokens; ``limit``: how many a text may have at most."""
        self.sampling = sampling
        self.limit = limit
        self.stop_ids = stop_ids
        self._prompt, self._tokenizer = prompt, tokenizer
        sampler = Sampler(sampling, own, limit=limit, constraint=constraint)
        self.running = [Hypothesis([], 0.0, sampler, constraint, [])]
        self.ended = False
        self._length = 0
        self._finished = [_Finished(_NEVER) for _ in range(sampling.beams)]
        self._improvable = True

    @property
    def width(self) -> int:
        """How many texts are tried at once."""
        return self.sampling.beams

    @property
    def running_rows(self) -> int:
        """How many texts are being tried: one before the first token."""
        return len(self.running)

    @property
    def last_tokens(self) -> list[int]:
        """The last token of each text that is being tried."""
        return [each.tokens[-1] for each in self.running]

    def advance(self, logits: Tensor) -> list[int]:
        """Go on by the logits ``(n, V)`` behind each running text; whom each new one continues.

        Raises LinnetError where no text can go on as the constraint asks.
        """
        candidates, ends = self._candidates(logits)
        best = sorted(
            (each for each in candidates if each.reason is None), key=lambda each: -each.score
        )
        self._note_finished(candidates[: self.width])
        self._length += 1
        going_on = best[: self.width]
        self.running = [each.hypothesis for each in going_on]
        self._improvable = self._improvable and self._may_improve(going_on)
        full = all(each.candidate is not None for each in self._finished)
        stop_now = full and self.sampling.early_stopping == "true"
        self.ended = not self._improvable or stop_now or ends or not going_on
        parents = [each.parent for each in going_on]
        while self.running and len(self.running) < self.width:  # rows that count for nothing
            last = self.running[-1]
            self.running.append(
                Hypothesis([*last.tokens], -torch.inf, last.sampler, last.constraint, [])
            )
            parents.append(parents[-1])
        return parents

    @property
    def found(self) -> tuple[Beam, ...]:
        """The texts that were found, best first."""
        found = []
        for each in self._finished:
            if each.candidate is None:
                continue
            hypothesis, reason = each.candidate.hypothesis, each.candidate.reason
            assert reason is not None
            tokens, logprobs = hypothesis.tokens, hypothesis.logprobs
            if tokens and tokens[-1] in self.stop_ids:
                tokens, logprobs = tokens[:-1], logprobs[:-1]
            text, _ = self._text(tokens, whole=True)
            found.append(Beam(text, tuple(tokens), each.score, reason, tuple(logprobs)))
        return tuple(found)

    def _candidates(self, logits: Tensor) -> tuple[list[_Candidate], bool]:
        """The best continuations of all texts, best first, and whether all of them end."""
        plain = logits.float().log_softmax(-1)
        logprobs = plain.clone()
        failed: LinnetError | None = None
        for row, each in enumerate(self.running):
            if each.score == -torch.inf:
                logprobs[row] = -torch.inf
                continue
            if not each.sampler.is_plain:
                try:
                    each.sampler.edit(logprobs[row])
                except LinnetError as error:  # this text leads nowhere; another one may
                    failed, logprobs[row] = error, -torch.inf
        scores = torch.tensor([[each.score] for each in self.running], dtype=torch.float32)
        every = (logprobs + scores).flatten()
        count = min(max(2, 1 + len(self.stop_ids)) * self.width, len(every))
        values, places = every.topk(count)
        found: list[_Candidate] = []
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            parent, token = divmod(place, logits.shape[1])
            if value == -torch.inf:
                continue
            try:
                found.append(self._continued(parent, token, value, float(plain[parent, token])))
            except LinnetError as error:
                failed = error
        if (
            not found
            and failed is not None
            and all(one.candidate is None for one in self._finished)
        ):
            raise failed
        return found, all(each.reason is not None for each in found)

    def _continued(self, parent: int, token: int, score: float, logprob: float) -> _Candidate:
        before = self.running[parent]
        tokens = [*before.tokens, token]
        constraint, reason = before.constraint, None
        sampler = before.sampler
        if token in self.stop_ids:
            reason = "stop"
        else:
            sampler = before.sampler.copy()
            sampler.accept(token)
            constraint = sampler.constraint  # type: ignore[assignment]
            if (constraint is not None and constraint.complete) or self._text(tokens)[1]:
                reason = "stop"
        if reason is None and len(tokens) >= self.limit:
            reason = "length"
        hypothesis = Hypothesis(tokens, score, sampler, constraint, [*before.logprobs, logprob])
        return _Candidate(parent, token, score, hypothesis, reason)  # type: ignore[arg-type]

    def _note_finished(self, candidates: Sequence[_Candidate]) -> None:
        """Of the best candidates, keep those that end and are better than what was kept."""
        full = all(each.candidate is not None for each in self._finished)
        if not self._improvable or (full and self.sampling.early_stopping == "true"):
            return
        ended = [
            _Finished(self._weighted(each.score, self._length + 1), each)
            for each in candidates
            if each.reason is not None
        ]
        merged = sorted([*self._finished, *ended], key=lambda each: -each.score)
        self._finished = merged[: self.width]

    def _may_improve(self, running: Sequence[_Candidate]) -> bool:
        """Whether a text that goes on may still become better than the worst that is kept."""
        if not running:
            return False
        if any(each.candidate is None for each in self._finished):
            return True
        never = self.sampling.early_stopping == "never"
        length = self.limit if never and self.sampling.length_penalty > 0 else self._length
        return self._weighted(running[0].score, length) > self._finished[-1].score

    def _weighted(self, score: float, length: int) -> float:
        return float(torch.tensor(score) / length**self.sampling.length_penalty)

    def _text(self, tokens: Sequence[int], *, whole: bool = False) -> tuple[str, bool]:
        """The text of tokens up to a stop string, and whether there is one."""
        if not whole and not self.sampling.stop:
            return "", False
        decoder = self._tokenizer.stream(after=self._prompt)
        stops = StopStrings(self.sampling.stop)
        text = ""
        for token in tokens:
            text += stops.push(decoder.push(token))
            if stops.found:
                return text, True
        text += stops.push(decoder.finish())
        return text + ("" if stops.found else stops.finish()), stops.found is not None

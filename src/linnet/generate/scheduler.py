"""Many requests on one model, computed together: continuous batching.

One thread owns the model. Each of its steps takes every text that is being written one token
further, and beside them prefills a chunk of the prompts that have come in since: a long prompt
stalls nobody. A text joins as soon as there is a slot for it and leaves in the step that ends it.

What a text becomes does not depend on who shares its steps (in fp32, but for rounding).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from linnet.errors import LinnetError, ModelError
from linnet.generate.engine import Chunk, Deliver
from linnet.generate.kv_cache import (
    PAGE,
    Bucket,
    Buckets,
    CacheLayout,
    PrefixCache,
    PromptCache,
    Slot,
)
from linnet.generate.logits import choose
from linnet.generate.torch_attention import PrefillChunk
from linnet.generate.torch_decoder import Decoder
from linnet.generate.torch_text import Text, log_probabilities

PREFILL_TOKENS = 512
"""Prompt tokens read in a step when nothing is being written; attention's memory grows with it."""

PREFILL_BESIDE = 64
"""Prompt tokens read in a step in which others are written, who wait for as long."""

_CLOSE_SECONDS = 10.0
"""How long the end of the step that runs is waited for."""

CLOSED = "the model was closed before this text was finished"


@dataclass(eq=False)
class Job:
    """A text and where its chunks go."""

    text: Text
    deliver: Deliver
    cancelled: bool = False
    cache: PromptCache | None = None
    """While it is read."""
    reading: list[int] = field(default_factory=list)
    """All tokens to be read."""
    begun: bool = False
    """Whether any of it was read; till then, others may read what it begins with."""

    def give(self, what: Chunk | LinnetError) -> None:
        """Deliver it; whoever cannot take it anymore gets nothing more."""
        if self.cancelled:
            return
        try:
            self.deliver(what)
        except Exception:  # the receiver's own fault, which is no reason to stop the others
            self.cancelled = True


class Batch(NamedTuple):
    """What one step computes: a token of each text in the buckets, and chunks of prompts."""

    buckets: list[Bucket]
    decoded: list[Job]
    """Whose texts are in the buckets, in order."""
    chunks: list[tuple[Job, PrefillChunk]]


class Scheduler:
    """Writes texts in a thread of its own, which starts with the first one.

    Each step is ``_schedule``, ``_run``, ``_postprocess``.
    """

    def __init__(
        self, make_decoder: Callable[[], Decoder], *, rows: int, prefix_bytes: int, memory: int
    ) -> None:
        """``rows``: texts computed together at most; ``prefix_bytes``: memory for the beginnings
        of texts; ``memory``: bytes that the texts being written may come to need together.
        """
        self.rows = rows
        self.memory = memory
        self.prefixes = PrefixCache(prefix_bytes)
        self._make_decoder = make_decoder
        self._decoder: Decoder | None = None
        self._buckets: Buckets | None = None
        self._changed = threading.Condition()
        self._incoming: deque[Job] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._torch_threads = 0
        self._waiting: deque[Job] = deque()
        self._prefilling: list[Job] = []
        self._decoding: list[Job] = []

    def submit(self, text: Text, deliver: Deliver) -> Callable[[], None]:
        """Begin to write a text; ``deliver`` is called in the scheduler's thread.

        Gives a function that cancels it: nothing more comes then, not even an error.
        """
        job = Job(text, deliver)
        with self._changed:
            if self._closed:
                raise ModelError(CLOSED)
            self._torch_threads = torch.get_num_threads()
            self._incoming.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="linnet", daemon=True)
                self._thread.start()
            self._changed.notify()

        def cancel() -> None:
            job.cancelled = True

        return cancel

    def close(self) -> None:
        """End all texts with an error, and the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    @property
    def running(self) -> int:
        """Texts that are being read or written."""
        return len(self._prefilling) + len(self._decoding)

    @property
    def waiting(self) -> int:
        """Texts that wait to be admitted."""
        return len(self._waiting) + len(self._incoming)

    def _loop(self) -> None:
        while self._receive():
            try:
                self._step()
            except Exception as error:
                self._fail_all(_as_linnet_error(error))
        self._fail_all(ModelError(CLOSED))

    def _receive(self) -> bool:
        """Note what has come; wait where there is nothing to do. False: it was closed."""
        with self._changed:
            if not self._closed and not self.running and not self._waiting:
                while not (self._closed or self._incoming):
                    self._changed.wait()
                if self._decoder is not None and not self._decoder.is_current:
                    self._decoder = self._buckets = None  # the model was trained meanwhile
                    self.prefixes.clear()
            while self._incoming:
                self._waiting.append(self._incoming.popleft())
            if torch.get_num_threads() != self._torch_threads:
                torch.set_num_threads(self._torch_threads)
            return not self._closed

    @torch.inference_mode()
    def _step(self) -> None:
        """Take all texts that are there one step further."""
        batch = self._schedule()
        jobs, logits = self._run(batch)
        if logits is not None:
            self._postprocess(jobs, logits)
        self._finish_prefill()  # after the first token was handed over, which it would delay

    def _schedule(self) -> Batch:
        """What is computed now: all texts that are being written, and prompts beside them."""
        if self._decoder is None or self._buckets is None:
            self._decoder = decoder = self._make_decoder()
            layout = CacheLayout.of(decoder.config, dtype=decoder.dtype, device=decoder.device)
            self._buckets = Buckets(layout)
        for job in [job for job in (*self._prefilling, *self._decoding) if job.cancelled]:
            self._finish(job)
        if any(job.cancelled for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.cancelled)
        self._admit()
        self._restart_long()
        self._buckets.move_up()
        filled = self._buckets.filled
        decoded: list[Job] = [slot.owner for bucket in filled for slot in bucket.slots]
        return Batch(filled, decoded, self._schedule_prefill())

    def _run(self, batch: Batch) -> tuple[list[Job], Tensor | None]:
        """The texts that have a next token now, and the logits ``(n, V)`` of it."""
        assert self._decoder is not None
        jobs = list(batch.decoded)
        if not jobs and not batch.chunks:
            return [], None
        last = [job.text.tokens[-1] for job in jobs]
        states = self._decoder.step(batch.buckets, last, [chunk for _, chunk in batch.chunks])
        wanted, place = list(range(len(jobs))), len(jobs)
        for job, chunk in batch.chunks:
            place += len(chunk.tokens)
            if chunk.cache.length == len(job.reading):
                wanted.append(place - 1)
                jobs.append(job)
        if not jobs:
            return [], None
        if len(wanted) < len(states):
            states = states[torch.tensor(wanted, device=states.device)]
        return jobs, self._decoder.logits(states, [job.text.adapter for job in jobs])

    def _admit(self) -> None:
        """Admit waiting texts, first come, first served, while there is memory."""
        assert self._buckets is not None
        layout = self._buckets.layout
        held = sum(
            len(job.text.prompt) + job.text.limit for job in (*self._prefilling, *self._decoding)
        )
        while self._waiting and self.running < self.rows:
            job = self._waiting[0]
            held += len(job.text.prompt) + job.text.limit
            if self.running and held * layout.bytes_per_token > self.memory:
                return
            self._prefilling.append(self._waiting.popleft())
            self._start_prefill(job)

    def _start_prefill(self, job: Job) -> None:
        """Read a text from its beginning, or from where another one like it ends.

        One for which there is no memory leaves with an error, and the others go on.
        """
        assert self._buckets is not None
        text = job.text
        job.reading = text.read
        try:
            cache = PromptCache(self._buckets.layout, len(job.reading))
            cache.put(self.prefixes.find(job.reading, self._kind(job)))
        except Exception as error:
            self._finish(job, _as_linnet_error(error))
            return
        text.begin(cache.length)
        job.cache, job.begun = cache, False

    def _kind(self, job: Job) -> tuple[str | None, bool]:
        """What keys and values depend on beside the tokens."""
        return (job.text.adapter, self._is_long(len(job.reading)))

    def _is_long(self, length: int) -> bool:
        """Whether LongRoPE turns a text of this length as a long one."""
        assert self._decoder is not None
        turning_point = self._decoder.turning_point
        return turning_point is not None and length > turning_point

    def _restart_long(self) -> None:
        """Texts that have just become long for LongRoPE: all their positions turn otherwise."""
        assert self._buckets is not None
        for bucket in self._buckets.filled:
            for place in reversed(range(len(bucket.slots))):
                slot = bucket.slots[place]
                if not slot.long and self._is_long(slot.length + 1):
                    bucket.remove(place)
                    self._decoding.remove(slot.owner)
                    self._prefilling.append(slot.owner)
                    self._start_prefill(slot.owner)

    def _schedule_prefill(self) -> list[tuple[Job, PrefillChunk]]:
        """What is read in this step, of the texts that came first.

        Of texts with the same beginning one reads it, and the others wait till it is cached.
        """
        room = PREFILL_BESIDE if self._decoding else PREFILL_TOKENS
        chunks: list[tuple[Job, PrefillChunk]] = []
        begun: set[tuple[object, ...]] = set()
        for job in list(self._prefilling):
            if room <= 0:
                break
            assert job.cache is not None
            kind, start = self._kind(job), job.cache.length
            if not job.begun:
                start = PAGE * len(self.prefixes.find(job.reading, kind))
            page = (kind, *job.reading[: start + PAGE])
            if page in begun and self.prefixes.limit:
                continue
            begun.add(page)
            if start > job.cache.length:
                self._start_prefill(job)
                if job not in self._prefilling:
                    continue
            job.begun = True
            tokens = job.reading[job.cache.length :][:room]
            room -= len(tokens)
            long = self._is_long(len(job.reading))
            chunks.append((job, PrefillChunk(job.cache, tokens, job.text.adapter, long)))
        return chunks

    def _finish_prefill(self) -> None:
        """Texts that were read to their ends get a slot, from which they are written."""
        assert self._buckets is not None
        for job in list(self._prefilling):
            cache, kind = job.cache, self._kind(job)
            if cache is None or not job.begun:
                continue
            self.prefixes.keep(job.reading, kind, cache.read)
            if cache.length < len(job.reading):
                continue
            self._buckets.place(Slot(job, *kind, cache.length), cache.read)
            self._prefilling.remove(job)
            self._decoding.append(job)
            job.cache, job.reading = None, []

    def _postprocess(self, jobs: list[Job], logits: Tensor) -> None:
        """Choose the next token of each text, given its logits ``(n, V)``, and deliver it."""
        failed = _not_finite(jobs, logits)
        told = log_probabilities([job.text for job in jobs], logits)
        for place, job in enumerate(jobs):
            if not job.text.sampler.is_plain:
                try:
                    job.text.sampler.edit(logits[place])
                except LinnetError as error:
                    failed[job] = error
        tokens = choose(logits, [job.text.sampler for job in jobs])
        for place, (job, token) in enumerate(zip(jobs, tokens, strict=True)):
            if job in failed:
                self._finish(job, failed[job])
                continue
            logprob, top = told[place](token) if place in told else (None, None)
            try:
                chunk = job.text.advance(token, logprob, top)
            except LinnetError as error:
                self._finish(job, error)
                continue
            if chunk.finish_reason is not None:
                self._finish(job)
            job.give(chunk)

    def _finish(self, job: Job, error: LinnetError | None = None) -> None:
        """A text is over; what was computed for it may serve the next that begins like it."""
        assert self._buckets is not None
        found = self._buckets.find(job)
        if found is not None:
            bucket, place = found
            kind = (job.text.adapter, bucket.slots[place].long)
            if error is None:
                self.prefixes.keep(job.text.read, kind, bucket.kept(place))
            bucket.remove(place)
        elif job.cache is not None and error is None:
            self.prefixes.keep(job.reading, self._kind(job), job.cache.read)
        for jobs in (self._prefilling, self._decoding):
            if job in jobs:
                jobs.remove(job)
        if error is not None:
            job.give(error)

    def _fail_all(self, error: LinnetError) -> None:
        """Nothing of what is being computed can go on.

        Those who wait may still succeed, unless there is nothing to compute them with.
        """
        with self._changed:
            jobs = [*self._prefilling, *self._decoding]
            if self._closed or self._buckets is None:
                jobs += self._waiting
                self._waiting.clear()
                self._decoder = None
            if self._closed:
                jobs += self._incoming
                self._incoming.clear()
        self._prefilling, self._decoding = [], []
        self._buckets = None
        self.prefixes.clear()
        for job in jobs:
            job.give(error)


def _not_finite(jobs: Sequence[Job], logits: Tensor) -> dict[Job, LinnetError]:
    """Of the texts that were just read, those whose logits are not finite."""
    read = [place for place, job in enumerate(jobs) if job.cache is not None]
    if not read or logits[read].isfinite().all():
        return {}
    finite = logits.isfinite().all(-1).tolist()
    return {
        jobs[place]: ModelError(
            "the model's output is not a number: its weights are damaged, or too large for "
            "this number format; try fp32"
        )
        for place in read
        if not finite[place]
    }


def _as_linnet_error(error: Exception) -> LinnetError:
    """What is told of an error, in one line."""
    if isinstance(error, LinnetError):
        return error
    reason = " ".join(str(error).split())[:200]
    return ModelError(f"computing failed ({type(error).__name__}: {reason})")

"""Many requests on one model, computed together: they come, wait, are read, written, and leave.

One thread owns the model. Each of its steps takes every text that is being written one token
further, and beside them reads a piece of the prompts that have come in since: a long prompt
stalls nobody. A text joins as soon as there is a row for it and leaves in the step that ends it.

What a text becomes does not depend on who shares its steps (in fp32, but for rounding).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from linnet.errors import LinnetError, ModelError
from linnet.generate.engine import Chunk, Deliver
from linnet.generate.logits import choose
from linnet.generate.prefix_cache import PAGE, PrefixCache
from linnet.generate.torch_attention import Piece
from linnet.generate.torch_decoder import Decoder
from linnet.generate.torch_memory import Layout, Row, Shelves, Strip
from linnet.generate.torch_text import Text, log_probabilities

READ_TOKENS = 512
"""Prompt tokens read in a step when nothing is being written; attention's memory grows with it."""

READ_BESIDE = 64
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
    strip: Strip | None = None
    """While it is read."""
    reading: list[int] = field(default_factory=list)
    """All tokens to be read."""
    begun: bool = False
    """Whether any of it was read; till then, others may read what it begins with."""


class Scheduler:
    """Writes texts in a thread of its own, which starts with the first one."""

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
        self._shelves: Shelves | None = None
        self._changed = threading.Condition()
        self._incoming: deque[Job] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._torch_threads = 0
        self._waiting: deque[Job] = deque()
        self._reading: list[Job] = []
        self._writing: list[Job] = []

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
                self._thread = threading.Thread(target=self._run, name="linnet", daemon=True)
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
        return len(self._reading) + len(self._writing)

    @property
    def waiting(self) -> int:
        """Texts that wait for a row."""
        return len(self._waiting) + len(self._incoming)

    def _run(self) -> None:
        while self._take_in():
            try:
                self._step()
            except Exception as error:
                self._fail(_failure(error))
        self._fail(ModelError(CLOSED))

    def _take_in(self) -> bool:
        """Note what has come; wait where there is nothing to do. False: it was closed."""
        with self._changed:
            if not self._closed and not self.running and not self._waiting:
                while not (self._closed or self._incoming):
                    self._changed.wait()
                self._look_again()
            while self._incoming:
                self._waiting.append(self._incoming.popleft())
            if torch.get_num_threads() != self._torch_threads:
                torch.set_num_threads(self._torch_threads)
            return not self._closed

    @torch.inference_mode()
    def _step(self) -> None:
        """Take all texts that are there one step further."""
        decoder, shelves = self._ready()
        self._drop_cancelled()
        self._admit()
        self._read_anew()
        shelves.move_up()
        filled = shelves.filled
        jobs: list[Job] = [row.owner for shelf in filled for row in shelf.rows]
        pieces = self._pieces()
        if not jobs and not pieces:
            return
        last = [job.text.tokens[-1] for job in jobs]
        states = decoder.step(filled, last, [piece for _, piece in pieces])
        wanted, place = list(range(len(jobs))), len(jobs)
        for job, piece in pieces:
            place += len(piece.tokens)
            if piece.strip.length == len(job.reading):
                wanted.append(place - 1)
                jobs.append(job)
        if jobs:
            if len(wanted) < len(states):
                states = states[torch.tensor(wanted, device=states.device)]
            logits = decoder.logits(states, [job.text.adapter for job in jobs])
            self._advance(jobs, logits, self._not_numbers(jobs, logits))
        self._settle()  # after the first token was handed over, which it would delay

    def _look_again(self) -> None:
        """After a pause: a model that was trained meanwhile is read anew."""
        if self._decoder is not None and not self._decoder.is_current:
            self._decoder = self._shelves = None
            self.prefixes.clear()

    def _ready(self) -> tuple[Decoder, Shelves]:
        if self._decoder is None or self._shelves is None:
            self._decoder = self._make_decoder()
            decoder = self._decoder
            layout = Layout.of(decoder.config, dtype=decoder.dtype, device=decoder.device)
            self._shelves = Shelves(layout)
        return self._decoder, self._shelves

    def _admit(self) -> None:
        """Give waiting texts a row, first come, first served, while there is memory."""
        assert self._shelves is not None
        layout = self._shelves.layout
        held = sum(
            len(job.text.prompt) + job.text.limit for job in (*self._reading, *self._writing)
        )
        while self._waiting and self.running < self.rows:
            job = self._waiting[0]
            held += len(job.text.prompt) + job.text.limit
            if self.running and held * layout.bytes_per_token > self.memory:
                return
            self._reading.append(self._waiting.popleft())
            self._begin(job)

    def _begin(self, job: Job) -> None:
        """Read a text from its beginning, or from where another one like it ends.

        One for which there is no memory leaves with an error, and the others go on.
        """
        assert self._shelves is not None
        text = job.text
        job.reading = text.read
        try:
            strip = Strip(self._shelves.layout, len(job.reading))
            strip.put(self.prefixes.find(job.reading, self._kind(job)))
        except Exception as error:
            self._leave(job, _failure(error))
            return
        text.begin(strip.length)
        job.strip, job.begun = strip, False

    def _kind(self, job: Job) -> tuple[str | None, bool]:
        """What keys and values depend on beside the tokens."""
        return (job.text.adapter, self._is_long(len(job.reading)))

    def _is_long(self, length: int) -> bool:
        """Whether LongRoPE turns a text of this length as a long one."""
        assert self._decoder is not None
        turning_point = self._decoder.turning_point
        return turning_point is not None and length > turning_point

    def _read_anew(self) -> None:
        """Texts that have just become long for LongRoPE: all their positions turn otherwise."""
        assert self._shelves is not None
        for shelf in self._shelves.filled:
            for place in reversed(range(len(shelf.rows))):
                row = shelf.rows[place]
                if not row.long and self._is_long(row.length + 1):
                    shelf.remove(place)
                    self._writing.remove(row.owner)
                    self._reading.append(row.owner)
                    self._begin(row.owner)

    def _pieces(self) -> list[tuple[Job, Piece]]:
        """What is read in this step, of the texts that came first.

        Of texts with the same beginning one reads it, and the others wait till it is cached.
        """
        room = READ_BESIDE if self._writing else READ_TOKENS
        pieces: list[tuple[Job, Piece]] = []
        begun: set[tuple[object, ...]] = set()
        for job in list(self._reading):
            if room <= 0:
                break
            assert job.strip is not None
            kind, start = self._kind(job), job.strip.length
            if not job.begun:
                start = PAGE * len(self.prefixes.find(job.reading, kind))
            page = (kind, *job.reading[: start + PAGE])
            if page in begun and self.prefixes.limit:
                continue
            begun.add(page)
            if start > job.strip.length:
                self._begin(job)
                if job not in self._reading:
                    continue
            job.begun = True
            tokens = job.reading[job.strip.length :][:room]
            room -= len(tokens)
            long = self._is_long(len(job.reading))
            pieces.append((job, Piece(job.strip, tokens, job.text.adapter, long)))
        return pieces

    def _settle(self) -> None:
        """Texts that were read to their ends go on a shelf, from which they are written."""
        assert self._shelves is not None
        for job in list(self._reading):
            strip, kind = job.strip, self._kind(job)
            if strip is None or not job.begun:
                continue
            self.prefixes.keep(job.reading, kind, strip.read)
            if strip.length < len(job.reading):
                continue
            self._shelves.place(Row(job, *kind, strip.length), strip.read)
            self._reading.remove(job)
            self._writing.append(job)
            job.strip, job.reading = None, []

    def _advance(self, jobs: list[Job], logits: Tensor, failed: dict[Job, LinnetError]) -> None:
        """Choose the next token of each text, given its logits ``(n, V)``."""
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
                self._leave(job, failed[job])
                continue
            logprob, top = told[place](token) if place in told else (None, None)
            try:
                chunk = job.text.advance(token, logprob, top)
            except LinnetError as error:
                self._leave(job, error)
                continue
            if chunk.finish_reason is not None:
                self._leave(job)
            _tell(job, chunk)

    def _leave(self, job: Job, error: LinnetError | None = None) -> None:
        """A text is over; what was computed for it may serve the next that begins like it."""
        assert self._shelves is not None
        found = self._shelves.find(job)
        if found is not None:
            shelf, place = found
            kind = (job.text.adapter, shelf.rows[place].long)
            if error is None:
                self.prefixes.keep(job.text.read, kind, shelf.kept(place))
            shelf.remove(place)
        elif job.strip is not None and error is None:
            self.prefixes.keep(job.reading, self._kind(job), job.strip.read)
        for jobs in (self._reading, self._writing):
            if job in jobs:
                jobs.remove(job)
        if error is not None:
            _tell(job, error)

    def _drop_cancelled(self) -> None:
        for job in [job for job in (*self._reading, *self._writing) if job.cancelled]:
            self._leave(job)
        if any(job.cancelled for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.cancelled)

    def _fail(self, error: LinnetError) -> None:
        """Nothing of what is being computed can go on.

        Those who wait may still succeed, unless there is nothing to compute them with.
        """
        with self._changed:
            jobs = [*self._reading, *self._writing]
            if self._closed or self._shelves is None:
                jobs += self._waiting
                self._waiting.clear()
                self._decoder = None
            if self._closed:
                jobs += self._incoming
                self._incoming.clear()
        self._reading, self._writing = [], []
        self._shelves = None
        self.prefixes.clear()
        for job in jobs:
            _tell(job, error)

    def _not_numbers(self, jobs: Sequence[Job], logits: Tensor) -> dict[Job, LinnetError]:
        """Of the texts that were just read, those whose logits are not finite."""
        read = [place for place, job in enumerate(jobs) if job.strip is not None]
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


def _failure(error: Exception) -> LinnetError:
    """What is told of an error, in one line."""
    if isinstance(error, LinnetError):
        return error
    reason = " ".join(str(error).split())[:200]
    return ModelError(f"computing failed ({type(error).__name__}: {reason})")


def _tell(job: Job, what: Chunk | LinnetError) -> None:
    """Hand it over; whoever cannot take it anymore gets nothing more."""
    if job.cancelled:
        return
    try:
        job.deliver(what)
    except Exception:  # the receiver's own fault, which is no reason to stop the others
        job.cancelled = True

"""The thread that computes all texts of one model together, step by step.

What a text becomes does not depend on who shares its steps (in fp32, but for rounding).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter, thread_time
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from linnet.errors import LinnetError, ModelError
from linnet.generate.engine import Chunk, TopLogprobs
from linnet.generate.generation import Generation
from linnet.generate.kv_cache import CacheLayout, KVMemory, SlotCache
from linnet.generate.logits import choose
from linnet.generate.scheduler import Batch, Scheduler, as_linnet_error
from linnet.generate.speculation import Speculation
from linnet.generate.torch_attention import PrefillChunk
from linnet.generate.torch_decoder import Decoder

_CLOSE_SECONDS = 10.0
"""How long the end of the step that runs is waited for."""


class Place(NamedTuple):
    """Where a text's logits stand in those of a step."""

    text: Generation
    row: int
    draft: SlotCache | None

    @property
    def rows(self) -> int:
        """How many there are: one behind its last token, and behind each of its draft; or one for
        each of its beams.
        """
        if self.text.beams is not None:
            return self.text.beams.running_rows
        return 1 if self.draft is None else 1 + len(self.draft.tokens)


CLOSED = "the model was closed before this text was finished"


class Runner:
    """Writes texts in a thread of its own, which starts with the first one.

    Each step is ``Scheduler.schedule``, ``_draft``, ``_run``, ``_postprocess``.
    """

    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        scheduler: Scheduler,
        *,
        prefix_bytes: int,
        speculation: Speculation | None = None,
    ) -> None:
        """``prefix_bytes``: memory for the beginnings of texts; ``speculation``: what drafts."""
        self.scheduler = scheduler
        self.speculation = speculation or Speculation(lookup=False)
        self.memory: KVMemory | None = None
        self._prefix_bytes = prefix_bytes
        self._make_decoder = make_decoder
        self._decoder: Decoder | None = None
        self._changed = threading.Condition()
        self._incoming: deque[Generation] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._torch_threads = 0

    def submit(self, text: Generation) -> Callable[[], None]:
        """Begin to write a text, whose chunks are delivered in this runner's thread.

        Gives a function that cancels it: nothing more comes then, not even an error.
        """
        with self._changed:
            if self._closed:
                raise ModelError(CLOSED)
            self._torch_threads = torch.get_num_threads()
            self._incoming.append(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="linnet", daemon=True)
                self._thread.start()
            self._changed.notify()

        def cancel() -> None:
            text.cancelled = True

        return cancel

    def submitting_together(self) -> AbstractContextManager[object]:
        """While it is held, the thread takes no text that was submitted, so that all are seen at
        once afterwards."""
        return self._changed

    def close(self) -> None:
        """End all texts with an error, and the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    @property
    def memory_bytes(self) -> int:
        """Memory of the decoder's own weights, and of keys and values that are kept."""
        decoder, memory = self._decoder, self.memory
        weights = decoder.copied_bytes if decoder is not None else 0
        return weights + (memory.prefixes.bytes if memory is not None else 0)

    @property
    def running(self) -> int:
        """Texts that are being read or written."""
        return len(self.scheduler.running)

    @property
    def waiting(self) -> int:
        """Texts that wait to be admitted."""
        return len(self.scheduler.waiting) + len(self._incoming)

    def _loop(self) -> None:
        while self._receive():
            try:
                self._step()
            except Exception as error:
                self._fail_all(as_linnet_error(error))
        self._fail_all(ModelError(CLOSED))

    def _receive(self) -> bool:
        """Note what has come; wait where there is nothing to do. False: it was closed."""
        with self._changed:
            if not self._closed and not self.running and not self.scheduler.waiting:
                while not (self._closed or self._incoming):
                    self._changed.wait()
                if self._decoder is not None and not self._decoder.is_current:
                    self._decoder = self.memory = None  # the model was trained meanwhile
            while self._incoming:
                self.scheduler.waiting.append(self._incoming.popleft())
            if torch.get_num_threads() != self._torch_threads:
                torch.set_num_threads(self._torch_threads)
            return not self._closed

    @torch.inference_mode()
    def _step(self) -> None:
        """Take all texts that are there one step further."""
        if self._decoder is None or self.memory is None:
            self._decoder = decoder = self._make_decoder()
            layout = CacheLayout.of(decoder.config, dtype=decoder.dtype, device=decoder.device)
            self.memory = KVMemory(layout, prefix_bytes=self._prefix_bytes)
        batch = self.scheduler.schedule(self.memory)
        begun = self._clock(self._decoder)
        drafts = self._draft(self.memory, batch)
        if self.speculation.drafter is not None:  # which counts its own time
            begun = self._clock(self._decoder)
        computed = self._run(self._decoder, self.memory, batch, drafts)
        if self.speculation.is_on and computed is not None and not batch.chunks:
            rows = len(computed[1])
            self.speculation.costs.record(rows, self._clock(self._decoder) - begun)
        if computed is not None:
            self._postprocess(self.memory, *computed)
        # After the first token was handed over, which it would delay.
        self.scheduler.postprocess(self.memory)

    def _draft(self, memory: KVMemory, batch: Batch) -> dict[Generation, SlotCache]:
        """What is drafted for texts that are being written, where it is to be verified."""
        if not self.speculation.is_on or not batch.decoded:
            return {}
        slots = [(bucket, place) for bucket in batch.buckets for place in range(len(bucket.slots))]
        most = [
            min(memory.vacant(bucket, place), text.limit - len(text.tokens)) - 1
            for (bucket, place), text in zip(slots, batch.decoded, strict=True)
        ]
        beside = sum(len(tokens) for _, tokens in batch.chunks)
        drafts = self.speculation.draft(batch.decoded, most, beside=beside)
        return {
            text: SlotCache(bucket, place, drafted)
            for text, (bucket, place), drafted in zip(batch.decoded, slots, drafts, strict=True)
            if drafted
        }

    def _run(
        self, decoder: Decoder, memory: KVMemory, batch: Batch, drafts: dict[Generation, SlotCache]
    ) -> tuple[list[Place], Tensor] | None:
        """The texts that have a next token now, and the logits ``(n, V)``: of it, and behind each
        token of their drafts.
        """
        decoded, searched = batch.decoded, batch.searched
        if not decoded and not searched and not batch.chunks:
            return None
        read = [
            PrefillChunk(text.cache, tokens, text.adapter, memory.is_long(len(text.reading)))
            for text, tokens in batch.chunks
            if text.cache is not None
        ]
        drafted = [
            PrefillChunk(draft, draft.tokens, text.adapter, draft.slot.long)
            for text, draft in drafts.items()
        ]
        buckets = [*batch.buckets, *(memory.beams[text] for text in searched)]
        beams = [token for text in searched if text.beams for token in text.beams.last_tokens]
        tokens = [*(text.tokens[-1] for text in decoded), *beams]
        states = decoder.step(buckets, tokens, read + drafted)
        behind = len(tokens) + sum(len(piece.tokens) for piece in read)
        places: list[Place] = []
        wanted: list[int] = []
        for place, text in enumerate(decoded):
            draft = drafts.get(text)
            places.append(Place(text, len(wanted), draft))
            wanted.append(place)
            if draft is not None:
                wanted += range(behind, behind + len(draft.tokens))
                behind += len(draft.tokens)
        place = len(decoded)
        for text in searched:
            places.append(Place(text, len(wanted), None))
            wanted += range(place, place + places[-1].rows)
            place += places[-1].rows
        for text, chunk in batch.chunks:
            place += len(chunk)
            if text.is_read:
                places.append(Place(text, len(wanted), None))
                wanted.append(place - 1)
        if not places:
            return None
        if wanted != list(range(len(states))):
            states = states[torch.tensor(wanted, device=states.device)]
        adapters = [each.text.adapter for each in places for _ in range(each.rows)]
        return places, decoder.logits(states, adapters)

    def _clock(self, decoder: Decoder) -> float:
        """Seconds: of the processor, which other programs disturb less, where it computes."""
        return thread_time() if decoder.device.type == "cpu" else perf_counter()

    def _postprocess(self, memory: KVMemory, places: list[Place], logits: Tensor) -> None:
        """Choose the next token of each text, then of those whose drafts have it the one after."""
        judged = [(each.text, each.draft) for each in places if each.draft is not None]
        ended: list[tuple[Generation, Chunk | LinnetError]] = []
        self._search(
            [each for each in places if each.text.beams is not None], memory, logits, ended
        )
        places = [each for each in places if each.text.beams is None]
        depth = 0
        while places:
            rows = [each.row + depth for each in places]
            own = logits if len(rows) == len(logits) else logits[rows]
            places = self._choose(places, own, depth, ended)
            depth += 1
        for text, last in ended:  # only now, as it moves what others have in their slots
            if isinstance(last, LinnetError):
                self.scheduler.finish(text, memory, last)
            else:
                self.scheduler.finish(text, memory)
                text.give(last)
        for text, draft in judged:
            self.speculation.judge(text, len(draft.tokens), draft.accepted)

    def _search(
        self,
        places: list[Place],
        memory: KVMemory,
        logits: Tensor,
        ended: list[tuple[Generation, Chunk | LinnetError]],
    ) -> None:
        """Take texts with beams further; ``ended`` gets those that are over."""
        for each in places:
            text, own = each.text, logits[each.row : each.row + each.rows]
            failed = _not_finite([text], own)
            try:
                if failed:
                    raise failed[text]
                parents, found = text.search(own)
            except LinnetError as error:
                ended.append((text, error))
                continue
            if found is not None:
                ended.append((text, found))
            elif text in memory.beams:
                memory.beams[text].reorder(parents)

    def _choose(
        self,
        places: list[Place],
        logits: Tensor,
        depth: int,
        ended: list[tuple[Generation, Chunk | LinnetError]],
    ) -> list[Place]:
        """Choose a token of each text, given its logits ``(n, V)``, and deliver it.

        Gives those whose drafts have the same token in this place; ``ended`` gets those that are
        over, and what is to be delivered last.
        """
        texts = [each.text for each in places]
        failed = {} if depth else _not_finite(texts, logits)
        told = log_probabilities(texts, logits)
        for place, text in enumerate(texts):
            if not text.sampler.is_plain:
                try:
                    text.sampler.edit(logits[place])
                except LinnetError as error:
                    failed[text] = error
        tokens = choose(logits, [text.sampler for text in texts])
        going_on: list[Place] = []
        for place, (each, token) in enumerate(zip(places, tokens, strict=True)):
            text = each.text
            if text in failed:
                ended.append((text, failed[text]))
                continue
            logprob, top = told[place](token) if place in told else (None, None)
            try:
                chunk = text.advance(token, logprob, top)
            except LinnetError as error:
                ended.append((text, error))
                continue
            if chunk.finish_reason is not None:
                ended.append((text, chunk))
                continue
            if each.draft is not None and each.draft.accept(token, depth):
                going_on.append(each)
            text.give(chunk)
        return going_on

    def _fail_all(self, error: LinnetError) -> None:
        """Nothing of what is being computed can go on.

        Those who wait may still succeed, unless there is nothing to compute them with.
        """
        with self._changed:
            unable = self._closed or self.memory is None
            texts = self.scheduler.abort(waiting=unable)
            if unable:
                self._decoder = None
            if self._closed:
                texts += self._incoming
                self._incoming.clear()
        self.memory = None
        for text in texts:
            text.give(error)


def _not_finite(texts: Sequence[Generation], logits: Tensor) -> dict[Generation, LinnetError]:
    """Of the texts that were just read, those whose logits are not finite."""
    read = [place for place, text in enumerate(texts) if text.cache is not None]
    if not read or logits[read].isfinite().all():
        return {}
    finite = logits.isfinite().all(-1).tolist()
    return {
        texts[place]: ModelError(
            "the model's output is not a number: its weights are damaged, or too large for "
            "this number format; try fp32"
        )
        for place in read
        if not finite[place]
    }


Teller: TypeAlias = Callable[[int], tuple[float, TopLogprobs | None]]
"""Tells a token's log-probability, and those of the likeliest where they were asked for."""


def log_probabilities(texts: Sequence[Generation], logits: Tensor) -> dict[int, Teller]:
    """What tells those of the next tokens, for the places of the texts that ask for them.

    ``logits`` (n, V): as the model gave them.
    """
    places = [place for place, text in enumerate(texts) if text.request.logprobs]
    if not places:
        return {}
    every = logits[places].log_softmax(-1)
    most = max(texts[place].request.top_logprobs for place in places)
    best = every.topk(min(most, every.shape[1])) if most else None

    def teller(row: int, count: int) -> Teller:
        def tell(token: int) -> tuple[float, TopLogprobs | None]:
            top = None
            if count and best is not None:
                values, tokens = best.values[row, :count], best.indices[row, :count]
                top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
            return float(every[row, token]), top

        return tell

    return {
        place: teller(row, texts[place].request.top_logprobs) for row, place in enumerate(places)
    }

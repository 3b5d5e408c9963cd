"""What the planner measures: the documents, and for some seconds the machine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.errors import DataError
from linnet.output import human_bytes

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST_CORPUS = 20_000  # bytes of training text
PROBE_SECONDS = 2.0
SAMPLE_BYTES = 1_000_000


@dataclass(frozen=True)
class CorpusFacts:
    """What the planner measures of the documents."""

    documents: int
    train_bytes: int
    ngram_bits_per_byte: float | None
    """What a 5-gram of bytes spends on held-out text; None without such text."""


@dataclass(frozen=True)
class MachineFacts:
    """What the planner measures of the machine as it is now."""

    device: str
    dtype: str
    threads: int
    processor: str
    flops: float
    """Useful work per second in a training step."""
    compile_seconds: float = 20.0
    """What compiling a model would take."""


def measure_corpus(corpus: Path) -> CorpusFacts:
    """Count the text and find how hard it is to predict."""
    from linnet.data import read_documents
    from linnet.evaluate.tasks.baselines import ByteNgram

    stats = artifact.read(corpus, kind="corpus").stats
    train_bytes = int(stats["bytes"]["train"])
    if train_bytes < SMALLEST_CORPUS:
        raise DataError(
            f"{corpus}: training needs at least {human_bytes(SMALLEST_CORPUS)} of text (1 MB is a "
            f"good start). Got {human_bytes(train_bytes)}; add documents, for example "
            "python:library for general text"
        )
    held_out = _sample(read_documents(corpus, "validation"), SAMPLE_BYTES // 5)
    bits = None
    if held_out:
        # Take every n-th document, so that the sample is spread over the whole corpus.
        every = max(1, train_bytes // SAMPLE_BYTES)
        documents = itertools.islice(read_documents(corpus, "train"), None, None, every)
        ngram = ByteNgram(_sample(documents, SAMPLE_BYTES))
        size = sum(len(text.encode()) for text in held_out)
        bits = float(sum(ngram.bits(text) for text in held_out)) / size
    return CorpusFacts(int(stats["documents"]["train"]), train_bytes, bits)


def measure_machine(runtime: Any) -> MachineFacts:
    """Time real training steps of a middling shape for a few seconds."""
    import torch

    from linnet.runtime import describe_processor, threads
    from linnet.train.machine import compile_seconds, probe_flops

    with threads(runtime.threads):
        flops = probe_flops(runtime, seconds=PROBE_SECONDS)
    name = torch.cuda.get_device_name() if runtime.device == "cuda" else describe_processor()
    compiling = compile_seconds()
    return MachineFacts(runtime.device, runtime.dtype, runtime.threads, name, flops, compiling)


def _sample(documents: Any, size: int) -> list[str]:
    """The texts of documents until ``size`` characters are reached; a long one is cut."""
    texts: list[str] = []
    for document in documents:
        if size <= 0:
            break
        texts.append(document.text[:size])
        size -= len(document.text)
    return texts

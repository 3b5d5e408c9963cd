"""Documents read in the process of the tests: starting another takes longer than what it reads."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linnet.data import worker
from linnet.data.executor import Answer, Item, ProcessPool
from linnet.data.storage import new_spool


class ReadingHere:
    """What ``ProcessPool`` does, for documents that need no confinement and no converter."""

    def __init__(self, workers: int, *, timeout: float, memory_mb: int) -> None:
        self._pool = ProcessPool(workers, timeout=timeout, memory_mb=memory_mb)

    def map(
        self, task: str, items: Iterable[Item], *, settings: dict[str, Any], spools: Path
    ) -> Iterator[Answer]:
        scratch = spools.with_name(f"{spools.name}.here")
        scratch.mkdir(exist_ok=True)
        job = worker.Job(settings, scratch, spools / new_spool(spools))
        converted = []
        for number, item in items:
            answers = [json.loads(line) for line in worker.answer(task, item, job)]
            if answers[-1].pop("converts", False):
                converted.append((number, item))
                continue
            for answer in answers:
                answer.pop("retires", None)
                yield Answer(number, **answer)
        job._spool.close()  # as that of a process that ends
        scratch.rmdir()
        if converted:
            yield from self._pool.map(task, converted, settings=settings, spools=spools)

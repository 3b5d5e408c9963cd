"""How long a reservation takes, how many hold at once, and what adding to the log costs.

    python benchmarks/budgets.py [--place DIR] [--calls 10]

Threads of one process, then of four processes on one file, reserve, wait as an answer would (up to
0.3 s) and settle, within a budget that is not enough for all of them; afterwards what was spent
must equal what they say they used. Then entries are added to a log, 200 a second and as fast as
threads can. Times are of the clock: 50th and 99th percentile; ``place`` decides on which disk.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from linnet.monitor.entry import Entry
from linnet.monitor.log import Log
from linnet.respond.context import BudgetExceededError, Charge
from linnet.respond.prices import Price
from linnet.routing.budgets import BudgetConfig
from linnet.routing.ledger import Ledger

PRICE = Price.per_million(1, 2)
RESERVED = 1000 * PRICE.prompt + 100 * PRICE.written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--place", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--calls", type=int, default=10, help="of each thread")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(spend(given.worker, given.threads, given.calls)))
        return
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        for processes, threads in ((1, 1), (1, 16), (1, 64), (4, 16)):
            budget(Path(folder) / f"{processes}-{threads}", processes, threads, given.calls)
        log(Path(folder))


def budget(file: Path, processes: int, threads: int, calls: int) -> None:
    command = [sys.executable, __file__, "--worker", str(file), "--calls", str(calls)]
    running = [
        subprocess.Popen([*command, "--threads", str(threads)], stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    found = [json.loads(process.communicate()[0]) for process in running]
    with closing(Ledger(file)) as ledger:
        total = ledger.spent()[0].day
    used = sum(sum(each["used"]) for each in found)
    assert total.cost == used <= limit(threads, calls), (total, used)
    assert (total.reserved, total.assumed) == (0, 0)
    reserved = [seconds for each in found for seconds in each["reserved"]]
    settled = [seconds for each in found for seconds in each["settled"]]
    refused = sum(len(each["refused"]) for each in found)
    print(
        f"{processes} x {threads} threads: reserved {percentiles(reserved)}, settled "
        f"{percentiles(settled)}; {len(settled)} calls, {refused} refused, settled exactly"
    )


def limit(threads: int, calls: int) -> int:
    """For about two thirds of the calls of one process."""
    return RESERVED * max(1, threads * calls // 3)


def spend(file: Path, threads: int, calls: int) -> dict[str, Any]:
    from linnet.respond.prices import UNIT

    ledger = Ledger(file, BudgetConfig(day=limit(threads, calls) / UNIT))
    found: dict[str, list[Any]] = {"used": [], "refused": [], "reserved": [], "settled": []}

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(calls):
            began = time.perf_counter()
            try:
                settle = ledger.budget(f"k{number % 5}").reserve(Charge(1000, 100, PRICE, "m"))
            except BudgetExceededError:
                found["refused"].append(number)
                continue
            found["reserved"].append(time.perf_counter() - began)
            time.sleep(chance.random() * 0.3)
            cost = chance.randrange(RESERVED)
            found["used"].append(cost)
            began = time.perf_counter()
            settle(900, cost)
            found["settled"].append(time.perf_counter() - began)

    in_threads(threads, work)
    ledger.close()
    return found


def log(folder: Path) -> None:
    times: list[float] = []
    with closing(Log(folder / "log", keeps_contents=True)) as made:

        def add(number: int, pause: float) -> None:
            entry = Entry(
                at=time.time(), id=f"r{number}", key="k", model="m", question="q" * 300,
                answer="a" * 1500, scores=(1.0,) * 10, features={f"f{n}": 1.0 for n in range(10)},
            )  # fmt: skip
            began = time.perf_counter()
            made.add(entry)
            times.append(time.perf_counter() - began)
            time.sleep(pause)

        for said, threads, count, pause in (("200 a second", 8, 125, 0.04), ("burst", 8, 1000, 0)):
            times.clear()
            processor, began = time.process_time(), time.perf_counter()
            in_threads(threads, lambda n, c=count, p=pause: [add(n * c + i, p) for i in range(c)])  # type: ignore[misc]
            assert made.flush(60)
            each = (time.process_time() - processor) / len(times) * 1e6
            rate = len(times) / (time.perf_counter() - began)
            print(
                f"log, {said}: added {percentiles(times)}, {each:.0f} us of the processor for an "
                f"entry, {rate:,.0f} a second, {made.state.dropped} dropped"
            )


def in_threads(count: int, work: Callable[[int], Any]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def percentiles(seconds: list[float]) -> str:
    inorder = sorted(seconds)
    found = [inorder[int(len(inorder) * share)] * 1e3 for share in (0.5, 0.99)]
    return " / ".join(f"{each:.3g}" for each in found) + " ms"


if __name__ == "__main__":
    main()

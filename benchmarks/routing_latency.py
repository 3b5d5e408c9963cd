"""What policy, router, budget and log add to the time of an answer.

    python benchmarks/routing_latency.py --medquad medquad.jsonl [--passages 20000] [--calls 300]

Each question is answered twice, with and without, one after the other in an order that is drawn:

* from documents: a lexical index of which nothing may leave, so that every question is compared
  with the text of all of it; the local answer is judged, and stands;
* by a model at an address: one of this process, which answers at once; the same with policy
  (masking private data), a budget on disk, retries and circuit breaker around it.

Both write a line in a log on disk where they are routed. Reported: of the differences between the
two times the median and the 99th percentile, by the clock and in processor time (of all threads,
the other side's as well); and each part alone. A part is what a call does: the router's choice and
its judgement, the policy's look, a reservation with its settlement (each on disk before it
returns), a line in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from index import Varied

from linnet.answers import Assistant
from linnet.answers.responder import DocumentsResponder
from linnet.monitor.entry import entry_of
from linnet.monitor.log import Log
from linnet.respond import Charge, Context, Conversation, Record, RemoteResponder, conversation
from linnet.respond.responder import Answer, Responder
from linnet.retrieval import Index, IndexConfig
from linnet.retrieval.updating import index_texts
from linnet.routing.features import Attempt
from linnet.routing.opening import OpenRouting
from linnet.routing.responder import RoutingResponder

SETTINGS = """
currency = "EUR"

[models.cloud]
address = "{address}"
model = "m"
place = "elsewhere"
input = 0.5
output = 2.0

[policy]
farthest = "elsewhere"
private = "mask"
[[policy.patterns]]
name = "CASE"
matches = "[A-Z]{{2}}-[0-9]{{4,}}"

[router]
refused = false
probability = 0.5

[budget]
query = 1.0
day = 1000.0
month = 10000.0
[budget.each_key]
day = 500.0

[[rules]]
matches = "(?i)contract"
model = "local"
[[rules]]
longer = 4000
model = "cloud"
"""
ANSWER = b"".join(
    b"data: " + json.dumps(event).encode() + b"\n\n"
    for event in (
        *(
            {"model": "m", "choices": [{"index": 0, "delta": {"content": word}}]}
            for word in ("It ", "is ", "as ", "you ", "say.")
        ),
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"model": "m", "choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 5}},
    )
) + b"data: [DONE]\n\n"  # fmt: skip


class Ready:
    """Answers every request at once."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            reader = connection.makefile("rb")
            length = 0
            while line := reader.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            reader.read(length)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                + ANSWER
            )


async def answered(responder: Responder, asked: Conversation, log: Log | None) -> Answer:
    """The whole answer, as the server has it made; with its line in the log, if there is one."""
    answer, record = Answer(), Record()
    context = Context(interval=float("inf"), record=record)
    async for batch in responder.respond(asked, context):
        for piece in batch:
            record.note(piece)
            answer.add(piece)
    if log is not None:
        seconds = time.monotonic() - record.began
        log.add(entry_of(record, at=time.time(), seconds=seconds, interface="benchmark"))
    return answer


async def paired(
    plain: Responder, routed: Responder, questions: Sequence[Conversation], log: Log, seed: int
) -> dict[str, list[float]]:
    """Differences of the times that each question takes, in milliseconds."""
    chosen = random.Random(seed)
    found: dict[str, list[float]] = {"clock": [], "processor": [], "without": []}
    for number, asked in enumerate(questions):
        took: dict[bool, tuple[float, float]] = {}
        order = [False, True]
        chosen.shuffle(order)
        for is_routed in order:
            clock, processor = time.perf_counter(), time.process_time()
            await answered(routed if is_routed else plain, asked, log if is_routed else None)
            took[is_routed] = (time.perf_counter() - clock, time.process_time() - processor)
        if number >= len(questions) // 10:  # the first ones load what all share
            found["clock"].append(1000 * (took[True][0] - took[False][0]))
            found["processor"].append(1000 * (took[True][1] - took[False][1]))
            found["without"].append(1000 * took[False][0])
    return found


def parts(
    routing: OpenRouting, auto: RoutingResponder, questions: Sequence[Conversation], log: Log
) -> dict[str, list[float]]:
    """What each part takes alone, in milliseconds."""
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        found.setdefault(name, []).append(1000 * (time.perf_counter() - began))

    def charged() -> None:
        charge = Charge(200, 500, routing.settings.models["cloud"].price, "cloud")
        routing.ledger.budget("somebody").reserve(charge)(240, charge.cost // 2)

    for asked in questions:
        attempt = Attempt.of(asked, ())
        timed("router: choice", lambda a=asked: auto.router.choose(a))  # type: ignore[misc]
        timed("router: judgement", lambda a=asked, t=attempt: auto.router.judge(a, t))  # type: ignore[misc]
        timed("policy", lambda a=asked: routing.policy.check(a, Context(), "elsewhere"))  # type: ignore[misc]
        timed("budget: reserve and settle", charged)
        timed("log", lambda: log.add(entry_of(Record(), at=0.0, seconds=0.0)))
    return found


def shown(name: str, values: Sequence[float]) -> None:
    p50, p99 = np.percentile(values, [50, 99])
    print(f"{name:44} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--medquad", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.medquad.open(encoding="utf-8")]
    chosen = random.Random(given.seed).sample(rows, given.calls)
    questions = [conversation([{"role": "user", "content": row["question"]}]) for row in chosen]
    with tempfile.TemporaryDirectory() as folder:
        place, file = Path(folder) / "index", Path(folder) / "routing.toml"
        index_texts(
            Varied(rows, given.passages // 3), place, IndexConfig(), inputs={"benchmark": "1"}
        )
        server = Ready()
        file.write_text(SETTINGS.format(address=server.address))
        routing = OpenRouting.open(file)
        log = Log(Path(folder) / "log.sqlite")
        assistant = Assistant(Index.open(place))
        documents = DocumentsResponder(assistant, name="documents")
        began = time.process_time()
        auto = routing.auto(documents)
        took, size = time.process_time() - began, routing.policy.protected.bytes
        print(
            f"{len(assistant.index):,} passages; their text is known by {size / 1e6:.0f} MB of "
            f"fingerprints, made in {took:.1f} s of processor time"
        )
        plain = RemoteResponder(server.address, "m")
        (Path(folder) / "apart.toml").write_text(file.read_text())
        apart = OpenRouting.open(Path(folder) / "apart.toml")  # questions may quote the documents
        with asyncio.Runner() as runner:
            for name, pair in (
                ("documents", (documents, auto)),
                ("a model at an address", (plain, apart.named("cloud"))),
            ):
                found = runner.run(paired(*pair, questions, log, given.seed))
                shown(f"{name}: without", found["without"])
                shown(f"{name}: added, by the clock", found["clock"])
                shown(f"{name}: added, processor time", found["processor"])
        for name, values in parts(routing, auto, questions, log).items():
            shown(name, values)
        log.close()
        apart.close()
        routing.close()


if __name__ == "__main__":
    main()

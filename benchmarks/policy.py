"""What the policy costs, what it holds back that it need not, and what it misses.

    python benchmarks/policy.py [--passages 100000] [--conversations 3000]

Speed and space: an index of that many passages, all of which stay; processor time of a check of an
ordinary question, and of one with two turns before it.
False alarms: questions of MedQuAD about conditions that the documents are not about, instructions
of Alpaca and problems of GSM8K against documents of MedQuAD (with and without their own questions).
Misses: conversations with something in them that must not leave, in some forty codes, whole or
divided (``tests/routing/leaks.py``), by what of them is sent; private data that only detectors can
find, by kind, names of people among it (``benchmarks/names.py`` has more of these).
Needs ``../shared/data``.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "routing")]

from leaks import Oracle, cases, world  # noqa: E402

from linnet.respond import Context, Conversation, conversation  # noqa: E402
from linnet.retrieval import Index  # noqa: E402
from linnet.routing.policy import Pattern, Policy, PolicyConfig, PolicyError  # noqa: E402
from linnet.routing.protected import DocumentRule  # noqa: E402
from retrieval.made_index import index  # noqa: E402

SHARED = HERE.parent.parent / "shared" / "data"
CONTEXT = Context()


def asked(*texts: str) -> Conversation:
    """Questions and answers in turn, a question last."""
    roles = ("user", "assistant")
    return conversation({"role": roles[n % 2], "content": text} for n, text in enumerate(texts))


def medquad() -> list[dict[str, str]]:
    """Its rows."""
    lines = (SHARED / "medquad" / "medquad.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def alpaca() -> list[dict[str, str]]:
    """Its rows."""
    file = SHARED / "instructions" / "alpaca_en_demo.json"
    rows: list[dict[str, str]] = json.loads(file.read_text("utf-8"))
    return rows


def protecting(place: Path, keep: Path | None = None) -> Policy:
    """A policy by which nothing of an index may leave."""
    policy = Policy(PolicyConfig(farthest="elsewhere", private="send"), keep=keep)
    with Index.open(place) as opened:
        policy.protect(opened)
    return policy


def speed(folder: Path, passages: int) -> None:
    """Time and space for so many passages."""
    rows, chance = medquad(), random.Random(0)
    words = [word for row in rows for word in row["answer"].split()]
    documents = {f"med/{number}.md": row["answer"] for number, row in enumerate(rows)}
    for number in range(max(0, (passages - 11_500) * 10 // 72)):
        start = chance.randrange(len(words) - 700)
        own = [w if chance.random() > 0.2 else chance.choice(words)
               for w in words[start : start + 600]]  # fmt: skip
        documents[f"more/{number}.md"] = "\n\n".join(
            " ".join(own[at : at + 75]) + "." for at in range(0, 600, 75)
        )
    place, keep = folder / "speed", folder / "kept"
    index(documents, place)
    with Index.open(place) as opened:
        print(f"{len(opened):,} passages, {len(documents):,} documents")
    for name in ("made", "read again"):
        began = time.process_time()
        policy = protecting(place, keep)
        seconds = time.process_time() - began
        print(f"fingerprints {name}: {seconds:.1f} s, {policy.protected.bytes / 1e6:.0f} MB")
    texts = [row["instruction"] for row in alpaca()]
    answers = [row["output"] for row in alpaca()]
    for name, given in (
        ("a question", [asked(text) for text in texts]),
        ("a question after two turns", [
            asked(texts[n - 1], answers[n - 1], texts[n - 2], answers[n - 2], texts[n])
            for n in range(300)
        ]),
    ):  # fmt: skip
        times = sorted(_timed(lambda each=each: policy.check(each, CONTEXT, "elsewhere"))
                       for each in given)  # fmt: skip
        half, most = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
        print(f"check of {name}: p50 {half:.2f} ms, p99 {most:.2f} ms of processor time")


def _timed(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def false_alarms(folder: Path) -> None:
    """How often a question is held back that quotes nothing."""
    rows = medquad()
    subjects = sorted({row["focus"] for row in rows})
    random.Random(1).shuffle(subjects)
    own = set(subjects[: len(subjects) // 2])
    others = [row["question"] for row in rows if row["focus"] not in own]
    gsm8k = SHARED / "routing" / "gsm8k_responses.csv"
    with gsm8k.open(encoding="utf-8", newline="") as file:
        problems = [row["prompt"] for row in csv.DictReader(file)]
    asked_of = {
        "MedQuAD, other conditions": others,
        "Alpaca, instructions": [row["instruction"] for row in alpaca()],
        "Alpaca, with input": [f"{row['instruction']}\n{row['input']}" for row in alpaca()],
        "GSM8K": problems,
    }
    for name, with_questions in (("answers", False), ("questions and answers", True)):
        documents: dict[str, str] = collections.defaultdict(str)
        for row in rows:
            if row["focus"] in own:
                above = f"## {row['question']}\n\n" * with_questions
                documents[f"{row['focus'].replace('/', '_')}.md"] += f"{above}{row['answer']}\n\n"
        place = folder / f"alarms-{with_questions}"
        index(dict(documents), place)
        policy = protecting(place)
        for kind, texts in asked_of.items():
            held = sum(not policy.check(asked(text), CONTEXT, "elsewhere").allowed
                       for text in texts)  # fmt: skip
            print(f"documents of {name}: {kind}: {held} of {len(texts):,} held back "
                  f"({held / len(texts):.1%})")  # fmt: skip


def leaks(folder: Path, count: int) -> None:
    """What of conversations is sent that must not be."""
    made = world()
    oracle = Oracle(made)
    place = folder / "leaks"
    index({**made.staying, **made.leaving}, place)
    policy = Policy(PolicyConfig(
        farthest="elsewhere", history="all", tools="results", files=True, private="mask",
        documents=(DocumentRule(sources=("**",), farthest="elsewhere"),), local_only=("hr/**",),
        patterns=tuple(Pattern(matches=name, name=f"NAME_{n}")
                       for n, name in enumerate(made.names)),
    ))  # fmt: skip
    with Index.open(place) as opened:
        policy.protect(opened)
    sent = harmless = leaked = 0
    for each in cases(1_000, count, made):
        harmless += not each.kind
        try:
            found = policy.outgoing(each.conversation, CONTEXT, "elsewhere").conversation
        except PolicyError:
            continue
        sent += 1
        leaked += bool(oracle.leaked(_body(found)))
    print(f"conversations: {count:,}, of which {count - harmless:,} say what must not leave; "
          f"{sent:,} sent, {leaked} with something of it")  # fmt: skip


def _body(asked: Conversation) -> bytes:
    """A conversation as it is sent, near enough for an oracle."""
    body = {
        "messages": [message.as_json() for message in asked.messages],
        "tools": [tool.as_json() for tool in asked.tools],
        "stop": list(asked.sampling.stop),
        "response_format": asked.constraint.value if asked.constraint else None,
    }
    return b"\r\n\r\n" + json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def private(count: int) -> None:
    """Private data of people in questions: found and masked, or missed."""
    chance = random.Random(3)
    policy = Policy(PolicyConfig(farthest="elsewhere", private="mask", names="mask"))
    for kind, make in KINDS.items():
        missed = 0
        for _ in range(count):
            value = make(chance)
            text = chance.choice(FRAMES).format(value)
            found = policy.outgoing(asked(text), CONTEXT, "elsewhere").conversation
            missed += value in found.messages[-1].text
        print(f"private data: {kind}: {count - missed} of {count} masked, {missed} sent")


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(count))


def _card(chance: random.Random) -> str:
    digits = "4" + _digits(chance, 14)
    for last in "0123456789":
        total = sum(
            int(d) if n % 2 else sum(divmod(2 * int(d), 10))
            for n, d in enumerate(digits + last)
        )  # fmt: skip
        if total % 10 == 0:
            return " ".join((digits + last)[at : at + 4] for at in range(0, 16, 4))
    raise AssertionError


def _iban(chance: random.Random) -> str:
    account = _digits(chance, 18)
    check = 98 - int(f"{account}131400") % 97  # (D is 13, E is 14)
    return f"DE{check:02d}{account}"


FIRST = ("Maria", "Jonas", "Aylin", "Pierre", "Ngozi", "Wei", "Olga", "Tom")
LAST = ("Kowalska", "Schmidt", "Yilmaz", "Dupont", "Okafor", "Zhang", "Petrova", "Miller")
KINDS: dict[str, Callable[[random.Random], str]] = {
    "e-mail addresses": lambda c: f"{c.choice(FIRST)}.{c.choice(LAST)}@firm{c.randrange(99)}.com"
    .lower(),
    "telephone numbers, international": lambda c: f"+49 30 {c.randrange(2, 9)}{_digits(c, 7)}",
    "telephone numbers, national": lambda c: f"(0{c.randrange(30, 99)}) {c.randrange(2, 9)}"
    + _digits(c, 6),
    "telephone numbers, American": lambda c: f"({c.randrange(201, 989)}) {c.randrange(200, 999)}-"
    + _digits(c, 4),
    "payment cards": _card,
    "IBANs": _iban,
    "IP addresses": lambda c: ".".join(str(c.randrange(11, 250)) for _ in range(4)),
    "postal addresses": lambda c: f"{c.randrange(1, 300)} {c.choice(LAST)} Street, Springfield, "
    f"IL {c.randrange(60001, 62999)}",
    "keys": lambda c: "sk-" + "".join(c.choice("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789")
                                      for _ in range(40)),
    "names of people": lambda c: f"{c.choice(FIRST)} {c.choice(LAST)}",
}  # fmt: skip
FRAMES = (
    "Please answer {} politely.", "Who is {}?", "I was contacted by {} yesterday. What now?",
    "My colleague gave me this: {}. Is that right?", "Write a letter that has {} in it.",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--conversations", type=int, default=3_000)
    parser.add_argument("--only", choices=("speed", "alarms", "leaks", "private"))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps: Iterable[tuple[str, Callable[[], None]]] = (
            ("alarms", lambda: false_alarms(folder)),
            ("private", lambda: private(400)),
            ("leaks", lambda: leaks(folder, given.conversations)),
            ("speed", lambda: speed(folder, given.passages)),
        )
        for step, run in steps:
            if given.only in (None, step):
                run()


if __name__ == "__main__":
    main()

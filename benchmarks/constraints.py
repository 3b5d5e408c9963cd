"""What JSON schemas are accepted, whether they are enforced, and what that costs.

    git clone https://github.com/guidance-ai/jsonschemabench JSB
    git clone https://github.com/json-schema-org/JSON-Schema-Test-Suite SUITE
    python benchmarks/constraints.py --schemas JSB/data --instances JSB/maskbench/data \
        --suite SUITE/tests/draft2020-12 [--every 10] [--model MODEL]

Both engines are given the same grammar. That llguidance takes it, and which documents it allows,
is tried for each; with ``--model`` llama.cpp reads each as well, and ``--clients`` write documents
on both engines at once. What is not named, or not there, is passed over, and said so.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from linnet.errors import ConfigError, LinnetError
from linnet.generate import Request, Sampling
from linnet.generate.constraining import LIMITS
from linnet.generate.constraint import Constraint
from linnet.generate.constraints.compiler import Grammar, compiled


class Bytes:
    """A vocabulary of single bytes, as llguidance asks for one."""

    eos_token_id, bos_token_id = 256, None

    def __init__(self) -> None:
        self.special_token_ids = [256]
        self.tokens = [*(bytes([byte]) for byte in range(256)), b"\xff<end>"]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


class Follower:
    """Which texts a grammar allows, by llguidance."""

    def __init__(self) -> None:
        import llguidance

        self.library = llguidance
        self.vocabulary = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(Bytes()), eos_token=[256]
        )
        self.limits = llguidance.LLParserLimits(**LIMITS)

    def matcher(self, grammar: Grammar) -> Any:
        made = self.library.LLMatcher.grammar_from_lark(grammar.write("lark"))
        return self.library.LLMatcher(self.vocabulary, made, log_level=0, limits=self.limits)

    def allows(self, grammar: Grammar, document: Any) -> bool:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        spelt = list(text.encode("utf-8", "replace"))
        matcher = self.matcher(grammar)
        return matcher.try_consume_tokens(spelt) == len(spelt) and matcher.is_accepting()


def ordered(document: Any, schema: Any) -> Any:
    """A document with its properties in the order of the schema, as far as that shows."""
    if isinstance(document, list):
        items = schema.get("items") if isinstance(schema, dict) else None
        return [ordered(item, items) for item in document]
    if not isinstance(document, dict):
        return document
    properties = schema.get("properties") if isinstance(schema, dict) else None
    known = properties if isinstance(properties, dict) else {}
    names = [
        *(name for name in known if name in document),
        *(n for n in document if n not in known),
    ]
    return {name: ordered(document[name], known.get(name)) for name in names}


def accepted(files: list[Path], follower: Follower) -> list[tuple[Path, Grammar]]:
    """Compile all of them, and say what was refused."""
    refusals: Counter[str] = Counter()
    seconds: list[float] = []
    found: list[tuple[Path, Grammar]] = []
    for file in files:
        begun = time.process_time()
        try:
            grammar = compiled(Constraint("json_schema", file.read_text("utf-8")))
        except ConfigError as error:
            refusals[re.sub(r"Got .*", "", str(error))[:110]] += 1
            continue
        seconds.append(time.process_time() - begun)
        matcher = follower.matcher(grammar)
        matcher.compute_logit_bias()
        if matcher.is_error():
            refusals[f"llguidance alone: {' '.join(matcher.get_error().split())[:80]}"] += 1
            continue
        found.append((file, grammar))
    print(f"accepted {len(found):,} of {len(files):,} schemas ({len(found) / len(files):.1%})")
    for reason, count in refusals.most_common(12):
        print(f"  {count:5} {reason}")
    seconds.sort()
    marks = [seconds[int(len(seconds) * share)] for share in (0.5, 0.95, 0.99)]
    print("compiling (processor time): " + ", ".join(f"{1000 * mark:.0f}" for mark in marks)
          + f", at most {1000 * seconds[-1]:.0f} ms (median, 95 %, 99 %)")  # fmt: skip
    return found


def enforced(cases: Iterator[tuple[str, Any, Any, bool]], follower: Follower, title: str) -> None:
    """Whether a grammar allows what its schema does. ``cases``: name, schema, document, valid."""
    grammars: dict[str, Grammar | None] = {}
    counts: Counter[tuple[bool, bool]] = Counter()
    wrong: list[str] = []
    for name, schema, document, is_valid in cases:
        value = json.dumps(schema)
        if value not in grammars:
            try:
                grammars[value] = compiled(Constraint("json_schema", value))
            except ConfigError:
                grammars[value] = None
        grammar = grammars[value]
        if grammar is None:
            continue
        allows = follower.allows(grammar, ordered(document, schema) if is_valid else document)
        counts[is_valid, allows] += 1
        if allows and not is_valid:
            wrong.append(name)
    taken = sum(grammar is not None for grammar in grammars.values())
    valid, invalid = (counts[kind, True] + counts[kind, False] for kind in (True, False))
    print(f"{title}: {taken:,} of {len(grammars):,} schemas accepted; of their documents "
          f"{counts[False, True]} of {invalid:,} invalid and {counts[True, True]:,} of {valid:,} "
          "valid ones allowed")  # fmt: skip
    for name in wrong[:40]:
        print(f"  allowed though invalid: {name}")


def suite_cases(directory: Path) -> Iterator[tuple[str, Any, Any, bool]]:
    for file in sorted(directory.glob("*.json")):
        for group in json.loads(file.read_text("utf-8")):
            for test in group["tests"]:
                name = f"{file.name}: {group['description']}: {test['description']}"
                yield name, group["schema"], test["data"], test["valid"]


def instance_cases(files: list[Path]) -> Iterator[tuple[str, Any, Any, bool]]:
    for file in files:
        case = json.loads(file.read_text("utf-8"))
        for test in case.get("tests", ()):
            yield (
                f"{file.name}: {test['description'][:60]}",
                case["schema"],
                test["data"],
                test["valid"],
            )


def engines(model: str) -> Iterator[tuple[str, Any]]:
    from linnet.generate.engines import ENGINES, EngineConfig, open_engine

    for name in ENGINES:
        engine = open_engine(model, EngineConfig(engine=name))
        yield name, engine
        engine.close()


def measured(model: str, grammars: list[tuple[Path, Grammar]], clients: int) -> None:
    """Documents written by so many clients at once; and without a constraint, beside them."""
    constraints = [
        Constraint("json_schema", file.read_text("utf-8"))
        for file, _ in grammars[:: max(1, len(grammars) // clients)][:clients]
    ]
    free: list[Constraint | None] = [None] * len(constraints)
    for name, engine in engines(model):
        for title, own in (("free", free), ("constrained", [*constraints])):
            tally = Tally()
            begun = time.monotonic()
            threads = [
                threading.Thread(target=write, args=(engine, tally, *pair))
                for pair in enumerate(own)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            spent = time.monotonic() - begun
            pause = 1000 * statistics.median(tally.gaps or [0])
            print(
                f"{name}, {title}: {tally.tokens / spent:,.0f} tokens a second, {len(own)} "
                f"clients; {pause:.0f} ms a piece, "
                f"at most {max(tally.gaps, default=0):.1f} s, refused {tally.refused}"
            )


@dataclass
class Tally:
    """What came for all clients."""

    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def write(engine: Any, tally: Tally, number: int, constraint: Constraint | None) -> None:
    """One client's document."""
    sampling = Sampling(max_tokens=64, seed=number, temperature=1.0)
    times, seen, refused = [time.monotonic()], 0, 0
    try:
        for chunk in engine.stream(Request("{", sampling, constraint=constraint)):
            times.append(time.monotonic())
            seen += len(chunk.tokens)
    except ConfigError:
        refused = 1
    with tally.lock:
        tally.gaps += [later - sooner for sooner, later in pairwise(times[1:])]
        tally.tokens += seen
        tally.refused += refused


def read_by_llama(model: str, grammars: list[tuple[Path, Grammar]]) -> None:
    """Have llama.cpp begin a document of each."""
    from linnet.generate.engines import EngineConfig, open_engine

    engine = open_engine(model, EngineConfig(engine="llama.cpp"))
    refused = []
    for file, _ in grammars:
        constraint = Constraint("json_schema", file.read_text("utf-8"))
        try:
            engine.generate([Request("{", Sampling(max_tokens=2), constraint=constraint)])
        except LinnetError as error:
            refused.append(f"{file.name}: {error}")
    engine.close()
    print(f"llama.cpp refused {len(refused)} of {len(grammars):,}")
    for line in refused[:10]:
        print(f"  {line[:200]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("schemas", "instances", "suite"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every so many")
    parser.add_argument("--model", help="a model that both engines open")
    parser.add_argument("--clients", type=int, default=64)
    asked = parser.parse_args()
    follower = Follower()
    for name in ("schemas", "instances", "suite"):
        directory = getattr(asked, name)
        if directory is None or not directory.is_dir():
            print(f"--{name}: {directory or 'not given'}; passed over")
            setattr(asked, name, None)
    if asked.suite is not None:
        enforced(suite_cases(asked.suite), follower, "JSON-Schema-Test-Suite")
    if asked.instances is not None:
        files = sorted(asked.instances.glob("*.json"))[:: asked.every]
        enforced(instance_cases(files), follower, "instances")
    if asked.schemas is None:
        return
    files = sorted(asked.schemas.rglob("*.json"))[:: asked.every]
    found = accepted(files, follower)
    if asked.model is not None:
        read_by_llama(asked.model, found)
        measured(asked.model, found, asked.clients)


if __name__ == "__main__":
    main()

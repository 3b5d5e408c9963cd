"""How well claims are told to be supported, corrupted or off the subject, and how fast.

    python benchmarks/grounding.py --documents medquad.jsonl [--ladders 500] [--checker CHECKER]
    python benchmarks/grounding.py --documents medquad.jsonl --encoder MINILM --out CHECKER
    python benchmarks/grounding.py ... --judged qa_data.json

Ladders are made of sentences of the documents: what is faithful must have a higher score than each
corruption, and that a higher one than a sentence from elsewhere. With ``--checker`` only those of
documents that it was not trained on count, and the same is said with its encoder. With
``--encoder`` one is trained first. ``--judged``: answers that people judged, in HaluEval's form or
with ``response``, ``passage`` and ``supported``; the AUROC of the scores is given. Speed is in
seconds of the processor, since other programs may run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from linnet.evaluate.tasks.groundedness import given_answers
from linnet.grounding import Checker, CheckerConfig, Verdict, check, claims, train_checker
from linnet.grounding.checker import MAX_TOKENS
from linnet.grounding.ladders import Ladder, ladders
from linnet.grounding.passage import Passage
from linnet.grounding.rungs import CORRUPTED, FAITHFUL, KINDS
from linnet.grounding.training import documents_of, is_kept_back, share
from linnet.scoring.calibration import auroc


def compared(
    scored: Sequence[tuple[Ladder, list[Verdict]]],
) -> Iterator[tuple[str, bool, bool]]:
    """Of each two rungs: which kinds, whether rules decided both, and whether they are in order."""
    for ladder, verdicts in scored:
        pairs = list(zip(ladder.rungs, verdicts, strict=True))
        for higher, lower in (
            (FAITHFUL, CORRUPTED), (CORRUPTED, ("off_topic",)), (FAITHFUL, ("off_topic",))
        ):  # fmt: skip
            for one, above in pairs:
                for other, below in pairs:
                    if one.kind in higher and other.kind in lower:
                        both = above.by_rule and below.by_rule
                        yield f"{one.kind} > {other.kind}", both, above.score > below.score


def show(title: str, scored: Sequence[tuple[Ladder, list[Verdict]]]) -> None:
    """The share of rungs in order, of each two kinds."""
    total: Counter[tuple[str, bool]] = Counter()
    right: Counter[tuple[str, bool]] = Counter()
    for kinds, by_rule, in_order in compared(scored):
        total[kinds, by_rule] += 1
        right[kinds, by_rule] += in_order
    print(f"\n{title}: {len(scored):,} ladders")
    for by_rule in (True, False):
        of = sum(number for (_, rule), number in total.items() if rule == by_rule)
        own = sum(number for (_, rule), number in right.items() if rule == by_rule)
        which = "both by rule" if by_rule else "one or both left open"
        print(f"  {which}: {own:,} of {of:,} in order ({own / max(of, 1):.2%})")
    for kinds, by_rule in sorted(total):
        if right[kinds, by_rule] < total[kinds, by_rule]:
            found = share(right[kinds, by_rule], total[kinds, by_rule])
            print(f"    {kinds}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%}) of "
                  f"{found.pairs:,}{', by rule' if by_rule else ''}")  # fmt: skip
    names = ("name", "paraphrase")
    for name in names:
        of = sum(n for (kinds, _), n in total.items() if name in kinds)
        own = sum(n for (kinds, _), n in right.items() if name in kinds)
        print(f"  with {name}: {own / max(of, 1):.2%} of {of:,}")


def decided(scored: Sequence[tuple[Ladder, list[Verdict]]]) -> None:
    """How many claims of each kind got which verdict."""
    for kind in KINDS:
        found = Counter(
            f"{verdict.status} ({verdict.rule})" if verdict.rule else verdict.status
            for ladder, verdicts in scored
            for rung, verdict in zip(ladder.rungs, verdicts, strict=True)
            if rung.kind == kind
        )
        if found:
            print(f"  {kind}: {', '.join(f'{n} {name}' for name, n in found.most_common())}")


def speed(scored: Sequence[tuple[Ladder, list[Verdict]]], checker: Checker | None) -> None:
    """Claims in a second: rules on prepared passages, preparing, the encoder's batch."""
    passages = {ladder.passage: Passage(ladder.passage) for ladder, _ in scored}
    asked = [(rung.text, passages[ladder.passage]) for ladder, _ in scored for rung in ladder.rungs]
    started = time.process_time()
    for text, passage in asked:
        check(text, passage)
    seconds = time.process_time() - started
    print(f"\nrules: {len(asked) / seconds:,.0f} claims a second of one core")
    started = time.process_time()
    for text in passages:
        Passage(text)
    seconds = time.process_time() - started
    print(f"preparing passages: {sum(map(len, passages)) / 1000 / seconds:,.0f} kB a second")
    if checker is not None:
        pairs = [(text, passage.text[:400]) for text, passage in asked[:32]]
        started, before = time.perf_counter(), time.process_time()
        checker.probabilities(pairs)
        print(f"encoder, {len(pairs)} claims of up to {MAX_TOKENS} tokens in one batch: "
              f"{time.process_time() - before:.2f} s of the processor, "
              f"{time.perf_counter() - started:.2f} s")  # fmt: skip


def judged(path: Path, checker: Checker | None) -> None:
    """The AUROC of the least supported claim's score on what people judged."""
    rows = given_answers(path)
    if rows is None:
        raise SystemExit(f"{path}: expected rows with response or hallucinated_answer")
    rows = [(name, own) for name, own in rows if own.faithful is not None]
    labels = np.array([own.faithful for _, own in rows], dtype=float)
    for name, used in (("rules and words", None), ("rules, words and encoder", checker)):
        if name.endswith("encoder") and used is None:
            continue
        scores = []
        for _, own in rows:
            said = claims(own.answer)
            verdicts = ([check(claim, own.passage) for claim in said] if used is None
                        else used.check(said, own.passage))  # fmt: skip
            scores.append(min((verdict.score for verdict in verdicts), default=0.0))
        draw = np.random.default_rng(0)
        values = np.array(scores)
        drawn = [draw.integers(len(rows), size=len(rows)) for _ in range(500)]
        low, high = np.nanquantile(
            [float(auroc(labels[own], values[own])) for own in drawn], [0.025, 0.975]
        )
        print(f"\n{path.name}, {name}: AUROC {float(auroc(labels, values)):.3f} ({low:.3f} to "
              f"{high:.3f}), {len(rows):,} answers, {int(labels.sum()):,} faithful")  # fmt: skip


def main() -> None:
    """Make the ladders, and print what there is to say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--ladders", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checker", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pairs", type=int, default=CheckerConfig.pairs)
    parser.add_argument("--judged", type=Path, action="append", default=[])
    options = parser.parse_args()
    place = options.checker
    if options.encoder is not None:
        started = time.perf_counter()
        made = train_checker(
            options.documents, options.encoder, options.out, CheckerConfig(pairs=options.pairs)
        )
        place = options.out
        print(f"trained in {time.perf_counter() - started:,.0f} s on {made.manifest.stats}")
    checker = None if place is None else Checker.open(place)
    documents = [own for own in documents_of(options.documents) if len(own.text) > 300]
    if checker is not None:
        documents = [own for own in documents if is_kept_back(own)]
    found = list(ladders(documents, count=options.ladders, seed=options.seed, each=8))
    by_rules = [(ladder, [check(rung.text, ladder.passage) for rung in ladder.rungs])
                for ladder in found]  # fmt: skip
    decided(by_rules)
    show("rules and words", by_rules)
    if checker is not None:
        with_encoder = [
            (ladder, checker.check([rung.text for rung in ladder.rungs], ladder.passage))
            for ladder in found
        ]
        decided(with_encoder)
        show("rules, words and encoder", with_encoder)
    speed(by_rules, checker)
    for path in options.judged:
        judged(path, checker)


if __name__ == "__main__":
    main()

"""A chat model tuned on examples made of documents, against itself without, on people's questions.

    python benchmarks/examples_finetuning.py MODEL medquad.jsonl [--documents 400] [--steps 60]

The answers of MedQuAD are the documents, one for each focus. Examples are made of them without a
model, and ``linnet finetune`` (LoRA) trains on those of the train split. Then people's own
questions about held-out documents are put to the model before and after as the examples were in
training (``evaluate --style bare``), closed book and with the passage before the question:

* nats per token of the beginning of the right answer (lower is better),
* token F1 of the greedy answer with that beginning.

Differences are paired by question; their 95 % intervals are of 2,000 bootstrap samples.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from linnet import artifact
from linnet.data import DataConfig, kept_texts, prepare
from linnet.examples import ExamplesConfig, make_examples
from linnet.examples.prompts import question_text
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.finetune import finetune
from linnet.generate.engine import Continuation, Engine, Request
from linnet.generate.engines import EngineConfig
from linnet.generate.sampling import Sampling
from linnet.respond import open_model
from linnet.scoring.matching import token_f1

PASSAGE_CHARACTERS = 1200
SAMPLES = 2000


def documents(file: Path, count: int, folder: Path) -> dict[str, list[dict[str, str]]]:
    """Write a document for each focus, of all answers about it; gives the rows by its name."""
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    of_focus: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if 200 <= len(row["answer"]) <= 6000:
            of_focus.setdefault(row["focus"], []).append(row)
    chosen = sorted(of_focus)
    random.Random(1).shuffle(chosen)
    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, focus in enumerate(chosen[:count]):
        found[f"{number:04d}.md"] = of_focus[focus]
        answers = "\n\n".join(row["answer"] for row in of_focus[focus])
        (folder / f"{number:04d}.md").write_text(f"# {focus}\n\n{answers}\n", encoding="utf-8")
    return found


def held_out(
    corpus: Path, rows: dict[str, list[dict[str, str]]], count: int
) -> list[dict[str, str]]:
    """People's questions about documents of which no example was trained on."""
    left = []
    for kept in kept_texts(corpus):
        if all(split != "train" for _, _, split in kept.splits):
            left += rows[Path(kept.source).name]
    random.Random(2).shuffle(left)
    return left[:count]


def measure(
    engine: Engine, rows: list[dict[str, str]], *, open_book: bool, tokens: int, write: int
) -> dict[str, Any]:
    """Nats per token of each question, and F1 of the first ``write``."""
    continuations, requests, golds = [], [], []
    for row in rows:
        text = row["question"].replace(" ?", "?")
        if open_book:
            text = question_text(text, row["answer"][:PASSAGE_CHARACTERS])
        prompt = tuple(engine.chat_prompt([{"role": "user", "content": text}]))
        gold = engine.tokenize(" ".join(row["answer"].split()))[:tokens]
        golds.append(engine.detokenize(gold))
        continuations.append(Continuation(prompt, gold))
        sampling = Sampling(temperature=0, min_p=0, max_tokens=tokens)
        requests.append(Request(prompt, sampling))
    nats = [found.nats / found.tokens for found in engine.likelihoods(continuations)]
    answers = [made.text for made in engine.generate(requests[:write])]
    f1 = [token_f1(answer, [gold]) for answer, gold in zip(answers, golds, strict=False)]
    return {"nats": np.array(nats), "f1": np.array(f1), "answers": answers}


def interval(values: np.ndarray) -> tuple[float, float]:
    numbers = np.random.default_rng(0)
    places = numbers.integers(0, len(values), (SAMPLES, len(values)))
    low, high = np.percentile(values[places].mean(1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("medquad", type=Path)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--write", type=int, default=20, help="of these, answered at length too")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--book", choices=("closed", "open"), default="closed",
                        help="how the examples are trained")  # fmt: skip
    parser.add_argument("--work", type=Path, help="keep everything here, and take it up again")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    rows = documents(options.medquad, options.documents, work / "documents")
    config = DataConfig(split_by="document", test_fraction=0.2)
    corpus = prepare([work / "documents"], work / "corpus", config)
    made = make_examples(corpus.path, work / "examples", ExamplesConfig())
    print(f"{made.stats['examples']:,} examples", dict(made.stats["splits"]), flush=True)
    asked = held_out(corpus.path, rows, options.questions)
    print(f"{len(asked)} questions of people about held-out documents", flush=True)
    began = time.monotonic()
    tuning = FinetuneConfig(
        steps=options.steps, book=options.book, context=512, batch_tokens=options.batch_tokens,
        general_tokens=0, sweep=False, threads=options.threads,
    )  # fmt: skip
    tuned = finetune(options.model, [work / "examples"], work / "tuned", tuning)
    stats = artifact.read(tuned.path).stats
    print(f"{stats['steps']} steps in {time.monotonic() - began:.0f} s: held-out examples "
          f"{stats.get('base_bits_per_byte')} -> {stats.get('validation_bits_per_byte')} bits per "
          "byte", flush=True)  # fmt: skip
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, place in (("zero-shot", options.model), ("tuned", tuned.path)):
        engine = open_model(place, EngineConfig(engine="torch", threads=options.threads)).engine
        for book in ("closed", "open"):
            found[name, book] = measure(
                engine, asked, open_book=book == "open", tokens=options.tokens, write=options.write
            )
            print(f"{name}, {book} book: {time.process_time():.0f} s of processor", flush=True)
        engine.close()
    for book in ("closed", "open"):
        for metric in ("nats", "f1"):
            before, after = (found[name, book][metric] for name in ("zero-shot", "tuned"))
            low, high = interval(after - before)
            print(
                f"{book:6} {metric:4} {before.mean():.3f} -> {after.mean():.3f}, difference "
                f"{(after - before).mean():+.3f} ({low:+.3f} to {high:+.3f}), "
                f"{len(before)} questions",
                flush=True,
            )
    with (work / "answers.jsonl").open("w", encoding="utf-8") as file:
        for place, row in enumerate(asked[: options.write]):
            line = {"question": row["question"], "answer": row["answer"][:300]}
            line |= {f"{name} {book}": one["answers"][place] for (name, book), one in found.items()}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"answers: {work / 'answers.jsonl'}")


if __name__ == "__main__":
    main()

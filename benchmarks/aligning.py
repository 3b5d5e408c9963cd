"""What alignment adds to supervised tuning: refusals, answers and quotes, held out.

    python benchmarks/aligning.py MODEL medquad.jsonl --work DIR [--general TEXT] [--documents 900]

The answers of MedQuAD are the documents, one for each focus; examples are made of them without a
model. The model is tuned (``finetune``) on questions that stand once behind their passage and once
behind one of another document that shares their rare words, where a refusal is right. It then goes
on with rows that are harder to tell, as the other passage is of the same document, in three ways:
more tuning, DPO (the wrong answer is another sentence of the passage, or to half of the answerable
questions a refusal; ``dpo-quarter``: to a quarter, ``dpo-answers``: to none; ``dpo-own``: what the
tuned model itself answers, where that is wrong; ``dpo-even``: the same with no more refusals that
are right than such that are wrong; ``dpo-own-sft1``: with the usual loss of what was chosen beside
it, weighted by 1), and GRPO (rewards ``refuses``, ``overlap``, ``ends``, and whether what it says
stands in the passage letter for letter). All are asked about held-out documents, with passages of
one sort or the other, greedily:

* refused where the passage does not say, and where it does,
* token F1 of answers with the right sentence, a refusal counting 0,
* share of answers that stand in the passage letter for letter.

Differences are paired by question, with 95 % intervals of 2,000 bootstrap samples over documents.
What is in DIR already is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from examples_finetuning import documents

from linnet import artifact
from linnet.align.align import align
from linnet.align.config import AlignConfig
from linnet.align.preferences import with_passages
from linnet.data import DataConfig, prepare
from linnet.evaluate.refusals import is_refusal
from linnet.examples import ExamplesConfig, make_examples
from linnet.examples.prompts import REFUSALS, question_text
from linnet.examples.record import examples_file
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.finetune import finetune
from linnet.generate.engine import Request
from linnet.generate.engines import EngineConfig
from linnet.generate.sampling import Sampling
from linnet.model.merging import merge_adapter
from linnet.respond import open_model
from linnet.scoring.matching import token_f1, words_of

KINDS = ("question", "near_miss", "unanswerable")
SAMPLES = 2000
POOR = 0.5
"""Token F1 below which an answer of the model's own is a wrong one of a pair."""
REWARD_FILE = '''
def verbatim(sample):
    """1 where the answer stands in the passage letter for letter, or is not asked for."""
    said = sample.text.strip()
    return float(not sample.answerable or bool(said) and said in (sample.passage or ""))
'''


def rows(examples: Path, split: str, longest: int, *, same: bool) -> list[dict[str, Any]]:
    """Each question behind its passage, and behind one that does not answer it, of the same
    document or of another."""
    found = [
        (each, passage)
        for each, passage in with_passages(examples_file(examples), split=split)
        if each.kind in KINDS and len(passage) <= longest and not each.turns
    ]
    passages = sorted({(each.source, passage) for each, passage in found})
    words = [set(words_of(passage, "en")) for _, passage in passages]
    seen = Counter(word for each in words for word in each)
    made = []
    for each, passage in found:
        row = {"source": each.source, "question": each.question, "passage": passage}
        if not each.answerable:
            made.append({**row, "answerable": False, "answer": REFUSALS["en"]})
            continue
        answer = " ".join((each.quote or each.answer or "").split())
        if answer not in " ".join(passage.split()):
            continue
        made.append({**row, "answerable": True, "answer": answer})
        asked = set(words_of(each.question, "en"))
        near = [
            (math.fsum(1 / seen[word] for word in asked & own), place)
            for place, own in enumerate(words)
            if (passages[place][0] == each.source) == same and answer not in passages[place][1]
        ]
        if not near:
            continue
        _, place = max(near)
        made.append(
            {**row, "passage": passages[place][1], "answerable": False, "answer": REFUSALS["en"]}
        )
    random.Random(split).shuffle(made)
    return made


def sentence_like(question: str, passage: str, besides: str) -> str | None:
    """The sentence of a passage that shares most words with a question, but not the right one."""
    asked = set(words_of(question, "en"))
    sentences = [each.strip() for each in re.split(r"(?<=[.!?])\s+", passage)]
    others = [each for each in sentences if 20 < len(each) < 300 and each not in besides]
    return max(others, key=lambda each: len(asked & set(words_of(each, "en"))), default=None)


PAIRS = {"pairs": 0.5, "quarter": 0.25, "answers": 0.0}
"""Files of pairs, and of how many answerable questions a refusal is the wrong answer in them."""


def write_rows(found: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """The same rows in all forms."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(7)
    forms: dict[str, list[dict[str, Any]]] = {name: [] for name in ("tuning", "prompts", *PAIRS)}
    for row in found:
        prompt = question_text(row["question"], row["passage"])
        wrong = sentence_like(row["question"], row["passage"], row["answer"])
        forms["tuning"].append({"prompt": prompt, "completion": row["answer"]})
        chance = draw.random() if row["answerable"] and wrong is not None else 1.0
        for name, share in PAIRS.items():
            refused = row["answerable"] and share and (wrong is None or chance < share)
            rejected = REFUSALS["en"] if refused else wrong
            if rejected is not None:
                pair = {"prompt": prompt, "chosen": row["answer"], "rejected": rejected}
                forms[name].append(pair)
        known = {name: row[name] for name in ("passage", "answer", "answerable")}
        forms["prompts"].append({"prompt": prompt, **known})
    files = {}
    for name, each in forms.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each), encoding="utf-8"
        )
    return files


def ask(model: Path, found: Sequence[Mapping[str, Any]], file: Path, tokens: int, threads: int
        ) -> list[str]:  # fmt: skip
    """The greedy answers, kept in a file."""
    if not file.is_file():
        engine = open_model(
            model, EngineConfig(engine="torch", threads=threads, precision="bf16", slots=16)
        ).engine
        sampling = Sampling(temperature=0, min_p=0, max_tokens=tokens)
        requests = []
        for row in found:
            text = question_text(row["question"], row["passage"])
            prompt = tuple(engine.chat_prompt([{"role": "user", "content": text}]))
            requests.append(Request(prompt, sampling))
        answers = [made.text.strip() for made in engine.generate(requests)]
        engine.close()
        file.write_text(json.dumps(answers, ensure_ascii=False, indent=0), encoding="utf-8")
    answers = json.loads(file.read_text(encoding="utf-8"))
    assert len(answers) == len(found)
    return answers


def scores(found: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> dict[str, np.ndarray]:
    """A number for each row; NaN where a metric does not ask for it."""
    refused = np.array([is_refusal(said, "en") for said in answers], float)
    answerable = np.array([row["answerable"] for row in found])
    f1 = [token_f1(said, [row["answer"]]) for said, row in zip(answers, found, strict=True)]
    plain = [" ".join(said.split()) for said in answers]
    verbatim = [
        bool(said) and said in " ".join(row["passage"].split())
        for said, row in zip(plain, found, strict=True)
    ]
    nothing = np.nan
    return {
        "refused, unanswerable": np.where(answerable, nothing, refused),
        "refused, answerable": np.where(answerable, refused, nothing),
        "F1, answerable": np.where(answerable, np.where(refused == 1, 0, f1), nothing),
        "verbatim, answerable": np.where(answerable, np.where(refused == 1, 0, verbatim), nothing),
    }


def interval(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of a mean, documents drawn whole."""
    draw = np.random.default_rng(0)
    kept = ~np.isnan(values)
    names = sorted(set(groups))
    place = {name: number for number, name in enumerate(names)}
    index = np.array([place[each] for each in groups])[kept]
    sums = np.bincount(index, values[kept], len(names))
    counts = np.bincount(index, minlength=len(names))
    drawn = draw.integers(0, len(names), (SAMPLES, len(names)))
    totals = counts[drawn].sum(1)
    means = sums[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@dataclass
class Ways:
    """The models that are asked, each made once."""

    options: argparse.Namespace
    first: Mapping[str, Path]
    """Rows to begin with, by their form."""
    files: Mapping[str, Path]
    """Rows to go on with."""
    hard: Sequence[Mapping[str, Any]]
    """The same as they are."""

    def model(self, way: str) -> Path:
        """The directory of one."""
        if way == "before":
            return Path(self.options.model)
        began, work = time.monotonic(), self.options.work
        base = self.options.model if way == "tuned" else work / "tuned-model"
        if way == "tuned":
            ran = self._tune(base, self.first["tuning"], work / way, self.options.tuning_steps)
        elif way == "more":
            ran = self._tune(base, self.files["tuning"], work / way, self.options.steps)
        elif way.startswith("dpo"):
            pairs, _, weight = (way.partition("-")[2] or "pairs").partition("-sft")
            config = self._aligning(batch=self.options.batch // 2, sft_weight=float(weight or 0))
            rows = self.files.get(pairs) or self._own_pairs(base, even=pairs == "even")
            ran = align(base, rows, work / way, config)
        else:
            ran = align(base, self.files["prompts"], work / way, self._grpo())
        stats = artifact.read(ran.path).stats
        print(f"{way}: {time.monotonic() - began:.0f} s; {json.dumps(stats)[:700]}", flush=True)
        return merge_adapter(ran.path, work / f"{way}-model").path

    @property
    def _shared(self) -> dict[str, Any]:
        general = self.options.general
        return {
            "context": 512, "threads": self.options.threads, "general": general,
            "general_tokens": 8192 if general else 0,
        }  # fmt: skip

    def _own_pairs(self, base: Path, *, even: bool) -> Path:
        """What the tuned model gets wrong in the rows to go on with, beside what is right; with
        ``even`` refusals are preferred no more often than they are wrong."""
        folder, options = self.options.work / "hard", self.options
        answers = ask(base, self.hard, folder / "own.json", 64, options.threads)
        found = scores(self.hard, answers)
        wrong = (found["refused, unanswerable"] == 0) | (found["F1, answerable"] < POOR)
        pairs = [
            {
                "prompt": question_text(row["question"], row["passage"]), "chosen": row["answer"],
                "rejected": said,
            }
            for row, said, is_wrong in zip(self.hard, answers, wrong, strict=True)
            if is_wrong and said
        ]  # fmt: skip
        kinds: dict[str, list[dict[str, str]]] = {"should refuse": [], "refused": [], "other": []}
        for pair in pairs:
            refused = "refused" if is_refusal(pair["rejected"], "en") else "other"
            kinds["should refuse" if pair["chosen"] == REFUSALS["en"] else refused].append(pair)
        if even:
            del kinds["should refuse"][len(kinds["refused"]) :]
        counts = {kind: len(its) for kind, its in kinds.items()}
        print(f"own answers of {len(self.hard)} that were wrong: {counts}", flush=True)
        pairs = [pair for its in kinds.values() for pair in its]
        file = folder / ("even.jsonl" if even else "own.jsonl")
        file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
        return file

    def _tune(self, base: Path, rows: Path, out: Path, steps: int) -> artifact.Artifact:
        tokens = self.options.batch * 256
        config = FinetuneConfig(steps=steps, batch_tokens=tokens, sweep=False, **self._shared)
        return finetune(base, [rows], out, config)

    def _aligning(self, **more: Any) -> AlignConfig:
        steps = self.options.steps
        usual = {
            "steps": steps, "lr": self.options.lr, "validation_interval": max(1, steps // 3),
        }  # fmt: skip
        return AlignConfig(**self._shared | usual | more)

    def _grpo(self) -> AlignConfig:
        steps, file = self.options.grpo_steps, self.options.work / "rewards.py"
        file.write_text(REWARD_FILE, encoding="utf-8")
        return self._aligning(
            method="grpo", batch=16, group=8, max_tokens=64, patience=0, reward_file=file,
            rewards=("refuses", "overlap", "verbatim=0.5", "ends=0.2"), steps=steps,
            validation_interval=steps,
        )  # fmt: skip


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("medquad", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--general", default="", help="text on which forgetting is watched")
    parser.add_argument("--documents", type=int, default=900)
    parser.add_argument("--longest", type=int, default=700, help="characters of a passage")
    parser.add_argument("--tuning-steps", type=int, default=60)
    parser.add_argument("--steps", type=int, default=60, help="of what goes on")
    parser.add_argument("--batch", type=int, default=16, help="rows of tuning, half as many pairs")
    parser.add_argument("--grpo-steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=500, help="to go on with")
    parser.add_argument("--asked", choices=("same", "other"), default="same",
                        help="the document of passages that do not answer")  # fmt: skip
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", default="before,tuned,more,dpo,grpo")
    parser.add_argument("--lr", type=float, default=0.0, help="of DPO and GRPO")
    return parser.parse_args()


def main() -> None:
    """See the module."""
    options = read_options()
    work: Path = options.work
    documents(options.medquad, options.documents, work / "documents")
    corpus = prepare(
        [work / "documents"], work / "corpus", DataConfig(split_by="document", test_fraction=0.25)
    )
    made = make_examples(
        corpus.path, work / "examples", ExamplesConfig(kinds=KINDS, passage_characters=600)
    )
    easy = rows(made.path, "train", options.longest, same=False)
    hard = rows(made.path, "train", options.longest, same=True)[: options.rows]
    held_out = rows(made.path, "test", options.longest, same=options.asked == "same")
    held_out = held_out[: options.questions]
    for name, each in (("tuned on", easy), ("going on with", hard), ("asked", held_out)):
        answerable = sum(row["answerable"] for row in each)
        print(f"{name}: {len(each)} rows, {answerable} answerable", flush=True)
    ways = Ways(options, write_rows(easy, work), write_rows(hard, work / "hard"), hard)

    found: dict[str, dict[str, np.ndarray]] = {}
    sources = [row["source"] for row in held_out]
    for way in options.ways.split(","):
        file = work / f"{way}-{options.asked}.json"
        found[way] = scores(held_out, ask(ways.model(way), held_out, file, 64, options.threads))
        for metric, values in found[way].items():
            low, high = interval(values, sources)
            line = f"{way:8} {metric:22} {np.nanmean(values):.3f} ({low:.3f} to {high:.3f})"
            if way not in ("before", "tuned"):
                change = values - found["tuned"][metric]
                low, high = interval(change, sources)
                line += f"  against tuned {np.nanmean(change):+.3f} ({low:+.3f} to {high:+.3f})"
            print(line, flush=True)


if __name__ == "__main__":
    main()

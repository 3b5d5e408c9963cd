"""How well and how fast passages are found: by words, by meaning, both together, and re-ranked.

    python benchmarks/answers.py retrieval --index INDEX --medquad medquad.jsonl
    python benchmarks/answers.py retrieval --index INDEX --examples EXAMPLES
    python benchmarks/answers.py encoder   --index INDEX --medquad medquad.jsonl --out OWN
    python benchmarks/answers.py encoder   --index INDEX --examples EXAMPLES --out OWN
    python benchmarks/answers.py reranker  --index INDEX --medquad medquad.jsonl --out RERANKER
    python benchmarks/answers.py documents --medquad medquad.jsonl --out DOCS
    python benchmarks/answers.py speed     --index INDEX

``documents`` writes MedQuAD as files, focus as title and answer as body, of which ``linnet index``
makes the index. ``encoder`` tunes one: on people's questions of one half of the focuses, or on made
examples; ``reranker`` trains one on the same. ``retrieval`` gives the table for questions of the
other half of the focuses, or of the examples' held-out documents, with ``--own`` and ``--reranker``
where they are given. A document is found at the rank of its first passage among the documents
found; equal answers or questions are one target. bm25s is the peer, where it is installed: the same
passages, its English stop words. Vectors are kept in ``--cache``. ``speed`` compares
sentence-transformers where it is installed, and says what a search over 100,000 vectors costs.
Speeds are in seconds of the processor, since other programs may run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linnet.answers.cases import read_cases
from linnet.answers.reranking import targets_of
from linnet.examples import read_examples
from linnet.progress import SILENT
from linnet.retrieval import Found, Hit, Index, Passage, TextEncoder, choose_encoder, passage_text
from linnet.retrieval.encoder_training import (
    EncoderTrainingConfig,
    TrainingPair,
    is_kept_back,
    train_encoder,
)
from linnet.retrieval.fusion import fuse
from linnet.retrieval.measures import MEASURES, rank_of, summary
from linnet.retrieval.reranker import Reranker
from linnet.retrieval.reranker_training import (
    RerankerConfig,
    Target,
    mine,
    sampled,
    train_reranker,
)
from linnet.retrieval.vectors import best, similarities

DEPTH = 300
"""Passages of each search that are fused."""

Search = Callable[[str], list[Hit]]


@dataclass(frozen=True)
class Asked:
    """A question, the documents that answer it, and what it belongs to (a focus, a document)."""

    question: str
    targets: frozenset[str]
    group: str


@dataclass
class Passages:
    """The passages of an index with the documents that have them."""

    index: Index
    alone: bool = False
    """Whether passages are ranked, not documents."""
    rows: list[Passage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = list(self.index.passages())
        self.numbers = {passage.id: number for number, passage in enumerate(self.rows)}
        self.names = [
            (passage.id,)
            if self.alone
            else tuple(dict.fromkeys(_name(place.source) for place in passage.places))
            for passage in self.rows
        ]

    def ranked(self, hits: Sequence[Hit]) -> list[str]:
        """What was found, each once: documents, or passages by their ids."""
        return list(dict.fromkeys(name for hit in hits for name in self.names[hit.number]))


def _name(source: str) -> str:
    return source.replace("\\", "/").rpartition("/")[2]


# -- questions ---------------------------------------------------------------------------------


def is_trained_on(focus: str) -> bool:
    """Whether a focus is of the half that encoders and re-rankers may learn from."""
    return hashlib.sha256(focus.lower().strip().encode()).digest()[0] < 128


def medquad(file: Path, *, trained: bool) -> list[Asked]:
    """People's questions of one half of the focuses, each once, in a drawn order."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    answers, questions = defaultdict(set), defaultdict(set)
    for row in rows:
        answers[_words(row["answer"])].add(_file(row))
        questions[_words(row["question"])].add(_words(row["answer"]))
    found = {}
    for row in rows:
        if is_trained_on(row["focus"]) == trained:
            asked = _words(row["question"])
            targets = frozenset().union(*(answers[answer] for answer in questions[asked]))
            focus = row["focus"].lower().strip()
            found.setdefault(asked, Asked(row["question"], targets, focus))
    drawn = list(found.values())
    random.Random(0).shuffle(drawn)
    return drawn


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _file(row: dict[str, Any]) -> str:
    return f"{row['source']}-{row['id']}.md"


def write_documents(file: Path, out: Path) -> None:
    """MedQuAD as Markdown: a document for each answer."""
    out.mkdir(parents=True, exist_ok=True)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body = "\n".join(" ".join(part.split()) for part in row["answer"].splitlines())
        (out / _file(row)).write_text(f"# {row['focus']}\n\n{body}\n", encoding="utf-8")


def from_examples(place: Path, passages: Passages, *, trained: bool) -> Iterator[Asked]:
    """Made questions with the passages in which their quotes begin: of documents that an encoder
    learns from, or of the others."""
    at = defaultdict(list)
    for passage in passages.rows:
        for spot in passage.places:
            at[spot.source].append((spot.start, spot.end, passage.id))
    for row in read_examples(place, kinds=("question",)):
        if row.source and row.start is not None and is_kept_back(row.source) != trained:
            found = [own for start, end, own in at[row.source] if start <= row.start < end]
            if found:
                yield Asked(row.question, frozenset(found), row.source)


def example_pairs(place: Path, passages: Passages) -> Iterator[TrainingPair]:
    """Made questions with the passages that have their quotes."""
    by_id = {passage.id: passage for passage in passages.rows}
    for trained in (True, False):
        for asked in from_examples(place, passages, trained=trained):
            passage = by_id[min(asked.targets)]
            yield TrainingPair(asked.question, passage_text(passage), asked.group)


def medquad_pairs(file: Path, passages: Passages) -> Iterator[TrainingPair]:
    """People's questions with the first passage of what answers them."""
    first: dict[str, Passage] = {}
    for number, passage in enumerate(passages.rows):
        for name in passages.names[number]:
            first.setdefault(name, passage)
    for asked in medquad(file, trained=True):
        for name in sorted(asked.targets):
            if name in first:
                yield TrainingPair(asked.question, passage_text(first[name]), asked.group)
                break


# -- searches ----------------------------------------------------------------------------------


def vectors(encoder: TextEncoder, passages: Passages, cache: Path) -> np.ndarray[Any, Any]:
    """The passages' vectors, out of the cache where they are in it."""
    texts = [passage_text(passage) for passage in passages.rows]
    digest = hashlib.sha256("\0".join([encoder.fingerprint, *texts]).encode()).hexdigest()
    file = cache / f"{digest[:24]}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        began = time.process_time()
        found = encoder.embed_passages(texts)
        print(
            f"  {encoder.name}: {len(texts):,} passages, {time.process_time() - began:.0f} s of CPU"
        )
        np.save(file, found)
    return np.load(file, mmap_mode="r")


def dense(encoder: TextEncoder, rows: np.ndarray[Any, Any]) -> Search:
    """Search by meaning."""

    def search(question: str) -> list[Hit]:
        return best(similarities(rows, encoder.embed_queries([question]))[0], DEPTH)

    return search


def lexical(passages: Passages) -> Search:
    """Search by words, as the index does it."""
    opened = passages.index._open
    everything = opened.mask(None, None)
    rows = {
        number: passages.numbers[opened.passage(number, everything).id]
        for number in np.flatnonzero(everything.passages).tolist()
    }

    def search(question: str) -> list[Hit]:
        scores = np.where(everything.passages, opened.lexical.scores(question), 0)
        found = best(np.where(scores > 0, scores, -np.inf), DEPTH)
        return [Hit(rows[hit.number], hit.score) for hit in found]

    return search


def as_it_is(passages: Passages) -> Search:
    """What the index itself finds: by all that it has."""

    def search(question: str) -> list[Hit]:
        found = passages.index.search(question, 100)
        return [Hit(passages.numbers[each.passage.id], each.score) for each in found]

    return search


def peer(passages: Passages) -> Search | None:
    """bm25s over the same passages."""
    try:
        import bm25s
    except ImportError:
        return None
    index = bm25s.BM25()
    texts = [passage_text(passage) for passage in passages.rows]
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(question: str) -> list[Hit]:
        tokens = bm25s.tokenize(question, stopwords="en", show_progress=False)
        numbers, scores = index.retrieve(tokens, k=min(DEPTH, len(texts)), show_progress=False)
        return [Hit(int(n), float(s)) for n, s in zip(numbers[0], scores[0], strict=True) if s > 0]

    return search


def fused(one: Search, other: Search, fusion: Any = "scores") -> Search:
    """Both together."""

    def search(question: str) -> list[Hit]:
        return fuse({"lexical": one(question), "dense": other(question)}, DEPTH, fusion=fusion)

    return search


def reranked(search: Search, passages: Passages, reranker: Reranker, depth: int) -> Search:
    """A search whose first passages a cross-encoder has put in order."""

    def again(question: str) -> list[Hit]:
        hits = search(question)
        found = [Found(passages.rows[hit.number], hit.score) for hit in hits]
        ordered = reranker.rerank(question, found, depth=depth, budget=60)  # however busy it is
        return [Hit(passages.numbers[each.passage.id], each.score) for each in ordered]

    return again


# -- tables ------------------------------------------------------------------------------------


def retrieval(args: argparse.Namespace) -> None:
    """The table of all searches."""
    passages = Passages(Index.open(args.index), alone=args.medquad is None)
    if args.medquad:
        questions = medquad(args.medquad, trained=False)
    else:
        questions = list(from_examples(args.examples, passages, trained=False))
        random.Random(0).shuffle(questions)
    questions = questions[: args.questions]
    ranked = "passages" if passages.alone else "documents"
    print(f"{len(passages.rows):,} passages, {len(questions)} questions, {ranked} ranked\n")
    searches: dict[str, Search] = {}
    if (found := peer(passages)) is not None:
        searches["bm25s"] = found
    searches["lexical"] = lexical(passages)
    searches["the index itself"] = as_it_is(passages)
    for name in (args.encoder, args.own):
        encoder = choose_encoder(str(name)) if name else None
        if encoder is None:
            continue
        title = "own" if name == args.own else encoder.name
        searches[title] = dense(encoder, vectors(encoder, passages, args.cache))
        searches[f"lexical + {title}"] = fused(searches["lexical"], searches[title])
        searches[f"lexical + {title}, ranks"] = fused(searches["lexical"], searches[title], "ranks")
    if args.reranker:
        reranker = Reranker.open(args.reranker)
        for title in [
            name
            for name in searches
            if "," not in name and name not in ("bm25s", "the index itself")
        ]:
            searches[f"{title}, re-ranked"] = reranked(
                searches[title], passages, reranker, args.depth
            )
    print(f"| {'search':34} | " + " | ".join(f"{name:18}" for name in MEASURES) + " | CPU ms |")
    print(f"|{'-' * 36}|" + "|".join("-" * 20 for _ in MEASURES) + "|--------|")
    results = {}
    for title, search in searches.items():
        began = time.process_time()
        hits = [search(asked.question) for asked in questions]
        each = (time.process_time() - began) / len(questions) * 1000
        ranks = [
            rank_of(passages.ranked(found), asked.targets)
            for found, asked in zip(hits, questions, strict=True)
        ]
        results[title] = summary(np.array(ranks))
        cells = (
            f"{value['value']:.3f} [{value['low']:.3f} {value['high']:.3f}]"
            for value in (results[title][name] for name in MEASURES)
        )
        print(f"| {title:34} | " + " | ".join(cells) + f" | {each:6.1f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def encoder(args: argparse.Namespace) -> None:
    """Tune an encoder and say what it finds on what was kept back."""
    passages = Passages(Index.open(args.index))
    if args.medquad:
        pairs = list(medquad_pairs(args.medquad, passages))
    else:
        pairs = list(example_pairs(args.examples, passages))
    base = choose_encoder(args.encoder)
    if base is None:
        raise SystemExit("an encoder to start from is needed: --encoder")
    settings = EncoderTrainingConfig(
        pairs=args.pairs, epochs=args.epochs, max_tokens=args.max_tokens, threads=args.threads,
        compared=args.compared,
    )  # fmt: skip
    began = time.process_time()
    made = train_encoder(pairs, base, args.out, settings, progress=SILENT)
    print(json.dumps(made.stats, indent=1))
    print(f"{time.process_time() - began:.0f} s of CPU")


def train(args: argparse.Namespace) -> None:
    """Train a re-ranker, and say how well it orders what was kept back of the same half."""
    index = Index.open(args.index)
    passages = Passages(index)
    if args.medquad:
        sources = {_name(p.source): p.source for row in passages.rows for p in row.places}
        targets = [
            Target(each.question, sources[name], group=each.group)
            for each in medquad(args.medquad, trained=True)
            for name in sorted(each.targets & sources.keys())
        ]
    else:
        cases = read_cases(args.examples)
        targets = [each for each in targets_of(cases) if not is_kept_back(each.source)]
    base = choose_encoder(args.encoder)
    if base is None:
        raise SystemExit("an encoder to start from is needed: --encoder")
    settings = RerankerConfig(most_questions=args.trained, threads=args.threads)
    began = time.process_time()
    lists = mine(
        sampled(targets, settings), lambda question, k: index.search(question, k, rerank=False)
    )
    made = train_reranker(lists, base.path, args.out, settings)
    print(json.dumps(made.stats, indent=1))
    print(f"{time.process_time() - began:.0f} s of CPU")


def speed(args: argparse.Namespace) -> None:
    """Tokens a second, and what a search costs."""
    import torch

    from linnet.generate.embedding import load_encoder

    torch.set_num_threads(args.threads or 2)
    chosen = choose_encoder(args.encoder)
    if chosen is None:
        raise SystemExit("an encoder is needed: --encoder")
    passages = Passages(Index.open(args.index)).rows
    texts = [passage_text(passage) for passage in passages[:: max(1, len(passages) // 128)]]
    runs: dict[str, Callable[[], Any]] = {}
    for dtype in ("fp32", "bf16"):
        model = load_encoder(chosen.path, dtype=dtype)  # type: ignore[arg-type]
        runs[f"linnet {dtype}"] = lambda model=model: model.embed(texts, normalise=True)
    try:
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(chosen.path), device="cpu")
        runs["sentence-transformers fp32"] = lambda: theirs.encode(texts, batch_size=32)
    except ImportError:
        print("sentence-transformers is not installed")
    most = chosen.encoder.max_tokens - 2
    tokens = sum(min(len(row), most) + 2 for row in model.tokenizer.encode_arrays(texts))
    taken: dict[str, list[float]] = defaultdict(list)
    found: dict[str, Any] = {}
    for _ in range(args.repeats + 1):  # the first warms up; then in turn
        for name, run in runs.items():
            began = time.process_time()
            found[name] = run()
            taken[name].append(time.process_time() - began)
    for name, seconds in taken.items():
        near = float((found[name] * found["linnet fp32"]).sum(1).min())
        fastest = min(seconds[1:])
        print(f"{name:28} {tokens / fastest:9,.0f} tokens/s of CPU, least cosine {near:.5f}")
    rows = np.random.default_rng(0).standard_normal((100_000, 384), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for kind in (np.float32, np.float16):
        kept = rows.astype(kind)
        seconds = []
        for number in range(args.repeats * 3 + 1):
            began = time.process_time()
            best(similarities(kept, rows[number : number + 1])[0], DEPTH)
            seconds.append(time.process_time() - began)
        print(
            f"search over 100,000 x 384, {np.dtype(kind).name}: {min(seconds) * 1e3:.0f} ms of CPU"
        )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = {
        "retrieval": retrieval, "encoder": encoder, "reranker": train, "speed": speed,
        "documents": lambda args: write_documents(args.medquad, args.out),
    }  # fmt: skip
    parser.add_argument("command", choices=commands)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--medquad", type=Path)
    parser.add_argument("--examples", type=Path)
    parser.add_argument("--encoder", help="the encoder; by default the best at hand")
    parser.add_argument("--own", type=Path, help="a tuned encoder")
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--trained", type=int, default=RerankerConfig.most_questions)
    parser.add_argument("--depth", type=int, default=20, help="passages that are re-ranked")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path("vectors"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pairs", type=int, default=EncoderTrainingConfig.pairs)
    parser.add_argument("--epochs", type=int, default=EncoderTrainingConfig.epochs)
    parser.add_argument("--max-tokens", type=int, default=EncoderTrainingConfig.max_tokens)
    parser.add_argument("--compared", type=int, default=EncoderTrainingConfig.compared)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    commands[args.command](args)


if __name__ == "__main__":
    main()

"""General text for a run: some to replay, and some held apart to see what is forgotten.

A model that reads only its new subject loses what it knew. Mixing in text like
that of its first training prevents most of it (rehearsal). Where there is no such
text, the model itself can write it before it is changed: pseudo-rehearsal (Robins,
1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"), self-synthesised
rehearsal (arXiv:2403.01244).

What the base wrote, drawn at temperature 1 with no filter, has one more use. By
how much the loss on it rises in training is an unbiased estimate of the
Kullback-Leibler divergence of the new model from the base, which is what
"changed" means for a language model.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet import artifact
from linnet.errors import ArtifactError, DataError, ModelError
from linnet.evaluate.held_out import (
    TEXT_SUFFIXES,
    even_sample,
    same_vocabulary,
    split_text_file,
    text_files,
)
from linnet.finetune.encoding import Example, Flags, cut_document, document_start
from linnet.finetune.examples import load_examples
from linnet.output import write_text
from linnet.progress import SILENT, Progress
from linnet.train.execution import at_rest
from linnet.train.state import STATE, damage_named, read_numbers, read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from linnet.finetune.config import ExamplesConfig, FinetuneConfig
    from linnet.model import Checkpoint
    from linnet.tokenizer import Tokenizer

SAMPLING_SHARE = 0.1  # of a time limit, at most, for each of what is replayed and held out
BYTES_PER_TOKEN = 8  # more than tokenizers reach, so that too little is never read
HELD_OUT_EVERY = 10  # where text comes without a validation split, this part of it is held out
ENOUGH_DOCUMENTS = 2 * HELD_OUT_EVERY  # to hold out whole ones
SAMPLED_LENGTH = 512  # tokens of a sampled text, at most: many short ones say more than few long
SAMPLED_ROWS = 16  # texts that are sampled together


@dataclass(frozen=True)
class GeneralText:
    """Text of the kind that the base model knows already."""

    replay: list[Example]
    held_out: list[Example]
    source: str
    """Where it is from, in words."""


@dataclass(frozen=True)
class ReplayNeed:
    """How much replay a run reads for so many epochs of its examples."""

    tokens: int
    """Different tokens to have at hand."""
    rows: float
    """Rows that they add to those of the examples."""


def replay_need(examples: Sequence[Example], config: FinetuneConfig, *, length: int) -> ReplayNeed:
    """What ``replay``, a share of all trained tokens, comes to."""
    if not config.replay:
        return ReplayNeed(0, 0.0)
    learned = config.epochs * sum(int(example.trained.sum()) for example in examples)
    replayed = learned * config.replay / (1 - config.replay)
    # With a limit on steps or time, epochs do not say how much is read.
    bounded = config.replay_tokens if config.steps or config.seconds else replayed
    return ReplayNeed(int(min(config.replay_tokens, bounded)), replayed / length)


def settle_general_text(
    directory: Path,
    base: Checkpoint,
    config: ExamplesConfig,
    *,
    general: str,
    replay_tokens: int,
    held_out_tokens: int,
    length: int,
    seconds: float = 0.0,
    compiled: bool = False,
    progress: Progress = SILENT,
) -> GeneralText:
    """The general text of the run in ``directory``: as kept, as given, the base's own, or sampled.

    ``base``: the model before its first step. ``general``: where it is given. ``seconds``: of the
    run, where they are limited. Raises DataError when the text given is too little.
    """
    places = [directory / STATE / f"{name}.safetensors" for name in ("replay", "general")]
    budget = replay_tokens, held_out_tokens
    kept = directory / STATE / "general.txt"
    if kept.is_file():
        found = [read_examples(place) if place.is_file() else [] for place in places]
        return GeneralText(found[0], found[1], kept.read_text(encoding="utf-8"))
    given: Path | None = Path(general) if general else None
    if given is None and base.path is not None:
        given = own_shards(base.path, base.tokenizer)
    if given is not None:
        shorter = dataclasses.replace(config, context=length)
        text = general_text(
            given, base.tokenizer, shorter,
            replay_tokens=budget[0], held_out_tokens=budget[1], progress=progress,
        )  # fmt: skip
    else:
        with at_rest(base.model, compiled=compiled) if base.model.training else nullcontext():
            # Different seeds: what is held out must not be replayed.
            sides = [
                sample_replay(
                    base, tokens=tokens, seed=config.seed * 2 + side, context=length,
                    seconds=seconds * SAMPLING_SHARE, progress=progress,
                )
                for side, tokens in enumerate(budget)
            ]  # fmt: skip
        text = GeneralText(sides[0], sides[1], "text that the base model wrote")
    for place, examples in zip(places, (text.replay, text.held_out), strict=True):
        if examples:
            save_examples(place, examples)
    kept.parent.mkdir(exist_ok=True)
    write_text(kept, text.source)
    return text


def general_text(
    path: Path,
    tokenizer: Tokenizer,
    config: ExamplesConfig,
    *,
    replay_tokens: int,
    held_out_tokens: int,
    progress: Progress = SILENT,
) -> GeneralText:
    """General text from a place: see :func:`read_text`. Raises DataError when there is too
    little."""
    found = read_text(
        path, tokenizer, config, tokens=replay_tokens, held_out_tokens=held_out_tokens,
        progress=progress,
    )  # fmt: skip
    for side, wanted, name in (
        (found.replay, replay_tokens, "replay"),
        (found.held_out, held_out_tokens, "hold out"),
    ):
        if wanted and not side:
            raise DataError(
                f"{found.source}: expected general text, some to replay and some to hold out, but "
                f"there is none to {name}; give more text, or none, for the model to write its own"
            )
    return found


def read_text(
    path: Path,
    tokenizer: Tokenizer,
    config: ExamplesConfig,
    *,
    tokens: int,
    held_out_tokens: int,
    progress: Progress = SILENT,
) -> GeneralText:
    """Text from a place: at most so many tokens to read and to hold out, spread over all there is.

    ``path``: a file or folder of plain text, shards of the same tokenizer, a corpus, or a
    file of rows as for training. A validation split is what is held out; without one, one
    part in ten.
    """
    path = artifact.within(path, "corpus")
    kind = artifact.read(path).manifest.kind if artifact.is_artifact(path) else ""
    budget = tokens, held_out_tokens
    if kind == "shards":
        sides = [
            _of_shards(path, split, tokenizer, config.context, tokens)
            for split, tokens in zip(("train", "validation"), budget, strict=True)
        ]
    elif kind == "corpus":
        sides = [
            _of_texts(_corpus(path, split, tokens), tokenizer, config.context)
            for split, tokens in zip(("train", "validation"), budget, strict=True)
        ]
    elif path.is_file() and path.suffix.lower() not in TEXT_SUFFIXES:
        sides = _of_rows(path, tokenizer, config, progress)
    else:
        sides = _of_files(path, tokenizer, config.context, sum(budget))
    replay, held_out = (thinned(side, tokens) for side, tokens in zip(sides, budget, strict=True))
    return GeneralText(replay, held_out, str(path))


def own_shards(base: Path, tokenizer: Tokenizer) -> Path | None:
    """The shards that Linnet trained this base model on, where they are still at hand."""
    from linnet.shards import Shards

    if not artifact.is_artifact(base):
        return None
    try:
        for made_from in artifact.lineage(base):
            if made_from.manifest.kind == "shards":
                shards = Shards.open(made_from.path)
                whole = min(shards.split(name).documents for name in ("train", "validation"))
                return made_from.path if whole and _fits(shards.tokenizer_path, tokenizer) else None
    except ArtifactError:  # what it was made from has changed since: then it is of no use here
        return None
    return None


def sample_replay(
    checkpoint: Checkpoint,
    *,
    tokens: int,
    seed: int,
    context: int,
    temperature: float = 1.0,
    seconds: float = 0.0,
    progress: Progress = SILENT,
) -> list[Example]:
    """Texts that the model writes by itself, from the beginning of a document, in batches.

    At least ``tokens`` in all, unless that is 0 or ``seconds``, where they are given, have passed
    before. The same seed gives the same texts, whatever was drawn before. Raises ModelError
    for a model that cannot write.
    """
    from linnet.generate import Request, Sampling
    from linnet.generate.torch_engine import TorchEngine

    shape = checkpoint.config
    if not shape.writes:
        raise ModelError(f"a {shape.family} model cannot write text; give general text as a file")
    training = checkpoint.model.training
    tokenizer = checkpoint.tokenizer
    start = document_start(tokenizer)
    length = min(context, SAMPLED_LENGTH, shape.context) - len(start)
    # Only what ends a document ends one here; the marks of a chat are part of what is written.
    only_end = dataclasses.replace(checkpoint, stop_ids=(tokenizer.end_of_text,))
    engine = TorchEngine(only_end)
    examples: list[Example] = []
    written, deadline = 0, time.monotonic() + seconds
    try:
        with progress.task("text by the base model", total=tokens, unit="tokens") as task:
            while written < tokens and (not written or not seconds or time.monotonic() < deadline):
                rows = min(SAMPLED_ROWS, -(-(tokens - written) // length))
                requests = [
                    Request(start, Sampling(
                        max_tokens=length, temperature=temperature, top_p=1.0, min_p=0.0,
                        seed=_seed(seed, len(examples) + row),
                    ))
                    for row in range(rows)
                ]  # fmt: skip
                for text in engine.generate(requests):
                    ended = (tokenizer.end_of_text,) if text.finish_reason == "stop" else ()
                    ids = [*start, *text.tokens, *ended]
                    source = f"written by the base model, {len(examples) + 1}"
                    trained = np.arange(len(ids)) >= len(start)
                    examples.append(_example(np.array(ids), trained, tokenizer, source))
                    written += len(ids) - len(start)
                task.update(done=min(written, tokens))
    finally:
        checkpoint.model.train(training)
    return examples


def document_examples(
    ids: Sequence[int] | npt.NDArray[np.integer],
    tokenizer: Tokenizer,
    *,
    context: int,
    source: str,
) -> list[Example]:
    """A document's tokens, its end included, as examples that predict every token once."""
    start = document_start(tokenizer)
    whole = np.concatenate((np.asarray(start), np.asarray(ids)))
    return [
        _example(piece, trained, tokenizer, source)
        for piece, trained in cut_document(whole, given=len(start), context=context - 1)
    ]


def thinned(examples: Sequence[Example], tokens: int) -> list[Example]:
    """Every n-th example, such that they have at most about so many tokens; none for 0."""
    if not tokens:
        return []
    return even_sample(examples, size=lambda example: example.places, limit=tokens).items


def save_examples(path: Path, examples: Sequence[Example]) -> None:
    """Keep some examples for a run that is resumed."""
    tokens = [example.tokens for example in examples]
    flags = [example.trained for example in examples]
    tensors = {
        "tokens": torch.from_numpy(np.concatenate(tokens).astype(np.int64)),
        "trained": torch.from_numpy(np.concatenate(flags)),
        "lengths": torch.tensor([len(ids) for ids in tokens], dtype=torch.int64),
        "bytes": torch.tensor([example.trained_bytes for example in examples], dtype=torch.int64),
    }
    write_tensors(path, tensors, {"sources": [example.source for example in examples]})


def read_examples(path: Path) -> list[Example]:
    """What :func:`save_examples` kept. Raises DamagedError when it cannot be read."""
    with damage_named(path):
        found = {name: tensor.numpy() for name, tensor in read_tensors(path)}
        ends = np.cumsum(found["lengths"])
        rows = zip(ends - found["lengths"], ends, strict=True)
        return [
            Example(
                found["tokens"][begin:end].astype(np.uint32),
                found["trained"][begin:end],
                source,
                size,
            )
            for (begin, end), source, size in zip(
                rows, read_numbers(path)["sources"], found["bytes"].tolist(), strict=True
            )
        ]


def _example(
    ids: npt.NDArray[np.integer], trained: Flags, tokenizer: Tokenizer, source: str
) -> Example:
    size = sum(len(tokenizer.token_bytes(int(token))) for token in ids[trained])
    return Example(ids.astype(np.uint32), trained, source, size)


def _seed(seed: int, number: int) -> int:
    """A seed for each text of a run, unlike those of runs with the seeds beside it."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _fits(directory: Path, tokenizer: Tokenizer) -> bool:
    from linnet.tokenizer import load

    return same_vocabulary(load(directory), tokenizer)


def _of_shards(
    path: Path, split: str, tokenizer: Tokenizer, context: int, tokens: int
) -> list[Example]:
    from linnet.shards import Shards

    shards = Shards.open(path)
    if not _fits(shards.tokenizer_path, tokenizer):
        raise DataError(
            f"{path}: expected shards of the model's own tokenizer, but they were made with "
            "another; give the corpus that they were made from"
        )
    part = shards.split(split)
    sizes = np.diff(part.document_ends, prepend=0)
    sample = even_sample(range(part.documents), size=lambda i: int(sizes[i]), limit=max(1, tokens))
    return [
        example
        for index in (sample.items if tokens else [])
        for example in document_examples(
            part.document(index), tokenizer, context=context, source=f"{path} {split} {index}"
        )
    ]


def _corpus(path: Path, split: str, tokens: int) -> list[tuple[str, str]]:
    from linnet.data import read_documents

    documents: Iterable[tuple[str, str]] = (
        (document.text, f"{path} {split} {document.id}")
        for document in read_documents(path, split, columns=("id", "text"))
    )
    return _spread(documents, tokens) if tokens else []


def _of_files(path: Path, tokenizer: Tokenizer, context: int, tokens: int) -> list[list[Example]]:
    documents = _spread(_plain(path, tokens * BYTES_PER_TOKEN), tokens)
    if len(documents) >= ENOUGH_DOCUMENTS:
        held_out = documents[::HELD_OUT_EVERY]
        del documents[::HELD_OUT_EVERY]
        return [_of_texts(side, tokenizer, context) for side in (documents, held_out)]
    # A book or two: the last part of each.
    sides: list[list[Example]] = [[], []]
    for text, source in documents:
        ids = tokenizer.encode(text)
        border = len(ids) - max(2, len(ids) // HELD_OUT_EVERY)
        for side, part in zip(sides, (ids[:border], ids[border:]), strict=True):
            side += document_examples(part, tokenizer, context=context, source=source)
    return sides


def _plain(path: Path, keep_bytes: int) -> Iterator[tuple[str, str]]:
    for file in text_files(path):
        for text, _ in split_text_file(file, keep_bytes=keep_bytes):
            yield text, str(file)


def _spread(documents: Iterable[tuple[str, str]], tokens: int) -> list[tuple[str, str]]:
    return even_sample(
        documents, size=lambda pair: len(pair[0].encode()), limit=max(1, tokens * BYTES_PER_TOKEN)
    ).items


def _of_texts(
    documents: Sequence[tuple[str, str]], tokenizer: Tokenizer, context: int
) -> list[Example]:
    encoded = tokenizer.encode_arrays(text for text, _ in documents)
    return [
        example
        for ids, (_, source) in zip(encoded, documents, strict=True)
        for example in document_examples(
            np.append(ids, tokenizer.end_of_text), tokenizer, context=context, source=source
        )
    ]


def _of_rows(
    path: Path, tokenizer: Tokenizer, config: ExamplesConfig, progress: Progress
) -> list[list[Example]]:
    """Rows as for training: conversations to replay to a model that converses."""
    own = dataclasses.replace(config, validation="", held_out=1 / HELD_OUT_EVERY)
    found = load_examples([path], tokenizer, own, progress=progress)
    return [found.train, found.held_out]

"""Trains a tokenizer on a corpus: byte-level byte pair encoding, or less.

Byte pair encoding (Sennrich, Haddow and Birch, 2016) starts from the 256 bytes
(Radford et al., 2019) and merges the most frequent pair of neighbours, again
and again. Merges stay within words, which are cut by the pattern of Qwen2: it
keeps digits single, and llama.cpp knows it (``LLAMA_VOCAB_PRE_TYPE_QWEN2``), so
that a model can be exported. There is no normalizer: what goes in comes out.

``unigram`` learns its pieces otherwise (:mod:`linnet.tokenizer.unigram`) from the same words.

Two simpler kinds share the format: ``bytes`` has no merges at all, and ``chars``
only merges the bytes of one character. A character starts with a byte that
occurs nowhere else in one, so those merges cannot join two characters, and the
same pattern serves all three.

Training is deterministic: the same texts in any order give the same file.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from linnet import artifact
from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError, DataError
from linnet.progress import SILENT, Progress
from linnet.tokenizer.chunking import chunks
from linnet.tokenizer.definition import QWEN2_PATTERN
from linnet.tokenizer.special_tokens import CHAT_TEMPLATE, TURN_END, TURN_START
from linnet.tokenizer.tokenizer import Tokenizer
from linnet.tokenizer.unigram import train_unigram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from linnet.artifact import Artifact, Draft, Inputs

KIND = "tokenizer"
FORMAT = 1

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"  # its own token: padding must never look like the end of a text
SPECIAL_TOKENS = (END_OF_TEXT, PAD, TURN_START, TURN_END)
BYTES = 256
FIT_SAMPLE_BYTES = 2_000_000
SMALLEST_VOCABULARY = BYTES + len(SPECIAL_TOKENS)
# Small enough that one huge document cannot crowd out the others.
SAMPLE_CHARACTERS = 1 << 14


@dataclass(frozen=True)
class TokenizerConfig(Config):
    """How to train a tokenizer."""

    kind: Literal["bpe", "bytes", "chars", "unigram"] = option(
        "bpe",
        "byte pairs merged into words; or single bytes; or single characters; or the most "
        "probable pieces (needs sentencepiece)",
    )
    vocab_size: int = option(4096, "most tokens to have, special ones included (not for bytes)")
    min_frequency: int = option(2, "merge only pairs seen this often")
    sample_bytes: int = option(64_000_000, "most text to train on, spread evenly over the corpus")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "bytes" and self.vocab_size < SMALLEST_VOCABULARY:
            raise ConfigError(
                f"vocab_size must be at least {SMALLEST_VOCABULARY} ({BYTES} bytes and "
                f"{len(SPECIAL_TOKENS)} special tokens). Got {self.vocab_size}"
            )
        for name in ("min_frequency", "sample_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1. Got {getattr(self, name)}")

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return to_mapping(self)


def train(
    texts: Iterable[str],
    out: Path | str,
    config: TokenizerConfig | None = None,
    *,
    inputs: Inputs | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Train on ``texts`` and write a tokenizer directory.

    ``inputs``: what the texts come from, for the manifest. A vocabulary that
    the text cannot fill comes out smaller, with a warning.
    Raises DataError when there is no text.
    """
    config, inputs = config or TokenizerConfig(), inputs or {}

    def write(draft: Draft) -> None:
        pieces: list[str] = []
        if config.kind != "bytes":
            with progress.task("reading text for the tokenizer", unit="bytes") as task:
                pieces = sample(texts, config.sample_bytes, on_read=task.advance)
            if not any(pieces):
                raise DataError(
                    "the tokenizer needs text to learn from, but the corpus has none; "
                    "add documents, or use --kind bytes"
                )
        with progress.task(f"training a tokenizer of {config.vocab_size:,} tokens"):
            tokenizer = Tokenizer(_train_backend(pieces, config), own_config())
        tokenizer.save(draft.path)
        sample_size = sum(len(piece.encode("utf-8", "replace")) for piece in pieces)
        draft.stats.update(
            kind=config.kind, vocab_size=tokenizer.vocab_size, sample_bytes=sample_size
        )
        if pieces:
            draft.stats["bytes_per_token"] = bytes_per_token(tokenizer, pieces)
        if config.kind in ("bpe", "unigram") and tokenizer.vocab_size < config.vocab_size:
            progress.warn(
                f"the text has too few repeated words for {config.vocab_size:,} tokens; "
                f"the vocabulary has {tokenizer.vocab_size:,}"
            )

    # Texts without inputs may be others than those that one there was made from.
    return artifact.make(
        out, write, kind=KIND, format=FORMAT, config=config.recipe(), inputs=inputs, reuse=False
    )


def bytes_per_token(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """How well a tokenizer suits texts, on a fair sample of them.

    The same texts give the same figure in any order, and few changes change it little, so
    that figures of a corpus before and after an edit can be compared.
    """
    pieces = sample(texts, FIT_SAMPLE_BYTES)
    size = sum(len(piece.encode("utf-8", "replace")) for piece in pieces)
    return size / max(1, sum(len(tokenizer.encode(piece)) for piece in pieces))


def own_config() -> dict[str, Any]:
    """``tokenizer_config.json`` for what Linnet trains.

    Its class reads ``tokenizer.json`` as it is, in transformers 4 and 5 alike; and
    clean-up, which would take spaces away, is off.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "additional_special_tokens": list(SPECIAL_TOKENS[2:]),
        "add_prefix_space": False,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }


def _train_backend(pieces: list[str], config: TokenizerConfig) -> tokenizers.Tokenizer:
    words, characters = tokenizers.Regex(QWEN2_PATTERN), tokenizers.Regex(r"[\s\S]")
    if config.kind == "unigram":
        model = train_unigram(
            pieces,
            _byte_level(words),
            vocab_size=config.vocab_size,
            min_frequency=config.min_frequency,
            special_tokens=SPECIAL_TOKENS,
        )
        backend = tokenizers.Tokenizer(model)
        backend.add_special_tokens(list(SPECIAL_TOKENS))
        backend.pre_tokenizer, backend.decoder = _byte_level(words), decoders.ByteLevel()
        return backend
    backend = tokenizers.Tokenizer(models.BPE())
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SMALLEST_VOCABULARY if config.kind == "bytes" else config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.pre_tokenizer = _byte_level(characters if config.kind == "chars" else words)
    backend.train_from_iterator(pieces, trainer)
    backend.pre_tokenizer = _byte_level(words)
    return backend


def _byte_level(pattern: tokenizers.Regex) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def sample(
    texts: Iterable[str], limit: int, *, on_read: Callable[[int], None] = lambda _: None
) -> list[str]:
    """A fair sample of texts, in one pass and bounded memory, whatever their order.

    Texts are cut into chunks, each is ranked by the hash of its text, and the lowest ranks that fit
    are kept (a bottom-k sketch; Cohen, 1997). The sample is thus spread evenly over the corpus and
    changes little when a few documents do. It has at most ``limit`` bytes
    in all (but at least one chunk), by rank.

    ``on_read`` is told the size of each text in bytes as it passes.
    """
    kept: list[tuple[int, str]] = []  # a heap with the worst rank on top
    size = 0
    for text in texts:
        text_bytes = 0
        for piece in chunks(text, SAMPLE_CHARACTERS):
            encoded = piece.encode("utf-8", "replace")
            text_bytes += len(encoded)
            rank = int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")
            heapq.heappush(kept, (-rank, piece))
            size += len(encoded)
            while size > limit and len(kept) > 1:
                _, dropped = heapq.heappop(kept)
                size -= len(dropped.encode("utf-8", "replace"))
        on_read(text_bytes)
    return [piece for _, piece in sorted(kept, reverse=True)]

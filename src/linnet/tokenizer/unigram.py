"""Learns the pieces of a Unigram vocabulary (Kudo, 2018) with the sentencepiece library.

A text is cut into the pieces whose probabilities multiply to the most. What sentencepiece is given
are words whose bytes are written as GPT-2 writes them, with how often each occurs. So the
vocabulary is byte-level like the others trained here: every text can be written and comes back as
it was.

llama.cpp knows Unigram as T5's, with spaces spelt by sentencepiece; byte-level pieces it does not
read, so a model with such a vocabulary cannot be exported to GGUF.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import models, pre_tokenizers

from linnet.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable

# The score of pieces that no text turns into: special tokens.
_NEVER = -1e6


def train_unigram(
    texts: Iterable[str],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    *,
    vocab_size: int,
    min_frequency: int,
    special_tokens: Iterable[str],
) -> models.Unigram:
    """A Unigram model of at most ``vocab_size`` pieces, special tokens first.

    ``pre_tokenizer``: cuts into words and writes bytes as characters. Words seen less often than
    ``min_frequency`` teach nothing. Raises MissingExtraError without sentencepiece, DataError
    when no word is left.
    """
    words = Counter(
        word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text) if word
    )
    kept = {word: count for word, count in words.items() if count >= min_frequency}
    if not kept:
        raise DataError(
            f"expected words that occur at least {min_frequency} times, but the text has none; "
            "add documents, or lower min_frequency"
        )
    special = list(special_tokens)
    # Bytes that the text does not have can still be written.
    unseen = set(pre_tokenizers.ByteLevel.alphabet()) - {sign for word in kept for sign in word}
    found = _learn(kept, vocab_size - len(special) - len(unseen))
    pieces = found | dict.fromkeys(unseen, min(found.values()) - 10)
    ranked = sorted(pieces.items(), key=lambda item: (-item[1], item[0]))
    return models.Unigram([*((name, _NEVER) for name in special), *ranked], None, False)


def _learn(words: dict[str, int], size: int) -> dict[str, float]:
    """Pieces with the logarithms of their probabilities, by sentencepiece."""
    try:
        import sentencepiece
    except ImportError:
        raise MissingExtraError("sentencepiece", "training a Unigram tokenizer") from None
    trained = io.BytesIO()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "words.tsv"
        lines = (f"{word}\t{count}\n" for word, count in sorted(words.items()))
        file.write_text("".join(lines), encoding="utf-8", newline="")
        sentencepiece.SentencePieceTrainer.train(
            input=str(file),
            input_format="tsv",
            model_writer=trained,
            model_type="unigram",
            vocab_size=size + 1,  # and the unknown piece, which is left out here
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_whitespace=False,
            split_by_number=False,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,  # the same text gives the same pieces
            minloglevel=2,
        )
    model: Any = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    known = range(1, model.get_piece_size())
    return {model.id_to_piece(place): model.get_score(place) for place in known}

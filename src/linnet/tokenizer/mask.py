"""The token that stands for a hidden one, which only encoders need (arXiv:1810.04805)."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from linnet.tokenizer.adoption import load
from linnet.tokenizer.definition import TOKENIZER_FILE, read_backend
from linnet.tokenizer.tokenizer import Tokenizer

MASK = "<|mask|>"
KNOWN_MASKS = ("[MASK]", "<mask>", MASK)


def mask_token(tokenizer: Tokenizer) -> int | None:
    """The id of the mask token, or None where the tokenizer has none."""
    named = tokenizer.config.get("mask_token")
    name = named.get("content") if isinstance(named, dict) else named
    names = [known for known in (name, *KNOWN_MASKS) if isinstance(known, str)]
    found = (tokenizer.token_id(known) for known in names)
    return next((token for token in found if token is not None), None)


def load_with_mask(path: Path) -> tuple[Tokenizer, int]:
    """The tokenizer in a directory with a mask token, and that token's id.

    Where there was none it comes last, so that every text keeps its ids. Raises
    ModelError as :func:`linnet.tokenizer.load` does.
    """
    tokenizer = load(path)
    known = mask_token(tokenizer)
    if known is not None:
        return tokenizer, known
    backend = read_backend(path / TOKENIZER_FILE)
    backend.add_special_tokens([tokenizers.AddedToken(MASK, special=True, normalized=False)])
    added = Tokenizer(backend, {**tokenizer.config, "mask_token": MASK})
    return added, added.vocab_size - 1

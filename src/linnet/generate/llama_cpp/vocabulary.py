"""The vocabulary that llama.cpp is given where Linnet's own tokenizer does the cutting.

Prompts go to llama.cpp as token ids and its answers come back as ids, so it need not cut
text at all, and any tokenizer will do. What it needs to know of a token is its bytes, for
constraints. They are written one character a byte (Latin-1): llama.cpp keeps back a token
that ends within a character and never says which it was, and in this spelling none does.
Constraints are spelt likewise (``linnet.generate.constraints.gbnf``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.export.vocabulary import CONTROL, NORMAL, Vocabulary
from linnet.tokenizer.pieces import byte_of_character

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.export.gguf import Spelling
    from linnet.tokenizer import Tokenizer

_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
# Names by which llama.cpp knows further tokens that end a text.
_END_NAMES = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<EOT>")

# No byte is spelt so: what begins with it matches no constraint.
_OUTSIDE = "\ue000"


def byte_spelling(tokenizer: Tokenizer, stop_ids: Sequence[int]) -> Spelling:
    """How a file says of a tokenizer no more than each token's bytes and where texts end.

    ``tokenizer``: the one that requests are cut by; an adapter may have brought its own.
    """

    def spelling(beside: Tokenizer, path: Path, size: int) -> Vocabulary:
        return byte_vocabulary(tokenizer, size=size, stop_ids=stop_ids)

    return spelling


def byte_vocabulary(tokenizer: Tokenizer, *, size: int, stop_ids: Sequence[int]) -> Vocabulary:
    """The vocabulary of a model with ``size`` rows in its table of tokens."""
    character_of = {byte: character for character, byte in byte_of_character().items()}
    tokens: list[str] = []
    types: list[int] = []
    seen: set[bytes] = set()
    for token in range(size):
        spelt = tokenizer.token_bytes(token)
        # Of two tokens for the same bytes llama.cpp takes only one.
        if spelt and spelt not in seen and token not in stop_ids:
            seen.add(spelt)
            piece = spelt.decode("latin-1").encode("utf-8")
            tokens.append("".join(character_of[byte] for byte in piece))
            types.append(NORMAL)
        else:
            tokens.append(f"{_OUTSIDE}{token}")
            types.append(CONTROL)
    settings: dict[str, object] = dict(zip(_END_KEYS, stop_ids, strict=False))
    for token, name in zip(stop_ids[len(_END_KEYS) :], _END_NAMES, strict=False):
        tokens[token] = name
    settings |= {"bos_token_id": stop_ids[0], "add_bos_token": False, "add_eos_token": False}
    return Vocabulary("gpt2", "gpt-2", tokens, types, merges=["a b"], settings=settings)

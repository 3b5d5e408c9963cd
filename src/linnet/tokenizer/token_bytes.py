"""What bytes a token stands for, in each of the ways that vocabularies spell them.

* ``byte-level`` (GPT-2, Qwen, Llama 3): each byte is written as one printable
  character, by the table that GPT-2 introduced.
* ``sentencepiece`` (Llama 2, Gemma, T5): a space is written as ``▁`` (U+2581), and a byte that
  no piece covers as ``<0x0A>``.
* ``wordpiece`` (BERT): a token continues the word before it if it starts with ``##``.
* ``plain``: as it reads.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import tokenizers

Spelling = Literal["byte-level", "sentencepiece", "wordpiece", "plain"]

SENTENCEPIECE_SPACE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def spelling_of(decoder: tokenizers.decoders.Decoder | None) -> Spelling:
    """How a vocabulary is spelt, told from the decoder that reads it."""
    text = _json_of(decoder)
    if '"ByteLevel"' in text:
        return "byte-level"
    if '"ByteFallback"' in text or '"Metaspace"' in text or SENTENCEPIECE_SPACE in text:
        return "sentencepiece"
    return "wordpiece" if '"WordPiece"' in text else "plain"


def strips_leading_space(decoder: tokenizers.decoders.Decoder | None) -> bool:
    """Whether decoding drops a space at the very start of the text.

    Tokenizers that put a space before the first word take it away again.
    """
    if decoder is None:
        return False
    steps = json.loads(_json_of(decoder))
    for step in steps.get("decoders", [steps]):
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
        if step["type"] == "Strip" and step["content"] == " " and step["start"] > 0:
            return True
        if step["type"] == "WordPiece":
            return True
    return False


def piece_bytes(piece: str, spelling: Spelling) -> bytes:
    """The bytes that one entry of the vocabulary stands for."""
    if spelling == "byte-level":
        table = byte_of_character()
        if all(character in table for character in piece):
            return bytes(table[character] for character in piece)
    elif spelling == "sentencepiece":
        byte = _BYTE_PIECE.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        piece = piece.replace(SENTENCEPIECE_SPACE, " ")
    elif spelling == "wordpiece":
        piece = piece[2:] if piece.startswith("##") else " " + piece
    return piece.encode("utf-8", "replace")


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's table, read backwards: the byte that each printable character stands for.

    Printable characters of Latin-1 stand for themselves; the other bytes were
    given the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(0x100 + index): byte for index, byte in enumerate(others)})
    return table


def without_prefix_space(component: Any) -> Any:
    """A normalizer or pre-tokenizer, as JSON, that puts no space before the first word."""
    if not isinstance(component, dict):
        return component
    for key in ("normalizers", "pretokenizers"):
        if key in component:
            steps = [without_prefix_space(step) for step in component[key]]
            return {**component, key: [step for step in steps if step is not None]}
    match component["type"]:
        case "Prepend":
            return None
        case "Metaspace":
            return {**component, "prepend_scheme": "never"}
        case "ByteLevel":
            return {**component, "add_prefix_space": False}
    return component


def _json_of(component: object) -> str:
    """A part of a tokenizer as its JSON (this is what its ``__getstate__`` gives)."""
    if component is None:
        return ""
    state = component.__getstate__()
    return state.decode("utf-8") if isinstance(state, bytes) else ""

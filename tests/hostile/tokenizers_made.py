"""Tokenizers that crash the library that reads them, or keep it busy, or are none at all."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from case import Case, deep

END = {
    "id": 3, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False,
    "normalized": False, "special": True,
}  # fmt: skip
SOUND: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [END],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"Hello": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
}
LINE = r"\S+: (expected a tokenizer|the tokenizer (fails|cannot be used)|expected)"


def sound_tokenizer(place: Path, **changes: Any) -> None:
    """A tokenizer directory, with some parts changed."""
    place.mkdir(exist_ok=True)
    text = json.dumps({**SOUND, **changes})
    (place / "tokenizer.json").write_text(text, encoding="utf-8")
    config = '{"eos_token": "</s>"}'
    (place / "tokenizer_config.json").write_text(config, encoding="utf-8")


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _many(*steps: Any, name: str = "normalizers") -> dict[str, Any]:
    return {"type": "Sequence", name: list(steps)}


def _split(expression: str) -> dict[str, Any]:
    return {
        "type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip


def _parts() -> Iterator[tuple[str, dict[str, Any]]]:
    for times, size in ((3, 1_000), (32, 2), (10, 10), (64, 3), (2, 999), (1, 100_000)):
        for letter in "a ":
            steps = [_replace({"String": letter}, letter * size)] * times
            yield f"{times} times {letter!r} x {size}", {"normalizer": _many(*steps)}
            decoder = _many(*steps, name="decoders")
            yield f"decoder {times} times {letter!r} x {size}", {"decoder": decoder}
    yield "65 steps", {"normalizer": _many(*[{"type": "NFC"}] * 65)}
    for expression in ("(a+)+$", "(a|a)+$", "(a|aa)+$", "(a*)*$", "a*a*a*a*a*$", "(", "[", "(?<x"):
        yield f"split {expression}", {"pre_tokenizer": _split(expression)}
        replace = _replace({"Regex": expression}, "b")
        yield f"replace {expression}", {"normalizer": replace}
    for number, table in enumerate((b"", b"\0\0\0", b"\xff\xff\xff\xff", os.urandom(64))):
        steps = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
        yield f"table {number}", {"normalizer": steps}
    yield (
        "table of noise",
        {
            "normalizer": {
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(
                    (1024).to_bytes(4, "little") + b"\xa5\x5a\x33\x17" * 256 + b"abc\0"
                ).decode(),
            }
        },
    )
    yield (
        "table that is no text",
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": 5}},
    )
    models: tuple[Any, ...] = (
        None, 5, [], {}, {"type": "BPE"}, {"type": "nothing", "vocab": {"a": 0}},
        {"type": "WordLevel", "vocab": {}, "unk_token": "x"},
        {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"},
        {"type": "WordLevel", "vocab": {"a": 2**32 - 1, "[UNK]": 0}, "unk_token": "[UNK]"},
        {"type": "WordLevel", "vocab": {"a": 2**62, "[UNK]": 0}, "unk_token": "[UNK]"},
        {"type": "WordLevel", "vocab": {"a": -1, "[UNK]": 0}, "unk_token": "[UNK]"},
        {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]",
         "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        {"type": "Unigram", "vocab": [], "unk_id": None, "byte_fallback": False},
        {"type": "Unigram", "vocab": [["a", 1.0]], "unk_id": 99, "byte_fallback": False},
        {"type": "Unigram", "vocab": [["a", 1.0]], "unk_id": None, "byte_fallback": False},
        {"type": "Unigram", "vocab": [["a"]], "unk_id": 0},
        {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]},
        {"type": "BPE", "vocab": {"a": 0}, "merges": 5},
    )  # fmt: skip
    for number, model in enumerate(models):
        yield f"model {number}", {"model": model}
    yield "added id", {"added_tokens": [{**END, "id": 2**32 - 1}]}
    yield "added of nothing", {"added_tokens": [5]}
    many = [{"SpecialToken": {"id": "</s>", "type_id": 0}}] * 50_000
    tokens = {"</s>": {"id": "</s>", "ids": [3], "tokens": ["</s>"]}}
    yield "template of 50,000", {
        "post_processor": {
            "type": "TemplateProcessing", "single": many, "pair": [], "special_tokens": tokens,
        }
    }  # fmt: skip
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        yield f"{part} is a number", {part: 5}
        yield f"{part} is of no kind", {part: {"type": "nothing"}}


def _raw(place: Path, text: bytes, name: str = "tokenizer.json") -> None:
    sound_tokenizer(place)
    (place / name).write_bytes(text)


QUICK = ("3 times 'a' x 1000", "split (a+)+$", "table 2", "model 11", "model 12")
CASES = [
    Case(
        f"tokenizer: {name}",
        lambda place, parts=parts: sound_tokenizer(place, **parts),
        ("encode", "DIR"),
        LINE,
        quick=name in QUICK,
    )
    for name, parts in _parts()
]
FILES = ("tokenizer.json", "tokenizer_config.json")
TEXTS = {
    "deep": deep().encode(),
    "deep objects": b'{"a":' * 100_000,
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[1]",
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
}
CASES += [
    Case(
        f"{file}: {name}",
        lambda place, text=text, file=file: _raw(place, text, file),
        ("encode", "DIR"),
        LINE,
        quick=name == "deep",
    )
    for file in FILES
    for name, text in TEXTS.items()
]

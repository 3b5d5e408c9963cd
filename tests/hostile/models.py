"""Model directories with sizes, layers, weights and files that no model has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from case import Case, deep

from odd_files import HOSTILE_SIZES, HOSTILE_WEIGHTS, header_only

MODEL = Path("project", "model")
GENERATE = ("generate", "DIR/project/model", "Hello", "--engine", "torch")
LINE = r"\S*/project/model|config\.json: |model type "
COMMANDS = {
    "evaluate": ("evaluate", "DIR/project/model", "DIR/project/shards", "--out", "DIR/scores"),
    "export gguf": ("export", "gguf", "DIR/project/model", "--out", "DIR/a.gguf"),
    "finetune": ("finetune", "DIR/project/model", "DIR/rows.jsonl", "--out", "DIR/made"),
    "serve": ("serve", "DIR/project/model", "--port", "0"),
}
INDEX = "model.safetensors.index.json"


ROW = '{"prompt": "Hello", "completion": "Yes"}\n'


def _config(changes: dict[str, Any]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        file = place / MODEL / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
        (place / "rows.jsonl").write_text(ROW * 40, encoding="utf-8")
        _as_published(place)

    return make


def _as_published(place: Path) -> None:
    """Without the manifest, whose hashes would tell."""
    (place / MODEL / "manifest.json").unlink()


def _weights(data: bytes, *, whole: bool) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        file = place / MODEL / "model.safetensors"
        if whole:
            file.write_bytes(data)
        else:
            header_only(file, data)
        _as_published(place)

    return make


def _text(name: str, text: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        if name == INDEX:
            (place / MODEL / "model.safetensors").unlink()
        (place / MODEL / name).write_text(text, encoding="utf-8")
        _as_published(place)

    return make


def _pipe(name: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        if name != "config.json":
            (place / MODEL / "model.safetensors").unlink()
        if name == "shard.safetensors":
            index = json.dumps({"weight_map": {"a": name}})
            (place / MODEL / INDEX).write_text(index, encoding="utf-8")
        (place / MODEL / name).unlink(missing_ok=True)
        os.mkfifo(place / MODEL / name)
        _as_published(place)

    return make


def _cases() -> Iterator[Case]:
    for number, changes in enumerate(HOSTILE_SIZES):
        name = f"model: sizes {number}, {', '.join(changes)}"
        yield Case(name, _config(changes), GENERATE, LINE, project=True)
    for command, arguments in COMMANDS.items():
        make = _config({"num_hidden_layers": 10**9})
        yield Case(f"model: layers in {command}", make, arguments, LINE, project=True)
    for name, (data, _) in HOSTILE_WEIGHTS.items():
        make = _weights(data, whole=name == "header of 4 EB")
        yield Case(f"model: weights, {name}", make, GENERATE, LINE, project=True)
    texts = {
        "deep": deep(), "a list": "[1]", "empty": "",
        "a number": '{"vocab_size": %s}' % ("9" * 5000),
        "outside": '{"weight_map": {"a": "../../../../etc/passwd"}, "model_type": "../x"}',
        "unhashable": '{"weight_map": {"a": ["b"]}, "model_type": ["llama"], "layer_types": [[]]}',
    }  # fmt: skip
    for file in ("config.json", INDEX):
        for name, text in texts.items():
            yield Case(f"{file}: {name}", _text(file, text), GENERATE, LINE, project=True)
    for file in ("config.json", "model.safetensors", INDEX, "shard.safetensors"):
        yield Case(f"pipe: {file}", _pipe(file), GENERATE, LINE, project=True)


CASES = list(_cases())

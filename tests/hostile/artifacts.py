"""Manifests, shards, plans and settings in a project that a stranger made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from case import Case, deep

DAMAGED = r"\S+ is damaged|\S+ cannot be read|\S+ (is missing|should have|is a symbolic link)"
FIELDS = ("kind", "format", "config", "inputs", "files", "stats", "recipe", "content", "created",
          "seconds", "linnet")  # fmt: skip
WRONG = (None, 5, "x", [1], {"a": 5}, True)
NAMES = (
    "../../../../../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../../b", "./a", "a//b",
    "a\\b",
    "..\\b", "c:a", "a\0b", "tokenizer/../../../etc/passwd",
)  # fmt: skip


def _right(field: str, value: Any) -> bool:
    """Whether a value is of the field's type, so that nothing is wrong with it."""
    kinds = {"config": dict, "stats": dict, "format": int, "seconds": (int, float)}
    kind = kinds.get(field, str)
    if field in ("inputs", "files") or (isinstance(value, bool) and field in ("format", "seconds")):
        return False
    return isinstance(value, kind)


def _edit(file: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(change(values)), encoding="utf-8")


def _with(stage: str, name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda place: _edit(place / "project" / stage / name, lambda old: {**old, **changes})


def _listing(name: str) -> Callable[[Path], None]:
    """The manifest of shards that lists a file of this name, of the right size."""

    def change(manifest: Any) -> Any:
        size = os.path.getsize("/etc/passwd")
        entry = {"bytes": size, "sha256": "0" * 64}
        return {**manifest, "files": {**manifest["files"], name: entry}}

    return lambda place: _edit(place / "project" / "shards" / "manifest.json", change)


SHARDS = ("shards", "DIR/project/shards")


def _manifests() -> Iterator[Case]:
    for field in FIELDS:
        for value in WRONG:
            if not _right(field, value):
                make = _with("shards", "manifest.json", **{field: value})
                name = f"manifest: {field} is {value!r}"
                yield Case(name, make, SHARDS, DAMAGED, project=True)
    for name in NAMES:
        line = r"\S*/shards/manifest\.json is damaged \((?!.*delete \S*etc)"
        yield Case(f"manifest lists {name!r}", _listing(name), SHARDS, line, project=True)
    for name, text in (("deep", deep()), ("a list", "[1]"), ("empty", ""), ("cut", '{"kind": "')):

        def write(place: Path, text: str = text) -> None:
            (place / "project" / "shards" / "manifest.json").write_text(text, encoding="utf-8")

        yield Case(f"manifest is {name}", write, SHARDS, DAMAGED, project=True)

    pointers = (
        {"generation": "x", "sha256": "0" * 64},
        {"generation": 1, "sha256": 5},
        {"generation": 10**300, "sha256": "0" * 64},
        {"generation": -1, "sha256": "0" * 64},
    )
    for pointer in pointers:

        def point(place: Path, pointer: Any = pointer) -> None:
            _edit(place / "project" / "shards" / "manifest.json", lambda old: pointer)

        line = DAMAGED + r"|\S+ is missing"
        yield Case(f"manifest is {pointer}", point, SHARDS, line, project=True)


def _shard(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change ``shards.json``, and let the manifest be right about that."""

    def make(place: Path) -> None:
        folder = place / "project" / "shards"
        _edit(folder / "shards.json", change)
        _agree(folder, "shards.json")

    return make


def _agree(folder: Path, name: str) -> None:
    from linnet.artifact import hash_file

    def change(manifest: Any) -> Any:
        file = folder / name
        entry = {"bytes": file.stat().st_size, "sha256": hash_file(file)}
        return {**manifest, "files": {**manifest["files"], name: entry}}

    _edit(folder / "manifest.json", change)


def _renamed(name: str) -> Callable[[Any], Any]:
    def change(old: Any) -> Any:
        entries = [{**entry, "name": name} for entry in old["splits"]["train"]]
        return {**old, "splits": {**old["splits"], "train": entries}}

    return change


def _shards() -> Iterator[Case]:
    settings = {
        "vocab_size": ("x", 2**40, 0, -1, None, 1.5, [1], 10),
        "end_of_text": ("x", -1, 2**40, None),
        "dtype": ("float64", "uint8", "O", 5, None),
        "splits": (5, [], {"other": []}, {"train": 5}, {"train": [5]}, {"train": [{}]}),
    }
    for field, values in settings.items():
        for value in values:
            make = _shard(lambda old, field=field, value=value: {**old, field: value})
            name = f"shards: {field} is {value!r}"
            yield Case(name, make, SHARDS, DAMAGED + r"|\S+ holds", project=True)
    for name in NAMES:
        line = r"\S*/shards/shards\.json cannot be read"
        yield Case(f"shards named {name!r}", _shard(_renamed(name)), SHARDS, line, project=True)
    for number in ("tokens", "documents", "bytes"):
        for value in (-1, 2**62, "x"):

            def change(old: Any, number: str = number, value: Any = value) -> Any:
                entries = [{**entry, number: value} for entry in old["splits"]["train"]]
                return {**old, "splits": {**old["splits"], "train": entries}}

            line = DAMAGED + r"|\S+ does not fit" if (number, value) != ("bytes", -1) else ""
            line = "" if number == "bytes" and value != "x" else line
            name = f"shards: {number} are {value}"
            yield Case(name, _shard(change), SHARDS, line, project=True)
    for kind in ("pipe", "link"):

        def replace(place: Path, kind: str = kind) -> None:
            file = place / "project" / "shards" / "train-00000.bin"
            file.unlink()
            if kind == "pipe":
                os.mkfifo(file)
            else:
                file.symlink_to("/etc/passwd")

        yield Case(f"shards: a {kind}", replace, SHARDS, DAMAGED, project=True)


def _settings() -> Iterator[Case]:
    tomls = {
        "deep": f"sources = {deep(10_000)}",
        "deep tables": "sources = " + "{a=" * 10_000 + "1" + "}" * 10_000,
        "a number of 5,000 digits": "sources = " + "9" * 5_000,
        "not UTF-8": "sources = ['\udcff']",
        "nothing": "",
        "other types": "sources = 5",
        "sources of numbers": "sources = [1]",
        "budget": "sources = ['a']\nbudget = 5",
        "long": "# " + "x" * 2_000_000,
        "a list of tables": "[[sources]]\na = 1",
        "unknown": "sources = ['a']\n\"new\\nline\" = 5",
        "unknown and long": "sources = ['a']\n" + "a" * 100_000 + " = 5",
    }
    for name, text in tomls.items():

        def write(place: Path, text: str = text) -> None:
            data = text.encode("utf-8", "surrogateescape")
            (place / "linnet.toml").write_bytes(data)

        quick = name in ("deep", "unknown")
        yield Case(
            f"linnet.toml: {name}", write, ("status", "DIR"), r"\S*linnet\.toml", quick=quick
        )
    for name, text in (("deep", deep()), ("a list", "[1]"), ("numbers", '{"budget": "x"}')):

        def plan(place: Path, text: str = text) -> None:
            folder = place / "project" / "plan"
            (folder / "plan.json").write_text(text, encoding="utf-8")
            _agree(folder, "plan.json")

        command = ("build", "--out", "DIR/project")
        yield Case(f"plan.json: {name}", plan, command, r"\S*plan\.json is damaged", project=True)

        def results(place: Path, text: str = text) -> None:
            folder = place / "project" / "evaluation"
            (folder / "results.json").write_text(text, encoding="utf-8")
            _agree(folder, "results.json")

        line = r"\S*results\.json cannot be read"
        yield Case(f"results.json: {name}", results, command, line, project=True)


CASES = [*_manifests(), *_shards(), *_settings()]

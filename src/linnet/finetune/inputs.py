"""What a fine-tuning run is made from, by content: the base model and the rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.evaluate.held_out import text_files
from linnet.finetune.rows import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from linnet.artifact import Artifact
    from linnet.progress import Progress

_MODEL_FILES = ("*.safetensors", "config.json", "tokenizer*", "*.jinja", "vocab.*", "merges.txt")


def base_input(path: Path, *, pin: str | None, progress: Progress) -> Artifact | str:
    """The base model as an input: what Linnet made, a pinned hub name, or the files' hash."""
    if artifact.is_artifact(path):
        return artifact.read(path)
    if pin is not None:
        return pin
    files = {file for pattern in _MODEL_FILES for file in path.glob(pattern)}
    return _hash_files(files, root=path, task="reading the base model", progress=progress)


def data_inputs(
    data: Sequence[str | Path], validation: str, general: str = "", *, progress: Progress
) -> dict[str, Artifact | str]:
    """Each source of rows as an input, by its place in the command; and the general text."""
    sources = [(f"data.{number}", source) for number, source in enumerate(data, 1)]
    if validation:
        sources.append(("validation", validation))
    found: dict[str, Artifact | str] = {}
    for role, source in sources:
        opened = open_source(source)
        if opened.corpus is not None:
            found[role] = artifact.read(opened.corpus)
            continue
        files = [file for split in opened.files.values() for file in split]
        root = Path(source) if Path(source).is_dir() else None
        found[role] = _hash_files(files, root=root, task="reading rows", progress=progress)
    place = artifact.within(general, "corpus")
    if general and artifact.is_artifact(place):
        found["general"] = artifact.read(place)
    elif general:
        files, root = text_files(Path(general)), Path(general) if Path(general).is_dir() else None
        found["general"] = _hash_files(
            files, root=root, task="reading general text", progress=progress
        )
    return found


def _hash_files(files: Iterable[Path], *, root: Path | None, task: str, progress: Progress) -> str:
    """One hash of the contents of files, and of their names within ``root``."""
    ordered = sorted(files)
    whole = hashlib.sha256()
    total = sum(file.stat().st_size for file in ordered)
    with progress.task(task, total=total, unit="bytes") as running:
        for file in ordered:
            name = "" if root is None else file.relative_to(root).as_posix()
            whole.update(f"{name}\0{artifact.hash_file(file)}\n".encode())
            running.advance(file.stat().st_size)
    return whole.hexdigest()

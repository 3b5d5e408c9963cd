"""Prints the package index to take PyTorch from, or nothing for the usual one.

The usual build for Linux on x86-64 brings several GB of CUDA libraries. Where there is no
NVIDIA driver, and where it can be reached, PyTorch's own index has a CPU build of 200 MB.
What was decided is said on standard error. Runs before anything is installed, so it needs
Python alone.
"""

from __future__ import annotations

import platform
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS = 5.0
DRIVER = Path("/proc/driver/nvidia/version")


def usual_build_has_cuda() -> bool:
    """Elsewhere (macOS, Windows, ARM) the usual build is the CPU's, or has what fits."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")


def has_nvidia_driver() -> bool:
    return DRIVER.exists() or shutil.which("nvidia-smi") is not None


def reachable(index: str) -> bool:
    """Whether the index lists PyTorch now; the proxies of the environment are used."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def choose(index: str) -> str:
    if not usual_build_has_cuda():
        return ""
    if has_nvidia_driver():
        say("NVIDIA driver found: taking PyTorch's CUDA build")
        return ""
    if reachable(index):
        say(f"no NVIDIA driver: taking PyTorch's CPU build from {index}")
        return index
    say(
        f"no NVIDIA driver, but {index} does not answer: taking PyTorch's usual build, which may "
        "bring several GB of CUDA libraries; name another index with make TORCH_INDEX=URL"
    )
    return ""


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    print(choose(sys.argv[1] if len(sys.argv) > 1 else CPU_INDEX))

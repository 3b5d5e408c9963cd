"""Properties that hold for any input, tried on inputs that no run has seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_properties_hold_with_fresh_seeds() -> None:
    """What fails here prints the seed that makes it fail again (``--hypothesis-seed``)."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider",
            "-m", "hypothesis and not slow and not gpu", "--hypothesis-profile=fresh",
            str(Path(__file__).parent),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:]

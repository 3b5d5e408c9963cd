"""The exceptions Linnet raises on purpose.

    LinnetError
    ├── ConfigError       a setting is unknown, of the wrong type or cannot work
    │   └── ContradictionError  two of them cannot both be meant
    ├── DataError         the documents cannot be used
    ├── ArtifactError     an artifact is missing, damaged or of another kind
    │   └── DamagedError  its files do not match its manifest
    ├── OutputError       the place to write to holds something else, or is full
    ├── BusyError         another process is writing to the same place
    ├── ModelError        a checkpoint or tokenizer cannot be read or does not fit
    │   └── EngineError   what computes the model failed, whatever was asked of it
    ├── BudgetError       the time allowed is too short for the work
    ├── TrainingError     training cannot go on: the loss is no longer a number
    ├── StoppedError      the user stopped the work; it was saved
    └── MissingExtraError an optional dependency is not installed

A message is one line: what was expected, what came, what to do. The command
line prints it and exits with status 1; ``--debug`` adds the traceback.
Anything else that escapes is a bug.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec


class LinnetError(Exception):
    """Base of every error that Linnet raises on purpose."""

    part: str | None = None
    """What of a request is at fault, by its name there, where that is known."""


class ConfigError(LinnetError):
    """A setting is unknown, has the wrong type or a value that cannot work."""


class ContradictionError(ConfigError):
    """Settings cannot all be meant. ``settings``: which, as dotted names from the top of their
    file, such as ``budget.day`` or ``rules.1.model``."""

    def __init__(self, message: str, *settings: str) -> None:
        super().__init__(message)
        self.settings = settings


class DataError(LinnetError):
    """The documents cannot be used: none found, none readable, too little text."""


class ArtifactError(LinnetError):
    """An artifact is missing, or is not the kind that was asked for."""


class DamagedError(ArtifactError):
    """An artifact's files do not match what its manifest says."""


class OutputError(LinnetError):
    """The place to write to holds something else, or has no room."""


class BusyError(LinnetError):
    """Another process is writing to the same directory."""


class ModelError(LinnetError):
    """A checkpoint or a tokenizer cannot be read, or the two do not fit."""


class EngineError(ModelError):
    """What computes the model failed, whatever was asked of it."""


class BudgetError(LinnetError):
    """The time allowed is too short for the work."""


class TrainingError(LinnetError):
    """Training cannot go on: the loss is no longer a number."""


class StoppedError(LinnetError):
    """The user stopped the work; what was done is saved."""


class MissingExtraError(LinnetError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: {install_command(package)}"
        )


def install_command(packages: str) -> str:
    """The command that installs ``packages`` (pip's arguments) where this program runs.

    Plain ``pip`` where the shell's is that of this interpreter, as in an active environment;
    otherwise the interpreter by its path. An environment that uv made has no pip.
    """
    python = sys.executable
    found = shutil.which("pip")
    if found is not None and os.path.dirname(found) == os.path.dirname(python):
        return f"pip install {packages}"
    if find_spec("pip") is None and shutil.which("uv") is not None:
        return f"uv pip install --python {typed(python)} {packages}"
    return f"{typed(python)} -m pip install {packages}"


def typed(*words: str) -> str:
    """Words as they are typed into a shell of this system, in quotes where they need them."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)

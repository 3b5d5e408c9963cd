"""Questions, instructions and refusals made out of documents, each checked against its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.examples.config import ExamplesConfig
from linnet.examples.record import (
    EXAMPLES_FILE,
    Example,
    Kind,
    Quote,
    Turn,
    read_examples,
    write_examples,
)
from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.examples.checks import CHECKS, Case, Check
    from linnet.examples.generation import REJECTED_FILE, make_examples
    from linnet.examples.generator import Context, Generator, example
    from linnet.examples.generators import GENERATORS
    from linnet.examples.source import Passage, Section, Source

__all__ = [
    "CHECKS",
    "EXAMPLES_FILE",
    "GENERATORS",
    "REJECTED_FILE",
    "Case",
    "Check",
    "Context",
    "Example",
    "ExamplesConfig",
    "Generator",
    "Kind",
    "Passage",
    "Quote",
    "Section",
    "Source",
    "Turn",
    "example",
    "make_examples",
    "read_examples",
    "write_examples",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CHECKS": ("linnet.examples.checks", "CHECKS"),
        "Case": ("linnet.examples.checks", "Case"),
        "Check": ("linnet.examples.checks", "Check"),
        "Context": ("linnet.examples.generator", "Context"),
        "GENERATORS": ("linnet.examples.generators", "GENERATORS"),
        "Generator": ("linnet.examples.generator", "Generator"),
        "Passage": ("linnet.examples.source", "Passage"),
        "REJECTED_FILE": ("linnet.examples.generation", "REJECTED_FILE"),
        "Section": ("linnet.examples.source", "Section"),
        "Source": ("linnet.examples.source", "Source"),
        "example": ("linnet.examples.generator", "example"),
        "make_examples": ("linnet.examples.generation", "make_examples"),
    },
)

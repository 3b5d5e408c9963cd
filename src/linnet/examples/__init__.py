"""Questions, instructions and refusals made out of documents, each checked against its source."""

from linnet.examples.record import (
    EXAMPLES_FILE,
    Example,
    Kind,
    Quote,
    Turn,
    read_examples,
    write_examples,
)

__all__ = ["EXAMPLES_FILE", "Example", "Kind", "Quote", "Turn", "read_examples", "write_examples"]

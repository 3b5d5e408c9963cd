"""The generators, in the order in which they are asked."""

from linnet.examples.generator import Generator
from linnet.examples.generators import (
    abbreviations,
    clozes,
    entries,
    headings,
    lists,
    sentences,
)

__all__ = ["GENERATORS"]

GENERATORS: tuple[Generator, ...] = (
    headings.GENERATOR,
    entries.GENERATOR,
    sentences.GENERATOR,
    lists.GENERATOR,
    abbreviations.GENERATOR,
    clozes.GENERATOR,
)

"""The generators, in the order in which they are asked."""

from linnet.examples.generator import Generator
from linnet.examples.generators import (
    abbreviations,
    clozes,
    combined,
    entries,
    headings,
    lists,
    model,
    off_topic,
    pairs,
    refusals,
    sentences,
)

__all__ = ["GENERATORS"]

GENERATORS: tuple[Generator, ...] = (
    pairs.GENERATOR,
    headings.GENERATOR,
    entries.GENERATOR,
    sentences.GENERATOR,
    lists.GENERATOR,
    abbreviations.GENERATOR,
    clozes.GENERATOR,
    combined.GENERATOR,
    refusals.GENERATOR,
    off_topic.GENERATOR,
    model.GENERATOR,
)

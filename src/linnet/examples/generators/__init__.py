"""The generators, in the order in which they are asked."""

from linnet.examples.generator import Generator
from linnet.examples.generators import model, sentences

__all__ = ["GENERATORS"]

GENERATORS: tuple[Generator, ...] = (sentences.GENERATOR, model.GENERATOR)

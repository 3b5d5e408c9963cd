"""Finding passages: lexical search so far."""

from linnet.retrieval.bm25 import BM25, Hit
from linnet.retrieval.terms import terms

__all__ = ["BM25", "Hit", "terms"]

"""Finding passages: of documents, by words and by meaning.

In reading order: ``terms`` and ``bm25`` (by words), ``passages`` (what is found).
"""

from linnet.retrieval.bm25 import BM25, Hit
from linnet.retrieval.passages import Found, Passage, PassagesInMemory, Place, Searchable
from linnet.retrieval.terms import terms

__all__ = ["BM25", "Found", "Hit", "Passage", "PassagesInMemory", "Place", "Searchable", "terms"]

"""Finding passages: of documents, by words and by meaning.

In reading order: ``terms`` and ``bm25`` (by words), ``passages`` (what is found), ``encoders`` (by
meaning).
"""

from linnet.retrieval.bm25 import BM25, Hit
from linnet.retrieval.encoders import TextEncoder, choose_encoder, passage_text
from linnet.retrieval.passages import Found, Passage, PassagesInMemory, Place, Searchable
from linnet.retrieval.terms import terms

__all__ = [
    "BM25",
    "Found",
    "Hit",
    "Passage",
    "PassagesInMemory",
    "Place",
    "Searchable",
    "TextEncoder",
    "choose_encoder",
    "passage_text",
    "terms",
]

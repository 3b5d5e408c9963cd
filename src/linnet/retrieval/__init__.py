"""Finding passages: of documents, by words and by meaning.

In reading order: ``terms`` and ``bm25`` (a few texts by their words), ``passages`` (what is found),
``chunks`` (what a document is cut into), ``segments`` (the files of an index), ``lexical`` (search
by words), ``encoders`` and ``dense`` (by meaning), ``fusion`` (both), ``index`` (an index that is
open), ``updating`` and ``embedding`` (what changes one), ``indexing`` (making one of documents).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.retrieval.bm25 import BM25, Hit
from linnet.retrieval.encoders import TextEncoder, choose_encoder, passage_text
from linnet.retrieval.passages import Found, Passage, PassagesInMemory, Place, Searchable
from linnet.retrieval.terms import terms

if TYPE_CHECKING:
    from linnet.retrieval.config import IndexConfig
    from linnet.retrieval.index import Filters, Index
    from linnet.retrieval.indexing import make_index

__all__ = [
    "BM25",
    "Filters",
    "Found",
    "Hit",
    "Index",
    "IndexConfig",
    "Passage",
    "PassagesInMemory",
    "Place",
    "Searchable",
    "TextEncoder",
    "choose_encoder",
    "make_index",
    "passage_text",
    "terms",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Filters": ("linnet.retrieval.index", "Filters"),
        "Index": ("linnet.retrieval.index", "Index"),
        "IndexConfig": ("linnet.retrieval.config", "IndexConfig"),
        "make_index": ("linnet.retrieval.indexing", "make_index"),
    },
)

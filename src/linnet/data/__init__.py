"""Documents: from files and folders to a corpus of clean, deduplicated, divided text."""

from __future__ import annotations

from linnet.data.config import DataConfig
from linnet.data.document import SPLITS, Document
from linnet.data.explain import explain
from linnet.data.preparation import prepare
from linnet.data.python_library import SOURCE as PYTHON_LIBRARY
from linnet.data.storage import read_documents
from linnet.data.survey import sources_fingerprint

__all__ = [
    "PYTHON_LIBRARY",
    "SPLITS",
    "DataConfig",
    "Document",
    "explain",
    "prepare",
    "read_documents",
    "sources_fingerprint",
]

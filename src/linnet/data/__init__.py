"""Documents: from files and folders to a corpus of clean, deduplicated, divided text."""

from __future__ import annotations

from linnet.data.config import DataConfig
from linnet.data.document import SPLITS, Document
from linnet.data.explain import explain
from linnet.data.preparation import current_inputs, prepare
from linnet.data.python_library import SOURCE as PYTHON_LIBRARY
from linnet.data.storage import read_documents

__all__ = [
    "PYTHON_LIBRARY",
    "SPLITS",
    "DataConfig",
    "Document",
    "current_inputs",
    "explain",
    "prepare",
    "read_documents",
]

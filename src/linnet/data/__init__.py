"""Documents: from files and folders to a corpus of clean, deduplicated, divided text.

In reading order: ``kinds`` (what is read), ``extract`` (how), ``clean`` and
``privacy`` (what is changed), ``reading`` (the map over files), ``judging``
(what is kept and where it goes), ``preparation`` (all of it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.data.config import DataConfig
from linnet.data.document import SPLITS, Document
from linnet.data.python_library import SOURCE as PYTHON_LIBRARY
from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.data.inspection import Listed, ListedFile, explain, list_documents, list_files
    from linnet.data.locating import (
        KeptText,
        Location,
        StoredText,
        kept_texts,
        locate,
        stored_texts,
    )
    from linnet.data.preparation import prepare
    from linnet.data.storage import read_documents
    from linnet.data.survey import current_inputs

__all__ = [
    "PYTHON_LIBRARY",
    "SPLITS",
    "DataConfig",
    "Document",
    "KeptText",
    "Listed",
    "ListedFile",
    "Location",
    "StoredText",
    "current_inputs",
    "explain",
    "kept_texts",
    "list_documents",
    "list_files",
    "locate",
    "prepare",
    "read_documents",
    "stored_texts",
]

__getattr__, __dir__ = lazy(  # a worker that reads files needs none of these
    __name__,
    {
        "Listed": ("linnet.data.inspection", "Listed"),
        "ListedFile": ("linnet.data.inspection", "ListedFile"),
        "current_inputs": ("linnet.data.survey", "current_inputs"),
        "explain": ("linnet.data.inspection", "explain"),
        "list_documents": ("linnet.data.inspection", "list_documents"),
        "list_files": ("linnet.data.inspection", "list_files"),
        "KeptText": ("linnet.data.locating", "KeptText"),
        "Location": ("linnet.data.locating", "Location"),
        "StoredText": ("linnet.data.locating", "StoredText"),
        "kept_texts": ("linnet.data.locating", "kept_texts"),
        "locate": ("linnet.data.locating", "locate"),
        "stored_texts": ("linnet.data.locating", "stored_texts"),
        "prepare": ("linnet.data.preparation", "prepare"),
        "read_documents": ("linnet.data.storage", "read_documents"),
    },
)

"""``/v1/files`` and ``/v1/vector_stores``: the documents that models answer from, by the names of
OpenAI's interface. A vector store is what one served name answers from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from linnet.serve.asgi import Call
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service


def store_id(served: Served) -> str:
    """The id of the vector store that a model's documents are."""
    return f"vs_{hashlib.sha256(served.name.encode()).hexdigest()[:24]}"


def documents_of(service: Service, call: Call, vector_store_ids: Sequence[str]) -> Served:
    """The model whose documents are searched: an id is a store's, or the name of its model.

    It need not be open (``Service.use_model``). Without ids: the call's own model where it has
    documents, otherwise the first that has.
    Raises ApiError where there is none, and for several.
    """
    stores = {store_id(m): m for m in service.catalog.models.values() if m.has_documents}
    names = {store.name: store for store in stores.values()}
    if not stores:
        raise no_documents()
    own = getattr(call, "model", None)
    if not vector_store_ids:
        return next((m for m in stores.values() if m is own), next(iter(stores.values())))
    found = []
    for wanted in vector_store_ids:
        store = stores.get(wanted) or names.get(wanted)
        if store is None:
            there = ", ".join(f"{key} ({store.name})" for key, store in stores.items())
            raise ApiError(
                404, f"There is no vector store '{wanted[:80]}'; there are: {there}.",
                param="vector_store_ids",
            )  # fmt: skip
        if store not in found:
            found.append(store)
    if len(found) > 1:
        raise ApiError(
            400, "One vector store can be searched at a time. Got several", param="vector_store_ids"
        )
    return found[0]


def no_documents() -> ApiError:
    """Nothing that is served has documents."""
    return ApiError(
        404,
        "No documents are served here: start 'linnet serve INDEX', 'linnet serve MODEL --docs "
        "INDEX' or 'linnet assistant DOCS --out DIR'.",
        code="no_documents",
    )

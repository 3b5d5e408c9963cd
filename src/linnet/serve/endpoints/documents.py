"""``/v1/documents``: what a model answers from: what is cited, which documents there are, adding
and removing them, and what people say of answers.

Reading what is cited, and judging an answer, is for everyone who may ask. Which documents there
are, and changing that, is for the owner: on this machine where no key is needed, or with a key
that was made with ``--documents``. What arrives is written to a private place and becomes a
document only when it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from linnet import output
from linnet.answers.excerpts import masked
from linnet.answers.feedback import note_feedback
from linnet.answers.privacy import mask_private, private_spans, unmasked_name
from linnet.answers.upkeep import status_json
from linnet.answers.workspace import Taken, TakenNameError, Workspace, check_name
from linnet.errors import DataError, LinnetError
from linnet.retrieval import Index
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError, refused, without_paths
from linnet.serve.schemas import ANYTHING, COUNT, FLAG, MODEL, TEXT, listed, nullable, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from linnet.retrieval.segments import IndexedDocument
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service
    from linnet.serve.uploads import Upload

LARGEST_FILE = 256_000_000
"""Bytes of a document that is added."""
MOST_LISTED = 200
_WRITE_BYTES = 1 << 20
_LARGEST_FEEDBACK = 400_000


async def source(service: Service, call: Call) -> None:
    """GET /v1/documents/source: a cited stretch of a document, and what stands around it."""
    served, workspace = await documents_at(service, call)
    given = call.query
    name, start, end = given.get("source", ""), number_of(given, "start"), number_of(given, "end")

    seen, masks = service.collections(call), service.masks_private(call)
    names = service.masks_names(call)

    def found() -> dict[str, Any]:
        real = _real_name(served, name) if masks else name
        if seen is not None and not _is_within(served, real, seen):
            raise DataError("it is in a collection of others")
        private = partial(private_spans, names=names) if masks else None
        cited = workspace.excerpt(real, start, end, private=private)
        if masks:
            cited = replace(
                masked(cited, lambda text: mask_private(text, names=names).text), source=name
            )
        answer = asdict(cited)
        answer["is_gone"] = workspace.file_of(real) is None
        return answer

    try:
        with service.within_limits(call):
            shown = await asyncio.get_running_loop().run_in_executor(None, found)
    except DataError:
        raise ApiError(
            404, "This is not among the documents any more.", code="document_gone"
        ) from None
    except LinnetError as error:
        raise refused(error) from None
    await answer_json(call, {"model": served.name, **shown})


async def status(service: Service, call: Call) -> None:
    """GET /v1/documents/status: what is being made of the documents."""
    served, workspace = await documents_at(service, call)
    now = status_json(served.upkeep.status()) if served.upkeep is not None else _SETTLED
    may, seen = is_owner(service, call), service.collections(call)
    if seen is None:
        counts = await service.in_thread(workspace.counts)
    else:
        counts = await service.in_thread(lambda: counts_within(served, seen))
        now = _without_figures(now)
    if not may:
        now = {**now, "problem": without_paths(now["problem"])}
    await answer_json(
        call,
        {
            **now,
            "documents": counts,
            "can_list": may,
            "can_change": may and served.upkeep is not None,
            "largest_file": LARGEST_FILE,
        },
    )


_SETTLED: dict[str, Any] = {
    "steps": [], "working": False, "answers": True, "problem": "", "follows": False
}  # fmt: skip


def counts_within(served: Served, collections: Sequence[str] | None) -> dict[str, int]:
    """The numbers of documents for whoever sees these collections alone; None: all."""
    documents = indexed_documents(served)
    searchable = sum(collections is None or d.collection in collections for d in documents)
    return {"searchable": searchable, "reading": 0, "unreadable": 0}


def _without_figures(status: dict[str, Any]) -> dict[str, Any]:
    """A status that tells nothing of the documents that are worked on."""
    problem = "The documents cannot be kept current now." if status["problem"] else ""
    untold = {"text": "", "done": 0.0, "total": None, "unit": ""}
    return {**status, "problem": problem, "steps": [{**s, **untold} for s in status["steps"]]}


async def every(service: Service, call: Call) -> None:
    """GET /v1/documents: which there are, and what became of each."""
    _, workspace = await documents_at(service, call, changing=False)
    given = call.query
    limit = min(number_of(given, "limit", MOST_LISTED), MOST_LISTED)

    def found() -> list[dict[str, Any]]:
        states = workspace.documents(
            containing=given.get("find", ""), after=given.get("after", ""), limit=limit + 1
        )
        return [asdict(state) for state in states]

    states = await service.in_thread(found)
    await answer_json(
        call, {"object": "list", "data": states[:limit], "has_more": len(states) > limit}
    )


async def add(service: Service, call: Call) -> None:
    """PUT /v1/documents/files/NAME: the body is the file."""
    served, workspace = await documents_at(service, call, changing=True)
    taken = call.query.get("taken", "refuse")
    if taken not in get_args(Taken):
        raise ApiError(400, f"'taken' must be one of {', '.join(get_args(Taken))}.", param="taken")
    name = call.parameters["name"]
    await service.prepare(call, lambda: check_name(name, images=workspace.reads_images))

    async def arrive(place: Path, upload: Upload) -> str:
        await receive(service, call, place, upload, LARGEST_FILE, purpose="adding the document")
        return name

    found = await take_in(service, call, served, workspace, arrive, taken=taken)  # type: ignore[arg-type]
    await answer_json(call, {"name": found}, 201)


async def take_in(
    service: Service,
    call: Call,
    served: Served,
    workspace: Workspace,
    arrive: Callable[[Path, Upload], Awaitable[str]],
    *,
    taken: Taken,
) -> str:
    """Make a document of what ``arrive`` writes to a private place; it gives the name that it is to
    have. Gives the one that it has then. Raises ApiError.
    """
    try:
        async with service.uploads.place(call) as upload:
            place = await service.in_thread(workspace.upload_place)
            partial = place / f"{secrets.token_hex(8)}.partial"
            try:
                name = await arrive(partial, upload)
                upload.complete()
                found = await asyncio.get_running_loop().run_in_executor(
                    None, lambda: workspace.add(name, partial, taken=taken)
                )
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
    except TakenNameError as error:
        raise ApiError(409, str(error), code="name_taken") from None
    except LinnetError as error:
        raise refused(error) from None
    _woken(served)
    return found


async def receive(
    service: Service,
    call: Call,
    place: Path,
    upload: Upload,
    limit: int,
    *,
    purpose: str,
    pieces: AsyncIterator[bytes] | None = None,
) -> None:
    """Write the body, of at most so many bytes, to a new file, or ``pieces`` of it. Raises
    ApiError."""
    length = call.header(b"content-length") or "0"
    needed = min(int(length), limit) if length.isdecimal() else 0
    await service.in_thread(lambda: output.require_space(place, needed, purpose=purpose))
    loop = asyncio.get_running_loop()
    with output.create_file(place) as file:
        waiting, size = [], 0
        async for piece in pieces or call.chunks(limit):
            upload.arrived(len(piece))
            waiting.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                await loop.run_in_executor(None, file.write, b"".join(waiting))
                waiting, size = [], 0
        await loop.run_in_executor(None, _finish, file, b"".join(waiting))


def _finish(file: Any, rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())


async def remove(service: Service, call: Call) -> None:
    """DELETE /v1/documents/files/NAME: it is not searched any more."""
    served, workspace = await documents_at(service, call, changing=True)
    name = call.parameters["name"]
    try:
        deleted = await asyncio.get_running_loop().run_in_executor(
            None, lambda: workspace.remove(name)
        )
    except DataError as error:
        raise ApiError(404, str(error), code="document_gone") from None
    except LinnetError as error:
        raise refused(error) from None
    _woken(served)
    await answer_json(call, {"name": name, "deleted_file": deleted})


async def restore(service: Service, call: Call) -> None:
    """POST /v1/documents/restore: search a document again that was taken out."""
    name = call.body.get("model")
    served, workspace = await documents_at(service, call, changing=True, name=name)
    await service.in_thread(lambda: workspace.restore(call.body["name"]))
    _woken(served)
    await answer_json(call, {"name": call.body["name"]})


async def feedback(service: Service, call: Call) -> None:
    """POST /v1/documents/feedback: whether an answer was good.

    What the answer was is known here; what else the body says of it is not needed.
    """
    body = call.body
    served, workspace = await documents_at(service, call, name=body.get("model"))
    by = call.account.key.name if call.account is not None else ""

    def note() -> None:
        try:
            said = served.searching.given.judged(body["answer"], by, good=body["good"])
        except DataError as error:
            raise ApiError(409, f"{str(error).capitalize()}.", code="not_judged") from None
        if said is not None:
            note_feedback(workspace.path, said)

    with service.within_limits(call):
        await service.in_thread(note)
    service.judge(body["answer"], by or None, good=body["good"])
    await answer_json(call, {"noted": True})


async def documents_at(
    service: Service, call: Call, *, changing: bool | None = None, name: str | None = None
) -> tuple[Served, Workspace]:
    """The model that is asked about, open until the call ends, and its documents.

    ``changing``: whether they are to be changed, which only the owner may; False: listed, which
    only the owner may either; None: what everybody may. Raises ApiError.
    """
    name = service.catalog.resolve(name or call.query.get("model") or first_with_documents(service))
    await service.use_model(call, name, watch=call.method != "PUT")
    served = call.model
    workspace = workspace_of(served)
    if workspace is None:
        raise ApiError(
            404, f"The model '{served.name}' does not answer from documents of this server.",
            param="model", code="no_documents",
        )  # fmt: skip
    if changing is not None and not is_owner(service, call):
        raise ApiError(
            403,
            "Which documents there are is for their owner: on this machine, or with a key that was "
            "made with --documents.",
            code="not_allowed",
        )
    if changing and served.upkeep is None:
        raise ApiError(
            409, "Nothing keeps these documents current: start 'linnet assistant' instead.",
            code="not_kept",
        )  # fmt: skip
    return served, workspace


def workspace_of(served: Served) -> Workspace | None:
    """The documents that a model answers from, where they are files of this machine."""
    return served.workspace or _of_index(served)


def _of_index(served: Served) -> Workspace | None:
    """The documents of an index that ``linnet index`` made."""
    index = served.assistant.index if served.assistant is not None else None
    return Workspace(index.path.parent) if isinstance(index, Index) else None


def _is_within(served: Served, source: str, collections: Sequence[str]) -> bool:
    """Whether a document is in one of these collections."""
    return any(
        document.source == source and document.collection in collections
        for document in indexed_documents(served)
    )


def _real_name(served: Served, shown: str) -> str:
    """The document that an answer named so; names of files are masked, too."""
    return unmasked_name(shown, (document.source for document in indexed_documents(served)))


def indexed_documents(served: Served) -> list[IndexedDocument]:
    index = served.assistant.index if served.assistant is not None else None
    return index.documents() if isinstance(index, Index) else []


def first_with_documents(service: Service) -> str | None:
    """The first model with documents."""
    every = service.catalog.models.values()
    return next((m.name for m in every if m.has_documents), None)


def _woken(served: Served) -> None:
    """Have the change taken in."""
    if served.upkeep is not None:
        served.upkeep.wake()


def is_owner(service: Service, call: Call) -> bool:
    """Whether the documents are the caller's to list and to change."""
    if call.account is not None:
        limits = call.account.key.limits
        return limits.documents and not limits.collections
    return service.is_on_this_machine(call)


def number_of(given: Any, name: str, default: int | None = None) -> int:
    text = given.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or not text.isascii() or len(text) > 12:
        raise ApiError(400, f"'{name}' must be a whole number.", param=name)
    return int(text)


_NAME = {"type": "string", "minLength": 1, "maxLength": 2000}
_PLACE = {"type": "integer", "minimum": 0, "maximum": 2**40}
_STATE = record(
    {
        "name": TEXT, "kind": TEXT, "bytes": COUNT, "documents": COUNT,
        "state": {"enum": ["searchable", "reading", "unreadable", "removed"]},
        "reason": TEXT, "is_added": FLAG,
    }
)  # fmt: skip

DOCUMENTS = (
    Endpoint(
        "GET", "/v1/documents", every, "The documents that a model answers from.",
        answer=record(
            {"object": {"const": "list"}, "data": listed(_STATE), "has_more": FLAG},
            required=("object", "data", "has_more"),
        ),
    ),
    Endpoint(
        "GET", "/v1/documents/status", status, "What is being made of the documents.",
        answer=ANYTHING, is_logged=False,
    ),
    Endpoint(
        "GET", "/v1/documents/source", source,
        "What an answer cites, with the text around it.", answer=ANYTHING,
    ),
    Endpoint(
        "PUT", "/v1/documents/files/{name}", add, "Add a document; the body is the file.",
        answer=record({"name": TEXT}, required=("name",)),
    ),
    Endpoint(
        "DELETE", "/v1/documents/files/{name}", remove, "Search a document no more.",
        answer=record({"name": TEXT, "deleted_file": FLAG}, required=("name", "deleted_file")),
    ),
    Endpoint(
        "POST", "/v1/documents/restore", restore, "Search a document again.",
        body=record({"model": MODEL, "name": _NAME}, required=("name",)),
        answer=record({"name": TEXT}, required=("name",)), largest_body=_LARGEST_FEEDBACK,
    ),
    Endpoint(
        "POST", "/v1/documents/feedback", feedback, "Say whether an answer was good.",
        body=record(
            {
                "model": MODEL,
                "answer": {"type": "string", "minLength": 1, "maxLength": 100},
                "question": {"type": "string", "maxLength": 10_000},
                "good": {"type": "boolean"},
                "refused": FLAG,
                "probability": nullable({"type": "number", "minimum": 0, "maximum": 1}),
                "citations": {
                    "type": "array", "maxItems": 200,
                    "items": record(
                        {"source": _NAME, "start": _PLACE, "end": _PLACE},
                        required=("source", "start", "end"),
                    ),
                },
            },
            required=("answer", "question", "good", "citations"),
        ),
        answer=record({"noted": FLAG}, required=("noted",)), largest_body=_LARGEST_FEEDBACK,
    ),
)  # fmt: skip

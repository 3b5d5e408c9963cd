"""``/v1/linnet/attachments``: a file to the text that a client puts into a message.

Nothing is kept: the file lies in a private place while it is read (``linnet.data.attachments``, in
a confined process), and the client is told what the text does not have.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from linnet.data.attachments import check_attachment, read_attachment
from linnet.errors import LinnetError
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.documents import receive
from linnet.serve.errors import ApiError, refused
from linnet.serve.schemas import COUNT, TEXT, listed, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.serve.service import Service

LARGEST_FILE = 32_000_000
"""Bytes of a file that is attached."""
_LONGEST_NAME = 255


async def attach(service: Service, call: Call) -> None:
    """POST /v1/linnet/attachments?name=FILE: the body is the file."""
    name = PurePath(call.query.get("name", "").replace("\\", "/")).name
    if not name or len(name) > _LONGEST_NAME:
        raise ApiError(
            400, f"'name' must be the file's name, of at most {_LONGEST_NAME} characters.",
            param="name",
        )  # fmt: skip
    try:
        check_attachment(name)
    except LinnetError as error:
        raise refused(error, param="name") from None
    with service.within_limits(call), tempfile.TemporaryDirectory() as place:
        # A name of our own with the suffix, by which some programs go.
        suffix = re.sub(r"[^\w.]", "", "".join(PurePath(name).suffixes[-2:])[-12:])
        path = Path(place) / f"attachment{suffix}"
        async with service.attachments.place(call) as upload:
            await receive(service, call, path, upload, LARGEST_FILE, purpose="reading the file")
            upload.complete()
            read = await service.in_thread(lambda: read_attachment(path, name))
    await answer_json(call, asdict(read))


ATTACHMENTS = Endpoint(
    "POST", "/v1/linnet/attachments", attach,
    "The text of a file, whose bytes are the body and whose name is ?name=.",
    answer=record(
        {
            "name": TEXT, "kind": TEXT, "text": TEXT, "characters": COUNT,
            "left_out": listed(record({"part": TEXT, "reason": TEXT}, required=("part", "reason"))),
            "more_left_out": COUNT,
        },
        required=("name", "kind", "text", "characters", "left_out", "more_left_out"),
    ),
)  # fmt: skip
